//! People's accounts.

use quivive_delivery::{Time, Write};
use quivive_domain::{Account, AccountState, Address, PasswordHash, Role, TokenId, UserId};

use super::{Read, Waiting};

/// An address that an account is to go by, once a letter's token is presented.
#[derive(Debug, Clone)]
pub struct EmailChange {
    pub token: TokenId,
    pub account: UserId,
    pub address: Address,
    /// The change that waits for it; `None` where the token takes one back.
    pub attempt: Option<Waiting>,
}

/// People's accounts.
pub trait Accounts: Send + Sync {
    fn by_id(&self, id: UserId) -> Read<'_, Option<Account>>;

    fn by_address(&self, address: &Address) -> Read<'_, Option<Account>>;

    /// How many active administrators there are.
    fn administrators(&self) -> Read<'_, u32>;

    /// The account's earlier password hashes, newest first, the current one not among them.
    fn password_history(&self, id: UserId, limit: u32) -> Read<'_, Vec<PasswordHash>>;

    /// A new account with its password path open. Misses when the canonical address is taken.
    fn insert(&self, account: &Account) -> Vec<Write>;

    /// Misses when anything has raised the account's security version since it was read.
    fn fence(&self, account: &Account, now: Time) -> Write;

    /// Sets the hash, or none, keeps the old one in the history (the newest `keep`), and raises credential epoch, security version
    /// and token version.
    fn set_password(
        &self,
        account: &Account,
        hash: Option<&PasswordHash>,
        keep: u32,
        now: Time,
    ) -> Vec<Write>;

    /// Leaves the account's tokens behind: raises token version and security version. Misses when anything has raised the
    /// latter since it was read.
    fn rotate(&self, account: &Account, now: Time) -> Write;

    /// Replaces the hash by one of the same password under newer parameters; raises nothing.
    fn rehash(&self, account: &Account, hash: &PasswordHash) -> Write;

    /// Marks the address as verified, whether or not it was.
    fn verify_address(&self, id: UserId, now: Time) -> Write;

    /// Lets it go by another address, which is proved, and raises credential epoch and security version. Misses when
    /// anything has raised the security version since it was read, or another account goes by that address.
    fn set_email(&self, account: &Account, address: &Address, now: Time) -> Write;

    fn email_change(&self, token: TokenId) -> Read<'_, Option<EmailChange>>;

    /// Those of an account that wait, by their tokens.
    fn open_email_changes(&self, account: UserId) -> Read<'_, Vec<EmailChange>>;

    fn insert_email_change(&self, change: &EmailChange) -> Write;

    /// Misses when it is gone.
    fn end_email_change(&self, token: TokenId) -> Write;

    /// Gives it another state, raises its security version and, when it is deactivated, its credential epoch. Misses when
    /// anything has raised the security version since it was read.
    fn set_state(&self, account: &Account, state: AccountState, now: Time) -> Write;

    /// Changes nothing; misses when there is no active administrator but this one.
    fn another_administrator(&self, but: UserId, now: Time) -> Write;

    /// Accounts whose ids follow `after`, by id, at most `limit`; those in a state, where one is given.
    fn page(
        &self,
        after: Option<UserId>,
        state: Option<AccountState>,
        limit: u32,
    ) -> Read<'_, Vec<Account>>;

    /// Accounts without a role beside the default one whose address was never verified and that are no younger than `before`,
    /// oldest first, at most `limit`.
    fn never_verified(&self, before: Time, limit: u32) -> Read<'_, Vec<UserId>>;

    /// Those of them that there are, in one read however many are asked for.
    fn those_there(&self, ids: &[UserId]) -> Read<'_, Vec<UserId>>;

    /// Those of these canonical addresses that somebody has, in one read however many are asked for.
    fn taken(&self, addresses: &[String]) -> Read<'_, Vec<String>>;

    /// Takes the account away with what is kept beside it: earlier passwords, counters, devices, links, letters' counts and
    /// profile. Its sessions must have ended; what is left of those are ids and times. Misses when anything has raised the
    /// account's security version, or verified its address, since it was read.
    fn erase(&self, account: &Account) -> Vec<Write>;

    /// When this answers, no file of the database holds what was taken away before, not even where it is not looked for.
    fn scrub(&self) -> Read<'_, ()>;

    /// Claims the place of the first administrator; misses when it was claimed or there is an administrator.
    fn claim_first_administrator(&self, now: Time) -> Write;

    fn grant_role(&self, account: &Account, role: Role) -> Write;
}
