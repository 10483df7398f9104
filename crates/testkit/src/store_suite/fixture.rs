//! What the checks share: a database, ids in order, times, and the two answers a commit can have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quivive_app::ports::{Accounts as _, NewRefreshToken, Sessions as _};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{BoxFuture, CommitError, Committed, Log as _, Time, Transaction, Write};
use quivive_domain::session::Session;
use quivive_domain::{Account, Address, FamilyId, PasswordHash, SessionId, TokenId, UserId};
use quivive_store::{Database, Executor};
use uuid::Uuid;

type Submitted = BoxFuture<'static, Result<Committed, CommitError>>;

pub(super) struct Fixture {
    pub db: Database,
    tasks: Tasks,
    ids: AtomicU64,
}

impl Fixture {
    pub(super) fn new(executor: Arc<dyn Executor>, tasks: Tasks) -> Self {
        Self {
            db: Database::new(executor),
            tasks,
            ids: AtomicU64::new(1),
        }
    }

    /// A fresh id, above all before it.
    pub(super) fn id(&self) -> Uuid {
        let next = self.ids.fetch_add(1, Ordering::Relaxed);
        Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(next))
    }

    /// Submitted at once; the answer may be awaited later.
    pub(super) fn commit(&self, writes: Vec<Write>) -> Submitted {
        self.db.commit(transaction(writes))
    }

    /// The commit succeeds.
    pub(super) async fn must(&self, writes: impl IntoIterator<Item = Write>) {
        let done = self.commit(writes.into_iter().collect()).await;
        assert!(done.is_ok(), "{done:?}");
    }

    /// The commit of this one write finds the state changed.
    pub(super) async fn misses(&self, write: Write) {
        let shown = format!("{write:?}");
        let done = self.commit(vec![write]).await;
        assert!(
            matches!(done, Err(CommitError::Missed(0))),
            "{done:?} for {shown}"
        );
    }

    /// Commits each write alone, from as many tasks, and says how many were done; the others missed.
    pub(super) async fn race(&self, writes: Vec<Write>) -> usize {
        let submit = |write: Write| {
            let db = self.db.clone();
            self.tasks
                .spawn(async move { db.commit(transaction(vec![write])).await })
        };
        let racing: Vec<_> = writes.into_iter().map(submit).collect();
        let mut done = 0;
        for commit in racing {
            match commit.await.expect("a commit does not panic") {
                Ok(_) => done += 1,
                Err(CommitError::Missed(0)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        done
    }

    /// An account of that name, stored.
    pub(super) async fn account(&self, name: &str) -> Account {
        let account = new_account(UserId(self.id()), name);
        self.must(self.db.insert(&account)).await;
        account
    }

    /// The account as it is now.
    pub(super) async fn reread(&self, account: &Account) -> Account {
        let found = self.db.by_id(account.id).await.expect("a read");
        found.expect("the account is stored")
    }

    /// An open session of that account, stored.
    pub(super) async fn session(&self, account: &Account, created_s: i64) -> Session {
        let session = Session {
            id: SessionId(self.id()),
            account: account.id,
            device: None,
            created_at: at(created_s),
            last_seen_at: at(created_s),
            idle_until: at(created_s + 100),
            expires_at: at(created_s + 1000),
            ended_at: None,
        };
        self.must([self.db.insert_session(&session, None, u32::MAX)])
            .await;
        session
    }

    /// An unused refresh token of that session, stored.
    pub(super) async fn token(&self, session: &Session, family: FamilyId) -> NewRefreshToken {
        let id = TokenId(self.id());
        let token = NewRefreshToken {
            id,
            hash: hash(&id.0),
            family,
            session: session.id,
            generation: 3,
            user_version: 4,
            global_version: 5,
            proved_at: at(7),
            expires_at: at(5000),
        };
        self.must([self.db.insert_refresh_token(&token, at(1))])
            .await;
        token
    }
}

fn transaction(writes: Vec<Write>) -> Transaction {
    Transaction {
        writes,
        records: Vec::new(),
    }
}

pub(super) fn new_account(id: UserId, name: &str) -> Account {
    let email = Address::parse(&format!("{name}@example.org")).expect("an address");
    Account::new(id, email, password("first"), at(0))
}

pub(super) fn password(name: &str) -> PasswordHash {
    PasswordHash::new(format!("$argon2id$v=19$m=19456,t=2,p=1${name}$hash"))
}

/// So many seconds after the beginning of an hour.
pub(super) fn at(seconds: i64) -> Time {
    Time::from_second(1_800_000_000 + seconds).expect("a time")
}

/// One microsecond, the smallest step of time that is stored.
pub(super) const TICK: Duration = Duration::from_micros(1);

/// Any 32 bytes that go with an id.
pub(super) fn hash(id: &Uuid) -> [u8; 32] {
    let mut bytes = [0xa5; 32];
    bytes[..16].copy_from_slice(id.as_bytes());
    bytes
}
