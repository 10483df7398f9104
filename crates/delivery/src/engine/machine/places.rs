//! How many deliveries are under way at once: as many as the subscription says, and more while its target keeps up.

use super::mutant::{self, Mutant};

/// Deliveries under way at once, all in all, in multiples of a subscription's concurrency: those that hang keep their
/// place for up to a timeout, and the others must find one.
const OVERFLOW: usize = 8;

/// Additive increase, multiplicative decrease: it grows by one with each delivery that ends well while all places are
/// taken, and halves with one that does not.
#[derive(Debug)]
pub(super) struct Places {
    least: usize,
    most: usize,
    now: usize,
}

impl Places {
    pub(super) fn new(least: usize, most: usize) -> Self {
        let most = most.max(least);
        let now = least;
        Self { least, most, now }
    }

    /// In the window.
    pub(super) fn now(&self) -> usize {
        self.now
    }

    /// For keys in trouble.
    pub(super) fn of_lanes(&self) -> usize {
        self.least
    }

    /// Whether another may begin in the window, beside those that are under way there and in lanes.
    pub(super) fn has_one(&self, running: usize, in_lanes: usize) -> bool {
        let all = self.most.max(OVERFLOW * self.least);
        running < self.now && running + in_lanes < all
    }

    /// One of the window ended well; `running` counts it in.
    pub(super) fn well(&mut self, running: usize) {
        if running >= self.now && (self.now < self.most || mutant::is(Mutant::PlacesWithoutEnd)) {
            self.now += 1;
        }
    }

    /// The target did not answer one of the window, or not that it is well.
    pub(super) fn badly(&mut self) {
        self.now = (self.now / 2).max(self.least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_grow_while_all_are_taken_and_halve_in_trouble() {
        let mut places = Places::new(4, 10);
        places.well(3);
        assert_eq!(places.now(), 4, "one was free");
        for want in [5, 6, 7, 8, 9, 10, 10] {
            places.well(places.now());
            assert_eq!(places.now(), want);
        }
        for want in [5, 4, 4] {
            places.badly();
            assert_eq!(places.now(), want);
        }
        assert_eq!(places.of_lanes(), 4);
    }

    #[test]
    fn those_that_hang_in_lanes_count_too() {
        let places = Places::new(2, 0);
        assert!(places.has_one(1, 0) && !places.has_one(2, 0));
        assert!(places.has_one(1, 14) && !places.has_one(1, 15));
        assert!(!Places::new(2, 20).has_one(1, 19));
    }
}
