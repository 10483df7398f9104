//! What was published stands: the golden schemas, and a stored sample of each version, which is read for ever.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use quivive_delivery::{Body, Catalogue, EventSpec};
use serde_json::{Map, Value, json};

use super::{files, here, update, workflows};

fn catalogue() -> Catalogue {
    workflows().expect("no name twice").catalogue().clone()
}

/// `schemas/<type>/v<N>.json`, with the sample beside it.
fn schema_of(kind: &str, version: u32) -> PathBuf {
    here()
        .join("schemas")
        .join(kind)
        .join(format!("v{version}.json"))
}

fn sample_of(kind: &str, version: u32) -> PathBuf {
    schema_of(kind, version).with_extension("sample.json")
}

fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file);
    text.map_err(|error| error.to_string())
        .and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()))
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn write(file: &Path, value: &Value) {
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    let text = serde_json::to_string_pretty(value).expect("JSON") + "\n";
    fs::write(file, text).expect("a file");
}

/// The types and versions that have a file of this ending.
fn published(ending: &str) -> Vec<(String, u32)> {
    let files = files(&here().join("schemas")).into_iter();
    let of_file = |file: PathBuf| {
        let name = file.file_name()?.to_str()?;
        let version = name.strip_prefix('v')?.strip_suffix(ending)?.parse().ok()?;
        let kind = file.parent()?.file_name()?.to_str()?;
        Some((kind.to_owned(), version))
    };
    files.filter_map(of_file).collect()
}

/// `UPDATE_GOLDEN=1` writes the schemas that are new, and changes that break no reader. Against any other change it does
/// not help: that is a new version.
#[test]
fn published_schemas_are_frozen() {
    let catalogue = catalogue();
    let broken: Vec<_> = published(".json")
        .iter()
        .filter_map(|(kind, version)| {
            let schema = read(&schema_of(kind, *version));
            catalogue.keeps(kind, *version, &schema).err()
        })
        .map(|error| error.to_string())
        .collect();
    assert!(
        broken.is_empty(),
        "{}\nA version that only this change knows was not published yet: delete its files in crates/app/schemas, and \
         UPDATE_GOLDEN=1 writes them anew",
        broken.join("\n")
    );
    for spec in catalogue.all() {
        let file = schema_of(spec.kind, spec.version);
        if update() {
            write(&file, &spec.schema);
        }
        assert!(
            file.exists() && read(&file) == spec.schema,
            "{} v{} is new, or has changed in a way that breaks no reader: UPDATE_GOLDEN=1 writes {}; look at git diff",
            spec.kind,
            spec.version,
            file.display()
        );
    }
}

/// The fields of an event as they were stored.
fn body(sample: &Value) -> Body {
    let half = |name: &str| {
        let half = sample.get(name)?;
        Some(half.to_string().into_bytes())
    };
    Body {
        open: half("open").expect("every event has an open half"),
        personal: half("personal"),
    }
}

/// Both halves of what was stored, as one object.
fn fields(body: &Body) -> Map<String, Value> {
    let halves = [Some(&body.open), body.personal.as_ref()]
        .into_iter()
        .flatten();
    halves
        .flat_map(|half| serde_json::from_slice::<Map<String, Value>>(half).expect("an object"))
        .collect()
}

/// A sample is written when a version is new, and is never written again.
#[test]
fn what_was_stored_is_read_for_ever() {
    let catalogue = catalogue();
    for spec in catalogue.all() {
        let file = sample_of(spec.kind, spec.version);
        if update() && !file.exists() {
            write(&file, &made_up(spec));
        }
    }
    let versions = |spec: &EventSpec| {
        (1..=spec.version)
            .map(|version| (spec.kind.to_owned(), version))
            .collect::<Vec<_>>()
    };
    let wanted: BTreeSet<_> = catalogue.all().iter().flat_map(versions).collect();
    let there: BTreeSet<_> = published(".sample.json").into_iter().collect();
    let missing: Vec<_> = wanted.difference(&there).collect();
    assert!(
        missing.is_empty(),
        "{missing:?} have no sample in crates/app/schemas: UPDATE_GOLDEN=1 writes that of a current version, once; that of an \
         older one is in the history, for none is ever deleted"
    );
    let left: Vec<_> = there.difference(&wanted).collect();
    assert!(
        left.is_empty(),
        "{left:?} have a sample in crates/app/schemas and are declared nowhere"
    );
    for (kind, version) in wanted {
        let spec = catalogue.spec(&kind).expect("it is wanted");
        let sample = read(&sample_of(&kind, version));
        let stored = body(&sample);
        let again = spec.rewrite(version, &stored).unwrap_or_else(|error| {
            panic!("the sample of {kind} v{version} cannot be read any more: {error}")
        });
        if version == spec.version {
            let again = fields(&again);
            for (name, value) in fields(&stored) {
                assert_eq!(
                    again.get(&name),
                    Some(&value),
                    "{name} of {kind} v{version}"
                );
            }
        }
    }
}

/// A sample of a new version, with every field.
fn made_up(spec: &EventSpec) -> Value {
    let (mut open, mut personal) = (Map::new(), Map::new());
    for field in &spec.fields {
        let value = value_of(&spec.schema["properties"][field.name]);
        let half = if field.personal {
            &mut personal
        } else {
            &mut open
        };
        half.insert(field.name.to_owned(), value);
    }
    if spec.fields.iter().any(|field| field.personal) {
        json!({"open": open, "personal": personal})
    } else {
        json!({"open": open})
    }
}

/// Some value that a schema allows.
fn value_of(schema: &Value) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        return values[0].clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => &kinds[0],
        kind => kind,
    };
    match (kind.as_str(), schema["format"].as_str()) {
        (Some("string"), Some("uuid")) => json!("0195d4a0-0000-7000-8000-000000000001"),
        (Some("string"), Some("email")) => json!("ada@example.org"),
        (Some("string"), Some("date-time")) => json!("2026-01-02T03:04:05.678901Z"),
        (Some("string"), Some("digest")) => json!("0123456789abcdef".repeat(4)),
        (Some("string"), _) => json!("example"),
        (Some("integer"), _) => json!(7),
        (Some("boolean"), _) => json!(true),
        (Some("array"), _) => json!([value_of(&schema["items"])]),
        _ => panic!("write the sample by hand: no value is known for {schema}"),
    }
}
