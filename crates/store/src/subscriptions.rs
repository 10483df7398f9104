//! Where subscriptions keep their cursors and lanes.

use quivive_delivery::subscriber::{
    Choice, Condition, DeadLetter, DeadLetterGroup, DeadLetters, ErrorClass, LaneCount, LaneState,
    StoredLane, StoredReplay, StoredSubscription, Subscriptions,
};
use quivive_delivery::{BoxFuture, Fault, Key, Stored, Time, Value, Write};
use uuid::Uuid;

use crate::rows::Cells;
use crate::{Database, int};

/// What [`lane`] reads, in its order.
macro_rules! lane_columns {
    () => {
        "lane.key, lane.done, lane.state, lane.attempts, lane.due, lane.since, lane.event_id, lane.position, \
         lane.event_type, lane.error_class, lane.error"
    };
}

/// The parked lanes that fit a choice; a part of it that is null fits all.
macro_rules! dead_letters {
    () => {
        " FROM subscription JOIN lane ON lane.subscription = subscription.id WHERE lane.state = 'parked' \
         AND subscription.name = COALESCE($1, subscription.name) AND lane.key = COALESCE($2, lane.key) \
         AND lane.event_id = COALESCE($3, lane.event_id) AND lane.event_type = COALESCE($4, lane.event_type) \
         AND lane.error_class = COALESCE($5, lane.error_class) AND lane.due >= COALESCE($6, lane.due) \
         AND lane.due < COALESCE($7, lane.due + 1)"
    };
}

statements! {
    LOAD = "SELECT name, position, paused, running, suspect, crashes, generation FROM subscription ORDER BY id";

    LANES = concat!(
        "SELECT ", lane_columns!(),
        " FROM lane JOIN subscription ON subscription.id = lane.subscription \
        WHERE subscription.name = $1 ORDER BY lane.key"
    );

    /// A lane without an event only says how far its key is.
    OLDEST = "SELECT subscription.name, lane.state, MIN(lane.since) \
        FROM lane JOIN subscription ON subscription.id = lane.subscription \
        WHERE lane.event_id <> $1 GROUP BY subscription.name, lane.state ORDER BY subscription.name, lane.state";

    LANE_COUNTS = "SELECT subscription.name, lane.state, COUNT(*) \
        FROM lane JOIN subscription ON subscription.id = lane.subscription \
        WHERE lane.event_id <> $1 GROUP BY subscription.name, lane.state";

    DEAD_LETTERS = concat!(
        "SELECT subscription.name, ", lane_columns!(), dead_letters!(),
        " AND (subscription.name, lane.key) > ($8, $9) ORDER BY subscription.name, lane.key LIMIT $10"
    );

    DEAD_LETTER_GROUPS = concat!(
        "SELECT subscription.name, lane.error_class, lane.event_type, COUNT(*), MIN(lane.due)", dead_letters!(),
        " GROUP BY subscription.name, lane.error_class, lane.event_type \
        ORDER BY subscription.name, lane.error_class, lane.event_type"
    );

    CREATE = "INSERT INTO subscription (name, position) VALUES ($1, $2) ON CONFLICT DO NOTHING";

    /// Misses when the cursor is beyond it: then somebody else moved it, and this owner is no longer one.
    ADVANCE = "UPDATE subscription SET position = $1 WHERE name = $2 AND position <= $1";

    PUT_CONDITION = "UPDATE subscription SET paused = $1, running = $2, suspect = $3, crashes = $4 WHERE name = $5";

    /// Lanes know a subscription by its number and follow. The second condition makes a taken name a miss, not an error.
    RENAME = "UPDATE subscription SET name = $1 \
        WHERE name = $2 AND NOT EXISTS (SELECT 1 FROM subscription WHERE name = $1)";

    REPLAYS = "SELECT name, subscription, generation, from_pos, to_pos, asked_by FROM replay ORDER BY name";

    PUT_REPLAY = "INSERT INTO replay (name, subscription, generation, from_pos, to_pos, asked_by) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";

    END_REPLAY = "DELETE FROM replay WHERE name = $1";

    SET_GENERATION = "UPDATE subscription SET generation = $1 WHERE name = $2 AND generation < $1";

    PUT_LANE = "INSERT INTO lane (key, done, state, attempts, due, since, event_id, position, event_type, error_class, error, subscription) \
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, subscription.id FROM subscription \
        WHERE subscription.name = $12 \
        ON CONFLICT (subscription, key) DO UPDATE SET done = excluded.done, state = excluded.state, \
        attempts = excluded.attempts, due = excluded.due, since = excluded.since, event_id = excluded.event_id, \
        position = excluded.position, event_type = excluded.event_type, error_class = excluded.error_class, \
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

impl DeadLetters for Database {
    fn dead_letters(
        &self,
        subscription: Option<&str>,
        choice: &Choice,
        after: Option<&(String, Key)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, Fault>> {
        let mut params = chosen(subscription, choice);
        let (name, key) = after.map_or_else(
            || (String::new(), String::new()),
            |(name, key)| (name.clone(), key.as_str().to_owned()),
        );
        params.extend([name.into(), key.into(), int(limit)]);
        self.all(DEAD_LETTERS, params, |cells| {
            Ok(DeadLetter {
                subscription: cells.take("subscription.name")?,
                lane: lane(cells)?,
            })
        })
    }

    fn dead_letter_groups(
        &self,
        subscription: Option<&str>,
        choice: &Choice,
    ) -> BoxFuture<'_, Result<Vec<DeadLetterGroup>, Fault>> {
        let params = chosen(subscription, choice);
        self.all(DEAD_LETTER_GROUPS, params, |cells| {
            Ok(DeadLetterGroup {
                subscription: cells.take("subscription.name")?,
                error_class: error_class(&cells.take::<String>("lane.error_class")?)?,
                event_type: cells.take("lane.event_type")?,
                count: cells.take("count")?,
                oldest: cells.take("lane.due")?,
            })
        })
    }
}

/// The parameters of [`dead_letters`].
fn chosen(subscription: Option<&str>, choice: &Choice) -> Vec<Value> {
    let Choice {
        key,
        event_id,
        event_type,
        error_class,
        since,
        until,
    } = choice;
    vec![
        subscription.map(str::to_owned).into(),
        key.as_ref().map(|key| key.as_str().to_owned()).into(),
        (*event_id).into(),
        event_type.clone().into(),
        error_class.map(ErrorClass::code).into(),
        (*since).into(),
        (*until).into(),
    ]
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
                generation: cells.take("subscription.generation")?,
            })
        })
    }

    fn lanes(&self, name: &str) -> BoxFuture<'_, Result<Vec<StoredLane>, Fault>> {
        self.all(LANES, vec![name.to_owned().into()], lane)
    }

    fn lane_counts(&self) -> BoxFuture<'_, Result<Vec<LaneCount>, Fault>> {
        self.all(LANE_COUNTS, vec![Uuid::nil().into()], |cells| {
            let name = cells.take("subscription.name")?;
            let state = state(&cells.take::<String>("lane.state")?)?;
            let count: u64 = cells.take("count")?;
            Ok((name, state, usize::try_from(count).unwrap_or(usize::MAX)))
        })
    }

    fn backlog(
        &self,
        keys: &[Key],
        after: u64,
        upto: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        let keys: serde_json::Value = keys.iter().map(Key::as_str).collect();
        Box::pin(self.events_of_keys(keys.to_string(), after, upto, limit))
    }

    fn events_at(&self, positions: &[u64]) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        self.events_at_all(serde_json::Value::from(positions).to_string())
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

    fn replays(&self) -> BoxFuture<'_, Result<Vec<StoredReplay>, Fault>> {
        self.all(REPLAYS, Vec::new(), |cells| {
            Ok(StoredReplay {
                name: cells.take("replay.name")?,
                subscription: cells.take("replay.subscription")?,
                generation: cells.take("replay.generation")?,
                from: cells.take("replay.from_pos")?,
                to: cells.take("replay.to_pos")?,
                by: cells.take("replay.asked_by")?,
            })
        })
    }

    fn put_replay(&self, replay: &StoredReplay) -> Write {
        Write::one(
            PUT_REPLAY,
            vec![
                replay.name.clone().into(),
                replay.subscription.clone().into(),
                replay.generation.into(),
                int(replay.from),
                replay.to.map_or(Value::Null, int),
                replay.by.into(),
            ],
        )
    }

    fn end_replay(&self, name: &str) -> Write {
        Write::one(END_REPLAY, vec![name.to_owned().into()])
    }

    fn set_generation(&self, name: &str, generation: u32) -> Write {
        Write::one(
            SET_GENERATION,
            vec![generation.into(), name.to_owned().into()],
        )
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
                int(lane.position),
                lane.event_type.clone().into(),
                lane.error_class.map(ErrorClass::code).into(),
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
        position: cells.take("lane.position")?,
        event_type: cells.take("lane.event_type")?,
        error_class: cells
            .take::<Option<String>>("lane.error_class")?
            .map(|code| error_class(&code))
            .transpose()?,
        error: cells.take("lane.error")?,
    })
}

fn error_class(code: &str) -> Result<ErrorClass, Fault> {
    ErrorClass::of_code(code).ok_or_else(|| {
        Fault::Internal(format!(
            "lane.error_class holds {code:?}, which is no class"
        ))
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
