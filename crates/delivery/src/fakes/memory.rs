//! A database in memory: the log, the cursors and the lanes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::{Connection, TestIds, TestVault, envelope};
use crate::chain;
use crate::clock::{Clock, Time};
use crate::commit::{Expect, Transaction, Value, Write};
use crate::envelope::{Envelope, Key, Priority, Stored};
use crate::event::{Body, Event};
use crate::log::{Appender, CommitError, Committed, Head, Record};
use crate::nodes::Lease;
use crate::process::Case;
use crate::subscriber::{Condition, ErrorClass, LaneState, StoredLane, StoredReplay};

pub(super) const CREATE: &str = "create";
pub(super) const ADVANCE: &str = "advance";
pub(super) const RENAME: &str = "rename";
pub(super) const PUT_CONDITION: &str = "put condition";
pub(super) const PUT_LANE: &str = "put lane";
pub(super) const DROP_LANE: &str = "drop lane";
pub(super) const PUT_REPLAY: &str = "put replay";
pub(super) const END_REPLAY: &str = "end replay";
pub(super) const SET_GENERATION: &str = "set generation";
pub(super) const BEGIN_PROCESS: &str = "begin process";
pub(super) const ADVANCE_PROCESS: &str = "advance process";
pub(super) const END_PROCESS: &str = "end process";
pub(super) const REMOVE: &str = "remove";
pub(super) const CLAIM: &str = "claim";
pub(super) const OFFER: &str = "offer";
pub(super) const GUARD: &str = "guard";
pub(super) const RELEASE: &str = "release";
pub(super) const WANT: &str = "want";
pub(super) const UNWANT: &str = "unwant";
pub(super) const FORGET: &str = "forget";

#[derive(Default)]
pub(super) struct State {
    pub(super) events: Vec<Stored>,
    pub(super) cursors: BTreeMap<String, u64>,
    pub(super) conditions: BTreeMap<String, Condition>,
    pub(super) lanes: BTreeMap<(String, String), StoredLane>,
    pub(super) processes: BTreeMap<Uuid, Case>,
    /// Where it is not 1.
    pub(super) generations: BTreeMap<String, u32>,
    pub(super) replays: BTreeMap<String, StoredReplay>,
    /// What each node that lives reads.
    pub(super) nodes: BTreeMap<Uuid, u64>,
    pub(super) leases: BTreeMap<String, Lease>,
    pub(super) writes: Vec<Write>,
    pub(super) commits: u64,
    pub(super) reads: u64,
    pub(super) backlog_reads: u64,
    pub(super) commit_faults: VecDeque<CommitError>,
    pub(super) read_faults: u32,
    pub(super) answer_after: Duration,
}

/// A database in memory.
pub struct Memory {
    state: Mutex<State>,
    pub(super) head: watch::Sender<Head>,
    /// Whether commits signal that the head moved.
    signals: AtomicBool,
    pub(super) clock: Arc<dyn Clock>,
    /// For all engines on it: a restart must not give an identifier again.
    pub ids: Arc<TestIds>,
    pub vault: Arc<TestVault>,
}

impl Memory {
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::default()),
            head: watch::Sender::new(Head {
                position: 0,
                epoch: 1,
                chain: chain::GENESIS,
            }),
            signals: AtomicBool::new(true),
            clock,
            ids: Arc::default(),
            vault: Arc::default(),
        })
    }

    /// A way to it, as a process has one.
    pub fn connect(self: &Arc<Self>) -> Arc<Connection> {
        Arc::new(Connection::to(self.clone()))
    }

    /// Appends an event of this type and key, without a body. Returns its position.
    pub fn append(&self, kind: &str, key: &str) -> u64 {
        self.append_all([(kind, key)])
    }

    /// Appends events in one commit. Returns the position of the last.
    pub fn append_all<'a>(&self, events: impl IntoIterator<Item = (&'a str, &'a str)>) -> u64 {
        let normal = |(kind, key)| (kind, key, Priority::Normal);
        self.append_ranked(events.into_iter().map(normal))
    }

    /// As [`Memory::append_all`], each with its priority.
    pub fn append_ranked<'a>(
        &self,
        events: impl IntoIterator<Item = (&'a str, &'a str, Priority)>,
    ) -> u64 {
        let appender = Appender::new();
        let now = self.clock.now();
        let mut position = self.head().position;
        let records = events.into_iter().map(|(kind, key, priority)| {
            position += 1;
            let envelope = Envelope {
                priority,
                ..envelope(Uuid::from_u128(u128::from(position)), kind, key, now)
            };
            let body = Body {
                open: b"{}".to_vec(),
                personal: None,
            };
            appender.record(envelope, body, None, None)
        });
        let records = records.collect();
        let transaction = Transaction {
            writes: Vec::new(),
            records,
        };
        self.apply(transaction).expect("an append meets no fault");
        position
    }

    /// All events.
    pub fn events(&self) -> Vec<Stored> {
        self.state().events.clone()
    }

    /// The event at a position.
    pub fn event(&self, position: u64) -> Option<Stored> {
        let index = usize::try_from(position).ok()?.checked_sub(1)?;
        self.state().events.get(index).cloned()
    }

    /// All events of a type, decoded. Sealed fields are not opened.
    pub fn events_of<E: Event>(&self) -> Vec<E> {
        let state = self.state();
        let of_type = state
            .events
            .iter()
            .filter(|event| event.envelope.kind == E::META.kind);
        let decoded = of_type.filter_map(|event| {
            let body = Body {
                open: event.body.clone(),
                personal: None,
            };
            E::decode(&body).ok()
        });
        decoded.collect()
    }

    /// The stored cursor of a subscription.
    pub fn cursor(&self, subscription: &str) -> Option<u64> {
        self.state().cursors.get(subscription).copied()
    }

    /// The stored condition of a subscription.
    pub fn condition(&self, subscription: &str) -> Option<Condition> {
        self.state().conditions.get(subscription).copied()
    }

    /// The stored lanes of a subscription.
    pub fn lanes_of(&self, subscription: &str) -> Vec<StoredLane> {
        let state = self.state();
        let own = state
            .lanes
            .iter()
            .filter(|((name, _), _)| name == subscription);
        own.map(|(_, lane)| lane.clone()).collect()
    }

    /// The replays under way.
    pub fn replays(&self) -> Vec<StoredReplay> {
        self.state().replays.values().cloned().collect()
    }

    /// The stored generation of a subscription.
    pub fn generation(&self, subscription: &str) -> u32 {
        let state = self.state();
        state.generations.get(subscription).copied().unwrap_or(1)
    }

    /// The processes under way.
    pub fn processes(&self) -> Vec<Case> {
        self.state().processes.values().cloned().collect()
    }

    /// All writes that are not the engine's own, in order.
    pub fn writes(&self) -> Vec<Write> {
        self.state().writes.clone()
    }

    /// How many commits there were.
    pub fn commits(&self) -> u64 {
        self.state().commits
    }

    /// How often anything was read.
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// How often a lane's backlog was read.
    pub fn backlog_reads(&self) -> u64 {
        self.state().backlog_reads
    }

    /// The next commits of any connection fail so, one each.
    pub fn fail_commits(&self, errors: impl IntoIterator<Item = CommitError>) {
        self.state().commit_faults.extend(errors);
    }

    /// So many of the next reads fail.
    pub fn fail_reads(&self, count: u32) {
        self.state().read_faults = count;
    }

    /// Commits answer this much after they are applied.
    pub fn answer_after(&self, wait: Duration) {
        self.state().answer_after = wait;
    }

    /// From now on commits move the head without telling.
    pub fn lose_signals(&self) {
        self.signals.store(false, Ordering::Relaxed);
    }

    fn head(&self) -> Head {
        let state = self.state();
        let last = state.events.last();
        Head {
            position: last.map_or(0, |event| event.position),
            epoch: 1,
            chain: last.map_or(chain::GENESIS, |event| event.chain),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn apply(&self, transaction: Transaction) -> Result<Committed, CommitError> {
        let mut state = self.state();
        let before = (
            state.cursors.clone(),
            state.conditions.clone(),
            state.lanes.clone(),
            state.processes.clone(),
            state.generations.clone(),
            state.replays.clone(),
            state.leases.clone(),
        );
        for (index, write) in transaction.writes.iter().enumerate() {
            let rows = state.execute(write);
            if rows.is_some_and(|rows| {
                write.expect != Expect::Any && write.expect != Expect::Rows(rows)
            }) {
                (
                    state.cursors,
                    state.conditions,
                    state.lanes,
                    state.processes,
                    state.generations,
                    state.replays,
                    state.leases,
                ) = before;
                return Err(CommitError::Missed(index));
            }
        }
        let own = transaction
            .writes
            .into_iter()
            .filter(|write| !is_engines(write));
        state.writes.extend(own);
        let first_position = state.events.len() as u64 + u64::from(!transaction.records.is_empty());
        let now = self.clock.now();
        for record in transaction.records {
            state.append(record, now);
        }
        state.commits += 1;
        drop(state);
        let head = self.head();
        self.head.send_if_modified(|known| {
            *known = head;
            self.signals.load(Ordering::Relaxed)
        });
        Ok(Committed {
            first_position: Some(first_position),
        })
    }
}

fn is_engines(write: &Write) -> bool {
    let engines = [
        CREATE,
        ADVANCE,
        RENAME,
        PUT_CONDITION,
        PUT_LANE,
        DROP_LANE,
        REMOVE,
        PUT_REPLAY,
        END_REPLAY,
        SET_GENERATION,
    ];
    let of_nodes = [CLAIM, OFFER, GUARD, RELEASE, WANT, UNWANT, FORGET];
    let of_processes = [BEGIN_PROCESS, ADVANCE_PROCESS, END_PROCESS];
    let all = [&engines[..], &of_processes, &of_nodes];
    all.iter().any(|some| some.contains(&write.sql))
}

pub(super) fn id(write: &Write, index: usize) -> Uuid {
    match write.params.get(index) {
        Some(Value::Id(id)) => *id,
        other => panic!("parameter {index} of {:?} is {other:?}", write.sql),
    }
}

pub(super) fn text(write: &Write, index: usize) -> String {
    match write.params.get(index) {
        Some(Value::Text(text)) => text.to_string(),
        other => panic!("parameter {index} of {:?} is {other:?}", write.sql),
    }
}

fn number(write: &Write, index: usize) -> i64 {
    match write.params.get(index) {
        Some(Value::Int(number)) => *number,
        other => panic!("parameter {index} of {:?} is {other:?}", write.sql),
    }
}

pub(super) fn position(write: &Write, index: usize) -> u64 {
    u64::try_from(number(write, index)).expect("a position is not negative")
}

fn lane(write: &Write) -> StoredLane {
    let time = |index| Time::from_microsecond(number(write, index)).expect("a stored time");
    StoredLane {
        key: Key::stored(text(write, 1)),
        done: position(write, 2),
        state: if number(write, 3) == 0 {
            LaneState::Retrying
        } else {
            LaneState::Parked
        },
        attempts: u32::try_from(number(write, 4)).expect("attempts are few"),
        due: time(5),
        since: time(6),
        event_id: id(write, 7),
        position: position(write, 8),
        event_type: text(write, 9),
        error_class: match &write.params[10] {
            Value::Null => None,
            _ => ErrorClass::of_code(&text(write, 10)),
        },
        error: text(write, 11),
    }
}

impl State {
    /// How many rows a write of the engine's touches.
    fn execute(&mut self, write: &Write) -> Option<u64> {
        let text = |index| text(write, index);
        let number = |index| number(write, index);
        let position = |index| position(write, index);
        let touched = match write.sql {
            CREATE => self.cursors.insert(text(0), position(1)).is_none(),
            ADVANCE => match self.cursors.get_mut(&text(0)) {
                Some(cursor) if *cursor <= position(1) => {
                    *cursor = position(1);
                    true
                }
                _ => false,
            },
            RENAME => match self.cursors.remove(&text(0)) {
                Some(cursor) => {
                    self.cursors.insert(text(1), cursor);
                    let condition = self.conditions.remove(&text(0));
                    self.conditions
                        .extend(condition.map(|condition| (text(1), condition)));
                    let lanes =
                        std::mem::take(&mut self.lanes)
                            .into_iter()
                            .map(|((name, key), lane)| {
                                ((if name == text(0) { text(1) } else { name }, key), lane)
                            });
                    self.lanes = lanes.collect();
                    true
                }
                None => false,
            },
            PUT_CONDITION => {
                let condition = Condition {
                    paused: number(1) != 0,
                    running: number(2) != 0,
                    suspect: position(3),
                    crashes: u32::try_from(number(4)).expect("crashes are few"),
                };
                self.conditions.insert(text(0), condition);
                self.cursors.contains_key(&text(0))
            }
            PUT_LANE => {
                self.lanes.insert((text(0), text(1)), lane(write));
                true
            }
            REMOVE => {
                self.lanes.retain(|(name, _), _| *name != text(0));
                self.conditions.remove(&text(0));
                self.generations.remove(&text(0));
                self.cursors.remove(&text(0)).is_some()
            }
            DROP_LANE => self.lanes.remove(&(text(0), text(1))).is_some(),
            PUT_REPLAY | END_REPLAY | SET_GENERATION => self.move_replay(write),
            BEGIN_PROCESS | ADVANCE_PROCESS | END_PROCESS => return Some(self.move_process(write)),
            CLAIM | OFFER | GUARD | RELEASE | WANT | UNWANT | FORGET => self.move_lease(write),
            _ => return None,
        };
        Some(u64::from(touched))
    }

    fn append(&mut self, record: Record, now: Time) {
        let position = self.events.len() as u64 + 1;
        let previous = self
            .events
            .last()
            .map_or(chain::GENESIS, |event| event.chain);
        self.events.push(record.stored(&previous, position, 1, now));
    }
}
