//! What events of registered types need: their schemas, and receipts of what services handed over.

use quivive_delivery::{Time, Write};
use uuid::Uuid;

use super::Read;

/// A version of a registered event type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSchema {
    pub kind: String,
    /// From 1.
    pub version: u32,
    pub schema: serde_json::Value,
    /// The same for all versions of a type: see [`quivive_delivery::Catalogue::order_key`].
    pub order_key: Option<String>,
    pub created_at: Time,
}

/// The registered event types.
pub trait EventSchemas: Send + Sync {
    /// By type and version.
    fn all(&self) -> Read<'_, Vec<EventSchema>>;

    /// By version.
    fn of_type(&self, kind: &str) -> Read<'_, Vec<EventSchema>>;

    /// Misses when that version is taken.
    fn insert(&self, schema: &EventSchema) -> Write;
}

/// That an event was appended for what a service handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub token: [u8; 32],
    pub content: [u8; 32],
    pub event_id: Uuid,
}

/// How repetitions are known.
pub trait Receipts: Send + Sync {
    fn find(&self, token: [u8; 32]) -> Read<'_, Option<Receipt>>;

    /// Misses when there is one with that token.
    fn insert(&self, receipt: &Receipt, now: Time) -> Write;

    /// Whether there are some that are seven days old.
    fn has_forgettable(&self, now: Time) -> Read<'_, bool>;

    /// Takes them away, some at a time.
    fn forget(&self, now: Time) -> Write;
}
