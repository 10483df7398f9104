//! `prove NAME… [--short] [--kills=N] [--step=TEXT] [--minutes=N]`: the long experiments against the release binary, each printing its figures.
//!
//! An experiment with a mutant is also run against a build with the fault in it, and is void when that one passes too.
//! `--kills` is for `delivery-kills`: so many at each step. `--step`: only at those with this text in their name; for `brokers`, with
//! that broker alone, and for `timing`, that question alone, as all of them take an hour.
//! `--minutes` is for `brokers`: so long with each.
//! `--server=PATH` drives this program instead of building one.

#![expect(clippy::print_stdout, reason = "a proof prints its figures")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use quivive_testkit::experiments::{
    brokers, deliveries, fail_over, guesses, hostile_receivers, journey, kills, million_accounts,
    overload, races, revocation, schemathesis, slow_clients, tamper, timing, two_nodes,
    undelivered, writers,
};
use quivive_testkit::{Options, Server};

/// An experiment: what it is called, and the mutant it must catch.
const EXPERIMENTS: [(&str, Option<&str>); 20] = [
    ("journey", None),
    ("tamper", None),
    ("races", None),
    ("guesses", Some("no_guess_limit")),
    ("reset-race", Some("no_fence")),
    ("revocation", Some("deaf_to_ends")),
    ("kills", Some("no_recovery")),
    ("undelivered", None),
    (DELIVERY_KILLS, None),
    (BROKERS, None),
    ("webhook-kills", None),
    ("hostile-receivers", None),
    ("slow-clients", None),
    ("overload", None),
    ("million-accounts", None),
    ("schemathesis", None),
    ("timing", None),
    (TWO_NODES, None),
    (WRITERS, None),
    (FAIL_OVER, None),
];

const DELIVERY_KILLS: &str = "delivery-kills";

/// These want PostgreSQL, and start what they need. The last two have their mutants beside them.
const TWO_NODES: &str = "two-nodes-races";
const WRITERS: &str = "writers";
const FAIL_OVER: &str = "fail-over";

const SKIPPED: &str = "skipped, there is no PostgreSQL here";

const BROKERS: &str = "brokers";

/// As the first argument: this is the process that `delivery-kills` kills.
const SERVE: &str = "serve-and-die";

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some((SERVE, rest)) = args
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        deliveries::serve(rest).await;
        return ExitCode::SUCCESS;
    }
    let (flags, mut wanted): (Vec<String>, Vec<String>) =
        args.into_iter().partition(|a| a.starts_with("--"));
    let short = flags.iter().any(|flag| flag == "--short");
    if wanted.iter().any(|name| name == "all") {
        wanted = EXPERIMENTS
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
    }
    let known: Vec<&str> = EXPERIMENTS.iter().map(|(name, _)| *name).collect();
    if wanted.is_empty() || wanted.iter().any(|name| !known.contains(&name.as_str())) {
        println!(
            "usage: prove [--short] [--kills=N] [--step=TEXT] [--minutes=N] [--server=PATH] all | NAME…, where NAME is one of: {}",
            known.join(", ")
        );
        return ExitCode::from(2);
    }
    let step = given(&flags, "--step=").unwrap_or_default();
    let (mut binary, mut mutant) = (given(&flags, "--server=").map(PathBuf::from), None);
    for (name, fault) in EXPERIMENTS
        .iter()
        .filter(|(name, _)| wanted.iter().any(|w| w == name))
    {
        if *name == DELIVERY_KILLS {
            println!("{name}: {}", delivery_kills(&flags, short).await);
            continue;
        }
        let size = |small: usize, large: usize| if short { small } else { large };
        if *name == WRITERS {
            let held = Duration::from_secs(size(3, 30) as u64);
            let line = writers::run(size(10, 200), held).await;
            println!("{name}: {}", line.as_deref().unwrap_or(SKIPPED));
            continue;
        }
        let binary = binary.get_or_insert_with(|| build(false));
        if *name == TWO_NODES {
            let line = two_nodes::run(binary, size(10, 1_000)).await;
            println!("{name}: {}", line.as_deref().unwrap_or(SKIPPED));
            continue;
        }
        if *name == FAIL_OVER {
            if !fail_over(binary, size(3, 100), !short).await {
                return ExitCode::FAILURE;
            }
            continue;
        }
        if *name == BROKERS {
            if !brokers(binary, &flags, short).await {
                return ExitCode::FAILURE;
            }
            continue;
        }
        println!("{name}: {}", run(name, binary, None, short, step).await);
        if let Some(fault) = fault {
            let mutant = mutant.get_or_insert_with(|| build(true)).clone();
            let caught = caught(name, mutant, fault, short).await;
            if !caught {
                println!("{name}: VOID, the mutant {fault} lives");
                return ExitCode::FAILURE;
            }
            println!("{name}: the mutant {fault} is caught");
        }
    }
    println!("{} passed, 0 failed", wanted.len());
    ExitCode::SUCCESS
}

/// What stands behind this in one of the flags.
fn given<'a>(flags: &'a [String], name: &str) -> Option<&'a str> {
    flags.iter().find_map(|flag| flag.strip_prefix(name))
}

/// Kills this program itself, which serves as one that embeds the server.
async fn delivery_kills(flags: &[String], short: bool) -> String {
    let kills = given(flags, "--kills=").map(|it| it.parse().expect("--kills is a number"));
    let kills = kills.unwrap_or(if short { 4 } else { 200 });
    let program = deliveries::Program {
        path: std::env::current_exe().expect("this program has a path"),
        arg: SERVE,
    };
    let step = given(flags, "--step=").unwrap_or_default();
    deliveries::run(&program, kills, 7, step).await
}

/// With a standby that commits wait for; and then the mutant: with one that nothing waits for. Says whether all held.
async fn fail_over(binary: &Path, rounds: usize, patient: bool) -> bool {
    let Some(figures) = fail_over::run(binary, rounds, true, patient).await else {
        println!("{FAIL_OVER}: {SKIPPED}");
        return true;
    };
    println!("{FAIL_OVER}: {figures}");
    if !figures.whole() {
        return false;
    }
    let mutant = fail_over::run(binary, 2, false, false).await;
    let lost = mutant.map_or(0, |figures| figures.lost.len());
    if lost == 0 {
        println!("{FAIL_OVER}: VOID, a standby that nothing waits for loses nothing");
        return false;
    }
    println!(
        "{FAIL_OVER}: a standby that nothing waits for is caught: {lost} times something acknowledged was gone"
    );
    true
}

/// Each broker that is installed, and then the mutant: a consumer that takes whatever comes. Says whether all held.
async fn brokers(binary: &Path, flags: &[String], short: bool) -> bool {
    let minutes = given(flags, "--minutes=").map(|it| it.parse().expect("--minutes is a number"));
    let length = match minutes {
        Some(minutes) => Duration::from_mins(minutes),
        None if short => Duration::from_secs(25),
        None => Duration::from_mins(30),
    };
    let step = given(flags, "--step=").unwrap_or_default();
    for (what, start) in [
        ("redis", brokers::Kind::redis as fn() -> _),
        ("rabbitmq", brokers::Kind::rabbitmq),
    ] {
        if !what.contains(step) {
            continue;
        }
        let made = tokio::task::spawn_blocking(start).await;
        let Some(kind) = made.expect("it starts") else {
            continue;
        };
        let figures = brokers::run(binary, &kind, length, false).await;
        println!("{BROKERS}, {what}: {figures}");
        if !figures.whole() {
            return false;
        }
        // Queues lose nothing that their consumer was not to read from the log anyway: it is cut off when they do.
        if what == "rabbitmq" {
            continue;
        }
        let few = Duration::from_secs(25);
        let figures = brokers::run(binary, &kind, few, true).await;
        if figures.whole() {
            println!("{BROKERS}, {what}: VOID, a consumer that takes whatever comes lives");
            return false;
        }
        println!("{BROKERS}, {what}: a consumer that takes whatever comes is caught");
    }
    true
}

/// Builds the server and gives its path. A mutant is built apart, so that neither replaces the other.
fn build(mutants: bool) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = root.join(if mutants { "target/mutants" } else { "target" });
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(&root)
        .args(["build", "--quiet", "--release", "-p", "quivive"])
        // As it is released: so that it need not be built twice.
        .args([
            "--features",
            if mutants {
                "mutants"
            } else {
                "postgres,redis,rabbitmq"
            },
        ]);
    if mutants {
        command
            .args(["--config", "profile.release.lto=false", "--target-dir"])
            .arg(&target);
    }
    let status = command.stdin(Stdio::null()).status().expect("cargo runs");
    assert!(status.success(), "the server does not build");
    target.join("release/quivive")
}

/// Whether the experiment fails on a build with the fault in it.
async fn caught(name: &'static str, binary: PathBuf, fault: &'static str, short: bool) -> bool {
    std::panic::set_hook(Box::new(|_| {}));
    let mut attempt = tokio::task::JoinSet::new();
    attempt.spawn(async move { run(name, &binary, Some(fault), short, "").await });
    let outcome = attempt.join_next().await;
    drop(std::panic::take_hook());
    outcome.is_some_and(|outcome| outcome.is_err())
}

async fn run(name: &str, binary: &Path, mutant: Option<&str>, short: bool, step: &str) -> String {
    // Receivers are on this machine.
    let mut options = Options::unlimited()
        .env("QUIVIVE__LOG__LEVEL", "warn")
        .env("QUIVIVE__WEBHOOKS__ALLOW_NETWORKS", "127.0.0.0/8");
    if let Some(fault) = mutant {
        options = options.env("QUIVIVE_MUTANT", fault);
    }
    if name == "overload" {
        options = overload::options(options);
    }
    let mut server = Server::start(binary, options).await;
    let size = |small: usize, large: usize| if short { small } else { large };
    match name {
        "journey" => journey::run(&mut server, &journey::Mailbox).await,
        "tamper" => {
            server.administrator().await;
            server.register("tampered@example.org").await;
            server.stop().await;
            tamper::run(&server).await
        }
        "races" => races::once_each(&server, 50).await,
        "guesses" => guesses::run(&server, 200).await,
        "reset-race" => races::login_against_reset(&server, size(40, 200)).await,
        "revocation" => {
            let figures = revocation::run(&server, size(2, 20), 1_000).await;
            assert!(figures.rate >= 900.0, "the load was not kept: {figures}");
            figures.to_string()
        }
        "kills" => {
            let (breaches, line) = kills::run(&mut server, size(15, 200), 7).await;
            assert!(
                breaches.is_empty(),
                "{} breaches, e.g. {:?}",
                breaches.len(),
                breaches.first()
            );
            line
        }
        "undelivered" => undelivered::run(&mut server, size(50_000, 1_000_000) as u64).await,
        "webhook-kills" => deliveries::webhooks::run(&mut server, size(20, 200), 7).await,
        "hostile-receivers" => {
            let figures = hostile_receivers::run(&server, size(1, 9), size(100, 250)).await;
            // Few messages say little: a hundredth of them is one slow sync.
            assert!(
                short || figures.ratio() <= 1.2,
                "they delay others: {figures}"
            );
            figures.to_string()
        }
        "schemathesis" => schemathesis::run(&server, size(10, 100)).await,
        "overload" => {
            let size = if short {
                overload::Size::SHORT
            } else {
                overload::Size::LONG
            };
            overload::run(&server, &size).await.to_string()
        }
        "million-accounts" => million(binary, &server, short).await,
        "slow-clients" => {
            let figures = slow_clients::run(&server, size(2_000, 10_000), size(200, 1_000)).await;
            let bounded =
                figures.slowest < Duration::from_secs(3) && figures.grown_kib < 400 * 1_024;
            assert!(bounded, "they stop others: {figures}");
            figures.to_string()
        }
        _ => {
            let pairs = size(60, 1_000);
            let mut figures = timing::run(&server, pairs, false, step).await;
            if !short {
                server.stop().await;
                let fresh = Options::unlimited().env("QUIVIVE__LOG__LEVEL", "warn");
                let server = Server::start(binary, fresh).await;
                let busy = timing::run(&server, pairs, true, step).await;
                figures.extend(busy.into_iter().map(|it| timing::Figure {
                    name: format!("{} at half load", it.name),
                    ..it
                }));
            }
            let lines = figures.iter().map(|f| {
                format!(
                    "{} AUC {:.3} ± {:.3} over {} pairs",
                    f.name, f.auc, f.margin, f.pairs
                )
            });
            let line = lines.collect::<Vec<_>>().join(", ");
            // Few pairs say little, and of many figures one is always odd: what counts against a handful is what is beyond
            // three standard errors.
            let allowed = |f: &timing::Figure| match f.pairs {
                1_000.. => 0.55,
                200.. => 0.60,
                _ => 0.55 + f.margin * 1.5,
            };
            let even = figures.iter().all(|f| {
                let sure = f.pairs < 1_000 || f.auc + f.margin < 0.58;
                f.auc <= allowed(f) && sure
            });
            assert!(even, "told apart: {line}");
            line
        }
    }
}

/// Beside a server with few accounts another with many.
async fn million(binary: &Path, few: &Server, short: bool) -> String {
    let fresh = Options::unlimited().env("QUIVIVE__LOG__LEVEL", "warn");
    let many = Server::start(binary, fresh).await;
    // Half a second says little.
    let (users, turn_ms, part) = if short {
        (20_000, 500, 0.3)
    } else {
        (1_000_000, 5_000, 0.1)
    };
    let turn = Duration::from_millis(turn_ms);
    let figures = million_accounts::run(few, &many, users, turn).await;
    assert!(figures.hold(part), "not as with few: {figures}");
    figures.to_string()
}
