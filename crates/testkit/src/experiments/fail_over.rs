//! The primary of a pair is killed, whole, while people use two nodes; the standby takes its place and gets a standby of its own:
//! again and again, and the nodes are never started anew. Where commits wait for the standby nothing that was acknowledged is
//! lost. Before every other kill what sends the log to the standby is stopped: what does not wait for it is lost then, which
//! is what shows that the check sees it.

mod figures;
mod judgement;
mod ledger;
mod people;
mod readers;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use super::brokers::reader;
pub use figures::Figures;
use judgement::{Seen, compare, judge, text};
use ledger::Shared;
use people::{Scene, chain, newcomers, note_letters};
use readers::{Mailbox, collect, follow, page, position};

use crate::nodes::copy_keys;
use crate::postgres::pair::Pair;
use crate::postgres::servers::SETTING;
use crate::{Options, Receiver, Server};

const CHAINS: usize = 4;
const NEWCOMERS: usize = 3;

/// Under load, before each kill.
const CALM: Duration = Duration::from_millis(1_200);
/// How long the standby gets nothing before its primary is killed.
const STALL: Duration = Duration::from_millis(300);
/// After a kill somebody is acknowledged again by then.
const PATIENCE: Duration = Duration::from_secs(40);
/// The sweep has closed what was left open by then: an attempt has a minute.
const SWEPT: Duration = Duration::from_secs(80);
/// Secrets that are used again after each kill.
const TRIED_AGAIN: usize = 4;

const PASSWORD_OF_ROOT: &str = "an administrators long passphrase 7";

/// So many fail-overs. Without `synchronous` nothing waits for the standby, and something must get lost. With `patient` what
/// is left open is waited for, else the nodes are started again to close it. `None` where there is no PostgreSQL.
pub async fn run(
    binary: &Path,
    rounds: usize,
    synchronous: bool,
    patient: bool,
) -> Option<Figures> {
    let pair = spawn_blocking(move || Pair::start(synchronous));
    let pair = Arc::new(pair.await.expect("it starts")?);
    let mut field = Field::start(binary, pair).await;
    let mut load = field.load();
    let mut fail_overs = 0;
    for round in 0..rounds {
        sleep(CALM).await;
        // Where nothing waits, each kill is one that loses.
        let stalled = round % 2 == 1 || !synchronous;
        if !field.fail_over(stalled).await {
            break;
        }
        fail_overs += 1;
    }
    sleep(CALM).await;
    field.scene.stopping.store(true, Ordering::Relaxed);
    while load.join_next().await.is_some() {}
    let mut figures = field.end(patient).await;
    figures.fail_overs = fail_overs;
    Some(figures)
}

struct Field {
    nodes: [Server; 2],
    pair: Arc<Pair>,
    scene: Scene,
    feeds: [Arc<Mutex<Seen>>; 2],
    key: String,
    webhooks: Receiver,
}

impl Field {
    async fn start(binary: &Path, pair: Arc<Pair>) -> Self {
        let with = |listen| Options {
            listen,
            ..Options::unlimited()
                .env("QUIVIVE__LOG__LEVEL", "warn")
                .env("QUIVIVE__HASHING__MEMORY_KIB", "7168")
                .env("QUIVIVE__WEBHOOKS__ALLOW_NETWORKS", "127.0.0.0/8")
                .env(SETTING, &pair.url())
        };
        let one = Server::start(binary, with(None)).await;
        let data = one.data.with_extension("two");
        copy_keys(&one.data, &data);
        let listen = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), one.address.port());
        let mut options = with(Some(listen));
        options.data = Some(data);
        let two = Server::start(binary, options).await;
        let admin = one.administrator().await;
        let webhooks = Receiver::start().await;
        let endpoint = json!({
            "url": webhooks.url("/registered"),
            "events": ["user.registration.succeeded"],
            "order": "key",
        });
        let made = one.api("POST", "/admin/webhooks", Some(endpoint), Some(&admin));
        made.await.expect(201);
        let key = reader(&one, &admin).await;
        let nodes = [one, two];
        for chain in 0..CHAINS {
            register(&nodes, &format!("chain{chain}@example.org")).await;
        }
        let scene = Scene {
            ledger: Shared::default(),
            letters: Arc::default(),
            stopping: Arc::new(AtomicBool::new(false)),
        };
        Self {
            nodes,
            pair,
            scene,
            feeds: Default::default(),
            key,
            webhooks,
        }
    }

    fn load(&self) -> JoinSet<()> {
        let mut load = JoinSet::new();
        let clients = || [0, 1].map(|node: usize| self.nodes[node].client());
        for number in 0..CHAINS {
            let email = format!("chain{number}@example.org");
            load.spawn(chain(self.scene.clone(), clients(), email));
        }
        for number in 0..NEWCOMERS {
            let name = format!("newcomer{number}");
            load.spawn(newcomers(self.scene.clone(), clients(), name));
        }
        for (node, seen) in self.nodes.iter().zip(&self.feeds) {
            let (key, seen) = (self.key.clone(), Arc::clone(seen));
            load.spawn(follow(self.scene.clone(), clients(), key, seen));
            load.spawn(collect(self.scene.clone(), Mailbox::of(node)));
        }
        load
    }

    /// Says whether it is worth going on.
    async fn fail_over(&mut self, stalled: bool) -> bool {
        if stalled {
            self.blocking(Pair::stall).await;
            sleep(STALL).await;
        }
        self.scene.ledger.killed();
        self.blocking(Pair::kill).await;
        self.blocking(Pair::promote).await;
        let began = Instant::now();
        while !self.scene.ledger.is_back() {
            if began.elapsed() > PATIENCE {
                let said = self.nodes.each_ref().map(Server::output).concat();
                let last: Vec<&str> = said.lines().rev().take(5).collect();
                let what = format!("nobody was acknowledged any more: {last:#?}");
                self.scene.ledger.lock().breaches.push(what);
                return false;
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.blocking(Pair::follow).await;
        self.try_again().await;
        true
    }

    /// What was used stays used.
    async fn try_again(&self) {
        let spent = std::mem::take(&mut self.scene.ledger.lock().spent);
        let mut client = self.nodes[0].client();
        for (path, body) in spent.iter().rev().take(TRIED_AGAIN) {
            let reply = self.scene.ledger.ask(&mut client, path, body).await;
            let mut ledger = self.scene.ledger.lock();
            match reply.map(|reply| reply.status) {
                Some(200) => ledger
                    .breaches
                    .push(format!("{path}: used again after a kill")),
                Some(_) => ledger.tried_again += 1,
                None => {}
            }
        }
    }

    async fn blocking(&self, act: fn(&Pair)) {
        let pair = Arc::clone(&self.pair);
        spawn_blocking(move || act(&pair))
            .await
            .expect("it is done");
    }

    /// Everything comes to rest, and is judged.
    async fn end(&mut self, patient: bool) -> Figures {
        let open = || self.pair.ask("SELECT count(*) FROM open_attempt");
        let began = Instant::now();
        while patient && open() != "0" && began.elapsed() < SWEPT {
            sleep(Duration::from_millis(200)).await;
        }
        if !patient {
            for node in &mut self.nodes {
                node.restart().await;
            }
        }
        let left = open();
        if left != "0" {
            let what = format!("{left} attempts are left open");
            self.scene.ledger.lock().breaches.push(what);
        }
        let root = self.nodes[0]
            .login("root@example.org", PASSWORD_OF_ROOT)
            .await;
        let admin = root["access_token"].as_str().expect("a token").to_owned();
        let events = self.nodes[0].events(&admin).await;
        self.read_to_the_end(&events).await;
        let mut ledger = std::mem::take(&mut *self.scene.ledger.lock());
        for node in &self.nodes {
            let verified = node.verify().await;
            if verified["ok"] != true {
                ledger.breaches.push(format!("the chain: {verified}"));
            }
        }
        let workflows = judge(&mut ledger, &events, &self.pair);
        for (reader, seen) in self.feeds.iter().enumerate() {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(wrong) = compare(&events, &seen) {
                ledger.breaches.push(format!("feed {reader}: {wrong}"));
            }
        }
        let untold = self.untold(&events).await;
        if untold > 0 {
            ledger
                .breaches
                .push(format!("{untold} registrations were not posted"));
        }
        let interrupted = |event: &&Value| event["data"]["reason"] == "interrupted";
        ledger.away.sort_unstable();
        Figures {
            fail_overs: 0,
            acknowledged: ledger.acknowledged,
            put_off: ledger.put_off,
            unanswered: ledger.unanswered,
            tried_again: ledger.tried_again,
            workflows,
            interrupted: events.iter().filter(interrupted).count(),
            events: events.len(),
            away: ledger.away,
            lost: ledger.lost,
            breaches: ledger.breaches,
        }
    }

    /// The feeds go on where they were when the load stopped, as readers do.
    async fn read_to_the_end(&self, events: &[Value]) {
        for (node, seen) in self.nodes.iter().zip(&self.feeds) {
            let mut client = node.client();
            let began = Instant::now();
            while position(seen) < events.len() as u64 && began.elapsed() < PATIENCE {
                page(&self.scene, &mut client, &self.key, seen).await;
            }
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.truncate(events.len());
        }
    }

    /// Registrations that the endpoint never heard of.
    async fn untold(&self, events: &[Value]) -> usize {
        let registered = |event: &&Value| event["type"] == "user.registration.succeeded";
        let registered = events.iter().filter(registered);
        // Those before it was registered are none of its.
        let people: Vec<String> = registered.map(|event| text(event, "user_id")).collect();
        let began = Instant::now();
        loop {
            let messages = self.webhooks.messages("/registered");
            let told: HashSet<String> = messages
                .iter()
                .map(|it| text(&it.json(), "user_id"))
                .collect();
            let untold = people.iter().filter(|id| !told.contains(*id)).count();
            if untold == 0 || began.elapsed() > PATIENCE {
                return untold;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let data = &self.nodes[1].data;
            let _ = std::fs::remove_dir_all(data);
            let _ = std::fs::remove_file(data.with_extension("log"));
        }
    }
}

async fn register(nodes: &[Server; 2], email: &str) {
    let body = ledger::credentials(email, crate::PASSWORD);
    nodes[0]
        .api("POST", "/users", Some(body), None)
        .await
        .expect(202);
    let letters: people::Letters = Arc::default();
    let wanted = (email.to_owned(), "verify_email".to_owned());
    let began = Instant::now();
    let token = loop {
        for node in nodes {
            note_letters(&letters, &node.letters().await);
        }
        let found = letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&wanted);
        if let Some(token) = found {
            break token;
        }
        assert!(began.elapsed() < PATIENCE, "no letter for {email}");
        sleep(Duration::from_millis(50)).await;
    };
    let body = json!({"token": token});
    let proved = nodes[1].api("POST", "/email-verifications", Some(body), None);
    proved.await.expect(200);
}
