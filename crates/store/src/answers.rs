//! What requests with an `Idempotency-Key` were answered.

use std::time::Duration;

use quivive_app::kernel::Once;
use quivive_app::ports::{Answered, Answers, Read};
use quivive_delivery::{Time, Write};

use crate::Database;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_hours(24);

/// Rows that one commit deletes: a few milliseconds of the writer's time.
const FORGET_AT_ONCE: u32 = 1_000;

statements! {
    FIND = "SELECT content, answer FROM answer WHERE token = $1 AND done = 1";

    DECIDED = "INSERT INTO answer (token, content, answer, done, created_at) VALUES ($1, $2, NULL, $3, $4) \
        ON CONFLICT (token) DO UPDATE SET content = excluded.content, done = excluded.done, created_at = excluded.created_at \
        WHERE answer.done = 0";

    KEEP = "INSERT INTO answer (token, content, answer, done, created_at) VALUES ($1, $2, $3, 1, $4) \
        ON CONFLICT (token) DO UPDATE SET answer = excluded.answer, done = 1";

    HAS_FORGETTABLE = "SELECT 1 FROM answer WHERE created_at <= $1 LIMIT 1";

    FORGET = "DELETE FROM answer WHERE token IN (SELECT token FROM answer WHERE created_at <= $1 LIMIT $2)";
}

impl Answers for Database {
    fn find(&self, token: [u8; 32]) -> Read<'_, Option<Answered>> {
        self.one(FIND, vec![token.into()], |cells| {
            Ok(Answered {
                content: cells.take("answer.content")?,
                answer: cells.take("answer.answer")?,
            })
        })
    }

    fn decided(&self, once: &Once, done: bool, now: Time) -> Write {
        Write::one(
            DECIDED,
            vec![
                once.token.into(),
                once.content.into(),
                done.into(),
                now.into(),
            ],
        )
    }

    fn keep(&self, once: &Once, answer: Vec<u8>, now: Time) -> Write {
        Write::one(
            KEEP,
            vec![
                once.token.into(),
                once.content.into(),
                answer.into(),
                now.into(),
            ],
        )
    }

    fn has_forgettable(&self, now: Time) -> Read<'_, bool> {
        self.any(HAS_FORGETTABLE, vec![(now - KEPT).into()])
    }

    fn forget(&self, now: Time) -> Write {
        Write::any(FORGET, vec![(now - KEPT).into(), FORGET_AT_ONCE.into()])
    }
}
