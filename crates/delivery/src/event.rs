//! What an event is: a type with a name and a version, some fields, some of them personal.

use std::borrow::Cow;

use schemars::SchemaGenerator;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

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

/// A version that was published before the current one. What is stored with it stays as it is, and is read through this.
///
/// ```
/// # use quivive_delivery::{Event, event::Past};
/// /// The number was a text.
/// const V1: Past = Past {
///     // Of a file: include_str!("../schemas/order.placed/v1.json")
///     schema: r#"{"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]}"#,
///     upcast: |fields| {
///         let number = fields["number"].as_str().and_then(|text| text.parse::<u64>().ok());
///         fields.insert("number".to_owned(), number.unwrap_or(0).into());
///     },
/// };
///
/// #[derive(Event)]
/// #[event(type = "order.placed", version = 2, name = "OrderPlaced", audit = "ORDER_PLACED", past = [V1])]
/// struct OrderPlaced {
///     number: u64,
/// }
/// ```
///
/// A version without those before it does not compile.
///
/// ```compile_fail
/// # use quivive_delivery::Event;
/// #[derive(Event)]
/// #[event(type = "order.placed", version = 2, name = "OrderPlaced", audit = "ORDER_PLACED")]
/// struct OrderPlaced {}
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Past {
    /// Its golden schema, which is the last that is known of its fields.
    pub schema: &'static str,
    /// Makes its fields those of the next version. Pure. Personal fields are there only where they were opened: an upcaster
    /// that reads one must do without.
    pub upcast: fn(&mut Map<String, Value>),
}

/// Makes the fields of a version those of the current one; false when there is no such version.
pub(crate) fn upcast(past: &[Past], version: u32, fields: &mut Map<String, Value>) -> bool {
    upcast_to(past, version, past.len() + 1, fields)
}

/// Makes the fields of a version those of another; false where that would be going back, or one of them never was.
pub(crate) fn upcast_to(
    past: &[Past],
    version: u32,
    to: usize,
    fields: &mut Map<String, Value>,
) -> bool {
    let (from, to) = ((version as usize).checked_sub(1), to.checked_sub(1));
    let Some(steps) = from.zip(to).and_then(|(from, to)| past.get(from..to)) else {
        return false;
    };
    for step in steps {
        (step.upcast)(fields);
    }
    true
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

impl Body {
    /// No fields.
    pub fn empty() -> Self {
        Self {
            open: b"{}".to_vec(),
            personal: None,
        }
    }
}

/// Why stored bytes are not an instance of a type.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the event is {found}, not {wanted}")]
    OtherType { found: String, wanted: &'static str },
    #[error(
        "the event is version {found} of {kind}, which this program knows up to version {known}"
    )]
    OtherVersion {
        kind: &'static str,
        found: u32,
        known: u32,
    },
    /// The reader got no personal fields: their key was destroyed, or its subscription does not ask for them.
    #[error(
        "its personal fields are not there: they were erased, or the subscription lacks `with_personal_fields()`"
    )]
    Erased,
    #[error("its fields do not fit the type: {0}")]
    Fields(#[from] serde_json::Error),
}

/// Derive it: `#[derive(Event)] #[event(type = "order.placed", version = 1, name = "OrderPlaced", audit = "ORDER_PLACED")]`.
/// A field marked `#[event(personal)]` is sealed in the log. Beginning with version 2, `past = [V1, …]` has a [`Past`] for
/// each version before.
pub trait Event: Sized + Send + Sync + 'static {
    const META: EventMeta;

    /// The versions before the current one, from 1.
    const PAST: &'static [Past] = &[];

    fn fields(generator: &mut SchemaGenerator) -> Vec<FieldSpec>;

    fn encode(&self) -> Result<Body, serde_json::Error>;

    /// From a body of the current version.
    fn decode(body: &Body) -> Result<Self, DecodeError>;

    /// A body of any version that there was as one of the current version. Its personal half stays missing where it is.
    fn upcast(version: u32, body: &Body) -> Result<Cow<'_, Body>, DecodeError> {
        if version == Self::META.version {
            return Ok(Cow::Borrowed(body));
        }
        let mut fields: Map<String, Value> = half(&body.open)?;
        if let Some(personal) = &body.personal {
            fields.extend(half::<Map<String, Value>>(personal)?);
        }
        if !upcast(Self::PAST, version, &mut fields) {
            return Err(DecodeError::OtherVersion {
                kind: Self::META.kind,
                found: version,
                known: Self::META.version,
            });
        }
        // A field may have become personal, or open: each half takes its own out of the whole.
        let whole = serde_json::to_vec(&fields)?;
        Ok(Cow::Owned(Body {
            personal: body.personal.is_some().then(|| whole.clone()),
            open: whole,
        }))
    }

    /// From a body of any version that there was.
    fn read(version: u32, body: &Body) -> Result<Self, DecodeError> {
        Self::decode(Self::upcast(version, body)?.as_ref())
    }
}

/// For generated code: decodes one half of a body.
#[doc(hidden)]
pub fn half<T: DeserializeOwned>(json: &[u8]) -> Result<T, DecodeError> {
    Ok(serde_json::from_slice(json)?)
}

#[cfg(test)]
mod tests;
