//! Gives events their positions: from `event_in` into `event`, in the order of their numbers.
//!
//! **Flow.** Read the head and up to [`ROUND`] rows; link the chain; then in one transaction move the head, which misses when
//! it is not where it was read, copy the rows inside the database, and delete them where they were. Again while there are
//! more. In between it sleeps until a commit of this server has appended something, or another tells that it has moved the
//! head, and looks by itself every [`POLL`]. Each server has one; any of them gives the positions of what others appended.
//!
//! **Guarantees.** Positions are dense and the chain cannot fork, whoever else sequences: the head's row is the guard. A crash
//! at any point leaves a whole round or none. The head is published when its round is durable.
//!
//! **Why not the numbers themselves.** They are given before the commit: a reader that goes by them passes those that commit
//! later under a lower one, and never sees them.

use std::sync::Arc;
use std::time::Duration;

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
const ROUND: i64 = 1_000;

/// How long what another server appended, or this one before a crash, may lie.
const POLL: Duration = Duration::from_millis(200);

/// Between two tries while the server is away.
const PAUSE: Duration = Duration::from_millis(250);

/// What one statement of a round may take.
const STATEMENT_TIME: Duration = Duration::from_secs(30);

const PURPOSE: Purpose = Purpose {
    statement_time: STATEMENT_TIME,
    shared_lock: None,
};

const HEAD: &str = "SELECT next_pos, epoch, chain FROM log_head WHERE one = 1";

const WAITING: &str = "SELECT seq, digest FROM event_in ORDER BY seq LIMIT $1";

const MOVE_HEAD: &str =
    "UPDATE log_head SET next_pos = $1, chain = $2 WHERE one = 1 AND next_pos = $3 AND epoch = $4";

/// The rows do not leave the database.
const PLACE: &str = "INSERT INTO event (pos, epoch, id, type, version, key, priority, time, recorded_at, workflow_id, \
    correlation_id, causation_id, subject, actor_kind, actor_id, request_id, traceparent, context_key, context, body, \
    personal_key, personal, chain) \
    SELECT placed.pos, $1, e.id, e.type, e.version, e.key, e.priority, e.time, $2, e.workflow_id, e.correlation_id, \
    e.causation_id, e.subject, e.actor_kind, e.actor_id, e.request_id, e.traceparent, e.context_key, e.context, e.body, \
    e.personal_key, e.personal, placed.chain \
    FROM unnest(CAST($3 AS BIGINT[]), CAST($4 AS BIGINT[]), CAST($5 AS BYTEA[])) AS placed (seq, pos, chain) \
    JOIN event_in e ON e.seq = placed.seq";

const CLEAR: &str = "DELETE FROM event_in WHERE seq = ANY ($1)";

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

/// How a round ended.
enum Round {
    /// There was nothing to do.
    Idle,
    /// It gave so many positions.
    Gave(usize),
    /// Another server was faster.
    Overtaken,
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
        loop {
            let session = self.place.session().await?;
            self.sole.hold(&session).await?;
            let round = self.round(&session).await;
            if let Err(Fault::Unreachable(_)) = &round {
                session.end();
            }
            match round? {
                Round::Idle => return Ok(()),
                Round::Gave(count) => {
                    self.told.owe();
                    if count < usize::try_from(ROUND).unwrap_or_default() {
                        return Ok(());
                    }
                }
                Round::Overtaken => {}
            }
        }
    }

    async fn round(&mut self, session: &Session) -> Result<Round, Fault> {
        // In this order: what is not there any more was given its place, and the head that is read then says so.
        let (waiting, head) = read(session).await?;
        self.publish(head);
        if waiting.is_empty() {
            return Ok(Round::Idle);
        }
        let recorded_at = self.clock.now().as_microsecond();
        let mut placed = Placed::with_capacity(waiting.len());
        let mut tip = head;
        for row in &waiting {
            tip = placed.add(tip, recorded_at, row)?;
        }
        let (partitions, client) = (&mut self.partitions, &session.client);
        partitions
            .make_room(client, head.position, tip.position)
            .await?;
        match placed.write(session, recorded_at, head, tip).await {
            Ok(()) => {
                self.publish(tip);
                Ok(Round::Gave(waiting.len()))
            }
            // The head was moved, or the rows taken; or a partition is not there any more.
            Err(error) if matches!(Reach::of(&error), Reach::Guard | Reach::Again) => {
                self.partitions.look_again_after(&error);
                Ok(Round::Overtaken)
            }
            Err(error) => Err(failure::fault(&error, "giving positions")),
        }
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

/// What waits and, as of no earlier, the head: both are on their way before the first is answered.
async fn read(session: &Session) -> Result<(Vec<Row>, Head), Fault> {
    let failed = |error: Error| failure::fault(&error, WAITING);
    let prepared = session.prepared(WAITING, Form::Plain, 1).await;
    let statement = prepared.map_err(failed)?;
    let prepared = session.prepared(HEAD, Form::Plain, 0).await;
    prepared.map_err(failed)?;
    let waiting = async {
        let rows = session.client.query(&statement, &[&ROUND]).await;
        rows.map_err(failed)
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

/// The events of a round with their places, column by column.
struct Placed {
    seqs: Vec<i64>,
    positions: Vec<i64>,
    chains: Vec<Vec<u8>>,
}

impl Placed {
    fn with_capacity(count: usize) -> Self {
        Self {
            seqs: Vec::with_capacity(count),
            positions: Vec::with_capacity(count),
            chains: Vec::with_capacity(count),
        }
    }

    /// Adds one after `tip` and returns the new tip.
    fn add(&mut self, tip: Head, recorded_at: i64, row: &Row) -> Result<Head, Fault> {
        let position = tip.position + 1;
        let digest = digest(row, 1)?;
        let chain = chain::link(&tip.chain, position, tip.epoch, recorded_at, &digest);
        self.seqs.push(column(row, 0)?);
        self.positions.push(position.cast_signed());
        self.chains.push(chain.to_vec());
        Ok(Head {
            position,
            chain,
            ..tip
        })
    }

    async fn write(
        &self,
        session: &Session,
        recorded_at: i64,
        from: Head,
        to: Head,
    ) -> Result<(), Error> {
        let move_head = session.prepared(MOVE_HEAD, Form::Guarded, 4).await?;
        let place = session.prepared(PLACE, Form::Guarded, 5).await?;
        let clear = session.prepared(CLEAR, Form::Guarded, 1).await?;
        let client = &session.client;
        let number = |unsigned: u64| unsigned.cast_signed();
        let (next, chain) = (number(to.position + 1), &to.chain[..]);
        let (seen, epoch) = (number(from.position + 1), number(from.epoch));
        let count = number(self.seqs.len() as u64);
        let steps: Vec<Step<'_>> = vec![
            Box::pin(client.batch_execute("BEGIN")),
            execute(
                client,
                &move_head,
                vec![&next, &chain, &seen, &epoch, &1_i64],
            ),
            execute(
                client,
                &place,
                vec![
                    &epoch,
                    &recorded_at,
                    &self.seqs,
                    &self.positions,
                    &self.chains,
                    &count,
                ],
            ),
            execute(client, &clear, vec![&self.seqs, &count]),
            Box::pin(client.batch_execute("COMMIT")),
        ];
        pipeline::run(steps).await.map_err(|(_, error)| error)
    }
}

fn execute<'s>(
    client: &'s Client,
    statement: &'s Statement,
    params: Vec<&'s (dyn ToSql + Sync)>,
) -> Step<'s> {
    Box::pin(async move { client.execute(statement, &params).await.map(|_| ()) })
}
