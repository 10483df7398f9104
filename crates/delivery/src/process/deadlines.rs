//! Ends the processes that take too long: by asking for their undoing.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::step::DEADLINE_PASSED;
use super::stored::{Case, Direction, Place, Processes};
use crate::catalogue::Catalogue;
use crate::clock::{Clock, Ids};
use crate::code::Code;
use crate::commit::Transaction;
use crate::envelope::{Actor, Envelope};
use crate::event::Event;
use crate::events::UndoRequested;
use crate::fault::Fault;
use crate::log::{Appender, CommitError, Log, Record};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Processes ended at one look; the others at the next.
const AT_ONCE: usize = 256;

/// Looks for processes past their deadline.
pub struct Deadlines {
    pub processes: Arc<dyn Processes>,
    pub log: Arc<dyn Log>,
    pub appender: Arc<Appender>,
    pub catalogue: Arc<Catalogue>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
}

impl Deadlines {
    /// Looks again and again until the server stops.
    pub async fn run(self, stopping: CancellationToken) {
        while stopping
            .run_until_cancelled(tokio::time::sleep(LOOK_EVERY))
            .await
            .is_some()
        {
            if let Err(fault) = self.look().await {
                tracing::warn!(%fault, "processes past their deadline were not ended; trying again");
            }
        }
    }

    /// Asks for the undoing of each that is late, once: the row is turned round in the same commit. How many there were.
    pub async fn look(&self) -> Result<usize, Fault> {
        let late = self.processes.overdue(self.clock.now(), AT_ONCE).await?;
        let mut turned = 0;
        for case in late {
            let back = Place {
                direction: Direction::Undoing,
                ..case.place
            };
            let transaction = Transaction {
                writes: vec![self.processes.advance(case.id, case.place, back)],
                records: vec![self.record(&case)?],
            };
            match self.log.commit(transaction).await {
                Ok(_) => turned += 1,
                // It moved meanwhile: it is looked at again if it is still late.
                Err(CommitError::Missed(_)) => {}
                Err(CommitError::Fault(fault)) => return Err(fault),
            }
        }
        Ok(turned)
    }

    fn record(&self, case: &Case) -> Result<Record, Fault> {
        let requested = UndoRequested {
            subscription: case.kind.clone(),
            event_id: case.id,
            event_type: case.begun_by.clone(),
            reason: Code::new(DEADLINE_PASSED),
        };
        let meta = UndoRequested::META;
        let envelope = Envelope {
            id: self.ids.next(),
            kind: meta.kind.to_owned(),
            version: meta.version,
            key: case.key.clone(),
            priority: self.catalogue.class(&meta).priority,
            time: self.clock.now(),
            workflow_id: case.workflow_id,
            correlation_id: case.correlation_id,
            causation_id: Some(case.id),
            subject: case.subject.clone(),
            actor: Actor {
                kind: "system".into(),
                id: None,
            },
            request_id: None,
            traceparent: None,
        };
        let body = requested.encode().map_err(Fault::internal)?;
        Ok(self.appender.record(envelope, body, None, None))
    }
}
