//! A schedule as lines to read.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use super::super::terms::{Effect, Input};
use crate::envelope::Stored;

pub(super) struct Told<'a, T>(pub(super) &'a T);

fn positions<'a>(events: impl IntoIterator<Item = &'a Arc<Stored>>) -> Vec<u64> {
    events.into_iter().map(|event| event.position).collect()
}

impl Display for Told<'_, Input> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Input::Unwanted(upto) => write!(f, "nothing up to {upto}"),
            Input::Read(events) => write!(f, "read {:?}", positions(events)),
            Input::Finished { event, verdict } => {
                write!(f, "{} ended: {verdict:?}", event.position)
            }
            Input::FinishedTogether(ended) => {
                let verdicts: Vec<_> = ended
                    .iter()
                    .map(|(event, verdict)| (event.position, verdict))
                    .collect();
                write!(f, "ended together: {verdicts:?}")
            }
            Input::Committed { event, result } => {
                write!(f, "effects of {} committed: {result:?}", event.position)
            }
            Input::Saved { committed } => write!(f, "saved: {committed}"),
            Input::Fronts { fronts, read } => {
                let read = read.as_ref().map(positions);
                write!(f, "fetched {fronts:?}: {read:?}")
            }
            Input::Swept { sweep, read } => {
                let read = read.as_ref().map(positions);
                write!(f, "swept {sweep:?}: {read:?}")
            }
            Input::Order(order) => write!(f, "{order:?}"),
            Input::Tick => f.write_str("tick"),
            Input::Stop => f.write_str("stop"),
        }
    }
}

impl Display for Told<'_, Effect> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Effect::Deliver { event, attempt } => {
                let Stored {
                    position, envelope, ..
                } = &**event;
                let (key, priority) = (envelope.key.as_str(), envelope.priority);
                write!(
                    f,
                    "deliver {position} ({key}, {priority:?}), attempt {attempt}"
                )
            }
            Effect::DeliverTogether(events) => {
                let events = positions(events.iter().map(|(event, _)| event));
                write!(f, "deliver together {events:?}")
            }
            Effect::Commit { event, row, .. } => {
                write!(f, "commit effects of {}, with {row:?}", event.position)
            }
            Effect::Save(save) => {
                let letters = positions(save.letters.iter().map(|letter| &letter.event));
                write!(
                    f,
                    "save {:?}, lanes {:?}, without {:?}, letters {letters:?}, alerts {:?}, {:?}",
                    save.cursor, save.lanes, save.drop, save.alerts, save.condition
                )
            }
            Effect::Answer { order, answer } => write!(f, "order {order}: {answer:?}"),
            Effect::Fronts(fronts) => write!(f, "fetch {fronts:?}"),
            Effect::Sweep(sweep) => write!(f, "{sweep:?}"),
        }
    }
}
