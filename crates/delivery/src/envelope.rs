//! What every event carries besides its own fields, and an event as it lies in the log.

use serde::Serialize;
use uuid::Uuid;

use crate::clock::Time;
use crate::event::Body;
use crate::seal::Sealed;

/// The ordering key: events with one key reach every subscriber in the order in which they happened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// `kind` names what the key is made of; `value` tells one from another. Neither may be personal.
    pub fn new(kind: &str, value: impl std::fmt::Display) -> Self {
        Self(format!("{kind}:{value}"))
    }

    /// A key that was stored before.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which of several ready events goes first. It never reorders inside a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Low = 0,
    Normal = 1,
    High = 2,
    Critical = 3,
}

impl Priority {
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// From its stored number; anything unknown is normal.
    pub fn stored(number: i64) -> Self {
        Self::ALL
            .into_iter()
            .find(|p| i64::from(*p as u8) == number)
            .unwrap_or(Self::Normal)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Actor {
    /// A kind the product defines, for example `user` or `system`.
    pub kind: std::borrow::Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
}

/// Where a request came from. Personal: sealed in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Context {
    #[serde(rename = "i", skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Everything about an event but its fields and what is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub id: Uuid,
    pub kind: String,
    pub version: u32,
    pub key: Key,
    pub priority: Priority,
    /// When it happened.
    pub time: Time,
    pub workflow_id: Uuid,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    /// Whom it is about, as the product names it.
    pub subject: Option<String>,
    pub actor: Actor,
    pub request_id: Option<String>,
    pub traceparent: Option<String>,
}

impl Envelope {
    /// Of an event that nothing caused and nobody asked for: the first of a workflow of its own, named like it.
    pub fn first(id: Uuid, kind: impl Into<String>, key: Key, time: Time) -> Self {
        Self {
            id,
            kind: kind.into(),
            version: 1,
            key,
            priority: Priority::Normal,
            time,
            workflow_id: id,
            correlation_id: id,
            causation_id: None,
            subject: None,
            actor: Actor {
                kind: "system".into(),
                id: None,
            },
            request_id: None,
            traceparent: None,
        }
    }
}

/// An event as it lies in the log. `body` is a JSON object of the open fields; personal fields and the context are sealed.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Dense, from 1.
    pub position: u64,
    pub epoch: u64,
    /// When its commit was written.
    pub recorded_at: Time,
    pub envelope: Envelope,
    pub context: Option<Sealed>,
    pub body: Vec<u8>,
    pub personal: Option<Sealed>,
    pub chain: [u8; 32],
}

impl Stored {
    /// Its fields, with what was opened of the personal ones. Where nothing was sealed nothing is missing: a field of an old
    /// version may be a personal one of the current version.
    pub fn fields(&self, opened: Option<Vec<u8>>) -> Body {
        let nothing_sealed = || self.personal.is_none().then(|| b"{}".to_vec());
        Body {
            open: self.body.clone(),
            personal: opened.or_else(nothing_sealed),
        }
    }
}
