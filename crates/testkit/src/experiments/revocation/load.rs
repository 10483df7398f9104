//! Requests at a steady rate, each with the next access token of those that are in use, and when each was last accepted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::Client;

/// Requests at once, each on a connection of its own.
const CONNECTIONS: u32 = 16;

/// Of so many requests all but one are with a token that is watched, if there is one.
const WATCHED: usize = 4;

/// Longer than it takes until a token had its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// An access token, and what became of the requests with it.
pub(super) struct Token {
    pub(super) whose: String,
    text: String,
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) accepted: u64,
    pub(super) refused: u64,
    /// When the last request that was accepted had begun.
    pub(super) last_accepted: Option<Instant>,
}

impl Token {
    pub(super) fn of(tokens: &Value, whose: &str) -> Arc<Self> {
        Arc::new(Self {
            whose: whose.to_owned(),
            text: tokens["access_token"].as_str().expect("a token").to_owned(),
            seen: Mutex::default(),
        })
    }

    pub(super) fn seen(&self) -> Seen {
        *self.seen.lock().expect("nobody panicked")
    }

    /// Waits until it got in so often.
    pub(super) async fn accepted(&self, times: u64) {
        let began = Instant::now();
        while self.seen().accepted < times {
            assert!(began.elapsed() < PATIENCE, "{} does not get in", self.whose);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn answered(&self, status: u16, began: Instant) {
        let mut seen = self.seen.lock().expect("nobody panicked");
        match status {
            200 => {
                seen.accepted += 1;
                seen.last_accepted = seen.last_accepted.max(Some(began));
            }
            401 => seen.refused += 1,
            other => panic!("{}: {other}", self.whose),
        }
    }
}

/// Which tokens are in use.
#[derive(Default)]
struct InUse {
    steady: Vec<Arc<Token>>,
    watched: Vec<Arc<Token>>,
}

#[derive(Default)]
struct Turns {
    in_use: Mutex<InUse>,
    next: AtomicUsize,
    over: AtomicBool,
}

impl Turns {
    fn next(&self) -> Arc<Token> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let (round, place) = (turn / WATCHED, turn % WATCHED);
        let in_use = self.in_use.lock().expect("nobody panicked");
        let (tokens, turn) = if place == 0 || in_use.watched.is_empty() {
            (&in_use.steady, round)
        } else {
            (&in_use.watched, round * (WATCHED - 1) + place - 1)
        };
        Arc::clone(&tokens[turn % tokens.len()])
    }
}

/// The requests, until it is stopped or dropped.
pub(super) struct Load {
    turns: Arc<Turns>,
    began: Instant,
    connections: JoinSet<u64>,
}

impl Load {
    /// With these tokens to begin with, at least one.
    pub(super) fn start(address: SocketAddr, rate: u32, steady: Vec<Arc<Token>>) -> Self {
        let watched = Vec::new();
        let turns = Arc::new(Turns {
            in_use: Mutex::new(InUse { steady, watched }),
            ..Turns::default()
        });
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let pace = Duration::from_secs(1) * CONNECTIONS / rate;
            connections.spawn(ask(Client::new(address), Arc::clone(&turns), pace));
        }
        Self {
            turns,
            began: Instant::now(),
            connections,
        }
    }

    /// The tokens that get in all the time, in place of those of before.
    pub(super) fn steady(&self, tokens: Vec<Arc<Token>>) {
        let mut in_use = self.turns.in_use.lock().expect("nobody panicked");
        in_use.steady = tokens;
    }

    pub(super) fn watch(&self, token: &Arc<Token>) {
        let mut in_use = self.turns.in_use.lock().expect("nobody panicked");
        in_use.watched.push(Arc::clone(token));
    }

    pub(super) fn unwatch(&self) {
        let mut in_use = self.turns.in_use.lock().expect("nobody panicked");
        in_use.watched.clear();
    }

    /// How many requests a second were answered.
    pub(super) async fn stop(self) -> f64 {
        self.turns.over.store(true, Ordering::Relaxed);
        let answered: u64 = self.connections.join_all().await.into_iter().sum();
        answered as f64 / self.began.elapsed().as_secs_f64()
    }
}

async fn ask(mut client: Client, turns: Arc<Turns>, pace: Duration) -> u64 {
    let mut answered = 0;
    // A request that was late is made up for, so that the rate is kept.
    let mut pace = interval(pace);
    while !turns.over.load(Ordering::Relaxed) {
        pace.tick().await;
        let token = turns.next();
        let began = Instant::now();
        let reply = client.api("GET", "/me", None, Some(&token.text)).await;
        token.answered(reply.expect("an answer").status, began);
        answered += 1;
    }
    answered
}
