//! Two servers on one PostgreSQL database, with the same keys. They listen on the same port of `127.0.0.1` and of `::1`, which
//! are one name, so that they are one issuer.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::postgres::servers::SETTING;
use crate::postgres::{Cluster, Database};
use crate::server::token_in;
use crate::{Client, Options, PASSWORD, Reply, Server};

/// What of the data directory is the same on every node.
const KEYS: &str = "keys";

/// Where a node runs, as the database has it, in hexadecimal.
pub fn place(server: &Server) -> String {
    let place = std::fs::read_to_string(server.data.join("node")).unwrap_or_default();
    place.trim().replace('-', "")
}

/// Both, and what they share.
pub struct Nodes {
    pub one: Server,
    pub two: Server,
    pub database: Database,
}

impl Nodes {
    /// Starts both on a fresh database of the cluster.
    pub async fn start(
        cluster: &Arc<Cluster>,
        binary: impl AsRef<Path>,
        options: impl Fn() -> Options,
    ) -> Self {
        let database = cluster.database();
        let with = |listen| Options {
            listen,
            ..options().env(SETTING, &database.url())
        };
        let one = Server::start(&binary, with(None)).await;
        let listen = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), one.address.port());
        let data = one.data.with_extension("two");
        copy_keys(&one.data, &data);
        let mut options = with(Some(listen));
        options.data = Some(data);
        let two = Server::start(&binary, options).await;
        Self { one, two, database }
    }

    pub fn both(&self) -> [&Server; 2] {
        [&self.one, &self.two]
    }

    /// The node that counts as the `i`th of any number.
    pub fn nth(&self, i: usize) -> &Server {
        self.both()[i % 2]
    }

    /// How many subscriptions and duties nodes have, by node, those that have most first.
    pub fn shares(&self) -> Vec<u64> {
        let sql = "SELECT count(*) FROM lease JOIN node ON node.id = lease.node GROUP BY node.id ORDER BY 1 DESC";
        let told = self.database.ask(sql);
        told.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Waits until the database says so.
    pub async fn until(&self, sql: &str, expected: &str, patience: Duration) -> Duration {
        let began = Instant::now();
        loop {
            let told = self.database.ask(sql);
            if told == expected {
                return began.elapsed();
            }
            assert!(
                began.elapsed() < patience,
                "{sql}: {told} and not {expected}\n{}\n{}",
                self.one.output(),
                self.two.output()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until everything has somebody who has it, and both have something.
    pub async fn settled(&self) {
        let free = "SELECT count(*) FROM subscription WHERE name NOT LIKE '%@%' AND NOT EXISTS \
            (SELECT 1 FROM lease JOIN node ON node.id = lease.node WHERE lease.name = subscription.name)";
        self.until(free, "0", Duration::from_secs(30)).await;
        let began = Instant::now();
        while self.shares().len() < 2 {
            assert!(began.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The node that has a subscription.
    pub async fn owner(&self, subscription: &str) -> usize {
        let began = Instant::now();
        loop {
            for (i, server) in self.both().into_iter().enumerate() {
                let place = place(server);
                let sql = format!(
                    "SELECT count(*) FROM lease JOIN node ON node.id = lease.node \
                     WHERE lease.name = '{subscription}' AND node.place = '\\x{place}'"
                );
                if self.database.ask(&sql) == "1" {
                    return i;
                }
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{subscription}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn nth_mut(&mut self, i: usize) -> &mut Server {
        if i.is_multiple_of(2) {
            &mut self.one
        } else {
            &mut self.two
        }
    }

    /// The newest letter to an address, whichever node wrote it: each keeps those that it writes.
    pub async fn letter(&self, to: &str, template: &str) -> Value {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(40) {
            for server in self.both() {
                if server.is_running() {
                    let letters = server.letters().await;
                    let fits = |letter: &Value| {
                        letter["to"].to_string().contains(to)
                            && letter["template"].to_string().contains(template)
                    };
                    if let Some(letter) = letters.into_iter().find(fits) {
                        return letter;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let [one, two] = self.both().map(Server::output);
        panic!("no letter for {to} ({template})\n{one}\n{two}")
    }

    /// The token in the newest such letter.
    pub async fn token(&self, to: &str, template: &str) -> String {
        let letter = self.letter(to, template).await;
        token_in(letter["text"].as_str().unwrap_or_default())
    }

    /// Registers with one node and verifies with the other.
    pub async fn register(&self, email: &str) {
        let body = json!({"email": email, "password": PASSWORD});
        let reply = self.one.api("POST", "/users", Some(body), None).await;
        reply.expect(202);
        let body = json!({"token": self.token(email, "verify_email").await});
        let reply = self
            .two
            .api("POST", "/email-verifications", Some(body), None)
            .await;
        reply.expect(200);
    }

    /// Sends `count` calls at the same moment, spread over both, each on a connection of its own.
    pub async fn together(
        &self,
        count: usize,
        call: impl Fn(usize) -> (&'static str, &'static str, Value),
    ) -> Vec<Reply> {
        let gate = Arc::new(Barrier::new(count));
        let mut set = JoinSet::new();
        for i in 0..count {
            let (gate, address) = (Arc::clone(&gate), self.nth(i).address);
            let (method, path, body) = call(i);
            set.spawn(async move {
                let mut client = Client::new(address);
                gate.wait().await;
                let reply = client.api(method, path, Some(body), None).await;
                (i, reply.expect("an answer"))
            });
        }
        let mut replies = set.join_all().await;
        replies.sort_by_key(|(i, _)| *i);
        replies.into_iter().map(|(_, reply)| reply).collect()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.two.data);
            let _ = std::fs::remove_file(self.two.data.with_extension("log"));
        }
    }
}

/// Gives a server that is yet to start the keys of another.
pub fn copy_keys(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).expect("the temporary directory is writable");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([from.join(KEYS), to.join(KEYS)])
        .status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "keys are copied"
    );
}
