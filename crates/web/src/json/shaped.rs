//! Bodies that hold more than texts: lists, objects, numbers. As strict as the others: a shape that serde derives with
//! `deny_unknown_fields`, and no name twice anywhere.

use std::fmt::Write as _;

use axum::extract::{FromRequest, Request};
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};
use serde_path_to_error::{Path, Segment};

use super::is_json;
use crate::body;
use crate::problem::{Code, FieldError, Problem};

/// Of what is said of a field, in characters: it may quote what was sent.
const MAX_MESSAGE_CHARS: usize = 200;

/// A JSON body of a shape that serde knows.
pub(crate) struct Shaped<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Shaped<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        is_json(&parts.headers)?;
        let bytes = body::read(&parts.headers, body).await?;
        fit(&bytes).map(Self)
    }
}

/// From bytes to a shape: 400 when it is not JSON, 422 when it is not the shape.
fn fit<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let not_json = |error: &serde_json::Error| {
        Problem::with_detail(
            Code::MalformedJson,
            format!("The body is not JSON: {error}."),
        )
    };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let shaped = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        if error.inner().is_data() {
            let (path, error) = (pointer(error.path()), error.inner().to_string());
            Problem::of_field(Code::InvalidFields, misfit(path, &error))
        } else {
            not_json(error.inner())
        }
    })?;
    json.end().map_err(|error| not_json(&error))?;
    Ok(shaped)
}

/// What serde says of a field, with a code of ours and without its place in the text.
fn misfit(mut pointer: String, said: &str) -> FieldError {
    let said = said.split(" at line ").next().unwrap_or_default();
    let code = [
        ("missing field", "missing_field"),
        ("unknown field", "unknown_field"),
        ("duplicate field", "duplicate_field"),
        ("invalid type", "wrong_type"),
    ];
    let code = code.iter().find(|(begins, _)| said.starts_with(begins));
    let code = code.map_or("invalid", |(_, code)| code);
    if matches!(code, "missing_field" | "duplicate_field")
        && let Some(name) = said.split('`').nth(1)
    {
        // It is found missing, or there already, where the object is.
        let _ = write!(pointer, "/{}", escaped(name));
    }
    let message: String = said.chars().take(MAX_MESSAGE_CHARS).collect();
    FieldError::new(pointer, code, message)
}

/// A JSON Pointer (RFC 6901).
fn pointer(path: &Path) -> String {
    path.iter()
        .fold(String::new(), |pointer, segment| match segment {
            Segment::Seq { index } => format!("{pointer}/{index}"),
            Segment::Map { key } => format!("{pointer}/{}", escaped(key)),
            Segment::Enum { .. } | Segment::Unknown => pointer,
        })
}

/// A name as it stands in a JSON Pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Any JSON in which no object has a name twice: which of the two counts, JSON leaves open.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
            }
            let Strict(value) = members.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        name: String,
        lines: Vec<Line>,
        #[serde(default)]
        more: Option<Strict>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[expect(dead_code, reason = "only that it fits is looked at")]
        count: u32,
    }

    #[test]
    fn what_fits_comes_through() {
        let body = br#"{"name": "a", "lines": [{"count": 1}], "more": {"a": [1, -2, 0.5, null, true, {"b": "c"}]}}"#;
        let order: Order = fit(body).expect("it fits");
        assert_eq!((order.name.as_str(), order.lines.len()), ("a", 1));
        assert_eq!(
            order.more,
            Some(Strict(json!({"a": [1, -2, 0.5, null, true, {"b": "c"}]})))
        );
    }

    #[test]
    fn what_does_not_is_named() {
        for (body, pointer, code) in [
            (r#"{"name": 1, "lines": []}"#, "/name", "wrong_type"),
            (r#"{"name": "a"}"#, "/lines", "missing_field"),
            (
                r#"{"name": "a", "lines": [], "a/b": 1}"#,
                "/a~1b",
                "unknown_field",
            ),
            (
                r#"{"name": "a", "lines": [], "name": "b"}"#,
                "/name",
                "duplicate_field",
            ),
            (
                r#"{"name": "a", "lines": [{"count": 1}, {"count": -1}]}"#,
                "/lines/1/count",
                "invalid",
            ),
            (
                r#"{"name": "a", "lines": [], "more": {"x": {"y": 1, "y": 2}}}"#,
                "/more/x/y",
                "duplicate_field",
            ),
            ("[]", "", "invalid"),
        ] {
            let problem = fit::<Order>(body.as_bytes()).expect_err(body);
            assert_eq!(problem.code, Code::InvalidFields, "{body}");
            let error = &problem.errors[0];
            assert_eq!(
                (error.pointer.as_str(), error.code),
                (pointer, code),
                "{body} {error:?}"
            );
            assert!(!error.message.contains("line 1"), "{error:?}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_apart() {
        let deep = format!(
            "{{\"name\": \"a\", \"lines\": [], \"more\": {}",
            "[".repeat(200)
        );
        for body in [
            "",
            "{",
            "{} {}",
            r#"{"name": "a", "lines": []} x"#,
            "\u{feff}{}",
            &deep,
        ] {
            let problem = fit::<Order>(body.as_bytes()).expect_err(body);
            let whole = body == "{} {}";
            let want = if whole {
                Code::InvalidFields
            } else {
                Code::MalformedJson
            };
            assert_eq!(problem.code, want, "{body}");
        }
    }
}
