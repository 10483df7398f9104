//! Several nodes on one database: who lives, and which of them has what.
//!
//! **Cast.** A [`Node`] is one run of one server. It says from time to time that it lives, and is dead when it has not for a
//! while, by the clock of the database alone. A [`Lease`] says which node has a subscription, or a duty that is to be done by
//! one; its epoch rises with each claim, and every commit of who has it begins with [`Nodes::guard`].
//!
//! **Guarantees.** Two nodes may believe for a moment that they have the same lease; only the one with the newest epoch can
//! commit. A lease of a dead node can be claimed, one of a living node only when it was let go.
//!
//! **Not guaranteed.** That what a handler does outside the database is done by one node at a time: the one that lost its
//! lease learns of it late.

use uuid::Uuid;

use crate::BoxFuture;
use crate::commit::Write;
use crate::fault::Fault;

/// One run of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    pub id: Uuid,
    /// How many versions of events its program reads, which newer ones do more of. 0: it delivers nothing.
    pub reads: u64,
}

/// Who has what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Of a subscription or a duty.
    pub name: String,
    /// `None`: it was let go.
    pub node: Option<Uuid>,
    pub epoch: u64,
    /// A node that asks for it.
    pub wanted: Option<Uuid>,
    /// Who reads no more than that cannot go on with it.
    pub needs: u64,
}

/// What nodes know of each other. Reads are futures; changes are writes for a commit.
pub trait Nodes: Send + Sync {
    /// Those that live, the dead being forgotten first.
    fn living(&self) -> BoxFuture<'_, Result<Vec<Node>, Fault>>;

    fn leases(&self) -> BoxFuture<'_, Result<Vec<Lease>, Fault>>;

    /// Takes a lease that nobody has, or a dead node; `seen` is its epoch, 0 where there is none yet, and the new one is one
    /// more. A miss where another was faster.
    fn claim(&self, name: &str, node: Uuid, seen: u64) -> Write;

    /// Makes a lease that nobody has, for nodes that read more than `needs`; one that is there stays as it is.
    fn offer(&self, name: &str, needs: u64) -> Write;

    /// A miss when the lease is not this node's under this epoch. It holds up a claim until its commit is over.
    fn guard(&self, name: &str, node: Uuid, epoch: u64) -> Write;

    /// Lets go of a lease for nodes that read more than `needs`. A miss like [`Nodes::guard`].
    fn release(&self, name: &str, node: Uuid, epoch: u64, needs: u64) -> Write;

    /// Asks the one who has a lease for it. Right where there is none, too.
    fn want(&self, name: &str, node: Uuid) -> Write;

    /// Takes that back.
    fn unwant(&self, name: &str, node: Uuid) -> Write;

    /// Forgets a lease, which may not be there.
    fn forget(&self, name: &str) -> Write;
}
