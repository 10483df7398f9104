//! Gives events their positions: from `event_in` into `event`, in the order of their numbers.
//!
//! **Flow.** Read the head and what waits, up to [`READ`] rows, and give them their positions in rounds of [`ROUND`]: link the chain;
//! then in one transaction move the head, which misses when it is not where it is thought to be, copy the rows inside the
//! database, and delete them where they were. One round is on its way while the one before it is written. Again while there
//! are more. In between it sleeps until a commit of this server has appended something, or another tells that it has moved the
//! head, and looks by itself every [`POLL`]. Each server has one; any of them gives the positions of what others appended.
//!
//! **Guarantees.** Positions are dense and the chain cannot fork, whoever else sequences: the head's row is the guard. A crash
//! at any point leaves a whole round or none. The head is published when its round is durable. Rows that are read together
//! are those of one moment, and the events of a key are numbered in the order of their commits: so what comes to light later
//! under a lower number is of other keys.
//!
//! **Why not the numbers themselves.** They are given before the commit: a reader that goes by them passes those that commit
//! later under a lower one, and never sees them.

use std::slice::Chunks;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{Clock, Fault, Head, chain};
use tokio::sync::watch;
use tokio_postgres::types::{FromSqlOwned, ToSql};
use tokio_postgres::{Client, Error, Row, Statement};
use tokio_util::sync::CancellationToken;

use crate::backlog::Backlog;
use crate::failure::{self, Reach};
use crate::partitions::Partitions;
use crate::pipeline::{self, Step};
use crate::servers::Servers;
use crate::session::{Form, Place, Purpose, Session};
use crate::sole::Sole;
use crate::wakeups::Told;

/// Most events of one round: some ten milliseconds, in one transaction.
const ROUND: u16 = 1_000;

/// Most that are read at once, for so many rounds.
const READ: i64 = 8_000;

/// Rounds under way: while the server writes one, the next is linked and lies there.
const AT_ONCE: usize = 2;

/// How long what another server appended, or this one before a crash, may lie.
const POLL: Duration = Duration::from_millis(200);

/// Between two tries while the server is away.
const PAUSE: Duration = Duration::from_millis(250);

/// What one statement of a round may take.
const STATEMENT_TIME: Duration = Duration::from_secs(30);

/// A round finds its rows by their range and a hash. Plans from when `event_in` was nearly empty, as it is most of the time, would
/// look through the whole table, or through it once for each row.
const PURPOSE: Purpose = Purpose {
    statement_time: STATEMENT_TIME,
    shared_lock: None,
    settings: "SET enable_nestloop = off; SET enable_seqscan = off",
};

const HEAD: &str = "SELECT next_pos, epoch, chain FROM log_head WHERE one = 1";

const WAITING: &str = "SELECT seq, digest FROM event_in ORDER BY seq LIMIT $1";

/// The chain, too: another server may have given as many positions in place of the round before this one. Then the position
/// fits, and the chain does not.
const MOVE_HEAD: &str = "UPDATE log_head SET next_pos = $1, chain = $2 \
    WHERE one = 1 AND next_pos = $3 AND epoch = $4 AND chain = $5";

/// The rows do not leave the database.
const PLACE: &str = "INSERT INTO event (pos, epoch, id, type, version, key, priority, time, recorded_at, workflow_id, \
    correlation_id, causation_id, subject, actor_kind, actor_id, request_id, traceparent, context_key, context, body, \
    personal_key, personal, chain) \
    SELECT placed.pos, $1, e.id, e.type, e.version, e.key, e.priority, e.time, $2, e.workflow_id, e.correlation_id, \
    e.causation_id, e.subject, e.actor_kind, e.actor_id, e.request_id, e.traceparent, e.context_key, e.context, e.body, \
    e.personal_key, e.personal, placed.chain \
    FROM unnest(CAST($3 AS BIGINT[]), CAST($4 AS BIGINT[]), CAST($5 AS BYTEA[])) AS placed (seq, pos, chain) \
    JOIN event_in e ON e.seq = placed.seq WHERE e.seq BETWEEN $6 AND $7";

const CLEAR: &str = "DELETE FROM event_in USING unnest(CAST($1 AS BIGINT[])) AS placed (seq) \
    WHERE event_in.seq = placed.seq AND event_in.seq BETWEEN $2 AND $3";

pub(crate) struct Sequencer {
    pub(crate) place: Arc<Place>,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) head: watch::Sender<Head>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Nothing is appended any more.
    pub(crate) ending: CancellationToken,
    pub(crate) sole: Sole,
    pub(crate) told: Told,
    pub(crate) partitions: Partitions,
}

impl Sequencer {
    pub(crate) fn place(servers: &Arc<Servers>, tasks: &Tasks) -> Arc<Place> {
        Arc::new(Place::new(Arc::clone(servers), PURPOSE, tasks.clone()))
    }

    pub(crate) async fn run(mut self) {
        loop {
            let ending = self.ending.is_cancelled();
            match self.catch_up().await {
                Ok(()) if ending => break,
                Ok(()) => self.tell().await,
                Err(fault) => {
                    tracing::warn!(%fault, "events wait for their positions");
                    if ending {
                        break;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
            tokio::select! {
                () = self.backlog.news() => {}
                () = tokio::time::sleep(self.told.wait().unwrap_or(POLL)) => {}
                () = self.ending.cancelled() => {}
            }
        }
        self.sole.release(&self.place).await;
        self.place.close().await;
    }

    /// Tells the other servers that there is more, at most every so often.
    async fn tell(&mut self) {
        if self.told.is_due()
            && let Ok(session) = self.place.session().await
        {
            self.told.tell(&session).await;
        }
    }

    /// Gives everything a place that was appended by now.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Fault> {
        let appended = self.backlog.appended();
        self.rounds().await?;
        self.backlog.placed(appended);
        Ok(())
    }

    /// Until nothing waits.
    async fn rounds(&mut self) -> Result<(), Fault> {
        let mut most = Some(READ);
        while let Some(limit) = most {
            let session = self.place.session().await?;
            self.sole.hold(&session).await?;
            let some = self.some_rounds(&session, limit).await;
            if let Err(Fault::Unreachable(_)) = &some {
                session.end();
            }
            most = some?;
        }
        Ok(())
    }

    /// Answers with how many to read next, if more may wait.
    async fn some_rounds(&mut self, session: &Session, limit: i64) -> Result<Option<i64>, Fault> {
        // In this order: what is not there any more was given its place, and the head that is read then says so.
        let (waiting, head) = read(session, limit).await?;
        self.publish(head);
        if waiting.is_empty() {
            return Ok(None);
        }
        let tip = head.position + waiting.len() as u64;
        let (partitions, client) = (&mut self.partitions, &session.client);
        partitions.make_room(client, head.position, tip).await?;
        let rounds = Rounds {
            waiting: waiting.chunks(usize::from(ROUND)),
            tip: head,
            clock: Arc::clone(&self.clock),
        };
        let written = stream::iter(rounds).map(|round| round.write(session));
        let mut written = written.buffered(AT_ONCE);
        while let Some(tip) = written.next().await {
            match tip {
                Ok(tip) => {
                    self.publish(tip);
                    self.told.owe();
                }
                // The head was moved, or the rows taken; or a partition is not there any more. Where another server is at it,
                // most of a long reading would be for nothing.
                Err(error) if matches!(Reach::of(&error), Reach::Guard | Reach::Again) => {
                    self.partitions.look_again_after(&error);
                    return Ok(Some(i64::from(ROUND)));
                }
                Err(error) => return Err(failure::fault(&error, "giving positions")),
            }
        }
        Ok((i64::try_from(waiting.len()) == Ok(limit)).then_some(READ))
    }

    fn publish(&self, read: Head) {
        self.head.send_if_modified(|head| {
            let moved = *head != read;
            *head = read;
            moved
        });
    }
}

pub(crate) async fn read_head(session: &Session) -> Result<Head, Fault> {
    let failed = |error: Error| failure::fault(&error, HEAD);
    let statement = session
        .prepared(HEAD, Form::Plain, 0)
        .await
        .map_err(failed)?;
    let row = session
        .client
        .query_one(&statement, &[])
        .await
        .map_err(failed)?;
    head(&row)
}

/// Reads the columns of [`HEAD`].
pub(crate) fn head(row: &Row) -> Result<Head, Fault> {
    Ok(Head {
        position: column::<i64>(row, 0)?.cast_unsigned().saturating_sub(1),
        epoch: column::<i64>(row, 1)?.cast_unsigned(),
        chain: digest(row, 2)?,
    })
}

/// An event without a position.
struct Waiting {
    seq: i64,
    digest: [u8; 32],
}

/// What waits and, as of no earlier, the head: both are on their way before the first is answered.
async fn read(session: &Session, limit: i64) -> Result<(Vec<Waiting>, Head), Fault> {
    let failed = |error: Error| failure::fault(&error, WAITING);
    let prepared = session.prepared(WAITING, Form::Plain, 1).await;
    let statement = prepared.map_err(failed)?;
    let prepared = session.prepared(HEAD, Form::Plain, 0).await;
    prepared.map_err(failed)?;
    let waiting = async {
        let rows = session.client.query(&statement, &[&limit]).await;
        let rows = rows.map_err(failed)?;
        let waiting = rows.iter().map(|row| {
            Ok(Waiting {
                seq: column(row, 0)?,
                digest: digest(row, 1)?,
            })
        });
        waiting.collect::<Result<Vec<_>, Fault>>()
    };
    // Polled in this order, so sent in it.
    futures_util::try_join!(waiting, read_head(session))
}

fn column<T: FromSqlOwned>(row: &Row, at: usize) -> Result<T, Fault> {
    row.try_get(at).map_err(Fault::internal)
}

fn digest(row: &Row, at: usize) -> Result<[u8; 32], Fault> {
    let bytes: Vec<u8> = column(row, at)?;
    <[u8; 32]>::try_from(bytes)
        .map_err(|bytes| Fault::Internal(format!("a digest has {} bytes", bytes.len())))
}

/// What was read, round by round, each linked to the one before it when it is asked for.
struct Rounds<'w> {
    waiting: Chunks<'w, Waiting>,
    tip: Head,
    clock: Arc<dyn Clock>,
}

impl Iterator for Rounds<'_> {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        let waiting = self.waiting.next()?;
        let round = Round::of(waiting, self.tip, self.clock.now().as_microsecond());
        self.tip = round.to;
        Some(round)
    }
}

/// The events of a round with their places, column by column.
struct Round {
    recorded_at: i64,
    from: Head,
    to: Head,
    seqs: Vec<i64>,
    positions: Vec<i64>,
    chains: Vec<Vec<u8>>,
}

impl Round {
    fn of(waiting: &[Waiting], from: Head, recorded_at: i64) -> Self {
        let mut round = Self {
            recorded_at,
            from,
            to: from,
            seqs: Vec::with_capacity(waiting.len()),
            positions: Vec::with_capacity(waiting.len()),
            chains: Vec::with_capacity(waiting.len()),
        };
        for event in waiting {
            let Head {
                position,
                epoch,
                chain,
            } = round.to;
            let position = position + 1;
            let chain = chain::link(&chain, position, epoch, recorded_at, &event.digest);
            round.seqs.push(event.seq);
            round.positions.push(position.cast_signed());
            round.chains.push(chain.to_vec());
            round.to = Head {
                position,
                epoch,
                chain,
            };
        }
        round
    }

    /// Answers with the new head.
    async fn write(self, session: &Session) -> Result<Head, Error> {
        let move_head = session.prepared(MOVE_HEAD, Form::Guarded, 5).await?;
        let place = session.prepared(PLACE, Form::Guarded, 7).await?;
        let clear = session.prepared(CLEAR, Form::Guarded, 3).await?;
        let client = &session.client;
        let Self {
            from,
            to,
            recorded_at,
            seqs,
            ..
        } = &self;
        let number = |unsigned: u64| unsigned.cast_signed();
        let (next, chain) = (number(to.position + 1), &to.chain[..]);
        let (seen, epoch, last_chain) = (
            number(from.position + 1),
            number(from.epoch),
            &from.chain[..],
        );
        let (first, last) = (seqs.first(), seqs.last());
        let count = number(seqs.len() as u64);
        let steps: Vec<Step<'_>> = vec![
            Box::pin(client.batch_execute("BEGIN")),
            execute(
                client,
                &move_head,
                vec![&next, &chain, &seen, &epoch, &last_chain, &1_i64],
            ),
            execute(
                client,
                &place,
                vec![
                    &epoch,
                    recorded_at,
                    seqs,
                    &self.positions,
                    &self.chains,
                    &first,
                    &last,
                    &count,
                ],
            ),
            execute(client, &clear, vec![seqs, &first, &last, &count]),
            Box::pin(client.batch_execute("COMMIT")),
        ];
        match pipeline::run(steps).await {
            Ok(()) => Ok(*to),
            Err((_, error)) => Err(error),
        }
    }
}

fn execute<'s>(
    client: &'s Client,
    statement: &'s Statement,
    params: Vec<&'s (dyn ToSql + Sync)>,
) -> Step<'s> {
    Box::pin(async move { client.execute(statement, &params).await.map(|_| ()) })
}
