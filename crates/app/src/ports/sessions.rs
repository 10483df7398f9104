//! Sessions, their refresh tokens, and the devices they are opened from.

use std::net::IpAddr;

use quivive_delivery::{Time, Write};
use quivive_domain::refresh::{GlobalVersion, RefreshToken};
use quivive_domain::session::Session;
use quivive_domain::{Account, DeviceId, FamilyId, SessionId, TokenId, UserId};

use super::Read;

/// A device that signed in before.
#[derive(Debug, Clone)]
pub struct Device {
    pub id: DeviceId,
    pub account: UserId,
    /// When it last signed in.
    pub used_at: Time,
}

/// A device to remember.
#[derive(Debug, Clone)]
pub struct NewDevice {
    pub id: DeviceId,
    pub account: UserId,
    /// SHA-256 of the device token.
    pub token_hash: [u8; 32],
    pub name: String,
    pub kind: &'static str,
}

/// A refresh token to store.
#[derive(Debug, Clone)]
pub struct NewRefreshToken {
    pub id: TokenId,
    pub hash: [u8; 32],
    pub family: FamilyId,
    pub session: SessionId,
    pub generation: u32,
    pub user_version: u32,
    pub global_version: u32,
    /// When the person proved a factor, for this token's family.
    pub proved_at: Time,
    pub expires_at: Time,
}

/// What the check of an access token must know of its session and account.
#[derive(Debug, Clone)]
pub struct SessionView {
    pub session: Session,
    pub account: Account,
    pub global: GlobalVersion,
}

/// An open session with where it was last used from, as its owner is shown it.
#[derive(Debug, Clone)]
pub struct ListedSession {
    pub session: Session,
    /// The name of its device, unless that was forgotten.
    pub device: Option<String>,
    pub ip: Option<IpAddr>,
}

/// Sessions, refresh tokens and devices.
pub trait Sessions: Send + Sync {
    /// A refresh token with its session, account and versions, in one read.
    fn refresh_token(&self, id: TokenId, now: Time) -> Read<'_, Option<RefreshToken>>;

    /// A session with its account and the global version.
    fn view(&self, id: SessionId, now: Time) -> Read<'_, Option<SessionView>>;

    /// The account's sessions that were not ended, oldest first.
    fn open_of(&self, account: UserId) -> Read<'_, Vec<Session>>;

    /// The same with where each was used from.
    fn list(&self, account: UserId) -> Read<'_, Vec<ListedSession>>;

    /// Sessions that were not ended and, when they were last looked at, were to be over by now; at most `limit`.
    fn due(&self, now: Time, limit: u32) -> Read<'_, Vec<Session>>;

    /// Accounts that have an open session or a device, at most `limit` of each, some perhaps twice.
    fn with_access(&self, limit: u32) -> Read<'_, Vec<UserId>>;

    /// How many refresh tokens the family of this one has: as many as its last generation says. 0 for an unknown token.
    fn family_size(&self, token: TokenId) -> Read<'_, u32>;

    fn global_version(&self, now: Time) -> Read<'_, GlobalVersion>;

    /// Leaves all tokens of lower versions behind, from `cut_off_at` on. Misses when there is such a version already.
    fn rotate_all(&self, version: u32, cut_off_at: Time, now: Time) -> Write;

    /// The account's device with that token, by the token's SHA-256.
    fn device(&self, account: UserId, token_hash: [u8; 32]) -> Read<'_, Option<Device>>;

    /// The account's devices, by the hashes of their tokens: an order by chance, and the same on every database.
    fn devices(&self, account: UserId) -> Read<'_, Vec<Device>>;

    /// Misses when the account has `max` devices.
    fn insert_device(&self, device: &NewDevice, max: u32, now: Time) -> Write;

    /// Notes that a device signed in; misses when it is gone.
    fn use_device(&self, device: &Device, now: Time) -> Write;

    /// Forgets a device; misses when it is gone.
    fn remove_device(&self, device: &Device) -> Write;

    /// Changes nothing; misses when the account has a device but `except`.
    fn no_device_but(&self, account: UserId, except: Option<DeviceId>) -> Write;

    /// Misses when the account has `max` sessions that were not ended. `ip`: where it is opened from.
    fn insert_session(&self, session: &Session, ip: Option<IpAddr>, max: u32) -> Write;

    fn insert_refresh_token(&self, token: &NewRefreshToken, now: Time) -> Write;

    /// The compare-and-set of rotation: misses when the token was used. `key` is the one that the successor is derived under.
    fn use_refresh_token(
        &self,
        id: TokenId,
        successor: TokenId,
        key: &str,
        by: [u8; 32],
        now: Time,
    ) -> Write;

    /// Notes activity, and where from; misses when the session was ended.
    fn touch(&self, session: SessionId, ip: Option<IpAddr>, idle_until: Time, now: Time) -> Write;

    /// Ends a session whose time is over; misses when it was ended or went on.
    fn expire(&self, session: SessionId, now: Time) -> Write;

    /// Looks at a session that went on when it is to be over by now.
    fn look_again(&self, session: SessionId) -> Write;

    /// Ends a session; misses when it was ended.
    fn end(&self, session: SessionId, now: Time) -> Write;

    /// Changes nothing; misses when the account has a session but `except` that was not ended.
    fn no_session_but(&self, account: UserId, except: Option<SessionId>) -> Write;
}
