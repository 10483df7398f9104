//! Settings from environment variables: `QUIVIVE__SECTION__KEY`.

use std::ffi::OsString;

use config::{Value, ValueKind};

use super::layer::{Entry, Layer};
use super::problem::Problem;
use super::reference;

const PREFIX: &str = "QUIVIVE__";

/// The environment of this process. The one place that reads it.
#[expect(
    clippy::disallowed_methods,
    reason = "the configuration is where the environment is read"
)]
pub(super) fn of_process() -> Vec<(String, OsString)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .collect()
}

/// Whether the operator wants no colours (<https://no-color.org>).
#[expect(
    clippy::disallowed_methods,
    reason = "the configuration is where the environment is read"
)]
pub(super) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// The variables that are meant for this program; a misspelt one is a problem, not ignored.
pub(super) fn read(variables: &[(String, OsString)], problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::new();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let key = rest.to_ascii_lowercase().replace("__", ".");
        let place = format!("environment variable {name}");
        let Some(setting) = reference::find(&key) else {
            problems.push(Problem::Unknown {
                key: name.clone(),
                place: "the environment".to_owned(),
                nearest: reference::nearest(&key).map(variable),
            });
            continue;
        };
        let Some(text) = value.to_str() else {
            problems.push(Problem::bad(
                &key,
                &place,
                "is not UTF-8",
                "write it in UTF-8",
            ));
            continue;
        };
        layer.push(Entry::new(key, typed(text, setting.list), place));
    }
    layer.sort_by(|a, b| a.key.cmp(&b.key));
    layer
}

/// Text as it is: what wants a number or a yes reads it from the text, and a password of digits stays as it was typed.
fn typed(text: &str, list: bool) -> ValueKind {
    if !list {
        return ValueKind::String(text.to_owned());
    }
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    ValueKind::Array(items.map(Value::from).collect())
}

/// `QUIVIVE__SERVER__LISTEN` for `server.listen`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}
