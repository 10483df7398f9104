//! Replays: a subscription gets events again, as a generation of its own beside the deliveries that go on.
//!
//! **Cast.** A replay is a second runner with the same handler: a cursor and lanes of its own under a name of its own,
//! `statistics@2`, so order, retries and a restart are those of any subscription. A task sees each one through.
//!
//! **Flow.** The row of the replay and its cursor are written in one commit. Its runner delivers from the first position to
//! the last and, when nothing of it waits or is in trouble, is taken away again, with a `SubscriptionReplayed` in the commit.
//! Of a [`ReadModel`](crate::subscriber::ReadModel) it begins with the first event and has no last: when it is as far as the
//! subscription itself, both stop, and one commit puts its cursor, its lanes and its generation in the subscription's place.
//! From there the subscription goes on. What is left of other generations is then deleted, a slice at a time.
//!
//! **Guarantees.** The deliveries of the subscription go on meanwhile and are not changed by it. Readers of a read model see
//! one generation at any moment, whole. Killed anywhere, it goes on where it was.
//!
//! **Not guaranteed.** Order between what is replayed and what is delivered for the first time. That a replay ends while one
//! of its keys is parked: it waits for the decision, for a read model with a hole may not take the place of one without.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::decisions::Declined;
use super::runner::Shared;
use super::running::Running;
use super::start::StartError;
use super::tenure::Tenure;
use crate::commit::{Transaction, Write};
use crate::events::SubscriptionReplayed;
use crate::fault::Fault;
use crate::log::CommitError;
use crate::subscriber::{ReadModel, Replay, StoredReplay, Subscription};

/// How often it looks whether it is done, besides whenever a cursor has moved; and what failed is tried again after as long.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two slices of old rows, so that other commits have their turn.
const SLICE_PAUSE: Duration = Duration::from_millis(20);

/// Why a replay does not begin.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("there is no subscription {0:?}")]
    NotFound(String),
    #[error("the handler of {0:?} says that no event may reach it twice")]
    Denied(String),
    #[error("{0:?} is being replayed already")]
    UnderWay(String),
    #[error("{0:?} keeps a read model, which is rebuilt as a whole: give no range")]
    Whole(String),
    #[error("there is nothing from position {from} to {to}")]
    Empty { from: u64, to: u64 },
    #[error("what there is of it cannot be read: {0}")]
    Fault(#[from] Fault),
    #[error("it cannot be written down: {0}")]
    Commit(#[from] CommitError),
}

impl From<ReplayError> for Declined {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::NotFound(_) => Self::NotFound,
            ReplayError::Fault(fault) | ReplayError::Commit(CommitError::Fault(fault)) => {
                Self::Fault(fault)
            }
            ReplayError::Commit(missed) => Self::Fault(Fault::internal(missed)),
            refused => {
                tracing::info!(%refused, "a replay was refused");
                Self::WrongState
            }
        }
    }
}

impl Running {
    /// Delivers events to a subscription again, from one position to another; up to the head of the log when no end is
    /// given. Of a read model all of them, and without a range. Answers when it has begun. `with` is committed with the
    /// rows of the replay, after them.
    pub async fn replay(
        &self,
        name: &str,
        from: Option<u64>,
        to: Option<u64>,
        by: Uuid,
        with: Vec<Write>,
    ) -> Result<StoredReplay, ReplayError> {
        let tenure = Arc::clone(&self.bring_to_replay(name).await?.tenure);
        let _turn = self.roster.changing.write().await;
        let replay = self.plan(name, from, to, by).await?;
        let subscriptions = &self.tools.subscriptions;
        let mut writes = vec![
            subscriptions.put_replay(&replay),
            subscriptions.create(&replay.name, replay.from - 1),
        ];
        writes.extend(with);
        let transaction = Transaction {
            writes,
            records: Vec::new(),
        };
        tenure.commit(&*self.tools.log, transaction).await?;
        self.begin(replay.clone(), &tenure);
        Ok(replay)
    }

    async fn bring_to_replay(&self, name: &str) -> Result<Arc<Shared>, ReplayError> {
        self.bring(name).await.map_err(|declined| match declined {
            Declined::Fault(fault) => ReplayError::Fault(fault),
            Declined::NotFound | Declined::WrongState => ReplayError::NotFound(name.to_owned()),
        })
    }

    /// How many positions a replay would go through, wanted or not, if it began now.
    pub async fn would_replay(
        &self,
        name: &str,
        from: Option<u64>,
        to: Option<u64>,
    ) -> Result<u64, ReplayError> {
        self.bring_to_replay(name).await?;
        let _stays = self.roster.changing.read().await;
        let replay = self.plan(name, from, to, Uuid::nil()).await?;
        let to = replay.to.unwrap_or_else(|| self.head());
        Ok((to + 1).saturating_sub(replay.from))
    }

    /// What would be replayed.
    async fn plan(
        &self,
        name: &str,
        from: Option<u64>,
        to: Option<u64>,
        by: Uuid,
    ) -> Result<StoredReplay, ReplayError> {
        let live = self.roster.find(name).filter(|live| live.replay.is_none());
        let live = live.ok_or_else(|| ReplayError::NotFound(name.to_owned()))?;
        let registered = live.registered();
        if registered.replay == Replay::Deny {
            return Err(ReplayError::Denied(name.to_owned()));
        }
        let under_way = self.tools.subscriptions.replays().await?;
        if under_way.iter().any(|replay| replay.subscription == name) {
            return Err(ReplayError::UnderWay(name.to_owned()));
        }
        let (from, to) = if registered.read_model.is_some() {
            if from.is_some_and(|from| from > 1) || to.is_some() {
                return Err(ReplayError::Whole(name.to_owned()));
            }
            (1, None)
        } else {
            let (from, head) = (from.unwrap_or(1).max(1), self.head());
            let to = to.map_or(head, |to| to.min(head));
            if from > to {
                return Err(ReplayError::Empty { from, to });
            }
            (from, Some(to))
        };
        let generation = live.target().generation() + 1;
        Ok(StoredReplay {
            name: format!("{name}@{generation}"),
            subscription: name.to_owned(),
            generation,
            from,
            to,
            by,
        })
    }

    /// After a start: replays that were under way go on, and what an ended one left of other generations goes.
    pub(super) fn go_on(&self, replays: &[StoredReplay]) {
        for live in self.roster.all() {
            let mut all = replays.iter();
            let own = all.find(|replay| replay.subscription == *live.name);
            self.go_on_with(&live.name, own.cloned());
        }
    }

    /// The same of one that is here, with the replay of it that was under way.
    pub(super) fn go_on_with(&self, name: &str, replay: Option<StoredReplay>) {
        let Some(live) = self.roster.find(name) else {
            return;
        };
        match (replay, live.registered().read_model) {
            (Some(replay), _) => self.begin(replay, &live.tenure),
            (None, Some(model)) => {
                let (running, tenure) = (self.clone(), Arc::clone(&live.tenure));
                let generation = live.target().generation();
                self.spawn(&live.tenure, async move {
                    running.clean(&*model, generation, &tenure).await;
                });
            }
            (None, None) => {}
        }
    }

    fn begin(&self, replay: StoredReplay, tenure: &Arc<Tenure>) {
        let (running, own) = (self.clone(), Arc::clone(tenure));
        self.spawn(
            tenure,
            async move { running.see_through(replay, own).await },
        );
    }

    /// Until the server stops, or the tenure is over.
    fn spawn(&self, tenure: &Arc<Tenure>, work: impl Future<Output = ()> + Send + 'static) {
        let (leaving, lost) = (tenure.leaving.clone(), tenure.lost.clone());
        let work = async move {
            let work = leaving.run_until_cancelled_owned(work);
            lost.run_until_cancelled_owned(work).await
        };
        drop(self.roster.tasks.spawn(work));
    }

    async fn see_through(&self, replay: StoredReplay, tenure: Arc<Tenure>) {
        let name = &replay.name;
        tracing::info!(
            replay = name,
            from = replay.from,
            to = replay.to,
            "a replay runs"
        );
        while let Err(error) = self.enter(&replay, &tenure).await {
            tracing::warn!(replay = name, %error, "a replay cannot begin; trying again");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.until_done(&replay).await;
        let turn = self.roster.changing.write().await;
        // It may have been removed meanwhile, or what it replays.
        let Some((own, live)) = self.both(&replay) else {
            return self.forget(&replay, &tenure).await;
        };
        let registered = live.registered();
        while let Err(error) = self.end(&replay, &own, &live, &tenure).await {
            tracing::warn!(replay = name, %error, "a replay cannot end; trying again");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.go_over(&registered, &replay, &tenure).await;
        drop(turn);
        tracing::info!(replay = name, "a replay is done");
        if let Some(model) = &registered.read_model {
            self.clean(&**model, replay.generation, &tenure).await;
        }
    }

    /// The replay and what it replays, while both are there.
    fn both(&self, replay: &StoredReplay) -> Option<(Arc<Shared>, Arc<Shared>)> {
        let own = self.roster.find(&replay.name)?;
        Some((own, self.roster.find(&replay.subscription)?))
    }

    /// Gives the replay its runner.
    async fn enter(&self, replay: &StoredReplay, tenure: &Arc<Tenure>) -> Result<(), StartError> {
        let subscriptions = &self.tools.subscriptions;
        let live = |running: &Self| running.roster.find(&replay.subscription);
        if let Some(model) = live(self).and_then(|live| live.registered().read_model) {
            let loaded = subscriptions.load().await?;
            let cursor = loaded.iter().find(|stored| stored.name == replay.name);
            let untouched = cursor.is_some_and(|stored| stored.position < replay.from)
                && subscriptions.lanes(&replay.name).await?.is_empty();
            // So no row of its generation is its own: what is there, another left behind.
            if untouched {
                self.clean(&*model, replay.generation - 1, tenure).await;
            }
        }
        let _turn = self.roster.changing.write().await;
        let Some(live) = live(self) else {
            // It was removed, which is seen to next.
            return Ok(());
        };
        // As it is registered now: its handler may have been replaced since.
        let mut own = live.registered();
        own.name = replay.name.as_str().into();
        own.alias = None;
        self.admit(own, Some(replay.clone()), Arc::clone(tenure))
            .await
    }

    /// Waits until nothing of it is left to deliver, or until it, or what it replays, is removed.
    async fn until_done(&self, replay: &StoredReplay) {
        let mut moved = self.tools.moved.subscribe();
        while let Some((own, live)) = self.both(replay) {
            let tail = &self.tools.tail;
            let upto = replay.to.unwrap_or_else(|| live.position(tail));
            let position = own.position(tail);
            if own.machine().has_replayed(position, upto) {
                return;
            }
            let _ = tokio::time::timeout(LOOK_EVERY, moved.changed()).await;
        }
    }

    /// Takes the replay away, or puts it in the place of the subscription. Asked again after an error, it goes on.
    async fn end(
        &self,
        replay: &StoredReplay,
        own: &Arc<Shared>,
        live: &Arc<Shared>,
        tenure: &Arc<Tenure>,
    ) -> Result<(), CommitError> {
        let subscriptions = &self.tools.subscriptions;
        let name = &*replay.subscription;
        let rebuilt = live.registered().read_model.is_some();
        let mut transaction = Transaction::default();
        let writes = &mut transaction.writes;
        for ending in [Some(own), rebuilt.then_some(live)].into_iter().flatten() {
            // Nothing of it is submitted after the commit that ends it.
            ending.leave().await;
            self.tools.tail.leave(&ending.reader);
        }
        if rebuilt {
            writes.extend(subscriptions.remove(name));
            writes.push(subscriptions.rename(&replay.name, name));
            let condition = live.machine().bequeathed();
            writes.push(subscriptions.put_condition(name, &condition));
        } else {
            writes.extend(subscriptions.remove(&replay.name));
        }
        writes.push(subscriptions.end_replay(&replay.name));
        writes.push(subscriptions.set_generation(name, replay.generation));
        let told = SubscriptionReplayed {
            subscription: name.to_owned(),
            from: replay.from,
            to: replay.to,
            by: replay.by,
        };
        transaction.records.push(self.tools.scribe.of_itself(&told));
        let log = &*self.tools.log;
        tenure.commit(log, transaction).await.map(|_| ())
    }

    /// Brings the roster in line with what [`Running::end`] has committed.
    async fn go_over(
        &self,
        registered: &Subscription,
        replay: &StoredReplay,
        tenure: &Arc<Tenure>,
    ) {
        if registered.read_model.is_none() {
            self.roster.take(&replay.name);
            if let Some(live) = self.roster.find(&replay.subscription) {
                live.target().set_generation(replay.generation);
            }
        } else {
            let runner = loop {
                match self.runner_of(registered, None, Arc::clone(tenure)).await {
                    Ok(runner) => break runner,
                    Err(error) => {
                        tracing::warn!(subscription = replay.subscription, %error, "it cannot go on; trying again");
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                }
            };
            self.roster.exchange(runner, &replay.name);
        }
        self.tools.moved.send_replace(());
    }

    /// It was removed, or what it replays was: forgets what is left of it.
    async fn forget(&self, replay: &StoredReplay, tenure: &Arc<Tenure>) {
        if let Some(own) = self.roster.take(&replay.name) {
            own.leave().await;
            self.tools.tail.leave(&own.reader);
        }
        let subscriptions = &self.tools.subscriptions;
        let mut writes = subscriptions.remove(&replay.name);
        writes.push(subscriptions.end_replay(&replay.name));
        let transaction = Transaction {
            writes,
            records: Vec::new(),
        };
        if let Err(error) = tenure.commit(&*self.tools.log, transaction).await {
            tracing::warn!(replay = replay.name, %error, "a replay that was removed is not forgotten yet");
        }
    }

    /// Deletes what a read model has of other generations, slice by slice.
    async fn clean(&self, model: &dyn ReadModel, generation: u32, tenure: &Arc<Tenure>) {
        let _turn = self.roster.cleaning.lock().await;
        loop {
            match model.has_others(generation).await {
                Ok(false) => return,
                Ok(true) => {
                    let transaction = Transaction {
                        writes: vec![model.delete_others(generation)],
                        records: Vec::new(),
                    };
                    if let Err(error) = tenure.commit(&*self.tools.log, transaction).await {
                        tracing::warn!(%error, "old rows of a read model are not deleted; trying again");
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                    tokio::time::sleep(SLICE_PAUSE).await;
                }
                Err(fault) => {
                    tracing::warn!(%fault, "old rows of a read model are not found; trying again");
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
    }
}
