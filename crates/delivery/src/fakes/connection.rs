//! One process's way to a database in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::memory::{
    ADVANCE, CREATE, DROP_LANE, END_REPLAY, Memory, PUT_CONDITION, PUT_LANE, PUT_REPLAY, REMOVE,
    RENAME, SET_GENERATION, State,
};
use crate::BoxFuture;
use crate::commit::{Transaction, Value, Write};
use crate::envelope::{Key, Stored};
use crate::fault::Fault;
use crate::log::{CommitError, Committed, Head, Log};
use crate::subscriber::{
    Condition, ErrorClass, LaneCount, LaneState, StoredLane, StoredReplay, StoredSubscription,
    Subscriptions,
};

/// One process's way to a [`Memory`].
pub struct Connection {
    pub(super) memory: Arc<Memory>,
    cut: Arc<AtomicBool>,
}

impl Connection {
    pub(super) fn to(memory: Arc<Memory>) -> Self {
        Self {
            memory,
            cut: Arc::new(AtomicBool::new(false)),
        }
    }

    /// The process is gone: nothing it does from now on has an effect or an answer.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    pub(super) fn read_with<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut State) -> T,
    ) -> BoxFuture<'static, Result<T, Fault>> {
        if self.is_cut() {
            return Box::pin(std::future::pending());
        }
        let mut state = self.memory.state();
        state.reads += 1;
        if state.read_faults > 0 {
            state.read_faults -= 1;
            return Box::pin(std::future::ready(Err(Fault::Internal(
                "a read failed".to_owned(),
            ))));
        }
        let value = read(&mut state);
        drop(state);
        Box::pin(std::future::ready(Ok(value)))
    }
}

impl Log for Connection {
    fn commit(
        &self,
        transaction: Transaction,
    ) -> BoxFuture<'static, Result<Committed, CommitError>> {
        if self.is_cut() {
            return Box::pin(std::future::pending());
        }
        let fault = self.memory.state().commit_faults.pop_front();
        let result = fault.map_or_else(|| self.memory.apply(transaction), Err);
        let (wait, cut) = (self.memory.state().answer_after, self.cut.clone());
        Box::pin(async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            if cut.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            result
        })
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        self.read_with(|state| {
            let from = usize::try_from(after)
                .unwrap_or(usize::MAX)
                .min(state.events.len());
            state.events[from..].iter().take(limit).cloned().collect()
        })
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.memory.head.subscribe()
    }
}

impl Subscriptions for Connection {
    fn load(&self) -> BoxFuture<'_, Result<Vec<StoredSubscription>, Fault>> {
        self.read_with(|state| {
            let rows = state
                .cursors
                .iter()
                .map(|(name, position)| StoredSubscription {
                    name: name.clone(),
                    position: *position,
                    condition: state.conditions.get(name).copied().unwrap_or_default(),
                    generation: state.generations.get(name).copied().unwrap_or(1),
                });
            rows.collect()
        })
    }

    fn lanes(&self, name: &str) -> BoxFuture<'_, Result<Vec<StoredLane>, Fault>> {
        let lanes = self.memory.lanes_of(name);
        self.read_with(|_| lanes)
    }

    fn lane_counts(&self) -> BoxFuture<'_, Result<Vec<LaneCount>, Fault>> {
        self.read_with(|state| {
            let mut counts: Vec<LaneCount> = Vec::new();
            let lanes = state.lanes.iter();
            for ((name, _), lane) in lanes.filter(|(_, lane)| !lane.event_id.is_nil()) {
                let mut same = counts.iter_mut();
                match same.find(|(of, is, _)| of == name && *is == lane.state) {
                    Some((_, _, count)) => *count += 1,
                    None => counts.push((name.clone(), lane.state, 1)),
                }
            }
            counts
        })
    }

    fn backlog(
        &self,
        keys: &[Key],
        after: u64,
        upto: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        let keys = keys.to_vec();
        self.read_with(move |state| {
            state.backlog_reads += 1;
            let wanted = state.events.iter().filter(|event| {
                event.position > after
                    && event.position <= upto
                    && keys.contains(&event.envelope.key)
            });
            wanted.take(limit).cloned().collect()
        })
    }

    fn events_at(&self, positions: &[u64]) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        let positions = positions.to_vec();
        self.read_with(move |state| {
            let events = state.events.iter();
            let wanted = events.filter(|event| positions.contains(&event.position));
            wanted.cloned().collect()
        })
    }

    fn create(&self, name: &str, position: u64) -> Write {
        Write::one(CREATE, vec![name.to_owned().into(), number(position)])
    }

    fn advance(&self, name: &str, position: u64) -> Write {
        Write::one(ADVANCE, vec![name.to_owned().into(), number(position)])
    }

    fn put_condition(&self, name: &str, condition: &Condition) -> Write {
        let params = vec![
            name.to_owned().into(),
            condition.paused.into(),
            condition.running.into(),
            number(condition.suspect),
            condition.crashes.into(),
        ];
        Write::one(PUT_CONDITION, params)
    }

    fn rename(&self, from: &str, to: &str) -> Write {
        Write::one(RENAME, vec![from.to_owned().into(), to.to_owned().into()])
    }

    fn replays(&self) -> BoxFuture<'_, Result<Vec<StoredReplay>, Fault>> {
        self.read_with(|state| state.replays.values().cloned().collect())
    }

    fn put_replay(&self, replay: &StoredReplay) -> Write {
        let params = vec![
            replay.name.clone().into(),
            replay.subscription.clone().into(),
            replay.generation.into(),
            number(replay.from),
            replay.to.map_or(Value::Null, number),
            replay.by.into(),
        ];
        Write::one(PUT_REPLAY, params)
    }

    fn end_replay(&self, name: &str) -> Write {
        Write::one(END_REPLAY, vec![name.to_owned().into()])
    }

    fn set_generation(&self, name: &str, generation: u32) -> Write {
        Write::one(
            SET_GENERATION,
            vec![name.to_owned().into(), generation.into()],
        )
    }

    fn put_lane(&self, name: &str, lane: &StoredLane) -> Write {
        let params = vec![
            name.to_owned().into(),
            lane.key.as_str().to_owned().into(),
            number(lane.done),
            Value::Int(i64::from(lane.state == LaneState::Parked)),
            lane.attempts.into(),
            lane.due.into(),
            lane.since.into(),
            lane.event_id.into(),
            number(lane.position),
            lane.event_type.clone().into(),
            lane.error_class.map(ErrorClass::code).into(),
            lane.error.clone().into(),
        ];
        Write::one(PUT_LANE, params)
    }

    fn remove(&self, name: &str) -> Vec<Write> {
        vec![Write::any(REMOVE, vec![name.to_owned().into()])]
    }

    fn drop_lane(&self, name: &str, key: &Key) -> Write {
        Write::any(
            DROP_LANE,
            vec![name.to_owned().into(), key.as_str().to_owned().into()],
        )
    }
}

fn number(position: u64) -> Value {
    Value::Int(i64::try_from(position).expect("positions stay far below 2^63"))
}
