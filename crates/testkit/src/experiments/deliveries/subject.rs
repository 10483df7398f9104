//! The process that is killed: the server as a program embeds it, with subscriptions of its own.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quivive::config::{self, FileChoice, Flags, Plan, Sources};
use quivive::{Builder, Server};
use quivive_app::ports::{Contact, Crm, CrmError, Letter, MailError, Mailer};
use quivive_delivery::engine::Running;
use quivive_delivery::subscriber::{
    BatchHandler, BatchOutcome, Handler, Retry, StoredReplay, Subscription,
};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{BoxFuture, Cx, Outcome, Received, Write};
use quivive_domain::UserId;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::fuse::{Fuse, Fused};
use super::step::{Kill, Moment, Role, Step};

/// The type of the events that services append.
pub(super) const KIND: &str = "custom.made";

pub(super) const LEDGER: &str = "ledger";
const OUTSIDE: &str = "outside";
const TOGETHER: &str = "together";

/// In the data directory: what was told outside, by whom.
pub(super) const TOLD: [&str; 2] = [OUTSIDE, TOGETHER];
pub(super) const CONTACTS: &str = "contacts";
pub(super) const LETTERS: &str = "letters";

/// While this file is not there, the ledger gives up on keys with [`REFUSED`] in them.
pub(super) const MENDED: &str = "mended";
pub(super) const REFUSED: &str = "refused";

pub(super) const ADMIN: (&str, &str) = ("root@example.org", "an administrators long passphrase 7");

/// Notes an event behind those of its key that were noted before. Without any guard: what comes twice, or too early, is
/// there to be found.
pub(super) const EFFECT: &str = "INSERT INTO meta (name, value) VALUES ($1, $2) \
    ON CONFLICT (name) DO UPDATE SET value = value || ' ' || excluded.value";

/// What the names of its rows begin with, before the key; of a replay, then comes its generation.
pub(super) const EFFECTS: &str = "effects ";
pub(super) const REPLAYED: &str = "replayed ";

/// Of the ledger and those who tell outside, one event in so many fails at first, and gets its key a lane.
const LEDGER_FAILS: u64 = 7;
const OUTSIDE_FAILS: u64 = 11;
const TOGETHER_FAILS: u64 = 13;

/// Soon, so that a run takes no longer than its kill; the first failure makes a lane.
const RETRY: Retry = Retry {
    quick: &[],
    base: Duration::from_millis(1),
    cap: Duration::from_millis(2),
    max_attempts: 1_000,
    ..Retry::DEFAULT
};

/// Often, so that a run need not wait for it either.
const SAVE_EVERY: Duration = Duration::from_millis(20);

fn append(path: &Path, line: &str) -> io::Result<()> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    // One call, so that a line is there as a whole or not at all.
    file?.write_all(format!("{line}\n").as_bytes())
}

fn told(event: &Received) -> String {
    let (key, position) = (event.envelope().key.as_str(), event.stored.position);
    format!("{key} {position} {}", event.idempotency_key())
}

/// Writes to our database.
struct Ledger {
    fuse: Arc<Fuse>,
    directory: PathBuf,
}

impl Handler for Ledger {
    fn handle<'a>(&'a self, event: &'a Received, cx: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let (key, position) = (event.envelope().key.as_str(), event.stored.position);
            self.fuse.at(Step::Handler(Role::Ledger, Moment::Before));
            self.fuse.handles(key);
            if key.contains(REFUSED) && !self.directory.join(MENDED).exists() {
                return Outcome::GiveUp("not now".to_owned());
            }
            if position.is_multiple_of(LEDGER_FAILS) && cx.attempt() < 3 {
                return Outcome::Retry("not yet".to_owned());
            }
            let name = if cx.is_replay() {
                format!("{REPLAYED}{} {key}", cx.generation())
            } else {
                format!("{EFFECTS}{key}")
            };
            cx.write(Write::one(
                EFFECT,
                vec![name.into(), position.to_string().into()],
            ));
            self.fuse.at(Step::Handler(Role::Ledger, Moment::After));
            Outcome::Done
        })
    }
}

/// Tells somebody outside: a file has what was told, in its order.
struct Outside {
    fuse: Arc<Fuse>,
    file: PathBuf,
}

impl Handler for Outside {
    fn handle<'a>(&'a self, event: &'a Received, cx: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            self.fuse.at(Step::Handler(Role::Outside, Moment::Before));
            if event.stored.position.is_multiple_of(OUTSIDE_FAILS) && cx.attempt() == 1 {
                return Outcome::Retry("not yet".to_owned());
            }
            if let Err(error) = append(&self.file, &told(event)) {
                return Outcome::Retry(error.to_string());
            }
            self.fuse.at(Step::Handler(Role::Outside, Moment::After));
            Outcome::Done
        })
    }
}

/// The same, of several events at once.
struct Together {
    fuse: Arc<Fuse>,
    file: PathBuf,
    failed: Mutex<HashSet<u64>>,
}

impl BatchHandler for Together {
    fn handle<'a>(&'a self, events: &'a [Received]) -> BoxFuture<'a, BatchOutcome> {
        Box::pin(async move {
            self.fuse.at(Step::Handler(Role::Together, Moment::Before));
            let outcomes = events.iter().map(|event| self.one(event)).collect();
            self.fuse.at(Step::Handler(Role::Together, Moment::After));
            BatchOutcome::Each(outcomes)
        })
    }
}

impl Together {
    fn one(&self, event: &Received) -> Outcome {
        let position = event.stored.position;
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if position.is_multiple_of(TOGETHER_FAILS) && failed.insert(position) {
            return Outcome::Retry("not yet".to_owned());
        }
        match append(&self.file, &told(event)) {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Retry(error.to_string()),
        }
    }
}

/// Customer relations that write down what they are told, and do not want everybody.
struct Relations {
    fuse: Arc<Fuse>,
    file: PathBuf,
}

impl Relations {
    fn call(&self, line: &str) -> Result<(), CrmError> {
        self.fuse.at(Step::Handler(Role::Crm, Moment::Before));
        append(&self.file, line).map_err(|error| CrmError::Permanent(error.to_string()))?;
        self.fuse.at(Step::Handler(Role::Crm, Moment::After));
        Ok(())
    }
}

impl Crm for Relations {
    fn add<'a>(&'a self, new: &'a Contact, key: &'a str) -> BoxFuture<'a, Result<(), CrmError>> {
        let refused = new.email.typed().contains(REFUSED);
        let word = if refused { REFUSED } else { "taken" };
        let mut answer = self.call(&format!("add {} {key} {word}", new.user_id));
        if refused {
            answer = Err(CrmError::Permanent("no more contacts".to_owned()));
        }
        Box::pin(std::future::ready(answer))
    }

    fn remove<'a>(&'a self, user: UserId, key: &'a str) -> BoxFuture<'a, Result<(), CrmError>> {
        let answer = self.call(&format!("remove {user} {key} taken"));
        Box::pin(std::future::ready(answer))
    }
}

/// Keeps to whom a letter goes, and the token in it.
struct Post(PathBuf);

impl Mailer for Post {
    fn send(&self, letter: Letter, _: &str) -> BoxFuture<'_, Result<String, MailError>> {
        let token = letter
            .text
            .split_once("token=")
            .map(|_| crate::server::token_in(&letter.text));
        let line = format!("{} {}", letter.to, token.unwrap_or_default());
        let kept = append(&self.0, &line).map_err(|error| MailError::Transient(error.to_string()));
        Box::pin(std::future::ready(kept.map(|()| "kept".to_owned())))
    }
}

/// The configuration: what a limit by source would refuse, and hashing that takes no longer than it must.
fn plan(directory: &Path, address: SocketAddr) -> Plan {
    let environment = [
        ("QUIVIVE__RATE_LIMITS__ENABLED", "false"),
        ("QUIVIVE__HASHING__MEMORY_KIB", "7168"),
        ("QUIVIVE__HASHING__ITERATIONS", "1"),
        ("QUIVIVE__TOKENS__ACCESS_TOKEN_SECONDS", "3600"),
        ("QUIVIVE__ADMIN__EMAIL", ADMIN.0),
        ("QUIVIVE__ADMIN__PASSWORD", ADMIN.1),
    ];
    let sources = Sources {
        flags: Flags {
            listen: Some(address.to_string()),
            data_dir: Some(directory.to_owned()),
            database: None,
        },
        environment: environment
            .map(|(name, value)| (name.to_owned(), value.into()))
            .into(),
        file: FileChoice::FirstOf(Vec::new()),
        default_data_dir: None,
    };
    let plan = config::load(&sources).and_then(|loaded| loaded.plan());
    plan.unwrap_or_else(|problems| panic!("{problems:?}"))
}

async fn build(directory: &Path, address: SocketAddr, fuse: &Arc<Fuse>) -> Server {
    let mine = |subscription: Subscription| {
        let mine = subscription.matching(["custom.*"]).retry(RETRY);
        mine.save_every(SAVE_EVERY).breaker(false)
    };
    let ledger = Arc::new(Ledger {
        fuse: Arc::clone(fuse),
        directory: directory.to_owned(),
    });
    let outside = Arc::new(Outside {
        fuse: Arc::clone(fuse),
        file: directory.join(OUTSIDE),
    });
    let together = Arc::new(Together {
        fuse: Arc::clone(fuse),
        file: directory.join(TOGETHER),
        failed: Mutex::default(),
    });
    let crm = Arc::new(Relations {
        fuse: Arc::clone(fuse),
        file: directory.join(CONTACTS),
    });
    let fuse = Arc::clone(fuse);
    let server = Builder::of_plan(&plan(directory, address))
        .mailer(Arc::new(Post(directory.join(LETTERS))))
        .crm(crm)
        .subscribe(mine(Subscription::with(LEDGER, ledger)))
        .subscribe(mine(Subscription::with(OUTSIDE, outside)))
        .subscribe(mine(
            Subscription::together(TOGETHER, together).batch(8, Duration::from_millis(2)),
        ))
        .around_log(move |log| Arc::new(Fused { log, fuse }))
        .build();
    server.await.unwrap_or_else(|error| panic!("{error:?}"))
}

/// Waits until everything that an earlier run left is done.
async fn settled(running: &Running) {
    let generations: HashMap<_, _> = running
        .status()
        .into_iter()
        .map(|one| (one.name, one.generation))
        .collect();
    // One that was asked for since may be of a later generation.
    let is_old = |replay: &StoredReplay| {
        let before = generations.get(&*replay.subscription);
        before.is_some_and(|before| replay.generation <= before + 1)
    };
    running.drain().await;
    loop {
        let status = running.status();
        let mut waiting = status
            .iter()
            .filter(|one| one.lanes_retrying > 0 || one.replay.as_ref().is_some_and(is_old));
        if waiting.next().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Serves until it is killed or told to stop. The arguments are a directory, an address, and when it is to be killed, as
/// the experiment gives them.
pub async fn serve(args: &[String]) {
    let [directory, address, kill @ ..] = args else {
        panic!("a directory, an address and a step: {args:?}");
    };
    let (directory, address) = (Path::new(directory), address.parse().expect("an address"));
    let fuse = Fuse::new(Kill::parse(kill).expect("a step"));
    let mut told_to_stop = signal(SignalKind::terminate()).expect("signals");
    let server = build(directory, address, &fuse).await;
    let tasks = Tasks::new();
    if fuse.is_patient() {
        let running = server.running().clone();
        drop(tasks.spawn(async move {
            settled(&running).await;
            fuse.arm();
        }));
    }
    let listener = TcpListener::bind(address)
        .await
        .expect("the address is free");
    let service = server
        .router()
        .into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async move {
            told_to_stop.recv().await;
        })
        .await
        .expect("it serves");
    server.shut_down().await;
}
