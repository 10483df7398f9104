//! Attempts that have no outcome yet: the kernel's own table.

use quivive_app::ports::{OpenAttempt, OpenAttempts, Read};
use quivive_delivery::{Fault, Passing, Time, Write};
use uuid::Uuid;

use crate::rows::Cells;
use crate::{Database, int};

/// How many abandoned attempts one read gives: far more than a crash can leave, so that only a table gone wrong meets it.
/// Whoever closes them reads again.
const ABANDONED_MAX: u32 = 10_000;

statements! {
    /// Looks at every row: those of attempts under way, a handful. What another node works on is its own to end, also when
    /// the clock of this one says that it is late, as long as it lives.
    ABANDONED = "SELECT workflow_id, kind, attempted_id, after_pos, deadline, waiting, node FROM open_attempt \
        WHERE (deadline <= $1 AND (waiting = 1 OR node = $2)) OR (waiting = 0 AND node <> $2 \
        AND NOT EXISTS (SELECT 1 FROM node WHERE node.id = open_attempt.node)) ORDER BY workflow_id LIMIT $3";

    FIND = "SELECT workflow_id, kind, attempted_id, after_pos, deadline, waiting, node FROM open_attempt \
        WHERE workflow_id = $1";

    OPEN = "INSERT INTO open_attempt (workflow_id, kind, attempted_id, after_pos, deadline, waiting, node) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";

    CLOSE = "DELETE FROM open_attempt WHERE workflow_id = $1";

    WAIT = "UPDATE open_attempt SET waiting = 1, deadline = $1 WHERE workflow_id = $2 AND waiting = 0";
}

impl OpenAttempts for Database {
    fn abandoned(&self, node: Uuid, now: Time) -> Read<'_, Vec<OpenAttempt>> {
        self.all(
            ABANDONED,
            vec![now.into(), node.into(), ABANDONED_MAX.into()],
            attempt,
        )
    }

    fn find(&self, workflow_id: Uuid) -> Read<'_, Option<OpenAttempt>> {
        self.one(FIND, vec![workflow_id.into()], attempt)
    }

    fn open(&self, attempt: &OpenAttempt) -> Write {
        Write::one(
            OPEN,
            vec![
                attempt.workflow_id.into(),
                attempt.kind.clone().into(),
                attempt.attempted_id.into(),
                int(attempt.after),
                attempt.deadline.into(),
                attempt.waiting.into(),
                attempt.node.into(),
            ],
        )
        .passing(Passing::Comes(attempt.workflow_id))
    }

    fn close(&self, workflow_id: Uuid) -> Write {
        Write::one(CLOSE, vec![workflow_id.into()]).passing(Passing::Goes(workflow_id))
    }

    fn wait(&self, workflow_id: Uuid, until: Time) -> Write {
        Write::one(WAIT, vec![until.into(), workflow_id.into()])
            .passing(Passing::Stays(workflow_id))
    }
}

fn attempt(cells: &mut Cells) -> Result<OpenAttempt, Fault> {
    Ok(OpenAttempt {
        workflow_id: cells.take("open_attempt.workflow_id")?,
        kind: cells.take("open_attempt.kind")?,
        attempted_id: cells.take("open_attempt.attempted_id")?,
        after: cells.take("open_attempt.after_pos")?,
        deadline: cells.take("open_attempt.deadline")?,
        waiting: cells.take("open_attempt.waiting")?,
        node: cells.take("open_attempt.node")?,
    })
}
