//! Collects what a check finds wrong, each with the place the value came from.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::layer::Entry;
use super::problem::{Problem, Problems};
use super::reference;

pub(super) struct Report<'a> {
    entries: &'a [Entry],
    problems: Vec<Problem>,
}

impl<'a> Report<'a> {
    pub(super) fn new(entries: &'a [Entry]) -> Self {
        Self {
            entries,
            problems: Vec::new(),
        }
    }

    /// The value of `key` will not do. `what` goes on after the key's name and must not repeat a secret.
    pub(super) fn bad(&mut self, key: &str, what: &str, remedy: &str) {
        let place = self
            .entries
            .iter()
            .find(|e| e.key == key)
            .map_or("", |e| &e.place);
        self.problems.push(Problem::bad(key, place, what, remedy));
    }

    /// `text` as a `T`; the value is repeated, so never for a secret.
    pub(super) fn parse<T: FromStr>(
        &mut self,
        key: &str,
        text: &str,
        what: &str,
        remedy: &str,
    ) -> Option<T> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.bad(key, &format!("= {text:?} is not {what}"), remedy);
        }
        parsed
    }

    /// A number in its bounds; else its lower bound, with a problem noted.
    pub(super) fn within<N>(&mut self, key: &str, number: N, bounds: RangeInclusive<N>) -> N
    where
        N: PartialOrd + Display + Copy,
    {
        if bounds.contains(&number) {
            return number;
        }
        let (least, most) = bounds.into_inner();
        let remedy = format!("write a number from {least} to {most}");
        self.bad(key, &format!("= {number} is out of bounds"), &remedy);
        least
    }

    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(Problems(self.problems)),
        }
    }
}

/// What serde, over the `config` crate, says of a value of the wrong kind.
pub(super) fn wrong_kind(error: &config::ConfigError) -> Problem {
    use config::ConfigError;
    match error {
        ConfigError::Type {
            origin,
            unexpected,
            expected,
            key,
        } => {
            let key = key.as_deref().unwrap_or("a setting");
            let secret = reference::find(key).is_some_and(|setting| setting.secret);
            let what = if secret {
                format!("is not {expected}")
            } else {
                format!("is {unexpected}, not {expected}")
            };
            let place = origin.as_deref().unwrap_or_default();
            Problem::bad(key, place, &what, &format!("write {expected}"))
        }
        ConfigError::At { error, origin, key } => {
            let key = key.as_deref().unwrap_or("a setting");
            let place = origin.as_deref().unwrap_or_default();
            Problem::bad(
                key,
                place,
                &format!("will not do: {error}"),
                "see `quivive config generate`",
            )
        }
        other => Problem::bad(
            "the configuration",
            "",
            &other.to_string(),
            "see `quivive config generate`",
        ),
    }
}
