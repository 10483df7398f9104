//! An in-memory world for tests: every port over plain maps, a clock that is set, and trouble that can be asked for.
//!
//! **Cast.** [`State`] is what a database would hold. A [`World`] is every port over it (see `ports.rs`, `services.rs` and `machine.rs` in `testing`). A
//! [`Scene`] is a world with one person in it, and the words in which a test of a workflow is written:
//! `given(account().verified()).when(log_in(PASSWORD)).await.succeeded()`.
//!
//! **How a write works.** A port builds a [`Write`] whose `sql` is a name such as `"one_time_token redeem"`. Its first
//! parameter is the number of a plan, a function that changes the state and says how many rows it touched; the others
//! are the ids it is about. [`Log::commit`] runs the plans on a copy and keeps the copy if no guard missed.
//!
//! **Not guaranteed.** Secrecy: what is sealed here can be read by anybody.

mod deliveries;
mod index;
mod machine;
mod ports;
#[expect(
    clippy::return_self_not_must_use,
    clippy::needless_pass_by_value,
    reason = "a chain of expectations ends wherever a test ends, and reads like a sentence"
)]
mod scene;
mod services;
mod statistics;
mod webhooks;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quivive_delivery::engine::Decider;
use quivive_delivery::subscriber::InCommit;
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{
    BoxFuture, CommitError, Committed, Expect, Fault, Head, Log, Stored, Time, Transaction, Value,
    Write, chain,
};
use quivive_domain::api_key::ApiKey;
use quivive_domain::guess::Guesses as GuessCounters;
use quivive_domain::one_time::OneTimeToken;
use quivive_domain::refresh::GlobalVersion;
use quivive_domain::session::Session;
use quivive_domain::{Account, ApiKeyId, EndpointId, PasswordHash, SessionId, TokenId, UserId};
use tokio::sync::watch;
use uuid::Uuid;

use crate::access::Revocations;
use crate::kernel::{Families, Kernel, Parts};
use crate::ports::{
    Attempt, Endpoint, EventSchema, Letter, MailError, NewDevice, NewRefreshToken, OpenAttempt,
    Read, Receipt, StoredSecret,
};
use crate::settings::Settings;
use crate::switchboard::Workflows;

pub use deliveries::FakeSubscription;
pub use index::Tags;
pub use machine::fake_hash;
pub use scene::{
    NEW_PASSWORD, PASSWORD, Person, Scene, Told, account, account_of, given, nobody, password,
    presented, refresh,
};

/// The log's epoch in every world.
const EPOCH: u64 = 1;

/// A refresh token's row.
#[derive(Debug, Clone)]
pub struct RefreshRow {
    pub token: NewRefreshToken,
    /// When, by whom, for which successor, and the key that one is derived under.
    pub used: Option<(Time, [u8; 32], TokenId, String)>,
}

/// A device's row.
#[derive(Debug, Clone)]
pub struct DeviceRow {
    pub new: NewDevice,
    pub used_at: Time,
}

/// What a database would hold, but for the log.
#[derive(Debug, Clone)]
pub struct State {
    pub accounts: BTreeMap<UserId, Account>,
    /// Newest first.
    pub history: BTreeMap<UserId, Vec<PasswordHash>>,
    pub first_administrator: bool,
    pub guesses: BTreeMap<Uuid, GuessCounters>,
    /// With the time of their issue.
    pub one_time: BTreeMap<TokenId, (OneTimeToken, Time)>,
    /// The hour and how many letters of a kind it saw.
    pub letters: BTreeMap<(UserId, &'static str), (i64, u32)>,
    pub devices: Vec<DeviceRow>,
    pub sessions: BTreeMap<SessionId, Session>,
    pub refresh: BTreeMap<TokenId, RefreshRow>,
    /// Global token versions, with the time from which no lower one is accepted.
    pub rotations: BTreeMap<u32, Time>,
    /// With the digest of its secret.
    pub api_keys: BTreeMap<ApiKeyId, (ApiKey, [u8; 32])>,
    /// By generation, day, word and reason.
    pub sign_ins: BTreeMap<(u32, i64, &'static str, String), u64>,
    /// By type and version.
    pub event_schemas: Vec<EventSchema>,
    pub receipts: BTreeMap<[u8; 32], (Receipt, Time)>,
    pub attempts: BTreeMap<Uuid, OpenAttempt>,
    pub endpoints: BTreeMap<EndpointId, Endpoint>,
    pub secrets: Vec<StoredSecret>,
    pub messages: Vec<Attempt>,
    /// The tags of each event from the first on, as far as the index reaches.
    pub index: Vec<Tags>,
    pub subscriptions: BTreeMap<String, FakeSubscription>,
    /// Who decided about dead letters, in order.
    pub decided: Vec<Decider>,
}

impl State {
    fn global(&self, now: Time) -> GlobalVersion {
        let last = |(version, _): (&u32, &Time)| *version;
        let mut over = self.rotations.iter();
        GlobalVersion {
            current: self.rotations.iter().next_back().map_or(1, last),
            floor: over
                .rfind(|(_, cut_off_at)| **cut_off_at <= now)
                .map_or(1, last),
        }
    }
}

/// Changes the state and says how many rows it touched.
type Plan = Arc<dyn Fn(&mut State) -> u64 + Send + Sync>;

/// What happens to a commit instead of, or before, being applied.
#[derive(Clone)]
enum Trouble {
    Fails(Fault),
    /// Something else is done first.
    After(Arc<dyn Fn(World) -> BoxFuture<'static, ()> + Send + Sync>),
}

/// Trouble for the next commits that carry an event of a type.
struct Ambush {
    kind: &'static str,
    times: u32,
    trouble: Trouble,
}

struct Inside {
    state: State,
    log: Vec<Stored>,
    plans: Vec<Plan>,
    ambushes: Vec<Ambush>,
    missed: Vec<&'static str>,
    now: Time,
    key: &'static str,
    sent: Vec<(Letter, String)>,
    mail_error: Option<MailError>,
    reads_fail: bool,
    vault: HashSet<String>,
    outlet: webhooks::Outside,
}

struct Shared {
    inside: Mutex<Inside>,
    head: watch::Sender<Head>,
    serial: AtomicU64,
    hashed: AtomicU64,
    verified: AtomicU64,
    evaluated: AtomicU64,
    hashing_places: AtomicU64,
    tasks: Tasks,
}

/// Every port, over maps behind one mutex. Clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Shared>);

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// An empty world, in November 2026.
    pub fn new() -> Self {
        let head = Head {
            position: 0,
            epoch: EPOCH,
            chain: chain::GENESIS,
        };
        Self(Arc::new(Shared {
            inside: Mutex::new(Inside {
                state: State {
                    accounts: BTreeMap::new(),
                    history: BTreeMap::new(),
                    first_administrator: false,
                    guesses: BTreeMap::new(),
                    one_time: BTreeMap::new(),
                    letters: BTreeMap::new(),
                    devices: Vec::new(),
                    sessions: BTreeMap::new(),
                    refresh: BTreeMap::new(),
                    rotations: BTreeMap::from([(1, Time::UNIX_EPOCH)]),
                    api_keys: BTreeMap::new(),
                    sign_ins: BTreeMap::new(),
                    event_schemas: Vec::new(),
                    receipts: BTreeMap::new(),
                    attempts: BTreeMap::new(),
                    endpoints: BTreeMap::new(),
                    secrets: Vec::new(),
                    messages: Vec::new(),
                    index: Vec::new(),
                    subscriptions: BTreeMap::new(),
                    decided: Vec::new(),
                },
                log: Vec::new(),
                plans: Vec::new(),
                ambushes: Vec::new(),
                missed: Vec::new(),
                now: Time::from_second(1_795_000_000).expect("in range"),
                key: "k1",
                sent: Vec::new(),
                mail_error: None,
                reads_fail: false,
                vault: HashSet::new(),
                outlet: webhooks::Outside::default(),
            }),
            head: watch::Sender::new(head),
            serial: AtomicU64::new(0),
            hashed: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            evaluated: AtomicU64::new(0),
            hashing_places: AtomicU64::new(u64::MAX),
            tasks: Tasks::new(),
        }))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state.
    pub fn see<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.inside().state)
    }

    /// Changes the state behind everybody's back.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.inside().state)
    }

    /// The whole log, whose chain is walked each time.
    pub fn log(&self) -> Vec<Stored> {
        let log = self.inside().log.clone();
        let mut walk = chain::Walk::from(0, chain::GENESIS);
        for event in &log {
            walk.step(event).expect("the chain is whole");
        }
        let head = *self.0.head.borrow();
        walk.finish(head.position, &head.chain)
            .expect("the log ends at its head");
        log
    }

    /// The types of all events, oldest first.
    pub fn kinds(&self) -> Vec<String> {
        self.log()
            .into_iter()
            .map(|event| event.envelope.kind)
            .collect()
    }

    /// The names of the writes whose guard missed, in order.
    pub fn missed(&self) -> Vec<&'static str> {
        self.inside().missed.clone()
    }

    /// Hashes made and comparisons done.
    pub fn hashing(&self) -> (u64, u64) {
        (
            self.0.hashed.load(Ordering::Relaxed),
            self.0.verified.load(Ordering::Relaxed),
        )
    }

    /// Comparisons with a hash that somebody has, not the same work for nothing.
    pub fn evaluated(&self) -> u64 {
        self.0.evaluated.load(Ordering::Relaxed)
    }

    /// How many places the hashing queue has left.
    pub fn hashing_places(&self, places: u64) {
        self.0.hashing_places.store(places, Ordering::Relaxed);
    }

    pub fn now(&self) -> Time {
        self.inside().now
    }

    /// Sets the clock forward.
    pub fn pass(&self, time: Duration) {
        let mut inside = self.inside();
        inside.now += time;
    }

    /// New tokens are made with another key; the old one is still there unless it is `"gone"`.
    pub fn rotate_key(&self, id: &'static str) {
        self.inside().key = id;
    }

    /// Letters that were sent, with their idempotency keys.
    pub fn sent(&self) -> Vec<(Letter, String)> {
        self.inside().sent.clone()
    }

    /// From now on the mail server says this.
    pub fn mail_error(&self, error: Option<MailError>) {
        self.inside().mail_error = error;
    }

    /// From now on no state can be read, or it can again.
    pub fn fail_reads(&self, fail: bool) {
        self.inside().reads_fail = fail;
    }

    /// Destroys a subject's key.
    pub fn erase(&self, vault_key: &str) {
        self.inside().vault.remove(vault_key);
    }

    /// The next `times` commits that carry an event of that type fail.
    pub fn fail(&self, kind: &'static str, times: u32, fault: Fault) {
        self.ambush(kind, times, Trouble::Fails(fault));
    }

    /// Changes the state right before the next `times` commits that carry an event of that type: after the workflow has
    /// decided.
    pub fn meanwhile(
        &self,
        kind: &'static str,
        times: u32,
        change: impl Fn(&mut State) + Send + Sync + 'static,
    ) {
        let change = Arc::new(change);
        self.before(kind, times, move |world| {
            let change = Arc::clone(&change);
            Box::pin(async move { world.change(|state| change(state)) })
        });
    }

    /// Does something right before the next `times` commits that carry an event of that type; for outcomes, which are
    /// waited for.
    pub fn before(
        &self,
        kind: &'static str,
        times: u32,
        action: impl Fn(World) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        self.ambush(kind, times, Trouble::After(Arc::new(action)));
    }

    fn ambush(&self, kind: &'static str, times: u32, trouble: Trouble) {
        self.inside().ambushes.push(Ambush {
            kind,
            times,
            trouble,
        });
    }

    fn trouble(&self, transaction: &Transaction) -> Option<Trouble> {
        let mut inside = self.inside();
        let carries = |kind| {
            transaction
                .records
                .iter()
                .any(|r| r.envelope().kind == kind)
        };
        let ambush = inside
            .ambushes
            .iter_mut()
            .find(|a| a.times > 0 && carries(a.kind))?;
        ambush.times -= 1;
        Some(ambush.trouble.clone())
    }

    /// A write by its name: its plan, and the ids it is about.
    pub fn write(
        &self,
        name: &'static str,
        ids: &[Uuid],
        plan: impl Fn(&mut State) -> u64 + Send + Sync + 'static,
    ) -> Write {
        let mut inside = self.inside();
        let number = i64::try_from(inside.plans.len()).unwrap_or(i64::MAX);
        inside.plans.push(Arc::new(plan));
        let ids = ids.iter().copied().map(Value::Id);
        Write::one(
            name,
            std::iter::once(Value::Int(number)).chain(ids).collect(),
        )
    }

    /// Reads now, answers after others had their turn: what a workflow decides on is old already.
    fn read<T: Send + 'static>(&self, look: impl FnOnce(&State) -> T) -> Read<'static, T> {
        let seen = self.see(look);
        let fails = self.inside().reads_fail;
        Box::pin(async move {
            tokio::task::yield_now().await;
            if fails {
                return Err(Fault::Internal("reads fail".to_owned()));
            }
            Ok(seen)
        })
    }

    fn apply(&self, transaction: Transaction) -> Result<Committed, CommitError> {
        let mut inside = self.inside();
        let mut state = inside.state.clone();
        for (index, write) in transaction.writes.iter().enumerate() {
            let plan = match write.params.first() {
                Some(Value::Int(number)) => inside
                    .plans
                    .get(usize::try_from(*number).unwrap_or(usize::MAX)),
                _ => None,
            };
            let plan = plan.expect("writes of a world are made by World::write");
            let touched = plan(&mut state);
            if let Expect::Rows(rows) = write.expect
                && rows != touched
            {
                inside.missed.push(write.sql);
                return Err(CommitError::Missed(index));
            }
        }
        inside.state = state;
        let mut head = *self.0.head.borrow();
        let first_position = head.position + u64::from(!transaction.records.is_empty());
        for record in transaction.records {
            head.position += 1;
            let stored = record.stored(&head.chain, head.position, EPOCH, inside.now);
            head.chain = stored.chain;
            inside.log.push(stored);
        }
        drop(inside);
        self.0.head.send_replace(head);
        Ok(Committed { first_position })
    }

    /// Every port of a workflow.
    pub fn families(&self, settings: Settings) -> Arc<Families> {
        Arc::new(Families {
            revocations: Arc::new(Revocations::new(self.now())),
            accounts: Arc::new(self.clone()),
            guesses: Arc::new(self.clone()),
            one_time: Arc::new(self.clone()),
            sessions: Arc::new(self.clone()),
            api_keys: Arc::new(self.clone()),
            statistics: Arc::new(self.clone()),
            event_schemas: Arc::new(self.clone()),
            receipts: Arc::new(self.clone()),
            webhooks: Arc::new(self.clone()),
            outlet: Arc::new(self.clone()),
            signer: Arc::new(self.clone()),
            keys: Arc::new(self.clone()),
            access_tokens: Arc::new(self.clone()),
            hasher: Arc::new(self.clone()),
            vault: Arc::new(self.clone()),
            ids: Arc::new(self.clone()),
            clock: Arc::new(self.clone()),
            deliveries: Arc::new(self.clone()),
            settings,
        })
    }

    /// A server on this world. Another one is another node: what a crash leaves is one kernel's, what finds it another's.
    pub fn kernel(&self, workflows: Workflows) -> Arc<Kernel> {
        Kernel::new(self.parts(workflows))
    }

    pub fn kernel_with(&self, workflows: Workflows, settings: Settings) -> Arc<Kernel> {
        Kernel::new(Parts {
            families: self.families(settings),
            ..self.parts(workflows)
        })
    }

    /// What a kernel on this world is made of.
    pub fn parts(&self, workflows: Workflows) -> Parts {
        Parts {
            families: self.families(Settings::for_url("https://id.example.org")),
            attempts: Arc::new(self.clone()),
            log: Arc::new(self.clone()),
            vault: Arc::new(self.clone()),
            tasks: self.0.tasks.clone(),
            workflows,
            in_commit: InCommit::default(),
        }
    }

    /// Waits for every task that was begun.
    pub async fn settle(&self) {
        self.0.tasks.shut_down().await;
    }
}

impl Log for World {
    fn commit(
        &self,
        transaction: Transaction,
    ) -> BoxFuture<'static, Result<Committed, CommitError>> {
        match self.trouble(&transaction) {
            None => {
                let result = self.apply(transaction);
                Box::pin(async move {
                    tokio::task::yield_now().await;
                    result
                })
            }
            Some(Trouble::Fails(fault)) => {
                Box::pin(std::future::ready(Err(CommitError::Fault(fault))))
            }
            Some(Trouble::After(action)) => {
                let world = self.clone();
                Box::pin(async move {
                    action(world.clone()).await;
                    world.apply(transaction)
                })
            }
        }
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        let inside = self.inside();
        let events: Vec<_> = inside
            .log
            .iter()
            .filter(|e| e.position > after)
            .take(limit)
            .cloned()
            .collect();
        Box::pin(std::future::ready(Ok(events)))
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.0.head.subscribe()
    }
}
