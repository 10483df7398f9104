//! What tests of a program ask of its running engine.

use std::sync::Arc;

use super::delivery::{Target, open};
use super::running::Running;
use super::tail::BATCH_EVENTS;
use crate::event::Event;
use crate::fault::Fault;
use crate::subscriber::Received;

impl Running {
    /// From now on this subscription's handler is not called; what it gets counts as done.
    ///
    /// # Panics
    /// When there is no subscription of this name: the test would mean something else.
    pub fn mute(&self, name: &str) {
        self.target(name).mute();
    }

    /// Mutes all others.
    ///
    /// # Panics
    /// As [`Running::mute`].
    pub fn only(&self, names: &[&str]) {
        for name in names {
            self.target(name);
        }
        for target in self.targets() {
            if !names.contains(&&*target.name) {
                target.mute();
            }
        }
    }

    /// Every `E` since the start, as a handler that may see everything gets it.
    pub async fn captured<E: Event>(&self) -> Result<Vec<Received<E>>, Fault> {
        let (mut captured, mut after) = (Vec::new(), self.began_at);
        loop {
            let events = self.tools.log.read(after, BATCH_EVENTS).await?;
            let Some(last) = events.last() else {
                return Ok(captured);
            };
            after = last.position;
            for event in events {
                if event.envelope.kind == E::META.kind {
                    let (personal, context) = open(&*self.tools.scribe.vault, &event).await?;
                    let any = Received::new(Arc::new(event), personal, context, "test".into());
                    captured.push(any.typed().map_err(Fault::internal)?);
                }
            }
        }
    }

    /// Waits until every subscription has reached the head of the log, with what is in trouble left to lanes. What
    /// handlers append meanwhile is waited for too.
    pub async fn drain(&self) {
        let (mut moved, mut reached) = (self.tools.moved.subscribe(), self.tools.tail.reached());
        loop {
            self.tools.log.settled().await;
            let head = self.head();
            let durable = self.roster.all();
            let tail = &self.tools.tail;
            if durable.iter().all(|shared| shared.reached(head, tail))
                && (self.after.is_empty() || self.after.position() >= head)
                && self.views.iter().all(|view| view.position() >= head)
            {
                return;
            }
            // The senders live as long as `tools`.
            tokio::select! {
                _ = moved.changed() => {}
                _ = reached.changed() => {}
            }
        }
    }

    fn targets(&self) -> Vec<Arc<Target>> {
        let durable = self.roster.all();
        let durable = durable.iter().map(|shared| shared.target());
        let views = self.views.iter().map(|view| Arc::clone(&view.target));
        let others = self.after.targets().cloned().chain(views);
        durable.chain(others).collect()
    }

    fn target(&self, name: &str) -> Arc<Target> {
        let found = self.targets();
        let found = found.into_iter().find(|target| *target.name == *name);
        found.unwrap_or_else(|| panic!("there is no subscription {name:?}"))
    }
}
