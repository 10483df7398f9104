//! Counters of password guesses: one row for each path, whether an account's, a device's or a stranger's.

use std::time::Duration;

use quivive_app::ports::{Guesses, Path, Read};
use quivive_delivery::{Fault, Time, Write};
use quivive_domain::UserId;
use quivive_domain::guess::{GuessPolicy, Guesses as GuessCounters};
use uuid::Uuid;

use crate::Database;
use crate::rows::Cells;

/// A stranger's path goes so long after its last guess, as all does that is known of addresses without an account. An
/// account's locks grow until somebody signs in, so a path that were forgotten soon would soon be told from one.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(90 * 24);

/// Rows that one commit deletes: a few milliseconds of the writer's time.
const FORGET_AT_ONCE: u32 = 1_000;

statements! {
    COUNTERS = "SELECT window_from, reserved, wrong, in_a_row, locks, locked_until FROM guess WHERE id = $1";

    OPEN = "INSERT INTO guess (id, window_from, reserved, wrong, in_a_row, locks) VALUES ($1, $2, 0, 0, 0, 0) \
        ON CONFLICT DO NOTHING";

    /// Its condition is `GuessPolicy::admission` = `Open`; a window that is over begins again. In one statement, so that
    /// parallel guesses cannot pass the limit together.
    RESERVE = "UPDATE guess SET \
        reserved = CASE WHEN window_from <= $1 THEN 1 ELSE reserved + 1 END, \
        wrong = CASE WHEN window_from <= $1 THEN 0 ELSE wrong END, \
        window_from = CASE WHEN window_from <= $1 THEN $2 ELSE window_from END \
        WHERE id = $3 AND (locked_until IS NULL OR locked_until <= $2) AND in_a_row < $4 \
        AND (reserved < $5 OR window_from <= $1)";

    /// The same for a path that opens with its first guess.
    RESERVE_STRANGER = "INSERT INTO guess (id, window_from, reserved, wrong, in_a_row, locks, expires_at) \
        VALUES ($1, $2, 1, 0, 0, 0, $3) \
        ON CONFLICT (id) DO UPDATE SET \
        reserved = CASE WHEN guess.window_from <= $4 THEN 1 ELSE guess.reserved + 1 END, \
        wrong = CASE WHEN guess.window_from <= $4 THEN 0 ELSE guess.wrong END, \
        window_from = CASE WHEN guess.window_from <= $4 THEN $2 ELSE guess.window_from END, \
        expires_at = $3 \
        WHERE (guess.locked_until IS NULL OR guess.locked_until <= $2) AND guess.in_a_row < $5 \
        AND (guess.reserved < $6 OR guess.window_from <= $4)";

    /// Its condition is `GuessPolicy::after_wrong` = `Open`.
    WRONG = "UPDATE guess SET wrong = wrong + 1, in_a_row = in_a_row + 1 \
        WHERE id = $1 AND (wrong + 1 < $2 OR locked_until > $3)";

    /// And this one's is `LockedUntil`: of parallel guesses exactly one is the one too many.
    WRONG_AND_LOCK = "UPDATE guess SET wrong = wrong + 1, in_a_row = in_a_row + 1, locks = locks + 1, \
        locked_until = $1 \
        WHERE id = $2 AND wrong + 1 >= $3 AND (locked_until IS NULL OR locked_until <= $4)";

    /// The places of guesses under way stay theirs, but for the one that was right. A window that came after the reservation
    /// has taken that back already.
    CLEAR = "UPDATE guess SET reserved = CASE \
        WHEN reserved <= wrong THEN 0 \
        WHEN window_from <= $1 THEN reserved - wrong - 1 \
        ELSE reserved - wrong END, \
        wrong = 0, in_a_row = 0, locks = 0, locked_until = NULL \
        WHERE id = $2 AND (locked_until IS NULL OR locked_until <= $3)";

    /// A window that came after the reservation has taken the place back already.
    GIVE_BACK = "UPDATE guess SET reserved = reserved - 1 WHERE id = $1 AND window_from <= $2 AND reserved > wrong";

    END_ROW = "UPDATE guess SET in_a_row = 0 WHERE id = $1";

    UNLOCK = "UPDATE guess SET window_from = $1, reserved = 0, wrong = 0, in_a_row = 0, locks = 0, locked_until = NULL \
        WHERE id = $2 OR id IN (SELECT id FROM device WHERE account = $2)";

    CLOSE = "DELETE FROM guess WHERE id = $1";

    HAS_FORGETTABLE = "SELECT 1 FROM guess WHERE expires_at <= $1 LIMIT 1";

    FORGET = "DELETE FROM guess WHERE id IN (SELECT id FROM guess WHERE expires_at <= $1 LIMIT $2)";
}

impl Guesses for Database {
    fn counters(&self, path: Path) -> Read<'_, Option<GuessCounters>> {
        self.one(COUNTERS, vec![path.id().into()], counters)
    }

    fn open(&self, path: Path, now: Time) -> Write {
        open(path.id(), now)
    }

    fn reserve(&self, path: Path, policy: &GuessPolicy, now: Time) -> Write {
        if let Path::Stranger(id) = path {
            return Write::one(
                RESERVE_STRANGER,
                vec![
                    id.into(),
                    now.into(),
                    (now + FORGOTTEN_AFTER).into(),
                    policy.window_cutoff(now).into(),
                    policy.hard_limit.into(),
                    policy.limit.into(),
                ],
            );
        }
        Write::one(
            RESERVE,
            vec![
                policy.window_cutoff(now).into(),
                now.into(),
                path.id().into(),
                policy.hard_limit.into(),
                policy.limit.into(),
            ],
        )
    }

    fn wrong(
        &self,
        path: Path,
        policy: &GuessPolicy,
        lock_until: Option<Time>,
        now: Time,
    ) -> Write {
        let (id, limit) = (path.id().into(), policy.limit.into());
        match lock_until {
            None => Write::one(WRONG, vec![id, limit, now.into()]),
            Some(until) => Write::one(WRONG_AND_LOCK, vec![until.into(), id, limit, now.into()]),
        }
    }

    fn clear(&self, path: Path, reserved_at: Time, now: Time) -> Write {
        let params = vec![reserved_at.into(), path.id().into(), now.into()];
        Write::one(CLEAR, params)
    }

    fn give_back(&self, path: Path, reserved_at: Time) -> Write {
        Write::any(GIVE_BACK, vec![path.id().into(), reserved_at.into()])
    }

    fn end_row(&self, account: UserId) -> Write {
        Write::any(END_ROW, vec![account.0.into()])
    }

    fn unlock(&self, account: UserId, now: Time) -> Write {
        Write::any(UNLOCK, vec![now.into(), account.0.into()])
    }

    fn close(&self, path: Path) -> Write {
        Write::one(CLOSE, vec![path.id().into()])
    }

    fn has_forgettable(&self, now: Time) -> Read<'_, bool> {
        self.any(HAS_FORGETTABLE, vec![now.into()])
    }

    fn forget(&self, now: Time) -> Write {
        Write::any(FORGET, vec![now.into(), FORGET_AT_ONCE.into()])
    }
}

/// Two first guesses at once may both open a path; the second changes nothing.
pub(crate) fn open(path: Uuid, now: Time) -> Write {
    Write::any(OPEN, vec![path.into(), now.into()])
}

fn counters(cells: &mut Cells) -> Result<GuessCounters, Fault> {
    Ok(GuessCounters {
        window_from: cells.take("guess.window_from")?,
        reserved: cells.take("guess.reserved")?,
        wrong: cells.take("guess.wrong")?,
        in_a_row: cells.take("guess.in_a_row")?,
        locks: cells.take("guess.locks")?,
        locked_until: cells.take("guess.locked_until")?,
    })
}
