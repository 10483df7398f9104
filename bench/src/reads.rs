//! How long reads take beside a storm of sign-ins, whose hashes take all cores there are: 99 of 100 `/me` at a steady rate,
//! against the same without a storm.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quivive_testkit::client::Call;
use quivive_testkit::{Client, Options, PASSWORD, Server};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::{LOAD, Measure, logins};

const READERS: usize = 4;
/// Between two reads of each.
const PACE: Duration = Duration::from_millis(5);
/// Sign-ins at once, each of an account of its own.
const STORM: usize = 16;
/// How often both are measured, in turn.
const TURNS: usize = 3;

pub(crate) async fn measure(binary: &Path) -> Measure {
    let options = Options::unlimited().env("QUIVIVE__LOG__LEVEL", "warn");
    let mut server = Server::start(binary, options).await;
    logins::prepare(&server, STORM + READERS).await;
    let mut tokens = Vec::new();
    for i in STORM..STORM + READERS {
        let answer = server.login(&logins::email(i), PASSWORD).await;
        tokens.push(answer["access_token"].as_str().unwrap().to_owned());
    }
    let (mut quiet, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        quiet.extend(reads(&server, &tokens).await);
        let storm = Storm::begin(&server);
        beside.extend(reads(&server, &tokens).await);
        storm.end().await;
    }
    server.stop().await;
    let [quiet, beside] = [quiet, beside].map(p99_ms);
    Measure {
        name: "reads-beside-logins",
        value: beside,
        unit: "ms",
        limit: quiet,
        ratio: beside / quiet,
    }
}

fn p99_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() * 99 / 100].as_secs_f64() * 1_000.0
}

/// How long each took.
async fn reads(server: &Server, tokens: &[String]) -> Vec<Duration> {
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for token in tokens {
        let (mut client, token) = (Client::new(server.address), token.clone());
        tasks.spawn(async move {
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut times = Vec::new();
            while began.elapsed() < LOAD {
                pace.tick().await;
                let asked = Instant::now();
                let call = Call {
                    method: "GET",
                    path: "/api/v1/me",
                    token: Some(&token),
                    ..Call::default()
                };
                client.call(&call).await.unwrap().expect(200);
                times.push(asked.elapsed());
            }
            times
        });
    }
    tasks.join_all().await.concat()
}

/// Sign-ins one after the other, of many at once.
struct Storm {
    over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Storm {
    fn begin(server: &Server) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for i in 0..STORM {
            let (mut client, over) = (Client::new(server.address), Arc::clone(&over));
            tasks.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let body = json!({"email": logins::email(i), "password": PASSWORD});
                    let reply = client.api("POST", "/sessions", Some(body), None).await;
                    reply.unwrap().expect(200);
                }
            });
        }
        Self { over, tasks }
    }

    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
    }
}
