//! What a letter may say, and how what strangers chose is made harmless before a template sees it.
//!
//! Anybody can register another person's address with a name of their choice, or fail a sign-in with a user agent of
//! their choice. Without care our letters would carry their advertisement, from our domain. So: letters to an address
//! that is not proved yet greet nobody by name, a name is left out when a mail program could turn it into a link, a user
//! agent becomes words from a closed list, and an address is shown only when it is an address.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Error, Output, State, escape_formatter};

use super::words::{self, Css};
use super::{LetterError, Locale, Template};

/// The longest name that a letter greets, in characters.
const NAME_CHARS_MAX: usize = 60;

/// Who caused what a letter tells: the actor of the event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// The owner of the account, or somebody who acts as if.
    #[default]
    Person,
    /// An administrator.
    Administrator,
    /// The product itself, for safety.
    System,
}

impl By {
    fn code(self) -> &'static str {
        match self {
            By::Person => "person",
            By::Administrator => "administrator",
            By::System => "system",
        }
    }
}

/// What a letter may say. Start from [`Slots::new`] and fill what is known. `Debug` does not show the link.
#[derive(Clone, PartialEq, Eq)]
pub struct Slots {
    /// The name of the product that writes.
    pub product: String,
    /// When it happened, in milliseconds since 1970 UTC; shown in UTC, to the minute.
    pub when_ms: i64,
    /// Who caused it. `ResetPassword`, `AccountLocked` and `SessionsEnded` say it.
    pub by: By,
    /// The one link of the letter, with its token where it has one. Letters that do not need it ([`Template::needs_link`])
    /// leave the sentence out: `Welcome` links to signing in, the others to the page for a forgotten password.
    pub link: Option<String>,
    /// How long the link works, in minutes.
    pub link_minutes: Option<u32>,
    /// How long a lock by wrong passwords lasts, in minutes; `None`: until a new password is chosen.
    pub lock_minutes: Option<u32>,
    /// How the person is called. Never used before the address is proved.
    pub display_name: Option<String>,
    /// The address of who did it. Not shown when that was an administrator.
    pub ip: Option<String>,
    /// The `User-Agent` of who did it, as sent; shown as words we know. Not shown when that was an administrator.
    pub agent: Option<String>,
}

impl Slots {
    /// What every letter has; all else empty.
    pub fn new(product: impl Into<String>, when_ms: i64) -> Slots {
        Slots {
            product: product.into(),
            when_ms,
            by: By::default(),
            link: None,
            link_minutes: None,
            lock_minutes: None,
            display_name: None,
            ip: None,
            agent: None,
        }
    }

    /// Slots to try templates with: everything filled, and as little as is allowed, for each [`By`].
    pub(super) fn samples(template: Template) -> Vec<Slots> {
        let token = "AZqcOzIqfQmD8GN-q1xXbA_FRmNhZ3o7L2u9v0yKp4w";
        let bare = Slots {
            link: template
                .needs_link()
                .then(|| format!("http://localhost:8080/verify?token={token}")),
            ..Slots::new("Quivive", 1_763_694_567_000)
        };
        let full = Slots {
            link: bare
                .link
                .clone()
                .or_else(|| Some("http://localhost:8080/forgot".to_owned())),
            link_minutes: Some(15),
            lock_minutes: Some(15),
            display_name: Some("Ada Lovelace".to_owned()),
            ip: Some("203.0.113.7".to_owned()),
            agent: Some(
                "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0".to_owned(),
            ),
            ..bare.clone()
        };
        let all = [By::Person, By::Administrator, By::System];
        all.into_iter()
            .flat_map(|by| [Slots { by, ..full.clone() }, Slots { by, ..bare.clone() }])
            .collect()
    }

    /// The variables of the templates. An empty slot is absent, so that using it without `{% if %}` is an error.
    pub(super) fn view(&self, template: Template, locale: Locale) -> Result<Value, LetterError> {
        let code = template.code();
        match &self.link {
            None if template.needs_link() => {
                return Err(LetterError::LinkMissing { template: code });
            }
            Some(link) if !is_plain_link(link) => {
                return Err(LetterError::LinkUnusable { template: code });
            }
            _ => {}
        }
        // Where an administrator works is none of the reader's business.
        let (ip, agent) = match self.by {
            By::Administrator => (None, None),
            By::Person | By::System => (self.ip.as_deref(), self.agent.as_deref()),
        };
        let ip = ip.and_then(|ip| ip.parse::<IpAddr>().ok());
        Ok(Value::from(Serde(View {
            product: printable(&self.product),
            lang: locale.language_tag(),
            locale: locale.code(),
            by: self.by.code(),
            when: words::moment(self.when_ms, locale),
            link: self.link.as_deref(),
            link_lasts: self
                .link_minutes
                .map(|minutes| words::duration(minutes, locale)),
            lock_lasts: self
                .lock_minutes
                .map(|minutes| words::duration(minutes, locale)),
            name: self
                .display_name
                .as_deref()
                .filter(|_| greets_by_name(template))
                .and_then(plain_name),
            ip: ip.map(|ip| ip.to_canonical().to_string()),
            device: agent.and_then(|agent| words::device(agent, locale)),
            css: words::CSS,
        })))
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = self.link.as_ref().map(|_| "…");
        f.debug_struct("Slots")
            .field("by", &self.by)
            .field("when_ms", &self.when_ms)
            .field("link", &link)
            .finish_non_exhaustive()
    }
}

/// The variables of the templates, by name. Every one may appear in an override.
#[derive(serde::Serialize)]
struct View<'a> {
    product: String,
    lang: &'static str,
    locale: &'static str,
    by: &'static str,
    when: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_lasts: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock_lasts: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    css: Css,
}

/// Writes a value into a letter. Unlike the engine's own escaping this leaves `/` alone: a link stays readable in the
/// source of the HTML, where spam filters and simple mail programs look for it.
pub(super) fn format_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    let text = match value.as_str() {
        Some(text) if matches!(state.auto_escape(), AutoEscape::Html) && !value.is_safe() => text,
        _ => return escape_formatter(out, state, value),
    };
    for c in text.chars() {
        match c {
            '&' => out.write_str("&amp;")?,
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '"' => out.write_str("&quot;")?,
            '\'' => out.write_str("&#39;")?,
            _ => out.write_char(c)?,
        }
    }
    Ok(())
}

/// Whether the address of this letter's reader was proved by the person whose name we hold.
fn greets_by_name(template: Template) -> bool {
    match template {
        Template::VerifyEmail
        | Template::AlreadyRegistered
        | Template::ResetPassword
        | Template::EmailChangeConfirm => false,
        Template::Welcome
        | Template::PasswordChanged
        | Template::NewDevice
        | Template::AccountLocked
        | Template::AccountDeactivated
        | Template::EmailChanged
        | Template::AccountReactivated
        | Template::TokenReuse
        | Template::SessionsEnded => true,
    }
}

/// A link that means the same in text and in HTML, and that ends where the line ends.
fn is_plain_link(link: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '<' | '>' | '`' | '\\');
    (link.starts_with("https://") || link.starts_with("http://")) && link.chars().all(plain)
}

/// Text on one line, without control characters and without marks that turn the reading direction.
fn printable(text: &str) -> String {
    super::one_line(&text.replace(turns_direction, ""))
}

/// A name as we would write it, or nothing when it is not one: too long, or something a mail program might link.
fn plain_name(name: &str) -> Option<String> {
    let name = printable(name);
    let linkable = name.contains(['/', '\\', ':', '@', '<', '>', '[', ']', '(', ')', '#'])
        || name
            .split('.')
            .skip(1)
            .any(|rest| rest.starts_with(char::is_alphanumeric));
    let fits = !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX;
    (fits && !linkable).then_some(name)
}

/// Marks that reorder what stands behind them, with which a name could rewrite the line it is in.
fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
