//! Where processes of several steps keep their rows.

use quivive_delivery::process::{Case, Direction, Place, Processes};
use quivive_delivery::{BoxFuture, Fault, Key, Time, Value, Write};
use uuid::Uuid;

use crate::rows::Cells;
use crate::{Database, int};

statements! {
    FIND = "SELECT id, kind, state, step, deadline, begun_by, key, workflow_id, correlation_id, subject \
        FROM process WHERE id = $1";

    OVERDUE = "SELECT id, kind, state, step, deadline, begun_by, key, workflow_id, correlation_id, subject \
        FROM process WHERE state = 'doing' AND deadline <= $1 ORDER BY deadline LIMIT $2";

    BEGIN = "INSERT INTO process (id, kind, state, step, deadline, begun_by, key, workflow_id, correlation_id, subject) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";

    ADVANCE = "UPDATE process SET state = $1, step = $2 WHERE id = $3 AND state = $4 AND step = $5";

    END = "DELETE FROM process WHERE id = $1 AND state = $2 AND step = $3";
}

impl Processes for Database {
    fn find(&self, id: Uuid) -> BoxFuture<'_, Result<Option<Case>, Fault>> {
        self.one(FIND, vec![id.into()], case)
    }

    fn overdue(&self, now: Time, limit: usize) -> BoxFuture<'_, Result<Vec<Case>, Fault>> {
        self.all(OVERDUE, vec![now.into(), int(limit)], case)
    }

    fn begin(&self, case: &Case) -> Write {
        let [state, step] = columns(case.place);
        Write::one(
            BEGIN,
            vec![
                case.id.into(),
                case.kind.clone().into(),
                state,
                step,
                case.deadline.into(),
                case.begun_by.clone().into(),
                case.key.as_str().to_owned().into(),
                case.workflow_id.into(),
                case.correlation_id.into(),
                case.subject.clone().into(),
            ],
        )
    }

    fn advance(&self, id: Uuid, from: Place, to: Place) -> Write {
        let ([to_state, to_step], [state, step]) = (columns(to), columns(from));
        Write::one(ADVANCE, vec![to_state, to_step, id.into(), state, step])
    }

    fn end(&self, id: Uuid, from: Place) -> Write {
        let [state, step] = columns(from);
        Write::one(END, vec![id.into(), state, step])
    }
}

fn case(cells: &mut Cells) -> Result<Case, Fault> {
    Ok(Case {
        id: cells.take("process.id")?,
        kind: cells.take("process.kind")?,
        place: Place {
            direction: direction(&cells.take::<String>("process.state")?)?,
            step: cells.take("process.step")?,
        },
        deadline: cells.take("process.deadline")?,
        begun_by: cells.take("process.begun_by")?,
        key: Key::stored(cells.take("process.key")?),
        workflow_id: cells.take("process.workflow_id")?,
        correlation_id: cells.take("process.correlation_id")?,
        subject: cells.take("process.subject")?,
    })
}

fn columns(place: Place) -> [Value; 2] {
    let word = match place.direction {
        Direction::Doing => "doing",
        Direction::Undoing => "undoing",
    };
    [word.into(), place.step.into()]
}

fn direction(word: &str) -> Result<Direction, Fault> {
    match word {
        "doing" => Ok(Direction::Doing),
        "undoing" => Ok(Direction::Undoing),
        _ => Err(Fault::Internal(format!(
            "process.state holds {word:?}, which is no state"
        ))),
    }
}
