//! Tokens that letters carry and that serve once.

use quivive_delivery::{Time, Write};
use quivive_domain::one_time::{OneTimeToken, Purpose};
use quivive_domain::{TokenId, UserId};

use super::Read;

/// One-time tokens and the count of letters that carry them.
pub trait OneTimeTokens: Send + Sync {
    fn by_id(&self, id: TokenId) -> Read<'_, Option<OneTimeToken>>;

    /// Ends the account's open tokens of that purpose.
    fn end_open(&self, account: UserId, purpose: Purpose, now: Time) -> Write;

    /// Ends the account's open tokens of that purpose that were made after this one.
    fn end_newer(&self, than: TokenId, account: UserId, purpose: Purpose, now: Time) -> Write;

    fn insert(&self, token: &OneTimeToken, now: Time) -> Write;

    /// The compare-and-set of single use: misses when it was used or ended.
    fn redeem(&self, id: TokenId, now: Time) -> Write;

    /// Counts a letter of a kind to an account within the hour; misses when `limit` are counted already.
    fn count_letter(&self, account: UserId, kind: &'static str, limit: u32, now: Time) -> Write;

    /// How many letters of a kind were counted for the account in the current hour.
    fn letters(&self, account: UserId, kind: &'static str, now: Time) -> Read<'_, u32>;
}
