//! A fact that no workflow causes: somebody looked at what is not for everybody.

use std::sync::Arc;

use quivive_delivery::{CommitError, Event, Fault, Transaction};

use super::cx::{Cx, Request};
use super::execute::Kernel;
use super::records::Place;

impl Kernel {
    /// Appends a fact of its own, about nobody; it is durable when this answers. What changes anything is a workflow.
    pub async fn note<E: Event>(&self, fact: &E, request: Request) -> Result<(), Fault> {
        let workflow_id = self.families.ids.next();
        let cx = self.cx(request, workflow_id);
        let keys = self.seal_keys(&cx).await?;
        let trail = self.trail(&cx, keys);
        let place = Place {
            id: self.families.ids.next(),
            workflow_id,
            correlation_id: workflow_id,
            causation_id: None,
            actor: cx.request.actor,
            key: None,
        };
        let body = fact.encode().map_err(Fault::internal)?;
        let record = self.record(&trail, &trail.keys, &place, E::META, body, cx.now());
        let transaction = Transaction {
            writes: Vec::new(),
            records: vec![record],
        };
        match self.log.commit(transaction).await {
            Ok(_) => Ok(()),
            Err(CommitError::Fault(fault)) => Err(fault),
            Err(missed @ CommitError::Missed(_)) => Err(Fault::internal(missed)),
        }
    }

    pub(super) fn cx(&self, request: Request, workflow_id: uuid::Uuid) -> Cx {
        let epoch = self.log.head().borrow().epoch;
        let (families, turns) = (Arc::clone(&self.families), Arc::clone(&self.turns));
        Cx::new(families, request, workflow_id, epoch, turns)
    }
}
