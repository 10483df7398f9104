//! T09: whatever there may be at an address, nothing tells it from an address where there is nobody: not the bytes of the
//! answer, not its time.
//!
//! The classes are asked in turn, in random order, and the area under the ROC curve says how well the times of one tell it
//! from those of nobody: 0.5 is not at all.

use std::fmt::Write as _;
use std::time::Instant;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::imported;
use crate::{Client, PASSWORD, Reply, Server};

/// One comparison.
#[derive(Debug, Clone)]
pub struct Figure {
    pub name: String,
    pub pairs: usize,
    pub auc: f64,
    /// Half the width of its 95 % confidence interval (Hanley and `McNeil` 1982).
    pub margin: f64,
}

/// What there may be at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Nobody,
    Verified,
    Unverified,
    /// By an administrator.
    Locked,
    Deactivated,
    WithoutPassword,
}

impl Class {
    const ALL: [Self; 6] = [
        Self::Nobody,
        Self::Verified,
        Self::Unverified,
        Self::Locked,
        Self::Deactivated,
        Self::WithoutPassword,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Verified => "verified",
            Self::Unverified => "unverified",
            Self::Locked => "locked",
            Self::Deactivated => "deactivated",
            Self::WithoutPassword => "without-password",
        }
    }

    /// The accounts of a class are asked about in turn.
    fn email(self, i: usize) -> String {
        format!("{}{}@example.org", self.name(), i % ACCOUNTS)
    }
}

/// The route, and the body for an address; `i` makes each call its own.
struct Question {
    name: &'static str,
    /// The first call's number: those that are asked at once begin with other accounts.
    from: usize,
    path: &'static str,
    body: fn(Class, usize) -> Value,
}

/// Accounts that a class spreads over, so that limits by account are not met.
const ACCOUNTS: usize = 400;

const QUESTIONS: [Question; 3] = [
    Question {
        name: "login",
        from: 0,
        path: "/sessions",
        body: |class, i| json!({"email": class.email(i), "password": "not the right passphrase 1"}),
    },
    Question {
        name: "registration",
        from: ACCOUNTS / 3,
        path: "/users",
        body: |class, i| match class {
            // Whoever registers is somebody from then on.
            Class::Nobody => {
                json!({"email": format!("newcomer{i}@example.org"), "password": PASSWORD})
            }
            _ => json!({"email": class.email(i), "password": PASSWORD}),
        },
    },
    Question {
        name: "reset",
        from: ACCOUNTS * 2 / 3,
        path: "/password-reset-requests",
        body: |class, i| json!({"email": class.email(i)}),
    },
];

const BURSTS: &str = "burst";

/// Guesses at once in a burst: more than a path takes, so that some wait for others and the path closes under them.
const BURST: usize = 12;

/// One burst for so many pairs of single calls: it is as many calls, and needs an address of its own.
const PAIRS_A_BURST: usize = 5;

/// Asks so many of each class at each route, and in a fifth as many pairs of bursts at one address; the figures. Only what has `step` in
/// its name. `busy`: while others sign in, as many as keep half of the cores at work. Panics when two answers differ in a byte,
/// or nothing has that name.
pub async fn run(server: &Server, pairs: usize, busy: bool, step: &str) -> Vec<Figure> {
    let of_step = |question: &&Question| question.name.contains(step);
    let questions: Vec<_> = QUESTIONS.iter().filter(of_step).collect();
    let with_bursts = BURSTS.contains(step);
    assert!(
        with_bursts || !questions.is_empty(),
        "--step={step}: no question of timing is called so; there are login, registration, reset and burst"
    );
    prepare(server).await;
    let others = if busy {
        sign_in(server)
    } else {
        JoinSet::new()
    };
    // At half load nothing is quiet anyway, and together they take less time.
    let at_once = if busy { questions.len().max(1) } else { 1 };
    let asked: Vec<_> = questions
        .into_iter()
        .map(|question| ask(server, question, pairs))
        .collect();
    let mut figures = stream::iter(asked).buffered(at_once).concat().await;
    if with_bursts {
        figures.push(bursts(server, pairs.div_ceil(PAIRS_A_BURST)).await);
    }
    drop(others);
    figures
}

/// Somebody of every class, and one who signs in again and again.
async fn prepare(server: &Server) {
    let hash = imported::hash().await;
    let mut lines = String::new();
    for class in Class::ALL {
        let with = match class {
            Class::Nobody => continue,
            Class::Verified | Class::Locked => format!(r#","password_hash":"{hash}""#),
            Class::Unverified => format!(r#","password_hash":"{hash}","email_verified":false"#),
            Class::Deactivated => format!(r#","password_hash":"{hash}","active":false"#),
            Class::WithoutPassword => String::new(),
        };
        for i in 0..ACCOUNTS {
            let _ = writeln!(lines, r#"{{"email":"{}"{with}}}"#, class.email(i));
        }
    }
    imported::load(server, &lines).await;
    imported::import(server, 0..1).await;
    let admin = server.administrator().await;
    for i in 0..ACCOUNTS {
        let found = format!("/admin/users?email={}", Class::Locked.email(i));
        let found = server.api("GET", &found, None, Some(&admin)).await;
        let found = found.expect(200).json();
        let user = found["data"][0]["user_id"]
            .as_str()
            .expect("it was imported");
        let lock = format!("/admin/users/{user}/lock");
        let locked = server.api("POST", &lock, None, Some(&admin)).await;
        locked.expect(204);
    }
}

/// Half of the cores sign somebody in.
fn sign_in(server: &Server) -> JoinSet<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut others = JoinSet::new();
    for _ in 0..cores.div_ceil(2) {
        let mut client = server.client();
        others.spawn(async move {
            loop {
                let body = json!({"email": imported::email(0), "password": PASSWORD});
                let reply = client.api("POST", "/sessions", Some(body), None).await;
                reply.expect("an answer");
            }
        });
    }
    others
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
    figure(BURSTS.to_owned(), &times.0, &times.1)
}

/// In which order the classes are asked. Seeded, so that a run can be repeated.
struct Coin(u64);

impl Coin {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn toss(&mut self) -> bool {
        self.next() & 1 == 0
    }

    /// Any order is as likely as any other (Fisher and Yates).
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.next() % (last as u64 + 1);
            items.swap(last, usize::try_from(other).unwrap_or(last));
        }
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn figure(name: String, known: &[f64], unknown: &[f64]) -> Figure {
    let (auc, pairs) = (area(known, unknown), known.len());
    Figure {
        name,
        pairs,
        auc,
        margin: 1.96 * standard_error(auc, pairs),
    }
}

/// Every class against nobody.
async fn ask(server: &Server, question: &Question, pairs: usize) -> Vec<Figure> {
    let mut client = server.client();
    let mut times = Class::ALL.map(|_| Vec::new());
    let mut coin = Coin::new();
    let mut first: Option<Reply> = None;
    let mut order = Class::ALL;
    for i in question.from..question.from + pairs {
        coin.shuffle(&mut order);
        for class in order {
            let body = (question.body)(class, i);
            let (time, reply) = timed(&mut client, question.path, body).await;
            times[class as usize].push(time);
            same(first.get_or_insert_with(|| reply.clone()), &reply);
        }
    }
    let [nobody, somebody @ ..] = &times;
    let classes = Class::ALL[1..].iter().zip(somebody);
    let against = |(class, times): (&Class, &Vec<f64>)| {
        figure(format!("{} {}", question.name, class.name()), times, nobody)
    };
    classes.map(against).collect()
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
