//! What a workflow may see: reads, policies, the request. No log, no transaction, no wall clock of its own.

use std::any::Any;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quivive_delivery::engine::Decider;
use quivive_delivery::{Clock, Fault, Ids, Time};
use quivive_domain::{Account, AccountState, Address, Permission, UserId};
use uuid::Uuid;

use super::commit::Commit;
use super::months::month_vault_key;
use super::raise::Once;
use super::turns::Turns;
use super::workflow::{Actor, Subject};
use crate::access::{Revocations, Said};
use crate::passwords::Passwords;
use crate::ports::{
    AccessTokens, Accounts, Answers, ApiKeys, Deliveries, EventSchemas, Guesses, KeyRing,
    OneTimeTokens, Outlet, PasswordHasher, Path, Receipts, Sessions, SignInStatistics, Signer,
    Waiting, Webhooks,
};
use crate::settings::Settings;

/// The ports by family, as every workflow sees them.
pub struct Families {
    pub accounts: Arc<dyn Accounts>,
    pub guesses: Arc<dyn Guesses>,
    pub one_time: Arc<dyn OneTimeTokens>,
    pub sessions: Arc<dyn Sessions>,
    pub api_keys: Arc<dyn ApiKeys>,
    pub statistics: Arc<dyn SignInStatistics>,
    pub event_schemas: Arc<dyn EventSchemas>,
    pub receipts: Arc<dyn Receipts>,
    pub answers: Arc<dyn Answers>,
    pub webhooks: Arc<dyn Webhooks>,
    pub outlet: Arc<dyn Outlet>,
    pub signer: Arc<dyn Signer>,
    pub keys: Arc<dyn KeyRing>,
    pub access_tokens: Arc<dyn AccessTokens>,
    pub hasher: Arc<dyn PasswordHasher>,
    pub vault: Arc<dyn quivive_delivery::seal::Vault>,
    pub ids: Arc<dyn Ids>,
    pub clock: Arc<dyn Clock>,
    pub deliveries: Arc<dyn Deliveries>,
    pub revocations: Arc<Revocations>,
    /// How far the clocks of two nodes on this database may be apart; nothing where there is one.
    pub skew: Duration,
    pub settings: Settings,
}

impl Families {
    /// Somebody who may that now: their account is active, and a role of theirs grants it.
    pub async fn permitted(
        &self,
        id: UserId,
        permission: Permission,
    ) -> Result<Option<Account>, Fault> {
        let account = self.accounts.by_id(id).await?;
        Ok(account.filter(|account| {
            account.state == AccountState::Active && permission.granted_by(&account.roles).is_some()
        }))
    }

    /// Remembers what was said against access tokens, in a commit of before.
    pub(crate) fn note(&self, said: Said) {
        let lifetime = self.settings.lifetimes.access_token;
        self.revocations.note(said, self.clock.now(), lifetime);
    }

    /// The same, of a commit that may be another node's, by whose clock it is of that time. A token whose issuer's clock was
    /// ahead bears a later time than what was said after it: so it counts as said that much later.
    pub(crate) fn note_heard(&self, said: Said, at: Time) {
        let lifetime = self.settings.lifetimes.access_token;
        let at = self.clock.now().max(at) + self.skew;
        self.revocations.note(said, at, lifetime);
    }
}

/// Where a command came from.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "the field's own word for it")]
pub struct Request {
    pub actor: Actor,
    /// From the socket, or from a trusted proxy. `None` for what the system does by itself.
    pub ip: Option<IpAddr>,
    pub agent: Option<String>,
    pub request_id: Option<String>,
    pub traceparent: Option<String>,
    pub correlation_id: Option<Uuid>,
    /// With which its caller may repeat it: see [`crate::idempotency`].
    pub once: Option<Once>,
}

impl Request {
    /// What nobody asked for over the network.
    pub fn system() -> Self {
        Self {
            actor: Actor::System,
            ip: None,
            agent: None,
            request_id: None,
            traceparent: None,
            correlation_id: None,
            once: None,
        }
    }
}

/// What became of the guess that the attempt reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    NotNeeded,
    /// It is counted on this path since then; it may be evaluated. It is settled there, whatever becomes of the device that
    /// led to the path.
    Reserved {
        path: Path,
        at: Time,
    },
    /// The path is closed; nothing may be evaluated.
    Closed,
}

/// One run of one workflow.
pub struct Cx {
    families: Arc<Families>,
    pub request: Request,
    pub workflow_id: Uuid,
    pub passwords: Passwords,
    pub(super) subject: Option<Subject>,
    pub(super) guess: Guess,
    /// The event of the attempt, once there is one.
    pub(super) attempted_id: Option<Uuid>,
    pub(super) now: Time,
    log_epoch: u64,
    turns: Arc<Turns>,
    kept: Mutex<Option<Box<dyn Any + Send>>>,
}

impl std::ops::Deref for Cx {
    type Target = Families;

    fn deref(&self) -> &Families {
        &self.families
    }
}

impl Cx {
    pub(super) fn new(
        families: Arc<Families>,
        request: Request,
        workflow_id: Uuid,
        log_epoch: u64,
        turns: Arc<Turns>,
    ) -> Self {
        Self {
            passwords: Passwords::new(Arc::clone(&families.hasher)),
            now: families.clock.now(),
            families,
            request,
            workflow_id,
            subject: None,
            guess: Guess::NotNeeded,
            attempted_id: None,
            log_epoch,
            kept: Mutex::default(),
            turns,
        }
    }

    /// Keeps what was read before the attempt, so that the first decision need not read it again.
    pub fn keep<T: Any + Send>(&self, read: T) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(read));
    }

    /// What was kept, once. A decision after a guard has missed finds nothing and reads afresh.
    pub fn kept<T: Any>(&self) -> Option<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.take_if(|kept| kept.is::<T>())?;
        kept.downcast().ok().map(|kept| *kept)
    }

    /// After a wait: what was kept is too old.
    pub(super) fn drop_kept(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The time of what is decided next: no later than what it rests on was read, so that a token that it issues is not taken
    /// for one that knows what was said meanwhile.
    pub(super) fn look_at_the_clock(&mut self) {
        let kept = self.kept.get_mut().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none() {
            self.now = self.families.clock.now();
        }
    }

    /// Who decides here, for what the delivery engine does about it in a commit of its own.
    pub fn decider(&self) -> Decider {
        Decider {
            by: self.request.actor.envelope().id.unwrap_or_default(),
            workflow_id: self.workflow_id,
            correlation_id: self.request.correlation_id.unwrap_or(self.workflow_id),
            causation_id: self.attempted_id,
        }
    }

    /// This attempt, for whoever is to conclude it after it waits.
    pub fn waiting(&self) -> Option<Waiting> {
        let workflow_id = self.workflow_id;
        self.attempted_id.map(|attempted_id| Waiting {
            workflow_id,
            attempted_id,
        })
    }

    /// The log's epoch; a restore raises it, and what was bound to the old one is dead.
    pub fn log_epoch(&self) -> u64 {
        self.log_epoch
    }

    /// When this run began: the same throughout, so that one decision has one time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// What [`super::Workflow::subject`] gave; the system before that.
    pub fn subject(&self) -> &Subject {
        self.subject.as_ref().unwrap_or(&Subject::System)
    }

    pub fn guess(&self) -> Guess {
        self.guess
    }

    /// The account if it is an active administrator's now. Fence by it what must not be done by one who loses the role meanwhile.
    pub async fn administrator(&self, id: UserId) -> Result<Option<Account>, Fault> {
        self.permitted(id, Permission::Administration).await
    }

    /// A commit that grants something to an account: it misses when anything has raised the account's security version
    /// since it was read.
    pub fn fenced(&self, account: &Account) -> Commit {
        let mut commit = Commit::default();
        if !crate::mutants::on("no_fence") {
            commit.write(self.accounts.fence(account, self.now));
        }
        commit
    }

    /// Waits until no other commit that did the same for this account, or for whatever else has that id, is under way, and
    /// keeps the turn until this one is durable. Read after it what others of its kind may change.
    pub async fn take_turn(&self, commit: &mut Commit, of: Uuid) {
        if commit.turn.is_none() {
            commit.turn = Some(self.turns.of(of).await);
        }
    }

    /// The subject where no account is known: a digest under the month's key, which is destroyed after 90 days.
    pub async fn digest(&self, kind: &'static str, bytes: &[u8]) -> Result<Subject, Fault> {
        let key = self.vault.key(&month_vault_key(self.now)).await?;
        Ok(Subject::Digest {
            kind,
            digest: key.digest(bytes),
        })
    }

    /// The account that goes by an address, which is kept for [`Cx::account_of_subject`], else a digest of the address (of the source, when it is no address).
    pub async fn subject_of_address(&self, typed: &str) -> Result<Subject, Fault> {
        let Ok(address) = Address::parse(typed) else {
            return self.source().await;
        };
        match self.accounts.by_address(&address).await? {
            Some(account) => {
                let subject = Subject::Account(account.id);
                self.keep(account);
                Ok(subject)
            }
            None => self.digest_of(&address).await,
        }
    }

    /// The subject of an address that nobody has.
    pub async fn digest_of(&self, address: &Address) -> Result<Subject, Fault> {
        let canonical = address.canonical();
        self.digest("address", canonical.as_bytes()).await
    }

    /// An account by its id, which is kept for [`Cx::account_of_subject`], else a digest of the id: what is not there, or not
    /// there any more, gets no key.
    pub async fn subject_of_user(&self, id: UserId) -> Result<Subject, Fault> {
        match self.accounts.by_id(id).await? {
            Some(account) => {
                self.keep(account);
                Ok(Subject::Account(id))
            }
            None => self.digest("user", id.0.as_bytes()).await,
        }
    }

    /// The account the workflow is about, as it was kept or else as it is now. What a commit grants on the strength of it
    /// is fenced.
    pub async fn account_of_subject(&self) -> Result<Option<Account>, Fault> {
        if let Some(account) = self.kept() {
            return Ok(Some(account));
        }
        match self.subject().account() {
            Some(id) => self.accounts.by_id(id).await,
            None => Ok(None),
        }
    }

    /// The subject of a request that names nobody.
    pub async fn source(&self) -> Result<Subject, Fault> {
        let ip = self.request.ip.map(|ip| ip.to_string()).unwrap_or_default();
        self.digest("source", ip.as_bytes()).await
    }
}
