//! What a handler writes together with its cursor.

use crate::commit::Write;

/// State of a handler that must never be ahead of its subscription's cursor: it is written in the commit that moves it, so a
/// start finds both as they were at one moment.
pub trait WithCursor: Send + Sync {
    /// The state as it is when everything up to `cursor`, and nothing after it, is done. Asked each time the cursor is
    /// written, once a second at most. A write that can miss would hold the cursor for ever.
    fn writes(&self, cursor: u64) -> Vec<Write>;
}
