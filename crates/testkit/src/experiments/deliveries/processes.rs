//! Account provisioning after many kills: which steps each process took, and what the customer relations were told.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;

use uuid::Uuid;

use super::breaches::{Breaches, noted};
use super::found::{Found, data};
use super::subject::{CONTACTS, REFUSED};

const PROFILE: &str = "provisioning.profile";
const CRM: &str = "provisioning.crm";

impl Found {
    /// Every process is at its end, by the steps that it should have taken, each once and in order; and the customer
    /// relations were told of all, each time under one key.
    pub(super) async fn processes(&self) -> Breaches {
        let mut breaches = Breaches::default();
        let mut taken = BTreeMap::<Uuid, Vec<String>>::new();
        for event in self.of("user.email_verification.succeeded") {
            taken.insert(event.envelope.id, Vec::new());
        }
        for event in &self.log {
            let word = match event.envelope.kind.as_str() {
                "delivery.step_done" => "done",
                "delivery.step_undone" => "undone",
                "delivery.undo_requested" => "turned",
                _ => continue,
            };
            let data = data(event);
            let process = data["process"].as_str().or(data["event_id"].as_str());
            let process = process.and_then(|id| id.parse().ok()).expect("an id");
            let step = data["step"]
                .as_str()
                .or(data["subscription"].as_str())
                .unwrap_or_default();
            taken
                .entry(process)
                .or_default()
                .push(format!("{word} {step}"));
        }
        let there = [format!("done {PROFILE}"), format!("done {CRM}")];
        let back = [
            format!("done {PROFILE}"),
            format!("turned {CRM}"),
            format!("undone {CRM}"),
            format!("undone {PROFILE}"),
        ];
        let (mut whole, mut undone) = (0, 0);
        for steps in taken.values() {
            let should = if steps.contains(&back[1]) {
                &back[..]
            } else {
                &there[..]
            };
            whole += u64::from(should.len() == there.len());
            undone += u64::from(should.len() == back.len());
            let ranks: Vec<u64> = steps
                .iter()
                .map(|step| {
                    should
                        .iter()
                        .position(|it| it == step)
                        .map_or(u64::MAX, |at| at as u64)
                })
                .collect();
            breaches += noted(&(0..should.len() as u64).collect::<Vec<_>>(), &ranks);
        }
        let profiles = self.count("SELECT COUNT(*) FROM profile").await;
        breaches.twice += profiles.saturating_sub(whole);
        breaches.undelivered += whole.saturating_sub(profiles);
        breaches.undelivered += self.count("SELECT COUNT(*) FROM process").await;
        breaches + self.contacts(whole, undone)
    }

    fn contacts(&self, whole: u64, undone: u64) -> Breaches {
        let text = fs::read_to_string(self.directory.join(CONTACTS)).unwrap_or_default();
        let mut calls = HashMap::<(&str, &str), HashSet<&str>>::new();
        let mut refused = HashSet::new();
        for line in text.lines() {
            let [call, user, key, word] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line:?} is no line of it");
            };
            calls.entry((call, user)).or_default().insert(key);
            if word == REFUSED {
                refused.insert(user);
            }
        }
        let count = |wanted: &str| calls.keys().filter(|(call, _)| *call == wanted).count() as u64;
        let renamed = calls
            .values()
            .map(|keys| keys.len() as u64 - 1)
            .sum::<u64>();
        Breaches {
            undelivered: (whole + undone).abs_diff(count("add"))
                + undone.abs_diff(count("remove"))
                + undone.abs_diff(refused.len() as u64),
            twice: renamed,
            ..Breaches::default()
        }
    }
}
