//! Which dead letters are meant: as a query has it, and as a body has it.

use std::fmt::Write as _;

use axum::http::Uri;
use quivive_delivery::subscriber::{Choice, ErrorClass};
use quivive_delivery::{Catalogue, Key, Time};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::problem::{Code, Problem};
use crate::routes::query::{DEFAULT_LIMIT, limit, pairs, unknown, wrong};

/// Which dead letters of the subscription: those that fit all that is given. Nothing given, all of them.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadLetterChoice)]
pub(super) struct Chosen {
    /// The ordering key of a lane, as the list has it.
    pub key: Option<String>,
    /// Of the event that was parked, not of one that waits behind it.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub event_id: Option<Uuid>,
    /// Of the same event: its type or any other name that has.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub error_class: Option<Class>,
    /// Parked at this time or later.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub since: Option<Time>,
    /// Parked before this.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub until: Option<Time>,
}

/// How the event failed last.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeadLetterClass)]
pub(super) enum Class {
    /// Its attempts or its time are spent.
    Transient,
    /// The target asked for time, again and again.
    RateLimited,
    /// The handler gave up.
    Permanent,
    /// It cannot be read, made the handler panic twice, or ended the process.
    Poison,
}

impl From<Class> for ErrorClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Transient => Self::Transient,
            Class::RateLimited => Self::RateLimited,
            Class::Permanent => Self::Permanent,
            Class::Poison => Self::Poison,
        }
    }
}

impl Chosen {
    pub(super) fn into_choice(self, catalogue: &Catalogue) -> Choice {
        Choice {
            key: self.key.map(Key::stored),
            event_id: self.event_id,
            event_type: self.kind.map(|kind| known(kind, catalogue)),
            error_class: self.error_class.map(Into::into),
            since: self.since,
            until: self.until,
        }
    }
}

/// By its dotted name. One that the catalogue does not know may be of a program that ran before.
fn known(kind: String, catalogue: &Catalogue) -> String {
    let spec = catalogue.find(&kind);
    spec.map_or(kind, |spec| spec.kind.to_owned())
}

/// A page that is asked for.
pub(super) struct Asked {
    pub subscription: Option<String>,
    pub choice: Choice,
    pub after: Option<(String, Key)>,
    pub limit: usize,
}

impl Asked {
    pub(super) fn read(uri: &Uri, catalogue: &Catalogue) -> Result<Self, Problem> {
        let mut asked = Self {
            subscription: None,
            choice: Choice::default(),
            after: None,
            limit: DEFAULT_LIMIT as usize,
        };
        for (name, value) in pairs(uri)? {
            asked.set(&name, value, catalogue)?;
        }
        Ok(asked)
    }

    fn set(&mut self, name: &str, value: String, catalogue: &Catalogue) -> Result<(), Problem> {
        let unfit = |message| wrong(name, "wrong_type", message);
        let time = |value: &str| {
            value
                .parse::<Time>()
                .map_err(|_| unfit("A time (RFC 3339)."))
        };
        let choice = &mut self.choice;
        match name {
            "subscription" => self.subscription = Some(value),
            "key" => choice.key = Some(Key::stored(value)),
            "event_id" => {
                let id = Uuid::try_parse(&value).map_err(|_| unfit("A UUID."))?;
                choice.event_id = Some(id);
            }
            "type" => choice.event_type = Some(known(value, catalogue)),
            "error_class" => {
                let class = ErrorClass::of_code(&value);
                let none = "`transient`, `rate_limited`, `permanent` or `poison`.";
                choice.error_class = Some(class.ok_or_else(|| unfit(none))?);
            }
            "since" => choice.since = Some(time(&value)?),
            "until" => choice.until = Some(time(&value)?),
            "after" => {
                let place = read_place(&value);
                self.after = Some(place.ok_or_else(|| Problem::new(Code::InvalidCursor))?);
            }
            "limit" => self.limit = limit(name, &value)? as usize,
            _ => return Err(unknown(name)),
        }
        Ok(())
    }
}

/// A place in the list as it is kept for the next time: opaque, and safe in a URL.
pub(super) fn write_place(subscription: &str, key: &Key) -> String {
    let text = format!("{subscription}\0{}", key.as_str());
    text.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn read_place(hex: &str) -> Option<(String, Key)> {
    let bytes = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok());
    let text = String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()?;
    let (subscription, key) = text.split_once('\0')?;
    Some((subscription.to_owned(), Key::stored(key.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let key = Key::new("account", 7);
        let place = write_place("email", &key);
        assert_eq!(read_place(&place), Some(("email".to_owned(), key)));
        for text in ["", "0", "zz", "6d", "é0", "ff00"] {
            assert_eq!(read_place(text), None, "{text}");
        }
    }
}
