//! This run among the nodes of a shared database: who it is, where it runs, and that it lives.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quivive_delivery::nodes::Node;
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{Catalogue, Clock, Fault, Ids};
use quivive_store::Database;
use uuid::Uuid;

use crate::private;
use crate::start::StartError;

/// In the data directory: what tells its server from those in others.
const FILE: &str = "node";

/// How often it says that it lives: several times before it is taken for dead.
const BEAT_EVERY: Duration = Duration::from_secs(3);

/// How far a clock may be from the database's.
const OFF: Duration = Duration::from_secs(2);

/// So the clocks of two nodes are never further apart; tokens tell whole seconds.
pub(crate) const SKEW: Duration = Duration::from_secs(5);

/// The place of a data directory, which is made there at the first time.
pub(crate) fn place(data: &Path, ids: &dyn Ids) -> Result<Uuid, StartError> {
    let path = data.join(FILE);
    let found = std::fs::read_to_string(&path).ok();
    if let Some(place) = found.and_then(|text| text.trim().parse().ok()) {
        return Ok(place);
    }
    let place = ids.next();
    let written = private::write(&path, &format!("{place}\n"));
    written.map_err(|source| StartError::Directory { path, source })?;
    Ok(place)
}

/// How much a program reads, which newer ones do more of: versions and types are added, never taken away.
pub(crate) fn reads(catalogue: &Catalogue) -> u64 {
    let types = catalogue.all().iter();
    types.map(|spec| u64::from(spec.version)).sum()
}

/// A node that says that it lives until it leaves.
pub(crate) struct Membership {
    database: Database,
    id: Uuid,
    place: Uuid,
    /// Nothing until it serves.
    reads: Arc<AtomicU64>,
    /// Apart from the server's: it says so until those have ended.
    tasks: Tasks,
}

impl Membership {
    /// Joins. Whatever ran in this place before is forgotten, for it has ended.
    pub(crate) async fn join(
        database: &Database,
        id: Uuid,
        place: Uuid,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        if let Some(off) = off(database, clock.as_ref()).await? {
            return Err(StartError::Clock { off });
        }
        let node = Node { id, reads: 0 };
        database.join(node, place).await?;
        let this = Self {
            database: database.clone(),
            id,
            place,
            reads: Arc::default(),
            tasks: Tasks::new(),
        };
        this.keep_up(Arc::clone(clock));
        Ok(this)
    }

    fn keep_up(&self, clock: Arc<dyn Clock>) {
        let (database, id, place) = (self.database.clone(), self.id, self.place);
        let (reads, stopping) = (Arc::clone(&self.reads), self.tasks.stopping());
        drop(self.tasks.spawn(async move {
            let pause = || tokio::time::sleep(BEAT_EVERY);
            while stopping.run_until_cancelled(pause()).await.is_some() {
                let reads = reads.load(Ordering::Relaxed);
                if let Err(fault) = database.beat(Node { id, reads }, place).await {
                    tracing::warn!(%fault, "other nodes may take this one for dead: it cannot say that it lives");
                }
                if let Ok(Some(off)) = off(&database, clock.as_ref()).await {
                    let seconds = off.as_secs_f64();
                    tracing::error!(seconds, "the clock differs from the database's: set it");
                }
            }
        }));
    }

    /// From now on it may be given subscriptions and duties.
    pub(crate) async fn serve(&self, reads: u64) -> Result<(), Fault> {
        self.reads.store(reads, Ordering::Relaxed);
        let node = Node { id: self.id, reads };
        self.database.beat(node, self.place).await
    }

    /// Lets go of everything. Nothing of it is under way any more.
    pub(crate) async fn leave(self) {
        self.tasks.shut_down().await;
        if let Err(fault) = self.database.leave(self.id).await {
            tracing::warn!(%fault, "other nodes take over a little later: this one could not say that it ends");
        }
    }
}

/// How far the clock is from the database's, if that is too far.
async fn off(database: &Database, clock: &dyn Clock) -> Result<Option<Duration>, Fault> {
    let before = clock.now();
    let there = database.time().await?;
    // Asked and answered within this time, the database's clock was there at some moment of it.
    let off = if there < before {
        before.duration_since(there)
    } else {
        there.duration_since(clock.now())
    };
    let off = off.unsigned_abs();
    let late = there < before || there > clock.now();
    Ok(Some(off).filter(|off| late && *off > OFF))
}

#[cfg(test)]
mod tests {
    use quivive_outbound::{SystemClock, SystemIds};

    use super::*;

    #[test]
    fn a_data_directory_stays_the_same_place() {
        let data = std::env::temp_dir().join(format!("qv-place-{}", std::process::id()));
        private::directory(&data).unwrap();
        let ids = SystemIds::new(Arc::new(SystemClock));
        let first = place(&data, &ids).unwrap();
        assert_eq!(place(&data, &ids).unwrap(), first);
        private::remove(&data.join(FILE)).unwrap();
        assert_ne!(place(&data, &ids).unwrap(), first);
        let _ = std::fs::remove_dir_all(data);
    }

    #[test]
    fn a_program_that_knows_more_reads_more() {
        let known = quivive_app::switchboard::workflows().unwrap();
        let all = reads(known.catalogue());
        assert!(all >= known.catalogue().all().len() as u64);
    }
}
