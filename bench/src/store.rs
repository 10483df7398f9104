//! What the events cost: a refresh's commit with its attempt, outcome and fact, sealed and chained, against the same state
//! writes alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use quivive_app::ports::{NewRefreshToken, OpenAttempt, OpenAttempts as _, Sessions as _};
use quivive_delivery::log::{Appender, Log as _};
use quivive_delivery::seal::{SealKey, Vault as _};
use quivive_delivery::{
    Actor, Clock, Code, Context, Envelope, Event, Ids, Key, Priority, Transaction, Write,
};
use quivive_domain::session::Session;
use quivive_domain::{FamilyId, SessionId, TokenId, UserId};
use quivive_outbound::{FileVault, KeyStore, SystemClock, SystemIds};
use quivive_store::{Database, SQLITE_MIGRATIONS};
use quivive_store_sqlite::{Sqlite, SqliteOptions};
use tokio::task::JoinSet;

use crate::{LOAD, Measure};

const COMMITTERS: usize = 64;

/// A database of its own, gone with it.
pub(crate) struct Bed {
    pub database: Database,
    pub sqlite: Arc<Sqlite>,
    pub vault: Arc<FileVault>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    directory: PathBuf,
}

impl Bed {
    pub(crate) fn make(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("quivive-bench-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn Ids> = Arc::new(SystemIds::new(Arc::clone(&clock)));
        let options = SqliteOptions::new(&directory, Arc::clone(&clock));
        let sqlite = Arc::new(Sqlite::open(options, SQLITE_MIGRATIONS).unwrap());
        let keys = KeyStore::open(&directory.join("keys"), ids.as_ref(), clock.now()).unwrap();
        let vault = Arc::new(FileVault::open(&keys, Arc::clone(&ids)).unwrap());
        Self {
            database: Database::new(Arc::clone(&sqlite) as Arc<_>),
            sqlite,
            vault,
            clock,
            ids,
            directory,
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.sqlite.close();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub(crate) async fn measure() -> Vec<Measure> {
    let bed = Arc::new(Bed::make("commit"));
    let without = commits(&bed, false).await;
    let with = commits(&bed, true).await;
    let again = commits(&bed, false).await;
    vec![Measure::rate(
        "commit-with-events",
        with,
        "commits/s",
        f64::midpoint(without, again),
    )]
}

/// Commits a second, with so many committers each waiting for its own.
pub(crate) async fn commits(bed: &Arc<Bed>, with_events: bool) -> f64 {
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for _ in 0..COMMITTERS {
        let bed = Arc::clone(bed);
        tasks.spawn(async move {
            let user = UserId(bed.ids.next());
            let key = bed.vault.key(&format!("s:{user}")).await.unwrap();
            let (session, mut token) = open(&bed, user).await;
            let mut count = 0_u64;
            while began.elapsed() < LOAD {
                let next = TokenId(bed.ids.next());
                let writes = rotation(&bed, &session, token, next);
                if with_events {
                    commit_with_events(&bed, &session, key.as_ref(), writes).await;
                } else {
                    let transaction = Transaction {
                        writes,
                        records: Vec::new(),
                    };
                    bed.database.commit(transaction).await.unwrap();
                }
                token = next;
                count += 1;
            }
            count
        });
    }
    let total: u64 = tasks.join_all().await.into_iter().sum();
    total as f64 / began.elapsed().as_secs_f64()
}

async fn open(bed: &Bed, user: UserId) -> (Session, TokenId) {
    let now = bed.clock.now();
    let year = std::time::Duration::from_hours(8760);
    let session = Session {
        id: SessionId(bed.ids.next()),
        account: user,
        device: None,
        created_at: now,
        last_seen_at: now,
        idle_until: now + year,
        expires_at: now + year,
        ended_at: None,
    };
    let token = TokenId(bed.ids.next());
    let transaction = Transaction {
        writes: vec![
            bed.database.insert_session(&session, None, u32::MAX),
            bed.database
                .insert_refresh_token(&leaf(&session, token), now),
        ],
        records: Vec::new(),
    };
    bed.database.commit(transaction).await.unwrap();
    (session, token)
}

fn leaf(session: &Session, id: TokenId) -> NewRefreshToken {
    NewRefreshToken {
        id,
        hash: [7; 32],
        family: FamilyId(session.id.0),
        session: session.id,
        generation: 1,
        user_version: 1,
        global_version: 1,
        proved_at: session.created_at,
        expires_at: session.expires_at,
    }
}

fn rotation(bed: &Bed, session: &Session, old: TokenId, new: TokenId) -> Vec<Write> {
    let now = bed.clock.now();
    vec![
        bed.database
            .touch(session.id, None, session.idle_until, now),
        bed.database.use_refresh_token(old, new, "k1", [3; 32], now),
        bed.database.insert_refresh_token(&leaf(session, new), now),
    ]
}

/// As the kernel does it for a decision that waits for nothing: the attempt with its row, then everything in one commit.
async fn commit_with_events(bed: &Bed, session: &Session, key: &dyn SealKey, writes: Vec<Write>) {
    use quivive_app::facts::TokenIssued;
    use quivive_app::workflows::sessions::refresh_tokens::{Attempted, Succeeded};

    let now = bed.clock.now();
    let appender = Appender::new();
    let workflow_id = bed.ids.next();
    let context = Context {
        ip: Some("203.0.113.7".to_owned()),
        agent: Some(
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".to_owned(),
        ),
    };
    let context = appender.context(&context, workflow_id, key);
    let record = |id, cause, body, meta: quivive_delivery::EventMeta| {
        let envelope = Envelope {
            id,
            kind: meta.kind.to_owned(),
            version: meta.version,
            key: Key::new("account", session.account),
            priority: Priority::Normal,
            time: now,
            workflow_id,
            correlation_id: workflow_id,
            causation_id: cause,
            subject: Some(session.account.to_string()),
            actor: Actor {
                kind: "user".into(),
                id: Some(session.account.0),
            },
            request_id: Some(workflow_id.to_string()),
            traceparent: None,
        };
        appender.record(envelope, body, context.clone(), Some(key))
    };
    let attempted_id = bed.ids.next();
    let attempted = Attempted {
        user_id: Some(session.account),
    };
    let open = OpenAttempt {
        workflow_id,
        kind: Attempted::META.kind.to_owned(),
        attempted_id,
        after: bed.database.head().borrow().position,
        deadline: now + std::time::Duration::from_mins(1),
        waiting: false,
        node: workflow_id,
    };
    let outcome_id = bed.ids.next();
    let succeeded = Succeeded {
        user_id: session.account,
        session_id: session.id,
        family_id: FamilyId(session.id.0),
        token_id: TokenId(outcome_id),
        old_token_id: TokenId(attempted_id),
        generation: 2,
        replayed: false,
    };
    let issued = TokenIssued {
        token_id: TokenId(outcome_id),
        user_id: session.account,
        family_id: FamilyId(session.id.0),
        token_type: Code::new("refresh"),
        scopes: Vec::new(),
        client_id: None,
        expires_at: session.expires_at,
    };
    let mut all = vec![bed.database.close(workflow_id)];
    all.extend(writes);
    let attempt = Transaction {
        writes: vec![bed.database.open(&open)],
        records: vec![record(
            attempted_id,
            None,
            attempted.encode().unwrap(),
            Attempted::META,
        )],
    };
    let outcome = Transaction {
        writes: all,
        records: vec![
            record(
                outcome_id,
                Some(attempted_id),
                succeeded.encode().unwrap(),
                Succeeded::META,
            ),
            record(
                bed.ids.next(),
                Some(outcome_id),
                issued.encode().unwrap(),
                TokenIssued::META,
            ),
        ],
    };
    let attempt = bed.database.commit(attempt);
    bed.database.commit(outcome).await.unwrap();
    attempt.await.unwrap();
}
