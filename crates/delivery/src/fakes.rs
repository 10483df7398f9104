//! In-memory stand-ins for what the engine works with: for tests of the engine and of what is built on it.
//!
//! **Cast.** A [`Memory`] is the database: the log, the cursors and the lanes. A [`Connection`] is one process's way to
//! it; [`Connection::cut`] is the kill: what was committed stays, nothing else of that process ever answers again.
//! [`TestClock`], [`TestIds`] and [`TestVault`] are the other ports.
//!
//! Writes that are not the engine's own are kept in the order of their commits and touch as many rows as they expect.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use crate::BoxFuture;
use crate::catalogue::Catalogue;
use crate::chain;
use crate::clock::{Clock, Ids, Time};
use crate::commit::{Expect, Transaction, Value, Write};
use crate::engine::Parts;
use crate::envelope::{Actor, Context, Envelope, Key, Priority, Stored};
use crate::event::Event;
use crate::fault::Fault;
use crate::log::{Appender, CommitError, Committed, Head, Log, Record};
use crate::seal::{SealKey, Vault};
use crate::subscriber::{LaneState, StoredLane, StoredSubscription, Subscriptions};
use crate::tasks::Tasks;

const CREATE: &str = "create";
const ADVANCE: &str = "advance";
const RENAME: &str = "rename";
const PUT_LANE: &str = "put lane";
const DROP_LANE: &str = "drop lane";

#[derive(Default)]
struct State {
    events: Vec<Stored>,
    cursors: BTreeMap<String, u64>,
    lanes: BTreeMap<(String, String), StoredLane>,
    writes: Vec<Write>,
    commits: u64,
    backlog_reads: u64,
    commit_faults: VecDeque<CommitError>,
    read_faults: u32,
    answer_after: Duration,
}

/// A database in memory.
pub struct Memory {
    state: Mutex<State>,
    head: watch::Sender<Head>,
    /// Whether commits signal that the head moved.
    signals: AtomicBool,
    clock: Arc<dyn Clock>,
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
        Arc::new(Connection {
            memory: self.clone(),
            cut: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Appends an event of this type and key, without a body. Returns its position.
    pub fn append(&self, kind: &str, key: &str) -> u64 {
        self.append_all([(kind, key)])
    }

    /// Appends events in one commit. Returns the position of the last.
    pub fn append_all<'a>(&self, events: impl IntoIterator<Item = (&'a str, &'a str)>) -> u64 {
        let appender = Appender::new();
        let now = self.clock.now();
        let mut position = self.head().position;
        let records = events.into_iter().map(|(kind, key)| {
            position += 1;
            let envelope = envelope(Uuid::from_u128(u128::from(position)), kind, key, now);
            let body = crate::Body {
                open: b"{}".to_vec(),
                personal: None,
            };
            appender.record(envelope, body, &Context::default(), None, None)
        });
        let records = records.collect();
        let transaction = Transaction { writes: Vec::new(), records };
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
        let of_type = state.events.iter().filter(|event| event.envelope.kind == E::META.kind);
        let decoded = of_type.filter_map(|event| {
            let body = crate::Body {
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

    /// The stored lanes of a subscription.
    pub fn lanes_of(&self, subscription: &str) -> Vec<StoredLane> {
        let state = self.state();
        let own = state.lanes.iter().filter(|((name, _), _)| name == subscription);
        own.map(|(_, lane)| lane.clone()).collect()
    }

    /// All writes that are not the engine's own, in order.
    pub fn writes(&self) -> Vec<Write> {
        self.state().writes.clone()
    }

    /// How many commits there were.
    pub fn commits(&self) -> u64 {
        self.state().commits
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, transaction: Transaction) -> Result<Committed, CommitError> {
        let mut state = self.state();
        let before = (state.cursors.clone(), state.lanes.clone());
        for (index, write) in transaction.writes.iter().enumerate() {
            let rows = state.execute(write);
            if rows.is_some_and(|rows| write.expect != Expect::Any && write.expect != Expect::Rows(rows)) {
                (state.cursors, state.lanes) = before;
                return Err(CommitError::Missed(index));
            }
        }
        let own = transaction.writes.into_iter().filter(|write| !is_engines(write));
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
        Ok(Committed { first_position })
    }
}

fn is_engines(write: &Write) -> bool {
    [CREATE, ADVANCE, RENAME, PUT_LANE, DROP_LANE].contains(&write.sql)
}

impl State {
    /// How many rows a write of the engine's touches.
    fn execute(&mut self, write: &Write) -> Option<u64> {
        let text = |index: usize| match write.params.get(index) {
            Some(Value::Text(text)) => text.to_string(),
            other => panic!("parameter {index} of {:?} is {other:?}", write.sql),
        };
        let number = |index: usize| match write.params.get(index) {
            Some(Value::Int(number)) => *number,
            other => panic!("parameter {index} of {:?} is {other:?}", write.sql),
        };
        let position = |index: usize| u64::try_from(number(index)).expect("a position is not negative");
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
                    let lanes = std::mem::take(&mut self.lanes).into_iter().map(|((name, key), lane)| {
                        ((if name == text(0) { text(1) } else { name }, key), lane)
                    });
                    self.lanes = lanes.collect();
                    true
                }
                None => false,
            },
            PUT_LANE => {
                let time = |index| Time::from_microsecond(number(index)).expect("a stored time");
                let lane = StoredLane {
                    key: Key::stored(text(1)),
                    done: position(2),
                    state: if number(3) == 0 { LaneState::Retrying } else { LaneState::Parked },
                    attempts: u32::try_from(number(4)).expect("attempts are few"),
                    due: time(5),
                    since: time(6),
                    event_id: match &write.params[7] {
                        Value::Id(id) => *id,
                        other => panic!("an event's id is {other:?}"),
                    },
                    error: text(8),
                };
                self.lanes.insert((text(0), text(1)), lane);
                true
            }
            DROP_LANE => self.lanes.remove(&(text(0), text(1))).is_some(),
            _ => return None,
        };
        Some(u64::from(touched))
    }

    fn append(&mut self, record: Record, now: Time) {
        let (envelope, context, body, personal, digest) = record.into_parts();
        let position = self.events.len() as u64 + 1;
        let previous = self.events.last().map_or(chain::GENESIS, |event| event.chain);
        self.events.push(Stored {
            position,
            epoch: 1,
            recorded_at: now,
            envelope,
            context,
            body,
            personal,
            chain: chain::link(&previous, position, 1, now.as_microsecond(), &digest),
        });
    }
}

/// An envelope with nothing in it but the least.
pub fn envelope(id: Uuid, kind: &str, key: &str, time: Time) -> Envelope {
    Envelope {
        id,
        kind: kind.to_owned(),
        version: 1,
        key: Key::stored(key.to_owned()),
        priority: Priority::Normal,
        time,
        workflow_id: id,
        correlation_id: id,
        causation_id: None,
        subject: None,
        actor: Actor {
            kind: "user".into(),
            id: None,
        },
        request_id: None,
        traceparent: None,
    }
}

/// One process's way to a [`Memory`].
pub struct Connection {
    memory: Arc<Memory>,
    cut: Arc<AtomicBool>,
}

impl Connection {
    /// The process is gone: nothing it does from now on has an effect or an answer.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    fn read_with<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut State) -> T,
    ) -> BoxFuture<'static, Result<T, Fault>> {
        if self.is_cut() {
            return Box::pin(std::future::pending());
        }
        let mut state = self.memory.state();
        if state.read_faults > 0 {
            state.read_faults -= 1;
            return Box::pin(std::future::ready(Err(Fault::Internal("a read failed".to_owned()))));
        }
        let value = read(&mut state);
        drop(state);
        Box::pin(std::future::ready(Ok(value)))
    }
}

impl Log for Connection {
    fn commit(&self, transaction: Transaction) -> BoxFuture<'static, Result<Committed, CommitError>> {
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
            let from = usize::try_from(after).unwrap_or(usize::MAX).min(state.events.len());
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
            let rows = state.cursors.iter().map(|(name, position)| StoredSubscription {
                name: name.clone(),
                position: *position,
            });
            rows.collect()
        })
    }

    fn lanes(&self, name: &str) -> BoxFuture<'_, Result<Vec<StoredLane>, Fault>> {
        let lanes = self.memory.lanes_of(name);
        self.read_with(|_| lanes)
    }

    fn backlog(
        &self,
        key: &Key,
        after: u64,
        upto: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        let key = key.clone();
        self.read_with(move |state| {
            state.backlog_reads += 1;
            let wanted = state.events.iter().filter(|event| {
                event.position > after && event.position <= upto && event.envelope.key == key
            });
            wanted.take(limit).cloned().collect()
        })
    }

    fn create(&self, name: &str, position: u64) -> Write {
        Write::one(CREATE, vec![name.to_owned().into(), number(position)])
    }

    fn advance(&self, name: &str, position: u64) -> Write {
        Write::one(ADVANCE, vec![name.to_owned().into(), number(position)])
    }

    fn rename(&self, from: &str, to: &str) -> Write {
        Write::one(RENAME, vec![from.to_owned().into(), to.to_owned().into()])
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
            lane.error.clone().into(),
        ];
        Write::one(PUT_LANE, params)
    }

    fn drop_lane(&self, name: &str, key: &Key) -> Write {
        Write::any(DROP_LANE, vec![name.to_owned().into(), key.as_str().to_owned().into()])
    }
}

fn number(position: u64) -> Value {
    Value::Int(i64::try_from(position).expect("positions stay far below 2^63"))
}

/// A clock that follows tokio's, so that paused time is paused here too. It can be set forward on its own.
pub struct TestClock {
    began: tokio::time::Instant,
    ahead_us: AtomicU64,
}

impl TestClock {
    /// Must be made inside a tokio runtime.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: tokio::time::Instant::now(),
            ahead_us: AtomicU64::new(0),
        })
    }

    /// Jumps forward.
    pub fn jump(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).expect("a jump of a test is short");
        self.ahead_us.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Time {
        /// 2026-01-01T00:00:00Z
        const START_US: i64 = 1_767_225_600_000_000;
        let since = self.began.elapsed() + Duration::from_micros(self.ahead_us.load(Ordering::Relaxed));
        let micros = i64::try_from(since.as_micros()).expect("a test is short");
        Time::from_microsecond(START_US + micros).expect("a time in this century")
    }
}

/// Identifiers that count, random bytes that repeat from run to run.
#[derive(Default)]
pub struct TestIds(AtomicU64);

impl Ids for TestIds {
    fn next(&self) -> Uuid {
        // Above what `Memory::append` gives.
        Uuid::from_u128((1 << 64) + u128::from(self.0.fetch_add(1, Ordering::Relaxed)))
    }

    fn random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let drawn = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            *byte = drawn.to_le_bytes()[7];
        }
    }
}

/// Keys in memory that seal by turning every bit.
#[derive(Default)]
pub struct TestVault(Mutex<BTreeMap<String, Arc<TestKey>>>);

impl TestVault {
    /// Destroys a key.
    pub fn destroy(&self, name: &str) {
        self.keys().remove(name);
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<String, Arc<TestKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vault for TestVault {
    fn key(&self, name: &str) -> BoxFuture<'_, Result<Arc<dyn SealKey>, Fault>> {
        let key = self.keys().entry(name.to_owned()).or_insert_with(|| Arc::new(TestKey(name.to_owned()))).clone();
        Box::pin(std::future::ready(Ok(key as Arc<dyn SealKey>)))
    }

    fn existing(&self, name: &str) -> BoxFuture<'_, Result<Option<Arc<dyn SealKey>>, Fault>> {
        let key = self.keys().get(name).cloned();
        Box::pin(std::future::ready(Ok(key.map(|key| key as Arc<dyn SealKey>))))
    }
}

/// A key of a [`TestVault`].
pub struct TestKey(String);

impl SealKey for TestKey {
    fn name(&self) -> &str {
        &self.0
    }

    fn seal(&self, bound_to: &[u8], plain: &[u8]) -> Vec<u8> {
        bound_to.iter().copied().chain(plain.iter().map(|byte| !byte)).collect()
    }

    fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let sealed = sealed.strip_prefix(bound_to)?;
        Some(sealed.iter().map(|byte| !byte).collect())
    }

    fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        use sha2::{Digest as _, Sha256};
        Sha256::new().chain_update(&self.0).chain_update(bytes).finalize().into()
    }
}

/// All an engine needs, over one connection.
pub fn parts(connection: &Arc<Connection>, catalogue: Catalogue, tasks: Tasks) -> Parts {
    let memory = &connection.memory;
    Parts {
        log: connection.clone(),
        subscriptions: connection.clone(),
        vault: memory.vault.clone(),
        appender: Arc::new(Appender::new()),
        clock: memory.clock.clone(),
        ids: memory.ids.clone(),
        catalogue: Arc::new(catalogue),
        tasks,
    }
}
