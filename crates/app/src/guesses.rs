//! Guesses at a password: reserved before they are evaluated, counted when wrong, locked at the limit. One that was
//! neither right nor wrong gives its place back, by the kernel; after a crash, when its window ends.

use quivive_delivery::Fault;
use quivive_domain::UserId;
use quivive_domain::guess::{Admission, AfterWrong};

use crate::kernel::{Commit, Cx, Reservation};
use crate::ports::Path;
use crate::workflows::accounts::lock_user;

/// Asks for a place in the window of a path.
pub async fn reserve(cx: &Cx, account: UserId, path: Path) -> Result<Reservation, Fault> {
    // A path without counters has not been opened: nothing may be evaluated on it.
    let Some(counters) = cx.guesses.counters(path).await? else {
        return Ok(Reservation::Closed);
    };
    let policy = &cx.settings.guesses;
    if crate::mutants::on("no_guess_limit") {
        return Ok(Reservation::Take {
            take: cx.guesses.unlock(account, cx.now()),
            give_back: cx.guesses.give_back(path, cx.now()),
        });
    }
    Ok(match policy.admission(&counters, cx.now()) {
        Admission::Open => Reservation::Take {
            take: cx.guesses.reserve(path, policy, cx.now()),
            give_back: cx.guesses.give_back(path, cx.now()),
        },
        Admission::Busy => Reservation::Busy,
        Admission::Closed => Reservation::Closed,
    })
}

/// Clears the counters of the path; misses when it was locked meanwhile.
pub fn right(commit: &mut Commit, cx: &Cx, path: Path) {
    commit.settle_guess(cx.guesses.clear(path, cx.now()));
}

/// Counts a reserved guess as wrong; the one that is one too many locks the path and says so.
pub async fn wrong(commit: &mut Commit, cx: &Cx, path: Path, account: UserId) -> Result<(), Fault> {
    let Some(counters) = cx.guesses.counters(path).await? else {
        return Ok(());
    };
    let policy = &cx.settings.guesses;
    let until = match policy.after_wrong(&counters, cx.now()) {
        AfterWrong::Open => None,
        AfterWrong::LockedUntil(until) => Some(until),
    };
    commit.settle_guess(cx.guesses.wrong(path, policy, until, cx.now()));
    if let Some(until) = until {
        lock_user::automatically(commit, account, until, counters.in_a_row + 1);
    }
    Ok(())
}
