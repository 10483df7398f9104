//! The start: what is registered is compared with the catalogue and with the database before anything is delivered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::after::AfterCommit;
use super::delivery::Target;
use super::errands::Tools;
use super::figures::Figures;
use super::machine::{Machine, Rng, Rules, Selection, Versions, starting};
use super::runner::{Runner, Shared};
use super::running::Running;
use super::scribe::Scribe;
use super::selection::select;
use super::tail::Tail;
use crate::catalogue::Catalogue;
use crate::clock::{Clock, Ids};
use crate::commit::Transaction;
use crate::fault::Fault;
use crate::log::{Appender, CommitError, Log};
use crate::seal::Vault;
use crate::subscriber::{Begin, Condition, Phase, StoredSubscription, Subscription, Subscriptions};
use crate::tasks::Tasks;

/// Why the engine does not start. Nothing was delivered.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "two subscriptions are registered as {0:?} (a name, or a former name given as `alias`): give one of them another"
    )]
    DuplicateName(&'static str),
    #[error(
        "the database has a subscription {0:?} that this program does not register: register it, \
         or if it was renamed, give {0:?} as the `alias` of the one that takes its place"
    )]
    UnknownStored(String),
    #[error(
        "subscription {name:?} takes the place of {alias:?}, but the database has both: \
         register {alias:?} again, or give {name:?} another name"
    )]
    AliasTaken {
        name: &'static str,
        alias: &'static str,
    },
    #[error(
        "subscription {subscription:?} asks for {pattern:?}, which matches no event type of the catalogue: \
         `events catalogue` lists the types and every other name they have"
    )]
    NoSuchEvent {
        subscription: &'static str,
        pattern: &'static str,
    },
    #[error(
        "the handler of subscription {subscription:?} reads {reads:?} alone, but it asks for {found} too: \
         let it take `&Received`, or ask for less"
    )]
    OtherType {
        subscription: &'static str,
        reads: &'static str,
        found: &'static str,
    },
    #[error(
        "subscription {0:?} asks for batches: its handler must take several events (`on_batch`, `on_any_batch`), and a batch \
         must hold at least one"
    )]
    NoBatch(&'static str),
    #[error("subscription {0:?} allows no delivery at once: its `concurrency` must be at least 1")]
    NoConcurrency(&'static str),
    #[error("the cursors cannot be read: {0}")]
    Fault(#[from] Fault),
    #[error("the subscriptions cannot be registered in the database: {0}")]
    Register(#[from] CommitError),
}

/// What the engine works with.
pub struct Parts {
    pub log: Arc<dyn Log>,
    pub subscriptions: Arc<dyn Subscriptions>,
    pub vault: Arc<dyn Vault>,
    pub appender: Arc<Appender>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub catalogue: Arc<Catalogue>,
    pub tasks: Tasks,
}

/// An engine that has not started.
pub struct Engine {
    parts: Parts,
    registered: Vec<Subscription>,
}

impl Engine {
    pub fn new(parts: Parts, registered: Vec<Subscription>) -> Self {
        Self { parts, registered }
    }

    /// Checks what is registered, adds or renames its rows in one commit, and begins to deliver.
    pub async fn start(self) -> Result<Running, StartError> {
        let Self { parts, registered } = self;
        let selections = check(&registered, &parts.catalogue)?;
        let versions = Versions::of(&parts.catalogue);
        let (durable, after): (Vec<_>, Vec<_>) = registered
            .into_iter()
            .zip(selections)
            .partition(|(subscription, _)| subscription.phase == Phase::Durable);
        let stored = reconcile(&parts, durable.iter().map(|(durable, _)| durable)).await?;

        Figures::describe();
        let head = parts.log.head().borrow().position;
        let target =
            |subscription: &Subscription| Arc::new(Target::new(subscription, parts.vault.clone()));
        let after = after
            .into_iter()
            .map(|(subscription, selection)| (selection, target(&subscription)));
        let after = Arc::new(AfterCommit::new(after.collect(), head));
        let furthest = stored.iter().map(|stored| stored.position).max();
        let tools = Arc::new(Tools {
            // What is behind it reads for itself; what wants to be told at once does not wait for that.
            tail: Tail::new(
                parts.log.clone(),
                if after.is_empty() {
                    furthest.unwrap_or(0)
                } else {
                    head
                },
            ),
            log: parts.log,
            subscriptions: parts.subscriptions,
            scribe: Scribe {
                appender: parts.appender,
                catalogue: parts.catalogue,
                clock: parts.clock.clone(),
                ids: parts.ids.clone(),
                vault: parts.vault.clone(),
            },
            clock: parts.clock,
            began: Instant::now(),
            moved: watch::Sender::new(()),
        });

        let mut runners = Vec::with_capacity(durable.len());
        for ((subscription, selection), stored) in durable.into_iter().zip(stored) {
            let lanes = tools.subscriptions.lanes(subscription.name).await?;
            let rules = Rules {
                selection,
                versions: versions.clone(),
                order: subscription.order,
                concurrency: subscription.concurrency,
                retry: subscription.retry,
                batch: subscription.batch,
                breaker: subscription.breaker,
            };
            let machine = Machine::new(rules, stored, lanes, head, tools.now());
            let shared = Arc::new(Shared::new(target(&subscription), machine));
            let rng = Rng::seeded(seed(&*parts.ids));
            runners.push(Runner::new(tools.clone(), shared, subscription.order, rng));
        }
        let shared = runners.iter().map(Runner::shared).collect();
        let running = Running::new(tools.clone(), shared, after.clone(), head);
        let stopping = parts.tasks.stopping();
        if !after.is_empty() {
            let (tools, stopping) = (tools.clone(), stopping.clone());
            parts
                .tasks
                .spawn(async move { after.run(&tools, stopping).await });
        }
        if !running.is_idle() {
            let stopping = stopping.clone();
            parts
                .tasks
                .spawn(async move { tools.tail.run(stopping).await });
        }
        for runner in runners {
            parts.tasks.spawn(runner.run(stopping.clone()));
        }
        Ok(running)
    }
}

/// What can be said without the database.
fn check(registered: &[Subscription], catalogue: &Catalogue) -> Result<Vec<Selection>, StartError> {
    let mut names = HashSet::new();
    for subscription in registered {
        for name in [Some(subscription.name), subscription.alias]
            .into_iter()
            .flatten()
        {
            if !names.insert(name) {
                return Err(StartError::DuplicateName(name));
            }
        }
        if let Some(batch) = subscription.batch
            && (batch.max == 0 || subscription.together.is_none())
        {
            return Err(StartError::NoBatch(subscription.name));
        }
        if subscription.concurrency == 0 {
            return Err(StartError::NoConcurrency(subscription.name));
        }
    }
    registered
        .iter()
        .map(|subscription| select(subscription, catalogue))
        .collect()
}

/// Brings the database's subscriptions in line with the registered ones. They are in the order of registration.
async fn reconcile<'a>(
    parts: &Parts,
    registered: impl ExactSizeIterator<Item = &'a Subscription>,
) -> Result<Vec<StoredSubscription>, StartError> {
    let loaded = parts.subscriptions.load().await?;
    let mut known: HashMap<String, StoredSubscription> = loaded
        .into_iter()
        .map(|stored| (stored.name.clone(), stored))
        .collect();
    let head = parts.log.head().borrow().position;
    let mut transaction = Transaction::default();
    let mut found = Vec::with_capacity(registered.len());
    for subscription in registered {
        let name = subscription.name;
        let (own, former) = (
            known.remove(name),
            subscription
                .alias
                .and_then(|alias| Some((alias, known.remove(alias)?))),
        );
        let stored = match (own, former) {
            (Some(_), Some((alias, _))) => return Err(StartError::AliasTaken { name, alias }),
            (Some(own), None) => own,
            (None, Some((alias, former))) => {
                transaction
                    .writes
                    .push(parts.subscriptions.rename(alias, name));
                former
            }
            (None, None) => {
                let position = match subscription.begin {
                    Begin::Start => 0,
                    Begin::Head => head,
                };
                transaction
                    .writes
                    .push(parts.subscriptions.create(name, position));
                StoredSubscription {
                    name: name.to_owned(),
                    position,
                    condition: Condition::default(),
                }
            }
        };
        let condition = starting(stored.condition);
        transaction
            .writes
            .push(parts.subscriptions.put_condition(name, &condition));
        found.push(stored);
    }
    if let Some(name) = known.into_keys().min() {
        return Err(StartError::UnknownStored(name));
    }
    if !transaction.writes.is_empty() {
        parts.log.commit(transaction).await?;
    }
    Ok(found)
}

/// For jitter alone.
fn seed(ids: &dyn Ids) -> u64 {
    let mut bytes = [0; 8];
    ids.random(&mut bytes);
    u64::from_le_bytes(bytes)
}
