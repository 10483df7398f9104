//! Rows of processes in a database in memory.

use uuid::Uuid;

use super::Connection;
use super::memory::{ADVANCE_PROCESS, BEGIN_PROCESS, END_PROCESS, State};
use crate::clock::Time;
use crate::commit::{Value, Write};
use crate::envelope::Key;
use crate::process::{Case, Direction, Place, Processes};
use crate::{BoxFuture, Fault};

impl Processes for Connection {
    fn find(&self, id: Uuid) -> BoxFuture<'_, Result<Option<Case>, Fault>> {
        self.read_with(move |state| state.processes.get(&id).cloned())
    }

    fn overdue(&self, now: Time, limit: usize) -> BoxFuture<'_, Result<Vec<Case>, Fault>> {
        self.read_with(move |state| {
            let late =
                |case: &&Case| case.place.direction == Direction::Doing && case.deadline <= now;
            let all = state.processes.values();
            all.filter(late).take(limit).cloned().collect()
        })
    }

    fn begin(&self, case: &Case) -> Write {
        let mut params = vec![case.id.into(), case.deadline.into()];
        params.extend(numbers(case.place));
        params.extend([
            case.kind.clone().into(),
            case.begun_by.clone().into(),
            case.key.as_str().to_owned().into(),
            case.workflow_id.into(),
            case.correlation_id.into(),
            case.subject.clone().into(),
        ]);
        Write::one(BEGIN_PROCESS, params)
    }

    fn advance(&self, id: Uuid, from: Place, to: Place) -> Write {
        let mut params = vec![id.into()];
        params.extend(numbers(from).into_iter().chain(numbers(to)));
        Write::one(ADVANCE_PROCESS, params)
    }

    fn end(&self, id: Uuid, from: Place) -> Write {
        let mut params = vec![id.into()];
        params.extend(numbers(from));
        Write::one(END_PROCESS, params)
    }
}

fn numbers(place: Place) -> [Value; 2] {
    [
        (place.direction == Direction::Undoing).into(),
        place.step.into(),
    ]
}

fn place(params: &[Value]) -> Place {
    match params {
        [Value::Int(undoing), Value::Int(step), ..] => Place {
            direction: if *undoing == 0 {
                Direction::Doing
            } else {
                Direction::Undoing
            },
            step: u32::try_from(*step).expect("steps are few"),
        },
        other => panic!("a place is {other:?}"),
    }
}

impl State {
    /// How many rows a write to a process touches.
    pub(super) fn move_process(&mut self, write: &Write) -> u64 {
        let params = &write.params;
        let [Value::Id(id), ..] = params[..] else {
            panic!("the first parameter of {:?} is no id", write.sql);
        };
        let at = |from: Place| {
            self.processes
                .get(&id)
                .is_some_and(|case| case.place == from)
        };
        let touched = match write.sql {
            ADVANCE_PROCESS if at(place(&params[1..])) => {
                let to = place(&params[3..]);
                self.processes.get_mut(&id).expect("just seen").place = to;
                true
            }
            END_PROCESS if at(place(&params[1..])) => self.processes.remove(&id).is_some(),
            BEGIN_PROCESS if !self.processes.contains_key(&id) => {
                self.processes.insert(id, case(id, params));
                true
            }
            _ => false,
        };
        u64::from(touched)
    }
}

fn case(id: Uuid, params: &[Value]) -> Case {
    let text = |index: usize| match &params[index] {
        Value::Text(text) => text.to_string(),
        other => panic!("parameter {index} of a process is {other:?}"),
    };
    let uuid = |index: usize| match &params[index] {
        Value::Id(id) => *id,
        other => panic!("parameter {index} of a process is {other:?}"),
    };
    let Value::Int(deadline) = params[1] else {
        panic!("a deadline is a time");
    };
    Case {
        id,
        deadline: Time::from_microsecond(deadline).expect("a stored time"),
        place: place(&params[2..]),
        kind: text(4),
        begun_by: text(5),
        key: Key::stored(text(6)),
        workflow_id: uuid(7),
        correlation_id: uuid(8),
        subject: match &params[9] {
            Value::Null => None,
            _ => Some(text(9)),
        },
    }
}
