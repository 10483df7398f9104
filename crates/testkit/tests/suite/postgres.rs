//! What only a database on a server can do wrong: to be away, to be another one, to be shared.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quivive_app::ports::{OpenAttempt, OpenAttempts as _};
use quivive_delivery::chain::{GENESIS, Walk};
use quivive_delivery::log::{Appender, Record};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{
    Body, Clock, CommitError, Committed, Envelope, Fault, Key, Log as _, Stored, Time, Transaction,
    Write,
};
use quivive_store::{Database, POSTGRES_MIGRATIONS};
use quivive_store_postgres::{OpenError, Postgres, PostgresOptions};
use quivive_testkit::postgres::pair::Pair;
use quivive_testkit::postgres::{self, Cluster};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use uuid::Uuid;

struct Still;

impl Clock for Still {
    fn now(&self) -> Time {
        Time::from_second(1_800_000_000).unwrap()
    }
}

async fn open(url: &str) -> Result<Postgres, OpenError> {
    let options = PostgresOptions::new(url, None, Arc::new(Still))?;
    Postgres::open(options, POSTGRES_MIGRATIONS).await
}

/// An open store in a database of its own.
struct Bed {
    store: Arc<Postgres>,
    db: Database,
    server: postgres::Database,
}

impl Bed {
    async fn on(cluster: &Arc<Cluster>) -> Self {
        let server = cluster.database();
        let store = Arc::new(open(&server.url()).await.unwrap());
        let db = Database::new(Arc::clone(&store) as _);
        Self { store, db, server }
    }

    async fn commit(&self, writes: Vec<Write>, events: usize) -> Result<Committed, CommitError> {
        let records = (0..events).map(|_| record("account:1")).collect();
        self.db.commit(Transaction { writes, records }).await
    }

    /// All events, once there are so many.
    async fn events(&self, count: u64) -> Vec<Stored> {
        let mut head = self.db.head();
        let reached = head.wait_for(|head| head.position >= count);
        // What it gives holds a lock on the head: not into the next wait.
        let patience = Duration::from_secs(20);
        let reached = tokio::time::timeout(patience, reached).await.is_ok();
        assert!(reached, "{:?}", *self.db.head().borrow());
        self.db.read(0, 100_000).await.unwrap()
    }

    /// The events are dense, chained, and the head's.
    async fn whole(&self, count: u64) -> Vec<Stored> {
        let events = self.events(count).await;
        let mut walk = Walk::from(0, GENESIS);
        for event in &events {
            walk.step(event).unwrap();
        }
        let head = *self.db.head().borrow();
        walk.finish(head.position, &head.chain).unwrap();
        assert_eq!(head.position, count);
        events
    }

    /// A foreign transaction.
    fn elsewhere(&self, sql: &str) -> Child {
        let mut command = self.server.cluster.client("psql");
        command.args(["-v", "ON_ERROR_STOP=1", "-qAtc", sql, &self.server.name]);
        command.stdout(Stdio::null()).spawn().unwrap()
    }

    /// Waits until the server says yes.
    async fn until(&self, sql: &str) {
        let began = Instant::now();
        while self.server.ask(sql) != "t" {
            assert!(began.elapsed() < Duration::from_secs(20), "never: {sql}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn id() -> Uuid {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Uuid::from_u64_pair(7, NEXT.fetch_add(1, Ordering::Relaxed))
}

fn record(key: &str) -> Record {
    let time = Time::from_second(1_800_000_000).unwrap();
    let envelope = Envelope {
        workflow_id: id(),
        correlation_id: id(),
        ..Envelope::first(id(), "a.b", Key::stored(key.to_owned()), time)
    };
    let body = Body {
        open: b"{}".to_vec(),
        personal: None,
    };
    Appender::new().record(envelope, body, None, None)
}

fn attempt() -> OpenAttempt {
    OpenAttempt {
        workflow_id: id(),
        kind: "a.b".to_owned(),
        attempted_id: id(),
        after: 0,
        deadline: Time::from_second(1_800_000_060).unwrap(),
        waiting: false,
        node: id(),
    }
}

/// The attempt's connection is held up by a lock; the outcome is submitted meanwhile, and other lanes have nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_outcome_never_overtakes_its_attempt() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let bed = Bed::on(&cluster).await;
    bed.commit(vec![bed.db.set_meta("slow", "1")], 0)
        .await
        .unwrap();
    let mut foreign = bed.elsewhere(
        "BEGIN; UPDATE meta SET value = '2' WHERE name = 'slow'; SELECT pg_sleep(1); COMMIT",
    );
    bed.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()")
        .await;
    let attempt = attempt();
    let writes = vec![bed.db.open(&attempt), bed.db.set_meta("slow", "3")];
    let attempted = bed.commit(writes, 1);
    let outcome = bed.commit(vec![bed.db.close(attempt.workflow_id)], 1);
    let (attempted, outcome) = tokio::join!(attempted, outcome);
    assert!(
        attempted.is_ok() && outcome.is_ok(),
        "{attempted:?} {outcome:?}"
    );
    assert!(foreign.wait().unwrap().success());
    bed.whole(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_was_away_is_used_again_when_it_is_back() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let bed = Bed::on(&cluster).await;
    for _ in 0..20 {
        bed.commit(Vec::new(), 3).await.unwrap();
    }
    cluster.halt();
    let began = Instant::now();
    let away = bed.commit(Vec::new(), 1).await.unwrap_err();
    assert!(
        matches!(away, CommitError::Fault(Fault::Unreachable(_))),
        "{away}"
    );
    let away = bed.db.meta("any").await.unwrap_err();
    assert!(matches!(away, Fault::Unreachable(_)), "{away}");
    assert!(began.elapsed() < Duration::from_secs(5), "told at once");
    cluster.resume();
    let began = Instant::now();
    while bed.commit(Vec::new(), 1).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "never back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bed.db.meta("any").await.unwrap(), None);
    // What was acknowledged is there, and goes on where it ended.
    bed.whole(61).await;
    assert_eq!(*bed.store.fatal().borrow(), None);
}

/// Stands between a store and its server, and once it is armed breaks the first connection on which a commit was carried out,
/// in place of saying so.
struct Cutter {
    directory: std::path::PathBuf,
    armed: Arc<AtomicBool>,
}

impl Cutter {
    fn before(server: &postgres::Database, tasks: &Tasks) -> Self {
        let directory = std::path::PathBuf::from(format!("/tmp/qv-cut-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let listener = UnixListener::bind(directory.join(".s.PGSQL.5432")).unwrap();
        let armed = Arc::new(AtomicBool::new(false));
        let (behind, lit) = (server.cluster.socket(), Arc::clone(&armed));
        drop(tasks.spawn(async move {
            let mut pairs = tokio::task::JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                let to = UnixStream::connect(&behind).await.unwrap();
                pairs.spawn(between(from, to, Arc::clone(&lit)));
            }
        }));
        Self { directory, armed }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn between(client: UnixStream, server: UnixStream, armed: Arc<AtomicBool>) {
    let (mut from, mut to) = client.into_split();
    let (mut answers, mut questions) = server.into_split();
    let asking = tokio::io::copy(&mut from, &mut questions);
    let answering = async {
        let mut bytes = vec![0; 65_536];
        while let Ok(count @ 1..) = answers.read(&mut bytes).await {
            let told = &bytes[..count];
            let word = b"COMMIT\0";
            let done = told.windows(word.len()).position(|part| part == word);
            if let Some(done) = done.filter(|_| armed.swap(false, Ordering::SeqCst)) {
                // Up to the message that has the word: five bytes of its head come before.
                let _ = to.write_all(&told[..done - 5]).await;
                return;
            }
            if to.write_all(told).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = asking => {}
        () = answering => {}
    }
}

/// The connection breaks between a commit and the word of it: the number says that it happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_in_doubt_is_asked_after() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (server, tasks) = (cluster.database(), Tasks::new());
    let cutter = Cutter::before(&server, &tasks);
    let own = format!("?host={}", cluster.socket().parent().unwrap().display());
    let cut = format!("?host={}", cutter.directory.display());
    let store = open(&server.url().replace(&own, &cut)).await.unwrap();
    let db = Database::new(Arc::new(store));
    // Without events, so that nobody but its own lane commits.
    let commit = |value: &str| {
        db.commit(Transaction {
            writes: vec![db.set_meta("doubt", value)],
            records: Vec::new(),
        })
    };
    commit("before").await.unwrap();
    cutter.armed.store(true, Ordering::SeqCst);
    commit("after").await.unwrap();
    assert!(
        !cutter.armed.load(Ordering::SeqCst),
        "the connection was cut"
    );
    assert_eq!(db.meta("doubt").await.unwrap().as_deref(), Some("after"));
}

/// Commits wait for a standby that gets nothing more, when their server is killed. The one that takes over gives their numbers
/// to others: nobody is told that those were theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_waited_for_a_standby_is_not_told_what_became_of_another() {
    let Some(pair) = Pair::start(true) else {
        return;
    };
    let db = Database::new(Arc::new(open(&pair.url()).await.unwrap()));
    let commit = |name: String| {
        db.commit(Transaction {
            writes: vec![db.set_meta(&name, "x")],
            records: vec![record(&name)],
        })
    };
    commit("before".to_owned()).await.unwrap();
    pair.stall();
    let tasks = Tasks::new();
    let waiting: Vec<_> = (0..8)
        .map(|number| tasks.spawn(commit(format!("waits {number}"))))
        .collect();
    let sent = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    while pair.ask(sent) != "t" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // One lane at least; the others come to it in a moment.
    tokio::time::sleep(Duration::from_millis(300)).await;
    pair.kill();
    pair.promote();
    for _ in 0..30 {
        pair.ask("SELECT pg_current_xact_id()");
    }
    let mut told = Vec::new();
    for (number, answer) in waiting.into_iter().enumerate() {
        let told_so = answer.await.unwrap().is_ok();
        let is_there = db.meta(&format!("waits {number}")).await.unwrap().is_some();
        told.push((told_so, is_there));
    }
    assert!(told.contains(&(false, false)), "none waited: {told:?}");
    assert!(!told.contains(&(true, false)), "told and gone: {told:?}");
    commit("after".to_owned()).await.unwrap();
    assert_eq!(db.meta("before").await.unwrap().as_deref(), Some("x"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standby_alone_is_refused_and_says_what_to_name() {
    let Some(pair) = Pair::start(false) else {
        return;
    };
    let said = open(&pair.standby_url()).await.err().unwrap().to_string();
    let wanted = [
        "is a standby",
        "name the primary",
        "target_session_attrs=read-write",
    ];
    assert!(wanted.iter().all(|words| said.contains(words)), "{said}");
    let opened = open(&pair.url()).await.unwrap();
    opened.close().await;
}

/// Speaks as a server would that is so old: lets everybody in, and answers the first question.
async fn answer_as_old(mut stream: TcpStream) -> std::io::Result<()> {
    let length = stream.read_u32().await?;
    let mut startup = vec![0; length as usize - 4];
    stream.read_exact(&mut startup).await?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
    stream.read_u8().await?;
    let length = stream.read_u32().await?;
    let mut question = vec![0; length as usize - 4];
    stream.read_exact(&mut question).await?;
    let columns = ["140012", "14.12", "UTF8", "off", "00000001"];
    let count = u16::try_from(columns.len()).unwrap();
    let (mut described, mut row) = (count.to_be_bytes().to_vec(), count.to_be_bytes().to_vec());
    for column in columns {
        // A name, of no table, a text of any length, as text.
        described.extend(b"c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
        row.extend(u32::try_from(column.len()).unwrap().to_be_bytes());
        row.extend(column.as_bytes());
    }
    for (kind, body) in [
        (b'T', described),
        (b'D', row),
        (b'C', b"SELECT 1\0".to_vec()),
    ] {
        stream.write_u8(kind).await?;
        stream
            .write_u32(u32::try_from(body.len() + 4).unwrap())
            .await?;
        stream.write_all(&body).await?;
    }
    stream.write_all(b"Z\0\0\0\x05I").await?;
    // Until the other side is gone.
    tokio::io::copy(&mut stream, &mut tokio::io::sink())
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_old_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new();
    drop(tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = answer_as_old(stream).await;
        }
    }));
    let refused = open(&format!("postgres://u@{address}/q"))
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, OpenError::Old { .. }), "{refused}");
    let said = refused.to_string();
    assert!(
        said.contains("14.12") && said.contains("15 or newer"),
        "{said}"
    );
}

/// Its kernel lets everybody connect, and nothing more comes: as from one that is frozen.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_does_not_answer_is_passed_over() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let server = cluster.database();
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = frozen.local_addr().unwrap().port();
    let directory = cluster.socket().parent().unwrap().display().to_string();
    let url = |others: &str| {
        format!(
            "postgres://quivive@127.0.0.1:{port}{others}/{}",
            server.name
        )
    };
    let silent = open(&url("")).await.err().unwrap();
    assert!(matches!(silent, OpenError::Silent { .. }), "{silent}");
    let there = format!(",{}:5432", directory.replace('/', "%2F"));
    let store = open(&url(&there)).await.unwrap();
    store.close().await;
}

/// The server ends the connections while commits are under way on them. Of each one its caller is told the truth.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_cut_off_in_a_commit_is_told_what_became_of_it() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let bed = Arc::new(Bed::on(&cluster).await);
    let tasks = Tasks::new();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let bed = Arc::clone(&bed);
            tasks.spawn(async move {
                let (mut done, mut undone) = (Vec::new(), Vec::new());
                for number in 0..60 {
                    let name = format!("{writer} {number}");
                    let answer = bed.commit(vec![bed.db.set_meta(&name, "x")], 1).await;
                    match answer {
                        Ok(_) => done.push(name),
                        Err(CommitError::Fault(Fault::Unreachable(_))) => undone.push(name),
                        Err(other) => panic!("{other}"),
                    }
                }
                (done, undone)
            })
        })
        .collect();
    for _ in 0..20 {
        // Not the sequencer's, which holds the lock: what it sent is guarded by the head.
        bed.server.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' \
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        );
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let (mut all_done, mut all_undone) = (Vec::new(), Vec::new());
    for writer in writers {
        let (mut done, mut undone) = writer.await.unwrap();
        all_done.append(&mut done);
        all_undone.append(&mut undone);
    }
    assert!(!all_undone.is_empty(), "somebody was cut off");
    for name in &all_done {
        assert!(bed.db.meta(name).await.unwrap().is_some(), "{name}");
    }
    for name in &all_undone {
        assert_eq!(bed.db.meta(name).await.unwrap(), None, "{name}");
    }
    bed.whole(all_done.len() as u64).await;
}

/// Sixteen writers, some of whose commits miss, and a foreign transaction that holds a number of the log and gives it up.
/// Who follows the head meanwhile sees every event once, and those of a key in the order of their commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_feed_misses_nothing_of_parallel_writers() {
    const WRITERS: u64 = 16;
    const EACH: u64 = 40;
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let bed = Arc::new(Bed::on(&cluster).await);
    let columns = "id, type, version, key, priority, time, workflow_id, correlation_id, actor_kind, body, digest";
    let hold = format!(
        "BEGIN; INSERT INTO event_in ({columns}) VALUES ('', 'x', 1, 'x', 1, 1, '', '', 'x', '', ''); SELECT pg_sleep(2); ROLLBACK"
    );
    let mut foreign = bed.elsewhere(&hold);
    let (tasks, reader) = (Tasks::new(), Arc::clone(&bed));
    let followed = tasks.spawn(async move {
        let (mut seen, mut head) = (Vec::new(), reader.db.head());
        while (seen.len() as u64) < WRITERS * EACH {
            let _ = head.changed().await;
            let after = seen.last().map_or(0, |event: &Stored| event.position);
            seen.extend(reader.db.read(after, 10_000).await.unwrap());
        }
        seen
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let bed = Arc::clone(&bed);
            tasks.spawn(async move {
                for number in 0..EACH {
                    let note = bed
                        .db
                        .set_meta(&format!("writer {writer}"), &number.to_string());
                    let mut event = record(&format!("key:{}", writer % 4));
                    if number % 5 == 0 {
                        // Misses, after it has taken a number of the log's table or before.
                        let writes = vec![bed.db.unset_meta("nothing")];
                        let missed = bed.commit(writes, 2).await.unwrap_err();
                        assert!(matches!(missed, CommitError::Missed(0)), "{missed}");
                        event = record(&format!("key:{}", writer % 4));
                    }
                    let transaction = Transaction {
                        writes: vec![note],
                        records: vec![event],
                    };
                    bed.db.commit(transaction).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let seen = tokio::time::timeout(Duration::from_secs(30), followed).await;
    let seen = seen.expect("the follower sees them all").unwrap();
    let events = bed.whole(WRITERS * EACH).await;
    let ids = |events: &[Stored]| events.iter().map(|e| e.envelope.id).collect::<Vec<_>>();
    assert_eq!(ids(&seen), ids(&events));
    assert!(foreign.wait().unwrap().success());
    assert_eq!(bed.server.ask("SELECT count(*) FROM event_in"), "0");
}

/// Commits that lock the same rows in another order: the server undoes one of them, which is made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_server_undoes_for_anothers_sake_is_made_again() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let bed = Arc::new(Bed::on(&cluster).await);
    let notes =
        |first: &str, second: &str| vec![bed.db.set_meta(first, "x"), bed.db.set_meta(second, "x")];
    bed.commit(notes("a", "b"), 0).await.unwrap();
    let all = (0..60).map(|n| {
        let writes = if n % 2 == 0 {
            notes("a", "b")
        } else {
            notes("b", "a")
        };
        bed.commit(writes, 1)
    });
    for done in futures_util::future::join_all(all).await {
        done.unwrap();
    }
    bed.whole(60).await;
}

/// What was committed and not placed when a server ended has its place after the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_that_another_left_behind_get_their_places() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let bed = Bed::on(&cluster).await;
    bed.commit(Vec::new(), 2).await.unwrap();
    bed.whole(2).await;
    let Bed { store, db, server } = bed;
    store.close().await;
    drop((store, db));
    let copied =
        "id, type, version, key, priority, time, workflow_id, correlation_id, actor_kind, body";
    server.ask(&format!(
        "INSERT INTO event_in ({copied}, digest) SELECT {copied}, sha256(body) FROM event WHERE pos = 1"
    ));
    let again = open(&server.url()).await.unwrap();
    assert_eq!((again.migrated().applied, again.migrated().version), (0, 1));
    let db = Database::new(Arc::new(again));
    let reached = db.head().wait_for(|head| head.position == 3).await.is_ok();
    assert!(reached);
    assert_eq!(server.ask("SELECT count(*) FROM event_in"), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_will_not_do_is_refused_by_name() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let refused = async |url: &str| match open(url).await {
        Ok(_) => panic!("opened {url}"),
        Err(error) => error,
    };
    let error = refused("postgres://u:hunter2@127.0.0.1:1/d").await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "cannot reach the PostgreSQL server at 127.0.0.1:1/d"
    );
    let error = refused(&cluster.url("nowhere")).await;
    assert!(matches!(error, OpenError::Refused { .. }), "{error}");
    assert!(
        error.to_string().contains("\"nowhere\" does not exist"),
        "{error}"
    );
    for (url, wanted) in [
        ("postgres://u:hunter2@h:x/d", "cannot be read"),
        ("postgres://u:hunter2@h", "names no database"),
        ("postgres://u:hunter2@h/d", "sslmode=require"),
        (
            "postgres://u:hunter2@h/d?sslmode=verify-full",
            "cannot be read",
        ),
    ] {
        let said = refused(url).await.to_string();
        assert!(said.contains(wanted) && !said.contains("hunter2"), "{said}");
    }

    cluster.run("createdb", &["-E", "LATIN1", "-T", "template0", "latin"]);
    let error = refused(&cluster.url("latin")).await;
    assert!(
        matches!(&error, OpenError::Encoding { found, .. } if found == "LATIN1"),
        "{error}"
    );

    let bed = Bed::on(&cluster).await;
    let error = refused(&bed.server.url()).await;
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    bed.store.close().await;
    bed.server.ask("UPDATE schema_version SET version = 99");
    let error = refused(&bed.server.url()).await;
    assert!(
        matches!(error, OpenError::Newer { found: 99, .. }),
        "{error}"
    );
    bed.server.ask("UPDATE schema_version SET version = 1");
    bed.server.ask("UPDATE log_head SET next_pos = 5");
    assert!(
        open(&bed.server.url()).await.is_ok(),
        "an empty log says nothing"
    );
}
