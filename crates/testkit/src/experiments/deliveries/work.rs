//! What is asked of the server over HTTP while it is killed, and what it has acknowledged.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use super::breaches::Sequence;
use super::course::{Course, Random};
use super::found::STATISTICS;
use super::step::{Decision, Work};
use super::subject::{KIND, LEDGER, LETTERS, REFUSED, TOLD};
use crate::PASSWORD;
use crate::client::{Call, Client, Reply};

/// Different keys among the events, and among those that are refused.
const KEYS: u64 = 12;
const REFUSED_KEYS: u64 = 3;

/// Events in one request, at most.
const EVENTS: u64 = 16;

/// Positions that a replay goes back.
const REPLAYED: u64 = 60;

/// For what the server does after it has answered.
const SOON: Duration = Duration::from_secs(10);

pub(super) struct Worker {
    pub(super) random: Random,
    serial: u64,
    /// Events that the server has answered for.
    pub(super) acknowledged: Vec<Uuid>,
    /// Dead letters that it has said are decided about, and those of them that waited for a decision afterwards.
    decided: HashSet<String>,
    pub(super) forgotten: u64,
    /// The first positions of replays, by subscription: those that were asked for, and those that it said it does.
    pub(super) asked: Vec<(&'static str, u64)>,
    pub(super) promised: Vec<(&'static str, u64)>,
    /// What was told outside, as far as it was looked at.
    pub(super) sequences: HashMap<&'static str, Sequence>,
}

impl Worker {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            serial: 0,
            acknowledged: Vec::new(),
            decided: HashSet::new(),
            forgotten: 0,
            asked: Vec::new(),
            promised: Vec::new(),
            sequences: TOLD.map(|name| (name, Sequence::default())).into(),
        }
    }

    /// A round of it. An error says that the server is gone.
    pub(super) async fn work(
        &mut self,
        client: &mut Client,
        course: &Course,
        work: Work,
    ) -> io::Result<()> {
        let service = course.keys.service.as_str();
        let count = 1 + self.random.below(EVENTS);
        self.events(client, service, "", KEYS, count).await?;
        match work {
            Work::Events => Ok(()),
            Work::SignIns => self.sign_in(client).await,
            Work::Decisions(decision) => self.decide(client, course, decision).await,
            Work::Replays(subscription) => {
                if subscription == STATISTICS {
                    self.sign_in(client).await?;
                }
                self.replay(client, course, subscription).await
            }
            Work::Accounts => self.account(client, &course.directory).await,
        }
    }

    /// Appends some, in one request, so in one commit.
    async fn events(
        &mut self,
        client: &mut Client,
        key: &str,
        prefix: &str,
        keys: u64,
        count: u64,
    ) -> io::Result<()> {
        let mut event = || {
            self.serial += 1;
            let key = format!("{prefix}{}", self.random.below(keys));
            json!({"type": KIND, "key": key, "data": {"n": self.serial}})
        };
        let events: Vec<Value> = (0..count).map(|_| event()).collect();
        let reply = client
            .api("POST", "/events", Some(json!(events)), Some(key))
            .await?;
        let appended = reply.expect(201).json();
        let ids = appended["data"].as_array().into_iter().flatten();
        let ids = ids.filter_map(|event| event["id"].as_str()?.parse::<Uuid>().ok());
        self.acknowledged.extend(ids);
        Ok(())
    }

    /// One more event with a key of its own.
    pub(super) async fn event(
        &mut self,
        client: &mut Client,
        service: &str,
        key: &str,
    ) -> io::Result<()> {
        let body = json!({"type": KIND, "key": key, "data": {}});
        client
            .api("POST", "/events", Some(body), Some(service))
            .await
            .map(|reply| drop(reply.expect(201)))
    }

    /// Of somebody who is not there.
    async fn sign_in(&mut self, client: &mut Client) -> io::Result<()> {
        self.serial += 1;
        let email = format!("nobody{}@example.org", self.serial);
        let body = json!({"email": email, "password": PASSWORD});
        client
            .api("POST", "/sessions", Some(body), None)
            .await
            .map(drop)
    }

    /// Somebody registers and confirms the address; one in three is nobody whom the customer relations want.
    async fn account(&mut self, client: &mut Client, directory: &Path) -> io::Result<()> {
        self.serial += 1;
        let word = if self.serial.is_multiple_of(3) {
            REFUSED
        } else {
            "somebody"
        };
        let email = format!("{word}{}@example.org", self.serial);
        let body = json!({"email": email, "password": PASSWORD});
        client
            .api("POST", "/users", Some(body), None)
            .await?
            .expect(202);
        let began = Instant::now();
        let token = loop {
            let letters = fs::read_to_string(directory.join(LETTERS)).unwrap_or_default();
            // What has no end yet is still being written.
            let whole = letters.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let mut lines = whole.lines().rev().filter_map(|line| line.split_once(' '));
            if let Some((_, token)) = lines.find(|(to, _)| *to == email) {
                break token.to_owned();
            }
            status(client).await?;
            assert!(began.elapsed() < SOON, "no letter for {email}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        let body = json!({"token": token});
        client
            .api("POST", "/email-verifications", Some(body), None)
            .await?
            .expect(200);
        Ok(())
    }

    /// Decides about what is parked; if nothing is, sees to it that something will be.
    async fn decide(
        &mut self,
        client: &mut Client,
        course: &Course,
        decision: Decision,
    ) -> io::Result<()> {
        let keys = &course.keys;
        let parked = letters(client, &keys.admin).await?;
        let forgotten = parked.iter().filter(|id| self.decided.remove(*id)).count();
        self.forgotten += forgotten as u64;
        if !parked.is_empty() {
            course.mend(true);
            let mut body = json!({"subscription": LEDGER, "choice": {}});
            let path = match decision {
                Decision::Redrive => "/admin/dead-letters/redrive",
                Decision::Discard => {
                    body["reason"] = json!("a proof");
                    "/admin/dead-letters/discard"
                }
            };
            let reply = client
                .api("POST", path, Some(body), Some(&keys.admin))
                .await?
                .expect(200);
            let count = reply.json()["count"].as_u64().unwrap_or_default();
            // More may have been parked since they were listed.
            assert!(count >= parked.len() as u64, "{count} of {parked:?}");
            self.decided.extend(parked);
        }
        until(client, |all| ledger(all)["lanes_retrying"] == 0).await?;
        self.decided.clear();
        course.mend(false);
        self.events(client, &keys.service, REFUSED, REFUSED_KEYS, 3)
            .await?;
        until(client, |all| {
            ledger(all)["lanes_parked"] != 0 && ledger(all)["lag"] == 0
        })
        .await
    }

    async fn replay(
        &mut self,
        client: &mut Client,
        course: &Course,
        name: &'static str,
    ) -> io::Result<()> {
        let (from, body) = if name == STATISTICS {
            (1, json!({}))
        } else {
            let position = ledger(&status(client).await?)["position"].as_u64();
            let from = position.unwrap_or_default().saturating_sub(REPLAYED).max(1);
            (from, json!({"from": from}))
        };
        self.asked.push((name, from));
        let path = format!("/admin/subscriptions/{name}/replay");
        let reply = client
            .api("POST", &path, Some(body), Some(&course.keys.admin))
            .await?;
        if reply.status == 202 {
            self.promised.push((name, from));
        } else {
            // It is being replayed already.
            reply.expect(409);
            self.asked.pop();
        }
        Ok(())
    }

    /// Waits until nothing is left to do. What is parked by then is decided about.
    pub(super) async fn finish(&mut self, client: &mut Client, course: &Course) {
        until(client, at_rest).await.expect("it runs");
        let parked = letters(client, &course.keys.admin).await.expect("it runs");
        self.forgotten += parked
            .iter()
            .filter(|id| self.decided.contains(*id))
            .count() as u64;
        if !parked.is_empty() {
            let body = json!({"subscription": LEDGER, "choice": {}});
            let path = "/admin/dead-letters/redrive";
            let reply = client
                .api("POST", path, Some(body), Some(&course.keys.admin))
                .await;
            reply.expect("it runs").expect(200);
            until(client, at_rest).await.expect("it runs");
        }
    }

    /// The cheap check between two runs: what was told outside since the last one is in order.
    pub(super) fn look(&mut self, directory: &Path) {
        for (name, sequence) in &mut self.sequences {
            sequence.read(&directory.join(name));
        }
    }
}

/// Events that are parked for the ledger.
async fn letters(client: &mut Client, admin: &str) -> io::Result<HashSet<String>> {
    let path = format!("/admin/dead-letters?subscription={LEDGER}");
    let page = client
        .api("GET", &path, None, Some(admin))
        .await?
        .expect(200)
        .json();
    let data = page["data"].as_array().into_iter().flatten();
    let ids = data.filter_map(|letter| letter["event_id"].as_str());
    Ok(ids.map(str::to_owned).collect())
}

/// The subscriptions.
async fn status(client: &mut Client) -> io::Result<Vec<Value>> {
    let path = "/readyz?verbose";
    let reply: Reply = client
        .call(&Call {
            method: "GET",
            path,
            ..Call::default()
        })
        .await?;
    let body = reply.expect(200).json();
    Ok(body["subscriptions"].as_array().expect("a list").clone())
}

/// Nothing is left to do.
pub(super) fn at_rest(all: &[Value]) -> bool {
    all.iter().all(|one| {
        let zero = ["lag", "lanes_retrying", "in_flight"].map(|field| one[field] == 0);
        zero == [true; 3] && one["replays"].is_null()
    })
}

pub(super) fn ledger(all: &[Value]) -> &Value {
    let found = all.iter().find(|one| one["name"] == LEDGER);
    found.expect("the ledger is one of them")
}

pub(super) async fn until(client: &mut Client, there: impl Fn(&[Value]) -> bool) -> io::Result<()> {
    let began = Instant::now();
    loop {
        let all = status(client).await?;
        if there(&all) {
            return Ok(());
        }
        assert!(began.elapsed() < SOON, "{all:#?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
