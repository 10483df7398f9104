//! A subscription, or a duty, in the hands of this node: for how long, and how its commits say so.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::BoxFuture;
use crate::commit::{Transaction, Write};
use crate::fault::Fault;
use crate::log::{CommitError, Committed, Log};
use crate::nodes::{Node, Nodes};

/// Who this node is among those that share subscriptions out.
#[derive(Clone)]
pub struct Share {
    pub nodes: Arc<dyn Nodes>,
    pub me: Node,
}

impl Share {
    /// Of a subscription that is new, which programs that read less may not know.
    pub(super) fn offer(&self, name: &str) -> Write {
        self.nodes.offer(name, self.me.reads.saturating_sub(1))
    }
}

/// What its runners have it by: that of a subscription and that of its replay are one.
pub(super) struct Tenure {
    /// `None`: nobody else could have it.
    claimed: Option<Claimed>,
    /// Nothing new begins: it goes to another node, or the server stops.
    pub(super) leaving: CancellationToken,
    /// Another node has it: what is under way is dropped.
    pub(super) lost: CancellationToken,
}

struct Claimed {
    nodes: Arc<dyn Nodes>,
    node: Uuid,
    name: Arc<str>,
    epoch: u64,
}

impl Tenure {
    /// Of a node that has all.
    pub(super) fn alone(stopping: &CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            claimed: None,
            leaving: stopping.child_token(),
            lost: CancellationToken::new(),
        })
    }

    pub(super) fn claimed(
        share: &Share,
        name: Arc<str>,
        epoch: u64,
        stopping: &CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            claimed: Some(Claimed {
                nodes: Arc::clone(&share.nodes),
                node: share.me.id,
                name,
                epoch,
            }),
            leaving: stopping.child_token(),
            lost: CancellationToken::new(),
        })
    }

    pub(super) fn epoch(&self) -> u64 {
        self.claimed.as_ref().map_or(0, |claimed| claimed.epoch)
    }

    /// What lets go of it, for nodes that read more than `needs`.
    pub(super) fn release(&self, needs: u64) -> Option<Write> {
        let claimed = self.claimed.as_ref()?;
        let (name, node, epoch) = (&claimed.name, claimed.node, claimed.epoch);
        Some(claimed.nodes.release(name, node, epoch, needs))
    }

    /// Submits a commit when called, as [`Log::commit`] does. It happens only while this node has the tenure; when it is found
    /// to be over, what is under way is dropped.
    pub(super) fn commit(
        self: &Arc<Self>,
        log: &dyn Log,
        mut transaction: Transaction,
    ) -> BoxFuture<'static, Result<Committed, CommitError>> {
        let Some(claimed) = &self.claimed else {
            return log.commit(transaction);
        };
        if self.lost.is_cancelled() {
            return Box::pin(std::future::ready(Err(lost())));
        }
        let guard = claimed
            .nodes
            .guard(&claimed.name, claimed.node, claimed.epoch);
        transaction.writes.insert(0, guard);
        let committed = log.commit(transaction);
        let tenure = Arc::clone(self);
        Box::pin(async move {
            match committed.await {
                Err(CommitError::Missed(0)) => {
                    tenure.lost.cancel();
                    Err(lost())
                }
                Err(CommitError::Missed(write)) => Err(CommitError::Missed(write - 1)),
                other => other,
            }
        })
    }
}

fn lost() -> CommitError {
    Fault::Stopped("another node has the subscription".to_owned()).into()
}
