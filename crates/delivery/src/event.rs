//! What an event is: a type with a name and a version, some fields, some of them personal.

use schemars::SchemaGenerator;
use serde::de::DeserializeOwned;

/// Where an event stands in its workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Attempted,
    Succeeded,
    Failed,
    /// A single statement that belongs to no triple.
    Fact,
}

impl Phase {
    /// By the last word of the type.
    pub const fn of(kind: &str) -> Self {
        if ends_with(kind, ".attempted") {
            Self::Attempted
        } else if ends_with(kind, ".succeeded") {
            Self::Succeeded
        } else if ends_with(kind, ".failed") {
            Self::Failed
        } else {
            Self::Fact
        }
    }
}

const fn ends_with(text: &str, tail: &str) -> bool {
    let (text, tail) = (text.as_bytes(), tail.as_bytes());
    if text.len() < tail.len() {
        return false;
    }
    let (_, end) = text.split_at(text.len() - tail.len());
    let mut i = 0;
    while i < tail.len() {
        if end[i] != tail[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// What is known of an event type without an instance of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventMeta {
    /// Dotted, lower-case: `order.placed`.
    pub kind: &'static str,
    pub version: u32,
    /// The name in code and documents: `OrderPlaced`.
    pub name: &'static str,
    /// The action in the audit trail: `ORDER_PLACED`.
    pub audit: &'static str,
    /// Other names a subscriber may use for it.
    pub aliases: &'static [&'static str],
}

impl EventMeta {
    pub const fn phase(&self) -> Phase {
        Phase::of(self.kind)
    }
}

/// One field of an event type.
#[derive(Debug, Clone)]
pub struct FieldSpec {
    pub name: &'static str,
    pub personal: bool,
    pub optional: bool,
    pub schema: schemars::Schema,
}

/// The fields of one event as JSON objects: the open ones, and the personal ones if the type has any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    pub open: Vec<u8>,
    pub personal: Option<Vec<u8>>,
}

/// Why stored bytes are not an instance of a type.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the event is {found}, not {wanted}")]
    OtherType { found: String, wanted: &'static str },
    /// The key of the personal fields was destroyed.
    #[error("its personal fields were erased")]
    Erased,
    #[error("its fields do not fit the type: {0}")]
    Fields(#[from] serde_json::Error),
}

/// Derive it: `#[derive(Event)] #[event(type = "order.placed", version = 1, name = "OrderPlaced", audit = "ORDER_PLACED")]`.
/// A field marked `#[event(personal)]` is sealed in the log.
pub trait Event: Sized + Send + Sync + 'static {
    const META: EventMeta;

    fn fields(generator: &mut SchemaGenerator) -> Vec<FieldSpec>;

    fn encode(&self) -> Result<Body, serde_json::Error>;

    fn decode(body: &Body) -> Result<Self, DecodeError>;
}

/// For generated code: decodes one half of a body.
#[doc(hidden)]
pub fn half<T: DeserializeOwned>(json: &[u8]) -> Result<T, DecodeError> {
    Ok(serde_json::from_slice(json)?)
}
