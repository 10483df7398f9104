//! The vocabulary and the rules of the product: sync and pure. No I/O, no clock, no randomness, no runtime.
//!
//! A rule here is a function of what it is given, so that every workflow, page and test agrees on it.

pub mod account;
pub mod address;
pub mod api_key;
pub mod email;
pub mod guess;
pub mod ids;
pub mod one_time;
pub mod password;
pub mod permission;
pub mod rationale;
pub mod refresh;
pub mod session;
pub mod webhook;

pub use account::{Account, AccountState, PasswordHash, Role};
pub use address::Address;
pub use email::Email;
pub use ids::{ApiKeyId, DeviceId, EndpointId, FamilyId, SessionId, TokenId, UserId};
pub use password::{Password, PasswordPolicy};
pub use permission::Permission;
pub use rationale::Rationale;

/// A moment in UTC, in whole microseconds.
pub type Time = jiff::Timestamp;
