//! Settings from a TOML file, each with its line.

use std::path::Path;

use config::{Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::layer::{Entry, Layer};
use super::problem::Problem;

/// A configuration file is a page or two; more is not one.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reads a file that is known to exist, or was named by the operator.
pub(super) fn read(path: &Path) -> Result<Layer, Problem> {
    let unreadable = |error: &dyn std::fmt::Display| Problem::Unreadable {
        path: path.to_owned(),
        error: error.to_string(),
    };
    let size = std::fs::metadata(path).map_err(|e| unreadable(&e))?.len();
    if size > MAX_BYTES {
        return Err(unreadable(&format_args!("it has {size} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(&e))?;
    parse(&text, &path.display().to_string())
}

/// Takes TOML apart into `section.key` entries. An error tells the line and never repeats it: it may hold a secret.
pub(super) fn parse(text: &str, name: &str) -> Result<Layer, Problem> {
    let table = DeTable::parse(text).map_err(|error| Problem::Syntax {
        place: place(text, name, error.span().map_or(0, |span| span.start)),
        message: error
            .message()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    })?;
    let mut found = Vec::new();
    flatten(table.get_ref(), "", &mut found);
    found.sort_by_key(|(at, ..)| *at);
    let entry = |(at, key, value)| Entry {
        key,
        value,
        place: place(text, name, at),
    };
    Ok(found.into_iter().map(entry).collect())
}

fn flatten(table: &DeTable<'_>, prefix: &str, found: &mut Vec<(usize, String, ValueKind)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        match value.get_ref() {
            // A section that is there and empty says nothing; a misspelt one is told by what is in it.
            DeValue::Table(inner) => flatten(inner, &key, found),
            _ => found.push((name.span().start, key, kind(value))),
        }
    }
}

fn kind(value: &Spanned<DeValue<'_>>) -> ValueKind {
    match value.get_ref() {
        DeValue::String(text) => ValueKind::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| ValueKind::String(number.to_string()), ValueKind::I64),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or_else(|_| ValueKind::String(number.to_string()), ValueKind::Float),
        DeValue::Boolean(yes) => ValueKind::Boolean(*yes),
        DeValue::Datetime(time) => ValueKind::String(time.to_string()),
        DeValue::Array(items) => ValueKind::Array(
            items
                .iter()
                .map(|item| Value::new(None, kind(item)))
                .collect(),
        ),
        DeValue::Table(_) => ValueKind::Nil,
    }
}

fn place(text: &str, name: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    format!("{name}, line {}", before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_line_is_told_by_its_number_and_not_repeated() {
        let problem = parse("[mail]\nhost = \"a\"\npassword = \"hunter2\n", "q.toml").unwrap_err();
        let text = problem.to_string();
        assert!(text.contains("q.toml, line 3"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn keys_are_flat_and_know_their_line() {
        let layer = parse(
            "[server]\n\nlisten = \"a\"\n[cors]\norigins = [\"b\"]\n",
            "q",
        )
        .unwrap();
        let told: Vec<_> = layer
            .iter()
            .map(|e| format!("{} = {} ({})", e.key, e.shown(), e.place))
            .collect();
        assert_eq!(
            told,
            [
                "server.listen = \"a\" (q, line 3)",
                "cors.origins = [\"b\"] (q, line 5)"
            ]
        );
    }
}
