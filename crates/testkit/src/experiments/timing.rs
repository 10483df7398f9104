//! T09: known and unknown accounts must be told apart by nothing: not by the bytes of the answer, not by its time.
//!
//! Two classes are asked in turn, in random order, and the area under the ROC curve says how well their times tell them
//! apart: 0.5 is not at all.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{Client, PASSWORD, Reply, Server};

/// One comparison.
#[derive(Debug, Clone)]
pub struct Figure {
    pub name: &'static str,
    pub pairs: usize,
    pub auc: f64,
    /// Half the width of its 95 % confidence interval (Hanley and `McNeil` 1982).
    pub margin: f64,
}

/// The route, and the bodies of the two classes; `i` makes each call its own.
struct Question {
    name: &'static str,
    path: &'static str,
    known: fn(usize) -> Value,
    unknown: fn(usize) -> Value,
}

/// Accounts that the known class spreads over, so that limits by account are not met.
const ACCOUNTS: usize = 400;

fn member(i: usize) -> String {
    format!("member{}@example.org", i % ACCOUNTS)
}

const QUESTIONS: [Question; 3] = [
    Question {
        name: "login",
        path: "/sessions",
        known: |i| json!({"email": member(i), "password": "not the right passphrase 1"}),
        unknown: |i| json!({"email": format!("nobody{}@example.org", i % ACCOUNTS), "password": "not the right passphrase 1"}),
    },
    Question {
        name: "registration",
        path: "/users",
        known: |i| json!({"email": member(i), "password": PASSWORD}),
        unknown: |i| json!({"email": format!("newcomer{i}@example.org"), "password": PASSWORD}),
    },
    Question {
        name: "reset",
        path: "/password-reset-requests",
        known: |i| json!({"email": member(i)}),
        unknown: |i| json!({"email": format!("nobody{}@example.org", i % ACCOUNTS)}),
    },
];

/// Guesses at once in a burst: more than a path takes, so that some wait for others and the path closes under them.
const BURST: usize = 12;

/// One burst for so many pairs of single calls: it is as many calls, and needs an address of its own.
const PAIRS_A_BURST: usize = 5;

/// Asks `pairs` pairs for each route, and a fifth as many pairs of bursts at one address; the figures. Panics when two
/// answers differ in a byte.
pub async fn run(server: &Server, pairs: usize) -> Vec<Figure> {
    for i in 0..ACCOUNTS {
        let body = json!({"email": member(i), "password": PASSWORD});
        server
            .api("POST", "/users", Some(body), None)
            .await
            .expect(202);
    }
    let mut figures = Vec::new();
    for question in &QUESTIONS {
        figures.push(ask(server, question, pairs).await);
    }
    figures.push(bursts(server, pairs.div_ceil(PAIRS_A_BURST)).await);
    figures
}

/// Wrong passwords, many at once for one address that nobody has tried before: how long until all are answered.
async fn bursts(server: &Server, pairs: usize) -> Figure {
    let known = |i: usize| format!("crowded{i}@example.org");
    let unknown = |i: usize| format!("deserted{i}@example.org");
    for i in 0..pairs {
        let body = json!({"email": known(i), "password": PASSWORD});
        server
            .api("POST", "/users", Some(body), None)
            .await
            .expect(202);
    }
    let mut clients: Vec<Client> = (0..BURST).map(|_| server.client()).collect();
    let mut times = (Vec::new(), Vec::new());
    let mut coin = Coin::new();
    let mut first: Option<Reply> = None;
    for i in 0..pairs {
        let known_first = coin.toss();
        for turn in [known_first, !known_first] {
            let email = if turn { known(i) } else { unknown(i) };
            let body = json!({"email": email, "password": "not the right passphrase 1"});
            let began = Instant::now();
            let calls = clients
                .iter_mut()
                .map(|client| timed(client, "/sessions", body.clone()));
            for (_, reply) in join_all(calls).await {
                same(first.get_or_insert_with(|| reply.clone()), &reply);
            }
            let time = began.elapsed().as_secs_f64();
            if turn { &mut times.0 } else { &mut times.1 }.push(time);
        }
    }
    figure("burst", &times.0, &times.1)
}

/// Which class is asked first. Seeded, so that a run can be repeated.
struct Coin(u64);

impl Coin {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn toss(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 & 1 == 0
    }
}

fn figure(name: &'static str, known: &[f64], unknown: &[f64]) -> Figure {
    let (auc, pairs) = (area(known, unknown), known.len());
    Figure {
        name,
        pairs,
        auc,
        margin: 1.96 * standard_error(auc, pairs),
    }
}

async fn ask(server: &Server, question: &Question, pairs: usize) -> Figure {
    let mut client = server.client();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    let mut coin = Coin::new();
    let mut first: Option<Reply> = None;
    for i in 0..pairs {
        let known_first = coin.toss();
        for turn in [known_first, !known_first] {
            let body = if turn {
                (question.known)(i)
            } else {
                (question.unknown)(i)
            };
            let (time, reply) = timed(&mut client, question.path, body).await;
            if turn { &mut known } else { &mut unknown }.push(time);
            same(first.get_or_insert_with(|| reply.clone()), &reply);
        }
    }
    figure(question.name, &known, &unknown)
}

async fn timed(client: &mut Client, path: &str, body: Value) -> (f64, Reply) {
    let began = Instant::now();
    let reply = client
        .api("POST", path, Some(body), None)
        .await
        .expect("an answer");
    (began.elapsed().as_secs_f64(), reply)
}

/// Byte for byte, but for the date and what names the request.
fn same(a: &Reply, b: &Reply) {
    let shown = |reply: &Reply| {
        let mut headers = reply.headers.clone();
        headers.retain(|(name, _)| name != "date" && name != "x-request-id");
        let mut body = reply.json();
        if let Some(object) = body.as_object_mut() {
            object.remove("request_id");
            object.remove("instance");
        }
        (reply.status, headers, body, reply.body.len())
    };
    assert_eq!(shown(a), shown(b), "the answers differ");
}

/// The area under the ROC curve by ranks, never below one half.
fn area(a: &[f64], b: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> = a
        .iter()
        .map(|t| (*t, true))
        .chain(b.iter().map(|t| (*t, false)))
        .collect();
    all.sort_by(|x, y| x.0.total_cmp(&y.0));
    let ranks: f64 = all
        .iter()
        .enumerate()
        .filter(|(_, (_, known))| *known)
        .map(|(i, _)| i as f64 + 1.0)
        .sum();
    let (n, m) = (a.len() as f64, b.len() as f64);
    let auc = (ranks - n * (n + 1.0) / 2.0) / (n * m);
    auc.max(1.0 - auc)
}

fn standard_error(auc: f64, pairs: usize) -> f64 {
    let n = pairs as f64;
    let (q1, q2) = (auc / (2.0 - auc), 2.0 * auc * auc / (1.0 + auc));
    let spread = auc * (1.0 - auc) + (n - 1.0) * (q1 - auc * auc) + (n - 1.0) * (q2 - auc * auc);
    (spread / (n * n)).sqrt()
}
