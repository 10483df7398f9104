//! The runner: one task per subscription, which does what its [`machine`](super::machine) says.
//!
//! A round takes what has ended, lets the machine decide, and starts what it says. A handler that ends at once is not
//! spawned, timed or queued: it is polled where it is started, and its end is the next round's input.
//!
//! **Guarantees.** All commits of a subscription are submitted from its task. Nothing begins after the stop signal;
//! what is under way then has [`DRAIN_WITHIN`] to end, and the state is saved last of all.
//!
//! **Not guaranteed.** A handler that blocks its thread blocks its subscription (not the others), timeout or not.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::decisions::{Declined, Orders};
use super::delivery::Target;
use super::errands::{Tools, catch_up, commit, fetch, sweep};
use super::figures::Figures;
use super::machine::{
    Alert, Effect, Input, Machine, Now, Rng, Save, Selection, Verdict, Wish, rest,
};
use super::recent::Recent;
use super::tail::{BATCH_EVENTS, POLL_EVERY, Reader, Tail, Taken};
use super::tenure::Tenure;
use crate::BoxFuture;
use crate::commit::Transaction;
use crate::envelope::Stored;
use crate::subscriber::{Order, StoredReplay, Subscription};

/// How long what is under way may go on after the stop signal.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);
/// Rounds without a rest, so that a busy subscription lets others have the thread.
const ROUNDS: usize = 64;
/// Ended work taken at once.
const INPUTS: usize = 1024;

/// What a runner shares with those who ask about its subscription.
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) order: Order,
    /// As it was registered; of a replay, the subscription that is replayed.
    registered: RwLock<Subscription>,
    pub(super) replay: Option<StoredReplay>,
    target: RwLock<Arc<Target>>,
    machine: Mutex<Machine>,
    orders: Orders,
    pub(super) recent: Recent,
    pub(super) reader: Arc<Reader>,
    pub(super) tenure: Arc<Tenure>,
    /// It is removed while the engine goes on: nothing is waited for.
    left: CancellationToken,
    /// Its runner has ended, and submits nothing more.
    ended: CancellationToken,
}

impl Shared {
    pub(super) fn new(
        registered: Subscription,
        replay: Option<StoredReplay>,
        target: Arc<Target>,
        selection: Selection,
        machine: Machine,
        tenure: Arc<Tenure>,
    ) -> Self {
        Self {
            name: Arc::clone(&target.name),
            order: registered.order,
            registered: RwLock::new(registered),
            replay,
            target: RwLock::new(target),
            machine: Mutex::new(machine),
            orders: Orders::default(),
            recent: Recent::default(),
            reader: Arc::new(Reader::new(selection)),
            left: tenure.lost.child_token(),
            tenure,
            ended: CancellationToken::new(),
        }
    }

    /// Where its events go now.
    pub(super) fn target(&self) -> Arc<Target> {
        let target = self.target.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&target)
    }

    pub(super) fn registered(&self) -> Subscription {
        let registered = self.registered.read();
        registered.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it has done all up to the head of the log, or to its end if that comes before.
    pub(super) fn reached(&self, head: u64, tail: &Tail) -> bool {
        let end = self.replay.as_ref().and_then(|replay| replay.to);
        self.position(tail) >= end.map_or(head, |end| end.min(head))
    }

    /// From now on events go to `target`, and only those that `selection` takes. What is under way ends where it began.
    pub(super) fn replace(
        &self,
        registered: Subscription,
        target: Arc<Target>,
        selection: Selection,
        tail: &Tail,
    ) {
        *self
            .registered
            .write()
            .unwrap_or_else(PoisonError::into_inner) = registered;
        *self.target.write().unwrap_or_else(PoisonError::into_inner) = target;
        self.machine().select(selection.clone());
        tail.select(&self.reader, selection);
    }

    /// Everything up to here is done, left to a lane, or nothing that it wants.
    pub(super) fn position(&self, tail: &Tail) -> u64 {
        let machine = self.machine();
        let clear = machine.is_clear().then(|| tail.clear(&self.reader));
        clear.unwrap_or_default().max(machine.cursor())
    }

    /// Ends its runner, at once: what is under way is dropped.
    pub(super) async fn leave(&self) {
        self.left.cancel();
        self.ended.cancelled().await;
    }

    /// Waits until its runner has ended by itself, but not for ever: then as [`Self::leave`].
    pub(super) async fn end_within(&self, patience: Duration) {
        if tokio::time::timeout(patience, self.ended.cancelled())
            .await
            .is_err()
        {
            self.leave().await;
        }
    }

    /// Gives the machine an order, soon, and says where its answer comes.
    pub(super) fn ask(&self, wish: Wish) -> oneshot::Receiver<Result<u64, Declined>> {
        let answered = self.orders.put(wish);
        self.reader.ring();
        answered
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a delivery that ended at this time, in microseconds since 1970.
fn note(figures: &mut Figures, recent: &Recent, event: &Stored, verdict: &Verdict, wall_us: i64) {
    let micros = wall_us - event.recorded_at.as_microsecond();
    // The clock may have been set back since.
    let latency = Duration::from_micros(u64::try_from(micros).unwrap_or_default());
    figures.count(verdict, event.envelope.priority, latency);
    if verdict.is_done() {
        recent.add(event.position, latency);
    }
}

/// Something under way, by what its end tells the machine.
type Work = BoxFuture<'static, Input>;

pub(super) struct Runner {
    tools: Arc<Tools>,
    shared: Arc<Shared>,
    rng: Rng,
    figures: Figures,
    /// Everything under way; what ends becomes an input.
    work: FuturesUnordered<Work>,
    inputs: Vec<Input>,
    effects: Vec<Effect>,
    /// It is older than the ring and a read of its own is under way.
    catching_up: bool,
    /// It has said that it waits for a newer program.
    holds: bool,
    published: u64,
}

impl Runner {
    pub(super) fn new(tools: Arc<Tools>, shared: Arc<Shared>, rng: Rng) -> Self {
        Self {
            figures: Figures::new(&shared.name),
            tools,
            shared,
            rng,
            work: FuturesUnordered::new(),
            inputs: Vec::new(),
            effects: Vec::new(),
            catching_up: false,
            holds: false,
            published: u64::MAX,
        }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Runs until the server stops, or its subscription is removed or goes to another node.
    pub(super) async fn run(self) {
        let shared = Arc::clone(&self.shared);
        let stopping = shared.tenure.leaving.clone();
        let work = AssertUnwindSafe(self.work_on(stopping)).catch_unwind();
        if let Some(Err(_)) = shared.left.run_until_cancelled(work).await {
            tracing::error!(
                subscription = &*shared.name,
                "the engine failed; nothing is delivered until a restart"
            );
        }
        shared.orders.close();
        shared.ended.cancel();
    }

    async fn work_on(mut self, stopping: CancellationToken) {
        let mut stop: Option<Instant> = None;
        loop {
            if stop.is_none() && stopping.is_cancelled() {
                stop = Some(Instant::now() + DRAIN_WITHIN);
                // So that the next start does not read again what is not wanted.
                self.fetch();
                self.inputs.push(Input::Stop);
            }
            let Some(mut wake) = self.rounds().await else {
                tokio::task::yield_now().await;
                continue;
            };
            if let Some(stop) = stop {
                if self.shared.machine().is_at_rest() {
                    return;
                }
                if Instant::now() >= stop {
                    return self.give_up();
                }
                wake = wake.min(stop);
            }
            tokio::select! {
                Some(input) = self.work.next(), if !self.work.is_empty() => self.inputs.push(input),
                () = stopping.cancelled(), if stop.is_none() => {}
                () = self.shared.reader.rung() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Rounds until there is nothing to do now, and when to look again at the latest; `None` when there is more to do.
    async fn rounds(&mut self) -> Option<Instant> {
        let mut idle = false;
        self.shared.orders.take(&mut self.inputs);
        for _ in 0..ROUNDS {
            self.collect().await;
            let now = self.tools.now();
            self.decide(now);
            self.start().await;
            idle = self.inputs.is_empty() && !self.fetch();
            if idle {
                break;
            }
        }
        let wake = self.publish(self.tools.now());
        idle.then_some(wake)
    }

    /// Takes what has ended.
    async fn collect(&mut self) {
        if self.work.is_empty() {
            return;
        }
        let (work, inputs) = (&mut self.work, &mut self.inputs);
        poll_fn(|cx| {
            while inputs.len() < INPUTS
                && let Poll::Ready(Some(input)) = work.poll_next_unpin(cx)
            {
                inputs.push(input);
            }
            Poll::Ready(())
        })
        .await;
    }

    fn decide(&mut self, now: Now) {
        let wall = now.wall.as_microsecond();
        let mut machine = self.shared.machine();
        for input in self.inputs.drain(..) {
            match &input {
                Input::Finished { event, verdict } => {
                    note(&mut self.figures, &self.shared.recent, event, verdict, wall);
                }
                Input::FinishedTogether(ended) => {
                    for (event, verdict) in ended {
                        note(&mut self.figures, &self.shared.recent, event, verdict, wall);
                    }
                }
                Input::Read(_) => self.catching_up = false,
                _ => {}
            }
            machine.step(input, now, &mut self.rng, &mut self.effects);
        }
        machine.step(Input::Tick, now, &mut self.rng, &mut self.effects);
    }

    async fn start(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Deliver { event, attempt } => self.deliver(event, attempt).await,
                Effect::DeliverTogether(events) => {
                    let target = self.shared.target();
                    self.work.push(Box::pin(async move {
                        Input::FinishedTogether(target.deliver_together(events).await)
                    }));
                }
                Effect::Commit {
                    event,
                    effects,
                    row,
                } => {
                    let tools = self.tools.clone();
                    let name = Arc::clone(&self.shared.name);
                    let tenure = Arc::clone(&self.shared.tenure);
                    self.work
                        .push(Box::pin(commit(tools, tenure, name, event, effects, row)));
                }
                Effect::Save(save) => {
                    let save = self.save(&save);
                    self.work.push(save);
                }
                Effect::Answer { order, answer } => self.shared.orders.answer(order, answer),
                Effect::Fronts(fronts) => {
                    self.work.push(Box::pin(fetch(self.tools.clone(), fronts)));
                }
                Effect::Sweep(next) => {
                    self.work.push(Box::pin(sweep(self.tools.clone(), next)));
                }
            }
        }
        self.effects = effects;
    }

    /// Polls the delivery once where it is: only one that does not end at once becomes work, with a timeout.
    async fn deliver(&mut self, event: Arc<Stored>, attempt: u32) {
        let (target, delivered) = (self.shared.target(), Arc::clone(&event));
        let timeout = target.timeout;
        let mut delivery = Box::pin(async move { target.deliver(&delivered, attempt).await });
        let first = poll_fn(|cx| Poll::Ready(delivery.as_mut().poll(cx))).await;
        if let Poll::Ready(verdict) = first {
            self.inputs.push(Input::Finished { event, verdict });
            return;
        }
        self.work.push(Box::pin(async move {
            let verdict = tokio::time::timeout(timeout, delivery)
                .await
                .unwrap_or(Verdict::TimedOut);
            Input::Finished { event, verdict }
        }));
    }

    /// Takes events from the ring if the window could use some. Says whether it got any.
    fn fetch(&mut self) -> bool {
        if self.catching_up {
            return false;
        }
        // Locked until the machine has what was taken: whoever asks how far it is must not look in between.
        let mut machine = self.shared.machine();
        let Some((after, room)) = machine.wants() else {
            return false;
        };
        let limit = usize::try_from(room)
            .unwrap_or(usize::MAX)
            .min(BATCH_EVENTS);
        let input = match self.tools.tail.take(&self.shared.reader, after, limit) {
            Taken::Events(events) => Input::Read(events),
            Taken::Nothing(upto) => Input::Unwanted(upto),
            Taken::Empty => return false,
            Taken::Behind => {
                self.catching_up = true;
                let tools = self.tools.clone();
                self.work.push(Box::pin(async move {
                    Input::Read(catch_up(&tools, after, limit).await)
                }));
                return false;
            }
        };
        let now = self.tools.now();
        machine.step(input, now, &mut self.rng, &mut self.effects);
        true
    }

    /// Submits the engine's own state.
    fn save(&self, save: &Save) -> Work {
        let (tools, name) = (&self.tools, &*self.shared.name);
        let mut transaction = Transaction::default();
        for lane in &save.lanes {
            transaction
                .writes
                .push(tools.subscriptions.put_lane(name, lane));
        }
        for key in &save.drop {
            transaction
                .writes
                .push(tools.subscriptions.drop_lane(name, key));
        }
        transaction.writes.extend(
            save.cursor
                .map(|cursor| tools.subscriptions.advance(name, cursor)),
        );
        if let Some(cursor) = save.cursor {
            transaction
                .writes
                .extend(self.shared.target().writes(cursor));
        }
        for letter in &save.letters {
            let dead = &letter.event.envelope;
            tracing::warn!(
                subscription = name, event = %dead.id, r#type = dead.kind, attempts = letter.attempts,
                class = letter.class.code(), "an event is parked; its key waits for a decision"
            );
            transaction
                .records
                .push(tools.scribe.dead_letter(name, letter));
        }
        for alert in &save.alerts {
            // An operator's reason is for the log of events.
            if !matches!(alert, Alert::Redriven { .. } | Alert::Discarded { .. }) {
                tracing::warn!(subscription = name, ?alert, "deliveries as a whole");
            }
            let calls = &self.shared.target().calls;
            let record = tools.scribe.alert(name, calls, alert);
            transaction.records.push(record);
        }
        let condition = save.condition.as_ref();
        transaction
            .writes
            .extend(condition.map(|condition| tools.subscriptions.put_condition(name, condition)));
        let commit = self.shared.tenure.commit(&*tools.log, transaction);
        let name = Arc::clone(&self.shared.name);
        let lost = save.alerts.iter().filter_map(|alert| match alert {
            Alert::Expired { lost, .. } => Some(*lost),
            _ => None,
        });
        let (lost, losses) = (lost.collect::<Vec<_>>(), self.figures.losses.clone());
        Box::pin(async move {
            let result = commit.await;
            match &result {
                Ok(_) => lost.into_iter().for_each(|events| losses.count(events)),
                Err(error) => {
                    tracing::warn!(subscription = &*name, %error, "its cursor and lanes are not saved; trying again");
                }
            }
            Input::Saved {
                committed: result.is_ok(),
            }
        })
    }

    fn publish(&mut self, now: Now) -> Instant {
        self.figures.publish();
        let (cursor, next) = {
            let machine = self.shared.machine();
            let held = machine.held();
            if let Some(event) = held.filter(|_| !self.holds) {
                tracing::error!(
                    subscription = &*self.shared.name,
                    position = event.position,
                    r#type = event.envelope.kind,
                    version = event.envelope.version,
                    "an event is of a newer version than this program knows; nothing more is delivered until one that \
                     knows it is started"
                );
            }
            self.holds = held.is_some();
            let next = machine.next_tick(now);
            let lanes = machine.lanes_retrying() > 0;
            // The time of a lane is the wall clock's, which may jump.
            (
                machine.cursor(),
                next.map(|next| {
                    if lanes {
                        next.min(now.tick + POLL_EVERY)
                    } else {
                        next
                    }
                }),
            )
        };
        if std::mem::replace(&mut self.published, cursor) != cursor {
            self.tools.moved.send_replace(());
        }
        // When there is nothing to wait for: the cursor moves over what was not wanted meanwhile.
        let next = next.unwrap_or_else(|| now.tick + rest(&mut self.rng));
        self.tools.began + next
    }

    /// Leaves what did not end in time. Its lanes were saved while it was waited for.
    fn give_up(&self) {
        let left = self.shared.machine().in_flight();
        tracing::warn!(
            subscription = &*self.shared.name,
            left,
            "deliveries did not end in time; they begin again at the next start"
        );
    }
}
