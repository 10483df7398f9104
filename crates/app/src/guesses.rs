//! Guesses at a password: reserved before they are evaluated, counted when wrong, locked at the limit. One that was
//! neither right nor wrong gives its place back, by the kernel; after a crash, when its window ends.
//!
//! Guesses at an address without an account are counted like the others. They wait for each other like the others, write
//! what the others write, and so take the same time.

use quivive_delivery::{Fault, Log};
use quivive_domain::guess::{Admission, AfterWrong};
use quivive_domain::{Address, UserId};

use crate::forgetting;
use crate::kernel::{Commit, Cx, Families, Guess, Reservation};
use crate::ports::{Device, Path};
use crate::workflows::accounts::lock_user;

/// The path of an address that belongs to no account (of the source, when it is no address). Under a key that outlives the
/// month's: an account's path does not begin anew with the month either.
pub fn stranger(cx: &Cx, typed: &str) -> Path {
    let of = |bytes: &[u8]| Path::stranger(&cx.keys.digest("guess path", bytes));
    match Address::parse(typed) {
        Ok(address) => of(address.canonical().as_bytes()),
        Err(_) => of(format!("{:?}", cx.request.ip).as_bytes()),
    }
}

/// Asks for a place in the window of a path. `account`: whose it is, if there is one.
pub async fn reserve(cx: &Cx, account: Option<UserId>, path: Path) -> Result<Reservation, Fault> {
    let counters = cx.guesses.counters(path).await?;
    let policy = &cx.settings.guesses;
    if let Some(account) = account.filter(|_| crate::mutants::on("no_guess_limit")) {
        return Ok(Reservation::Take {
            path,
            take: cx.guesses.unlock(account, cx.now()),
            give_back: cx.guesses.give_back(path, cx.now()),
        });
    }
    let admission = match (counters, path) {
        (Some(counters), _) => policy.admission(&counters, cx.now()),
        (None, Path::Stranger(_)) => Admission::Open,
        // Not opened: nothing may be evaluated on it.
        (None, Path::Account(_) | Path::Device(_)) => Admission::Closed,
    };
    Ok(match admission {
        Admission::Open => Reservation::Take {
            path,
            take: cx.guesses.reserve(path, policy, cx.now()),
            give_back: cx.guesses.give_back(path, cx.now()),
        },
        Admission::Busy => Reservation::Busy,
        Admission::Closed => Reservation::Closed,
    })
}

/// Clears the counters of the path that the guess was reserved on; misses when it was locked meanwhile. `device` is the
/// caller's as it is now: the counters of one that was forgotten meanwhile went with it, and nothing is left to clear.
pub fn right(commit: &mut Commit, cx: &Cx, device: Option<&Device>) {
    let Guess::Reserved { path, at } = cx.guess() else {
        return;
    };
    if let Path::Device(reserved) = path
        && device.is_none_or(|device| device.id != reserved)
    {
        return;
    }
    commit.settle_guess(cx.guesses.clear(path, at, cx.now()));
}

/// Counts the reserved guess as wrong; the one that is one too many locks the path and, where there is an account, says so.
/// On a path that is gone nothing is counted: nobody can guess on it any more.
pub async fn wrong(commit: &mut Commit, cx: &Cx, account: Option<UserId>) -> Result<(), Fault> {
    let Guess::Reserved { path, .. } = cx.guess() else {
        return Ok(());
    };
    let Some(counters) = cx.guesses.counters(path).await? else {
        return Ok(());
    };
    let policy = &cx.settings.guesses;
    let until = match policy.after_wrong(&counters, cx.now()) {
        AfterWrong::Open => None,
        AfterWrong::LockedUntil(until) => Some(until),
    };
    commit.settle_guess(cx.guesses.wrong(path, policy, until, cx.now()));
    if let (Some(until), Some(account)) = (until, account) {
        lock_user::automatically(commit, account, until, counters.in_a_row + 1);
    }
    Ok(())
}

/// Forgets what was counted for strangers who have not come back.
pub(crate) async fn forget_strangers(families: &Families, log: &dyn Log) -> Result<(), Fault> {
    let (guesses, now) = (&families.guesses, families.clock.now());
    forgetting::forget(log, || guesses.has_forgettable(now), || guesses.forget(now)).await
}
