//! [`OpenAttempts`] over a [`World`].

use quivive_delivery::{Time, Write};
use uuid::Uuid;

use super::World;
use super::commits::row;
use crate::ports::{OpenAttempt, OpenAttempts, Read};

impl OpenAttempts for World {
    fn abandoned(&self, node: Uuid, now: Time) -> Read<'_, Vec<OpenAttempt>> {
        // No other node lives here.
        let left = move |a: &&OpenAttempt| a.deadline <= now || (!a.waiting && a.node != node);
        self.read(|s| s.attempts.values().filter(left).cloned().collect())
    }

    fn find(&self, workflow_id: Uuid) -> Read<'_, Option<OpenAttempt>> {
        self.read(|s| s.attempts.get(&workflow_id).cloned())
    }

    fn open(&self, attempt: &OpenAttempt) -> Write {
        let attempt = attempt.clone();
        self.write("open_attempt open", &[attempt.workflow_id], move |s| {
            u64::from(
                s.attempts
                    .insert(attempt.workflow_id, attempt.clone())
                    .is_none(),
            )
        })
    }

    fn close(&self, workflow_id: Uuid) -> Write {
        self.write("open_attempt close", &[workflow_id], move |s| {
            u64::from(s.attempts.remove(&workflow_id).is_some())
        })
    }

    fn wait(&self, workflow_id: Uuid, until: Time) -> Write {
        self.write("open_attempt wait", &[workflow_id], move |s| {
            row(
                s.attempts.get_mut(&workflow_id),
                |a| !a.waiting,
                |a| (a.waiting, a.deadline) = (true, until),
            )
        })
    }
}
