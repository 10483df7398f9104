//! The kernel runs a workflow: attempt → decide → commit → answer.
//!
//! **Cast.** A [`Workflow`] reads through its [`Cx`] and hands over one [`Commit`]. The [`Kernel`] alone turns commits into
//! log rows.
//!
//! **Guarantees.** For every admitted workflow one Attempted and exactly one outcome, in that order, under one workflow id;
//! what happens by itself in its commit (an automatic lock) shares that id: one triple of each type, never two of a type.
//! The outcome and the change it describes are one commit. An answer is given only when that commit is durable. A client
//! that goes away changes nothing. What a crash leaves open is closed once, as `interrupted`. A reserved guess gets its place
//! back with every outcome that did not settle it; with `interrupted`, where nobody knows, it keeps it until the window ends.
//! What reacts in the commit ([`quivive_delivery::subscriber::InCommit`]) is asked before each submission; what it adds is
//! part of the commit, and a refusal of it ends a workflow that would have succeeded as `vetoed`.
//!
//! **Not guaranteed.** That a workflow runs once: when a guard misses it decides again, on fresh state, at most three times.

mod attempt;
mod commit;
mod cx;
mod enrol;
mod execute;
mod in_commit;
mod months;
mod notes;
mod raise;
mod records;
mod recovery;
mod turns;
mod workflow;

#[cfg(test)]
mod tests;

pub use commit::Commit;
pub use cx::{Cx, Families, Guess, Request};
pub use enrol::Enrolled;
pub use execute::{Failure, Kernel, Parts};
pub(crate) use months::{month, months_before};
pub use raise::{CustomEvent, NotRaised, Once, Raised};
pub use recovery::Recovered;
pub(crate) use recovery::{Closers, closer};
pub use workflow::{
    Actor, Decision, Reason, Reservation, Run, Subject, Workflow, refuse, refuse_with, succeed,
    wait,
};
pub(crate) use workflow::{account_of_vault_key, account_vault_key, hex};
