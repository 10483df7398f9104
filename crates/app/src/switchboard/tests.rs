//! The catalogue against the specification and its golden schemas, and the switchboard against the folder of workflows.

mod page;
mod schemas;
mod seams;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use quivive_delivery::{EventSpec, Phase, Priority};

use super::workflows;

/// What is our own and the specification need not know: a workflow by its `NAME`, any other event by its type.
const OURS: &[&str] = &[
    "delivery.undo_requested",
    // A reader older than retention is expired with an event, it says there, and names none.
    "delivery.subscription_expired",
    // The letter to the new address hangs on it: the attempt is there before its token is.
    "user.email_change_requested",
    // A confirmation is a command of its own, which may fail, and concludes the change; so is taking one back.
    "email_change_confirmation",
    "email_change_reversal",
    // Types come by registration, and an operator's change has its audit.
    "event_schema_registration",
    // The specification's import tells of the file alone; who reads the log must hear of each account.
    "user.imported",
    // A process of several steps says how far it is, so that the next step begins.
    "delivery.step_done",
    "delivery.step_undone",
];

/// Reasons of our own, likewise.
const OUR_REASONS: &[(&str, &str)] = &[
    ("operator.bootstrap.failed", "invalid_email"),
    // Letters to addresses that somebody names are counted.
    ("user.email_change.failed", "rate_limited"),
    // A lock of the last administrator would lock everybody out; of a deactivated account it would be the lesser bar.
    ("user.lock.failed", "last_administrator"),
    ("user.lock.failed", "already_inactive"),
    // Administrators show first that it is them.
    ("session.all_revocation.failed", "step_up_required"),
    ("user.lock.failed", "step_up_required"),
    ("user.unlock.failed", "step_up_required"),
    ("user.deactivation.failed", "step_up_required"),
    ("user.reactivation.failed", "step_up_required"),
    ("user.password_change.failed", "step_up_required"),
    ("user.password_change.failed", "forbidden"),
    ("api_key.revocation.failed", "step_up_required"),
    ("delivery.subscription_change.failed", "step_up_required"),
    ("webhook.endpoint_change.failed", "step_up_required"),
    ("user.step_up.failed", "session_ended"),
    ("webhook.endpoint_change.failed", "unresolved"),
    ("webhook.endpoint_change.failed", "not_found"),
    ("webhook.endpoint_change.failed", "changed"),
    ("webhook.endpoint_change.failed", "too_many"),
    ("webhook.endpoint_change.failed", "recovery_running"),
];

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn specs() -> Vec<EventSpec> {
    workflows()
        .expect("no name twice")
        .catalogue()
        .all()
        .to_vec()
}

#[expect(
    clippy::disallowed_methods,
    reason = "how a golden file is written on purpose"
)]
fn update() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

/// Every file under a folder, in no order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// So that an attempt of somebody who was erased can be closed: its personal fields may be nothing, or an empty text.
#[test]
fn an_attempt_can_be_read_without_what_is_personal() {
    let attempts = specs().into_iter().filter(|s| s.phase == Phase::Attempted);
    for spec in attempts {
        for field in spec.fields.iter().filter(|f| f.personal && !f.optional) {
            let schema = &spec.schema["properties"][field.name];
            assert_eq!(schema["type"], "string", "{}: {}", spec.kind, field.name);
        }
    }
}

/// One type as the specification has it, or as the catalogue tells it: the same words for both.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    kind: String,
    phase: String,
    workflow: Option<String>,
    /// `email:email`, with `?` where it may be missing.
    fields: Vec<String>,
    personal: Vec<String>,
    aliases: Vec<String>,
    audit: String,
    priority: Priority,
    category: &'static str,
}

impl Entry {
    fn specified(event: &toml::Table) -> Self {
        let text = |key: &str| {
            event
                .get(key)
                .and_then(|value| value.as_str())
                .map(str::to_owned)
        };
        let list = |key: &str| {
            let values = event.get(key).and_then(|value| value.as_array());
            let words = values
                .into_iter()
                .flatten()
                .filter_map(|value| value.as_str());
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        let fields = list("fields");
        let kind = text("type").expect("every event has a type");
        let personal = |field: &&String| {
            let (_, kind) = field.split_once(':').expect("name:type");
            ["email", "ip", "agent"].contains(&kind.trim_end_matches('?'))
        };
        Self {
            name: text("name").expect("every event has a name"),
            phase: text("phase").expect("every event has a phase"),
            workflow: text("workflow"),
            personal: fields.iter().filter(personal).cloned().collect(),
            fields,
            aliases: list("also"),
            audit: text("audit").expect("every event has an action"),
            priority: priority(&kind),
            category: category(&kind),
            kind,
        }
    }

    fn ours(spec: &EventSpec) -> Self {
        let field = |field: &quivive_delivery::catalogue::Field| {
            format!(
                "{}:{}{}",
                field.name,
                field.kind,
                if field.optional { "?" } else { "" }
            )
        };
        let phase = match spec.phase {
            Phase::Attempted => "attempted",
            Phase::Succeeded => "succeeded",
            Phase::Failed => "failed",
            Phase::Fact => "fact",
        };
        Self {
            name: spec.name.to_owned(),
            kind: spec.kind.to_owned(),
            phase: phase.to_owned(),
            workflow: spec.workflow.map(str::to_owned),
            fields: spec.fields.iter().map(field).collect(),
            personal: spec
                .fields
                .iter()
                .filter(|f| f.personal)
                .map(field)
                .collect(),
            aliases: spec.aliases.iter().map(ToString::to_string).collect(),
            audit: spec.audit_action.to_owned(),
            priority: spec.priority,
            category: spec.category,
        }
    }
}

/// The rule in the specification's header, in its own words.
fn priority(kind: &str) -> Priority {
    let is = |word: &str| {
        kind.split('.')
            .any(|part| part == word || part.starts_with(&format!("{word}_")))
    };
    let critical = [
        "token.reuse_detected",
        "delivery.dead_lettered",
        "audit.compliance_violation",
    ];
    if kind.starts_with("risk.") || kind.ends_with(".family_revoked") || critical.contains(&kind) {
        Priority::Critical
    } else if kind.ends_with(".failed")
        && ["login", "refresh", "mfa", "password"].into_iter().any(is)
    {
        Priority::High
    } else if kind.ends_with(".attempted") {
        Priority::Low
    } else {
        Priority::Normal
    }
}

fn category(kind: &str) -> &'static str {
    match kind.split('.').next().expect("dotted") {
        "user" | "token" | "session" | "mfa" | "device" | "risk" | "ip" => "security",
        "audit" | "permission" | "role" | "operator" | "api_key" => "compliance",
        "seller" | "profile" => "business",
        _ => "operation",
    }
}

fn specification() -> Vec<toml::Table> {
    let path = here().join("../../spec/events.toml");
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let table: toml::Table = text.parse().expect("TOML");
    let events = table["event"].as_array().expect("a list");
    events
        .iter()
        .map(|event| event.as_table().expect("a table").clone())
        .collect()
}

#[test]
fn every_type_is_as_specified() {
    let specification = specification();
    let is_specified = |workflow: &&str| {
        let known =
            |event: &toml::Table| event.get("workflow").and_then(|w| w.as_str()) == Some(*workflow);
        specification.iter().any(known)
    };
    let mut ours = BTreeSet::new();
    for spec in specs() {
        let found = specification
            .iter()
            .find(|event| event["type"].as_str() == Some(spec.kind));
        if let Some(event) = found {
            assert_eq!(Entry::ours(&spec), Entry::specified(event), "left: ours");
            continue;
        }
        let own_workflow = spec.workflow.filter(|workflow| !is_specified(workflow));
        let name = own_workflow.unwrap_or(spec.kind);
        ours.insert(name);
        assert!(
            OURS.contains(&name),
            "spec/events.toml does not know {}. If it should, it has another `type` there: give the event that one. If it is \
             our own, add {name:?} to the list OURS in crates/app/src/switchboard/tests.rs",
            spec.kind
        );
    }
    let gone: Vec<_> = OURS.iter().filter(|name| !ours.contains(*name)).collect();
    assert!(
        gone.is_empty(),
        "the list OURS in crates/app/src/switchboard/tests.rs names {gone:?}, which nothing is or spec/events.toml knows by \
         now: take it out of the list"
    );
}

/// A note may end in a sentence; what stands before it is the list.
fn reasons(note: &str) -> Option<BTreeSet<&str>> {
    let list = note.strip_prefix("reasons: ")?;
    let list = list.split([';', '.']).next()?;
    Some(list.split_whitespace().collect())
}

#[test]
fn every_reason_is_a_specified_one_or_the_kernels() {
    let specification = specification();
    for spec in specs().iter().filter(|spec| spec.phase == Phase::Failed) {
        let Some(event) = specification
            .iter()
            .find(|event| event["type"].as_str() == Some(spec.kind))
        else {
            continue; // one of ours: its reasons are its refusals
        };
        let mut known = event
            .get("note")
            .and_then(|note| reasons(note.as_str()?))
            .unwrap_or_default();
        // The last is ours: what reacts in the commit may refuse any workflow.
        known.extend(["interrupted", "conflict", "internal", "vetoed"]);
        let properties = &spec.schema["properties"];
        let fields = ["failure_reason", "reason"].map(|field| properties[field]["enum"].as_array());
        let given = fields.into_iter().flatten().next();
        let given = given.unwrap_or_else(|| panic!("{} lists its reasons", spec.kind));
        for reason in given.iter().filter_map(|reason| reason.as_str()) {
            let ours = OUR_REASONS.contains(&(spec.kind, reason));
            assert!(
                known.contains(reason) != ours,
                "{}: {reason} is {} of {known:?}, which spec/events.toml has for it. A reason of our own, and no other, is in \
                 the list OUR_REASONS in crates/app/src/switchboard/tests.rs",
                spec.kind,
                if ours { "one" } else { "none" }
            );
        }
    }
}

/// A workflow that no switchboard names would have no catalogue entry and no way to be closed after a crash.
#[test]
fn every_workflow_file_is_named() {
    let switchboard = include_str!("../switchboard.rs");
    let folder = here().join("src/workflows");
    let mut files = files(&folder);
    let is_test = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs";
    files.retain(|file| {
        let path = file.strip_prefix(&folder).expect("below it");
        !path.iter().any(is_test)
    });
    assert!(files.len() >= 12);
    for file in files {
        let path = file
            .strip_prefix(&folder)
            .expect("below it")
            .with_extension("");
        let path = path
            .iter()
            .map(|part| part.to_str().expect("UTF-8"))
            .collect::<Vec<_>>()
            .join("::");
        assert!(
            switchboard.contains(&format!("<{path}::")),
            "{path} is not named in crates/app/src/switchboard.rs: add a line `.workflow::<{path}::…>()?`, and its `pub mod` \
             to crates/app/src/workflows.rs if it is not there"
        );
    }
}

/// The same for subscribers.
#[test]
fn every_subscriber_file_is_named() {
    let switchboard = include_str!("../switchboard.rs");
    // A file in a folder there belongs to a subscriber, as its tests do.
    let own = |file: &PathBuf| file.parent().is_some_and(|it| it.ends_with("subscribers"));
    let all = files(&here().join("src/subscribers"));
    for file in all.into_iter().filter(own) {
        let name = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a name");
        let named = switchboard.contains(&format!("subscribers::{name}::subscription("));
        assert!(
            named,
            "{name} is not named in crates/app/src/switchboard.rs: add a line `subscribers::{name}::subscription(…),`, and its \
             `pub mod` to crates/app/src/subscribers.rs if it is not there"
        );
    }
}
