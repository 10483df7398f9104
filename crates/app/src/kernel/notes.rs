//! Facts that no workflow causes: somebody looked at what is not for everybody, or a time was over.

use std::sync::Arc;

use quivive_delivery::{CommitError, Event, Fault, Transaction, Write};

use super::cx::{Cx, Request};
use super::execute::Kernel;
use super::records::Place;
use super::workflow::Subject;

impl Kernel {
    /// Appends a fact of its own, about nobody; it is durable when this answers. What changes anything is a workflow.
    pub async fn note<E: Event>(&self, fact: &E, request: Request) -> Result<(), Fault> {
        match self.alone(Subject::System, request, Vec::new(), fact).await {
            Ok(()) => Ok(()),
            Err(CommitError::Fault(fault)) => Err(fault),
            Err(missed @ CommitError::Missed(_)) => Err(Fault::internal(missed)),
        }
    }

    /// Appends what time made of somebody's state, with the guarded writes that make it so: actor `system`.
    pub(crate) async fn happened<E: Event>(
        &self,
        about: Subject,
        writes: Vec<Write>,
        fact: &E,
    ) -> Result<(), CommitError> {
        self.alone(about, Request::system(), writes, fact).await
    }

    /// Applies writes that mean nothing to anybody, so that no event tells of them.
    pub(crate) async fn change(&self, writes: Vec<Write>) -> Result<(), CommitError> {
        let records = Vec::new();
        let transaction = Transaction { writes, records };
        self.log.commit(transaction).await.map(|_| ())
    }

    async fn alone<E: Event>(
        &self,
        about: Subject,
        request: Request,
        writes: Vec<Write>,
        fact: &E,
    ) -> Result<(), CommitError> {
        let workflow_id = self.families.ids.next();
        let mut cx = self.cx(request, workflow_id);
        cx.subject = Some(about);
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
        let record = self.record(&trail, &place, E::META, body, cx.now());
        let records = vec![record];
        let transaction = Transaction { writes, records };
        self.log.commit(transaction).await.map(|_| ())
    }

    pub(super) fn cx(&self, request: Request, workflow_id: uuid::Uuid) -> Cx {
        let epoch = self.log.head().borrow().epoch;
        let (families, turns) = (Arc::clone(&self.families), Arc::clone(&self.turns));
        Cx::new(families, request, workflow_id, epoch, turns)
    }
}
