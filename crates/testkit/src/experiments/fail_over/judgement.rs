//! What is in the log and the tables at the end, against what the clients were told and the readers saw.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::ledger::Ledger;
use crate::experiments::check;
use crate::postgres::pair::Pair;

/// What a reader saw: positions and ids, in the order in which they came.
pub(super) type Seen = Vec<(u64, String)>;

/// Adds what it finds to the ledger; how many workflows there are.
pub(super) fn judge(ledger: &mut Ledger, events: &[Value], pair: &Pair) -> usize {
    let (workflows, breaches) = check::triples(events);
    ledger.breaches.extend(breaches);
    let mut lost = accounts(ledger, events, pair);
    lost.extend(sessions(ledger, events, pair));
    ledger.lost.append(&mut lost);
    let mut used = BTreeMap::new();
    for event in events {
        let fresh = event["data"]["replayed"] == false;
        if event["type"] == "token.refresh.succeeded" && fresh {
            *used.entry(text(event, "old_token_id")).or_insert(0) += 1;
        }
    }
    let twice = used.values().filter(|times| **times > 1).count();
    if twice > 0 {
        ledger
            .breaches
            .push(format!("{twice} refresh tokens used twice"));
    }
    workflows
}

/// Those acknowledged that have no row or no event, and secrets that the log says were used twice.
fn accounts(ledger: &mut Ledger, events: &[Value], pair: &Pair) -> Vec<String> {
    let rows = pair.ask("SELECT encode(id, 'hex') || ' ' || email FROM account");
    let ids: BTreeMap<&str, &str> = rows
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(id, email)| (email, id))
        .collect();
    let of = |kind: &str| {
        let mut times = BTreeMap::new();
        for event in events.iter().filter(|event| event["type"] == kind) {
            *times
                .entry(text(event, "user_id").replace('-', ""))
                .or_insert(0) += 1;
        }
        times
    };
    let registered = of("user.registration.succeeded");
    let verified = of("user.email_verification.succeeded");
    let reset = of("user.password_reset_confirm.succeeded");
    let times = |of: &BTreeMap<String, usize>, email: &str| {
        let id = ids.get(email).copied().unwrap_or_default();
        of.get(id).copied().unwrap_or_default()
    };
    for (name, of) in [("verification", &verified), ("reset", &reset)] {
        let twice = of.values().filter(|times| **times > 1).count();
        if twice > 0 {
            ledger
                .breaches
                .push(format!("{twice} links of a {name} used twice"));
        }
    }
    let mut lost = Vec::new();
    let once = |emails: &[String], of: &BTreeMap<String, usize>, what: &str| {
        let missing = emails.iter().filter(|email| times(of, email) != 1);
        missing
            .map(|email| format!("the {what} of {email}"))
            .collect::<Vec<_>>()
    };
    lost.extend(once(&ledger.registered, &registered, "registration"));
    lost.extend(once(&ledger.verified, &verified, "verification"));
    let resets: Vec<String> = ledger.reset.keys().cloned().collect();
    lost.extend(once(&resets, &reset, "reset"));
    lost
}

/// Those acknowledged that have no row or no event, or fewer times than were acknowledged.
fn sessions(ledger: &Ledger, events: &[Value], pair: &Pair) -> Vec<String> {
    let rows = pair.ask("SELECT encode(id, 'hex') FROM session");
    let rows: HashSet<&str> = rows.lines().collect();
    let (mut created, mut refreshed) = (HashSet::new(), BTreeMap::new());
    for event in events {
        let session = text(event, "session_id");
        if event["type"] == "session.created" {
            created.insert(session);
        } else if event["type"] == "token.refresh.succeeded" && event["data"]["replayed"] == false {
            *refreshed.entry(session).or_insert(0) += 1;
        }
    }
    let is_whole = |(session, acknowledged): &(&String, &usize)| {
        let times = refreshed.get(*session).copied().unwrap_or_default();
        rows.contains(&*session.replace('-', ""))
            && created.contains(*session)
            && times >= **acknowledged
    };
    let gone = ledger.sessions.iter().filter(|it| !is_whole(it));
    gone.map(|(session, _)| format!("session {session} or a refresh of it"))
        .collect()
}

/// What is wrong with what a reader saw.
pub(super) fn compare(events: &[Value], seen: &Seen) -> Result<(), String> {
    let all = events
        .iter()
        .map(|event| (check::position(event), check::text(event, "id")));
    let all: Seen = all.collect();
    if all == *seen {
        return Ok(());
    }
    let same = all
        .iter()
        .zip(seen)
        .take_while(|(one, two)| one == two)
        .count();
    Err(format!(
        "it saw {} of {} events, as they are in the log up to {same}",
        seen.len(),
        all.len()
    ))
}

/// A field of its own.
pub(super) fn text(event: &Value, name: &str) -> String {
    event["data"][name].as_str().unwrap_or_default().to_owned()
}
