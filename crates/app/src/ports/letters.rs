//! Letters, and who sends them.

use quivive_delivery::BoxFuture;

/// A letter, ready to send.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Where to; as the owner typed it.
    pub to: String,
    /// The template's code.
    pub template: &'static str,
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// Why a letter was not sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MailError {
    /// Worth another try.
    #[error("{0}")]
    Transient(String),
    /// The address or the letter was refused.
    #[error("{0}")]
    Permanent(String),
}

/// Sends letters.
pub trait Mailer: Send + Sync {
    /// `idempotency_key` is the same for every try of one letter; answers with the message's id.
    fn send(
        &self,
        letter: Letter,
        idempotency_key: &str,
    ) -> BoxFuture<'_, Result<String, MailError>>;
}
