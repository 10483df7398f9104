//! Whether a schema may take the place of another of the same type and version.
//!
//! A published version has readers on two sides. This program must read for ever what was stored with the old schema;
//! programs of others, written for the old one, must understand what is raised with the new one. So a change is compatible
//! when it only adds: a field that may be missing, a value of an enum, words for people. Whatever else changes is a new
//! version, and an upcaster to it from the one before ([`crate::event::Past`]).

mod instance;

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

pub use instance::{Misfit, misfits, unsupported};

/// Keywords that are for people.
const WORDS: [&str; 6] = [
    "$schema",
    "$comment",
    "title",
    "description",
    "examples",
    "deprecated",
];

/// Why a golden schema does not stand any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    #[error(
        "{kind} was published and is gone: its events are in the log for ever. Declare it again"
    )]
    Type { kind: String },
    #[error(
        "{kind} has no version {version} here: the schema is of a newer program, or the version was taken out of `past`"
    )]
    Version { kind: String, version: u32 },
    #[error(
        "{kind} v{version} is frozen, and {}. Leave version {version} as it was, and add version {} with an upcaster \
         (`#[event(version = {1}, past = [...])]`; see `quivive_delivery::event::Past`)",
        list(.breaks),
        .version + 1
    )]
    Breaks {
        kind: String,
        version: u32,
        breaks: Vec<Break>,
    },
}

impl Incompatible {
    /// The fields whose change breaks a reader.
    pub fn fields(&self) -> Vec<&str> {
        match self {
            Self::Type { .. } | Self::Version { .. } => Vec::new(),
            Self::Breaks { breaks, .. } => breaks.iter().map(|b| b.field.as_str()).collect(),
        }
    }
}

fn list(breaks: &[Break]) -> String {
    let told: Vec<_> = breaks.iter().map(ToString::to_string).collect();
    told.join("; ")
}

/// One change that breaks a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// `email`, `lines[].price`; empty for the event itself.
    pub field: String,
    pub change: Change,
}

/// What became of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Removed,
    /// It is new, and stored events do not have it.
    AddedAsRequired,
    MadeRequired,
    MadeOptional,
    MadePersonal,
    MadeOpen,
    /// Values that its enum had.
    ValuesRemoved(Vec<String>),
    /// A keyword of its schema, before and after; null where it is not there.
    Keyword {
        name: String,
        before: Value,
        after: Value,
    },
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str("the event")?;
        } else {
            write!(f, "its field `{}`", self.field)?;
        }
        match &self.change {
            Change::Removed => f.write_str(" was removed"),
            Change::AddedAsRequired => {
                f.write_str(" was added as a required one, which stored events do not have")
            }
            Change::MadeRequired => f.write_str(" was made required"),
            Change::MadeOptional => f.write_str(" was made optional"),
            Change::MadePersonal => f.write_str(" was made personal"),
            Change::MadeOpen => f.write_str(" is not personal any more"),
            Change::ValuesRemoved(values) => write!(f, " lost the value {}", values.join(", ")),
            Change::Keyword {
                name,
                before,
                after,
            } => write!(f, " has another `{name}`: {before} before, {after} now"),
        }
    }
}

/// What of a change from `old` to `new` breaks a reader; empty when the change is compatible.
pub fn breaks(old: &Value, new: &Value) -> Vec<Break> {
    let mut breaks = Vec::new();
    compare("", old, new, &mut breaks);
    breaks
}

/// One schema with another, `at` being the path of the field.
fn compare(at: &str, old: &Value, new: &Value, breaks: &mut Vec<Break>) {
    let mut found = |change| {
        breaks.push(Break {
            field: at.to_owned(),
            change,
        });
    };
    match (is_personal(old), is_personal(new)) {
        (false, true) => found(Change::MadePersonal),
        (true, false) => found(Change::MadeOpen),
        (true, true) | (false, false) => {}
    }
    let both = |name: &str| (old.get(name), new.get(name));
    for name in keys(old).union(&keys(new)) {
        let (before, after) = both(name);
        match (*name, before, after) {
            ("x-personal" | "properties" | "required", ..) => {}
            (name, ..) if WORDS.contains(&name) => {}
            ("items", Some(_), Some(_)) => {}
            ("enum", Some(Value::Array(before)), Some(Value::Array(after))) => {
                let lost: Vec<_> = before
                    .iter()
                    .filter(|value| !after.contains(value))
                    .map(ToString::to_string)
                    .collect();
                if !lost.is_empty() {
                    found(Change::ValuesRemoved(lost));
                }
            }
            ("type", Some(before), Some(after)) if types(before) == types(after) => {}
            (name, before, after) if before != after => found(Change::Keyword {
                name: name.to_owned(),
                before: before.cloned().unwrap_or_default(),
                after: after.cloned().unwrap_or_default(),
            }),
            _ => {}
        }
    }
    if let (Some(before), Some(after)) = both("items") {
        compare(&format!("{at}[]"), before, after, breaks);
    }
    compare_fields(at, old, new, breaks);
}

fn compare_fields(at: &str, old: &Value, new: &Value, breaks: &mut Vec<Break>) {
    let none = Value::Null;
    let (before, after) = (
        old.get("properties").unwrap_or(&none),
        new.get("properties").unwrap_or(&none),
    );
    for name in keys(before).union(&keys(after)) {
        let field = if at.is_empty() {
            (*name).to_owned()
        } else {
            format!("{at}.{name}")
        };
        let (was_required, is_required) = (is_required(old, name), is_required(new, name));
        let change = match (before.get(name), after.get(name)) {
            (Some(_), None) => Change::Removed,
            (None, _) if is_required => Change::AddedAsRequired,
            (None, _) => continue,
            // Whether it may be null follows from that, and is no second change.
            (Some(_), Some(_)) if is_required && !was_required => Change::MadeRequired,
            (Some(_), Some(_)) if was_required && !is_required => Change::MadeOptional,
            (Some(before), Some(after)) => {
                compare(&field, before, after, breaks);
                continue;
            }
        };
        breaks.push(Break { field, change });
    }
}

fn keys(object: &Value) -> BTreeSet<&str> {
    let object = object.as_object();
    object
        .into_iter()
        .flat_map(|object| object.keys().map(String::as_str))
        .collect()
}

/// `"string"` and `["string"]` are the same, and order says nothing.
fn types(value: &Value) -> BTreeSet<&str> {
    match value {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

fn is_personal(schema: &Value) -> bool {
    schema.get("x-personal").is_some_and(|flag| flag == true)
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema
        .get("required")
        .and_then(Value::as_array)
        .is_some_and(|required| required.iter().any(|field| field == name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An event with a field `it`, and the field `id` that every version has.
    fn event(it: Value, required: bool) -> Value {
        let mut required_fields = vec!["id"];
        required_fields.extend(required.then_some("it"));
        let mut properties = json!({"id": {"type": "string", "format": "uuid"}});
        if !it.is_null() {
            properties["it"] = it;
        }
        json!({"title": "Toy", "type": "object", "properties": properties, "required": required_fields})
    }

    /// What is said of the change of one field, without its name.
    fn told(old: &Value, new: &Value) -> Vec<String> {
        breaks(old, new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_only_adds_is_compatible() {
        let text = || json!({"type": "string"});
        let optional = json!({"type": ["string", "null"]});
        for (old, new) in [
            (event(Value::Null, false), event(optional.clone(), false)),
            (
                event(optional, false),
                event(json!({"type": ["null", "string"]}), false),
            ),
            (
                event(text(), true),
                event(json!({"type": ["string"], "description": "new"}), true),
            ),
            (
                event(json!({"type": "string", "enum": ["a", "b"]}), true),
                event(json!({"type": "string", "enum": ["b", "c", "a"]}), true),
            ),
            (
                event(
                    json!({"type": "string", "x-personal": true, "description": "a"}),
                    true,
                ),
                event(json!({"type": "string", "x-personal": true}), true),
            ),
            (
                event(json!({"type": "object", "properties": {}}), true),
                event(
                    json!({"type": "object", "properties": {"more": {"type": "string"}}}),
                    true,
                ),
            ),
        ] {
            assert_eq!(breaks(&old, &new), [], "{old} {new}");
            assert_eq!(breaks(&new, &new), [], "{new}");
        }
        let mut renamed = event(text(), true);
        renamed["title"] = json!("Renamed");
        assert_eq!(breaks(&event(text(), true), &renamed), []);
    }

    #[test]
    fn whatever_else_changes_is_not_and_names_the_field() {
        let (text, nothing) = (json!({"type": "string"}), Value::Null);
        let codes = |codes: &[&str]| json!({"type": "string", "enum": codes});
        let list = |items: Value| json!({"type": "array", "items": items});
        for (old, new, said) in [
            (
                event(text.clone(), true),
                event(nothing.clone(), false),
                "its field `it` was removed",
            ),
            (
                event(text.clone(), false),
                event(nothing.clone(), false),
                "its field `it` was removed",
            ),
            (
                event(nothing, false),
                event(text.clone(), true),
                "its field `it` was added as a required one, which stored events do not have",
            ),
            (
                event(json!({"type": ["string", "null"]}), false),
                event(text.clone(), true),
                "its field `it` was made required",
            ),
            (
                event(text.clone(), true),
                event(json!({"type": ["string", "null"]}), false),
                "its field `it` was made optional",
            ),
            (
                event(text.clone(), true),
                event(json!({"type": "string", "x-personal": true}), true),
                "its field `it` was made personal",
            ),
            (
                event(json!({"type": "string", "x-personal": true}), true),
                event(text.clone(), true),
                "its field `it` is not personal any more",
            ),
            (
                event(text.clone(), true),
                event(json!({"type": "integer"}), true),
                "its field `it` has another `type`: \"string\" before, \"integer\" now",
            ),
            (
                event(text.clone(), true),
                event(json!({"type": "string", "format": "uuid"}), true),
                "its field `it` has another `format`: null before, \"uuid\" now",
            ),
            (
                event(codes(&["a", "b"]), true),
                event(codes(&["a"]), true),
                "its field `it` lost the value \"b\"",
            ),
            (
                event(text.clone(), true),
                event(codes(&["a"]), true),
                "its field `it` has another `enum`: null before, [\"a\"] now",
            ),
            (
                event(list(text.clone()), true),
                event(list(json!({"type": "integer"})), true),
                "its field `it[]` has another `type`: \"string\" before, \"integer\" now",
            ),
            (
                event(
                    list(json!({"type": "object", "properties": {"a": text}})),
                    true,
                ),
                event(list(json!({"type": "object", "properties": {}})), true),
                "its field `it[].a` was removed",
            ),
        ] {
            assert_eq!(told(&old, &new), [said], "{old} {new}");
        }
        let closed = json!({"type": "object", "additionalProperties": false});
        assert_eq!(
            told(&json!({"type": "object"}), &closed),
            ["the event has another `additionalProperties`: null before, false now"]
        );
    }

    #[test]
    fn the_advice_names_the_next_version() {
        let broken = Incompatible::Breaks {
            kind: "toy.made".to_owned(),
            version: 2,
            breaks: vec![Break {
                field: "it".to_owned(),
                change: Change::Removed,
            }],
        };
        let said = broken.to_string();
        assert!(
            said.contains("toy.made v2 is frozen, and its field `it` was removed.")
                && said.contains("add version 3 with an upcaster (`#[event(version = 3"),
            "{said}"
        );
    }
}
