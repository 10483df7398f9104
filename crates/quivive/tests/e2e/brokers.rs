//! Events out to brokers that fail, and what follows them.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quivive_testkit::brokers::Server as _;
use quivive_testkit::experiments::brokers::{self, Kind};
use quivive_testkit::{Options, Server};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::{BINARY, python_with};

#[expect(dead_code, reason = "its `main`, which is for people")]
#[path = "../../examples/consume.rs"]
mod consume;

const README: &str = include_str!("../../../../README.md");
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/shop.py");

/// Each fault once.
const SHORT: Duration = Duration::from_secs(25);
const PATIENCE: Duration = Duration::from_secs(30);

async fn made(start: fn() -> Option<Kind>) -> Option<Kind> {
    tokio::task::spawn_blocking(start).await.unwrap()
}

async fn blocking(kind: &Kind, act: fn(&Kind)) {
    let kind = kind.clone();
    tokio::task::spawn_blocking(move || act(&kind))
        .await
        .unwrap();
}

async fn nothing_is_lost(kind: Option<Kind>) {
    let Some(kind) = kind else {
        return;
    };
    let figures = brokers::run(Path::new(BINARY), &kind, SHORT, false).await;
    println!("{figures}");
    assert!(figures.whole(), "{figures}");
    assert!(figures.counts.from_broker > 100, "{figures}");
    assert!(figures.longest < Duration::from_secs(2), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_misses_nothing_whatever_becomes_of_redis() {
    nothing_is_lost(made(Kind::redis).await).await;
}

/// What the experiment must find.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_takes_whatever_comes_is_caught() {
    let Some(kind) = made(Kind::redis).await else {
        return;
    };
    let few = Duration::from_secs(8);
    let figures = brokers::run(Path::new(BINARY), &kind, few, true).await;
    println!("{figures}");
    assert!(!figures.whole(), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_misses_nothing_whatever_becomes_of_rabbitmq() {
    nothing_is_lost(made(Kind::rabbitmq).await).await;
}

/// Positions and keys, as an example printed them.
type Printed = Arc<Mutex<Vec<(u64, String)>>>;

fn in_rust(way: consume::Way, printed: &Printed, tasks: &mut JoinSet<()>) {
    let printed = Arc::clone(printed);
    tasks.spawn(async move {
        let followed = consume::follow(way, |event| {
            let line = (event.position, event.key().to_owned());
            printed.lock().unwrap().push(line);
        });
        followed.await.unwrap();
    });
}

fn in_python(python: &str, way: &consume::Way, printed: &Printed, tasks: &mut JoinSet<()>) {
    let mut child = Command::new(python)
        .arg(PYTHON)
        .args([&way.server, &way.key, &way.broker, &way.cursor])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let printed = Arc::clone(printed);
    tasks.spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let mut words = line.split(' ');
            let position = words.next().unwrap().parse().unwrap();
            let key = words.next().unwrap().to_owned();
            printed.lock().unwrap().push((position, key));
        }
        drop(child);
    });
}

/// All of the log once, and those of a key in order.
fn whole(who: &str, printed: &Printed, events: &[Value]) {
    let printed = printed.lock().unwrap();
    let mut positions: Vec<_> = printed.iter().map(|(position, _)| *position).collect();
    let mut last = HashMap::new();
    for (position, key) in &*printed {
        let before = last.insert(key, position);
        assert!(before < Some(position), "{who}: {position} of {key} late");
    }
    positions.sort_unstable();
    let all: Vec<_> = (1..=events.len() as u64).collect();
    assert_eq!(positions, all, "{who}");
}

/// Both examples follow a server while its broker is killed.
async fn the_examples_work(kind: Option<Kind>) {
    let Some(kind) = kind else {
        return;
    };
    let python = python_with("requests,redis,pika", "the example in Python").await;
    let options = kind.configured(Options::unlimited(), &kind.url());
    let options = options.env("QUIVIVE__BUS__SERVICES", "shop-rs,shop-py");
    let server = Server::start(BINARY, options).await;
    let admin = server.administrator().await;
    let way = |name: &str| consume::Way {
        server: format!("http://{}", server.address),
        key: String::new(),
        broker: kind.url(),
        cursor: server.data.join(name).display().to_string(),
    };
    let key = brokers::reader(&server, &admin).await;
    let (rust, snake) = (Printed::default(), Printed::default());
    let mut tasks = JoinSet::new();
    let with_key = |way: consume::Way| consume::Way {
        key: key.clone(),
        ..way
    };
    in_rust(with_key(way("rust.cursor")), &rust, &mut tasks);
    let mut all = vec![("rust", &rust)];
    if let Some(python) = &python {
        in_python(python, &with_key(way("python.cursor")), &snake, &mut tasks);
        all.push(("python", &snake));
    }
    for round in 0..3 {
        if round == 1 {
            blocking(&kind, Kind::kill).await;
        }
        for number in 0..5 {
            server
                .register(&format!("a{round}-{number}@example.org"))
                .await;
        }
        if round == 1 {
            blocking(&kind, Kind::start).await;
        }
        sleep(Duration::from_secs(1)).await;
    }
    let began = Instant::now();
    let mut events = server.events(&admin).await;
    let short = |events: &[Value]| {
        let full = |(_, printed): &(&str, &Printed)| printed.lock().unwrap().len() >= events.len();
        !all.iter().all(full)
    };
    while short(&events) && began.elapsed() < PATIENCE {
        sleep(Duration::from_millis(200)).await;
        events = server.events(&admin).await;
    }
    for (who, printed) in all {
        whole(who, printed, &events);
    }
    tasks.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_follow_by_redis() {
    the_examples_work(made(Kind::redis).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_follow_by_rabbitmq() {
    the_examples_work(made(Kind::rabbitmq).await).await;
}

/// The commands of a section, and what it shows of others.
fn section(heading: &str) -> (Vec<String>, Vec<(String, Vec<String>)>) {
    let (_, section) = README.split_once(heading).expect("the section");
    let block = |kind: &str| {
        let (_, block) = section.split_once(kind).expect("its commands");
        block.split_once("```").expect("their end").0
    };
    let commands = block("```sh\n").lines().map(str::to_owned).collect();
    let mut shown: Vec<(String, Vec<String>)> = Vec::new();
    for line in block("```console\n").lines() {
        match line.strip_prefix("$ ") {
            Some(command) => shown.push((command.to_owned(), Vec::new())),
            None => shown.last_mut().unwrap().1.push(line.to_owned()),
        }
    }
    (commands, shown)
}

/// Starts the server as a section says, on a broker of the test's own, and compares what is shown.
async fn as_the_readme_says(heading: &str, kind: Kind, run: fn(&Kind, &str) -> String) {
    let (commands, shown) = section(heading);
    let mut options = Options::default();
    for command in &commands {
        if let Some(exports) = command.strip_prefix("export ") {
            for pair in exports.split(' ') {
                let (name, value) = pair.split_once('=').unwrap();
                let value = match value.split_once("127.0.0.1:") {
                    Some((scheme, rest)) => {
                        let database = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                        format!("{scheme}{}{database}", kind.address())
                    }
                    None => value.to_owned(),
                };
                options = options.env(name, &value);
            }
        } else if command.starts_with("sudo rabbitmqctl") {
            let (kind, command) = (kind.clone(), command.clone());
            let ran = tokio::task::spawn_blocking(move || run(&kind, &command));
            ran.await.unwrap();
        }
    }
    let server = Server::start(BINARY, options).await;
    server.register("ada@example.org").await;
    let began = Instant::now();
    for (command, lines) in shown {
        loop {
            let (kind, asked) = (kind.clone(), command.clone());
            let ran = tokio::task::spawn_blocking(move || run(&kind, &asked));
            let printed = ran.await.unwrap();
            let wanted = lines.iter().map(|line| line.replace('…', ""));
            if wanted.clone().all(|line| printed.contains(&line)) && !printed.is_empty() {
                break;
            }
            let late = began.elapsed() > PATIENCE;
            assert!(!late, "{command}: {printed}\n{}", server.output());
            sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_says_how_with_redis() {
    let Some(kind) = made(Kind::redis).await else {
        return;
    };
    as_the_readme_says("## Redis", kind, |kind, command| {
        let words: Vec<_> = command.split(' ').skip(1).collect();
        let Kind::Redis(redis) = kind else { panic!() };
        redis.ask(&words)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_says_how_with_rabbitmq() {
    let Some(kind) = made(Kind::rabbitmq).await else {
        return;
    };
    as_the_readme_says("## RabbitMQ", kind, |kind, command| {
        let words: Vec<_> = command.split(' ').skip(2).collect();
        let words: Vec<_> = words.iter().map(|word| word.trim_matches('"')).collect();
        let Kind::RabbitMq(rabbit) = kind else {
            panic!()
        };
        rabbit.ctl(&words)
    })
    .await;
}

/// A broker that is not there delays nothing and is told of.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_broker_a_server_serves_and_says_so() {
    let options = Options::unlimited()
        .env("QUIVIVE__BUS__KIND", "redis")
        .env("QUIVIVE__BUS__URL", "redis://127.0.0.1:1");
    let mut server = Server::start(BINARY, options).await;
    server.register("ada@example.org").await;
    let began = Instant::now();
    let relay = loop {
        let health = server.get("/readyz?verbose").await.expect(200).json();
        let all = health["subscriptions"].as_array().unwrap().clone();
        let is_relay = |status: &Value| status["name"] == "relay:broker";
        let relay = all.into_iter().find(is_relay).unwrap();
        if relay["broken"] == true || began.elapsed() > PATIENCE {
            break relay;
        }
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(relay["state"], "broken", "{relay}");
    assert!(relay["lag"].as_u64() > Some(0) && relay["lanes_retrying"] == 0);
    let metrics = server.get("/metrics").await.expect(200).body;
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(
        metrics.contains("quivive_bus_losses_total 0\n"),
        "{metrics}"
    );
    let stopping = Instant::now();
    assert_eq!(server.stop().await, Some(0));
    assert!(stopping.elapsed() < Duration::from_secs(10));
}
