//! What the machine can do at best, without any of our code.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

/// Argon2id hashes a second with reused memory, on so many threads.
pub(crate) fn argon2id(threads: usize, time: Duration) -> f64 {
    let handles: Vec<_> = (0..threads)
        .map(|_| {
            std::thread::spawn(move || {
                let params = Params::new(19_456, 2, 1, Some(32)).expect("the default parameters");
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                let mut blocks = vec![Block::default(); argon2.params().block_count()];
                let (mut out, mut count) = ([0; 32], 0_u32);
                let began = Instant::now();
                while began.elapsed() < time {
                    argon2
                        .hash_password_into_with_memory(
                            b"a passphrase of some length",
                            b"sixteen bytes of",
                            &mut out,
                            &mut blocks,
                        )
                        .expect("it hashes");
                    count += 1;
                }
                f64::from(count) / began.elapsed().as_secs_f64()
            })
        })
        .collect();
    handles
        .into_iter()
        .map(|handle| handle.join().unwrap())
        .sum()
}

/// One bare commit to be done by the writer.
struct Job {
    session: i64,
    token: i64,
    done: oneshot::Sender<()>,
}

/// The four statements of a refresh (a read, two guarded updates, an insert) as durable group commits, a second, with so
/// many committers waiting for each: one thread, prepared statements, one sync for up to 256.
pub(crate) async fn four_statements(committers: usize, time: Duration) -> f64 {
    let directory = std::env::temp_dir().join(format!("quivive-bench-bare-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (send, receive) = mpsc::sync_channel::<Job>(4_096);
    let path = directory.join("bare.db");
    let writer = std::thread::spawn(move || group_commits(&path, &receive));
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for session in 0..committers {
        let send = send.clone();
        tasks.spawn(async move {
            let (mut token, mut count) = (1_000_000 * (session as i64 + 1), 0_u64);
            while began.elapsed() < time {
                let (done, wait) = oneshot::channel();
                let job = Job {
                    session: session as i64,
                    token,
                    done,
                };
                send.send(job).unwrap();
                wait.await.unwrap();
                token += 1;
                count += 1;
            }
            count
        });
    }
    let total: u64 = tasks.join_all().await.into_iter().sum();
    let rate = total as f64 / began.elapsed().as_secs_f64();
    drop(send);
    writer.join().unwrap();
    let _ = std::fs::remove_dir_all(directory);
    rate
}

fn group_commits(path: &std::path::Path, jobs: &mpsc::Receiver<Job>) {
    let mut connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE session (id INTEGER PRIMARY KEY, seen INTEGER, ended INTEGER);
             CREATE TABLE token (id INTEGER PRIMARY KEY, hash BLOB, family BLOB, session INTEGER, used INTEGER, successor INTEGER, expires INTEGER);",
        )
        .unwrap();
    for session in 0..256_i64 {
        connection
            .execute("INSERT INTO session VALUES (?1, 0, NULL)", [session])
            .unwrap();
        let first = 1_000_000 * (session + 1);
        connection
            .execute(
                "INSERT INTO token VALUES (?1, zeroblob(32), zeroblob(16), ?2, NULL, NULL, 0)",
                [first, session],
            )
            .unwrap();
    }
    let mut group = Vec::with_capacity(256);
    while let Ok(first) = jobs.recv() {
        group.push(first);
        group.extend(jobs.try_iter().take(255));
        let transaction = connection.transaction().unwrap();
        for job in &group {
            let mut statement = transaction
                .prepare_cached("SELECT t.hash, t.used, s.ended FROM token t JOIN session s ON s.id = t.session WHERE t.id = ?1")
                .unwrap();
            let _: Vec<u8> = statement.query_row([job.token], |row| row.get(0)).unwrap();
            let mut statement = transaction
                .prepare_cached("UPDATE session SET seen = ?2 WHERE id = ?1 AND ended IS NULL")
                .unwrap();
            assert_eq!(statement.execute([job.session, job.token]).unwrap(), 1);
            let mut statement = transaction
                .prepare_cached(
                    "UPDATE token SET used = ?2, successor = ?3 WHERE id = ?1 AND used IS NULL",
                )
                .unwrap();
            assert_eq!(statement.execute([job.token, 1, job.token + 1]).unwrap(), 1);
            let mut statement = transaction
                .prepare_cached("INSERT INTO token VALUES (?1, ?2, ?3, ?4, NULL, NULL, 0)")
                .unwrap();
            statement
                .execute(params![job.token + 1, [7_u8; 32], [7_u8; 16], job.session])
                .unwrap();
        }
        transaction.commit().unwrap();
        for job in group.drain(..) {
            let _ = job.done.send(());
        }
    }
}
