//! The start: what is registered is compared with the catalogue and with the database before anything is delivered.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::after::AfterCommit;
use super::delivery::Target;
use super::errands::Tools;
use super::figures::Figures;
use super::machine::{Selection, Versions, starting};
use super::roster::Roster;
use super::running::Running;
use super::scribe::Scribe;
use super::selection::select;
use super::tail::Tail;
use super::tenure::{Share, Tenure};
use super::view::View;
use crate::catalogue::Catalogue;
use crate::clock::{Clock, Ids};
use crate::commit::Transaction;
use crate::fault::Fault;
use crate::log::{Appender, CommitError, Log};
use crate::nodes::Node;
use crate::seal::Vault;
use crate::subscriber::{
    Condition, Phase, StoredReplay, StoredSubscription, Subscription, Subscriptions,
};
use crate::tasks::Tasks;

/// Why the engine does not start. Nothing was delivered.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "two subscriptions are registered as {0:?} (a name, or a former name given as `alias`): give one of them another"
    )]
    DuplicateName(Arc<str>),
    #[error(
        "the database has a subscription {0:?} that this program does not register: register it, \
         or if it was renamed, give {0:?} as the `alias` of the one that takes its place"
    )]
    UnknownStored(String),
    #[error(
        "subscription {name:?} takes the place of {alias:?}, but the database has both: \
         register {alias:?} again, or give {name:?} another name"
    )]
    AliasTaken { name: Arc<str>, alias: &'static str },
    #[error(
        "subscription {subscription:?} asks for {pattern:?}, which matches no event type of the catalogue: \
         `events catalogue` lists the types and every other name they have"
    )]
    NoSuchEvent {
        subscription: Arc<str>,
        pattern: Cow<'static, str>,
    },
    #[error(
        "the handler of subscription {subscription:?} reads {reads:?} alone, but it asks for {found} too: \
         let it take `&Received`, or ask for less"
    )]
    OtherType {
        subscription: Arc<str>,
        reads: &'static str,
        found: Cow<'static, str>,
    },
    #[error(
        "subscription {0:?} asks for batches: its handler must take several events (`on_batch`, `on_any_batch`), and a batch \
         must hold at least one"
    )]
    NoBatch(Arc<str>),
    #[error("subscription {0:?} allows no delivery at once: its `concurrency` must be at least 1")]
    NoConcurrency(Arc<str>),
    #[error("subscription {0:?} comes while the engine runs, so it must be durable")]
    NotDurable(Arc<str>),
    #[error(
        "subscription {0:?} cannot change whether it keeps the order of a key: remove it and add it again"
    )]
    OtherOrder(Arc<str>),
    #[error("the cursors cannot be read: {0}")]
    Fault(#[from] Fault),
    #[error("the subscriptions cannot be registered in the database: {0}")]
    Register(#[from] CommitError),
}

/// What the engine works with.
#[derive(Clone)]
pub struct Parts {
    pub log: Arc<dyn Log>,
    pub subscriptions: Arc<dyn Subscriptions>,
    pub vault: Arc<dyn Vault>,
    pub appender: Arc<Appender>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub catalogue: Arc<Catalogue>,
    pub tasks: Tasks,
    /// How subscriptions are shared out among nodes; `None`: this process has all.
    pub share: Option<Share>,
}

/// An engine that has not started.
pub struct Engine {
    parts: Parts,
    registered: Vec<Subscription>,
    families: Vec<&'static str>,
    duties: Vec<&'static str>,
}

impl Engine {
    pub fn new(parts: Parts, registered: Vec<Subscription>) -> Self {
        Self {
            parts,
            registered,
            families: Vec::new(),
            duties: Vec::new(),
        }
    }

    /// Work that is no subscription and is to be done by one node: [`Running::has_duty`] says by which.
    #[must_use]
    pub fn duty(mut self, name: &'static str) -> Self {
        self.duties.push(name);
        self
    }

    /// Names that begin so come and go with something else. What the database has of them and nobody registers is
    /// forgotten at the start, where it is an error of other names.
    #[must_use]
    pub fn family(mut self, prefix: &'static str) -> Self {
        self.families.push(prefix);
        self
    }

    /// Checks what is registered, adds or renames its rows in one commit, and begins to deliver.
    pub async fn start(self) -> Result<Running, StartError> {
        let selections = check_all(&self.registered, &self.parts.catalogue)?;
        let Self {
            parts,
            registered,
            families,
            duties,
        } = self;
        let (mut durable, mut views, mut after) = (Vec::new(), Vec::new(), Vec::new());
        for subscription in registered.into_iter().zip(selections) {
            match subscription.0.phase {
                Phase::Durable => durable.push(subscription),
                Phase::View => views.push(subscription),
                Phase::AfterCommit => after.push(subscription),
            }
        }
        let names = durable.iter().map(|(durable, _)| durable);
        let (stored, replays) = match &parts.share {
            None => reconcile(&parts, names, &families).await?,
            Some(share) => {
                register(&parts, share, names, &families).await?;
                (Vec::new(), Vec::new())
            }
        };

        Figures::describe();
        let head = parts.log.head().borrow().position;
        let after = after.into_iter().map(|(subscription, selection)| {
            let target = Target::new(&subscription, parts.vault.clone());
            (selection, Arc::new(target))
        });
        let after = Arc::new(AfterCommit::new(after.collect(), head));
        let views = views.into_iter().map(|(subscription, selection)| {
            let target = Target::new(&subscription, parts.vault.clone());
            Arc::new(View::new(selection, target, head))
        });
        let views: Vec<_> = views.collect();
        let alone = parts.share.is_none();
        let furthest = stored.iter().map(|stored| stored.position).max();
        let tools = Arc::new(Tools {
            // What is behind it reads for itself; what wants to be told at once does not wait for that.
            tail: Tail::new(
                parts.log.clone(),
                furthest
                    .filter(|_| after.is_empty() && views.is_empty())
                    .unwrap_or(head),
            ),
            log: parts.log,
            subscriptions: parts.subscriptions,
            versions: Versions::of(&parts.catalogue),
            scribe: Scribe {
                appender: parts.appender,
                catalogue: parts.catalogue,
                clock: parts.clock.clone(),
                ids: parts.ids.clone(),
                vault: parts.vault.clone(),
            },
            clock: parts.clock,
            began: Instant::now(),
            share: parts.share,
            moved: watch::Sender::new(()),
        });

        let stopping = parts.tasks.stopping();
        let known = durable.clone();
        let mut runners = Vec::with_capacity(durable.len());
        for ((subscription, selection), stored) in durable.into_iter().zip(stored) {
            let tenure = Tenure::alone(&stopping);
            let runner =
                Roster::prepare(&tools, &subscription, selection, stored, None, tenure).await?;
            runners.push(runner);
        }
        if !after.is_empty() {
            let (after, tools, stopping) = (after.clone(), tools.clone(), stopping.clone());
            parts
                .tasks
                .spawn(async move { after.run(&tools, stopping).await });
        }
        for view in &views {
            let (view, tools, stopping) = (view.clone(), tools.clone(), stopping.clone());
            parts
                .tasks
                .spawn(async move { view.run(&tools, stopping).await });
        }
        let tail = tools.clone();
        parts
            .tasks
            .spawn(async move { tail.tail.run(stopping).await });
        let roster = Arc::new(Roster::new(parts.tasks));
        for (subscription, selection) in known {
            roster.know(subscription, selection);
        }
        for runner in runners {
            roster.enter(runner);
        }
        let running = Running::new(tools, roster, after, views.into(), head);
        if alone {
            running.go_on(&replays);
        } else {
            running.share_out(duties).await?;
        }
        Ok(running)
    }
}

/// What can be said without the database.
fn check_all(
    registered: &[Subscription],
    catalogue: &Catalogue,
) -> Result<Vec<Selection>, StartError> {
    let mut names = HashSet::new();
    for subscription in registered {
        for name in [Some(&*subscription.name), subscription.alias]
            .into_iter()
            .flatten()
        {
            if !names.insert(name) {
                return Err(StartError::DuplicateName(name.into()));
            }
        }
    }
    registered
        .iter()
        .map(|subscription| check(subscription, catalogue))
        .collect()
}

/// What can be said of one by itself.
pub(super) fn check(
    subscription: &Subscription,
    catalogue: &Catalogue,
) -> Result<Selection, StartError> {
    if let Some(batch) = subscription.batch
        && (batch.max == 0 || subscription.together.is_none())
    {
        return Err(StartError::NoBatch(subscription.name.clone()));
    }
    if subscription.concurrency == 0 {
        return Err(StartError::NoConcurrency(subscription.name.clone()));
    }
    select(subscription, catalogue)
}

/// The same where other nodes may be at work: whose they are is seen later. What this program does not know may be another's
/// that does, and stays.
async fn register<'a>(
    parts: &Parts,
    share: &Share,
    registered: impl ExactSizeIterator<Item = &'a Subscription> + Clone,
    families: &[&str],
) -> Result<(), StartError> {
    let living = share.nodes.living().await?;
    let others = |node: &Node| node.id != share.me.id && node.reads > 0;
    let alone = !living.iter().any(others);
    let mut tries = 1;
    loop {
        match reconciled(parts, registered.clone(), families, !alone).await {
            // Another node registers the same.
            Err(StartError::Register(CommitError::Missed(_))) if tries < 3 => tries += 1,
            done => return done.map(drop),
        }
    }
}

/// Brings the database's subscriptions in line with the registered ones. They are in the order of registration.
async fn reconcile<'a>(
    parts: &Parts,
    registered: impl ExactSizeIterator<Item = &'a Subscription>,
    families: &[&str],
) -> Result<(Vec<StoredSubscription>, Vec<StoredReplay>), StartError> {
    reconciled(parts, registered, families, false).await
}

async fn reconciled<'a>(
    parts: &Parts,
    registered: impl ExactSizeIterator<Item = &'a Subscription>,
    families: &[&str],
    others: bool,
) -> Result<(Vec<StoredSubscription>, Vec<StoredReplay>), StartError> {
    let loaded = parts.subscriptions.load().await?;
    let replays = parts.subscriptions.replays().await?;
    let mut known: HashMap<String, StoredSubscription> = loaded
        .into_iter()
        .map(|stored| (stored.name.clone(), stored))
        .collect();
    let head = parts.log.head().borrow().position;
    let mut transaction = Transaction::default();
    let mut found = Vec::with_capacity(registered.len());
    for subscription in registered {
        let subscriptions = &*parts.subscriptions;
        let stored = identify(
            subscriptions,
            &mut known,
            subscription,
            head,
            &mut transaction,
        )?;
        if let Some(share) = &parts.share {
            // One that has its lease keeps it.
            transaction.writes.push(share.offer(&subscription.name));
        } else {
            let condition = starting(stored.condition);
            let write = subscriptions.put_condition(&subscription.name, &condition);
            transaction.writes.push(write);
        }
        found.push(stored);
    }
    if others {
        if let Some(name) = known.keys().min() {
            tracing::info!(
                name,
                "subscriptions that only other nodes know are left to them"
            );
        }
        if !transaction.writes.is_empty() {
            parts.log.commit(transaction).await?;
        }
        return Ok((found, replays));
    }
    let is_registered = |replay: &StoredReplay| {
        let mut all = found.iter();
        all.any(|stored: &StoredSubscription| stored.name == replay.subscription)
    };
    let (replays, orphans): (Vec<_>, Vec<_>) = replays.into_iter().partition(is_registered);
    for replay in replays.iter().chain(&orphans) {
        known.remove(&replay.name);
    }
    // What was replayed has another name now, or went with its family.
    for StoredReplay { name, .. } in &orphans {
        transaction.writes.extend(parts.subscriptions.remove(name));
        transaction
            .writes
            .push(parts.subscriptions.end_replay(name));
    }
    let (gone, unknown): (Vec<_>, Vec<_>) = known
        .into_keys()
        .partition(|name| families.iter().any(|family| name.starts_with(family)));
    if let Some(name) = unknown.into_iter().min() {
        return Err(StartError::UnknownStored(name));
    }
    for name in gone {
        transaction.writes.extend(parts.subscriptions.remove(&name));
    }
    if !transaction.writes.is_empty() {
        parts.log.commit(transaction).await?;
    }
    Ok((found, replays))
}

/// As [`identify`], and says that it begins.
pub(super) fn adopt(
    subscriptions: &dyn Subscriptions,
    known: &mut HashMap<String, StoredSubscription>,
    subscription: &Subscription,
    head: u64,
    transaction: &mut Transaction,
) -> Result<StoredSubscription, StartError> {
    let stored = identify(subscriptions, known, subscription, head, transaction)?;
    let condition = starting(stored.condition);
    let write = subscriptions.put_condition(&subscription.name, &condition);
    transaction.writes.push(write);
    Ok(stored)
}

/// Finds what the database has of a subscription, under its name or a former one, and says what is to be written of it.
fn identify(
    subscriptions: &dyn Subscriptions,
    known: &mut HashMap<String, StoredSubscription>,
    subscription: &Subscription,
    head: u64,
    transaction: &mut Transaction,
) -> Result<StoredSubscription, StartError> {
    let name = &subscription.name;
    let (own, former) = (
        known.remove(&**name),
        subscription
            .alias
            .and_then(|alias| Some((alias, known.remove(alias)?))),
    );
    let stored = match (own, former) {
        (Some(_), Some((alias, _))) => {
            return Err(StartError::AliasTaken {
                name: name.clone(),
                alias,
            });
        }
        (Some(own), None) => own,
        (None, Some((alias, former))) => {
            transaction.writes.push(subscriptions.rename(alias, name));
            former
        }
        (None, None) => {
            let position = subscription.begin.position(head);
            transaction
                .writes
                .push(subscriptions.create(name, position));
            StoredSubscription {
                name: name.to_string(),
                position,
                condition: Condition::default(),
                generation: 1,
            }
        }
    };
    Ok(stored)
}
