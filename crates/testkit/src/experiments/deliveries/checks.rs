//! What there is after many kills, compared with the log.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::{Add, AddAssign};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quivive_app::ports::{SignInStatistics as _, SignIns};
use quivive_app::subscribers::statistics;
use quivive_delivery::subscriber::Subscriptions as _;
use quivive_delivery::{Log as _, Stored, Value as Cell};
use quivive_store::Database;
use quivive_store_sqlite::Sqlite;
use serde_json::Value;
use uuid::Uuid;

use super::subject::{CONTACTS, EFFECTS, KIND, LEDGER, REFUSED, REPLAYED};
use super::work::Worker;

pub(super) const STATISTICS: &str = statistics::NAME;

const PROFILE: &str = "provisioning.profile";
const CRM: &str = "provisioning.crm";

/// What must be nothing, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Breaches {
    /// Events that somebody should have got and has not; events that were acknowledged and are not in the log.
    pub(super) undelivered: u64,
    /// Effects in our database that are there more than once, or without their event.
    pub(super) twice: u64,
    /// Events that came before an earlier one of their key.
    pub(super) disorder: u64,
    /// Decisions of operators that were answered for and are not there, or that were taken more than once.
    pub(super) decisions: u64,
}

impl Breaches {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Add for Breaches {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            undelivered: self.undelivered + other.undelivered,
            twice: self.twice + other.twice,
            disorder: self.disorder + other.disorder,
            decisions: self.decisions + other.decisions,
        }
    }
}

impl AddAssign for Breaches {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// What was told outside: a file that grows.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    read: u64,
    /// The highest position of each key.
    highest: HashMap<String, u64>,
    /// The last position of each key in this run of the server.
    last: HashMap<String, u64>,
    /// The idempotency key under which each position came.
    pub(super) told: HashMap<u64, String>,
    pub(super) lines: u64,
    pub(super) disorder: u64,
    /// Told again under another idempotency key.
    renamed: u64,
}

impl Sequence {
    /// Reads on, after a run of the server has ended.
    pub(super) fn read(&mut self, file: &Path) {
        let Ok(mut file) = File::open(file) else {
            return;
        };
        let mut text = String::new();
        let _ = file.seek(SeekFrom::Start(self.read));
        file.read_to_string(&mut text).expect("lines");
        self.read += text.len() as u64;
        self.run_ended();
        for line in text.lines() {
            self.line(line);
        }
    }

    pub(super) fn run_ended(&mut self) {
        self.last.clear();
    }

    fn line(&mut self, line: &str) {
        let [key, position, name] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line:?} is no line of it");
        };
        self.told(key, position.parse().expect("a position"), name);
    }

    /// After a crash events come again, from an earlier one on. But none comes for the first time after a later one of its
    /// key, and in one run none after itself or a later one.
    pub(super) fn told(&mut self, key: &str, position: u64, name: &str) {
        self.lines += 1;
        let is_new = !self.told.contains_key(&position);
        let known = self.told.entry(position).or_insert_with(|| name.to_owned());
        self.renamed += u64::from(known != name);
        let highest = self.highest.entry(key.to_owned()).or_default();
        let last = self.last.entry(key.to_owned()).or_default();
        let late = (is_new && position < *highest) || position <= *last;
        self.disorder += u64::from(late);
        *highest = position.max(*highest);
        *last = position;
    }

    /// Compares it with the events that should have come.
    pub(super) fn breaches(&self, wanted: &HashMap<String, Vec<u64>>) -> Breaches {
        let missing = |position: &&u64| !self.told.contains_key(position);
        Breaches {
            undelivered: wanted.values().flatten().filter(missing).count() as u64,
            twice: self.renamed,
            disorder: self.disorder,
            ..Breaches::default()
        }
    }
}

/// Positions that were noted, against those that should be.
fn noted(wanted: &[u64], noted: &[u64]) -> Breaches {
    let mut times = HashMap::<u64, u64>::new();
    for position in noted {
        *times.entry(*position).or_default() += 1;
    }
    let known: HashSet<_> = wanted.iter().collect();
    let twice = times.iter().map(|(position, times)| {
        if known.contains(position) {
            times - 1
        } else {
            *times
        }
    });
    Breaches {
        undelivered: wanted.iter().filter(|it| !times.contains_key(it)).count() as u64,
        twice: twice.sum(),
        disorder: noted.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64,
        ..Breaches::default()
    }
}

/// The data of a server that has stopped.
pub(super) struct Found {
    directory: PathBuf,
    database: Database,
    pub(super) log: Vec<Stored>,
}

/// The open fields of an event.
fn data(event: &Stored) -> Value {
    serde_json::from_slice(&event.body).unwrap_or_default()
}

impl Found {
    pub(super) async fn open(directory: &Path) -> Self {
        let sqlite = Sqlite::open_read_only(&directory.join("quivive.db")).expect("it opens");
        let database = Database::new(Arc::new(sqlite));
        let (mut log, mut after) = (Vec::new(), 0);
        loop {
            let events = database.read(after, 1_000).await.expect("a read");
            let Some(last) = events.last() else {
                break;
            };
            after = last.position;
            log.extend(events);
        }
        Self {
            directory: directory.to_owned(),
            database,
            log,
        }
    }

    fn of<'a>(&'a self, kind: &'static str) -> impl Iterator<Item = &'a Stored> {
        self.log
            .iter()
            .filter(move |event| event.envelope.kind == kind)
    }

    /// What the engine tells of a subscription.
    fn told_of<'a>(
        &'a self,
        kind: &'static str,
        subscription: &'static str,
    ) -> impl Iterator<Item = Value> + 'a {
        self.of(kind)
            .map(data)
            .filter(move |data| data["subscription"] == subscription)
    }

    /// The events that the subscriptions of the experiment want, by key.
    pub(super) fn wanted(&self) -> HashMap<String, Vec<u64>> {
        let mut wanted = HashMap::<String, Vec<u64>>::new();
        for event in self.of(KIND) {
            let key = event.envelope.key.as_str().to_owned();
            wanted.entry(key).or_default().push(event.position);
        }
        wanted
    }

    /// The rows of the ledger that begin with this, by what comes then.
    async fn effects(&self, prefix: &str) -> HashMap<String, Vec<u64>> {
        let rows = self
            .database
            .executor()
            .query("SELECT name, value FROM meta", Vec::new());
        let mut effects = HashMap::new();
        for row in rows.await.expect("a read") {
            if let [Cell::Text(name), Cell::Text(value)] = &row[..]
                && let Some(name) = name.strip_prefix(prefix)
            {
                let positions = value.split(' ').map(|it| it.parse().expect("a position"));
                effects.insert(name.to_owned(), positions.collect());
            }
        }
        effects
    }

    /// How many rows a table has.
    async fn count(&self, sql: &'static str) -> u64 {
        let rows = self
            .database
            .executor()
            .query(sql, Vec::new())
            .await
            .expect("a read");
        match rows[0][..] {
            [Cell::Int(count)] => u64::try_from(count).expect("a count"),
            ref other => panic!("{other:?}"),
        }
    }

    pub(super) async fn breaches(&self, worker: &Worker) -> Breaches {
        let wanted = self.wanted();
        let in_log: HashSet<Uuid> = self.log.iter().map(|event| event.envelope.id).collect();
        let lost = worker
            .acknowledged
            .iter()
            .filter(|id| !in_log.contains(id))
            .count();
        let mut all = Breaches {
            undelivered: lost as u64 + self.in_trouble().await,
            ..Breaches::default()
        };
        for sequence in worker.sequences.values() {
            all += sequence.breaches(&wanted);
        }
        all += self.ledger(&wanted).await;
        all += self.replays(&wanted, worker).await;
        all += self.decisions(worker);
        all += self.sign_ins().await;
        all + self.processes().await
    }

    /// Cursors that are not at the end of the log, and keys in trouble.
    async fn in_trouble(&self) -> u64 {
        let head = self.log.last().map_or(0, |event| event.position);
        let mut trouble = 0;
        for stored in self.database.load().await.expect("a read") {
            let lanes = self.database.lanes(&stored.name).await.expect("a read");
            trouble += lanes.len() as u64 + u64::from(stored.position != head);
        }
        trouble + self.database.replays().await.expect("a read").len() as u64
    }

    /// What the ledger has noted. What was discarded is not there: so many as were are missing, and of dead letters alone.
    pub(super) async fn ledger(&self, wanted: &HashMap<String, Vec<u64>>) -> Breaches {
        let effects = self.effects(EFFECTS).await;
        let dead: HashSet<String> = self
            .told_of("delivery.dead_lettered", LEDGER)
            .map(|letter| letter["event_id"].to_string())
            .collect();
        let is_dead = |position: u64| {
            let at = usize::try_from(position - 1).unwrap_or(usize::MAX);
            let event = self.log.get(at);
            event.is_some_and(|event| dead.contains(&format!("\"{}\"", event.envelope.id)))
        };
        let (mut all, mut missing) = (Breaches::default(), 0);
        for (key, positions) in wanted {
            let there = effects.get(key).map(Vec::as_slice).unwrap_or_default();
            let (gone, kept): (Vec<u64>, Vec<u64>) = positions
                .iter()
                .partition(|position| !there.contains(position) && is_dead(**position));
            missing += gone.len() as u64;
            all += noted(&kept, there);
        }
        let discarded: u64 = counts(self.told_of("delivery.discarded", LEDGER));
        all.undelivered += missing.saturating_sub(discarded);
        all.decisions += discarded.saturating_sub(missing);
        let unknown = effects.keys().filter(|key| !wanted.contains_key(*key));
        all.twice += unknown.count() as u64;
        all
    }

    /// Each generation of the ledger has what its replay went through, once and in order.
    async fn replays(&self, wanted: &HashMap<String, Vec<u64>>, worker: &Worker) -> Breaches {
        let mut all = Breaches::default();
        let mut generation = 1;
        for told in self.told_of("delivery.replayed", LEDGER) {
            generation += 1;
            let effects = self.effects(&format!("{REPLAYED}{generation} ")).await;
            let [from, to] = ["from", "to"].map(|field| told[field].as_u64().expect("a position"));
            for (key, positions) in wanted {
                let again = positions
                    .iter()
                    .copied()
                    .filter(|it| (from..=to).contains(it));
                let there = effects.get(key).map(Vec::as_slice).unwrap_or_default();
                all += noted(&again.collect::<Vec<_>>(), there);
            }
        }
        let beyond = format!("{REPLAYED}{} ", generation + 1);
        all.twice += self.effects(&beyond).await.len() as u64;
        for subscription in [LEDGER, STATISTICS] {
            let told = self.told_of("delivery.replayed", subscription);
            let done: Vec<u64> = told.filter_map(|told| told["from"].as_u64()).collect();
            let of = |all: &[(&str, u64)]| {
                let own = all.iter().filter(|(name, _)| *name == subscription);
                own.map(|(_, from)| *from).collect::<Vec<_>>()
            };
            // What was promised is done, and what is done was asked for.
            all.decisions += beyond_those(&of(&worker.promised), &done);
            all.decisions += beyond_those(&done, &of(&worker.asked));
        }
        all
    }

    /// Each dead letter is decided about once.
    fn decisions(&self, worker: &Worker) -> Breaches {
        let parked = self.told_of("delivery.dead_lettered", LEDGER).count() as u64;
        let decided = ["delivery.redriven", "delivery.discarded"];
        let decided = decided.map(|kind| counts(self.told_of(kind, LEDGER)));
        Breaches {
            decisions: worker.forgotten + parked.abs_diff(decided.iter().sum()),
            ..Breaches::default()
        }
    }

    /// What the statistics have counted, against the log.
    async fn sign_ins(&self) -> Breaches {
        let counted = self
            .database
            .sign_ins(STATISTICS, 0, i64::MAX)
            .await
            .expect("a read");
        let mut breaches = Breaches::default();
        for (what, kind) in [
            (SignIns::Attempted, "user.login.attempted"),
            (SignIns::Succeeded, "user.login.succeeded"),
            (SignIns::Failed, "user.login.failed"),
        ] {
            let counted = counted.iter().filter(|it| it.what == what);
            let counted: u64 = counted.map(|it| it.count).sum();
            let happened = self.of(kind).count() as u64;
            breaches.undelivered += happened.saturating_sub(counted);
            breaches.twice += counted.saturating_sub(happened);
        }
        breaches
    }

    /// Every process is at its end, by the steps that it should have taken, each once and in order; and the customer
    /// relations were told of all, each time under one key.
    async fn processes(&self) -> Breaches {
        let mut breaches = Breaches::default();
        let mut taken = BTreeMap::<Uuid, Vec<String>>::new();
        for event in self.of("user.email_verification.succeeded") {
            taken.insert(event.envelope.id, Vec::new());
        }
        for event in &self.log {
            let word = match event.envelope.kind.as_str() {
                "delivery.step_done" => "done",
                "delivery.step_undone" => "undone",
                "delivery.undo_requested" => "turned",
                _ => continue,
            };
            let data = data(event);
            let process = data["process"].as_str().or(data["event_id"].as_str());
            let process = process.and_then(|id| id.parse().ok()).expect("an id");
            let step = data["step"]
                .as_str()
                .or(data["subscription"].as_str())
                .unwrap_or_default();
            taken
                .entry(process)
                .or_default()
                .push(format!("{word} {step}"));
        }
        let there = [format!("done {PROFILE}"), format!("done {CRM}")];
        let back = [
            format!("done {PROFILE}"),
            format!("turned {CRM}"),
            format!("undone {CRM}"),
            format!("undone {PROFILE}"),
        ];
        let (mut whole, mut undone) = (0, 0);
        for steps in taken.values() {
            let should = if steps.contains(&back[1]) {
                &back[..]
            } else {
                &there[..]
            };
            whole += u64::from(should.len() == there.len());
            undone += u64::from(should.len() == back.len());
            let ranks: Vec<u64> = steps
                .iter()
                .map(|step| {
                    should
                        .iter()
                        .position(|it| it == step)
                        .map_or(u64::MAX, |at| at as u64)
                })
                .collect();
            breaches += noted(&(0..should.len() as u64).collect::<Vec<_>>(), &ranks);
        }
        let profiles = self.count("SELECT COUNT(*) FROM profile").await;
        breaches.twice += profiles.saturating_sub(whole);
        breaches.undelivered += whole.saturating_sub(profiles);
        breaches.undelivered += self.count("SELECT COUNT(*) FROM process").await;
        breaches + self.contacts(whole, undone)
    }

    fn contacts(&self, whole: u64, undone: u64) -> Breaches {
        let text = fs::read_to_string(self.directory.join(CONTACTS)).unwrap_or_default();
        let mut calls = HashMap::<(&str, &str), HashSet<&str>>::new();
        let mut refused = HashSet::new();
        for line in text.lines() {
            let [call, user, key, word] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line:?} is no line of it");
            };
            calls.entry((call, user)).or_default().insert(key);
            if word == REFUSED {
                refused.insert(user);
            }
        }
        let count = |wanted: &str| calls.keys().filter(|(call, _)| *call == wanted).count() as u64;
        let renamed = calls
            .values()
            .map(|keys| keys.len() as u64 - 1)
            .sum::<u64>();
        Breaches {
            undelivered: (whole + undone).abs_diff(count("add"))
                + undone.abs_diff(count("remove"))
                + undone.abs_diff(refused.len() as u64),
            twice: renamed,
            ..Breaches::default()
        }
    }
}

fn counts(told: impl Iterator<Item = Value>) -> u64 {
    told.filter_map(|told| told["count"].as_u64()).sum()
}

/// How many of these are not among those.
fn beyond_those(these: &[u64], those: &[u64]) -> u64 {
    let mut left = those.to_vec();
    let mut is_beyond = |it: &u64| match left.iter().position(|other| other == it) {
        Some(at) => {
            left.swap_remove(at);
            false
        }
        None => true,
    };
    these.iter().filter(|it| is_beyond(it)).count() as u64
}
