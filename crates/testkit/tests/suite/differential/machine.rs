//! A kernel on a database, whose clock, ids and keys come from a seed.

use std::sync::{Arc, Mutex, PoisonError};

use quivive_app::kernel::{Families, Parts};
use quivive_app::search::{Indexer, Search, Tags};
use quivive_app::testing::World;
use quivive_app::{Kernel, Settings, switchboard};
use quivive_delivery::subscriber::InCommit;
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{Clock, CommitError, Ids, Log as _, Stored, Transaction, Value, Write};
use quivive_store::{Database, Executor};
use uuid::Uuid;

/// `SplitMix64`.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a size")
    }

    /// In one case of so many.
    pub(super) fn one_in(&mut self, cases: usize) -> bool {
        self.below(cases) == 0
    }
}

/// By the clock's millisecond and then by chance: what is made at one time is in no order that anybody could lean on.
struct SeededIds {
    clock: World,
    random: Mutex<Random>,
}

impl SeededIds {
    fn drawn(&self) -> u64 {
        let random = self.random.lock();
        random.unwrap_or_else(PoisonError::into_inner).next()
    }
}

impl Ids for SeededIds {
    fn next(&self) -> Uuid {
        let ms = self.clock.now().as_millisecond().cast_unsigned();
        let high = (ms << 16) | 0x7000 | (self.drawn() >> 52);
        Uuid::from_u64_pair(high, (1 << 63) | (self.drawn() >> 2))
    }

    fn random(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.drawn().to_be_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    }
}

pub(super) struct Machine {
    pub(super) kernel: Arc<Kernel>,
    pub(super) clock: World,
    pub(super) db: Database,
    pub(super) search: Search,
    indexer: Indexer,
    executor: Arc<dyn Executor>,
}

impl Machine {
    pub(super) async fn new<F: Future<Output = Arc<dyn Executor>>>(
        seed: u64,
        open: impl FnOnce(Arc<dyn Clock>) -> F,
    ) -> Self {
        let clock = World::new();
        let executor = open(Arc::new(clock.clone())).await;
        let db = Database::new(Arc::clone(&executor));
        let random = Mutex::new(Random::seeded(!seed));
        let ids = Arc::new(SeededIds {
            clock: clock.clone(),
            random,
        });
        let node = ids.next();
        let mut settings = Settings::for_url("https://id.example.org");
        settings.lifetimes.max_sessions = 2;
        let families = clock.families(settings);
        let families = Arc::into_inner(families).expect("nobody else has them");
        let one = Arc::new(db.clone());
        let families = Families {
            accounts: one.clone(),
            guesses: one.clone(),
            one_time: one.clone(),
            sessions: one.clone(),
            api_keys: one.clone(),
            statistics: one.clone(),
            event_schemas: one.clone(),
            receipts: one.clone(),
            answers: one.clone(),
            webhooks: one.clone(),
            ids,
            ..families
        };
        let kernel = Kernel::new(Parts {
            families: Arc::new(families),
            attempts: one.clone(),
            log: one.clone(),
            vault: Arc::new(clock.clone()),
            node,
            tasks: Tasks::new(),
            workflows: switchboard::workflows().expect("no name twice"),
            in_commit: InCommit::default(),
        });
        let tags = Tags {
            log: one.clone(),
            vault: Arc::new(clock.clone()),
            catalogue: Arc::clone(kernel.catalogue()),
            clock: Arc::new(clock.clone()),
        };
        Self {
            search: Search::new(&kernel, one.clone(), tags.clone()),
            indexer: Indexer::new(one, tags),
            kernel,
            clock,
            db,
            executor,
        }
    }

    /// A commit of state alone; what became of it.
    pub(super) async fn commit(&self, writes: Vec<Write>) -> String {
        let transaction = Transaction {
            writes,
            records: Vec::new(),
        };
        match self.db.commit(transaction).await {
            Ok(_) => "done".to_owned(),
            Err(CommitError::Missed(at)) => format!("write {at} missed"),
            Err(CommitError::Fault(fault)) => panic!("{fault}"),
        }
    }

    /// The events after a position, all of which have theirs, and are in the index.
    pub(super) async fn at_rest(&self, after: u64) -> Vec<Stored> {
        self.db.settled().await;
        self.indexer.catch_up().await.expect("no fault");
        self.db.read(after, 10_000).await.expect("a read")
    }

    /// Every table of this database with its columns; asked of SQLite, whose tables are also PostgreSQL's.
    pub(super) async fn tables(&self) -> Vec<(String, String)> {
        let columns = self.ask(
            "SELECT t.name, group_concat('\"' || c.name || '\"') FROM sqlite_master t, pragma_table_info(t.name) c \
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' GROUP BY t.name ORDER BY t.name",
        );
        let text = |value| match value {
            Value::Text(text) => text.into_owned(),
            other => panic!("{other:?}"),
        };
        let rows = columns.await.into_iter().map(|row| {
            let mut row = row.into_iter().map(text);
            (row.next().expect("a name"), row.next().expect("columns"))
        });
        rows.collect()
    }

    /// Every row of these tables.
    pub(super) async fn rows(&self, tables: &[(String, String)]) -> Vec<String> {
        let mut lines = Vec::new();
        for (table, columns) in tables {
            let rows = self
                .ask(&format!("SELECT {columns} FROM \"{table}\""))
                .await;
            let plain = |row: Vec<Value>| row.into_iter().map(plain).collect::<Vec<_>>();
            let rows = rows.into_iter().map(plain);
            // A table has no order of its own.
            let mut rows: Vec<_> = rows.map(|row| format!("{table}: {row:?}")).collect();
            rows.sort_unstable();
            lines.append(&mut rows);
        }
        lines
    }

    async fn ask(&self, sql: &str) -> Vec<quivive_store::Row> {
        let sql = String::leak(sql.to_owned());
        self.executor.query(sql, Vec::new()).await.expect("a read")
    }
}

/// Sixteen bytes and thirty-two may come back as what they mostly are.
fn plain(value: Value) -> Value {
    match value {
        Value::Id(id) => Value::Blob(id.as_bytes().to_vec()),
        Value::Digest(digest) => Value::Blob(digest.to_vec()),
        other => other,
    }
}
