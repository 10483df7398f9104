//! The window: the events above the cursor that are under way or wait their turn.
//!
//! A slot exists for each event that was taken and is not finished with. The cursor follows from the slots alone: it
//! lies just below the first that is not gone, or at the last event read when there is none. Events of one key form a
//! chain through their slots, of which only the first is ever ready or under way.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::mutant::{self, Mutant};
use crate::envelope::{Priority, Stored};
use crate::subscriber::Order;

/// Events above the cursor at most, in the product.
pub(in crate::engine) const WINDOW_EVENTS: u64 = 4096;
/// A delivery that has not ended after this long gets a lane, so that neither the cursor nor the other keys wait for it.
pub(in crate::engine) const HANG_AFTER: Duration = Duration::from_secs(1);

/// So many events at most that pause are taken for what is wrong with them, and not with the target.
const FEW: usize = 64;

/// No slot follows in the chain; positions begin at 1.
const NONE: u64 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Behind another event of its key.
    Waiting,
    Ready,
    Running,
    /// Between two quick attempts.
    Pausing,
    /// Handled; its effects are being committed.
    Committing,
    /// Done, or left to a lane.
    Gone,
}

#[derive(Debug)]
pub(super) struct Slot {
    position: u64,
    pub(super) event: Arc<Stored>,
    pub(super) state: State,
    /// Attempts begun.
    pub(super) attempts: u32,
    pub(super) panics: u8,
    /// When the first attempt began, or the first since it was held.
    began: Duration,
    /// It waits for a target that is away: not what holds the window up.
    held: bool,
    /// It counts as a delivery under way; the others of its batch do not.
    leads: bool,
    /// The next event of the same key.
    next: u64,
}

/// Among the queues of what is ready.
fn rank(order: Order, event: &Stored) -> usize {
    match order {
        Order::Key | Order::None => event.envelope.priority as usize,
        Order::Log => 0,
    }
}

/// An event taken out of the window for a lane, with what waits behind it.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) event: Arc<Stored>,
    pub(super) attempts: u32,
    pub(super) panics: u8,
    pub(super) running: bool,
    pub(super) leads: bool,
    pub(super) followers: Vec<Arc<Stored>>,
}

/// An event hashed by its key: so a map by key needs no copy of the key.
#[derive(Debug)]
struct ByKey(Arc<Stored>);

impl Borrow<str> for ByKey {
    fn borrow(&self) -> &str {
        self.0.envelope.key.as_str()
    }
}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.envelope.key.as_str().hash(state);
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.envelope.key == other.0.envelope.key
    }
}

impl Eq for ByKey {}

#[derive(Debug)]
pub(super) struct Window {
    order: Order,
    /// Events above the cursor at most.
    bound: u64,
    /// The last event read from the log.
    read: u64,
    /// The last of them that got a slot.
    taken: u64,
    /// The last of those that is done.
    done: u64,
    slots: VecDeque<Slot>,
    /// The last event of each key that has a slot.
    keys: HashMap<ByKey, u64>,
    /// By priority, the lowest first. May hold positions that are not ready any more.
    ready: [VecDeque<u64>; Priority::ALL.len()],
    /// Since when something is ready.
    ready_since: Option<Duration>,
    pauses: BTreeSet<(Duration, u64)>,
    /// First attempts in the order in which they began; may hold positions that are gone.
    began: VecDeque<(Duration, u64)>,
    running: usize,
    committing: usize,
}

impl Window {
    pub(super) fn new(order: Order, bound: u64, cursor: u64) -> Self {
        Self {
            order,
            bound,
            read: cursor,
            taken: cursor,
            done: cursor,
            slots: VecDeque::new(),
            keys: HashMap::new(),
            ready: std::array::from_fn(|_| VecDeque::new()),
            ready_since: None,
            pauses: BTreeSet::new(),
            began: VecDeque::new(),
            running: 0,
            committing: 0,
        }
    }

    /// The cursor: everything up to here is done or left to a lane.
    pub(super) fn cursor(&self) -> u64 {
        self.slots
            .front()
            .map_or(self.read, |slot| slot.position - 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The first event that is not done, where one behind it is.
    pub(super) fn gap(&self) -> Option<u64> {
        let first = self.slots.front()?.position;
        (first < self.done).then_some(first)
    }

    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// The last event that it took, rather than passed over.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// How many more positions it may read.
    pub(super) fn room(&self) -> u64 {
        self.bound.saturating_sub(self.read - self.cursor())
    }

    pub(super) fn ready(&self) -> usize {
        self.ready.iter().map(VecDeque::len).sum()
    }

    /// Since when something is ready, as far as [`Self::begin`] was told.
    pub(super) fn ready_since(&self) -> Option<Duration> {
        self.ready_since
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Deliveries and commits under way.
    pub(super) fn in_flight(&self) -> usize {
        self.running + self.committing
    }

    pub(super) fn slot(&self, position: u64) -> Option<&Slot> {
        self.index(position).map(|index| &self.slots[index])
    }

    /// Passes over an event that needs nothing here.
    pub(super) fn pass(&mut self, position: u64) {
        debug_assert!(position > self.read, "the log is read in order");
        self.read = position;
    }

    /// Takes the next event of the log.
    pub(super) fn push(&mut self, event: Arc<Stored>) {
        let position = event.position;
        self.pass(position);
        self.taken = position;
        let before = match self.order {
            Order::Key => self.last_of(&event),
            Order::None | Order::Log => NONE,
        };
        let before = self.index(before);
        let state = if let Some(index) = before.filter(|_| !mutant::is(Mutant::KeyOrderIgnored)) {
            self.slots[index].next = position;
            State::Waiting
        } else {
            self.ready[rank(self.order, &event)].push_back(position);
            State::Ready
        };
        self.slots.push_back(Slot {
            position,
            event,
            state,
            attempts: 0,
            panics: 0,
            began: Duration::ZERO,
            held: false,
            leads: false,
            next: NONE,
        });
    }

    /// Passes over everything up to a position but what is under way, and what waits behind that.
    pub(super) fn expire(&mut self, upto: u64) {
        let idle = |slot: &&Slot| {
            slot.position <= upto && matches!(slot.state, State::Ready | State::Pausing)
        };
        while let Some(position) = self.slots.iter().find(idle).map(|slot| slot.position) {
            self.done(position);
        }
        self.read = self.read.max(upto);
    }

    /// Notes when something became ready, for a batch that waits for more.
    pub(super) fn settle(&mut self, tick: Duration) {
        let since = self.ready_since.unwrap_or(tick);
        self.ready_since = (self.ready() > 0).then_some(since);
    }

    /// Begins the most important of the ready events, among equals the oldest; says which attempt it is. `leads` says
    /// whether it is a delivery of its own, or one more event of a batch.
    pub(super) fn begin(&mut self, tick: Duration, leads: bool) -> Option<(Arc<Stored>, u32)> {
        loop {
            let mut queues = self.ready.iter_mut().rev();
            let position = if mutant::is(Mutant::PriorityIgnored) {
                queues.rev().find_map(VecDeque::pop_front)?
            } else {
                queues.find_map(VecDeque::pop_front)?
            };
            let Some(index) = self.index(position) else {
                continue;
            };
            let slot = &mut self.slots[index];
            if slot.state != State::Ready {
                continue;
            }
            slot.state = State::Running;
            slot.leads = leads;
            slot.attempts += 1;
            let first = slot.attempts == 1 || slot.held;
            slot.held = false;
            // Where all wait for each other, that one takes long sets nothing aside.
            if first && self.order != Order::Log {
                slot.began = tick;
                self.began.push_back((tick, position));
            }
            self.running += usize::from(leads);
            return Some((slot.event.clone(), slot.attempts));
        }
    }

    /// Counts a panic of the running delivery; says how many there were.
    pub(super) fn panicked(&mut self, position: u64) -> u8 {
        self.index(position).map_or(1, |index| {
            self.slots[index].panics += 1;
            self.slots[index].panics
        })
    }

    /// The event is done with: the next of its key is ready.
    pub(super) fn done(&mut self, position: u64) {
        if let Some(index) = self.index(position) {
            self.done = self.done.max(position);
            self.leave_state(index);
            self.release(index);
        }
    }

    /// The event is tried again at `until`.
    pub(super) fn pause(&mut self, position: u64, until: Duration) {
        if let Some(index) = self.index(position) {
            self.leave_state(index);
            self.slots[index].state = State::Pausing;
            self.pauses.insert((until, position));
        }
    }

    /// The oldest event that pauses, and until when, where the window is full and waits for nothing but a few of these.
    pub(super) fn stalling(&self) -> Option<(u64, Duration)> {
        let stalls = self.room() == 0 && self.in_flight() == 0 && self.ready() == 0;
        if !stalls || self.pauses.len() > FEW {
            return None;
        }
        let first = self.slots.front()?.position;
        let pause = self.pauses.iter().find(|(_, position)| *position == first);
        pause.map(|(until, _)| (first, *until))
    }

    /// The target is away: as if this attempt had not been made.
    pub(super) fn hold(&mut self, position: u64) {
        if let Some(index) = self.index(position) {
            self.leave_state(index);
            let slot = &mut self.slots[index];
            slot.attempts = slot.attempts.saturating_sub(1);
            slot.held = true;
            self.make_ready(index);
        }
    }

    /// The target is away: what was tried and is to be tried again waits for it.
    pub(super) fn hold_all(&mut self) {
        let pausing: Vec<_> = self.pauses.iter().map(|(_, position)| *position).collect();
        for position in pausing {
            if let Some(index) = self.index(position) {
                self.leave_state(index);
                self.make_ready(index);
            }
        }
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            slot.held |= slot.state == State::Ready && slot.attempts > 0;
        }
    }

    /// The event was handled and its effects are on their way.
    pub(super) fn commit(&mut self, position: u64) {
        if let Some(index) = self.index(position) {
            self.leave_state(index);
            self.slots[index].state = State::Committing;
            self.committing += 1;
        }
    }

    /// Takes an event and all that waits behind it out, for a lane.
    pub(super) fn take(&mut self, position: u64) -> Option<Taken> {
        let index = self.index(position)?;
        let running = self.slots[index].state == State::Running;
        self.leave_state(index);
        let slot = &self.slots[index];
        let (event, attempts, panics) = (slot.event.clone(), slot.attempts, slot.panics);
        let leads = slot.leads;
        let mut followers = Vec::new();
        let mut next = slot.next;
        while let Some(index) = self.index(next) {
            let slot = &mut self.slots[index];
            slot.state = State::Gone;
            followers.push(slot.event.clone());
            next = slot.next;
        }
        self.slots[index].next = NONE;
        self.release(index);
        Some(Taken {
            event,
            attempts,
            panics,
            running,
            leads,
            followers,
        })
    }

    /// Ends the pauses that are over.
    pub(super) fn wake(&mut self, tick: Duration) {
        while let Some(&(until, position)) = self.pauses.first() {
            if until > tick {
                break;
            }
            self.pauses.pop_first();
            if let Some(index) = self.index(position) {
                self.make_ready(index);
            }
        }
    }

    /// The next event that has been under way for too long. Each is told once.
    pub(super) fn hanging(&mut self, tick: Duration) -> Option<u64> {
        for _ in 0..self.began.len() {
            let &(began, position) = self.began.front()?;
            let state = self.slot(position).map(|slot| slot.state);
            match state.filter(|_| self.is_current(began, position)) {
                None | Some(State::Gone) => {
                    self.began.pop_front();
                }
                // What is handled is not left to a lane; should its commit fail, it is told a second later.
                Some(State::Committing) => {
                    self.began.pop_front();
                    self.begin_again(position, tick);
                }
                Some(State::Waiting | State::Ready | State::Running | State::Pausing) => {
                    if began + HANG_AFTER > tick {
                        return None;
                    }
                    self.began.pop_front();
                    return Some(position);
                }
            }
        }
        None
    }

    /// When time alone changes something here. `hangs` says whether what hangs is looked for.
    pub(super) fn next_wake(&self, hangs: bool) -> Option<Duration> {
        let pause = self.pauses.first().map(|(until, _)| *until);
        let hang = self.began.front().filter(|_| hangs);
        let hang = hang.map(|(began, _)| *began + HANG_AFTER);
        pause.into_iter().chain(hang).min()
    }

    /// Whether an entry of `began` still stands for its event.
    fn is_current(&self, began: Duration, position: u64) -> bool {
        self.slot(position)
            .is_some_and(|slot| slot.began == began && !slot.held)
    }

    fn begin_again(&mut self, position: u64, tick: Duration) {
        if let Some(index) = self.index(position) {
            self.slots[index].began = tick;
            self.began.push_back((tick, position));
        }
    }

    /// Makes this event the last of its key; says which was before it.
    fn last_of(&mut self, event: &Arc<Stored>) -> u64 {
        if let Some(last) = self.keys.get_mut(event.envelope.key.as_str()) {
            return std::mem::replace(last, event.position);
        }
        self.keys.insert(ByKey(event.clone()), event.position);
        NONE
    }

    fn index(&self, position: u64) -> Option<usize> {
        let first = self.slots.front()?.position;
        let offset = usize::try_from(position.checked_sub(first)?).ok()?;
        // Slots are dense but for what the filter passed over, so the search ends at or before the offset.
        if self
            .slots
            .get(offset)
            .is_some_and(|slot| slot.position == position)
        {
            return Some(offset);
        }
        self.slots
            .binary_search_by_key(&position, |slot| slot.position)
            .ok()
    }

    /// It goes before the others of its priority: it is older than what has waited for a place.
    fn make_ready(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.state = State::Ready;
        let (position, queue) = (
            slot.position,
            &mut self.ready[rank(self.order, &slot.event)],
        );
        match self.order {
            Order::Key | Order::None => queue.push_front(position),
            Order::Log => queue.insert(queue.partition_point(|other| *other < position), position),
        }
    }

    /// Takes a slot out of what its state counts for.
    fn leave_state(&mut self, index: usize) {
        let slot = &self.slots[index];
        match slot.state {
            State::Running => self.running -= usize::from(slot.leads),
            State::Committing => self.committing -= 1,
            State::Pausing => {
                let position = slot.position;
                self.pauses.retain(|(_, paused)| *paused != position);
            }
            // A ready position stays in its queue and is passed over there.
            State::Waiting | State::Ready | State::Gone => {}
        }
    }

    /// Frees a slot; the next event of the key goes on.
    fn release(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.state = State::Gone;
        let next = slot.next;
        match self.order {
            Order::Key if next == NONE => {
                self.keys
                    .remove(self.slots[index].event.envelope.key.as_str());
            }
            Order::Key => {
                if let Some(index) = self.index(next) {
                    self.make_ready(index);
                }
            }
            Order::None | Order::Log => {}
        }
        while self
            .slots
            .front()
            .is_some_and(|slot| slot.state == State::Gone)
        {
            self.slots.pop_front();
        }
    }
}
