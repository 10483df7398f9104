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
    FIND = "SELECT content, answer FROM answer WHERE token = $1";

    CARRIED_OUT = "INSERT INTO answer (token, content, answer, created_at) VALUES ($1, $2, NULL, $3) ON CONFLICT DO NOTHING";

    KEEP = "INSERT INTO answer (token, content, answer, created_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (token) DO UPDATE SET answer = excluded.answer";

    DROP_REFUSED = "DELETE FROM answer WHERE token = $1 AND answer IS NULL";

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

    fn carried_out(&self, once: &Once, now: Time) -> Write {
        Write::one(
            CARRIED_OUT,
            vec![once.token.into(), once.content.into(), now.into()],
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

    fn drop_refused(&self, once: &Once) -> Write {
        Write::any(DROP_REFUSED, vec![once.token.into()])
    }

    fn has_forgettable(&self, now: Time) -> Read<'_, bool> {
        let found = self.one(HAS_FORGETTABLE, vec![(now - KEPT).into()], |cells| {
            cells.take::<bool>("1")
        });
        Box::pin(async { Ok(found.await?.is_some()) })
    }

    fn forget(&self, now: Time) -> Write {
        Write::any(FORGET, vec![(now - KEPT).into(), FORGET_AT_ONCE.into()])
    }
}
