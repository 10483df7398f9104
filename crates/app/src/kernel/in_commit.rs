//! What reacts in the commit is asked here, once for each time a decision is about to be submitted.
//!
//! A refusal is the workflow's own and stands: its handlers may add to it, but what they say against it changes nothing.
//! Otherwise a veto would undo what a refusal leaves behind on purpose, such as a wrong guess that counts.

use std::panic::AssertUnwindSafe;

use quivive_delivery::{Body, EventMeta, Phase};

use super::commit::{Commit, Pending, Role};
use super::execute::{Failure, Kernel};

impl Kernel {
    /// Asks about the outcome and every other event of a commit but the attempts, and adds to it what the handlers add.
    pub(super) fn hear<R>(
        &self,
        workflow: &'static str,
        may_veto: bool,
        outcome: Option<&(EventMeta, Body)>,
        commit: &mut Commit,
    ) -> Result<(), Failure<R>> {
        let raised = outcome.map(|(meta, body)| (meta, body));
        let others = commit.events.iter().map(|event| (&event.meta, &event.body));
        let mut added = Vec::new();
        for (meta, body) in raised.into_iter().chain(others) {
            if meta.phase() == Phase::Attempted {
                continue;
            }
            // A handler that panics breaks its workflow as if it were a part of it, and leaves nothing behind.
            let asked = AssertUnwindSafe(|| self.in_commit.ask(meta, body));
            match std::panic::catch_unwind(asked) {
                Ok(Ok(effects)) => added.push(effects),
                Ok(Err(veto)) if may_veto => return Err(Failure::Vetoed(veto)),
                Ok(Err(veto)) => tracing::warn!(
                    workflow, %veto, kind = meta.kind, "a veto against a refusal has no effect"
                ),
                Err(_) => {
                    tracing::error!(
                        workflow,
                        kind = meta.kind,
                        "a handler in the commit panicked"
                    );
                    return Err(Failure::Internal);
                }
            }
        }
        for effects in added {
            commit.write_all(effects.writes);
            let facts = effects.facts.into_iter().map(|fact| Pending {
                meta: fact.meta,
                body: fact.body,
                role: Role::Fact(fact.key),
            });
            commit.events.extend(facts);
        }
        Ok(())
    }
}
