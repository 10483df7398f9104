//! Rows of replays in a database in memory.

use super::memory::{END_REPLAY, PUT_REPLAY, State};
use crate::commit::{Value, Write};
use crate::subscriber::StoredReplay;

impl State {
    /// Whether a write to a replay, or to the generation of a subscription, touches a row.
    pub(super) fn move_replay(&mut self, write: &Write) -> bool {
        let params = &write.params;
        let text = |index: usize| match &params[index] {
            Value::Text(text) => text.to_string(),
            other => panic!("parameter {index} of {:?} is {other:?}", write.sql),
        };
        let number = |index: usize| match params[index] {
            Value::Int(number) => u64::try_from(number).expect("no number here is negative"),
            ref other => panic!("parameter {index} of {:?} is {other:?}", write.sql),
        };
        let generation = |index| u32::try_from(number(index)).expect("generations are few");
        match write.sql {
            PUT_REPLAY => {
                let replay = StoredReplay {
                    name: text(0),
                    subscription: text(1),
                    generation: generation(2),
                    from: number(3),
                    to: (params[4] != Value::Null).then(|| number(4)),
                    by: match &params[5] {
                        Value::Id(id) => *id,
                        other => panic!("who asked is {other:?}"),
                    },
                };
                let mut under_way = self.replays.values();
                let free = under_way.all(|other| other.subscription != replay.subscription);
                if free {
                    self.replays.insert(text(0), replay);
                }
                free
            }
            END_REPLAY => self.replays.remove(&text(0)).is_some(),
            _ => {
                let before = self.generations.insert(text(0), generation(1)).unwrap_or(1);
                before < generation(1) && self.cursors.contains_key(&text(0))
            }
        }
    }
}
