//! The library inside another program: what has a say in commits, and account provisioning over a real database.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quivive::app::ports::{Contact, Crm, CrmError, Letter, MailError, Mailer};
use quivive::app::subscribers::statistics;
use quivive::app::workflows::accounts::register_user::RegisterUser;
use quivive::app::workflows::accounts::verify_email::{self, VerifyEmail};
use quivive::app::workflows::sessions::log_in::{self, LogIn};
use quivive::app::{Failure, Request};
use quivive::delivery::events::{StepDone, StepUndone, SubscriptionReplayed, UndoRequested};
use quivive::delivery::subscriber::Effects;
use quivive::delivery::{Code, Value, Write};
use quivive::domain::one_time::Presented;
use quivive::domain::{Password, UserId};
use quivive::{BoxFuture, Builder, Server};
use quivive_store::Executor as _;
use quivive_store_sqlite::Sqlite;

const PASSWORD: &str = "correct zebra lamp orbit";

/// A data directory that goes with its test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("quivive-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    /// The one number that a statement finds.
    async fn number(&self, sql: &'static str) -> i64 {
        let database = Sqlite::open_read_only(&self.0.join("quivive.db")).unwrap();
        let rows = database.query(sql, Vec::new()).await.unwrap();
        database.close();
        match rows[0][..] {
            [Value::Int(number)] => number,
            ref other => panic!("{other:?}"),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Keeps the letters.
#[derive(Default)]
struct Post(Mutex<Vec<Letter>>);

impl Mailer for Post {
    fn send(&self, letter: Letter, _: &str) -> BoxFuture<'_, Result<String, MailError>> {
        self.0.lock().unwrap().push(letter);
        Box::pin(std::future::ready(Ok("kept".to_owned())))
    }
}

impl Post {
    /// The token of the newest link.
    fn token(&self) -> Option<Presented> {
        let letters = self.0.lock().unwrap();
        let (_, token) = letters.last()?.text.split_once("token=")?;
        let end = token.find(|c: char| c.is_whitespace() || c == '&');
        Presented::parse(&token[..end.unwrap_or(token.len())])
    }
}

/// Customer relations that keep what they are told, or take nobody.
#[derive(Default)]
struct Relations {
    takes_nobody: bool,
    told: Mutex<Vec<String>>,
}

impl Crm for Relations {
    fn add<'a>(&'a self, new: &'a Contact, _: &'a str) -> BoxFuture<'a, Result<(), CrmError>> {
        self.told
            .lock()
            .unwrap()
            .push(format!("+{}", new.email.typed()));
        let answer = if self.takes_nobody {
            Err(CrmError::Permanent("no more contacts".to_owned()))
        } else {
            Ok(())
        };
        Box::pin(std::future::ready(answer))
    }

    fn remove<'a>(&'a self, user: UserId, _: &'a str) -> BoxFuture<'a, Result<(), CrmError>> {
        self.told.lock().unwrap().push(format!("-{user}"));
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Registers Ada and confirms her address; who she is, unless that was vetoed.
async fn ada(server: &Server, post: &Post) -> Result<UserId, Code> {
    let register = RegisterUser {
        email: "ada@example.org".to_owned(),
        password: Password::new(PASSWORD.to_owned()).unwrap(),
        display_name: None,
        locale: None,
    };
    let registered = server.kernel().execute(register, Request::system()).await;
    assert!(registered.is_ok());
    server.running().drain().await;
    let verify = VerifyEmail {
        token: post.token(),
    };
    match server.kernel().execute(verify, Request::system()).await {
        Ok(reply) => Ok(reply.user_id),
        Err(Failure::Vetoed(veto)) => Err(veto.reason),
        Err(failure) => panic!("{failure}"),
    }
}

/// How many events of a type there were since the start.
async fn count<E: quivive::delivery::Event>(server: &Server) -> usize {
    server.running().captured::<E>().await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_adds_is_in_the_database_exactly_when_the_outcome_is() {
    for vetoed in [false, true] {
        let (directory, post) = (Directory::new("in-commit"), Arc::new(Post::default()));
        let note = |_: &verify_email::Succeeded, effects: &mut Effects| {
            let sql = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
            let note = vec!["noted".into(), "in the commit".into()];
            effects.writes.push(Write::one(sql, note));
            Ok(())
        };
        let server = Builder::new()
            .sqlite(&directory.0)
            .mailer(post.clone())
            .in_commit("note", note)
            .in_commit("gate", move |_: &verify_email::Succeeded, _| {
                if vetoed {
                    Err(Code::new("not_today"))
                } else {
                    Ok(())
                }
            })
            .build()
            .await
            .unwrap();
        let verified = ada(&server, &post).await;
        assert_eq!(verified.err(), vetoed.then(|| Code::new("not_today")));
        server.shut_down().await;
        let notes = directory
            .number("SELECT COUNT(*) FROM meta WHERE name = 'noted'")
            .await;
        let verified = directory
            .number("SELECT COUNT(*) FROM account WHERE verified_at IS NOT NULL")
            .await;
        assert_eq!((notes, verified), if vetoed { (0, 0) } else { (1, 1) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_handlers_in_the_commit_cannot_share_a_name() {
    let directory = Directory::new("in-commit-twice");
    let nothing = |_: &verify_email::Succeeded, _: &mut Effects| Ok(());
    let built = Builder::new()
        .sqlite(&directory.0)
        .in_commit("same", nothing)
        .in_commit("same", nothing)
        .build()
        .await;
    let error = built.err().expect("refused").to_string();
    assert!(error.contains("\"same\""), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_provisioned_or_what_was_done_is_undone() {
    for takes_nobody in [false, true] {
        let (directory, post) = (Directory::new("provisioning"), Arc::new(Post::default()));
        let crm = Arc::new(Relations {
            takes_nobody,
            ..Relations::default()
        });
        let builder = || Builder::new().sqlite(&directory.0).mailer(post.clone());
        let server = builder().crm(crm.clone()).build().await.unwrap();
        let user = ada(&server, &post).await.unwrap();
        server.running().drain().await;
        let told = crm.told.lock().unwrap().clone();
        let steps = [
            count::<StepDone>(&server).await,
            count::<UndoRequested>(&server).await,
            count::<StepUndone>(&server).await,
        ];
        server.shut_down().await;
        let profiles = directory.number("SELECT COUNT(*) FROM profile").await;
        if takes_nobody {
            assert_eq!(told, ["+ada@example.org".to_owned(), format!("-{user}")]);
            assert_eq!((steps, profiles), ([1, 1, 2], 0));
        } else {
            assert_eq!(told, ["+ada@example.org"]);
            assert_eq!((steps, profiles), ([2, 0, 0], 1));
        }
        assert_eq!(directory.number("SELECT COUNT(*) FROM process").await, 0);

        // Without customer relations it is as if it had never been.
        let server = builder().build().await.expect("it starts without");
        assert!(
            tokio::time::timeout(Duration::from_mins(1), server.running().drain())
                .await
                .is_ok()
        );
        server.shut_down().await;
    }
}

/// Signs Ada in, with the right password or a wrong one.
async fn sign_in(server: &Server, right: bool) {
    let text = if right {
        PASSWORD
    } else {
        "another zebra lamp orbit"
    };
    let command = LogIn {
        email: "ada@example.org".to_owned(),
        password: Password::new(text.to_owned()).unwrap(),
        device_token: None,
    };
    let answer = server.kernel().execute(command, Request::system()).await;
    assert!(answer.is_ok() || !right || matches!(answer, Err(Failure::Refused(_))));
}

/// Sign-ins as the statistics have them, whatever their day.
async fn counted(server: &Server) -> BTreeMap<(&'static str, String), u64> {
    let statistics = &server.kernel().families().statistics;
    let all = statistics.sign_ins(statistics::NAME, 0, i64::MAX).await;
    let mut sums = BTreeMap::new();
    for count in all.unwrap() {
        *sums.entry((count.what.word(), count.reason)).or_default() += count.count;
    }
    sums
}

/// The same, counted over the log.
async fn in_the_log(server: &Server) -> BTreeMap<(&'static str, String), u64> {
    let mut sums = BTreeMap::new();
    let running = server.running();
    let mut add = |word, reason: String, count: usize| {
        if count > 0 {
            *sums.entry((word, reason)).or_default() += count as u64;
        }
    };
    let attempts = running.captured::<log_in::Attempted>().await.unwrap();
    add("attempted", String::new(), attempts.len());
    let successes = running.captured::<log_in::Succeeded>().await.unwrap();
    add("succeeded", String::new(), successes.len());
    for failed in running.captured::<log_in::Failed>().await.unwrap() {
        add("failed", failed.reason.as_str().to_owned(), 1);
    }
    sums
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_rebuilt_to_the_same_numbers_while_people_sign_in() {
    let (directory, post) = (Directory::new("rebuild"), Arc::new(Post::default()));
    let builder = || Builder::new().sqlite(&directory.0).mailer(post.clone());
    let server = builder().build().await.unwrap();
    ada(&server, &post).await.unwrap();
    for right in [true, false, true, false] {
        sign_in(&server, right).await;
    }
    server.running().drain().await;
    let before = counted(&server).await;
    assert_eq!(before, in_the_log(&server).await);
    assert_eq!(before[&("attempted", String::new())], 4);

    let by = UserId(uuid::Uuid::nil()).0;
    let replay = server
        .running()
        .replay(statistics::NAME, None, None, by, Vec::new());
    assert_eq!(replay.await.unwrap().generation, 2);
    for _ in 0..3 {
        sign_in(&server, true).await;
    }
    let own = || {
        let status = server.running().status();
        status
            .into_iter()
            .find(|one| &*one.name == statistics::NAME)
    };
    while own().is_none_or(|own| own.generation != 2) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.running().drain().await;
    let after = counted(&server).await;
    assert_eq!(after, in_the_log(&server).await);
    assert_eq!(after[&("attempted", String::new())], 7);
    assert_eq!(count::<SubscriptionReplayed>(&server).await, 1);
    server.shut_down().await;
    let generations = directory
        .number(
            "SELECT COUNT(*) FROM subscription WHERE name LIKE 'statistics%' AND generation = 2",
        )
        .await;
    assert_eq!(generations, 1);

    // It is the generation of the next start, too, and what is left of the one before goes.
    let server = builder().build().await.unwrap();
    sign_in(&server, true).await;
    server.running().drain().await;
    assert_eq!(counted(&server).await[&("attempted", String::new())], 8);
    let families = server.kernel().families().clone();
    while families.statistics.has_others(2).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.shut_down().await;
}
