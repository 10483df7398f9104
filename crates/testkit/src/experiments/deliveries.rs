//! kill -9 of the server at each step of a delivery: nothing is left undelivered, what a handler wrote to our database is
//! there exactly once, the order of a key holds, what an operator has decided is neither lost nor done twice, and an event
//! that ends the process is parked after three starts.
//!
//! **Cast.** The experiment starts a process of its own ([`serve`]) over and over, on the same data: the server, with all
//! that it does by itself, as a program embeds it, with three subscriptions of that program and its customer relations
//! (`subject`). What it is asked over HTTP it acknowledges or not (`work`). Its handlers have fuses, and so has the log
//! under it: at a step the process sends itself SIGKILL (`fuse`). It is started again at once (`course`). After all
//! kills of a step it runs to its end without one, and what is in the database and in files outside is compared with the
//! log (`found`, `processes`).
//!
//! Every third start is killed only after it has done what the runs before have left, for an event that is under way at
//! three deaths in a row is parked.

mod breaches;
mod course;
mod found;
mod fuse;
mod processes;
mod step;
mod subject;
pub mod webhooks;
mod work;

use std::fmt::Write as _;
use std::fs;

pub use course::Program;
pub use subject::serve;

use breaches::Breaches;
use course::{Course, fresh_directory, was_killed};
use found::Found;
use step::{DEADLY, Kill, Step};
use work::{Worker, ledger, until};

/// What came of the kills at one step.
struct Row {
    step: Step,
    kills: u64,
    starts: u64,
    events: u64,
    told: u64,
    breaches: Breaches,
}

/// Kills it so many times at each step whose name has `filter` in it. A table to print.
///
/// # Panics
/// With the same table, where a promise was broken.
pub async fn run(program: &Program, kills: u64, seed: u64, filter: &str) -> String {
    let root = fresh_directory("deliveries");
    let first = Course::begin(program, &root.join("first")).await;
    let mut rows = Vec::new();
    for step in Step::all() {
        if !step.to_string().contains(filter) {
            continue;
        }
        let directory = root.join(step.number().to_string());
        let mut course = first.again(&directory);
        let mut worker = Worker::new(seed + step.number() as u64);
        course.kill_at(step, kills, &mut worker).await;
        course.finish(&mut worker).await;
        worker.look(&directory);
        let found = Found::open(&directory).await;
        let row = Row {
            step,
            kills: course.kills,
            starts: course.starts,
            events: found.log.len() as u64,
            told: worker.sequences.values().map(|it| it.lines).sum(),
            breaches: found.breaches(&worker).await,
        };
        if row.breaches.is_none() {
            let _ = fs::remove_dir_all(&directory);
        }
        rows.push(row);
    }
    let table = table(&rows);
    let broken = rows.iter().any(|row| !row.breaches.is_none());
    assert!(
        !broken,
        "promises were broken; the data are in {}\n{table}",
        root.display()
    );
    let starts = deadly(first.again(&root.join(DEADLY))).await;
    let _ = fs::remove_dir_all(&root);
    format!(
        "{table}an event that ends the process is parked after {starts} starts that found its mark, and delivered once it is redriven"
    )
}

fn table(rows: &[Row]) -> String {
    let mut table = format!(
        "\n{:<38} {:>6} {:>6} {:>8} {:>8} {:>11} {:>6} {:>6} {:>10}\n",
        "step", "kills", "starts", "events", "told", "undelivered", "twice", "order", "decisions"
    );
    let mut line = |name: &str, [kills, starts, events, told]: [u64; 4], breaches: &Breaches| {
        let Breaches {
            undelivered,
            twice,
            disorder,
            decisions,
        } = breaches;
        let _ = writeln!(
            table,
            "{name:<38} {kills:>6} {starts:>6} {events:>8} {told:>8} {undelivered:>11} {twice:>6} {disorder:>6} {decisions:>10}",
        );
    };
    let (mut sums, mut breaches) = ([0; 4], Breaches::default());
    for row in rows {
        let numbers = [row.kills, row.starts, row.events, row.told];
        line(&row.step.to_string(), numbers, &row.breaches);
        sums = std::array::from_fn(|at| sums[at] + numbers[at]);
        breaches += row.breaches;
    }
    line("all", sums, &breaches);
    table
}

/// An event that ends the process, and one of another key behind it: after some starts it is parked, the other one is
/// delivered, and once the handler is mended it is too. How many starts found the mark of it.
async fn deadly(mut course: Course) -> u64 {
    let mut worker = Worker::new(0);
    let mut child = course.start(Kill::Key(DEADLY));
    let mut client = course.ready(&mut child).await.expect("it serves");
    let service = course.keys.service.clone();
    for key in ["other", DEADLY, "other"] {
        // The answer to the last may not come.
        let _ = worker.event(&mut client, &service, key).await;
    }
    let mut deaths = 0;
    let mut client = loop {
        if let Some(mut client) = course.ready(&mut child).await {
            let parked = until(&mut client, |all| ledger(all)["lanes_parked"] == 1);
            if parked.await.is_ok() {
                break client;
            }
        }
        let status = child.wait().await.expect("it is ours");
        assert!(was_killed(status), "{status}: {}", course.output());
        deaths += 1;
        assert!(deaths <= 4, "it ends every start");
        child = course.start(Kill::Key(DEADLY));
    };
    worker
        .event(&mut client, &service, "other")
        .await
        .expect("it lives");
    until(&mut client, |all| ledger(all)["lag"] == 0)
        .await
        .expect("it lives");
    drop(client);
    course.stop(child).await;
    // The first death left no mark: nothing was begun with caution then.
    let found_mark = deaths - 1;
    course.finish(&mut worker).await;
    let found = Found::open(&course.directory).await;
    let breaches = found.ledger(&found.wanted()).await;
    assert_eq!(
        breaches,
        Breaches::default(),
        "it is delivered after all, and so are the others"
    );
    found_mark
}
