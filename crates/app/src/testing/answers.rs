//! Answers that are kept for those who repeat their request.

use std::time::Duration;

use quivive_delivery::{Expect, Time, Write};

use super::World;
use crate::kernel::Once;
use crate::ports::{Answered, Answers, Read};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_hours(24);

impl World {
    fn whatever(write: Write) -> Write {
        Write {
            expect: Expect::Any,
            ..write
        }
    }
}

impl Answers for World {
    fn find(&self, token: [u8; 32]) -> Read<'_, Option<Answered>> {
        self.read(|s| s.answers.get(&token).map(|(answered, _)| answered.clone()))
    }

    fn carried_out(&self, once: &Once, now: Time) -> Write {
        let Once { token, content } = *once;
        self.write("answer carried out", &[], move |s| {
            let taken = s.answers.contains_key(&token);
            if !taken {
                let answer = None;
                s.answers.insert(token, (Answered { content, answer }, now));
            }
            u64::from(!taken)
        })
    }

    fn keep(&self, once: &Once, answer: Vec<u8>, now: Time) -> Write {
        let Once { token, content } = *once;
        self.write("answer keep", &[], move |s| {
            let new = Answered {
                content,
                answer: None,
            };
            let row = s.answers.entry(token).or_insert((new, now));
            row.0.answer = Some(answer.clone());
            1
        })
    }

    fn drop_refused(&self, once: &Once) -> Write {
        let token = once.token;
        Self::whatever(self.write("answer drop", &[], move |s| {
            u64::from(s.answers.remove(&token).is_some())
        }))
    }

    fn has_forgettable(&self, now: Time) -> Read<'_, bool> {
        self.read(|s| s.answers.values().any(|(_, at)| *at + KEPT <= now))
    }

    fn forget(&self, now: Time) -> Write {
        Self::whatever(self.write("answer forget", &[], move |s| {
            let before = s.answers.len();
            s.answers.retain(|_, (_, at)| *at + KEPT > now);
            (before - s.answers.len()) as u64
        }))
    }
}
