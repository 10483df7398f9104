//! The commented default file: the one list of settings there is.
//!
//! Its active lines are the defaults, its `#key = …` lines the settings without one. What it does not show is unknown.

use std::sync::LazyLock;

use super::layer::Layer;
use super::{file, nearest};

/// The file as `quivive config generate` prints it.
pub const TEXT: &str = include_str!("quivive.default.toml");

/// Names the file that holds a secret, beside the secret's own key.
const SECRET_FILE: &str = "_file";

/// What is known of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// `section.key`
    pub key: String,
    pub list: bool,
    /// Its value is never shown.
    pub secret: bool,
}

static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let entries = parsed(&uncommented());
    let names: Vec<_> = entries.iter().map(|entry| entry.key.clone()).collect();
    entries
        .into_iter()
        .map(|entry| Setting {
            list: entry.is_list(),
            secret: names.contains(&format!("{}{SECRET_FILE}", entry.key)),
            key: entry.key,
        })
        .collect()
});

/// Every setting, in the order of the file; those that name a secret's file among them.
pub(super) fn settings() -> &'static [Setting] {
    &SETTINGS
}

/// The defaults as the lowest layer.
pub(super) fn defaults() -> Layer {
    let mut layer = parsed(TEXT);
    for entry in &mut layer {
        "default".clone_into(&mut entry.place);
    }
    layer
}

pub(super) fn find(key: &str) -> Option<&'static Setting> {
    settings().iter().find(|setting| setting.key == key)
}

/// `mail.password` for `mail.password_file`.
pub(super) fn secret_of_file(key: &str) -> Option<&'static Setting> {
    let secret = find(key.strip_suffix(SECRET_FILE)?)?;
    secret.secret.then_some(secret)
}

/// The known key that is most like an unknown one, if any is.
pub(super) fn nearest(unknown: &str) -> Option<&'static str> {
    nearest::nearest(
        unknown,
        settings().iter().map(|setting| setting.key.as_str()),
    )
}

/// The file with the settings that have no default made active, each with its example.
pub(super) fn uncommented() -> String {
    let mut text = String::with_capacity(TEXT.len());
    for line in TEXT.lines() {
        text.push_str(example(line).unwrap_or(line));
        text.push('\n');
    }
    text
}

/// The setting in a `#key = value` line.
fn example(line: &str) -> Option<&str> {
    let setting = line.strip_prefix('#')?;
    let (key, _) = setting.split_once(" = ")?;
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    is_key.then_some(setting)
}

fn parsed(text: &str) -> Layer {
    file::parse(text, "the reference").expect("the embedded reference is TOML; a test reads it")
}
