//! What the product needs from outside, by family. Each port is object-safe: reads are boxed futures, changes are plain
//! functions that build a [`Write`] for the commit.
//!
//! Time and ids are [`quivive_delivery::Clock`] and [`quivive_delivery::Ids`].

mod webhooks;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::engine::{Behind, Decider, Declined};
use quivive_delivery::subscriber::{Choice, ReadModel, StoredLane};
use quivive_delivery::{BoxFuture, Fault, Stored, Time, Write};
use quivive_domain::api_key::ApiKey;
use quivive_domain::guess::{GuessPolicy, Guesses as GuessCounters};
use quivive_domain::one_time::{OneTimeToken, Purpose};
use quivive_domain::refresh::{GlobalVersion, RefreshToken};
use quivive_domain::session::Session;
use quivive_domain::{
    Account, AccountState, Address, ApiKeyId, DeviceId, FamilyId, Password, PasswordHash, Role,
    SessionId, TokenId, UserId,
};
use uuid::Uuid;

pub use webhooks::{
    Answer, Attempt, CallError, Endpoint, Outlet, Post, ReadyKeys, Signer, StoredSecret, Webhooks,
};

/// A read of state.
pub type Read<'a, T> = BoxFuture<'a, Result<T, Fault>>;

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

    /// Replaces the hash by one of the same password under newer parameters; raises nothing.
    fn rehash(&self, account: &Account, hash: &PasswordHash) -> Write;

    /// Marks the address as verified, whether or not it was.
    fn verify_address(&self, id: UserId, now: Time) -> Write;

    /// Claims the place of the first administrator; misses when it was claimed or there is an administrator.
    fn claim_first_administrator(&self, now: Time) -> Write;

    fn grant_role(&self, account: &Account, role: Role) -> Write;
}

/// What a guess is counted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    Account(UserId),
    Device(DeviceId),
    /// An address that belongs to no account, by its digest: counted all the same, so that nothing tells it from one that
    /// does. It opens by itself and is forgotten 90 days after the last guess.
    Stranger(Uuid),
}

impl Path {
    pub fn stranger(digest: &[u8; 32]) -> Self {
        let [half @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *digest;
        Self::Stranger(Uuid::from_bytes(half))
    }

    /// A device that signed in before has counters of its own, so that a stranger's guesses do not shut out the owner.
    pub fn of(account: UserId, device: Option<&Device>) -> Self {
        match device {
            Some(device) => Self::Device(device.id),
            None => Self::Account(account),
        }
    }

    pub fn id(self) -> Uuid {
        match self {
            Self::Account(id) => id.0,
            Self::Device(id) => id.0,
            Self::Stranger(id) => id,
        }
    }
}

/// Counters of password guesses.
pub trait Guesses: Send + Sync {
    fn counters(&self, path: Path) -> Read<'_, Option<GuessCounters>>;

    /// Opens a path that has no counters yet.
    fn open(&self, path: Path, now: Time) -> Write;

    /// Takes a place in the window; misses when [`GuessPolicy::admission`] would not say `Open`.
    fn reserve(&self, path: Path, policy: &GuessPolicy, now: Time) -> Write;

    /// Counts a reserved guess as wrong. Without `lock_until` it misses when this one reaches the limit of an unlocked path;
    /// with it, it locks, and misses unless this one does.
    fn wrong(&self, path: Path, policy: &GuessPolicy, lock_until: Option<Time>, now: Time)
    -> Write;

    /// Clears the counters after a right password, and frees its place; misses when the path is locked now. Guesses under way
    /// keep their places.
    fn clear(&self, path: Path, now: Time) -> Write;

    /// Gives back a place that was taken at `reserved_at` for a guess that was not evaluated as wrong. Changes nothing when
    /// the window it was taken in is gone, or when every place left belongs to a wrong guess.
    fn give_back(&self, path: Path, reserved_at: Time) -> Write;

    /// Ends the row of wrong guesses on an account's path, and with it the hard limit; a lock goes on.
    fn end_row(&self, account: UserId) -> Write;

    /// Clears the counters and the lock of an account and of all its devices.
    fn unlock(&self, account: UserId, now: Time) -> Write;

    /// Takes a path away: nothing is evaluated on it any more. Misses when it is gone.
    fn close(&self, path: Path) -> Write;

    /// Whether there are strangers' paths that nobody has tried for 90 days.
    fn has_forgettable(&self, now: Time) -> Read<'_, bool>;

    /// Takes them away, some at a time.
    fn forget(&self, now: Time) -> Write;
}

/// One-time tokens and the count of letters that carry them.
pub trait OneTimeTokens: Send + Sync {
    fn by_id(&self, id: TokenId) -> Read<'_, Option<OneTimeToken>>;

    /// Ends the account's open tokens of that purpose.
    fn end_open(&self, account: UserId, purpose: Purpose, now: Time) -> Write;

    fn insert(&self, token: &OneTimeToken, now: Time) -> Write;

    /// The compare-and-set of single use: misses when it was used or ended.
    fn redeem(&self, id: TokenId, now: Time) -> Write;

    /// Counts a letter of a kind to an account within the hour; misses when `limit` are counted already.
    fn count_letter(&self, account: UserId, kind: &'static str, limit: u32, now: Time) -> Write;

    /// How many letters of a kind were counted for the account in the current hour.
    fn letters(&self, account: UserId, kind: &'static str, now: Time) -> Read<'_, u32>;
}

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
    pub expires_at: Time,
}

/// What the check of an access token must know of its session and account.
#[derive(Debug, Clone)]
pub struct SessionView {
    pub session: Session,
    pub account: Account,
    pub global: GlobalVersion,
}

/// Sessions, refresh tokens and devices.
pub trait Sessions: Send + Sync {
    /// A refresh token with its session, account and versions, in one read.
    fn refresh_token(&self, id: TokenId) -> Read<'_, Option<RefreshToken>>;

    /// A session with its account and the global version.
    fn view(&self, id: SessionId) -> Read<'_, Option<SessionView>>;

    /// The account's sessions that were not ended, oldest first.
    fn open_of(&self, account: UserId) -> Read<'_, Vec<Session>>;

    /// How many refresh tokens the family of this one has: as many as its last generation says. 0 for an unknown token.
    fn family_size(&self, token: TokenId) -> Read<'_, u32>;

    fn global_version(&self) -> Read<'_, GlobalVersion>;

    /// The account's device with that token, by the token's SHA-256.
    fn device(&self, account: UserId, token_hash: [u8; 32]) -> Read<'_, Option<Device>>;

    /// The account's devices, in no order.
    fn devices(&self, account: UserId) -> Read<'_, Vec<Device>>;

    /// Misses when the account has `max` devices.
    fn insert_device(&self, device: &NewDevice, max: u32, now: Time) -> Write;

    /// Notes that a device signed in; misses when it is gone.
    fn use_device(&self, device: &Device, now: Time) -> Write;

    /// Forgets a device; misses when it is gone.
    fn remove_device(&self, device: &Device) -> Write;

    /// Changes nothing; misses when the account has a device but `except`.
    fn no_device_but(&self, account: UserId, except: Option<DeviceId>) -> Write;

    /// Misses when the account has `max` sessions that were not ended.
    fn insert_session(&self, session: &Session, max: u32) -> Write;

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

    /// Notes activity; misses when the session was ended.
    fn touch(&self, session: SessionId, idle_until: Time, now: Time) -> Write;

    /// Ends a session; misses when it was ended.
    fn end(&self, session: SessionId, now: Time) -> Write;

    /// Changes nothing; misses when the account has a session but `except` that was not ended.
    fn no_session_but(&self, account: UserId, except: Option<SessionId>) -> Write;
}

/// An API key with what the check of it must know.
#[derive(Debug, Clone)]
pub struct ApiKeyView {
    pub key: ApiKey,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    pub owner_state: AccountState,
    pub owner_roles: Vec<Role>,
}

/// What services sign their requests with.
pub trait ApiKeys: Send + Sync {
    /// A key with its owner's standing, in one read.
    fn view(&self, id: ApiKeyId) -> Read<'_, Option<ApiKeyView>>;

    /// Newest first, those that are over among them; at most `limit`.
    fn list(&self, limit: u32) -> Read<'_, Vec<ApiKey>>;

    /// Misses when the id is taken.
    fn insert(&self, key: &ApiKey, hash: [u8; 32]) -> Write;

    /// Misses when it is not there or was revoked.
    fn revoke(&self, id: ApiKeyId, now: Time) -> Write;

    /// Notes that it was used.
    fn note_use(&self, id: ApiKeyId, now: Time) -> Write;
}

/// A version of a registered event type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSchema {
    pub kind: String,
    /// From 1.
    pub version: u32,
    pub schema: serde_json::Value,
    /// The same for all versions of a type: see [`quivive_delivery::Catalogue::order_key`].
    pub order_key: Option<String>,
    pub created_at: Time,
}

/// The registered event types.
pub trait EventSchemas: Send + Sync {
    /// By type and version.
    fn all(&self) -> Read<'_, Vec<EventSchema>>;

    /// By version.
    fn of_type(&self, kind: &str) -> Read<'_, Vec<EventSchema>>;

    /// Misses when that version is taken.
    fn insert(&self, schema: &EventSchema) -> Write;
}

/// That an event was appended for what a service handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub token: [u8; 32],
    pub content: [u8; 32],
    pub event_id: Uuid,
}

/// How repetitions are known.
pub trait Receipts: Send + Sync {
    fn find(&self, token: [u8; 32]) -> Read<'_, Option<Receipt>>;

    /// Misses when there is one with that token.
    fn insert(&self, receipt: &Receipt, now: Time) -> Write;

    /// Whether there are some that are seven days old.
    fn has_forgettable(&self, now: Time) -> Read<'_, bool>;

    /// Takes them away, some at a time.
    fn forget(&self, now: Time) -> Write;
}

/// An attempt that has no outcome yet.
#[derive(Debug, Clone)]
pub struct OpenAttempt {
    pub workflow_id: Uuid,
    /// The type of its Attempted event.
    pub kind: String,
    pub attempted_id: Uuid,
    /// The head of the log when it was submitted: its event lies above.
    pub after: u64,
    pub deadline: Time,
    /// Waiting for the person, not running.
    pub waiting: bool,
    /// Which run of which server opened it.
    pub node: Uuid,
}

/// The kernel's own table.
pub trait OpenAttempts: Send + Sync {
    /// Those that a crash or a deadline left behind: running ones of another node or past their deadline, and waiting ones
    /// past theirs.
    fn abandoned(&self, node: Uuid, now: Time) -> Read<'_, Vec<OpenAttempt>>;

    fn find(&self, workflow_id: Uuid) -> Read<'_, Option<OpenAttempt>>;

    fn open(&self, attempt: &OpenAttempt) -> Write;

    /// Misses when another has closed it.
    fn close(&self, workflow_id: Uuid) -> Write;

    /// Turns a running attempt into a waiting one.
    fn wait(&self, workflow_id: Uuid, until: Time) -> Write;
}

/// From which position to which, both included; `None`: as far as there is something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Positions {
    pub from: Option<u64>,
    pub to: Option<u64>,
}

/// What an operator may change of the delivery engine: of the one that runs or, where none does, of what it goes on from.
pub trait Deliveries: Send + Sync {
    /// Nothing of it is delivered until it is resumed.
    fn pause<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<(), Declined>>;

    fn resume<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<(), Declined>>;

    /// How many dead letters are meant.
    fn count<'a>(
        &'a self,
        subscription: &'a str,
        choice: &'a Choice,
    ) -> BoxFuture<'a, Result<u64, Declined>>;

    /// Delivers dead letters again, `per_second` at most where that is given. Answers with how many are meant.
    fn redrive<'a>(
        &'a self,
        subscription: &'a str,
        choice: Choice,
        per_second: Option<NonZeroU32>,
        by: Decider,
    ) -> BoxFuture<'a, Result<u64, Declined>>;

    /// Passes over dead letters, for good. Answers with how many are meant.
    fn discard<'a>(
        &'a self,
        subscription: &'a str,
        choice: Choice,
        reason: String,
        by: Decider,
    ) -> BoxFuture<'a, Result<u64, Declined>>;

    /// How many positions a replay would go through.
    fn would_replay<'a>(
        &'a self,
        subscription: &'a str,
        range: Positions,
    ) -> BoxFuture<'a, Result<u64, Declined>>;

    /// Delivers events again, beside those that go on. Answers with how many positions there are to go through.
    fn replay<'a>(
        &'a self,
        subscription: &'a str,
        range: Positions,
        by: Decider,
    ) -> BoxFuture<'a, Result<u64, Declined>>;

    /// What waits behind a dead letter; `None` where nobody can tell.
    fn behind<'a>(
        &'a self,
        subscription: &'a str,
        letter: &'a StoredLane,
    ) -> BoxFuture<'a, Result<Option<Behind>, Declined>>;
}

/// A keyed digest of something personal, short enough for an index: half of an HMAC-SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(pub [u8; 16]);

impl Tag {
    pub fn of(digest: &[u8; 32]) -> Self {
        let [half @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *digest;
        Self(half)
    }
}

/// What events that are looked for have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Criterion {
    /// By its dotted name.
    Type(String),
    /// As the envelope has it.
    Subject(String),
    Workflow(Uuid),
    Correlation(Uuid),
    Address(Tag),
    Ip(Tag),
}

/// One event, as the index has it.
#[derive(Debug, Clone, Copy)]
pub struct IndexEntry<'a> {
    pub event: &'a Stored,
    pub address: Option<Tag>,
    pub ip: Option<Tag>,
}

/// The index of the log. It is filled behind the log, so the newest events are not in it yet.
pub trait EventIndex: Send + Sync {
    /// Everything up to this position is in it.
    fn reaches(&self) -> Read<'_, u64>;

    /// Where the event of that id is, however new it is.
    fn position_of(&self, id: Uuid) -> Read<'_, Option<u64>>;

    /// The events of a workflow or of a chain of causes, oldest first, at most `limit`, however new they are.
    fn related(&self, id: Related, limit: u32) -> Read<'_, Vec<Stored>>;

    /// Those of its events below a position that meet the criterion, newest first, at most `limit`.
    fn search(&self, criterion: &Criterion, below: u64, limit: u32) -> Read<'_, Vec<Stored>>;

    /// Adds what follows `after`, where it must reach to, and is dense. Misses when it reaches elsewhere.
    fn fill(&self, after: u64, entries: &[IndexEntry<'_>]) -> Vec<Write>;
}

/// What holds events together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Related {
    Workflow(Uuid),
    Correlation(Uuid),
}

/// A place in the hashing queue. Dropping it gives the place back.
pub type HashTicket = Arc<dyn std::any::Any + Send + Sync>;

/// Whether a password fits a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub matches: bool,
    /// The hash was made with older parameters; make a new one while the password is at hand.
    pub outdated: bool,
}

/// Password hashing: slow on purpose, in threads and memory of its own.
pub trait PasswordHasher: Send + Sync {
    /// A place in the bounded queue, for one workflow; [`Fault::Busy`] when it is full.
    fn admit(&self) -> Result<HashTicket, Fault>;

    fn hash(&self, ticket: &HashTicket, password: &Password) -> Read<'_, PasswordHash>;

    /// `None` as hash: the same work against a hash that nothing fits, so that an unknown account costs what a known does.
    fn verify(
        &self,
        ticket: &HashTicket,
        password: &Password,
        hash: Option<&PasswordHash>,
    ) -> Read<'_, Verdict>;
}

/// Keys of the server, apart from the database. What they make is compared in constant time.
pub trait KeyRing: Send + Sync {
    /// The id of the key that new tokens are made with.
    fn current(&self) -> &str;

    /// HMAC-SHA-256 under the key of that id for that purpose; `None` when there is no such key any more.
    fn mac(&self, key: &str, purpose: &'static str, message: &[u8]) -> Option<[u8; 32]>;

    /// A keyed digest that outlives rotations: for devices and the like, never for secrets.
    fn digest(&self, purpose: &'static str, bytes: &[u8]) -> [u8; 32];
}

/// What an access token says. Times are seconds since 1970, as in RFC 9068.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AccessClaims {
    pub iss: String,
    pub aud: String,
    pub sub: UserId,
    pub iat: i64,
    pub exp: i64,
    pub jti: Uuid,
    pub sid: SessionId,
    pub roles: Vec<Role>,
    /// The global token version it was issued under.
    pub gv: u32,
    /// The user's.
    pub uv: u32,
    pub amr: Vec<String>,
    pub auth_time: i64,
}

/// Signs and verifies access tokens: the one place that does.
pub trait AccessTokens: Send + Sync {
    fn sign(&self, claims: &AccessClaims) -> Result<String, Fault>;

    /// The claims of a token that one of our keys signed, of type `at+jwt`, for this issuer and audience, and in its time.
    fn verify(&self, token: &str, now: Time) -> Option<AccessClaims>;

    /// The public keys, as a JSON Web Key Set (RFC 7517).
    fn jwks(&self) -> serde_json::Value;
}

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

/// Profiles of accounts.
pub trait Profiles: Send + Sync {
    /// Gives the account one, unless it has one; `process` is what does.
    fn create(&self, account: UserId, process: Uuid, now: Time) -> Write;

    /// Removes it if it was this process that made it.
    fn remove(&self, account: UserId, process: Uuid) -> Write;
}

/// Somebody, as the customer relations of the operator are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    pub user_id: UserId,
    pub email: Address,
    pub display_name: Option<String>,
    pub locale: String,
}

/// Why the customer relations were not told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CrmError {
    /// Worth another try, not before this much time has passed.
    #[error("{why}")]
    Transient {
        retry_after: Option<Duration>,
        why: String,
    },
    /// It will not take this one.
    #[error("{0}")]
    Permanent(String),
}

/// Customer relations management, elsewhere.
pub trait Crm: Send + Sync {
    /// Adds a contact. `idempotency_key` is the same for every try.
    fn add<'a>(
        &'a self,
        contact: &'a Contact,
        idempotency_key: &'a str,
    ) -> BoxFuture<'a, Result<(), CrmError>>;

    /// Removes a contact; well, too, where there is none.
    fn remove<'a>(
        &'a self,
        user_id: UserId,
        idempotency_key: &'a str,
    ) -> BoxFuture<'a, Result<(), CrmError>>;
}

/// What is counted of sign-ins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignIns {
    Attempted,
    Succeeded,
    Failed,
}

impl SignIns {
    pub const ALL: [Self; 3] = [Self::Attempted, Self::Succeeded, Self::Failed];

    pub fn word(self) -> &'static str {
        match self {
            Self::Attempted => "attempted",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// One count of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInCount {
    /// Since 1970, UTC.
    pub day: i64,
    pub what: SignIns,
    /// Why they failed; else empty.
    pub reason: String,
    pub count: u64,
}

/// Sign-ins a day, kept by a subscription in generations.
pub trait SignInStatistics: ReadModel {
    /// One more.
    fn count_sign_in(&self, generation: u32, day: i64, what: SignIns, reason: &str) -> Write;

    /// Those of the subscription's generation, of the days from one to another, by day.
    fn sign_ins(
        &self,
        subscription: &'static str,
        from: i64,
        to: i64,
    ) -> Read<'_, Vec<SignInCount>>;
}

/// How long an answer that must not tell whether an account exists takes at least; longer work takes the next multiple.
pub const EVEN_ANSWER: Duration = Duration::from_millis(100);
