//! Answers that are kept for those who repeat their request.

use std::time::Duration;

use quivive_delivery::{Expect, Time, Write};

use super::World;
use crate::kernel::Once;
use crate::ports::{Answered, Answers, Read};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_hours(24);

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    answered: Answered,
    done: bool,
    at: Time,
}

impl Answers for World {
    fn find(&self, token: [u8; 32]) -> Read<'_, Option<Answered>> {
        self.read(|s| {
            let row = s.answers.get(&token).filter(|row| row.done);
            row.map(|row| row.answered.clone())
        })
    }

    fn decided(&self, once: &Once, done: bool, now: Time) -> Write {
        let Once { token, content } = *once;
        self.write("answer decided", &[], move |s| {
            let taken = s.answers.get(&token).is_some_and(|row| row.done);
            if !taken {
                let answered = Answered {
                    content,
                    answer: None,
                };
                let at = now;
                s.answers.insert(token, Row { answered, done, at });
            }
            u64::from(!taken)
        })
    }

    fn keep(&self, once: &Once, answer: Vec<u8>, now: Time) -> Write {
        let Once { token, content } = *once;
        self.write("answer keep", &[], move |s| {
            let at = s.answers.get(&token).map_or(now, |row| row.at);
            let answered = Answered {
                content,
                answer: Some(answer.clone()),
            };
            let done = true;
            s.answers.insert(token, Row { answered, done, at });
            1
        })
    }

    fn has_forgettable(&self, now: Time) -> Read<'_, bool> {
        self.read(|s| s.answers.values().any(|row| row.at + KEPT <= now))
    }

    fn forget(&self, now: Time) -> Write {
        let write = self.write("answer forget", &[], move |s| {
            let before = s.answers.len();
            s.answers.retain(|_, row| row.at + KEPT > now);
            (before - s.answers.len()) as u64
        });
        Write {
            expect: Expect::Any,
            ..write
        }
    }
}
