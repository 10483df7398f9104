//! From a command to its durable outcome.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use quivive_delivery::gate::{Gate, Place, Tide};
use quivive_delivery::log::Appender;
use quivive_delivery::seal::Vault;
use quivive_delivery::subscriber::{InCommit, Veto};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{Body, Catalogue, Codes, CommitError, Event as _, Fault, Log, Transaction};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::attempt::{Attempt, Progress};
use super::commit::Commit;
use super::cx::{Cx, Families, Guess, Request};
use super::recovery::Closers;
use super::turns::{Turn, Turns};
use super::workflow::{
    Actor, Decision, RESERVE_PATIENCE, RESERVE_PAUSE, RESERVE_WAITERS, Reason, Reservation, SOON,
    UNDER_WAY, Workflow,
};
use crate::access::Said;
use crate::ports::{OpenAttempt, OpenAttempts};
use crate::switchboard::Workflows;

/// How often a workflow decides when its guards miss.
const MAX_DECISIONS: u32 = 3;

/// Of the writes of an outcome, the place of the one that says a repeatable request was decided. It misses when another that
/// asked the same was carried out meanwhile: this one's outcome is that it conflicts.
const DECIDED: usize = 1;

/// Why a command has no reply.
#[derive(Debug)]
pub enum Failure<R> {
    /// A business "no"; its Failed event is in the log.
    Refused(R),
    /// The state kept changing under it.
    Conflict,
    /// Another closed its attempt first (a deadline, an operator).
    Closed,
    /// What reacts in the commit refused what the workflow had decided; `Failed { vetoed }` is in the log.
    Vetoed(Veto),
    /// It broke; `Failed { internal }` is in the log.
    Internal,
    /// It was not let in, and nothing was looked at.
    NotAdmitted(Fault),
    /// The infrastructure did not do its part.
    Fault(Fault),
}

impl<R: Codes> std::fmt::Display for Failure<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "refused: {}", refusal.code()),
            Self::Conflict => f.write_str("conflict"),
            Self::Closed => f.write_str("closed"),
            Self::Vetoed(veto) => write!(f, "vetoed: {veto}"),
            Self::Internal => f.write_str("internal"),
            Self::NotAdmitted(fault) => write!(f, "not admitted: {fault}"),
            Self::Fault(fault) => write!(f, "fault: {fault}"),
        }
    }
}

/// What a kernel is made of.
pub struct Parts {
    pub families: Arc<Families>,
    pub attempts: Arc<dyn OpenAttempts>,
    pub log: Arc<dyn Log>,
    pub vault: Arc<dyn Vault>,
    /// This run of this server.
    pub node: Uuid,
    pub tasks: Tasks,
    pub workflows: Workflows,
    pub in_commit: InCommit,
}

/// A decision, ready to become true.
struct Assembled<W: Workflow> {
    transaction: Transaction,
    /// What the caller gets once the transaction is durable.
    answer: Result<W::Reply, Failure<W::Refusal>>,
    turn: Option<Turn>,
}

/// Runs workflows; the only one who turns commits into log rows.
pub struct Kernel {
    pub(super) families: Arc<Families>,
    pub(super) attempts: Arc<dyn OpenAttempts>,
    pub(super) log: Arc<dyn Log>,
    pub(super) vault: Arc<dyn Vault>,
    pub(super) appender: Appender,
    pub(super) closers: Closers,
    pub(super) in_commit: InCommit,
    catalogue: Arc<Catalogue>,
    pub(super) tasks: Tasks,
    /// This run of this server.
    pub(super) node: Uuid,
    pub(super) turns: Arc<Turns>,
    /// Before those that do not hash.
    pub(super) gate: Arc<Gate>,
    /// Of those that hash.
    tide: Tide,
    /// Workflows that wait for a place for their guess.
    waiters: Semaphore,
}

impl Kernel {
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            families: parts.families,
            attempts: parts.attempts,
            log: parts.log,
            vault: parts.vault,
            appender: Appender::new(),
            closers: parts.workflows.closers,
            in_commit: parts.in_commit,
            catalogue: Arc::new(parts.workflows.catalogue),
            tasks: parts.tasks,
            node: parts.node,
            turns: Arc::new(Turns::new()),
            waiters: Semaphore::new(RESERVE_WAITERS),
            gate: Gate::new(UNDER_WAY),
            tide: Tide::default(),
        })
    }

    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// Whether the server stops: what takes long ends early then.
    pub(crate) fn is_stopping(&self) -> bool {
        self.tasks.stopping().is_cancelled()
    }

    /// The reads, for routes that only show something.
    pub fn families(&self) -> &Arc<Families> {
        &self.families
    }

    /// Lets something come to its end, although who waits for it may go away.
    pub async fn outliving<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Fault> {
        let done = self.tasks.spawn(work).await;
        done.map_err(|_| Fault::Internal("a task broke".to_owned()))
    }

    /// Runs a workflow to its end, in a task that outlives the caller. Who is not let in need not even wait for a task's turn.
    pub async fn execute<W: Workflow>(
        self: &Arc<Self>,
        workflow: W,
        request: Request,
    ) -> Result<W::Reply, Failure<W::Refusal>> {
        let mut cx = self.cx(request, self.families.ids.next());
        let place = match self.enter::<W>(&mut cx) {
            Ok(place) => place,
            Err(fault) => {
                let result = Err(Failure::NotAdmitted(fault));
                count(W::NAME, &result);
                return result;
            }
        };
        let kernel = Arc::clone(self);
        let run = async move {
            let result = kernel.run(&workflow, cx).await;
            drop(place);
            count(W::NAME, &result);
            result
        };
        self.tasks
            .spawn(run)
            .await
            .unwrap_or(Err(Failure::Internal))
    }

    async fn run<W: Workflow>(
        &self,
        workflow: &W,
        mut cx: Cx,
    ) -> Result<W::Reply, Failure<W::Refusal>> {
        cx.subject = Some(workflow.subject(&cx).await.map_err(Failure::Fault)?);
        let attempt = self
            .attempt(workflow, &mut cx)
            .await
            .map_err(Failure::Fault)?;
        self.decide(workflow, &mut cx, attempt).await
    }

    /// A place among those that are under way; those that hash have places of their own, and while most of them find none there
    /// is a flood for all. The server's own work is not refused: there is never much of it at once.
    fn enter<W: Workflow>(&self, cx: &mut Cx) -> Result<Option<Place>, Fault> {
        if W::HASHES {
            let entered = cx.passwords.enter();
            if self.tide.note(entered.is_ok()) {
                self.gate.others_were_turned_away(cx.passwords.core_time());
            }
            return entered.map(|()| None);
        }
        if matches!(cx.request.actor, Actor::System) {
            return Ok(None);
        }
        self.gate.enter().map(Some).ok_or(Fault::Busy {
            what: "the number of workflows under way",
            retry_after: SOON,
        })
    }

    /// Makes the Attempted event with its open-attempt row. Submits it and waits for it only where the workflow must: when
    /// a guess is reserved, or when the time of its answer may not tell what it is about.
    async fn attempt<W: Workflow>(&self, workflow: &W, cx: &mut Cx) -> Result<Attempt<W>, Fault> {
        let keys = self.seal_keys(cx).await?;
        let mut trail = self.trail(cx, keys);
        cx.attempted_id = Some(trail.attempted_id);
        let mut event = workflow.attempted(cx.subject());
        loop {
            let reservation = self.reservation(workflow, cx).await?;
            if W::HASHES {
                cx.passwords.enter()?;
            }
            let (guess, reservation) = match reservation {
                Reservation::NotNeeded => (Guess::NotNeeded, None),
                Reservation::Take {
                    path,
                    take,
                    give_back,
                } => {
                    let at = cx.now();
                    (Guess::Reserved { path, at }, Some((take, give_back)))
                }
                Reservation::Busy | Reservation::Closed => (Guess::Closed, None),
            };
            cx.guess = guess;
            let mut transaction = Transaction::default();
            transaction.writes.push(self.attempts.open(&OpenAttempt {
                workflow_id: trail.workflow_id,
                kind: W::Attempted::META.kind.to_owned(),
                attempted_id: trail.attempted_id,
                after: self.log.head().borrow().position,
                deadline: cx.now() + W::DEADLINE,
                waiting: false,
                node: self.node,
            }));
            let (take, give_back) = reservation.unzip();
            transaction.writes.extend(take);
            let body = event.encode().map_err(Fault::internal)?;
            let record = self.record_of_attempt(&trail, W::Attempted::META, body, cx.now());
            transaction.records.push(record);
            let mut attempt = Attempt {
                trail,
                event,
                give_back,
                progress: Progress::Held(transaction),
            };
            if W::ATTEMPT_FIRST || matches!(guess, Guess::Reserved { .. }) {
                match attempt.durable(self.log.as_ref()).await {
                    Ok(()) => {}
                    Err(CommitError::Missed(_)) => {
                        Attempt { trail, event, .. } = attempt;
                        cx.drop_kept();
                        continue;
                    }
                    Err(CommitError::Fault(fault)) => return Err(fault),
                }
            }
            return Ok(attempt);
        }
    }

    /// Asks for a place for the guess, again and again while all are taken.
    async fn reservation<W: Workflow>(
        &self,
        workflow: &W,
        cx: &mut Cx,
    ) -> Result<Reservation, Fault> {
        let began = tokio::time::Instant::now();
        let mut waiter = None;
        loop {
            cx.look_at_the_clock();
            let reservation = workflow.reserve(cx).await?;
            if !matches!(reservation, Reservation::Busy) || began.elapsed() >= RESERVE_PATIENCE {
                return Ok(reservation);
            }
            if waiter.is_none() {
                waiter = Some(self.waiters.try_acquire().map_err(|_| Fault::Busy {
                    what: "guesses that wait for others",
                    retry_after: RESERVE_PATIENCE,
                })?);
                cx.passwords.leave();
            }
            tokio::time::sleep(RESERVE_PAUSE).await;
            cx.drop_kept();
        }
    }

    async fn decide<W: Workflow>(
        &self,
        workflow: &W,
        cx: &mut Cx,
        mut attempt: Attempt<W>,
    ) -> Result<W::Reply, Failure<W::Refusal>> {
        for _ in 0..MAX_DECISIONS {
            cx.look_at_the_clock();
            let run = AssertUnwindSafe(workflow.run(cx)).catch_unwind();
            let decision = match attempt.beside(self.log.as_ref(), run).await {
                Ok(Ok(decision)) => decision,
                Ok(Err(fault)) => {
                    tracing::error!(workflow = W::NAME, %fault, "a workflow could not decide");
                    return self
                        .close(cx, attempt, "internal", Failure::Fault(fault))
                        .await;
                }
                Err(_) => {
                    tracing::error!(workflow = W::NAME, "a workflow panicked");
                    return self.close(cx, attempt, "internal", Failure::Internal).await;
                }
            };
            let assembled = match self.assemble(cx, &attempt, decision) {
                Ok(assembled) => assembled,
                Err(Failure::Vetoed(veto)) => {
                    tracing::info!(workflow = W::NAME, %veto, "a decision was vetoed");
                    let answer = Failure::Vetoed(veto);
                    return self.close(cx, attempt, "vetoed", answer).await;
                }
                Err(failure) => {
                    tracing::error!(workflow = W::NAME, %failure, "a decision could not become a commit");
                    return self.close(cx, attempt, "internal", failure).await;
                }
            };
            if attempt.submit(self.log.as_ref()).is_err() {
                return Err(attempt.why_closed(self.log.as_ref()).await);
            }
            let said = said(&assembled.transaction);
            let committed = self.log.commit(assembled.transaction).await;
            drop(assembled.turn);
            match committed {
                Ok(_) => {
                    for said in said {
                        self.families.note(said);
                    }
                    return assembled.answer;
                }
                Err(CommitError::Missed(0)) => {
                    return Err(attempt.why_closed(self.log.as_ref()).await);
                }
                Err(CommitError::Missed(DECIDED)) if cx.request.once.is_some() => {
                    return self.close(cx, attempt, "conflict", Failure::Conflict).await;
                }
                Err(CommitError::Missed(write)) => {
                    tracing::debug!(workflow = W::NAME, write, "a guard missed; deciding again");
                }
                Err(CommitError::Fault(fault)) => return Err(Failure::Fault(fault)),
            }
        }
        self.close(cx, attempt, "conflict", Failure::Conflict).await
    }

    /// Turns a decision into the transaction that makes it true, its first write closing the attempt.
    fn assemble<W: Workflow>(
        &self,
        cx: &Cx,
        attempt: &Attempt<W>,
        decision: Decision<W>,
    ) -> Result<Assembled<W>, Failure<W::Refusal>> {
        let encoded = |meta, body: Result<Body, serde_json::Error>| match body {
            Ok(body) => Ok(Some((meta, body))),
            Err(error) => Err(Failure::Fault(Fault::internal(error))),
        };
        let id = cx.workflow_id;
        let (first, mut commit, outcome, answer) = match decision {
            Decision::Succeed(commit, event, reply) => {
                let outcome = encoded(W::Succeeded::META, event.encode())?;
                (self.attempts.close(id), commit, outcome, Ok(reply))
            }
            Decision::Refuse(commit, refusal) => {
                let reason = Reason::new(refusal.code());
                let event = W::failed(&attempt.event, cx.subject(), reason);
                let outcome = encoded(W::Failed::META, event.encode())?;
                (
                    self.attempts.close(id),
                    commit,
                    outcome,
                    Err(Failure::Refused(refusal)),
                )
            }
            Decision::Wait {
                until,
                commit,
                reply,
            } => (self.attempts.wait(id, until), commit, None, Ok(reply)),
        };
        if let Some(fault) = commit.broken.take() {
            return Err(Failure::Fault(fault));
        }
        self.hear(W::NAME, answer.is_ok(), outcome.as_ref(), &mut commit)?;
        let turn = commit.turn.take();
        let mut transaction = self.transaction(cx, attempt, first, outcome, commit);
        if let Some(once) = &cx.request.once {
            let (done, now) = (answer.is_ok(), cx.now());
            let write = self.families.answers.decided(once, done, now);
            transaction.writes.insert(DECIDED, write);
        }
        Ok(Assembled {
            transaction,
            answer,
            turn,
        })
    }

    /// Closes an attempt for a reason that is not the workflow's own.
    async fn close<W: Workflow>(
        &self,
        cx: &Cx,
        mut attempt: Attempt<W>,
        reason: &'static str,
        answer: Failure<W::Refusal>,
    ) -> Result<W::Reply, Failure<W::Refusal>> {
        let event = W::failed(&attempt.event, cx.subject(), Reason::new(reason));
        let body = event
            .encode()
            .map_err(|error| Failure::Fault(Fault::internal(error)))?;
        let first = self.attempts.close(cx.workflow_id);
        let outcome = Some((W::Failed::META, body));
        let transaction = self.transaction(cx, &attempt, first, outcome, Commit::default());
        if attempt.submit(self.log.as_ref()).is_err() {
            return Err(attempt.why_closed(self.log.as_ref()).await);
        }
        match self.log.commit(transaction).await {
            Ok(_) => Err(answer),
            Err(CommitError::Missed(_)) => Err(attempt.why_closed(self.log.as_ref()).await),
            Err(CommitError::Fault(fault)) => Err(Failure::Fault(fault)),
        }
    }
}

/// What a commit says against access tokens: felt here before anybody is answered, elsewhere by who follows the log.
fn said(transaction: &Transaction) -> Vec<Said> {
    let records = transaction.records.iter();
    records
        .filter_map(|record| Said::by(record.envelope(), record.body()))
        .collect()
}

fn count<T, R>(workflow: &'static str, result: &Result<T, Failure<R>>) {
    let outcome = match result {
        Ok(_) => "ok",
        Err(Failure::Refused(_)) => "refused",
        Err(Failure::Conflict) => "conflict",
        Err(Failure::Closed) => "closed",
        Err(Failure::Vetoed(_)) => "vetoed",
        Err(Failure::Internal) => "internal",
        Err(Failure::NotAdmitted(_) | Failure::Fault(Fault::Busy { .. })) => "busy",
        Err(Failure::Fault(_)) => "fault",
    };
    metrics::counter!("quivive_workflows_total", "workflow" => workflow, "outcome" => outcome)
        .increment(1);
}
