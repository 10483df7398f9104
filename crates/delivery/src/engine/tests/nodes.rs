//! Several nodes on one database.

use uuid::Uuid;

use super::*;
use crate::commit::Write;
use crate::engine::Share;
use crate::nodes::Node;
use crate::subscriber::Phase;

/// One of several processes on the same database.
struct OfSeveral {
    me: Node,
    connection: Arc<Connection>,
    tasks: Tasks,
    running: Running,
}

impl OfSeveral {
    async fn start(
        trial: &Trial,
        number: u128,
        catalogue: Catalogue,
        subscriptions: Vec<Subscription>,
    ) -> Self {
        let types = catalogue.all().iter();
        let me = Node {
            id: Uuid::from_u128(number),
            reads: types.map(|spec| u64::from(spec.version)).sum(),
        };
        let (connection, tasks) = (trial.memory.connect(), Tasks::new());
        trial.memory.join(me);
        let mut parts = parts(&connection, catalogue, tasks.clone());
        parts.share = Some(Share {
            nodes: connection.clone(),
            me,
        });
        let running = Engine::new(parts, subscriptions).duty("sweep");
        Self {
            me,
            running: running.start().await.unwrap(),
            connection,
            tasks,
        }
    }

    fn has(&self, memory: &Memory, name: &str) -> bool {
        memory.holder(name) == Some(self.me.id)
    }
}

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn eight(script: &Arc<Script>) -> Vec<Subscription> {
    let named = |name: &&str| {
        let filter = Filter::matching(["order.*"]);
        Subscription::durable(*name, filter, script.clone())
    };
    NAMES.iter().map(named).collect()
}

#[tokio::test(start_paused = true)]
async fn each_subscription_is_with_one_and_each_event_comes_once() {
    let trial = Trial::new();
    let scripts = [Script::new(|_| done()), Script::new(|_| done())];
    let one = OfSeveral::start(&trial, 1, catalogue(), eight(&scripts[0])).await;
    assert!(NAMES.iter().all(|name| one.has(&trial.memory, name)));
    assert!(one.running.has_duty("sweep"));
    trial.memory.append(PLACED, "x");
    one.running.drain().await;
    let two = OfSeveral::start(&trial, 2, catalogue(), eight(&scripts[1])).await;
    let shared = || {
        let of = |node: &OfSeveral| {
            let has = |name: &&&str| node.has(&trial.memory, name);
            NAMES.iter().filter(has).count()
        };
        let (ones, twos) = (of(&one), of(&two));
        ones > 0 && twos > 0 && ones + twos == NAMES.len()
    };
    until(shared).await;
    millis(5_000).await;
    assert!(shared());
    assert_ne!(one.running.has_duty("sweep"), two.running.has_duty("sweep"));
    assert_eq!(
        (*one.running.nodes().borrow(), *two.running.nodes().borrow()),
        (2, 2)
    );
    trial.memory.append_all([(PLACED, "x"), (PLACED, "y")]);
    let all = || scripts[0].count() + scripts[1].count() >= 24;
    until(all).await;
    millis(5_000).await;
    assert_eq!(scripts[0].count() + scripts[1].count(), 24);
    for node in [&one, &two] {
        let status = node.running.status();
        assert_eq!(status.len(), NAMES.len());
        for status in status {
            assert_eq!((status.position, status.lag), (3, 0), "{status:?}");
            assert_eq!(status.elsewhere, !node.has(&trial.memory, &status.name));
        }
        let event = trial.memory.event(3).unwrap();
        let deliveries = node.running.delivery_of(&event).await.unwrap();
        assert!(
            deliveries
                .iter()
                .all(|told| told.state == DeliveryState::Done)
        );
        assert_eq!(deliveries.len(), NAMES.len());
    }
    // Who goes leaves everything to the other, and nothing comes again.
    two.tasks.shut_down().await;
    two.connection.cut();
    trial.memory.bury(two.me.id);
    until(|| NAMES.iter().all(|name| one.has(&trial.memory, name))).await;
    trial.memory.append(PLACED, "x");
    one.running.drain().await;
    assert_eq!(scripts[0].count() + scripts[1].count(), 32);
}

/// Its handler is under way when another takes over: what it leaves behind then is nobody's.
#[tokio::test(start_paused = true)]
async fn who_has_lost_it_writes_nothing() {
    let trial = Trial::new();
    let effects = |tag: &'static str| {
        let effects = Effects {
            writes: vec![Write::any(tag, Vec::new())],
            facts: Vec::new(),
        };
        Outcome::DoneWith(effects)
    };
    let slow = Script::new(move |_| Act::After(Duration::from_secs(20), effects("by one")));
    let one = OfSeveral::start(&trial, 1, catalogue(), vec![mail(&slow)]).await;
    trial.memory.append(PLACED, "x");
    until(|| slow.count() == 1).await;
    let quick = Script::new(move |_| Act::Say(effects("by two")));
    let two = OfSeveral::start(&trial, 2, catalogue(), vec![mail(&quick)]).await;
    // It sleeps, for all that others can see.
    trial.memory.bury(one.me.id);
    until(|| two.has(&trial.memory, "mail")).await;
    until(|| quick.count() == 1).await;
    assert!(one.running.is_here("mail"), "it does not know yet");
    // Its handler ends before it looks who has what.
    millis(60_000).await;
    trial.memory.join(one.me);
    millis(5_000).await;
    let tags = trial.memory.writes();
    let tags: Vec<_> = tags.iter().map(|write| write.sql).collect();
    assert_eq!(tags, ["by two"]);
    assert_eq!((slow.count(), quick.count()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_order_brings_it_to_whoever_is_given_it() {
    let trial = Trial::new();
    let scripts = [Script::new(|_| done()), Script::new(|_| done())];
    let one = OfSeveral::start(&trial, 1, catalogue(), eight(&scripts[0])).await;
    let two = OfSeveral::start(&trial, 2, catalogue(), eight(&scripts[1])).await;
    millis(5_000).await;
    for name in NAMES {
        one.running.pause(name).await.unwrap();
        assert!(one.has(&trial.memory, name));
        assert!(two.running.pause(name).await.is_err(), "it is already");
        assert!(two.has(&trial.memory, name));
        two.running.resume(name).await.unwrap();
        assert!(!trial.memory.condition(name).unwrap().paused);
    }
    assert!(matches!(
        one.running.pause("none").await,
        Err(Declined::NotFound)
    ));
    // Later they are shared out again.
    millis(60_000).await;
    let ones = NAMES.iter().filter(|name| one.has(&trial.memory, name));
    assert!((1..8).contains(&ones.count()));
}

/// As [`OrderPlaced`] is in a newer program.
#[derive(Debug, Event)]
#[event(type = "order.placed", version = 2, name = "OrderPlaced", audit = "ORDER_PLACED", past = [V1])]
struct Newer {}

const V1: crate::event::Past = crate::event::Past {
    schema: "{}",
    upcast: |_| {},
};

fn newer() -> Catalogue {
    let mut catalogue = Catalogue::new(|_| Class {
        priority: Priority::High,
        category: "operation",
    });
    catalogue.add::<Newer>(None, &[]).unwrap();
    catalogue.add::<CardFailed>(None, &[]).unwrap();
    catalogue.add::<OrderNoted>(None, &[]).unwrap();
    events::register(&mut catalogue).unwrap();
    catalogue
}

#[tokio::test(start_paused = true)]
async fn what_only_a_newer_program_reads_goes_to_one() {
    let trial = Trial::new();
    let (old, new) = (Script::new(|_| done()), Script::new(|_| done()));
    let one = OfSeveral::start(&trial, 1, catalogue(), eight(&old)).await;
    super::versions::append(&trial, 2, "x").await;
    until(|| one.running.status().iter().all(|status| status.held)).await;
    millis(60_000).await;
    assert_eq!(old.count(), 0, "it waits");
    let two = OfSeveral::start(&trial, 2, newer(), eight(&new)).await;
    until(|| new.count() == NAMES.len()).await;
    assert!(NAMES.iter().all(|name| two.has(&trial.memory, name)));
    millis(60_000).await;
    assert!(
        NAMES.iter().all(|name| two.has(&trial.memory, name)),
        "it stays there"
    );
    // Back to the older program: it goes on until it meets another.
    two.tasks.shut_down().await;
    two.connection.cut();
    trial.memory.bury(two.me.id);
    super::versions::append(&trial, 1, "x").await;
    until(|| old.count() == NAMES.len()).await;
    millis(5_000).await;
    assert_eq!((old.count(), new.count()), (8, 8));
}

#[tokio::test(start_paused = true)]
async fn a_view_is_everywhere_and_waits_for_what_fails() {
    let trial = Trial::new();
    let first = Script::new(|call| if call.attempt < 3 { fail() } else { done() });
    let second = Script::new(|_| done());
    let view = |script: &Arc<Script>| vec![mail(script).phase(Phase::View)];
    trial.memory.append(PLACED, "x");
    let one = OfSeveral::start(&trial, 1, catalogue(), view(&first)).await;
    let two = OfSeveral::start(&trial, 2, catalogue(), view(&second)).await;
    trial.memory.append_all([(PLACED, "x"), (PLACED, "y")]);
    until(|| first.count() >= 3).await;
    assert_eq!(
        first.positions()[..3],
        [2, 2, 2],
        "nothing before it, and nothing after it yet"
    );
    one.running.drain().await;
    two.running.drain().await;
    assert_eq!(first.positions(), [2, 2, 2, 3, 3, 3]);
    assert_eq!(second.positions(), [2, 3]);
    assert_eq!(one.running.position("mail"), Some(3));
    assert_eq!(trial.memory.cursor("mail"), None, "nothing is stored");
    let paused = one.running.pause("mail").await;
    assert!(matches!(paused, Err(Declined::WrongState)), "{paused:?}");
}
