//! What each template is given. `t` holds the words in the reader's language, `product` the configured name.

use askama::Template;

use super::texts::Texts;
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
    /// `/verify/done`
    Verified = "verified.html";
    /// `/reset/done`
    ResetDone = "reset_done.html";
    /// `/email-sent`
    EmailSent = "email_sent.html";
    /// `/setup/done`
    SetupDone = "setup_done.html";
}

/// `/verify`
#[derive(Template)]
#[template(path = "verify.html")]
pub(super) struct Verify<'a> {
    pub(super) t: &'static Texts,
    pub(super) product: &'a str,
    pub(super) token: &'a str,
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
