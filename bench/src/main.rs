//! Figures as ratios to a limit measured in the same run.
//!
//! `cargo run --release -p bench -- [--json] [--short] [NAME…]`; `--short` is for `growth`, whose log is large. The load
//! generator, the server and the limits run on the same machine and the same cores, one after the other, unless a measure says
//! otherwise; a ratio says how much of what the machine can do is left to the caller.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::print_stderr,
    reason = "a measurement that cannot go on says so by panicking, and prints its figures"
)]

mod brokers;
mod delivery;
mod imports;
mod limits;
mod logins;
mod postgres;
mod process;
mod reads;
mod refresh_statements;
mod refreshes;
mod store;
mod subscriptions;
mod tokens;
mod trouble;
mod webhooks;

use std::path::PathBuf;
use std::time::Duration;

// The server's: what is measured in this process allocates as it does there, and so do the limits.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One figure.
struct Measure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// What the machine could do at best, or what may be spent at most.
    limit: f64,
    ratio: f64,
}

impl Measure {
    /// A rate, against the highest possible.
    fn rate(name: &'static str, value: f64, unit: &'static str, limit: f64) -> Self {
        let ratio = value / limit;
        Self {
            name,
            value,
            unit,
            limit,
            ratio,
        }
    }
}

/// How long each load runs.
const LOAD: Duration = Duration::from_secs(6);

/// A line of JSON for each measure; less of what takes long.
const FLAGS: [&str; 2] = ["--json", "--short"];

/// All measures, each with the group that produces it.
const NAMES: [(&str, &str); 32] = [
    ("login-1", "logins"),
    ("login-16", "logins"),
    ("login-64", "logins"),
    ("login-memory", "logins"),
    ("refresh", "refresh"),
    ("commit-with-events", "commit"),
    ("delivery", "delivery"),
    ("delivery-latency", "delivery"),
    ("stuck-keys", "stuck-keys"),
    ("fan-out", "fan-out"),
    ("append-with-subscribers", "append-with-subscribers"),
    ("idle-endpoints", "idle-endpoints"),
    ("redrive", "redrive"),
    ("webhooks", "webhooks"),
    ("webhooks-ed25519", "webhooks"),
    ("growth", "growth"),
    ("token-check", "tokens"),
    ("token-check-cached", "tokens"),
    ("reads-beside-logins", "reads"),
    ("import", "import"),
    ("pg-login-1", "pg-logins"),
    ("pg-login-16", "pg-logins"),
    ("pg-login-32", "pg-logins"),
    ("pg-refresh", "pg-refresh"),
    ("pg-sequencer", "pg-sequencer"),
    ("pg-take-over", "pg-take-over"),
    ("redis-relay", "redis"),
    ("rabbitmq-relay", "rabbitmq"),
    ("start", "process"),
    ("idle-memory", "process"),
    ("idle-memory-after", "logins"),
    ("binary", "process"),
];

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((webhooks::bare::NAME, rest)) =
        arguments.split_first().map(|(a, b)| (a.as_str(), b))
    {
        webhooks::bare::run(rest).await;
        return std::process::ExitCode::SUCCESS;
    }
    let (flags, wanted): (Vec<String>, Vec<String>) =
        arguments.into_iter().partition(|a| a.starts_with("--"));
    let json = flags.iter().any(|flag| flag == "--json");
    let is_known = |argument: &String| {
        FLAGS.contains(&argument.as_str()) || NAMES.iter().any(|(name, _)| name == argument)
    };
    if let Some(unknown) = flags.iter().chain(&wanted).find(|a| !is_known(a)) {
        let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        println!(
            "there is no {unknown}; there are {}, and the measures {}",
            FLAGS.join(", "),
            known.join(", ")
        );
        return std::process::ExitCode::from(2);
    }
    let asked = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    let group = |group: &str| NAMES.iter().any(|(name, g)| *g == group && asked(name));
    let binary = built();
    let mut measures = Vec::new();
    if group("process") {
        measures.extend(process::measure(&binary).await);
    }
    if group("logins") {
        measures.extend(logins::measure(&binary, asked("idle-memory-after")).await);
    }
    if group("refresh") {
        measures.extend(refreshes::measure(&binary).await);
    }
    if group("commit") {
        measures.extend(store::measure().await);
    }
    if group("delivery") {
        measures.extend(delivery::measure().await);
    }
    if group("stuck-keys") {
        measures.push(subscriptions::stuck_keys().await);
    }
    if group("fan-out") {
        measures.push(subscriptions::fan_out().await);
    }
    if group("append-with-subscribers") {
        measures.push(subscriptions::append_with_subscribers().await);
    }
    if group("idle-endpoints") {
        measures.push(trouble::idle_endpoints().await);
    }
    if group("redrive") {
        measures.push(trouble::redrive().await);
    }
    if group("webhooks") {
        measures.extend(webhooks::measure(&binary).await);
    }
    if group("reads") {
        measures.push(reads::measure(&binary).await);
    }
    if group("tokens") {
        measures.extend(tokens::measure(&binary).await);
    }
    if group("import") {
        measures.push(imports::measure(&binary).await);
    }
    if group("pg-logins") {
        measures.extend(postgres::logins(&binary).await.into_iter().flatten());
    }
    if group("pg-refresh") {
        measures.extend(postgres::refreshes(&binary).await);
    }
    if group("pg-sequencer") {
        measures.extend(postgres::sequencer().await);
    }
    if group("pg-take-over") {
        measures.extend(postgres::take_over(&binary).await);
    }
    if group("redis") {
        measures.extend(brokers::redis().await);
    }
    if group("rabbitmq") {
        measures.extend(brokers::rabbitmq().await);
    }
    if group("growth") {
        let short = flags.iter().any(|flag| flag == "--short");
        measures.push(subscriptions::growth(short).await);
    }
    for measure in measures.iter().filter(|m| asked(m.name)) {
        show(measure, json);
    }
    std::process::ExitCode::SUCCESS
}

fn show(measure: &Measure, json: bool) {
    let Measure {
        name,
        value,
        unit,
        limit,
        ratio,
    } = measure;
    if json {
        let line = serde_json::json!({"name": name, "value": value, "unit": unit, "limit": limit, "ratio": ratio});
        println!("{line}");
    } else {
        println!("{name:20} {value:12.2} {unit:12} of {limit:12.2}   ratio {ratio:.3}");
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// The server's binary: beside this one.
fn built() -> PathBuf {
    let here = std::env::current_exe().expect("this program has a path");
    let binary = here.with_file_name("quivive");
    assert!(
        binary.exists(),
        "build it first: cargo build --release ({} is missing)",
        binary.display()
    );
    binary
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
