//! Which subscriptions this node has, where several share a database.
//!
//! **Flow.** Once a second every node looks who lives and who has what. For each subscription, and each duty, all come to the
//! same one of the living: by a digest of both names, as long as that one has room, so that one that comes or goes moves few. What is
//! another's is handed over: nothing new begins, what is under way ends, and the lease is let go. What is this node's and
//! nobody has is claimed; then it goes on from the rows, which nobody else can write any more.
//!
//! An operator's order is carried out where the machine is. So a node that is given one for a subscription that another has
//! asks for that: it is handed over, and back when nothing more comes.
//!
//! An event of a version that this program cannot read holds its subscription. If a node lives that reads more, it is handed
//! over to those that do.
//!
//! **Guarantees.** A subscription is worked on by whoever has its tenure, and what others do to it misses. That of a node
//! that has died goes on within a second of its burial.
//!
//! **Not guaranteed.** That all have equally many: one may have a quarter more than its share.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::decisions::Declined;
use super::machine::starting;
use super::roster::Roster;
use super::runner::Shared;
use super::running::Running;
use super::start::StartError;
use super::tenure::{Share, Tenure};
use crate::commit::{Transaction, Write};
use crate::fault::Fault;
use crate::log::CommitError;
use crate::nodes::{Lease, Node};
use crate::subscriber::{LaneState, StoredReplay, StoredSubscription};

/// How often it is looked. Nobody waits for it but those whose node has died, and operators.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is under way may take so long before its subscription goes to another node.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(10);

/// How long an operator's order waits for a subscription to come, and how often it looks.
const BRING_WITHIN: Duration = Duration::from_secs(20);
const BRING_LOOK: Duration = Duration::from_millis(50);

/// One that was asked for stays so long after the last order.
const STAYS: Duration = Duration::from_secs(30);

/// Where one is that another node has, as the database has it.
#[derive(Debug, Clone)]
pub(super) struct StoredStatus {
    pub(super) stored: StoredSubscription,
    pub(super) lanes_retrying: usize,
    pub(super) lanes_parked: usize,
    pub(super) replay: Option<StoredReplay>,
}

/// What this node has.
#[derive(Default)]
pub(super) struct Tenures {
    held: Mutex<HashMap<Arc<str>, Arc<Tenure>>>,
    duties: Mutex<HashSet<&'static str>>,
    /// When an operator's order last needed it.
    asked: Mutex<HashMap<String, Instant>>,
    /// There is a reason to look now.
    pub(super) look: Notify,
    /// How many nodes deliver and answer.
    nodes: watch::Sender<u32>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tenures {
    pub(super) fn take(&self, name: &str) -> Option<Arc<Tenure>> {
        locked(&self.held).remove(name)
    }

    fn of(&self, name: &str) -> Option<Arc<Tenure>> {
        locked(&self.held).get(name).cloned()
    }

    fn put(&self, name: &str, tenure: &Arc<Tenure>) {
        locked(&self.held).insert(name.into(), Arc::clone(tenure));
    }

    /// Takes it only if it is that one still.
    fn end(&self, name: &str, tenure: &Arc<Tenure>) {
        let mut held = locked(&self.held);
        if held.get(name).is_some_and(|held| Arc::ptr_eq(held, tenure)) {
            held.remove(name);
        }
    }
}

/// What was found at one look.
struct Found {
    /// Those that deliver.
    serving: Vec<Node>,
    living: HashSet<Uuid>,
    leases: HashMap<String, Lease>,
}

impl Found {
    fn lease(&self, name: &str) -> Lease {
        self.leases.get(name).cloned().unwrap_or_else(|| Lease {
            name: name.to_owned(),
            node: None,
            epoch: 0,
            wanted: None,
            needs: 0,
        })
    }

    /// Who is to have each, whoever computes it: the heaviest of those that are of use and have not their fill.
    fn plan(&self, own: &[Arc<str>]) -> HashMap<String, Node> {
        let names = self.leases.keys().map(String::as_str);
        let names: BTreeSet<&str> = names.chain(own.iter().map(|name| &**name)).collect();
        let most = fill(names.len(), self.serving.len());
        let (mut loads, mut plan) = (HashMap::<Uuid, usize>::new(), HashMap::new());
        for name in names {
            let lease = self.lease(name);
            let of_use = self.of_use(&lease);
            let has_room = |node: &&Node| loads.get(&node.id).is_none_or(|load| *load < most);
            let heaviest = |node: &&Node| weight(node.id, name);
            let wanted = of_use.iter().find(|node| lease.wanted == Some(node.id));
            let roomy = of_use.iter().copied().filter(has_room);
            let due = wanted
                .copied()
                .or_else(|| roomy.max_by_key(heaviest))
                .or_else(|| of_use.iter().copied().max_by_key(heaviest));
            if let Some(node) = due {
                *loads.entry(node.id).or_default() += 1;
                plan.insert(name.to_owned(), *node);
            }
        }
        plan
    }

    /// Those that can go on with it. When nobody reads more than those that could not, any of them may wait for who does.
    fn of_use(&self, lease: &Lease) -> Vec<&Node> {
        let more = |node: &&Node| node.reads > lease.needs;
        let of_use: Vec<&Node> = self.serving.iter().filter(more).collect();
        if of_use.is_empty() {
            return self.serving.iter().collect();
        }
        of_use
    }

    /// Whether it can be claimed.
    fn is_free(&self, lease: &Lease, me: Uuid) -> bool {
        lease
            .node
            .is_none_or(|node| node == me || !self.living.contains(&node))
    }
}

/// How many of so many one of so many nodes has at most: a quarter more than its share, so that one that comes or goes
/// displaces few others.
fn fill(names: usize, nodes: usize) -> usize {
    (5 * names).div_ceil(4 * nodes.max(1))
}

/// The same on every node, whatever built it.
fn weight(node: Uuid, name: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(node.as_bytes());
    digest.update(name.as_bytes());
    digest.finalize().into()
}

impl Running {
    /// Whether this node is the one that does what is to be done by one.
    pub fn has_duty(&self, name: &str) -> bool {
        self.tools.share.is_none() || self.roster.tenures.of(name).is_some()
    }

    /// How many nodes serve on this database, this one included, as far as is known.
    pub fn nodes(&self) -> watch::Receiver<u32> {
        self.roster.tenures.nodes.subscribe()
    }

    /// Looks once, and from then on again and again until the server stops. What this node has is let go by who ends it.
    pub(super) async fn share_out(&self, duties: Vec<&'static str>) -> Result<(), StartError> {
        let Some(share) = self.tools.share.clone() else {
            return Ok(());
        };
        locked(&self.roster.tenures.duties).extend(duties);
        self.look(&share).await?;
        let running = self.clone();
        let stopping = self.roster.stopping.clone();
        let follow = async move {
            let mut failing = false;
            loop {
                let look = running.roster.tenures.look.notified();
                let _ = tokio::time::timeout(LOOK_EVERY, look).await;
                match running.look(&share).await {
                    Ok(()) => failing = false,
                    Err(error) => {
                        if !std::mem::replace(&mut failing, true) {
                            tracing::warn!(%error, "it cannot be seen what other nodes have; trying again");
                        }
                    }
                }
            }
        };
        let follow = async move { stopping.run_until_cancelled_owned(follow).await };
        drop(self.roster.tasks.spawn(follow));
        Ok(())
    }

    async fn look(&self, share: &Share) -> Result<(), StartError> {
        let living = share.nodes.living().await?;
        let leases = share.nodes.leases().await?;
        let found = Found {
            living: living.iter().map(|node| node.id).collect(),
            serving: living.into_iter().filter(|node| node.reads > 0).collect(),
            leases: leases
                .into_iter()
                .map(|lease| (lease.name.clone(), lease))
                .collect(),
        };
        let me = share.me;
        // One that was taken for dead says first that it is not.
        if !found.living.contains(&me.id) {
            return Ok(());
        }
        let count = u32::try_from(found.serving.len()).unwrap_or(u32::MAX);
        self.roster.tenures.nodes.send_replace(count.max(1));
        let duties: Vec<&str> = locked(&self.roster.tenures.duties)
            .iter()
            .copied()
            .collect();
        let names = self.roster.known().into_iter().map(|(known, _)| known.name);
        let names: Vec<Arc<str>> = names
            .chain(duties.iter().map(|duty| Arc::from(*duty)))
            .collect();
        let plan = found.plan(&names);
        let mut claims = Vec::new();
        for name in names {
            let lease = found.lease(&name);
            let mut tenure = self.roster.tenures.of(&name);
            if let Some(own) = &tenure
                && (lease.node != Some(me.id) || lease.epoch != own.epoch())
                && !own.leaving.is_cancelled()
            {
                self.lose(&name, own);
                tenure = None;
            }
            let Some(to) = plan.get(&*name) else {
                continue;
            };
            match tenure {
                Some(own) if own.leaving.is_cancelled() => {}
                Some(own) => {
                    let needs = self.held_back(&name).then_some(me.reads);
                    let more = |node: &Node| needs.is_some_and(|needs| node.reads > needs);
                    if found.serving.iter().any(more) {
                        self.hand_over(name, own, me.reads);
                    } else if to.id != me.id && to.reads >= me.reads {
                        self.hand_over(name, own, lease.needs);
                    }
                }
                None if to.id == me.id && found.is_free(&lease, me.id) => {
                    claims.push((name, lease.epoch));
                }
                // It was let go, and the database does not know.
                None if lease.node == Some(me.id) => {
                    let release = share.nodes.release(&name, me.id, lease.epoch, lease.needs);
                    self.write(vec![release]).await?;
                }
                None => {}
            }
        }
        self.claim(share, claims, &duties).await?;
        self.forget_wants(share, &found).await?;
        self.look_elsewhere(&found).await?;
        Ok(())
    }

    /// Whether it waits for a newer program.
    fn held_back(&self, name: &str) -> bool {
        let here = self.roster.find(name);
        here.is_some_and(|shared| shared.machine().held().is_some())
    }

    /// Those of a name: the subscription, and a replay of it.
    fn of_name(&self, name: &str) -> Vec<Arc<Shared>> {
        let both = [self.roster.find(name), self.roster.replay_of(name)];
        both.into_iter().flatten().collect()
    }

    fn put_away(&self, shared: &Shared) {
        self.tools.tail.leave(&shared.reader);
        self.roster.take(&shared.name);
    }

    /// Another node has it.
    fn lose(&self, name: &str, tenure: &Arc<Tenure>) {
        tracing::warn!(name, "another node has taken this over");
        tenure.lost.cancel();
        for shared in self.of_name(name) {
            self.put_away(&shared);
        }
        self.roster.tenures.end(name, tenure);
    }

    /// Ends what is under way, and lets it go.
    fn hand_over(&self, name: Arc<str>, tenure: Arc<Tenure>, needs: u64) {
        tracing::info!(name = &*name, "this goes to another node");
        tenure.leaving.cancel();
        let running = self.clone();
        drop(self.roster.tasks.spawn(async move {
            let both = running.of_name(&name);
            let ends = both
                .iter()
                .map(|shared| shared.end_within(HAND_OVER_WITHIN));
            join_all(ends).await;
            // Nothing that sees a replay through writes any more.
            tenure.lost.cancel();
            for shared in both {
                running.put_away(&shared);
            }
            if let Some(release) = tenure.release(needs)
                && let Err(error) = running.write(vec![release]).await
            {
                // The next look finds it.
                tracing::warn!(name = &*name, %error, "it could not be let go");
            }
            running.roster.tenures.end(&name, &tenure);
        }));
    }

    /// Takes those that nobody has, and begins to deliver.
    async fn claim(
        &self,
        share: &Share,
        claims: Vec<(Arc<str>, u64)>,
        duties: &[&str],
    ) -> Result<(), StartError> {
        if claims.is_empty() {
            return Ok(());
        }
        let stopping = &self.roster.stopping;
        let claimed = claims.into_iter().map(|(name, seen)| {
            let write = share.nodes.claim(&name, share.me.id, seen);
            let claimed = self.write(vec![write]);
            async move {
                // A miss: another was faster.
                claimed.await.is_ok().then(|| {
                    let tenure = Tenure::claimed(share, Arc::clone(&name), seen + 1, stopping);
                    (name, tenure)
                })
            }
        });
        let claimed: Vec<_> = join_all(claimed).await.into_iter().flatten().collect();
        for (name, tenure) in &claimed {
            self.roster.tenures.put(name, tenure);
        }
        let subscriptions = &self.tools.subscriptions;
        let (stored, replays) = match tokio::join!(subscriptions.load(), subscriptions.replays()) {
            (Ok(stored), Ok(replays)) => (stored, replays),
            (Err(fault), _) | (_, Err(fault)) => {
                // Nobody else may have them while this one does, and does nothing.
                for (name, tenure) in claimed {
                    self.hand_over(name, tenure, 0);
                }
                return Err(fault.into());
            }
        };
        let stored: HashMap<String, StoredSubscription> = stored
            .into_iter()
            .map(|stored| (stored.name.clone(), stored))
            .collect();
        let begins = claimed
            .iter()
            .filter(|(name, _)| !duties.contains(&&**name))
            .map(|(name, tenure)| {
                let found = stored.get(&**name).cloned();
                let replay = replays.iter().find(|replay| *replay.subscription == **name);
                self.begin_here(name, found, replay.cloned(), tenure)
            });
        for ((name, tenure), begun) in claimed
            .iter()
            .filter(|(name, _)| !duties.contains(&&**name))
            .zip(join_all(begins).await)
        {
            if let Err(error) = begun {
                tracing::warn!(name = &**name, %error, "it cannot be gone on with here; trying again");
                self.hand_over(Arc::clone(name), Arc::clone(tenure), 0);
            }
        }
        Ok(())
    }

    async fn begin_here(
        &self,
        name: &Arc<str>,
        stored: Option<StoredSubscription>,
        replay: Option<StoredReplay>,
        tenure: &Arc<Tenure>,
    ) -> Result<(), StartError> {
        // What is changed or removed meanwhile waits for the runner.
        let _stays = self.roster.changing.read().await;
        let gone = || Fault::Internal(format!("the subscription {name} has no row"));
        let (Some((known, selection)), Some(stored)) = (self.roster.known_of(name), stored) else {
            return Err(gone().into());
        };
        let condition = starting(stored.condition);
        let write = self.tools.subscriptions.put_condition(name, &condition);
        let transaction = Transaction {
            writes: vec![write],
            records: Vec::new(),
        };
        tenure.commit(&*self.tools.log, transaction).await?;
        let tools = &self.tools;
        let own = Arc::clone(tenure);
        let runner = Roster::prepare(tools, &known, selection, stored, None, own).await?;
        self.roster.enter(runner);
        self.go_on_with(name, replay);
        self.tools.moved.send_replace(());
        Ok(())
    }

    /// What an operator's order was for may go where it belongs again.
    async fn forget_wants(&self, share: &Share, found: &Found) -> Result<(), StartError> {
        let stays = |name: &str| {
            let asked = locked(&self.roster.tenures.asked);
            asked.get(name).is_some_and(|at| at.elapsed() < STAYS)
        };
        let wanted = found.leases.values().filter(|lease| {
            let by_me = lease.wanted == Some(share.me.id);
            let by_the_dead = lease.wanted.is_some_and(|by| !found.living.contains(&by));
            by_the_dead || (by_me && !stays(&lease.name))
        });
        let unwant = |lease: &Lease| {
            let by = lease.wanted?;
            Some(share.nodes.unwant(&lease.name, by))
        };
        let writes: Vec<_> = wanted.filter_map(unwant).collect();
        if writes.is_empty() {
            return Ok(());
        }
        locked(&self.roster.tenures.asked).retain(|_, at| at.elapsed() < STAYS);
        Ok(self.write(writes).await?)
    }

    /// How far all are, of which other nodes may have some.
    async fn look_elsewhere(&self, found: &Found) -> Result<(), StartError> {
        let mut elsewhere = HashMap::new();
        if found.serving.len() > 1 {
            let subscriptions = &self.tools.subscriptions;
            let (stored, replays) = (subscriptions.load().await?, subscriptions.replays().await?);
            let lanes = subscriptions.lane_counts().await?;
            let count = |name: &str, state: LaneState| {
                let mut of_name = lanes
                    .iter()
                    .filter(|(of, is, _)| of == name && *is == state);
                of_name.next().map_or(0, |(_, _, count)| *count)
            };
            // Those that are here as well: in a moment they may not be.
            for stored in stored {
                let name = stored.name.clone();
                let status = StoredStatus {
                    lanes_retrying: count(&name, LaneState::Retrying),
                    lanes_parked: count(&name, LaneState::Parked),
                    replay: replays.iter().find(|replay| replay.name == name).cloned(),
                    stored,
                };
                elsewhere.insert(name, status);
            }
        }
        let known = self.roster.elsewhere.write();
        *known.unwrap_or_else(PoisonError::into_inner) = elsewhere;
        Ok(())
    }

    /// The machine of a subscription, brought here if another node has it.
    pub(super) async fn bring(&self, name: &str) -> Result<Arc<Shared>, Declined> {
        let asked_at = Instant::now();
        loop {
            if let Some(shared) = self.roster.find(name) {
                if self.tools.share.is_some() {
                    self.note_asked(name);
                }
                return Ok(shared);
            }
            if self.views.iter().any(|view| *view.target.name == *name) {
                return Err(Declined::WrongState);
            }
            let stays = self.roster.known_of(name).is_some();
            let Some(share) = self.tools.share.as_ref().filter(|_| stays) else {
                return Err(Declined::NotFound);
            };
            if asked_at.elapsed() >= BRING_WITHIN {
                return Err(Declined::elsewhere());
            }
            self.note_asked(name);
            let want = share.nodes.want(name, share.me.id);
            self.write(vec![want]).await.map_err(Declined::of)?;
            self.roster.tenures.look.notify_one();
            tokio::time::sleep(BRING_LOOK).await;
        }
    }

    fn note_asked(&self, name: &str) {
        let mut asked = locked(&self.roster.tenures.asked);
        asked.insert(name.to_owned(), Instant::now());
    }

    /// Submits when called.
    fn write(&self, writes: Vec<Write>) -> impl Future<Output = Result<(), CommitError>> + use<> {
        let records = Vec::new();
        let written = self.tools.log.commit(Transaction { writes, records });
        async move { written.await.map(drop) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(nodes: u128, names: usize) -> Found {
        let node = |id: u128| Node {
            id: Uuid::from_u128(id * 7_919),
            reads: 5,
        };
        let lease = |at: usize| Lease {
            name: format!("name-{at}"),
            node: None,
            epoch: 0,
            wanted: None,
            needs: 4,
        };
        let leases = (0..names).map(lease);
        Found {
            serving: (1..=nodes).map(node).collect(),
            living: HashSet::new(),
            leases: leases.map(|lease| (lease.name.clone(), lease)).collect(),
        }
    }

    #[test]
    fn nobody_has_much_more_than_its_share_and_who_goes_moves_little_else() {
        for (nodes, names) in [(1, 6), (2, 6), (3, 8), (4, 300)] {
            let plan = found(nodes, names).plan(&[]);
            let mut loads: HashMap<Uuid, usize> = HashMap::new();
            for node in plan.values() {
                *loads.entry(node.id).or_default() += 1;
            }
            assert_eq!(plan.len(), names);
            assert_eq!(
                loads.len(),
                usize::try_from(nodes).expect("few"),
                "{loads:?}"
            );
            let most = loads.values().max().copied().unwrap_or_default();
            let serving = usize::try_from(nodes).expect("few");
            assert!(most <= fill(names, serving), "{loads:?}");
            assert_eq!(plan, found(nodes, names).plan(&[]), "all come to the same");
        }
        let (before, after) = (found(4, 300).plan(&[]), found(3, 300).plan(&[]));
        let gone = found(4, 300).serving[3].id;
        let stayed = before.iter().filter(|(_, node)| node.id != gone);
        let moved = stayed.filter(|(name, node)| after[*name].id != node.id);
        assert!(moved.count() < 60, "of those that had not to move");
    }

    #[test]
    fn what_only_newer_programs_know_is_theirs() {
        let mut found = found(2, 40);
        found.serving[0].reads = 4;
        let newer = found.serving[1];
        assert!(found.plan(&[]).values().all(|node| *node == newer));
        found.serving[1].reads = 4;
        let both: HashSet<Uuid> = found.plan(&[]).values().map(|node| node.id).collect();
        assert_eq!(both.len(), 2, "when there is none, any may wait for one");
    }
}
