//! Webhook endpoints: what may be one, which addresses may be called, how a message is signed and when it is tried again.
//!
//! After Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`; HMAC-SHA256 as `v1`, Ed25519 as `v1a`.

mod address;
mod answer;
mod events;
mod signing;
mod target;

use std::time::Duration;

pub use address::is_public;
pub use answer::retry_after;
pub use events::{MAX_PATTERNS, Pattern};
pub use signing::{SignatureHeader, SigningKeys, signed_content};
pub use target::{Reach, Refused, Target, Unfit};

/// How long the secret before the newest one goes on being signed with.
pub const OVERLAP: Duration = Duration::from_hours(24);

/// How long an endpoint may do nothing but fail.
pub const MAX_FAILING: Duration = Duration::from_hours(5 * 24);

/// The longest wait that an endpoint may ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// Whether messages that are about the same key wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    #[default]
    None,
    Key,
}

impl Order {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Key => "key",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        [Self::None, Self::Key]
            .into_iter()
            .find(|order| order.as_str() == word)
    }
}

/// Which signatures a message has. One that nobody verifies costs as much as one that somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signatures {
    #[default]
    All,
    /// HMAC-SHA256.
    V1,
    /// Ed25519, which costs some ten times as much.
    V1a,
}

impl Signatures {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::V1 => "v1",
            Self::V1a => "v1a",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        [Self::All, Self::V1, Self::V1a]
            .into_iter()
            .find(|signatures| signatures.as_str() == word)
    }
}

/// Why nothing is sent to an endpoint any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disabled {
    /// An operator said so.
    Operator,
    /// It answered 410: it wants no more.
    Gone,
    /// It did nothing but fail for [`MAX_FAILING`].
    Failing,
}

impl Disabled {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        [Self::Operator, Self::Gone, Self::Failing]
            .into_iter()
            .find(|reason| reason.as_str() == word)
    }
}
