//! What an operator's commands do, beside a running server or without one.
//!
//! **Cast.** A command makes a [`Call`] and gives it to an [`Operator`]. Beside a server the operator sends it through the
//! socket in the data directory; without one it opens the data itself, under the lock that a server would have. Either way
//! the same desk answers, through the same kernel.
//!
//! **Wire.** One call as a line of JSON; the answer as lines, each an item, the last `done` or the failure. A
//! caller that closes its side has gone, and so has its place. The socket belongs to the server's user: others are refused
//! by its mode, and by who they are.

mod backups;
mod call;
mod desk;
mod imports;
mod letters;
mod operator;
mod rotations;
mod socket;

pub use call::{Call, Chosen, Decide, Fate, Passphrase, RotateTokens, Search, Tail};
pub use operator::Operator;

pub(crate) use operator::told as told_of;

pub(crate) use desk::{Desk, first_administrator, tags};
pub(crate) use socket::listen;

/// The socket's file in the data directory.
const SOCKET: &str = "control.sock";
