//! A consumer beside a broker that is killed, frozen, flushed, full and cut off, and a server that is killed: every event
//! comes to it, once, and those of a key in order.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quivive_consumer::{Consumer, Counts, Feed, MemoryStore, Source, rabbitmq, redis};
use quivive_delivery::{Clock as _, Time};
use quivive_outbound::SystemClock;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::brokers::proxy::Faults;
use crate::brokers::{Proxy, RabbitMq, Redis, Server as Broker};
use crate::{Client, Options, Server};

/// Keys that events have.
const KEYS: usize = 40;
const WRITERS: usize = 2;
/// What an event takes.
const WORK: Duration = Duration::from_millis(4);
/// How long a fault lasts, and what is left to get over it.
const FAULT: Duration = Duration::from_millis(1_500);
/// How long a broker is stopped in a run that is long enough for it.
const STOPPED: Duration = Duration::from_mins(1);
const LONG: Duration = Duration::from_mins(10);
/// Everything has come to rest by then.
const PATIENCE: Duration = Duration::from_mins(1);

/// A broker under test.
#[derive(Clone)]
pub enum Kind {
    Redis(Arc<Redis>),
    RabbitMq(Arc<RabbitMq>),
}

impl Kind {
    /// `None` where it is not installed.
    pub fn redis() -> Option<Self> {
        Some(Self::Redis(Arc::new(Redis::on_small_disk()?)))
    }

    pub fn rabbitmq() -> Option<Self> {
        Some(Self::RabbitMq(Arc::new(RabbitMq::start()?)))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
            Self::RabbitMq(_) => "rabbitmq",
        }
    }

    fn server(&self) -> &dyn Broker {
        match self {
            Self::Redis(redis) => &**redis,
            Self::RabbitMq(rabbit) => &**rabbit,
        }
    }

    /// Settings of a server that relays to it at a URL.
    pub fn configured(&self, options: Options, url: &str) -> Options {
        options
            .env("QUIVIVE__BUS__KIND", self.name())
            .env("QUIVIVE__BUS__URL", url)
    }

    /// A consumer's way to it.
    pub fn join(&self, consumer: &mut Consumer, proxy: &Proxy) {
        let url = self.server().url_by(proxy.address);
        match self {
            Self::Redis(_) => {
                let streams = redis::Streams::new(&url, "shop").expect("a URL");
                consumer.broker(streams);
            }
            Self::RabbitMq(_) => {
                consumer.broker(rabbitmq::Queues::new(url, "events"));
            }
        }
    }

    /// Nothing more can be written, until `full` is false.
    fn fill(&self, full: bool) {
        match self {
            Self::Redis(redis) => redis.fill(full),
            // As it does by itself when it finds its disk full: it looks every ten seconds.
            Self::RabbitMq(rabbit) => {
                let limit = if full { "999999GB" } else { "10MB" };
                rabbit.ctl(&["set_disk_free_limit", limit]);
            }
        }
    }

    /// While it lasts, what was published and not read is lost: of streams by trimming, of queues all at once.
    fn lose(&self) {
        const TRIM: &str =
            "for i = 0, 7 do redis.call('XTRIM', 'quivive:8:' .. i, 'MAXLEN', 0) end";
        match self {
            Self::Redis(redis) => {
                redis.ask(&["-r", "300", "-i", "0.005", "EVAL", TRIM, "0"]);
            }
            Self::RabbitMq(_) => self.flush(),
        }
    }

    fn flush(&self) {
        match self {
            Self::Redis(redis) => {
                redis.ask(&["FLUSHALL"]);
            }
            Self::RabbitMq(rabbit) => {
                for shard in 0..8 {
                    let queue = format!("quivive.events.8.{shard}");
                    rabbit.ctl(&["purge_queue", &queue]);
                }
            }
        }
    }
}

impl Broker for Kind {
    fn url_by(&self, address: SocketAddr) -> String {
        self.server().url_by(address)
    }

    fn address(&self) -> SocketAddr {
        self.server().address()
    }

    fn start(&self) {
        self.server().start();
    }

    fn kill(&self) {
        self.server().kill();
    }

    fn end(&self) {
        self.server().end();
    }

    fn freeze(&self) {
        self.server().freeze();
    }

    fn thaw(&self) {
        self.server().thaw();
    }
}

/// What is done to the broker, the way to it, or the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Killed,
    Frozen,
    Flushed,
    Lossy,
    Full,
    Reset,
    Spoilt,
    Silent,
    ServerKilled,
    /// For a minute.
    Stopped,
}

impl Fault {
    /// Those that are over soon.
    pub const ALL: [Self; 9] = [
        Self::Lossy,
        Self::Killed,
        Self::Flushed,
        Self::Frozen,
        Self::Reset,
        Self::Full,
        Self::Spoilt,
        Self::ServerKilled,
        Self::Silent,
    ];
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Figures {
    pub events: usize,
    pub faults: usize,
    pub counts: Counts,
    /// From an event's commit to its handling, at most, while the server was there.
    pub longest: Duration,
    pub missing: usize,
    pub repeated: usize,
    pub reordered: usize,
}

impl Figures {
    /// Whether nothing was lost, doubled or out of order.
    pub fn whole(&self) -> bool {
        self.missing + self.repeated + self.reordered == 0
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            from_broker,
            from_log,
            duplicates,
            gaps,
            switches,
        } = self.counts;
        write!(
            f,
            "{} events ({from_broker} from the broker, {from_log} from the log), {} faults, {switches} switches, {gaps} gaps, \
             {duplicates} duplicates dropped, longest switch {} ms, missing {}, repeated {}, reorders {}",
            self.events,
            self.faults,
            self.longest.as_millis(),
            self.missing,
            self.repeated,
            self.reordered
        )
    }
}

/// An event as it was handled.
struct Handled {
    position: u64,
    key: String,
    late: Duration,
}

/// What the consumer tells while it runs.
#[derive(Clone, Copy, Default)]
struct At {
    position: u64,
    counts: Counts,
    of_broker: bool,
}

/// Runs the experiment for so long. `trusting` is the mutant: a consumer that takes whatever comes.
pub async fn run(binary: &Path, kind: &Kind, length: Duration, trusting: bool) -> Figures {
    let to_server = Proxy::start(kind.server().address(), 1).await;
    let to_consumer = Arc::new(Proxy::start(kind.server().address(), 2).await);
    let url = kind.server().url_by(to_server.address);
    let options = kind.configured(Options::unlimited().for_long(), &url);
    let mut server = Server::start(binary, options).await;
    let admin = server.administrator().await;
    let key = reader(&server, &admin).await;

    let stopping = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (client, stopping) = (server.client(), Arc::clone(&stopping));
        writers.spawn(write(client, writer, stopping));
    }
    let (told, mut at) = watch::channel(At::default());
    let feed = Feed::new(&format!("http://{}", server.address), key).expect("a URL and a key");
    let (way, broker) = (Arc::clone(&to_consumer), kind.clone());
    let mut consumer = JoinSet::new();
    consumer.spawn(async move { follow(feed, &broker, &way, &told, trusting).await });
    on_broker(&mut at, &server).await;

    let began = Instant::now();
    let mut faults = 0;
    let mut away = Vec::new();
    // What shows the mutant is what the rule is for.
    let mut plan = if trusting {
        vec![Fault::Lossy]
    } else {
        Fault::ALL.to_vec()
    };
    if length >= LONG {
        plan.push(Fault::Stopped);
    }
    for &fault in plan.iter().cycle() {
        if began.elapsed() >= length {
            break;
        }
        let since = SystemClock.now();
        inflict(fault, kind, [&to_server, &to_consumer], &mut server).await;
        if fault == Fault::ServerKilled {
            away.push((since, SystemClock.now()));
        }
        faults += 1;
        if !trusting {
            on_broker(&mut at, &server).await;
        }
        sleep(FAULT / 3).await;
    }
    stopping.store(true, Ordering::Relaxed);
    while writers.join_next().await.is_some() {}
    let events = settled(&server, &admin, &mut at).await;
    drop(at);
    let (handled, counts) = consumer
        .join_next()
        .await
        .expect("it ran")
        .expect("it ended");
    let mut figures = judge(&events, &handled, &away);
    figures.faults = faults;
    figures.counts = counts;
    figures
}

/// An API key for the feed.
pub async fn reader(server: &Server, admin: &str) -> String {
    let body = json!({"name": "shop", "scopes": ["events.read"]});
    let made = server.api("POST", "/admin/api-keys", Some(body), Some(admin));
    let made = made.await.expect(201).json();
    made["key"].as_str().expect("a key").to_owned()
}

/// Raises events of a few keys until it is told to stop; the server may be away.
async fn write(mut client: Client, writer: usize, stopping: Arc<AtomicBool>) {
    for number in 0.. {
        if stopping.load(Ordering::Relaxed) {
            return;
        }
        let address = format!("k{}@example.org", (number * WRITERS + writer) % KEYS);
        let body = json!({"email": address});
        let asked = client.api("POST", "/password-reset-requests", Some(body), None);
        let wait = if asked.await.is_ok() { 10 } else { 100 };
        sleep(Duration::from_millis(wait)).await;
    }
}

async fn follow(
    feed: Feed,
    kind: &Kind,
    way: &Proxy,
    told: &watch::Sender<At>,
    trusting: bool,
) -> (Vec<Handled>, Counts) {
    let opened = Consumer::open(feed, MemoryStore::default()).await;
    let mut consumer = opened.expect("an empty store");
    kind.join(&mut consumer, way);
    if trusting {
        consumer.trusting();
    }
    let mut handled = Vec::new();
    loop {
        let event = tokio::select! {
            event = consumer.next() => event.expect("the server lets it"),
            () = told.closed() => return (handled, consumer.counts()),
        };
        let recorded = event.json["recordedtime"].as_str().expect("a time");
        let recorded: Time = recorded.parse().expect("a time");
        let late = SystemClock.now().duration_since(recorded);
        handled.push(Handled {
            position: event.position,
            key: event.key().to_owned(),
            late: Duration::try_from(late).unwrap_or_default(),
        });
        // So that something waits at the broker at times.
        sleep(WORK).await;
        consumer.handled().await.expect("kept in memory");
        told.send_replace(At {
            position: consumer.cursor().position,
            counts: consumer.counts(),
            of_broker: consumer.source() == Source::Broker,
        });
    }
}

/// Waits until events come from the broker again.
async fn on_broker(at: &mut watch::Receiver<At>, server: &Server) {
    let before = at.borrow().counts.from_broker;
    let again = at.wait_for(|at| at.of_broker && at.counts.from_broker > before);
    let again = tokio::time::timeout(PATIENCE, again).await.is_ok();
    assert!(again, "never back at the broker: {}", server.output());
}

async fn inflict(fault: Fault, kind: &Kind, ways: [&Proxy; 2], server: &mut Server) {
    let blocking = |act: fn(&Kind)| {
        let kind = kind.clone();
        async move {
            tokio::task::spawn_blocking(move || act(&kind))
                .await
                .unwrap();
        }
    };
    let all = |act: &dyn Fn(&Proxy)| ways.into_iter().for_each(act);
    match fault {
        Fault::Killed => {
            blocking(Broker::kill).await;
            sleep(FAULT).await;
            blocking(Broker::start).await;
        }
        Fault::Frozen | Fault::Stopped => {
            blocking(Broker::freeze).await;
            sleep(if fault == Fault::Stopped {
                STOPPED
            } else {
                2 * FAULT
            })
            .await;
            blocking(Broker::thaw).await;
        }
        Fault::Flushed => blocking(Kind::flush).await,
        Fault::Lossy => blocking(Kind::lose).await,
        Fault::Full => {
            blocking(|kind| kind.fill(true)).await;
            sleep(FAULT).await;
            blocking(|kind| kind.fill(false)).await;
        }
        Fault::Reset => {
            for _ in 0..5 {
                all(&Proxy::reset);
                sleep(FAULT / 5).await;
            }
        }
        Fault::Spoilt => {
            let faults = Faults {
                delayed: 300,
                delay_ms: 50,
                reset: 30,
            };
            all(&|way| way.set(faults));
            sleep(2 * FAULT).await;
            all(&|way| way.set(Faults::default()));
        }
        Fault::Silent => {
            all(&|way| way.silence(true));
            sleep(FAULT).await;
            all(&|way| way.silence(false));
            // What was swallowed leaves streams that nobody can read.
            all(&Proxy::reset);
        }
        Fault::ServerKilled => {
            server.kill().await;
            server.restart().await;
        }
    }
}

/// Waits until the consumer has all that there is, and gives it.
async fn settled(server: &Server, admin: &str, at: &mut watch::Receiver<At>) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let events = server.events(admin).await;
        let reached = at.wait_for(|at| at.position >= events.len() as u64);
        let reached = tokio::time::timeout(Duration::from_secs(5), reached)
            .await
            .is_ok();
        if reached && server.events(admin).await.len() == events.len() {
            return events;
        }
        if began.elapsed() >= PATIENCE {
            return events;
        }
    }
}

fn judge(events: &[Value], handled: &[Handled], away: &[(Time, Time)]) -> Figures {
    let mut figures = Figures {
        events: events.len(),
        ..Figures::default()
    };
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    let mut last: HashMap<&str, u64> = HashMap::new();
    let excused = |event: &Value| {
        let recorded = event["recorded_at"].as_str().unwrap_or_default();
        let recorded: Time = recorded.parse().expect("a time");
        let margin = Duration::from_secs(2);
        away.iter()
            .any(|(from, to)| recorded + margin >= *from && recorded <= *to)
    };
    // What was there before the consumer was old when it came.
    let first = handled
        .iter()
        .position(|event| event.late < Duration::from_millis(500))
        .unwrap_or(0);
    for (index, event) in handled.iter().enumerate() {
        *seen.entry(event.position).or_default() += 1;
        let before = last.insert(&event.key, event.position);
        if before.is_some_and(|before| before > event.position) {
            figures.reordered += 1;
        }
        let place = usize::try_from(event.position - 1).unwrap_or(usize::MAX);
        if index > first && events.get(place).is_some_and(|event| !excused(event)) {
            figures.longest = figures.longest.max(event.late);
        }
    }
    let positions = 1..=events.len() as u64;
    figures.missing = positions
        .filter(|position| !seen.contains_key(position))
        .count();
    figures.repeated = seen.values().filter(|count| **count > 1).count();
    figures
}
