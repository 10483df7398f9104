//! What only one place may do, held by reading the sources of all crates. Tests and what is made for them are left out.

use std::fs;
use std::path::PathBuf;

use super::{files, here};

/// A source file: its path below `crates`, and its lines of code with their numbers.
struct Source {
    path: String,
    lines: Vec<(usize, String)>,
}

fn is_for_tests(path: &str) -> bool {
    ["/tests/", "/testing/", "testkit/"]
        .iter()
        .any(|part| path.contains(part))
        || ["/tests.rs", "/testing.rs", "/fakes.rs"]
            .iter()
            .any(|end| path.ends_with(end))
}

/// Everything that runs in the product: up to the tests at the end of each file, without comments.
fn sources() -> Vec<Source> {
    let crates = here().join("..");
    let sources = fs::read_dir(&crates)
        .expect("the crates")
        .map(|entry| entry.expect("readable").path().join("src"));
    let rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let source = |file: PathBuf| {
        let path = file
            .strip_prefix(&crates)
            .expect("below it")
            .display()
            .to_string();
        let text = fs::read_to_string(&file).expect("UTF-8");
        let product = text
            .split("\n#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        let code = |line: &(usize, String)| !line.1.trim_start().starts_with("//");
        let lines = product
            .lines()
            .map(str::to_owned)
            .enumerate()
            .map(|(at, line)| (at + 1, line));
        Source {
            lines: lines.filter(code).collect(),
            path,
        }
    };
    let all = sources
        .flat_map(|folder| files(&folder))
        .filter(rust)
        .map(source);
    let product: Vec<_> = all.filter(|source| !is_for_tests(&source.path)).collect();
    assert!(
        product.len() > 50,
        "the sources are where they are looked for"
    );
    product
}

/// Where a line of the product has one of these words, other than in the places where it may be.
fn elsewhere(words: &[&str], places: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut at_home = 0;
    for source in sources() {
        let allowed = places.iter().any(|place| source.path.starts_with(place));
        for (number, line) in &source.lines {
            if words.iter().any(|word| line.contains(word)) {
                if allowed {
                    at_home += 1;
                } else {
                    found.push(format!("{}:{number}: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert!(
        at_home > 0,
        "{words:?} is nowhere: the gate looks for the wrong word"
    );
    found
}

#[track_caller]
fn only_in(words: &[&str], places: &[&str]) {
    let found = elsewhere(words, places);
    assert!(
        found.is_empty(),
        "{words:?} belongs to {places:?} alone:\n{}",
        found.join("\n")
    );
}

#[test]
fn events_are_appended_by_the_kernel_and_the_engine_alone() {
    only_in(
        &["Appender::new("],
        &[
            "app/src/kernel/execute.rs",
            "delivery/src/engine/",
            "delivery/src/fakes/",
            "quivive/src/",
        ],
    );
}

/// What strangers choose is called by one place, which looks at every address first. Of the others one asks this machine how
/// it is, one is another program's, which reads the feed of the server that its configuration names, and two go to the
/// brokers that the configuration names.
#[test]
fn one_place_calls_out_over_http() {
    only_in(
        &[
            "client::conn",
            "TcpStream::connect",
            "lookup_host",
            "reqwest",
        ],
        &[
            "outbound/src/http",
            "quivive/src/cli/healthcheck.rs",
            "consumer/src/feed/http.rs",
            "tls/src/rabbitmq.rs",
            "tls/src/redis.rs",
        ],
    );
}

#[test]
fn sessions_are_minted_in_one_place() {
    only_in(
        &["insert_session("],
        &[
            "app/src/sessions.rs",
            "app/src/ports/sessions.rs",
            "store/src/sessions.rs",
        ],
    );
}

#[test]
fn access_tokens_are_judged_in_one_place() {
    only_in(
        &["access_tokens.verify(", "tokens.verify("],
        &["app/src/access/verified.rs"],
    );
}

/// Case is folded where addresses and passwords are read, and where a name of our own is compared; nowhere with an address.
#[test]
fn addresses_are_canonical_by_one_function() {
    let folds = [
        "to_lowercase",
        "to_ascii_lowercase",
        "make_ascii_lowercase",
        "eq_ignore_ascii_case",
        "to_uppercase",
    ];
    let found = elsewhere(&folds, &["domain/src/address.rs", "domain/src/password.rs"]);
    let of_an_address = |line: &&String| {
        let line = line.to_lowercase();
        ["email", "address", "canonical", "typed"]
            .iter()
            .any(|word| line.contains(word))
    };
    let found: Vec<_> = found.iter().filter(of_an_address).collect();
    assert!(
        found.is_empty(),
        "Address::parse is the one canonicaliser: {found:#?}"
    );
    only_in(
        &["fn canonical_local(", "fn canonical_domain("],
        &["domain/src/address.rs"],
    );
    only_in(
        &["Address::stored("],
        &["domain/src/address.rs", "store/src/"],
    );
}

#[test]
fn one_time_tokens_are_verified_in_one_place() {
    only_in(
        &[".has_mac("],
        &["app/src/one_time.rs", "domain/src/one_time.rs"],
    );
}

#[test]
fn workflows_hold_no_clock_no_randomness_and_no_log() {
    for source in sources()
        .iter()
        .filter(|source| source.path.starts_with("app/src/workflows/"))
    {
        for (number, line) in &source.lines {
            for word in [
                "clock.now()",
                "Instant::now",
                "ids.random(",
                "log.commit(",
                "Transaction",
                "sleep(",
            ] {
                assert!(
                    !line.contains(word),
                    "{}:{number}: {}",
                    source.path,
                    line.trim()
                );
            }
        }
    }
}
