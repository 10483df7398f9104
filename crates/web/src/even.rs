//! Answers that must not tell whether an account exists take the same time whether or not it does.
//!
//! They are given soon after the next multiple of [`EVEN_ANSWER`] since the work began: work that varies by less than that
//! cannot be seen from outside, and work that takes longer moves to the next multiple. How soon is chosen at random: a core
//! that has rested wakes up some microseconds later than one that has not, and that would be seen on a grid alone. The time begins
//! when the whole request is there: a caller who could send the rest late would choose where the multiples fall. Who was not
//! let in is told so at once.

use std::hash::{BuildHasher as _, RandomState};

use crate::problem::Problem;
use quivive_app::ports::EVEN_ANSWER;
use tokio::time::{Duration, Instant, sleep_until};

/// Does the work and holds its answer back until the next multiple.
pub(crate) async fn even<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let began = Instant::now();
    let answer = work.await;
    if !answer.as_ref().is_err_and(|problem| problem.is_at_once) {
        settle(began).await;
    }
    answer
}

/// An answer comes within so long after a multiple.
const SOON: Duration = EVEN_ANSWER.checked_div(10).unwrap();

/// Waits until soon after the next multiple: for answers of which only some must be even.
pub(crate) async fn settle(began: Instant) {
    sleep_until(began + next_multiple(began.elapsed()) + some_of(SOON)).await;
}

/// Any time below that is as likely. Nobody can tell it before: the keys of the hash are the system's random numbers.
fn some_of(time: Duration) -> Duration {
    let random = RandomState::new().hash_one(());
    let nanos = (time.as_nanos() * u128::from(random)) >> u64::BITS;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or_default())
}

fn next_multiple(elapsed: Duration) -> Duration {
    let steps = elapsed.as_nanos() / EVEN_ANSWER.as_nanos() + 1;
    EVEN_ANSWER * u32::try_from(steps).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use quivive_app::Failure;
    use quivive_delivery::Fault;

    use super::*;

    /// In milliseconds, the one that an answer after this time came soon after. A timer is late by a millisecond at most.
    fn multiple(time: Duration) -> u128 {
        let beyond = time.as_nanos() % EVEN_ANSWER.as_nanos();
        assert!(
            beyond <= (SOON + Duration::from_millis(1)).as_nanos(),
            "{time:?}"
        );
        (time.as_nanos() - beyond) / 1_000_000
    }

    #[test]
    fn how_soon_is_any_time() {
        let mut tenths = [0; 10];
        for _ in 0..10_000 {
            let part = some_of(SOON).as_nanos() * 10 / SOON.as_nanos();
            tenths[usize::try_from(part).unwrap()] += 1;
        }
        // A thousand each, and thirty more or less.
        assert!(
            tenths.iter().all(|n| (850..1_150).contains(n)),
            "{tenths:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn answers_come_soon_after_multiples() {
        for (work_ms, want_ms) in [
            (0, 100),
            (1, 100),
            (99, 100),
            (100, 200),
            (101, 200),
            (260, 300),
        ] {
            let arrived = Instant::now();
            let answer = even(async {
                tokio::time::sleep(Duration::from_millis(work_ms)).await;
                Ok(7)
            })
            .await;
            assert_eq!(
                (answer.unwrap(), multiple(arrived.elapsed())),
                (7, want_ms),
                "{work_ms}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_not_let_in_need_not_wait_and_who_was_does_whatever_happened() {
        let full = || Fault::Busy {
            what: "a queue",
            retry_after: Duration::from_secs(3),
        };
        for (failure, want_ms) in [
            (Failure::<()>::NotAdmitted(full()), 0),
            (Failure::Fault(full()), 100),
        ] {
            let arrived = Instant::now();
            let work = async { Err::<(), _>(Problem::of_failure(failure, |()| unreachable!())) };
            let problem = even(work).await.unwrap_err();
            assert_eq!(problem.retry_after_secs, Some(3));
            assert_eq!(multiple(arrived.elapsed()), want_ms);
        }
    }
}
