//! An in-memory world for tests: every port over plain maps, a clock that is set, and trouble that can be asked for.
//!
//! **Cast.** [`State`] is what a database would hold. A [`World`] is every port over it, a file of `testing` for each
//! family. A [`Scene`] is a world with one person in it, and the words in which a test of a workflow is written:
//! `given(account().verified()).when(log_in(PASSWORD)).await.succeeded()`.
//!
//! **How a write works.** A port builds a [`Write`] whose `sql` is a name such as `"one_time_token redeem"`. Its first
//! parameter is the number of a plan, a function that changes the state and says how many rows it touched; the others
//! are the ids it is about. [`Log::commit`] runs the plans on a copy and keeps the copy if no guard missed.
//!
//! **Not guaranteed.** Secrecy: what is sealed here can be read by anybody.

mod accounts;
mod answers;
mod attempts;
mod commits;
mod deliveries;
mod guesses;
mod index;
mod machine;
mod one_time;
#[expect(
    clippy::return_self_not_must_use,
    clippy::needless_pass_by_value,
    reason = "a chain of expectations ends wherever a test ends, and reads like a sentence"
)]
mod scene;
mod services;
mod sessions;
mod state;
mod statistics;
mod webhooks;

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quivive_delivery::subscriber::InCommit;
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{Fault, Head, Stored, Time, chain};
use tokio::sync::watch;

use crate::kernel::{Families, Kernel, Parts};
use crate::ports::{Letter, MailError, Read};
use crate::settings::Settings;
use crate::switchboard::Workflows;
use commits::{Ambush, Plan};

pub use deliveries::FakeSubscription;
pub use index::Tags;
pub use machine::fake_hash;
pub use scene::{
    NEW_PASSWORD, PASSWORD, Person, Scene, Told, account, account_of, given,
    given_to_administrators, nobody, password, presented, refresh,
};
pub use state::{DeviceRow, RefreshRow, State};

/// The log's epoch in every world.
const EPOCH: u64 = 1;

struct Inside {
    state: State,
    log: Vec<Stored>,
    plans: Vec<Plan>,
    ambushes: Vec<Ambush>,
    missed: Vec<&'static str>,
    now: Time,
    key: &'static str,
    /// Of each key that signed access tokens, the first one first, whether it still serves.
    signing: Vec<bool>,
    sent: Vec<(Letter, String)>,
    mail_error: Option<MailError>,
    reads_fail: bool,
    vault: HashSet<String>,
    vault_places: Option<usize>,
    /// Names of keys that were destroyed.
    destroyed: BTreeSet<String>,
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
    hashing_starves: AtomicBool,
    came_back: AtomicU64,
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
                state: State::default(),
                log: Vec::new(),
                plans: Vec::new(),
                ambushes: Vec::new(),
                missed: Vec::new(),
                now: Time::from_second(1_795_000_000).expect("in range"),
                key: "k1",
                signing: vec![true],
                sent: Vec::new(),
                mail_error: None,
                reads_fail: false,
                vault: HashSet::new(),
                vault_places: None,
                destroyed: BTreeSet::new(),
                outlet: webhooks::Outside::default(),
            }),
            head: watch::Sender::new(head),
            serial: AtomicU64::new(0),
            hashed: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            evaluated: AtomicU64::new(0),
            hashing_places: AtomicU64::new(u64::MAX),
            hashing_starves: AtomicBool::new(false),
            came_back: AtomicU64::new(0),
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

    /// So many may ask the vault for a key at once, until they are answered.
    pub fn vault_places(&self, places: usize) {
        self.inside().vault_places = Some(places);
    }

    /// Hashes are under way and get no core.
    pub fn hashing_starves(&self) {
        self.0.hashing_starves.store(true, Ordering::Relaxed);
    }

    /// How many entered the hashing queue again.
    pub fn came_back(&self) -> u64 {
        self.0.came_back.load(Ordering::Relaxed)
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

    /// Every port of a workflow.
    pub fn families(&self, settings: Settings) -> Arc<Families> {
        Arc::new(Families {
            revocations: Arc::default(),
            accounts: Arc::new(self.clone()),
            guesses: Arc::new(self.clone()),
            one_time: Arc::new(self.clone()),
            sessions: Arc::new(self.clone()),
            api_keys: Arc::new(self.clone()),
            statistics: Arc::new(self.clone()),
            event_schemas: Arc::new(self.clone()),
            receipts: Arc::new(self.clone()),
            answers: Arc::new(self.clone()),
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
            skew: Duration::ZERO,
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
            node: quivive_delivery::Ids::next(self),
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
