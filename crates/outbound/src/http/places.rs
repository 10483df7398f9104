//! Places for calls. All hosts share them, and none keeps the others from theirs.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::pool::Origin;

/// A host may hold this part of the places that are free: one alone gets a fifth of them all, and the more hosts let calls
/// hang, the less each of them can have. Somebody who has none finds one until the very last is taken.
const SHARE: usize = 4;

pub(super) struct Places {
    inside: Mutex<Inside>,
    given_back: Notify,
}

struct Inside {
    free: usize,
    held: HashMap<Origin, usize>,
}

/// A place that is held.
pub(super) struct Place<'a> {
    places: &'a Places,
    origin: Origin,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self {
            inside: Mutex::new(Inside {
                free: count,
                held: HashMap::new(),
            }),
            given_back: Notify::new(),
        }
    }

    /// Waits for a place.
    pub(super) async fn take(&self, origin: &Origin) -> Place<'_> {
        loop {
            // It hears of every place that is given back from here on.
            let given_back = self.given_back.notified();
            if let Some(place) = self.try_take(origin) {
                return place;
            }
            given_back.await;
        }
    }

    fn try_take(&self, origin: &Origin) -> Option<Place<'_>> {
        let mut inside = self.inside();
        let held = inside.held.get(origin).copied().unwrap_or_default();
        if inside.free == 0 || held * SHARE > inside.free {
            return None;
        }
        inside.free -= 1;
        inside.held.insert(origin.clone(), held + 1);
        Some(Place {
            places: self,
            origin: origin.clone(),
        })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut inside = self.places.inside();
        inside.free += 1;
        if let Some(held) = inside.held.get_mut(&self.origin) {
            *held -= 1;
            if *held == 0 {
                inside.held.remove(&self.origin);
            }
        }
        drop(inside);
        self.places.given_back.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use quivive_domain::webhook::Target;
    use tokio::time::timeout;

    use super::*;

    fn host(number: usize) -> Origin {
        let url = format!("https://{number}.example.com/");
        Origin(Arc::new(Target::parse(&url).unwrap()))
    }

    /// As many as it gets.
    fn take_all<'a>(places: &'a Places, origin: &Origin) -> Vec<Place<'a>> {
        std::iter::from_fn(|| places.try_take(origin)).collect()
    }

    #[test]
    fn the_more_hosts_hang_the_less_each_of_them_has() {
        let places = Places::new(512);
        let one = take_all(&places, &host(0));
        assert_eq!(one.len(), 103);
        let others: Vec<_> = (1..8).map(|n| take_all(&places, &host(n))).collect();
        let counts: Vec<_> = others.iter().map(Vec::len).collect();
        assert_eq!(counts, [82, 66, 53, 42, 34, 27, 22]);
        // Whoever has none finds one, to the last.
        let more: Vec<_> = (8..).map_while(|n| places.try_take(&host(n))).collect();
        assert_eq!(more.len(), 512 - 103 - counts.iter().sum::<usize>());
        assert_eq!(places.inside().free, 0);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_a_place_that_is_given_back() {
        let (places, origin) = (Places::new(1), host(1));
        let held = places.take(&origin).await;
        let mut waiting = std::pin::pin!(places.take(&origin));
        let soon = timeout(Duration::from_millis(10), waiting.as_mut()).await;
        assert!(soon.is_err());
        drop(held);
        drop(waiting.await);
        assert!(places.inside().held.is_empty() && places.inside().free == 1);
    }
}
