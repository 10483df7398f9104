//! What a commit does, alone and among others.

use crate::bed::{Dir, commit, events, insert, number, raise, verified};
use quivive_delivery::{CommitError, Committed, Fault, Passing, Transaction, Value, Write};
use quivive_store::Executor;
use quivive_store_sqlite::Sqlite;
use uuid::Uuid;

type Answer = Result<Committed, CommitError>;

/// Submits all before it waits for any, so that most of them share a group.
async fn together(store: &Sqlite, transactions: Vec<Transaction>) -> Vec<Answer> {
    let submitted: Vec<_> = transactions.into_iter().map(|t| store.apply(t)).collect();
    let mut answers = Vec::new();
    for answer in submitted {
        answers.push(answer.await);
    }
    answers
}

fn internal(answer: &Answer) -> &str {
    match answer {
        Err(CommitError::Fault(Fault::Internal(text))) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_commit_of_a_group_gets_its_positions() {
    let dir = Dir::new();
    let store = dir.open();
    let answers = together(&store, (0..600).map(|i| events(i % 3)).collect()).await;
    let mut expected = 0;
    for (i, answer) in (0..600).zip(&answers) {
        let records = i % 3;
        // Without a record: the head as this commit found it.
        let first = expected + u64::from(records > 0);
        let given = answer.as_ref().unwrap().first_position;
        assert_eq!(given, Some(first), "commit {i}");
        expected += records;
    }
    assert_eq!(store.head().borrow().position, 600);
    assert_eq!(verified(&store).await, 600);
}

#[tokio::test]
async fn the_newest_events_are_in_memory_and_no_more_than_that() {
    let dir = Dir::new();
    let store = dir.open();
    assert!(store.fresh(0, 10).is_none(), "the log is the database's");
    store.apply(events(3)).await.unwrap();
    let positions = |after, limit| -> Option<Vec<u64>> {
        let events = store.fresh(after, limit)?;
        Some(events.iter().map(|event| event.position).collect())
    };
    assert_eq!(positions(0, 2), Some(vec![1, 2]));
    assert_eq!(positions(2, 10), Some(vec![3]));
    assert_eq!(positions(3, 10), Some(Vec::new()));
    together(&store, (0..500).map(|_| events(10)).collect()).await;
    assert_eq!(verified(&store).await, 5_003);
    assert_eq!(positions(0, 10), None);
    assert_eq!(positions(5_000, 10), Some(vec![5_001, 5_002, 5_003]));
    drop(store);
    assert!(dir.open().fresh(5_003, 10).is_none());
}

#[tokio::test]
async fn a_missed_guard_undoes_its_commit_alone() {
    let dir = Dir::new();
    let store = dir.open();
    store.apply(commit(vec![insert(0)], 0)).await.unwrap();
    let transactions = (1..=300).map(|i| {
        // Every third raises a version that is not there, after a write and before the events.
        let from = if i % 3 == 0 { 1_000 } else { i - i / 3 };
        commit(vec![insert(i), raise(0, from)], 2)
    });
    let answers = together(&store, transactions.collect()).await;
    for (i, answer) in (1..=300).zip(&answers) {
        match answer {
            Ok(_) => assert_ne!(i % 3, 0, "commit {i}"),
            Err(CommitError::Missed(1)) => assert_eq!(i % 3, 0, "commit {i}"),
            Err(other) => panic!("commit {i}: {other:?}"),
        }
    }
    assert_eq!(number(&store, "SELECT count(*) FROM account").await, 201);
    assert_eq!(verified(&store).await, 400);
    assert_eq!(store.fresh(0, 1_000).unwrap().len(), 400);
}

#[tokio::test]
async fn commits_are_applied_in_the_order_of_their_submission() {
    let dir = Dir::new();
    let store = dir.open();
    store.apply(commit(vec![insert(0)], 0)).await.unwrap();
    let transactions = (1..=1_000).map(|i| commit(vec![raise(0, i)], 0));
    let answers = together(&store, transactions.collect()).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(number(&store, "SELECT version FROM account").await, 1_001);
}

#[tokio::test]
async fn a_constraint_is_a_guard_and_a_mistake_is_a_fault() {
    let dir = Dir::new();
    let store = dir.open();
    store.apply(commit(vec![insert(0)], 0)).await.unwrap();
    let write = |sql| commit(vec![insert(1), Write::one(sql, Vec::new())], 1);
    let answers = together(
        &store,
        vec![
            write("INSERT INTO account (id, name, version) VALUES (0, 'other', 1)"),
            write("INSERT INTO account (id, name, version) VALUES (2, 'name 0', 1)"),
            write("INSERT INTO session (id, account) VALUES (1, 99)"),
            write("UPDATE account SET version = 0 WHERE id = 0"),
            write("INSERT INTO account (id, name, version) VALUES (3, NULL, 1)"),
            write("INSERT INTO account (id, name, version) VALUES (3, 'x', 'one')"),
            write("INSERT INTO nowhere VALUES (1)"),
            write("SELECT 1"),
            write("UPDATE account SET version = 2 WHERE id = 0 RETURNING id"),
            write("UPDATE account SET version = 2 WHERE id = 0; DELETE FROM account"),
            commit(vec![insert(1)], 1),
        ],
    )
    .await;
    for guarded in &answers[..4] {
        assert!(
            matches!(guarded, Err(CommitError::Missed(1))),
            "{guarded:?}"
        );
    }
    assert!(internal(&answers[4]).contains("NOT NULL"));
    assert!(internal(&answers[5]).contains("cannot store TEXT value"));
    assert!(internal(&answers[6]).contains("no such table: nowhere"));
    assert!(internal(&answers[7]).contains("only reads: SELECT 1"));
    assert!(internal(&answers[8]).contains("RETURNING"));
    assert!(internal(&answers[9]).contains("DELETE FROM account"));
    assert_eq!(answers[10].as_ref().unwrap().first_position, Some(1));
    assert_eq!(number(&store, "SELECT count(*) FROM account").await, 2);
    assert_eq!(verified(&store).await, 1);
}

#[tokio::test]
async fn parameters_must_fit_the_statement() {
    let dir = Dir::new();
    let store = dir.open();
    let short = Write::one(crate::bed::INSERT, vec![Value::Int(1)]);
    let answer = store.apply(commit(vec![short], 0)).await;
    let text = "it takes 2 parameters and was given 1: INSERT INTO account";
    assert!(internal(&answer).starts_with(text), "{answer:?}");

    let sql = "SELECT id FROM account WHERE version = $2 AND id = $1";
    let Err(Fault::Internal(text)) = store.query(sql, vec![Value::Int(1)]).await else {
        panic!("it was answered");
    };
    assert_eq!(
        text,
        format!("it takes 2 parameters and was given 1: {sql}")
    );
}

#[tokio::test]
async fn any_number_of_rows_is_right_where_the_commit_says_so() {
    let dir = Dir::new();
    let store = dir.open();
    let all = "UPDATE account SET version = version + 1";
    let any = || Write::any(all, Vec::new());
    store.apply(commit(vec![any()], 0)).await.unwrap();
    let three = Write::rows(all, Vec::new(), 3);
    let writes = vec![insert(1), insert(2), insert(3), three, any()];
    store.apply(commit(writes, 0)).await.unwrap();
    assert_eq!(number(&store, "SELECT sum(version) FROM account").await, 9);
}

#[tokio::test]
async fn a_read_sees_what_was_acknowledged_before() {
    let dir = Dir::new();
    let store = dir.open();
    for i in 1..=50 {
        store.apply(commit(vec![insert(i)], 1)).await.unwrap();
        assert_eq!(number(&store, "SELECT max(id) FROM account").await, i);
        assert_eq!(store.head().borrow().position, i.cast_unsigned());
    }
}

#[tokio::test]
async fn a_full_queue_refuses_and_does_nothing() {
    let dir = Dir::new();
    let mut options = dir.options();
    options.queue = 0;
    let store = Sqlite::open(options, crate::bed::MIGRATIONS).unwrap();
    let answer = store.apply(commit(vec![insert(1)], 1)).await;
    let busy = matches!(answer, Err(CommitError::Fault(Fault::Busy { .. })));
    assert!(busy, "{answer:?}");
    assert_eq!(number(&store, "SELECT count(*) FROM account").await, 0);
}

#[tokio::test]
async fn a_query_cannot_write_and_names_what_it_cannot_return() {
    let dir = Dir::new();
    let store = dir.open();
    for (sql, said) in [
        ("DELETE FROM account", "a query writes"),
        ("SELECT 1.5", "column 0 is a float"),
        ("SELECT * FROM nowhere", "no such table"),
        ("SELECT \"no column\"", "no such column"),
        ("SELECT CAST(x'ff' AS TEXT)", "not UTF-8"),
    ] {
        let Err(Fault::Internal(text)) = store.query(sql, Vec::new()).await else {
            panic!("{sql} was answered");
        };
        assert!(text.contains(said) && text.contains(sql), "{text}");
    }
    let nothing = store.query("SELECT id FROM account", Vec::new()).await;
    assert_eq!(nothing.unwrap().len(), 0);
}

fn come(id: u64) -> Write {
    let id = Uuid::from_u64_pair(9, id);
    let params = vec![id.into(), Value::Int(1)];
    Write::one(
        "INSERT INTO guest (id, stays) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        params,
    )
    .passing(Passing::Comes(id))
}

fn stay(id: u64) -> Write {
    let id = Uuid::from_u64_pair(9, id);
    Write::one(
        "UPDATE guest SET stays = stays + 1 WHERE id = $1",
        vec![id.into()],
    )
    .passing(Passing::Stays(id))
}

fn go(id: u64) -> Write {
    let id = Uuid::from_u64_pair(9, id);
    Write::one("DELETE FROM guest WHERE id = $1", vec![id.into()]).passing(Passing::Goes(id))
}

/// Which commits of the group below miss.
#[derive(Clone, Copy, PartialEq)]
enum Misses {
    None,
    /// Before they have changed anything.
    Early,
    /// After, so that the group runs again.
    Late,
}

/// Guests that come, stay and go, each write alone in a commit; with what each commit must answer. Every fifth does not go.
fn guests(first: u64, misses: Misses) -> Vec<(Transaction, Option<usize>)> {
    let mut commits = Vec::new();
    for i in 0..60 {
        let guest = first + i;
        commits.push((commit(vec![come(guest)], 1), None));
        let stays = i % 3 == 1;
        if stays {
            commits.push((commit(vec![stay(guest)], 1), None));
        }
        if i % 7 == 3 && (misses == Misses::Late || misses == Misses::Early && !stays) {
            // Goes, and comes back when the second write misses.
            commits.push((commit(vec![go(guest), raise(0, 1_000)], 1), Some(1)));
            commits.push((commit(vec![insert(0), go(guest)], 1), Some(0)));
        }
        if i % 5 != 0 {
            commits.push((commit(vec![go(guest)], 1), None));
            commits.push((commit(vec![go(guest)], 1), Some(0)));
        }
    }
    commits
}

#[tokio::test]
async fn a_row_that_passes_is_there_for_its_guards_and_gone_in_the_end() {
    let dir = Dir::new();
    let store = dir.open();
    store.apply(commit(vec![insert(0)], 0)).await.unwrap();
    for (round, misses) in (1..).zip([Misses::None, Misses::Early, Misses::Late]) {
        let (transactions, expected): (Vec<_>, Vec<_>) =
            guests(round * 1_000, misses).into_iter().unzip();
        let answers = together(&store, transactions).await;
        for (i, (answer, missed)) in answers.iter().zip(expected).enumerate() {
            let found = match answer {
                Ok(_) => None,
                Err(CommitError::Missed(at)) => Some(*at),
                Err(other) => panic!("round {round}, commit {i}: {other:?}"),
            };
            assert_eq!(found, missed, "round {round}, commit {i}");
        }
        let left = number(&store, "SELECT count(*) FROM guest").await;
        let stayed = number(&store, "SELECT count(*) FROM guest WHERE stays = 2").await;
        assert_eq!(
            (left, stayed),
            (12 * round.cast_signed(), 4 * round.cast_signed())
        );
    }
    verified(&store).await;
}

#[tokio::test]
async fn an_id_that_is_not_fresh_misses_alone() {
    let dir = Dir::new();
    let store = dir.open();
    store.apply(commit(vec![come(1)], 0)).await.unwrap();
    let answers = together(
        &store,
        vec![
            commit(vec![come(2)], 1),
            commit(vec![come(1)], 1),
            commit(vec![come(3)], 1),
        ],
    )
    .await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert!(
        matches!(answers[1], Err(CommitError::Missed(0))),
        "{answers:?}"
    );
    assert_eq!(number(&store, "SELECT count(*) FROM guest").await, 3);
    assert_eq!(verified(&store).await, 2);
}
