//! The database on a server: [`quivive_store::Executor`] on PostgreSQL 15 or newer.
//!
//! **Cast.** [`Postgres`] is the handle. A commit is one pipeline on one of a few connections (`lanes`): all its statements,
//! COMMIT among them, are on their way before the first is answered, and a guard that misses fails the rest. Events go into
//! `event_in`; the `sequencer` gives them their positions and links the chain, in `partitions` that retention can drop. Reads
//! have connections of their own. A connection that breaks is made again by who next needs it, to the primary among the
//! `servers` that the URL names, in TLS or in clear as it says (`way`). Several servers may have the database open, each in a
//! place of its own (`sole`); `wakeups` tell each other that the head has moved.
//!
//! **Guarantees.** An acknowledged commit is durable as far as the server's disk and its `synchronous_commit` go; `off` is
//! overruled. A commit is applied whole or not at all, and the answer names the write that missed: one that touched another
//! number of rows than expected, or ran into a constraint. An outcome never overtakes its attempt. Positions are dense, the
//! chain is unbroken, and events of one key are in the order of their commits. While the server is away callers are told so
//! at once; when it is back, everything goes on.
//!
//! **Not guaranteed.** The order of commits that name passing rows and share none. That the head covers a commit when it is answered: it
//! does some milliseconds later, and who shows the log waits for that. What became of a commit whose connection broke while the
//! server stays away.

mod backlog;
mod commit;
mod failure;
mod lanes;
mod migrate;
mod open;
mod partitions;
mod pipeline;
mod postgres;
mod sequencer;
mod servers;
mod session;
mod sole;
mod value;
mod wakeups;
mod way;

pub use open::{LANES, OpenError, PostgresOptions, READERS, check_url};
pub use postgres::Postgres;
pub use way::BadWay;
