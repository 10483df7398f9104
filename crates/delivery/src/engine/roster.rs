//! The subscriptions of a running engine: what is registered at the start, and what comes and goes after it.
//!
//! **Guarantees.** A name is there once. One that is removed has no runner when its cursor and lanes go, so nothing of it
//! is written afterwards.

use std::sync::{Arc, PoisonError, RwLock};

use tokio_util::sync::CancellationToken;

use super::delivery::Target;
use super::errands::Tools;
use super::machine::{Bounds, Machine, Rng, Rules, Selection};
use super::runner::{Runner, Shared};
use super::running::Running;
use super::start::{StartError, adopt, check};
use crate::clock::Ids;
use crate::commit::Transaction;
use crate::fault::Fault;
use crate::log::CommitError;
use crate::subscriber::{Phase, StoredReplay, StoredSubscription, Subscription};
use crate::tasks::Tasks;

pub(super) struct Roster {
    all: RwLock<Vec<Arc<Shared>>>,
    /// Written while one comes, goes or takes another's place; read by who asks one for something, which then stays.
    pub(super) changing: tokio::sync::RwLock<()>,
    /// Held while rows of read models are deleted.
    pub(super) cleaning: tokio::sync::Mutex<()>,
    pub(super) tasks: Tasks,
    pub(super) stopping: CancellationToken,
}

impl Roster {
    pub(super) fn new(tasks: Tasks) -> Self {
        Self {
            all: RwLock::default(),
            changing: tokio::sync::RwLock::default(),
            cleaning: tokio::sync::Mutex::default(),
            stopping: tasks.stopping(),
            tasks,
        }
    }

    /// In the order in which they came.
    pub(super) fn all(&self) -> Vec<Arc<Shared>> {
        self.all
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Shared>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|shared| *shared.name == *name).cloned()
    }

    /// Makes what is registered and stored a subscription that is not delivered to yet.
    pub(super) async fn prepare(
        tools: &Arc<Tools>,
        subscription: &Subscription,
        selection: Selection,
        stored: StoredSubscription,
        replay: Option<StoredReplay>,
    ) -> Result<Runner, Fault> {
        let lanes = tools.subscriptions.lanes(&subscription.name).await?;
        let rules = Rules {
            upto: replay.as_ref().and_then(|replay| replay.to),
            selection: selection.clone(),
            versions: tools.versions.clone(),
            order: subscription.order,
            concurrency: subscription.concurrency,
            growing_to: subscription.growing_to,
            retry: subscription.retry,
            save_every: subscription.save_every,
            batch: subscription.batch,
            bounds: Bounds::DEFAULT,
            breaker: subscription.breaker,
        };
        let position = stored.position;
        let head = tools.log.head().borrow().position;
        let generation = replay
            .as_ref()
            .map_or(stored.generation, |replay| replay.generation);
        let machine = Machine::new(rules, stored, lanes, head, tools.now());
        let target = Target::new(subscription, tools.scribe.vault.clone());
        let target = Arc::new(target.of(generation, replay.is_some()));
        let registered = subscription.clone();
        let shared = Arc::new(Shared::new(registered, replay, target, selection, machine));
        tools.tail.enter(&shared.reader, position);
        let rng = Rng::seeded(seed(&*tools.scribe.ids));
        Ok(Runner::new(tools.clone(), shared, rng))
    }

    /// Begins to deliver.
    pub(super) fn enter(&self, runner: Runner) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.push(runner.shared());
        drop(all);
        drop(self.tasks.spawn(runner.run(self.stopping.clone())));
    }

    /// Begins to deliver in the place of the one of this name, and takes `gone` away: at no moment is the name not there.
    pub(super) fn exchange(&self, runner: Runner, gone: &str) {
        let new = runner.shared();
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|shared| *shared.name != *gone);
        match all.iter_mut().find(|shared| shared.name == new.name) {
            Some(place) => *place = new,
            None => all.push(new),
        }
        drop(all);
        drop(self.tasks.spawn(runner.run(self.stopping.clone())));
    }

    /// The replay of a subscription that is under way.
    pub(super) fn replay_of(&self, name: &str) -> Option<Arc<Shared>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let of = |shared: &&Arc<Shared>| {
            let replay = shared.replay.as_ref();
            replay.is_some_and(|replay| replay.subscription == name)
        };
        all.iter().find(of).cloned()
    }

    pub(super) fn take(&self, name: &str) -> Option<Arc<Shared>> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let index = all.iter().position(|shared| *shared.name == *name)?;
        Some(all.remove(index))
    }
}

impl Running {
    /// Begins to deliver to one more, a durable one. It goes on where the database has it; one that is new there begins as
    /// it says.
    pub async fn add(&self, subscription: Subscription) -> Result<(), StartError> {
        let _turn = self.roster.changing.write().await;
        self.admit(subscription, None).await
    }

    /// The same, for who has the turn.
    pub(super) async fn admit(
        &self,
        subscription: Subscription,
        replay: Option<StoredReplay>,
    ) -> Result<(), StartError> {
        let name = &subscription.name;
        if self.roster.find(name).is_some() {
            return Err(StartError::DuplicateName(name.clone()));
        }
        if subscription.phase != Phase::Durable {
            return Err(StartError::NotDurable(name.clone()));
        }
        let runner = self.runner_of(&subscription, replay).await?;
        self.roster.enter(runner);
        Ok(())
    }

    /// A runner that goes on where the database has a subscription.
    pub(super) async fn runner_of(
        &self,
        subscription: &Subscription,
        replay: Option<StoredReplay>,
    ) -> Result<Runner, StartError> {
        let tools = &self.tools;
        let selection = check(subscription, &tools.scribe.catalogue)?;
        let loaded = tools.subscriptions.load().await?;
        let mut known = loaded
            .into_iter()
            .map(|stored| (stored.name.clone(), stored))
            .collect();
        let mut transaction = Transaction::default();
        let head = tools.log.head().borrow().position;
        let stored = adopt(
            &*tools.subscriptions,
            &mut known,
            subscription,
            head,
            &mut transaction,
        )?;
        tools.log.commit(transaction).await?;
        Ok(Roster::prepare(tools, subscription, selection, stored, replay).await?)
    }

    /// Gives the one of this name another handler, filter and timeout, from the next event on, and a replay of it too. They
    /// keep their cursors, their lanes and their other rules. Says whether there is one.
    pub async fn replace(&self, subscription: Subscription) -> Result<bool, StartError> {
        let _turn = self.roster.changing.write().await;
        let Some(shared) = self.roster.find(&subscription.name) else {
            return Ok(false);
        };
        if shared.order != subscription.order {
            return Err(StartError::OtherOrder(subscription.name));
        }
        let scribe = &self.tools.scribe;
        let selection = check(&subscription, &scribe.catalogue)?;
        let replay = self.roster.replay_of(&subscription.name);
        for shared in [Some(shared), replay].into_iter().flatten() {
            let mut registered = subscription.clone();
            registered.name = Arc::clone(&shared.name);
            let target = Target::new(&registered, scribe.vault.clone())
                .of(shared.target().generation(), shared.replay.is_some());
            let tail = &self.tools.tail;
            shared.replace(registered, Arc::new(target), selection.clone(), tail);
        }
        Ok(true)
    }

    /// Ends deliveries to one and forgets its cursor and lanes. What is under way is dropped. Says whether there was one;
    /// asked again after an error, it goes on.
    pub async fn remove(&self, name: &str) -> Result<bool, CommitError> {
        let _turn = self.roster.changing.write().await;
        let found = self.roster.take(name);
        if let Some(shared) = &found {
            shared.leave().await;
            self.tools.tail.leave(&shared.reader);
        }
        let transaction = Transaction {
            writes: self.tools.subscriptions.remove(name),
            records: Vec::new(),
        };
        self.tools.log.commit(transaction).await?;
        self.tools.moved.send_replace(());
        Ok(found.is_some())
    }
}

/// For jitter alone.
fn seed(ids: &dyn Ids) -> u64 {
    let mut bytes = [0; 8];
    ids.random(&mut bytes);
    u64::from_le_bytes(bytes)
}
