//! People's accounts.

use quivive_delivery::{Time, Write};
use quivive_domain::{Account, Address, PasswordHash, Role, UserId};

use super::Read;

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

    /// Sets the hash, keeps the old one in the history (the newest `keep`), and raises credential epoch, security version
    /// and token version.
    fn set_password(
        &self,
        account: &Account,
        hash: &PasswordHash,
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

    /// Claims the place of the first administrator; misses when it was claimed or there is an administrator.
    fn claim_first_administrator(&self, now: Time) -> Write;

    fn grant_role(&self, account: &Account, role: Role) -> Write;
}
