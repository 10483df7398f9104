//! The subscriptions of a running engine: what is registered at the start, and what comes and goes after it.
//!
//! What is *known* is what the program registers; what is *here* has a runner on this node, which without others is all.
//!
//! **Guarantees.** A name is there once. One that is removed has no runner when its cursor and lanes go, so nothing of it
//! is written afterwards.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_util::sync::CancellationToken;

use super::delivery::Target;
use super::errands::Tools;
use super::machine::{Bounds, Machine, Rng, Rules, Selection};
use super::runner::{Runner, Shared};
use super::running::Running;
use super::sharing::{StoredStatus, Tenures};
use super::start::{StartError, adopt, check};
use super::tenure::Tenure;
use crate::clock::Ids;
use crate::commit::Transaction;
use crate::fault::Fault;
use crate::log::CommitError;
use crate::subscriber::{Phase, StoredReplay, StoredSubscription, Subscription};
use crate::tasks::Tasks;

pub(super) struct Roster {
    /// Those with a runner here.
    all: RwLock<Vec<Arc<Shared>>>,
    /// All that are registered, in that order.
    known: RwLock<Vec<(Subscription, Selection)>>,
    /// Where all were when it was looked last, if other nodes may have some.
    pub(super) elsewhere: RwLock<HashMap<String, StoredStatus>>,
    pub(super) tenures: Tenures,
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
            known: RwLock::default(),
            elsewhere: RwLock::default(),
            tenures: Tenures::default(),
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

    pub(super) fn known(&self) -> Vec<(Subscription, Selection)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    pub(super) fn known_of(&self, name: &str) -> Option<(Subscription, Selection)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .find(|(known, _)| *known.name == *name)
            .cloned()
    }

    /// From now on it is known, in the place of one of the same name.
    pub(super) fn know(&self, subscription: Subscription, selection: Selection) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let same = |(known, _): &&mut (Subscription, Selection)| known.name == subscription.name;
        match known.iter_mut().find(same) {
            Some(place) => *place = (subscription, selection),
            None => known.push((subscription, selection)),
        }
    }

    /// Says whether it was known.
    pub(super) fn forget(&self, name: &str) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.len();
        known.retain(|(known, _)| *known.name != *name);
        known.len() < before
    }

    /// Where one that is not here was when it was looked last.
    pub(super) fn elsewhere_of(&self, name: &str) -> Option<StoredStatus> {
        let elsewhere = self.elsewhere.read();
        let elsewhere = elsewhere.unwrap_or_else(PoisonError::into_inner);
        elsewhere.get(name).cloned()
    }

    /// Makes what is registered and stored a subscription that is not delivered to yet.
    pub(super) async fn prepare(
        tools: &Arc<Tools>,
        subscription: &Subscription,
        selection: Selection,
        stored: StoredSubscription,
        replay: Option<StoredReplay>,
        tenure: Arc<Tenure>,
    ) -> Result<Runner, Fault> {
        let position = stored.position;
        let generation = replay
            .as_ref()
            .map_or(stored.generation, |replay| replay.generation);
        let upto = replay.as_ref().and_then(|replay| replay.to);
        let machine = Self::machine(tools, subscription, &selection, stored, upto).await?;
        let target = Target::new(subscription, tools.scribe.vault.clone());
        let target = Arc::new(target.of(generation, replay.is_some()));
        let registered = subscription.clone();
        let shared = Shared::new(registered, replay, target, selection, machine, tenure);
        let shared = Arc::new(shared);
        tools.tail.enter(&shared.reader, position);
        let rng = Rng::seeded(seed(&*tools.scribe.ids));
        Ok(Runner::new(tools.clone(), shared, rng))
    }

    /// The machine of what is registered and stored, as it would begin.
    pub(super) async fn machine(
        tools: &Arc<Tools>,
        subscription: &Subscription,
        selection: &Selection,
        stored: StoredSubscription,
        upto: Option<u64>,
    ) -> Result<Machine, Fault> {
        let lanes = tools.subscriptions.lanes(&subscription.name).await?;
        let rules = Rules {
            upto,
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
        let head = tools.log.head().borrow().position;
        Ok(Machine::new(rules, stored, lanes, head, tools.now()))
    }

    /// Begins to deliver.
    pub(super) fn enter(&self, runner: Runner) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.push(runner.shared());
        drop(all);
        drop(self.tasks.spawn(runner.run()));
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
        drop(self.tasks.spawn(runner.run()));
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
        let name = &subscription.name;
        if self.roster.known_of(name).is_some() {
            return Err(StartError::DuplicateName(name.clone()));
        }
        if subscription.phase != Phase::Durable {
            return Err(StartError::NotDurable(name.clone()));
        }
        let selection = check(&subscription, &self.tools.scribe.catalogue)?;
        if self.tools.share.is_some() {
            self.register(&subscription).await?;
            self.roster.know(subscription, selection);
            // Whose it is, is seen next.
            self.roster.tenures.look.notify_one();
            return Ok(());
        }
        let tenure = Tenure::alone(&self.roster.stopping);
        self.admit(subscription.clone(), None, tenure).await?;
        self.roster.know(subscription, selection);
        Ok(())
    }

    /// Gives one its runner, for who has the turn.
    pub(super) async fn admit(
        &self,
        subscription: Subscription,
        replay: Option<StoredReplay>,
        tenure: Arc<Tenure>,
    ) -> Result<(), StartError> {
        let name = &subscription.name;
        if self.roster.find(name).is_some() {
            return Err(StartError::DuplicateName(name.clone()));
        }
        let runner = self.runner_of(&subscription, replay, tenure).await?;
        self.roster.enter(runner);
        Ok(())
    }

    /// Gives one that is new its row. Another node may have done so.
    async fn register(&self, subscription: &Subscription) -> Result<(), StartError> {
        let tools = &self.tools;
        let loaded = tools.subscriptions.load().await?;
        if loaded
            .iter()
            .any(|stored| *stored.name == *subscription.name)
        {
            return Ok(());
        }
        let head = tools.log.head().borrow().position;
        let position = subscription.begin.position(head);
        let name = &subscription.name;
        let create = tools.subscriptions.create(name, position);
        let offer = tools.share.as_ref().map(|share| share.offer(name));
        let transaction = Transaction {
            writes: [Some(create), offer].into_iter().flatten().collect(),
            records: Vec::new(),
        };
        match tools.log.commit(transaction).await {
            Ok(_) | Err(CommitError::Missed(_)) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// A runner that goes on where the database has a subscription.
    pub(super) async fn runner_of(
        &self,
        subscription: &Subscription,
        replay: Option<StoredReplay>,
        tenure: Arc<Tenure>,
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
        tenure.commit(&*tools.log, transaction).await?;
        Ok(Roster::prepare(tools, subscription, selection, stored, replay, tenure).await?)
    }

    /// Gives the one of this name another handler, filter and timeout, from the next event on, and a replay of it too. They
    /// keep their cursors, their lanes and their other rules. Says whether there is one.
    pub async fn replace(&self, subscription: Subscription) -> Result<bool, StartError> {
        let _turn = self.roster.changing.write().await;
        let Some((known, _)) = self.roster.known_of(&subscription.name) else {
            return Ok(false);
        };
        if known.order != subscription.order {
            return Err(StartError::OtherOrder(subscription.name));
        }
        let scribe = &self.tools.scribe;
        let selection = check(&subscription, &scribe.catalogue)?;
        self.roster.know(subscription.clone(), selection.clone());
        let shared = self.roster.find(&subscription.name);
        let replay = self.roster.replay_of(&subscription.name);
        for shared in [shared, replay].into_iter().flatten() {
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
        let mut known = self.roster.forget(name);
        if let Some(shared) = self.roster.take(name) {
            known = true;
            shared.leave().await;
            self.tools.tail.leave(&shared.reader);
        }
        let mut writes = self.tools.subscriptions.remove(name);
        // With it the one that another node may have it by.
        let share = self.tools.share.as_ref();
        writes.extend(share.map(|share| share.nodes.forget(name)));
        self.roster.tenures.take(name);
        let records = Vec::new();
        let transaction = Transaction { writes, records };
        self.tools.log.commit(transaction).await?;
        self.tools.moved.send_replace(());
        Ok(known)
    }
}

/// For jitter alone.
fn seed(ids: &dyn Ids) -> u64 {
    let mut bytes = [0; 8];
    ids.random(&mut bytes);
    u64::from_le_bytes(bytes)
}
