//! `docs/events.md`, the catalogue for people: written by this test, compared ever after.

use std::fmt::Write as _;
use std::fs;

use quivive_delivery::EventSpec;
use quivive_delivery::catalogue::Field;

use super::{here, specs, update};

const HEAD: &str = "\
# Events

Every event type there is, in reading order. This page is written by a test from the catalogue of the code:
`UPDATE_GOLDEN=1 cargo test -p quivive-app page`. The schemas are in `crates/app/schemas`, and a running server gives
them at `/api/v1/events/schemas`; `quivive asyncapi` prints all of them as messages.

A workflow raises `.attempted`, then exactly one of `.succeeded` and `.failed`; a fact stands alone. What every event has
besides its fields (id, position, times, workflow, correlation, cause, subject, actor) is in the API's documentation at
`/api/docs`. Personal fields are encrypted in the log and null wherever they are not opened.
";

/// Under which heading an event stands.
fn heading(spec: &EventSpec) -> String {
    let words = spec.workflow.map_or_else(
        || spec.kind.split('.').next().expect("dotted").to_owned() + " facts",
        |workflow| workflow.replace('_', " "),
    );
    let (first, rest) = words.split_at(1);
    first.to_uppercase() + rest
}

fn remark(spec: &EventSpec, field: &Field) -> String {
    let mut remarks = Vec::new();
    if field.personal {
        remarks.push("personal".to_owned());
    }
    if field.optional {
        remarks.push("may be null".to_owned());
    }
    if let Some(values) = spec.schema["properties"][field.name]["enum"].as_array() {
        let values = values.iter().filter_map(|value| value.as_str());
        remarks.push(
            values
                .map(|value| format!("`{value}`"))
                .collect::<Vec<_>>()
                .join(" "),
        );
    }
    remarks.join("; ")
}

fn section(page: &mut String, spec: &EventSpec) {
    let priority = spec.priority.as_str();
    let _ = write!(
        page,
        "\n### `{}`\n\n`{}` version {}, {} / {priority}, in the audit trail `{}`",
        spec.kind, spec.name, spec.version, spec.category, spec.audit_action
    );
    if !spec.aliases.is_empty() {
        let _ = write!(page, ". Also `{}`", spec.aliases.join("`, `"));
    }
    page.push_str(".\n");
    if spec.fields.is_empty() {
        return;
    }
    page.push_str("\n| field | type | |\n|---|---|---|\n");
    for field in &spec.fields {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} |",
            field.name,
            field.kind,
            remark(spec, field)
        );
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut last = String::new();
    for spec in specs() {
        let heading = heading(&spec);
        if heading != last {
            let _ = write!(page, "\n## {heading}\n");
            last = heading;
        }
        section(&mut page, &spec);
    }
    page
}

#[test]
fn the_page_of_events_is_that_of_the_catalogue() {
    let file = here().join("../../docs/events.md");
    let page = page();
    if update() {
        fs::write(&file, &page).expect("a file");
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        page == committed,
        "docs/events.md differs: UPDATE_GOLDEN=1 writes it; look at git diff"
    );
}
