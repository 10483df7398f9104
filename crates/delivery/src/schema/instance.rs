//! Whether a value is as a schema says: for types whose schema came from outside and that no Rust type stands for.
//!
//! A subset of JSON Schema (draft 2020-12), each keyword of which is checked in full. A schema with any other keyword is
//! refused ([`unsupported`]): whoever wrote it would rely on what nobody looks at.

use serde_json::{Map, Value};

use super::WORDS;
use crate::clock::Time;

/// How deep a schema may go.
const MAX_DEPTH: usize = 16;

/// The formats that are checked.
const FORMATS: [&str; 5] = ["date-time", "date", "uuid", "email", "uri"];

const TYPES: [&str; 7] = [
    "object", "array", "string", "integer", "number", "boolean", "null",
];

/// What is wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// A JSON Pointer (RFC 6901) into the value, or into the schema.
    pub pointer: String,
    pub message: String,
}

impl Misfit {
    fn at(pointer: &str, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.to_owned(),
            message: message.into(),
        }
    }
}

/// The first thing in a schema of an event's data that cannot be checked, if there is one.
pub fn unsupported(schema: &Value) -> Option<Misfit> {
    let checked = judge(schema, "", 0).and_then(|()| {
        if schema["type"] == "object" {
            Ok(())
        } else {
            Err(Misfit::at(
                "/type",
                "The data of an event are an object: `\"type\": \"object\"`.",
            ))
        }
    });
    checked.err()
}

fn judge(schema: &Value, at: &str, depth: usize) -> Result<(), Misfit> {
    let Some(keywords) = schema.as_object() else {
        return Err(Misfit::at(at, "A schema is an object."));
    };
    if depth > MAX_DEPTH {
        return Err(Misfit::at(
            at,
            format!("At most {MAX_DEPTH} schemas inside each other."),
        ));
    }
    for (name, value) in keywords {
        let here = format!("{at}/{}", escaped(name));
        let wrong = |message: &str| Err(Misfit::at(&here, message));
        match name.as_str() {
            "type" if !is_type(value) => {
                return wrong("One of the types of JSON, or a list of them.");
            }
            "properties" => fields(value, &here, depth)?,
            "items" => judge(value, &here, depth + 1)?,
            "required"
                if !texts(value).is_some_and(|names| {
                    names
                        .iter()
                        .all(|name| schema["properties"].get(*name).is_some())
                }) =>
            {
                return wrong("A list of names of its `properties`.");
            }
            "enum" if value.as_array().is_none_or(Vec::is_empty) => {
                return wrong("A list of at least one value.");
            }
            "format"
                if !value
                    .as_str()
                    .is_some_and(|format| FORMATS.contains(&format)) =>
            {
                return wrong(&format!(
                    "Of the formats, these are checked: {}.",
                    FORMATS.join(", ")
                ));
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" if value.as_u64().is_none() => {
                return wrong("A number, 0 or more.");
            }
            "minimum" | "maximum" if !value.is_number() => return wrong("A number."),
            "additionalProperties" if !value.is_boolean() => {
                return wrong("`true` or `false`; a schema here is not checked.");
            }
            // What is sealed is a whole field of the event: one that lies deeper would be half in clear.
            "x-personal" if !value.is_boolean() || depth != 1 || at.starts_with("/items") => {
                return wrong("`true` or `false`, of a field of the event itself.");
            }
            "type"
            | "required"
            | "enum"
            | "format"
            | "minLength"
            | "maxLength"
            | "minItems"
            | "maxItems"
            | "minimum"
            | "maximum"
            | "additionalProperties"
            | "x-personal" => {}
            word if WORDS.contains(&word) => {}
            word => {
                return wrong(&format!(
                    "`{word}` is not checked here, so it may not be in a schema."
                ));
            }
        }
    }
    Ok(())
}

fn fields(properties: &Value, at: &str, depth: usize) -> Result<(), Misfit> {
    let Some(fields) = properties.as_object() else {
        return Err(Misfit::at(at, "An object: a schema for each field."));
    };
    for (name, schema) in fields {
        judge(schema, &format!("{at}/{}", escaped(name)), depth + 1)?;
    }
    Ok(())
}

fn is_type(value: &Value) -> bool {
    let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    match value {
        Value::Array(several) => !several.is_empty() && several.iter().all(known),
        one => known(one),
    }
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

/// All that is wrong with a value by a schema that [`unsupported`] has nothing against; at most `limit`.
pub fn misfits(schema: &Value, value: &Value, limit: usize) -> Vec<Misfit> {
    let mut found = Vec::new();
    check(schema, value, "", &mut found);
    found.truncate(limit);
    found
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<Misfit>) {
    let mut wrong = |message: String| found.push(Misfit::at(at, message));
    let types = super::types(&schema["type"]);
    if !types.is_empty() && !types.iter().any(|name| is_of(name, value)) {
        let types: Vec<_> = types.into_iter().collect();
        return wrong(format!("Must be of type {}.", types.join(" or ")));
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        wrong(format!("Must be one of {}.", Value::from(values.clone())));
    }
    match value {
        Value::String(text) => check_text(schema, text, &mut wrong),
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            let bound = |name: &str| schema[name].as_f64();
            if bound("minimum").is_some_and(|least| number < least) {
                wrong(format!("At least {}.", schema["minimum"]));
            }
            if bound("maximum").is_some_and(|most| number > most) {
                wrong(format!("At most {}.", schema["maximum"]));
            }
        }
        Value::Array(items) => {
            check_length(
                schema,
                ["minItems", "maxItems"],
                items.len(),
                "items",
                &mut wrong,
            );
            if let Some(each) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    check(each, item, &format!("{at}/{index}"), found);
                }
            }
        }
        Value::Object(fields) => check_fields(schema, fields, at, found),
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_text(schema: &Value, text: &str, wrong: &mut impl FnMut(String)) {
    check_length(
        schema,
        ["minLength", "maxLength"],
        text.chars().count(),
        "characters",
        wrong,
    );
    if let Some(format) = schema["format"].as_str()
        && !is_in_format(format, text)
    {
        wrong(format!("Must be in the format {format}."));
    }
}

fn check_length(
    schema: &Value,
    [least, most]: [&str; 2],
    length: usize,
    unit: &str,
    wrong: &mut impl FnMut(String),
) {
    let length = length as u64;
    if let Some(least) = schema[least].as_u64().filter(|least| length < *least) {
        wrong(format!("At least {least} {unit}."));
    }
    if let Some(most) = schema[most].as_u64().filter(|most| length > *most) {
        wrong(format!("At most {most} {unit}."));
    }
}

fn check_fields(schema: &Value, fields: &Map<String, Value>, at: &str, found: &mut Vec<Misfit>) {
    let here = |name: &str| format!("{at}/{}", escaped(name));
    for name in texts(&schema["required"]).into_iter().flatten() {
        if !fields.contains_key(name) {
            found.push(Misfit::at(&here(name), "Required."));
        }
    }
    for (name, value) in fields {
        match schema["properties"].get(name) {
            Some(each) => check(each, value, &here(name), found),
            None if schema["additionalProperties"] == false => {
                found.push(Misfit::at(
                    &here(name),
                    "There is no such field in the schema.",
                ));
            }
            None => {}
        }
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match (name, value) {
        ("integer", Value::Number(number)) => {
            let whole = |number: f64| number.fract() == 0.0;
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(whole)
        }
        ("object", Value::Object(_))
        | ("array", Value::Array(_))
        | ("string", Value::String(_))
        | ("number", Value::Number(_))
        | ("boolean", Value::Bool(_))
        | ("null", Value::Null) => true,
        _ => false,
    }
}

fn is_in_format(format: &str, text: &str) -> bool {
    match format {
        "date-time" => text.parse::<Time>().is_ok(),
        "date" => text.len() == 10 && format!("{text}T00:00:00Z").parse::<Time>().is_ok(),
        "uuid" => text.len() == 36 && uuid::Uuid::try_parse(text).is_ok(),
        // As much as can be said without sending a letter.
        "email" => text.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !text.contains(char::is_whitespace)
        }),
        "uri" => text.split_once(':').is_some_and(|(scheme, rest)| {
            let letter = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(letter)
                && !rest.is_empty()
                && !text.contains(char::is_whitespace)
        }),
        _ => true,
    }
}

/// A name as it stands in a JSON Pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order() -> Value {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "id": {"type": "string", "format": "uuid", "description": "ours"},
                "lines": {"type": "array", "minItems": 1, "maxItems": 2, "items": {
                    "type": "object",
                    "properties": {"count": {"type": "integer", "minimum": 1, "maximum": 9}},
                    "required": ["count"],
                    "additionalProperties": false,
                }},
                "state": {"enum": ["new", "paid"]},
                "note": {"type": ["string", "null"], "minLength": 2, "maxLength": 4},
                "buyer": {"type": "string", "x-personal": true, "format": "email"},
                "at": {"type": "string", "format": "date-time"},
                "day": {"type": "string", "format": "date"},
                "page": {"type": "string", "format": "uri"},
                "a/b": {"type": "boolean"},
                "share": {"type": "number"},
            },
            "required": ["id"],
        })
    }

    const ID: &str = "0195d4a0-0000-7000-8000-000000000001";

    #[test]
    fn what_fits_has_nothing_wrong() {
        assert_eq!(unsupported(&order()), None);
        for value in [
            json!({"id": ID}),
            json!({"id": ID, "lines": [{"count": 1}, {"count": 9.0}], "state": "paid", "note": "äöü", "more": {"x": 1}}),
            json!({"id": ID, "note": null, "buyer": "a@b", "at": "2026-01-02T03:04:05Z", "day": "2024-02-29", "page": "urn:x",
                "a/b": true, "share": 0.5}),
        ] {
            assert_eq!(misfits(&order(), &value, 10), [], "{value}");
        }
    }

    #[test]
    fn what_does_not_is_pointed_at() {
        for (field, value, pointer, message) in [
            ("id", json!(7), "/id", "Must be of type string."),
            ("id", json!("7"), "/id", "Must be in the format uuid."),
            ("lines", json!([]), "/lines", "At least 1 items."),
            (
                "lines",
                json!([{"count": 1}, {"count": 1}, {"count": 1}]),
                "/lines",
                "At most 2 items.",
            ),
            (
                "lines",
                json!([{"count": 1}, {"count": 1.5}]),
                "/lines/1/count",
                "Must be of type integer.",
            ),
            (
                "lines",
                json!([{"count": 0}]),
                "/lines/0/count",
                "At least 1.",
            ),
            (
                "lines",
                json!([{"count": 10}]),
                "/lines/0/count",
                "At most 9.",
            ),
            ("lines", json!([{}]), "/lines/0/count", "Required."),
            (
                "lines",
                json!([{"count": 1, "price": 2}]),
                "/lines/0/price",
                "There is no such field in the schema.",
            ),
            (
                "state",
                json!("gone"),
                "/state",
                "Must be one of [\"new\",\"paid\"].",
            ),
            ("note", json!("a"), "/note", "At least 2 characters."),
            ("note", json!("abcde"), "/note", "At most 4 characters."),
            (
                "note",
                json!(false),
                "/note",
                "Must be of type null or string.",
            ),
            (
                "buyer",
                json!("ada"),
                "/buyer",
                "Must be in the format email.",
            ),
            (
                "at",
                json!("2026-01-02"),
                "/at",
                "Must be in the format date-time.",
            ),
            (
                "day",
                json!("2025-02-29"),
                "/day",
                "Must be in the format date.",
            ),
            ("page", json!("page"), "/page", "Must be in the format uri."),
            ("a/b", json!("x"), "/a~1b", "Must be of type boolean."),
        ] {
            let mut data = json!({"id": ID});
            data[field] = value;
            assert_eq!(
                misfits(&order(), &data, 10),
                [Misfit::at(pointer, message)],
                "{data}"
            );
        }
        assert_eq!(
            misfits(&order(), &json!({}), 10),
            [Misfit::at("/id", "Required.")]
        );
        let many = json!({"id": 1, "state": 1, "note": 1});
        assert_eq!(
            (
                misfits(&order(), &many, 10).len(),
                misfits(&order(), &many, 2).len()
            ),
            (3, 2)
        );
    }

    #[test]
    fn a_schema_that_cannot_be_checked_is_refused_by_name() {
        let with = |field: Value| json!({"type": "object", "properties": {"it": field}});
        let mut deep = json!({"type": "string"});
        for _ in 0..MAX_DEPTH {
            deep = json!({"type": "array", "items": deep});
        }
        for (schema, pointer) in [
            (json!([]), ""),
            (json!({}), "/type"),
            (json!({"type": "array"}), "/type"),
            (json!({"type": ["object", "null"]}), "/type"),
            (json!({"type": "object", "properties": []}), "/properties"),
            (json!({"type": "object", "required": ["a"]}), "/required"),
            (json!({"type": "object", "x-personal": true}), "/x-personal"),
            (json!({"type": "object", "$ref": "#"}), "/$ref"),
            (with(json!(true)), "/properties/it"),
            (with(json!({"type": "text"})), "/properties/it/type"),
            (with(json!({"type": []})), "/properties/it/type"),
            (with(json!({"pattern": "^a"})), "/properties/it/pattern"),
            (with(json!({"format": "hostname"})), "/properties/it/format"),
            (with(json!({"enum": []})), "/properties/it/enum"),
            (with(json!({"minLength": -1})), "/properties/it/minLength"),
            (with(json!({"minimum": "1"})), "/properties/it/minimum"),
            (
                with(json!({"additionalProperties": {}})),
                "/properties/it/additionalProperties",
            ),
            (
                with(json!({"items": {"x-personal": true}})),
                "/properties/it/items/x-personal",
            ),
            (with(json!({"oneOf": []})), "/properties/it/oneOf"),
        ] {
            let found = unsupported(&schema).unwrap_or_else(|| panic!("{schema}"));
            assert_eq!(found.pointer, pointer, "{schema} {}", found.message);
        }
        let pattern = unsupported(&with(json!({"pattern": "^a"}))).unwrap();
        assert!(pattern.message.contains("`pattern`"), "{}", pattern.message);
        assert!(
            unsupported(&with(deep))
                .unwrap()
                .message
                .contains("inside each other")
        );
    }
}
