//! Letters: what the product writes to people, as text and as HTML.
//!
//! **Cast.** A [`Template`] is one of the codes of the specification; a [`Locale`] is a language it is written in;
//! [`Slots`] is what a letter may say; [`Letters`] holds the compiled templates, built once at start; [`Rendered`] is
//! what a mailer sends. An operator may put files named as in `letters/templates/` into a folder to replace them one by one.
//!
//! **Guarantees.**
//! - A subject is one line, whatever the slots hold, so no slot can add a header.
//! - A link stands on a line of its own in the text, unescaped, with nothing before or behind it.
//! - What strangers can choose (a name, a user agent) reaches a reader only as a plain name or as a known word like
//!   "Firefox on Linux", so nobody can write to others through our letters. See `letters/slots.rs`.
//! - A replaced template that does not compile, uses a slot that may be empty without asking, or loses the link of a
//!   letter that needs one is an error at start that names the file, never a letter that fails at night.
//!
//! **Non-guarantees.** Nothing is sent here, no time limit is checked, and who may be written to is not asked: the mail
//! subscriber does that.

mod error;
mod locale;
mod slots;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

pub use self::error::LetterError;
pub use self::locale::Locale;
pub use self::slots::{By, Slots};

/// The largest template file that is read from the folder of overrides. A letter needs a few KiB; more is a mistake.
const TEMPLATE_BYTES_MAX: u64 = 64 * 1024;

/// A letter, by its code in the specification. A completed reset is told with [`Template::PasswordChanged`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Template {
    /// Confirm that an address is yours. Needs a link.
    VerifyEmail,
    /// Somebody tried to register an address that has an account. Needs a link (to a reset).
    AlreadyRegistered,
    /// The address is confirmed.
    Welcome,
    /// Choose a new password. Needs a link.
    ResetPassword,
    /// The password was changed, by the person or through a reset.
    PasswordChanged,
    /// A sign-in from a device that was not seen before.
    NewDevice,
    /// Signing in is closed: for a while after wrong passwords, or by an administrator.
    AccountLocked,
    /// An administrator deactivated the account.
    AccountDeactivated,
    /// An administrator reactivated it.
    AccountReactivated,
    /// A refresh token was used twice, so its session was ended.
    TokenReuse,
    /// Confirm that an address which an account is to go by is yours. Needs a link.
    EmailChangeConfirm,
    /// The account goes by another address. To the old one, with a link that takes it back, and to the new one without.
    EmailChanged,
    /// All sessions were ended.
    SessionsEnded,
}

impl Template {
    /// Every template, in the order of the specification.
    pub const ALL: &[Template] = &[
        Template::VerifyEmail,
        Template::AlreadyRegistered,
        Template::Welcome,
        Template::ResetPassword,
        Template::PasswordChanged,
        Template::NewDevice,
        Template::AccountLocked,
        Template::AccountDeactivated,
        Template::AccountReactivated,
        Template::EmailChangeConfirm,
        Template::EmailChanged,
        Template::TokenReuse,
        Template::SessionsEnded,
    ];

    /// The code in events, in the development mailbox and in file names.
    pub fn code(self) -> &'static str {
        match self {
            Template::VerifyEmail => "verify_email",
            Template::AlreadyRegistered => "already_registered",
            Template::Welcome => "welcome",
            Template::ResetPassword => "reset_password",
            Template::PasswordChanged => "password_changed",
            Template::NewDevice => "new_device",
            Template::AccountLocked => "account_locked",
            Template::AccountDeactivated => "account_deactivated",
            Template::AccountReactivated => "account_reactivated",
            Template::EmailChangeConfirm => "email_change_confirm",
            Template::EmailChanged => "email_changed",
            Template::TokenReuse => "token_reuse",
            Template::SessionsEnded => "sessions_ended",
        }
    }

    /// Whether the letter is pointless without [`Slots::link`].
    pub fn needs_link(self) -> bool {
        match self {
            Template::VerifyEmail
            | Template::AlreadyRegistered
            | Template::ResetPassword
            | Template::EmailChangeConfirm => true,
            Template::Welcome
            | Template::PasswordChanged
            | Template::NewDevice
            | Template::AccountLocked
            | Template::AccountDeactivated
            | Template::EmailChanged
            | Template::AccountReactivated
            | Template::TokenReuse
            | Template::SessionsEnded => false,
        }
    }
}

/// A letter ready to be sent as multipart/alternative. It holds the link, so its `Debug` shows none of the bodies.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line without control characters.
    pub subject: String,
    /// The plain text part, lines ended by LF.
    pub text: String,
    /// The HTML part: styles inline, nothing loaded from elsewhere.
    pub html: String,
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendered")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// All letters, compiled.
pub struct Letters {
    templates: Environment<'static>,
    /// Where the overrides came from, to name files in errors.
    overrides: Option<PathBuf>,
}

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letters")
            .field("overrides", &self.overrides)
            .finish_non_exhaustive()
    }
}

/// The three files of each built-in letter in each language.
macro_rules! built_in {
    ($($code:literal),* $(,)?) => {
        &[$(
            built_in!(@file $code, ".en.subject"), built_in!(@file $code, ".en.txt"), built_in!(@file $code, ".en.html"),
            built_in!(@file $code, ".pt.subject"), built_in!(@file $code, ".pt.txt"), built_in!(@file $code, ".pt.html"),
        )*
            built_in!(@file "layout", ".txt"), built_in!(@file "layout", ".html"),
            built_in!(@file "details", ".txt"), built_in!(@file "details", ".html"),
        ]
    };
    (@file $stem:literal, $ending:literal) => {
        (concat!($stem, $ending), include_str!(concat!("letters/templates/", $stem, $ending)))
    };
}

/// Name and source of every built-in template. A test holds it against [`Template::ALL`].
const BUILT_IN: &[(&str, &str)] = built_in!(
    "verify_email",
    "already_registered",
    "welcome",
    "reset_password",
    "password_changed",
    "new_device",
    "account_locked",
    "account_deactivated",
    "account_reactivated",
    "email_change_confirm",
    "email_changed",
    "token_reuse",
    "sessions_ended",
);

impl Letters {
    /// Compiles the built-in templates and, over them, the files in `overrides`. Names that start with a dot are left
    /// alone (mounted configuration has such folders).
    pub fn new(overrides: Option<&Path>) -> Result<Letters, LetterError> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        templates.set_auto_escape_callback(|name| {
            if has_ending(name, "html") {
                AutoEscape::Html
            } else {
                AutoEscape::None
            }
        });
        templates.set_formatter(slots::format_value);
        let mut letters = Letters {
            templates,
            overrides: overrides.map(Path::to_owned),
        };
        for (name, source) in BUILT_IN {
            letters
                .templates
                .add_template(name, source)
                .map_err(|e| letters.unusable(name, e))?;
        }
        if let Some(folder) = overrides {
            letters.replace_from(folder)?;
            letters.rehearse()?;
        }
        Ok(letters)
    }

    /// Writes one letter. Slots that a letter does not mention are left out; a link it needs must be there.
    pub fn render(
        &self,
        template: Template,
        locale: Locale,
        slots: &Slots,
    ) -> Result<Rendered, LetterError> {
        let view = slots.view(template, locale)?;
        let (code, language) = (template.code(), locale.code());
        let subject = one_line(&self.fill(&format!("{code}.{language}.subject"), view.clone())?);
        let part =
            |kind: &str, gap: &str, wrap: fn(String) -> Value| -> Result<String, LetterError> {
                let details = wrap(tidy(
                    &self.fill(&format!("details.{kind}"), view.clone())?,
                    gap,
                ));
                let view = context! { details, subject => subject.as_str(), ..view.clone() };
                let body = wrap(tidy(
                    &self.fill(&format!("{code}.{language}.{kind}"), view.clone())?,
                    gap,
                ));
                let page = self.fill(&format!("layout.{kind}"), context! { body, ..view })?;
                Ok(tidy(&page, gap) + "\n")
            };
        let text = part("txt", "\n\n", Value::from)?;
        let html = part("html", "\n", Value::from_safe_string)?;
        Ok(Rendered {
            subject,
            text,
            html,
        })
    }

    fn fill(&self, name: &str, context: Value) -> Result<String, LetterError> {
        let template = self
            .templates
            .get_template(name)
            .map_err(|e| self.unusable(name, e))?;
        template.render(context).map_err(|e| self.unusable(name, e))
    }

    /// Puts every file of the folder in the place of the built-in template of the same name.
    fn replace_from(&mut self, folder: &Path) -> Result<(), LetterError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LetterError::Read { path, source }
        };
        for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
            let path = entry.map_err(failed(folder))?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if name.starts_with('.') {
                continue;
            }
            let Some((name, _)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) else {
                return Err(LetterError::UnknownFile { path });
            };
            if std::fs::metadata(&path).map_err(failed(&path))?.len() > TEMPLATE_BYTES_MAX {
                return Err(LetterError::TooLarge { path });
            }
            let source = std::fs::read_to_string(&path).map_err(failed(&path))?;
            self.templates
                .add_template_owned(*name, source)
                .map_err(|e| self.unusable(name, e))?;
        }
        Ok(())
    }

    /// Writes every letter with every slot and with as few as possible, so that a bad override is found at start.
    fn rehearse(&self) -> Result<(), LetterError> {
        for &template in Template::ALL {
            for &locale in Locale::ALL {
                for slots in Slots::samples(template) {
                    let letter = self.render(template, locale, &slots)?;
                    if letter.subject.is_empty() {
                        let name = format!("{}.{}.subject", template.code(), locale.code());
                        return Err(LetterError::EmptySubject {
                            file: self.file(&name),
                        });
                    }
                    let Some(link) = slots.link.as_deref().filter(|_| template.needs_link()) else {
                        continue;
                    };
                    // A built-in letter has its link; then a replaced layout has dropped the body.
                    let lost = |kind| {
                        let own = format!("{}.{}.{kind}", template.code(), locale.code());
                        let name = if self.replaced(&own).is_some() {
                            own
                        } else {
                            format!("layout.{kind}")
                        };
                        Err(LetterError::LinkLost {
                            file: self.file(&name),
                        })
                    };
                    if !letter.text.lines().any(|line| line == link) {
                        return lost("txt");
                    }
                    if !letter.html.contains(link) {
                        return lost("html");
                    }
                }
            }
        }
        Ok(())
    }

    fn unusable(&self, name: &str, source: minijinja::Error) -> LetterError {
        LetterError::Template {
            file: self.file(name),
            source,
        }
    }

    /// The file that replaces a built-in template.
    fn replaced(&self, name: &str) -> Option<PathBuf> {
        let path = self.overrides.as_ref()?.join(name);
        path.exists().then_some(path)
    }

    /// How an error names a template: by the file that replaces it, when there is one.
    fn file(&self, name: &str) -> String {
        self.replaced(name).map_or_else(
            || format!("{name} (built in)"),
            |path| path.display().to_string(),
        )
    }
}

/// Whether a template's name has this ending. Names are ours, so case matters.
fn has_ending(name: &str, ending: &str) -> bool {
    name.rsplit('.').next() == Some(ending)
}

/// One line without control characters: what may stand in a header.
fn one_line(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Clears what `{% if %}` leaves behind: blanks at line ends, empty lines at the start and the end; empty lines between
/// others become one `gap`.
fn tidy(text: &str, gap: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = "";
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() {
            before = if out.is_empty() { "" } else { gap };
        } else {
            out.push_str(before);
            out.push_str(line);
            before = "\n";
        }
    }
    out
}
