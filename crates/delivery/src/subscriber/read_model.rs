//! What a transactional handler keeps in our database to be read, in generations.
//!
//! A row belongs to the generation of the delivery that wrote it ([`Cx::generation`](super::Cx::generation)). Readers take
//! the rows of the subscription's own generation, which they look up in the same statement. A replay from the first event
//! builds the next generation beside it, and one commit makes that the subscription's: readers see the old rows or the new
//! ones, whole.

use crate::commit::Write;
use crate::{BoxFuture, Fault};

/// The rows of a read model, as far as their generations go.
pub trait ReadModel: Send + Sync {
    /// Whether there are rows of another generation.
    fn has_others(&self, generation: u32) -> BoxFuture<'_, Result<bool, Fault>>;

    /// Deletes some of them: so many that other commits do not wait long for it.
    fn delete_others(&self, generation: u32) -> Write;
}
