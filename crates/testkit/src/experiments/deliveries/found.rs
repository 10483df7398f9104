//! What there is after many kills, compared with the log.

use std::collections::{HashMap, HashSet};
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

use super::breaches::{Breaches, noted};
use super::subject::{EFFECTS, KIND, LEDGER, REPLAYED};
use super::work::Worker;

pub(super) const STATISTICS: &str = statistics::NAME;

/// The data of a server that has stopped.
pub(super) struct Found {
    pub(super) directory: PathBuf,
    database: Database,
    pub(super) log: Vec<Stored>,
}

/// The open fields of an event.
pub(super) fn data(event: &Stored) -> Value {
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

    pub(super) fn of<'a>(&'a self, kind: &'static str) -> impl Iterator<Item = &'a Stored> {
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
    pub(super) async fn count(&self, sql: &'static str) -> u64 {
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
            all.decisions += absent_from(&of(&worker.promised), &done);
            all.decisions += absent_from(&done, &of(&worker.asked));
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
}

fn counts(told: impl Iterator<Item = Value>) -> u64 {
    told.filter_map(|told| told["count"].as_u64()).sum()
}

/// How many of these are not among the others.
fn absent_from(these: &[u64], others: &[u64]) -> u64 {
    let mut left = others.to_vec();
    let mut is_beyond = |it: &u64| match left.iter().position(|other| other == it) {
        Some(at) => {
            left.swap_remove(at);
            false
        }
        None => true,
    };
    these.iter().filter(|it| is_beyond(it)).count() as u64
}
