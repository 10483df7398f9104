//! What must hold of any quiet log: dense positions; one Attempted and one outcome for each workflow, in that order.

use std::collections::BTreeMap;

use serde_json::Value;

/// How many triples there are; every breach of the rule.
pub fn triples(events: &[Value]) -> (usize, Vec<String>) {
    let mut breaches = Vec::new();
    let mut by_workflow: BTreeMap<(String, String), Vec<(u64, String)>> = BTreeMap::new();
    for event in events {
        let (kind, position) = (text(event, "type"), position(event));
        if let Some((stem, phase)) = kind.rsplit_once('.')
            && matches!(phase, "attempted" | "succeeded" | "failed")
        {
            let key = (text(event, "workflow_id"), stem.to_owned());
            by_workflow
                .entry(key)
                .or_default()
                .push((position, phase.to_owned()));
        }
    }
    for (key, phases) in &mut by_workflow {
        phases.sort();
        let words: Vec<&str> = phases.iter().map(|(_, phase)| phase.as_str()).collect();
        if !matches!(words[..], ["attempted", "succeeded" | "failed"]) {
            breaches.push(format!("{key:?}: {words:?}"));
        }
    }
    for pair in events.windows(2) {
        if position(&pair[1]) != position(&pair[0]) + 1 {
            breaches.push(format!(
                "positions {} and {}",
                position(&pair[0]),
                position(&pair[1])
            ));
        }
    }
    (by_workflow.len(), breaches)
}

/// Goes on only when the rule holds; how many triples there are.
#[track_caller]
pub fn whole(events: &[Value]) -> usize {
    let (count, breaches) = triples(events);
    assert!(
        breaches.is_empty(),
        "{} breaches, e.g. {:?}",
        breaches.len(),
        &breaches[..breaches.len().min(5)]
    );
    count
}

/// How many events of a type there are.
pub fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["type"] == kind).count()
}

/// How many events of a type have this reason.
pub fn count_reason(events: &[Value], kind: &str, reason: &str) -> usize {
    events
        .iter()
        .filter(|event| event["type"] == kind && event["data"]["reason"] == reason)
        .count()
}

pub fn text(event: &Value, field: &str) -> String {
    event[field].as_str().unwrap_or_default().to_owned()
}

pub fn position(event: &Value) -> u64 {
    event["position"].as_u64().unwrap_or(0)
}
