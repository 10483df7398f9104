//! What was revoked is refused: the server answers at a steady rate while one thing after another happens that takes tokens
//! away. Counted from the answer to whoever made it happen, no access token gets in for longer than the bound, and no refresh
//! token ever works again.

mod causes;
mod load;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{PASSWORD, Server};
use causes::{Cause, Person};
use load::{Load, Token};

/// Within which a revocation reaches access tokens.
const BOUND: Duration = Duration::from_secs(1);

/// How long a token is asked about after it was revoked: longer than the bound, or nobody would see it exceeded.
const WATCHED: Duration = Duration::from_millis(1_500);

/// Between one cause and the next.
const PAUSE: Duration = Duration::from_millis(100);

/// People who are signed in and do nothing, whom only the rotation of everybody's tokens means.
const BYSTANDERS: usize = 32;

/// Before it is revoked a token gets in so often, and after it is refused so often: else there was nothing to see.
const SEEN: u64 = 5;

/// How long tokens that were revoked for one cause got in, each from the answer on.
#[derive(Debug, Default)]
struct Lags {
    times: usize,
    each: Vec<Duration>,
}

/// What was seen.
#[derive(Debug)]
pub struct Figures {
    lags: BTreeMap<Cause, Lags>,
    /// Requests a second that were answered.
    pub rate: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        write!(
            f,
            "{:.0} requests/s; after the answer the last one that was accepted began within:",
            self.rate
        )?;
        for (cause, lags) in &self.lags {
            let worst = lags.each.iter().max().copied().unwrap_or_default();
            let mean = lags.each.iter().sum::<Duration>()
                / u32::try_from(lags.each.len()).unwrap_or(1).max(1);
            write!(
                f,
                "\n  {cause}: {} times, {} access tokens, worst {:.1} ms, mean {:.1} ms; no refresh token worked",
                lags.times,
                lags.each.len(),
                ms(worst),
                ms(mean)
            )?;
        }
        Ok(())
    }
}

/// Every cause `rounds` times, at so many requests a second. Panics when a revoked token gets in after the bound, when its
/// refresh token works, or when somebody is refused of whom nothing was said.
pub async fn run(server: &Server, rounds: usize, rate: u32) -> Figures {
    // What is issued in the second of the start is looked up; this is about memory.
    tokio::time::sleep(BOUND).await;
    let mut field = Field::start(server, rate).await;
    for round in 0..rounds {
        field.round(round).await;
    }
    Figures {
        lags: field.lags,
        rate: field.load.stop().await,
    }
}

/// A token that was revoked, and when that was answered.
struct Revoked {
    cause: Cause,
    answered: Instant,
    access: Arc<Token>,
    refresh: Value,
}

struct Field<'a> {
    server: &'a Server,
    load: Load,
    bystanders: Vec<(Arc<Token>, Value)>,
    lags: BTreeMap<Cause, Lags>,
}

impl<'a> Field<'a> {
    async fn start(server: &'a Server, rate: u32) -> Self {
        for i in 0..BYSTANDERS {
            server.register(&bystander(i)).await;
        }
        let bystanders = sign_in(server).await;
        Self {
            server,
            load: Load::start(server.address, rate, accesses(&bystanders)),
            bystanders,
            lags: BTreeMap::new(),
        }
    }

    /// Each cause once, and that of everybody at the end.
    async fn round(&mut self, round: usize) {
        let admin = self.server.administrator().await;
        let mut people = Vec::new();
        for cause in Cause::ALL {
            people.push(Person::new(self.server, cause, round, &admin).await);
        }
        let mut revoked = Vec::new();
        for person in &people {
            let access = Token::of(&person.tokens, &person.email);
            self.load.watch(&access);
            access.accepted(SEEN).await;
            let everybody = person.cause == Cause::Breach;
            if everybody {
                self.bystanders_got_in().await;
            }
            person.cause.happen(self.server, person, &admin).await;
            let answered = Instant::now();
            let first = revoked.len();
            let taken = |access: &Arc<Token>, tokens: &Value| Revoked {
                cause: person.cause,
                answered,
                access: Arc::clone(access),
                refresh: tokens["refresh_token"].clone(),
            };
            revoked.push(taken(&access, &person.tokens));
            if everybody {
                for (access, tokens) in &self.bystanders {
                    self.load.watch(access);
                    revoked.push(taken(access, tokens));
                }
            }
            self.lags.entry(person.cause).or_default().times += 1;
            self.refused(&revoked[first..]).await;
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(WATCHED).await;
        self.refused(&revoked).await;
        self.load.unwatch();
        self.count(&revoked);
        self.bystanders = sign_in(self.server).await;
        self.load.steady(accesses(&self.bystanders));
    }

    /// Each of them, and nobody was refused.
    async fn bystanders_got_in(&self) {
        for (access, _) in &self.bystanders {
            access.accepted(SEEN).await;
            let refused = access.seen().refused;
            assert_eq!(refused, 0, "{}: nothing was said of them", access.whose);
        }
    }

    /// None of their refresh tokens works.
    async fn refused(&self, revoked: &[Revoked]) {
        let mut client = self.server.client();
        for it in revoked {
            let body = json!({"refresh_token": it.refresh});
            let reply = client.api("POST", "/tokens", Some(body), None).await;
            let reply = reply.expect("an answer");
            let (cause, whose) = (it.cause, &it.access.whose);
            assert_eq!(
                reply.status, 401,
                "{cause}: the refresh token of {whose} works"
            );
        }
    }

    fn count(&mut self, revoked: &[Revoked]) {
        for it in revoked {
            let seen = it.access.seen();
            let (cause, whose) = (it.cause, &it.access.whose);
            let last = seen.last_accepted.expect("it got in before");
            let lag = last.saturating_duration_since(it.answered);
            assert!(
                lag <= BOUND,
                "{cause}: {whose} got in {lag:?} after the answer"
            );
            assert!(
                seen.refused >= SEEN,
                "{cause}: {whose} was refused {} times",
                seen.refused
            );
            self.lags.entry(cause).or_default().each.push(lag);
        }
    }
}

fn bystander(i: usize) -> String {
    format!("bystander-{i}@example.org")
}

/// Each bystander anew.
async fn sign_in(server: &Server) -> Vec<(Arc<Token>, Value)> {
    let mut bystanders = Vec::new();
    for email in (0..BYSTANDERS).map(bystander) {
        let tokens = server.login(&email, PASSWORD).await;
        bystanders.push((Token::of(&tokens, &email), tokens));
    }
    bystanders
}

fn accesses(bystanders: &[(Arc<Token>, Value)]) -> Vec<Arc<Token>> {
    let accesses = bystanders.iter().map(|(access, _)| access);
    accesses.cloned().collect()
}
