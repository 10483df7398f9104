//! [`Guesses`] over a [`World`].

use quivive_delivery::{Time, Write};
use quivive_domain::UserId;
use quivive_domain::guess::{Admission, AfterWrong, GuessPolicy, Guesses as GuessCounters};

use super::World;
use super::commits::{any, row};
use super::sessions::devices_of;
use crate::ports::{Guesses, Path, Read};

/// A path that is open, with nothing counted.
pub(super) fn open_counters(now: Time) -> GuessCounters {
    GuessCounters {
        window_from: now,
        reserved: 0,
        wrong: 0,
        in_a_row: 0,
        locks: 0,
        locked_until: None,
    }
}

impl Guesses for World {
    fn counters(&self, path: Path) -> Read<'_, Option<GuessCounters>> {
        self.read(|s| s.guesses.get(&path.id()).copied())
    }

    fn open(&self, path: Path, now: Time) -> Write {
        let id = path.id();
        any(self.write("guess open", &[id], move |s| {
            s.guesses.entry(id).or_insert_with(|| open_counters(now));
            1
        }))
    }

    fn reserve(&self, path: Path, policy: &GuessPolicy, now: Time) -> Write {
        let (id, policy) = (path.id(), *policy);
        self.write("guess reserve", &[id], move |s| {
            let open = |g: &GuessCounters| policy.admission(g, now) == Admission::Open;
            if let Path::Stranger(id) = path {
                s.guesses.entry(id).or_insert_with(|| open_counters(now));
            }
            row(s.guesses.get_mut(&id), open, |g| {
                if g.window_from <= policy.window_cutoff(now) {
                    (g.window_from, g.reserved, g.wrong) = (now, 0, 0);
                }
                g.reserved += 1;
            })
        })
    }

    fn wrong(
        &self,
        path: Path,
        policy: &GuessPolicy,
        lock_until: Option<Time>,
        now: Time,
    ) -> Write {
        let (id, policy) = (path.id(), *policy);
        self.write("guess wrong", &[id], move |s| {
            let locks = |g: &GuessCounters| policy.after_wrong(g, now) != AfterWrong::Open;
            row(
                s.guesses.get_mut(&id),
                |g| locks(g) == lock_until.is_some(),
                |g| {
                    g.wrong += 1;
                    g.in_a_row += 1;
                    g.locks += u32::from(lock_until.is_some());
                    g.locked_until = lock_until.or(g.locked_until);
                },
            )
        })
    }

    fn clear(&self, path: Path, reserved_at: Time, now: Time) -> Write {
        let id = path.id();
        self.write("guess clear", &[id], move |s| {
            let unlocked = |g: &GuessCounters| g.locked_until.is_none_or(|until| until <= now);
            row(s.guesses.get_mut(&id), unlocked, |g| {
                let own = u32::from(g.window_from <= reserved_at);
                *g = GuessCounters {
                    reserved: g.reserved.saturating_sub(g.wrong + own),
                    ..open_counters(g.window_from)
                };
            })
        })
    }

    fn give_back(&self, path: Path, reserved_at: Time) -> Write {
        let id = path.id();
        any(self.write("guess give_back", &[id], move |s| {
            let held = |g: &GuessCounters| g.window_from <= reserved_at && g.reserved > g.wrong;
            row(s.guesses.get_mut(&id), held, |g| g.reserved -= 1)
        }))
    }

    fn end_row(&self, account: UserId) -> Write {
        any(self.write("guess end_row", &[account.0], move |s| {
            row(s.guesses.get_mut(&account.0), |_| true, |g| g.in_a_row = 0)
        }))
    }

    fn unlock(&self, account: UserId, now: Time) -> Write {
        any(self.write("guess unlock", &[account.0], move |s| {
            let devices: Vec<_> = devices_of(s, account).map(|d| d.new.id.0).collect();
            for id in devices.into_iter().chain([account.0]) {
                s.guesses.insert(id, open_counters(now));
            }
            1
        }))
    }

    fn close(&self, path: Path) -> Write {
        let id = path.id();
        self.write("guess close", &[id], move |s| {
            u64::from(s.guesses.remove(&id).is_some())
        })
    }

    fn has_forgettable(&self, _: Time) -> Read<'_, bool> {
        self.read(|_| false)
    }

    fn forget(&self, _: Time) -> Write {
        any(self.write("guess forget", &[], |_| 0))
    }
}
