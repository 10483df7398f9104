//! Where subscriptions keep their cursors and lanes.

use quivive_delivery::subscriber::{
    Condition, LaneState, StoredLane, StoredSubscription, Subscriptions,
};
use quivive_delivery::{BoxFuture, Fault, Key, Stored, Time, Write};
use uuid::Uuid;

use crate::rows::Cells;
use crate::{Database, int};

statements! {
    LOAD = "SELECT name, position, paused, running, suspect, crashes FROM subscription ORDER BY id";

    LANES = "SELECT lane.key, lane.done, lane.state, lane.attempts, lane.due, lane.since, lane.event_id, lane.error \
        FROM lane JOIN subscription ON subscription.id = lane.subscription \
        WHERE subscription.name = $1 ORDER BY lane.key";

    /// A lane without an event only says how far its key is.
    OLDEST = "SELECT subscription.name, lane.state, MIN(lane.since) \
        FROM lane JOIN subscription ON subscription.id = lane.subscription \
        WHERE lane.event_id <> $1 GROUP BY subscription.name, lane.state ORDER BY subscription.name, lane.state";

    CREATE = "INSERT INTO subscription (name, position) VALUES ($1, $2) ON CONFLICT DO NOTHING";

    /// Misses when the cursor is beyond it: then somebody else moved it, and this owner is no longer one.
    ADVANCE = "UPDATE subscription SET position = $1 WHERE name = $2 AND position <= $1";

    PUT_CONDITION = "UPDATE subscription SET paused = $1, running = $2, suspect = $3, crashes = $4 WHERE name = $5";

    /// Lanes know a subscription by its number and follow. The second condition makes a taken name a miss, not an error.
    RENAME = "UPDATE subscription SET name = $1 \
        WHERE name = $2 AND NOT EXISTS (SELECT 1 FROM subscription WHERE name = $1)";

    PUT_LANE = "INSERT INTO lane (key, done, state, attempts, due, since, event_id, error, subscription) \
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, subscription.id FROM subscription WHERE subscription.name = $9 \
        ON CONFLICT (subscription, key) DO UPDATE SET done = excluded.done, state = excluded.state, \
        attempts = excluded.attempts, due = excluded.due, since = excluded.since, event_id = excluded.event_id, \
        error = excluded.error";

    REMOVE = "DELETE FROM subscription WHERE name = $1";

    REMOVE_LANES = "DELETE FROM lane WHERE subscription = (SELECT id FROM subscription WHERE name = $1)";

    DROP_LANE = "DELETE FROM lane WHERE key = $1 AND subscription = (SELECT id FROM subscription WHERE name = $2)";
}

impl Database {
    /// For each subscription with keys in trouble, and each state of them: since when the one that is longest in it has been.
    pub async fn oldest_lanes(&self) -> Result<Vec<(String, LaneState, Time)>, Fault> {
        self.all(OLDEST, vec![Uuid::nil().into()], |cells| {
            Ok((
                cells.take("subscription.name")?,
                state(&cells.take::<String>("lane.state")?)?,
                cells.take("lane.since")?,
            ))
        })
        .await
    }
}

impl Subscriptions for Database {
    fn load(&self) -> BoxFuture<'_, Result<Vec<StoredSubscription>, Fault>> {
        self.all(LOAD, Vec::new(), |cells| {
            Ok(StoredSubscription {
                name: cells.take("subscription.name")?,
                position: cells.take("subscription.position")?,
                condition: Condition {
                    paused: cells.take("subscription.paused")?,
                    running: cells.take("subscription.running")?,
                    suspect: cells.take("subscription.suspect")?,
                    crashes: cells.take("subscription.crashes")?,
                },
            })
        })
    }

    fn lanes(&self, name: &str) -> BoxFuture<'_, Result<Vec<StoredLane>, Fault>> {
        self.all(LANES, vec![name.to_owned().into()], lane)
    }

    fn backlog(
        &self,
        key: &Key,
        after: u64,
        upto: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        let key = key.as_str().to_owned();
        Box::pin(self.events_of_key(key, after, upto, limit))
    }

    fn create(&self, name: &str, position: u64) -> Write {
        Write::one(CREATE, vec![name.to_owned().into(), int(position)])
    }

    fn advance(&self, name: &str, position: u64) -> Write {
        Write::one(ADVANCE, vec![int(position), name.to_owned().into()])
    }

    fn put_condition(&self, name: &str, condition: &Condition) -> Write {
        Write::one(
            PUT_CONDITION,
            vec![
                condition.paused.into(),
                condition.running.into(),
                int(condition.suspect),
                condition.crashes.into(),
                name.to_owned().into(),
            ],
        )
    }

    fn rename(&self, from: &str, to: &str) -> Write {
        Write::one(RENAME, vec![to.to_owned().into(), from.to_owned().into()])
    }

    fn remove(&self, name: &str) -> Vec<Write> {
        let name = || vec![name.to_owned().into()];
        vec![Write::any(REMOVE_LANES, name()), Write::any(REMOVE, name())]
    }

    fn put_lane(&self, name: &str, lane: &StoredLane) -> Write {
        Write::one(
            PUT_LANE,
            vec![
                lane.key.as_str().to_owned().into(),
                int(lane.done),
                state_word(lane.state).into(),
                lane.attempts.into(),
                lane.due.into(),
                lane.since.into(),
                lane.event_id.into(),
                lane.error.clone().into(),
                name.to_owned().into(),
            ],
        )
    }

    /// Right at zero too: what matters is that the lane is gone.
    fn drop_lane(&self, name: &str, key: &Key) -> Write {
        Write::any(
            DROP_LANE,
            vec![key.as_str().to_owned().into(), name.to_owned().into()],
        )
    }
}

fn lane(cells: &mut Cells) -> Result<StoredLane, Fault> {
    Ok(StoredLane {
        key: Key::stored(cells.take("lane.key")?),
        done: cells.take("lane.done")?,
        state: state(&cells.take::<String>("lane.state")?)?,
        attempts: cells.take("lane.attempts")?,
        due: cells.take("lane.due")?,
        since: cells.take("lane.since")?,
        event_id: cells.take("lane.event_id")?,
        error: cells.take("lane.error")?,
    })
}

fn state_word(state: LaneState) -> &'static str {
    match state {
        LaneState::Retrying => "retrying",
        LaneState::Parked => "parked",
    }
}

fn state(word: &str) -> Result<LaneState, Fault> {
    match word {
        "retrying" => Ok(LaneState::Retrying),
        "parked" => Ok(LaneState::Parked),
        _ => Err(Fault::Internal(format!(
            "lane.state holds {word:?}, which is no state"
        ))),
    }
}
