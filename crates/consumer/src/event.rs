//! An event as it comes over the wire: a CloudEvent.

use serde::Deserialize;
use serde_json::Value;

/// What is no event of this server.
#[derive(Debug, thiserror::Error)]
#[error("what came is no event: {0}")]
pub struct Unreadable(#[from] serde_json::Error);

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// In the log, from 1.
    pub position: u64,
    pub epoch: u64,
    /// The whole CloudEvent, as `docs/events.md` and the AsyncAPI document describe it.
    pub json: Value,
}

/// Of which everything else is read.
#[derive(Deserialize)]
struct Coordinates {
    #[serde(deserialize_with = "number")]
    pos: u64,
    #[serde(default, deserialize_with = "some_number")]
    prevpos: Option<u64>,
    #[serde(deserialize_with = "number")]
    epoch: u64,
}

fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

fn some_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number(deserializer).map(Some)
}

impl Event {
    /// Reads one, and the position before it in its stream if it came in one.
    pub fn read(json: Value) -> Result<(Self, Option<u64>), Unreadable> {
        let Coordinates {
            pos,
            prevpos,
            epoch,
        } = Coordinates::deserialize(&json)?;
        let event = Self {
            position: pos,
            epoch,
            json,
        };
        Ok((event, prevpos))
    }

    /// The same in every delivery, by whatever way: what to remember where something must not happen twice.
    pub fn id(&self) -> &str {
        self.text("id")
    }

    /// Its type, such as `user.registration.succeeded`.
    pub fn kind(&self) -> &str {
        self.text("type")
    }

    /// Events with one key come in order.
    pub fn key(&self) -> &str {
        self.text("partitionkey")
    }

    /// Whom it is about, where it is about somebody.
    pub fn subject(&self) -> Option<&str> {
        self.json["subject"].as_str()
    }

    /// Its own fields. Personal ones are null.
    pub fn data(&self) -> &Value {
        &self.json["data"]
    }

    fn text(&self, name: &str) -> &str {
        self.json[name].as_str().unwrap_or_default()
    }
}
