//! Commits of which nobody knows at first what became of them.

use super::*;

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
