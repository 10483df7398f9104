//! The nodes on the database and what they have, by the clock of the database.

use std::time::Duration;

use quivive_delivery::nodes::{Lease, Node, Nodes};
use quivive_delivery::{
    BoxFuture, CommitError, Fault, Log as _, Passing, Time, Transaction, Value, Write,
};
use uuid::Uuid;

use crate::rows::Cells;
use crate::{Database, int};

/// A node that has not said for so long that it lives is dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(15);

/// Microseconds since 1970 as the database has it.
macro_rules! now {
    (sqlite) => {
        "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
    };
    (postgres) => {
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
    };
}

statements! {
    LIVING = "SELECT id, reads FROM node ORDER BY id";

    LEASES = "SELECT name, node, epoch, wanted, needs FROM lease ORDER BY name";

    /// Another run in the same data directory has ended: that has a lock.
    SUCCEED = "DELETE FROM node WHERE place = $1 AND id <> $2";

    LEAVE = "DELETE FROM node WHERE id = $1";

    LET_GO = "UPDATE lease SET node = NULL WHERE node = $1";

    /// The second node is compared with those that live: the dead were forgotten before, in the same commit.
    CLAIM = "INSERT INTO lease (name, node, epoch) VALUES ($1, $2, CAST($3 AS BIGINT) + 1) \
        ON CONFLICT (name) DO UPDATE SET node = excluded.node, epoch = excluded.epoch \
        WHERE lease.epoch = $3 AND (lease.node IS NULL OR lease.node = excluded.node \
        OR NOT EXISTS (SELECT 1 FROM node WHERE node.id = lease.node))";

    OFFER = "INSERT INTO lease (name, epoch, needs) VALUES ($1, 0, $2) ON CONFLICT DO NOTHING";

    GUARD = "UPDATE lease SET epoch = epoch WHERE name = $1 AND node = $2 AND epoch = $3";

    RELEASE = "UPDATE lease SET node = NULL, needs = $1 WHERE name = $2 AND node = $3 AND epoch = $4";

    WANT = "UPDATE lease SET wanted = $1 WHERE name = $2";

    UNWANT = "UPDATE lease SET wanted = NULL WHERE name = $1 AND wanted = $2";

    FORGET = "DELETE FROM lease WHERE name = $1";

    @pairs

    /// Differs, as all below, because each has a clock of its own.
    NOW = concat!("SELECT ", now!(sqlite)), concat!("SELECT ", now!(postgres));

    BEAT = concat!(
        "INSERT INTO node (id, place, reads, beat) VALUES ($1, $2, $3, ", now!(sqlite), ") \
         ON CONFLICT (id) DO UPDATE SET beat = excluded.beat, reads = excluded.reads"
    ), concat!(
        "INSERT INTO node (id, place, reads, beat) VALUES ($1, $2, $3, ", now!(postgres), ") \
         ON CONFLICT (id) DO UPDATE SET beat = excluded.beat, reads = excluded.reads"
    );

    BURY = concat!("DELETE FROM node WHERE beat < ", now!(sqlite), " - $1"),
        concat!("DELETE FROM node WHERE beat < ", now!(postgres), " - CAST($1 AS BIGINT)");
}

impl Database {
    /// Forgets a run that ended in the same place, and says that this one lives. To be called before it begins anything.
    pub async fn join(&self, node: Node, place: Uuid) -> Result<(), Fault> {
        let succeed = Write::any(SUCCEED, vec![place.into(), node.id.into()]);
        self.of_nodes(vec![succeed, self.beat_of(node, place)])
            .await
    }

    /// Says that this node lives. To be called every few seconds, several times within [`DEAD_AFTER`].
    pub async fn beat(&self, node: Node, place: Uuid) -> Result<(), Fault> {
        // Not behind what the engine commits, which keeps its order.
        let stays = Passing::Stays(node.id);
        let beat = self.beat_of(node, place).passing(stays);
        self.of_nodes(vec![beat]).await
    }

    /// Says that this node ends: what it has is free at once.
    pub async fn leave(&self, node: Uuid) -> Result<(), Fault> {
        let let_go = Write::any(LET_GO, vec![node.into()]);
        let leave = Write::any(LEAVE, vec![node.into()]);
        self.of_nodes(vec![let_go, leave]).await
    }

    /// The time as the database has it, by whose clock nodes live.
    pub async fn time(&self) -> Result<Time, Fault> {
        self.single(self.spoken(NOW), Vec::new(), |cells| cells.take("now"))
            .await
    }

    fn beat_of(&self, node: Node, place: Uuid) -> Write {
        let params = vec![node.id.into(), place.into(), int(node.reads)];
        Write::one(self.spoken(BEAT), params)
    }

    fn bury(&self) -> Write {
        let micros = int(DEAD_AFTER.as_micros());
        Write::any(self.spoken(BURY), vec![micros])
    }

    async fn of_nodes(&self, writes: Vec<Write>) -> Result<(), Fault> {
        let records = Vec::new();
        match self.commit(Transaction { writes, records }).await {
            Ok(_) => Ok(()),
            Err(CommitError::Fault(fault)) => Err(fault),
            Err(missed @ CommitError::Missed(_)) => Err(Fault::internal(missed)),
        }
    }
}

impl Nodes for Database {
    fn living(&self) -> BoxFuture<'_, Result<Vec<Node>, Fault>> {
        Box::pin(async move {
            self.of_nodes(vec![self.bury()]).await?;
            self.all(LIVING, Vec::new(), |cells| {
                Ok(Node {
                    id: cells.take("node.id")?,
                    reads: cells.take("node.reads")?,
                })
            })
            .await
        })
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<Lease>, Fault>> {
        self.all(LEASES, Vec::new(), lease)
    }

    fn claim(&self, name: &str, node: Uuid, seen: u64) -> Write {
        Write::one(CLAIM, vec![name.to_owned().into(), node.into(), int(seen)])
    }

    fn offer(&self, name: &str, needs: u64) -> Write {
        Write::any(OFFER, vec![name.to_owned().into(), int(needs)])
    }

    fn guard(&self, name: &str, node: Uuid, epoch: u64) -> Write {
        Write::one(GUARD, vec![name.to_owned().into(), node.into(), int(epoch)])
    }

    fn release(&self, name: &str, node: Uuid, epoch: u64, needs: u64) -> Write {
        let name: Value = name.to_owned().into();
        Write::one(RELEASE, vec![int(needs), name, node.into(), int(epoch)])
    }

    fn want(&self, name: &str, node: Uuid) -> Write {
        Write::any(WANT, vec![node.into(), name.to_owned().into()])
    }

    fn unwant(&self, name: &str, node: Uuid) -> Write {
        Write::any(UNWANT, vec![name.to_owned().into(), node.into()])
    }

    fn forget(&self, name: &str) -> Write {
        Write::any(FORGET, vec![name.to_owned().into()])
    }
}

fn lease(cells: &mut Cells) -> Result<Lease, Fault> {
    Ok(Lease {
        name: cells.take("lease.name")?,
        node: cells.take("lease.node")?,
        epoch: cells.take("lease.epoch")?,
        wanted: cells.take("lease.wanted")?,
        needs: cells.take("lease.needs")?,
    })
}
