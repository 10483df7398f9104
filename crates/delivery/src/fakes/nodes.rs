//! Nodes on a [`Memory`], which live until a test says otherwise.

use std::sync::Arc;

use uuid::Uuid;

use super::memory::{
    CLAIM, FORGET, GUARD, OFFER, RELEASE, State, UNWANT, WANT, id, position, text,
};
use super::{Connection, Memory};
use crate::commit::{Value, Write};
use crate::nodes::{Lease, Node, Nodes};
use crate::{BoxFuture, Fault};

impl Memory {
    /// From now on this node lives.
    pub fn join(self: &Arc<Self>, node: Node) {
        self.state().nodes.insert(node.id, node.reads);
    }

    /// From now on it does not.
    pub fn bury(&self, node: Uuid) {
        self.state().nodes.remove(&node);
    }

    /// Who has it.
    pub fn holder(&self, name: &str) -> Option<Uuid> {
        self.state().leases.get(name)?.node
    }
}

impl State {
    pub(super) fn move_lease(&mut self, write: &Write) -> bool {
        let name = text(write, 0);
        let nodes = &self.nodes;
        let lease = self.leases.get_mut(&name);
        match write.sql {
            CLAIM => {
                let (node, seen) = (id(write, 1), position(write, 2));
                let free = |lease: &Lease| {
                    lease
                        .node
                        .is_none_or(|holder| holder == node || !nodes.contains_key(&holder))
                };
                let lease = match lease {
                    Some(lease) if lease.epoch == seen && free(lease) => lease,
                    Some(_) => return false,
                    None => self.leases.entry(name.clone()).or_insert(Lease {
                        name,
                        node: None,
                        epoch: seen,
                        wanted: None,
                        needs: 0,
                    }),
                };
                (lease.node, lease.epoch) = (Some(node), seen + 1);
                true
            }
            OFFER => {
                let needs = position(write, 1);
                let offered = || Lease {
                    name: name.clone(),
                    node: None,
                    epoch: 0,
                    wanted: None,
                    needs,
                };
                let is_new = lease.is_none();
                self.leases.entry(name.clone()).or_insert_with(offered);
                is_new
            }
            GUARD | RELEASE => {
                let (node, epoch) = (id(write, 1), position(write, 2));
                let mine = |lease: &&mut Lease| lease.node == Some(node) && lease.epoch == epoch;
                let Some(lease) = lease.filter(mine) else {
                    return false;
                };
                if write.sql == RELEASE {
                    (lease.node, lease.needs) = (None, position(write, 3));
                }
                true
            }
            WANT => lease.is_some_and(|lease| {
                lease.wanted = Some(id(write, 1));
                true
            }),
            UNWANT => lease
                .filter(|lease| lease.wanted == Some(id(write, 1)))
                .is_some_and(|lease| {
                    lease.wanted = None;
                    true
                }),
            FORGET => self.leases.remove(&name).is_some(),
            other => panic!("{other} is nothing that nodes do"),
        }
    }
}

fn number(number: u64) -> Value {
    Value::Int(i64::try_from(number).expect("epochs stay far below 2^63"))
}

impl Nodes for Connection {
    fn living(&self) -> BoxFuture<'_, Result<Vec<Node>, Fault>> {
        self.read_with(|state| {
            let nodes = state.nodes.iter();
            nodes
                .map(|(id, reads)| Node {
                    id: *id,
                    reads: *reads,
                })
                .collect()
        })
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<Lease>, Fault>> {
        self.read_with(|state| state.leases.values().cloned().collect())
    }

    fn claim(&self, name: &str, node: Uuid, seen: u64) -> Write {
        Write::one(
            CLAIM,
            vec![name.to_owned().into(), node.into(), number(seen)],
        )
    }

    fn offer(&self, name: &str, needs: u64) -> Write {
        Write::any(OFFER, vec![name.to_owned().into(), number(needs)])
    }

    fn guard(&self, name: &str, node: Uuid, epoch: u64) -> Write {
        let params = vec![name.to_owned().into(), node.into(), number(epoch)];
        Write::one(GUARD, params)
    }

    fn release(&self, name: &str, node: Uuid, epoch: u64, needs: u64) -> Write {
        let name = name.to_owned().into();
        let params = vec![name, node.into(), number(epoch), number(needs)];
        Write::one(RELEASE, params)
    }

    fn want(&self, name: &str, node: Uuid) -> Write {
        Write::any(WANT, vec![name.to_owned().into(), node.into()])
    }

    fn unwant(&self, name: &str, node: Uuid) -> Write {
        Write::any(UNWANT, vec![name.to_owned().into(), node.into()])
    }

    fn forget(&self, name: &str) -> Write {
        Write::any(FORGET, vec![name.to_owned().into()])
    }
}
