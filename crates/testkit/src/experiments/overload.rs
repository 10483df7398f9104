//! Ten times as much as the server can do: a login storm, a refresh storm and a flood of reset requests, beside thousands of
//! slow clients. Memory stays bounded, who is let in is served nearly as fast as before, who is not is told so at once and
//! when to come again, and afterwards everything is as it was.
//!
//! The server has one core and the storm another, where there are two. First it is measured how many of each kind the server
//! can do alone, many at once. So much of each that they would take all of its time together, most of it for sign-ins, as their
//! hashes cost a hundred times as much as anything else, is more than it can do of all when they come as people do: its
//! capacity is the largest part of that of which hardly anybody is refused. Half of the storm comes from so many addresses that no limit
//! by source is met.

mod judgement;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::process::Command;

use super::people::{Answers, Kind, People, Sources, Tally, quantile};
use super::{imported, slow_clients};
use crate::{Options, Server};
use judgement::Bounds;

/// The storm, in capacities.
const TIMES: f64 = 10.0;

/// What comes after it.
const CALM: f64 = 0.7;

/// Of what takes all of the server's time, what is tried as its capacity.
const PARTS: [f64; 6] = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5];

/// At capacity, one of so many may be refused.
const HARDLY: usize = 100;

/// How much of the server's time each kind takes.
const SHARES: [f64; 3] = [0.8, 0.1, 0.1];

/// Between two looks at the memory.
const GLANCE: Duration = Duration::from_millis(250);

/// As long as it is judged at once whether things are normal again.
const WINDOW: Duration = Duration::from_secs(1);

/// How many requests of each kind are under way while it is measured how many the server can do: enough to keep it busy. The
/// answers to reset requests take a tenth of a second at least.
const AT_ONCE: [usize; 3] = [4, 64, 256];

/// The cores of the server and of this process.
const CORES: [&str; 2] = ["0", "1"];

/// How long, and how many.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    measured: Duration,
    normal: Duration,
    storm: Duration,
    calm: Duration,
    people: usize,
    connections: usize,
    slow: usize,
    bounds: Bounds,
}

impl Size {
    pub const LONG: Self = Self {
        measured: Duration::from_secs(10),
        normal: Duration::from_mins(1),
        storm: Duration::from_mins(5),
        calm: Duration::from_secs(40),
        people: 1_024,
        connections: 1_024,
        slow: 10_000,
        bounds: Bounds::LONG,
    };

    /// For the gate, which has other things on its mind: it finds what is out of all proportion.
    pub const SHORT: Self = Self {
        measured: Duration::from_secs(1),
        normal: Duration::from_secs(4),
        storm: Duration::from_secs(8),
        calm: Duration::from_secs(6),
        people: 256,
        connections: 1_024,
        slow: 1_000,
        bounds: Bounds::SHORT,
    };
}

/// How the server is started: on a core of its own, behind a proxy that says whom it asks for, and with the limits by source.
/// And in a session of its own, as by a service manager: Linux shares the cores out between sessions first, so that storm and
/// server in one would share what each gets, and the system's thread that syncs the disk may wait for them for 6 ms each time.
/// When this program is interrupted the server stays, and wants to be stopped by hand.
pub fn options(mut options: Options) -> Options {
    if has_cores() {
        options.wrap = ["setsid", "taskset", "-c", CORES[0]]
            .map(str::to_owned)
            .to_vec();
    }
    options
        .env("QUIVIVE__RATE_LIMITS__ENABLED", "true")
        .env("QUIVIVE__SERVER__TRUSTED_PROXIES", "127.0.0.1/32")
}

/// There are two, and the programs of util-linux that keep processes apart.
fn has_cores() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let is_there = |program| {
        std::process::Command::new(program)
            .arg("-V")
            .output()
            .is_ok()
    };
    cores > 1 && ["taskset", "setsid"].into_iter().all(is_there)
}

/// What was seen of one kind.
#[derive(Debug, Clone, Default)]
struct Seen {
    kind: &'static str,
    /// Alone, a second.
    alone: f64,
    /// Of those that were let in when all was normal, in milliseconds.
    normal_p99: f32,
    /// In the storm: how many a second were sent, let in, and refused.
    sent: f64,
    admitted: f64,
    refused: f64,
    admitted_p99: f32,
    refused_p99: f32,
    bare: u64,
    failed: u64,
    /// A second, for want of a connection or a token.
    unsent: f64,
    /// How often each kind of failure.
    failures: String,
}

impl Seen {
    fn in_storm(self, answers: &Answers, storm: Duration) -> Self {
        let Answers {
            admitted,
            refused,
            bare,
            failed,
            unsent,
        } = answers;
        let a_second = |number: usize| number as f64 / storm.as_secs_f64();
        let failures = failed
            .iter()
            .map(|(what, times)| format!("{what}: {times}"));
        let failures = failures.collect::<Vec<_>>().join(", ");
        let failed = failed.values().sum();
        Self {
            sent: a_second(admitted.len() + refused.len()) + failed as f64 / storm.as_secs_f64(),
            admitted: a_second(admitted.len()),
            refused: a_second(refused.len()),
            admitted_p99: p99(admitted),
            refused_p99: p99(refused),
            bare: *bare,
            failed,
            unsent: *unsent as f64 / storm.as_secs_f64(),
            failures,
            ..self
        }
    }
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    of: Vec<Seen>,
    /// Of what takes all of the server's time, its capacity.
    part: f64,
    slow: usize,
    /// Resident memory of the server before the storm, and its highest in each tenth of it.
    before_kib: u64,
    highest_kib: Vec<u64>,
    /// After the storm, until three windows in a row were normal.
    normal_again: Option<Duration>,
    /// In the last window that was not.
    unrest: String,
    /// By how much this side sent late, in milliseconds.
    late_p99: f32,
    has_cores: bool,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = if self.has_cores {
            "server and storm on a core each"
        } else {
            "server and storm on the same cores: there is one, or no util-linux"
        };
        let mib: Vec<String> = self
            .highest_kib
            .iter()
            .map(|kib| (kib / 1_024).to_string())
            .collect();
        let again = match self.normal_again {
            Some(time) => format!("{} s after", time.as_secs()),
            None => format!("not ({})", self.unrest),
        };
        write!(
            f,
            "{TIMES} times capacity ({} of what takes all of its time) beside {} slow clients, {cores}; {} MiB before, at most {} MiB in each tenth of the storm; normal \
             again: {again}; sent late by {:.1} ms (p99)",
            self.part,
            self.slow,
            self.before_kib / 1_024,
            mib.join(", "),
            self.late_p99
        )?;
        for it in &self.of {
            write!(
                f,
                "\n  {}: {:.0}/s alone; of {:.0}/s sent {:.0}/s let in, p99 {:.0} ms (normally {:.0} ms), {:.0}/s refused, p99 {:.1} \
                 ms, {} without Retry-After; {} failed ({}), {:.0}/s not sent",
                it.kind,
                it.alone,
                it.sent,
                it.admitted,
                it.admitted_p99,
                it.normal_p99,
                it.refused,
                it.refused_p99,
                it.bare,
                it.failed,
                it.failures,
                it.unsent
            )?;
        }
        Ok(())
    }
}

/// Panics when something is not as it should be.
pub async fn run(server: &Server, size: &Size) -> Figures {
    let has_cores = has_cores();
    let _pinned = Pinned::to(CORES[1]).await.filter(|_| has_cores);
    imported::import(server, 0..size.people).await;
    let people = People::sign_in(server.address, 0..size.people, size.connections).await;
    let mut alone = [0.0; 3];
    for kind in Kind::ALL {
        let (rate, _) = people
            .capacity(kind, AT_ONCE[kind as usize], size.measured)
            .await;
        alone[kind as usize] = rate;
    }
    let all = Kind::ALL.map(|kind| alone[kind as usize] * SHARES[kind as usize]);
    let part = part(&people, all, size.measured).await;
    let times = |times: f64| all.map(|rate| rate * part * times);
    people
        .blow(times(1.0), Sources::Everywhere, size.normal)
        .await;
    let normal = people.tally();

    let before_kib = server.resident_kib();
    let slow = slow_clients::gather(server.address, size.slow).await;
    let blown = people.blow(times(TIMES), Sources::HalfFromFew, size.storm);
    let highest_kib = watch(server, size.storm, blown).await;
    let stormy = people.tally();
    drop(slow);
    let normal_p99 = Kind::ALL.map(|kind| p99(&normal.of[kind as usize].admitted));
    let (normal_again, unrest) = settle(&people, times(CALM), normal_p99, size.calm).await;

    let of = Kind::ALL.map(|kind| {
        let at = kind as usize;
        let seen = Seen {
            kind: kind.name(),
            alone: alone[at],
            normal_p99: normal_p99[at],
            ..Seen::default()
        };
        seen.in_storm(&stormy.of[at], size.storm)
    });
    let figures = Figures {
        of: of.to_vec(),
        part,
        slow: size.slow,
        before_kib,
        highest_kib,
        normal_again,
        unrest,
        late_p99: p99(&stormy.late),
        has_cores,
    };
    let wrong = size.bounds.breaches(&figures);
    assert!(wrong.is_empty(), "{}\n{figures}", wrong.join("\n"));
    figures
}

/// The largest part of these rates of which hardly anybody is refused.
async fn part(people: &Arc<People>, all: [f64; 3], time: Duration) -> f64 {
    for part in PARTS {
        let rates = all.map(|rate| rate * part);
        people.blow(rates, Sources::Everywhere, time).await;
        let Tally { of, .. } = people.tally();
        let served = |answers: &Answers| answers.refused.len() * HARDLY <= answers.admitted.len();
        if of.iter().all(served) {
            return part;
        }
    }
    PARTS[PARTS.len() - 1]
}

/// The most memory that the server had in each tenth of that time.
async fn watch(server: &Server, time: Duration, storm: impl Future<Output = ()>) -> Vec<u64> {
    let mut storm = std::pin::pin!(storm);
    let (began, mut highest) = (Instant::now(), vec![0; 10]);
    loop {
        tokio::select! {
            () = storm.as_mut() => return highest,
            () = tokio::time::sleep(GLANCE) => {}
        }
        let tenth = began.elapsed().as_secs_f64() / time.as_secs_f64() * 10.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is from 0 to 9"
        )]
        let tenth = tenth.clamp(0.0, 9.0) as usize;
        highest[tenth] = highest[tenth].max(server.resident_kib());
    }
}

/// After how long, with what is normal, everything was normal for three windows in a row; and what was not in the last that
/// was not.
async fn settle(
    people: &Arc<People>,
    rates: [f64; 3],
    normal_p99: [f32; 3],
    time: Duration,
) -> (Option<Duration>, String) {
    let (began, mut good, mut unrest) = (Instant::now(), 0, String::new());
    while began.elapsed() < time {
        let since = began.elapsed();
        people.blow(rates, Sources::Everywhere, WINDOW).await;
        let Tally { of, .. } = people.tally();
        let mut is_normal = true;
        for (kind, answers) in Kind::ALL.into_iter().zip(&of) {
            let (name, slow) = (kind.name(), p99(&answers.admitted));
            let (refused, failed) = (answers.refused.len(), answers.failed.len());
            if refused + failed > 0 || slow > normal_p99[kind as usize] * 2.0 {
                is_normal = false;
                unrest = format!("{name}: p99 {slow:.0} ms, {refused} refused, {failed} failures");
            }
        }
        good = if is_normal { good + 1 } else { 0 };
        if good == 3 {
            return (Some(since.saturating_sub(WINDOW * 2)), unrest);
        }
    }
    (None, unrest)
}

fn p99(times: &[f32]) -> f32 {
    quantile(times, 0.99)
}

/// This process keeps to one core until this is dropped.
struct Pinned(String);

impl Pinned {
    async fn to(core: &str) -> Option<Self> {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        pin(core).await.then(|| Self(format!("0-{}", all - 1)))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let pid = std::process::id().to_string();
        let mut command = std::process::Command::new("taskset");
        let _ = command.args(["-a", "-c", "-p", &self.0, &pid]).output();
    }
}

async fn pin(core: &str) -> bool {
    let pid = std::process::id().to_string();
    let mut command = Command::new("taskset");
    let pinned = command.args(["-a", "-c", "-p", core, &pid]).output().await;
    pinned.is_ok_and(|output| output.status.success())
}
