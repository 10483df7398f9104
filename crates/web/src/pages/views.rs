//! What each template is given. `t` holds the words in the reader's language, `product` the configured name.

use askama::Template;

use super::texts::{Notice, Page, Texts};
use crate::KeptLetter;

/// Templates that only tell.
macro_rules! notices {
    ($($(#[$doc:meta])* $name:ident = $path:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Template)]
        #[template(path = $path)]
        pub(super) struct $name<'a> {
            pub(super) t: &'static Texts,
            pub(super) product: &'a str,
        }
    )*};
}

notices! {
    /// `/`
    Home = "home.html";
    /// `/reset/done`
    ResetDone = "reset_done.html";
    /// `/email-sent`
    EmailSent = "email_sent.html";
    /// `/setup/done`
    SetupDone = "setup_done.html";
}

/// A link of a letter that one button uses: `/verify`, `/email-change`, `/email-revert`.
#[derive(Template)]
#[template(path = "link.html")]
pub(super) struct Link<'a> {
    pub(super) t: &'static Texts,
    pub(super) product: &'a str,
    pub(super) page: &'static Page,
    /// Where the button leads.
    pub(super) action: &'static str,
    pub(super) token: &'a str,
}

/// After the button was pressed.
#[derive(Template)]
#[template(path = "link_done.html")]
pub(super) struct LinkDone<'a> {
    pub(super) t: &'static Texts,
    pub(super) product: &'a str,
    pub(super) notice: &'static Notice,
}

/// `/reset`
#[derive(Template)]
#[template(path = "reset.html")]
pub(super) struct Reset<'a> {
    pub(super) t: &'static Texts,
    pub(super) product: &'a str,
    pub(super) token: &'a str,
    pub(super) password_chars_min: usize,
    pub(super) error: Option<&'a str>,
}

/// `/forgot`
#[derive(Template)]
#[template(path = "forgot.html")]
pub(super) struct Forgot<'a> {
    pub(super) t: &'static Texts,
    pub(super) product: &'a str,
    pub(super) email: &'a str,
    pub(super) error: Option<&'a str>,
}

/// `/setup`
#[derive(Template)]
#[template(path = "setup.html")]
pub(super) struct Setup<'a> {
    pub(super) t: &'static Texts,
    pub(super) product: &'a str,
    pub(super) token: &'a str,
    pub(super) email: &'a str,
    pub(super) password_chars_min: usize,
    pub(super) email_error: Option<&'a str>,
    pub(super) password_error: Option<&'a str>,
}

/// Something cannot be done.
#[derive(Template)]
#[template(path = "problem.html")]
pub(super) struct Problem<'a> {
    pub(super) t: &'static Texts,
    pub(super) product: &'a str,
    pub(super) title: &'a str,
    pub(super) detail: &'a str,
    /// A path; else the start page.
    pub(super) back: Option<&'a str>,
    /// What that link says.
    pub(super) back_text: Option<&'a str>,
    pub(super) request_id: Option<&'a str>,
}

/// `/dev/mail`
#[derive(Template)]
#[template(path = "dev_mail.html")]
pub(super) struct DevMail<'a> {
    pub(super) t: &'static Texts,
    pub(super) product: &'a str,
    pub(super) letters: &'a [KeptLetter],
}

#[cfg(test)]
mod tests {
    use quivive_app::letters::Locale;

    use super::*;

    /// Whatever a stranger puts into a field stays text.
    #[test]
    fn what_was_typed_is_never_markup() {
        let nasty = "<script>\"'&";
        for t in [Locale::En, Locale::Pt].map(Texts::of) {
            let letters = [KeptLetter {
                id: nasty.to_owned(),
                to: nasty.to_owned(),
                subject: nasty.to_owned(),
                template: nasty.to_owned(),
                text: format!("https://{nasty}\n{nasty}"),
                html: nasty.to_owned(),
                sent_at: nasty.to_owned(),
            }];
            let (product, error) = (nasty, Some(nasty));
            let setup = Setup {
                t,
                product,
                token: nasty,
                email: nasty,
                password_chars_min: 12,
                email_error: error,
                password_error: error,
            };
            let reset = Reset {
                t,
                product,
                token: nasty,
                password_chars_min: 12,
                error,
            };
            let forgot = Forgot {
                t,
                product,
                email: nasty,
                error,
            };
            let problem = Problem {
                t,
                product,
                title: nasty,
                detail: nasty,
                back: error,
                back_text: error,
                request_id: error,
            };
            let token = nasty;
            let letters = letters.as_slice();
            for page in [
                setup.render(),
                reset.render(),
                forgot.render(),
                problem.render(),
                Link {
                    t,
                    product,
                    page: &t.verify,
                    action: "/verify",
                    token,
                }
                .render(),
                DevMail {
                    t,
                    product,
                    letters,
                }
                .render(),
            ] {
                let page = page.unwrap();
                assert!(page.starts_with("<!doctype html>"), "{page:.60}");
                assert!(!page.contains("<script") && !page.contains("\"'"), "{page}");
            }
        }
    }
}
