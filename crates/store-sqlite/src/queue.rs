//! A bounded queue from many callers to a few threads.
//!
//! **Cast.** Callers push and never wait; threads take, and sleep while there is nothing.
//!
//! **Guarantees.** First in, first out. Never more than the limit, and never more than twice the limit with what is let in
//! past it. After [`Queue::close`] nothing enters, and what is
//! inside is still taken out; after [`Queue::abandon`] it is dropped.
//!
//! **Not guaranteed.** Fairness between callers when it is full: who asks again first gets the place.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    limit: usize,
}

struct State<T> {
    items: VecDeque<T>,
    closed: bool,
    /// How many threads wait in `take`. Waking costs a system call, so it is done only when there is someone to wake.
    sleepers: usize,
}

/// Why a push was refused. The item is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                closed: false,
                sleepers: 0,
            }),
            filled: Condvar::new(),
            limit,
        }
    }

    pub(crate) fn push(&self, item: T) -> Result<(), Refused> {
        self.push_below(self.limit, item)
    }

    /// For what ends something that was let in before: it finds a place when nothing new does.
    pub(crate) fn push_past(&self, item: T) -> Result<(), Refused> {
        self.push_below(self.limit.saturating_mul(2), item)
    }

    fn push_below(&self, limit: usize, item: T) -> Result<(), Refused> {
        let mut state = self.state();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.items.len() >= limit {
            return Err(Refused::Full);
        }
        state.items.push_back(item);
        let wake = state.sleepers > 0;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Moves up to `most` items to the end of `taken`, waiting for the first. False when it is closed and empty.
    pub(crate) fn take(&self, most: usize, taken: &mut Vec<T>) -> bool {
        let mut state = self.state();
        while state.items.is_empty() {
            if state.closed {
                return false;
            }
            state.sleepers += 1;
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.sleepers -= 1;
        }
        let count = most.min(state.items.len());
        taken.extend(state.items.drain(..count));
        true
    }

    /// Lets nothing more in. Threads take out what is there, and then end.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_all();
    }

    /// Lets nothing more in and drops what is there.
    pub(crate) fn abandon(&self) {
        let mut state = self.state();
        state.closed = true;
        let dropped = std::mem::take(&mut state.items);
        drop(state);
        self.filled.notify_all();
        // Outside the lock: dropping an item wakes whoever waits for its answer.
        drop(dropped);
    }

    /// A panic under the lock leaves the queue whole: every step below it is complete or not begun.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Queue, Refused};

    #[test]
    fn refuses_past_its_limit_and_keeps_order() {
        let queue = Queue::new(2);
        assert_eq!(queue.push(1), Ok(()));
        assert_eq!(queue.push(2), Ok(()));
        assert_eq!(queue.push(3), Err(Refused::Full));
        assert_eq!(queue.push_past(3), Ok(()));
        assert_eq!(queue.push_past(4), Ok(()));
        assert_eq!(queue.push_past(5), Err(Refused::Full));
        let mut taken = Vec::new();
        assert!(queue.take(3, &mut taken));
        assert_eq!(queue.push(5), Ok(()));
        assert!(queue.take(10, &mut taken));
        assert_eq!(taken, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn closed_it_is_still_emptied() {
        let queue = Queue::new(2);
        queue.push(1).unwrap();
        queue.close();
        assert_eq!(queue.push(2), Err(Refused::Closed));
        let mut taken = Vec::new();
        assert!(queue.take(10, &mut taken));
        assert!(!queue.take(10, &mut taken));
        assert_eq!(taken, [1]);
    }

    #[test]
    fn abandoned_it_drops_what_it_has() {
        let queue = Queue::new(2);
        let held = std::sync::Arc::new(());
        queue.push(std::sync::Arc::clone(&held)).unwrap();
        queue.abandon();
        assert_eq!(std::sync::Arc::strong_count(&held), 1);
        assert!(!queue.take(10, &mut Vec::new()));
    }
}
