//! What the product needs from outside, by family. Each port is object-safe: reads are boxed futures, changes are plain
//! functions that build a [`Write`](quivive_delivery::Write) for the commit.
//!
//! Time and ids are [`quivive_delivery::Clock`] and [`quivive_delivery::Ids`].

mod accounts;
mod answers;
mod api_keys;
mod attempts;
mod custom_events;
mod deliveries;
mod guesses;
mod letters;
mod one_time;
mod people;
mod search;
mod secrets;
mod sessions;
mod statistics;
mod webhooks;

use std::time::Duration;

use quivive_delivery::{BoxFuture, Fault};

pub use accounts::{Accounts, EmailChange};
pub use answers::{Answered, Answers};
pub use api_keys::{ApiKeyView, ApiKeys};
pub use attempts::{OpenAttempt, OpenAttempts, Waiting};
pub use custom_events::{EventSchema, EventSchemas, Receipt, Receipts};
pub use deliveries::{Deliveries, Positions};
pub use guesses::{Guesses, Path};
pub use letters::{Letter, MailError, Mailer};
pub use one_time::OneTimeTokens;
pub use people::{Contact, Crm, CrmError, Profiles};
pub use search::{Criterion, EventIndex, IndexEntry, Related, Tag};
pub use secrets::{
    AccessClaims, AccessTokens, Entrance, HashTicket, KeyRing, OldKeys, PasswordHasher,
    RotatedKeys, UnusableHash, Verdict,
};
pub use sessions::{Device, ListedSession, NewDevice, NewRefreshToken, SessionView, Sessions};
pub use statistics::{SignInCount, SignInStatistics, SignIns};
pub use webhooks::{
    Answer, Attempt, CallError, Endpoint, Headers, Outlet, Post, ReadyKeys, Signer, StoredRecovery,
    StoredSecret, Webhooks,
};

/// A read of state.
pub type Read<'a, T> = BoxFuture<'a, Result<T, Fault>>;

/// How long an answer that must not tell whether an account exists takes at least; longer work takes the next multiple.
pub const EVEN_ANSWER: Duration = Duration::from_millis(100);
