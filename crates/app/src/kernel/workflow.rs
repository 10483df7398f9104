//! What a workflow is.

use std::time::Duration;

use quivive_delivery::gate::Room;
use quivive_delivery::{Codes, Event, Fault, Key, Time, Write};
use quivive_domain::{ApiKeyId, UserId};
use uuid::Uuid;

use super::commit::Commit;
use super::cx::Cx;
use super::months::month_vault_key;
use crate::ports::Path;

/// Why an outcome is Failed: one of the workflow's own codes, or `interrupted`, `conflict`, `vetoed`, `internal`.
pub use quivive_delivery::Code as Reason;

/// One command of the product. Its three event types make the triple complete; the kernel raises them.
///
/// `run` is pure but for reads: it decides on what it has read and may be called again when a guard misses.
pub trait Workflow: Send + Sync + Sized + 'static {
    /// As in the catalogue: `password_reset_confirm`.
    const NAME: &'static str;
    /// Whether it hashes passwords: then it takes a place in the hashing queue before anything else happens.
    const HASHES: bool = false;
    /// Whether the attempt is durable before anything is decided: because the time of its answer may not tell if there is an
    /// account (a decision without reads would share a sync with its attempt, and one with reads would not), or because others
    /// commit at its word what must not come before the attempt in the log.
    const ATTEMPT_FIRST: bool = false;
    /// How long it may run before the sweeper closes its attempt.
    const DEADLINE: Duration = Duration::from_mins(1);
    /// The reason when a waiting attempt reaches its deadline.
    const EXPIRED: &'static str = "interrupted";

    type Attempted: Event;
    type Succeeded: Event;
    type Failed: Event;
    /// The business refusals; each becomes `Failed { reason }`.
    type Refusal: Codes + Send + 'static;
    type Reply: Send + 'static;

    /// Whom it is about: the ordering key of all its events, fixed here.
    fn subject(&self, cx: &Cx) -> impl Future<Output = Result<Subject, Fault>> + Send;

    /// A guess to reserve in the attempt's commit.
    fn reserve(&self, cx: &Cx) -> impl Future<Output = Result<Reservation, Fault>> + Send {
        let _ = cx;
        async { Ok(Reservation::NotNeeded) }
    }

    fn attempted(&self, subject: &Subject) -> Self::Attempted;

    fn failed(attempted: &Self::Attempted, subject: &Subject, reason: Reason) -> Self::Failed;

    fn run(&self, cx: &Cx) -> impl Future<Output = Run<Self>> + Send;
}

/// What `run` gives.
pub type Run<W> = Result<Decision<W>, Fault>;

/// What a workflow decided. The commit is applied whichever it is.
pub enum Decision<W: Workflow> {
    Succeed(Commit, W::Succeeded, W::Reply),
    Refuse(Commit, W::Refusal),
    /// The outcome comes later, from another request, or at `until` as `Failed { EXPIRED }`.
    Wait {
        until: Time,
        commit: Commit,
        reply: W::Reply,
    },
}

/// The workflow did what it was asked.
#[expect(clippy::unnecessary_wraps, reason = "what `run` ends with")]
pub fn succeed<W: Workflow>(commit: Commit, succeeded: W::Succeeded, reply: W::Reply) -> Run<W> {
    Ok(Decision::Succeed(commit, succeeded, reply))
}

/// A business "no" that changes nothing.
#[expect(clippy::unnecessary_wraps, reason = "what `run` ends with")]
pub fn refuse<W: Workflow>(refusal: W::Refusal) -> Run<W> {
    Ok(Decision::Refuse(Commit::default(), refusal))
}

/// A business "no" that leaves something behind: a counter, a lock.
#[expect(clippy::unnecessary_wraps, reason = "what `run` ends with")]
pub fn refuse_with<W: Workflow>(refusal: W::Refusal, commit: Commit) -> Run<W> {
    Ok(Decision::Refuse(commit, refusal))
}

/// The outcome waits for the person.
#[expect(clippy::unnecessary_wraps, reason = "what `run` ends with")]
pub fn wait<W: Workflow>(until: Time, commit: Commit, reply: W::Reply) -> Run<W> {
    Ok(Decision::Wait {
        until,
        commit,
        reply,
    })
}

/// What a workflow says of its guess before it may be evaluated.
#[derive(Debug)]
pub enum Reservation {
    NotNeeded,
    /// `take` is the guarded write that takes the place. `give_back` joins every commit of the workflow that does not
    /// settle the guess: a refusal for another reason, a fault, a panic, a conflict.
    Take {
        path: Path,
        take: Write,
        give_back: Write,
    },
    /// Every place is taken by a guess under way; ask again shortly.
    Busy,
    /// The path is closed: evaluate nothing.
    Closed,
}

/// How long the kernel asks again while every place is taken, and how many workflows may do so at once. As many as have
/// places for hashing, which they leave meanwhile: guesses at one account hold up nobody else.
pub(super) const RESERVE_PATIENCE: Duration = Duration::from_secs(3);
pub(super) const RESERVE_PAUSE: Duration = Duration::from_millis(20);
pub(super) const RESERVE_WAITERS: usize = 256;

/// How many workflows may be under way, but for those that hash, and how long one may take under a flood: it depends on the disk,
/// whose sync the quickest has waited for. A burst of so many is over in a tenth of a second. As many as stay at the least keep the
/// writer busy.
pub(super) const UNDER_WAY: Room = Room {
    least: 16,
    most: 256,
    quick: Duration::from_millis(8),
    slow: Duration::from_millis(100),
};

/// When who found no place should come again.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// Whom a workflow is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Also one that comes to be with the outcome, if it succeeds: what is personal of its attempt goes when it is erased, too.
    Account(UserId),
    /// A keyed digest, where no account is known: of an address, a token or a source.
    Digest {
        kind: &'static str,
        digest: [u8; 32],
    },
    /// The server itself.
    System,
}

impl Subject {
    pub(crate) fn key(&self) -> Key {
        match self {
            Self::Account(id) => Key::new("account", id),
            Self::Digest { kind, digest } => Key::new(kind, hex(&digest[..16])),
            Self::System => Key::new("system", "all"),
        }
    }

    /// As the envelope shows it: the user's id, or the digest with its kind, or nothing.
    pub(crate) fn shown(&self) -> Option<String> {
        match self {
            Self::Account(id) => Some(id.to_string()),
            Self::Digest { .. } => Some(self.key().as_str().to_owned()),
            Self::System => None,
        }
    }

    pub fn account(&self) -> Option<UserId> {
        match self {
            Self::Account(id) => Some(*id),
            Self::Digest { .. } | Self::System => None,
        }
    }

    /// The name of the key that seals what is personal about it; where there is no account, one for each month.
    pub(crate) fn vault_key(&self, now: Time) -> String {
        match self {
            Self::Account(id) => account_vault_key(id.0),
            Self::Digest { .. } | Self::System => month_vault_key(now),
        }
    }

    /// From the key of a stored event: enough to build the Failed of an attempt that was left open.
    pub(crate) fn of_key(key: &Key) -> Self {
        let account = key
            .as_str()
            .strip_prefix("account:")
            .and_then(|id| Uuid::parse_str(id).ok());
        account.map_or(Self::System, |id| Self::Account(UserId(id)))
    }
}

pub(crate) fn account_vault_key(id: Uuid) -> String {
    format!("s:{id}")
}

/// Whose key has that name.
pub(crate) fn account_of_vault_key(name: &str) -> Option<Uuid> {
    Uuid::parse_str(name.strip_prefix("s:")?).ok()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    Anonymous,
    User(UserId),
    Admin(UserId),
    /// Whoever holds this API key.
    Service(ApiKeyId),
    System,
}

impl Actor {
    pub(crate) fn envelope(self) -> quivive_delivery::Actor {
        let (kind, id) = match self {
            Self::Anonymous => ("anonymous", None),
            Self::User(id) => ("user", Some(id.0)),
            Self::Admin(id) => ("admin", Some(id.0)),
            Self::Service(id) => ("service", Some(id.0)),
            Self::System => ("system", None),
        };
        quivive_delivery::Actor {
            kind: kind.into(),
            id,
        }
    }

    pub(crate) fn vault_key(self) -> Option<String> {
        match self {
            Self::User(id) | Self::Admin(id) => Some(account_vault_key(id.0)),
            Self::Anonymous | Self::Service(_) | Self::System => None,
        }
    }
}
