//! A server whose database is on PostgreSQL, also where the other tests have theirs in a file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quivive_testkit::certificates::Authority;
use quivive_testkit::experiments::check;
use quivive_testkit::postgres::{Cluster, Database, NETWORK_PASSWORD};
use quivive_testkit::{Options, PASSWORD, Server};
use serde_json::{Value, json};

use crate::support::{BINARY, post};

const SETTING: &str = "QUIVIVE__DATABASE__URL";

async fn start(database: &Database) -> Server {
    let options = Options::unlimited().env(SETTING, &database.url());
    Server::start(BINARY, options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_lives_on_postgres_and_survives_its_own_end() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = cluster.database();
    let mut server = start(&database).await;
    let admin = server.administrator().await;
    server.register("ada@example.org").await;
    // Of what was answered everything is in the feed, without waiting.
    let login = server.login("ada@example.org", PASSWORD).await;
    let events = server.events(&admin).await;
    let session = &login["session_id"];
    let made = |event: &Value| {
        event["type"] == "session.created" && event["data"]["session_id"] == *session
    };
    assert!(events.iter().any(made), "{events:?}");
    server.kill().await;
    server.restart().await;
    let token = login["access_token"].as_str();
    server.api("GET", "/me", None, token).await.expect(200);
    assert_eq!(server.verify().await["ok"], true, "beside a running server");
    check::whole(&server.events(&admin).await);
    let (code, _, err) = server.cli(&["backup", "/tmp/nowhere"], "").await;
    assert_eq!(code, Some(78), "{err}");
    assert!(
        err.contains("on PostgreSQL") && err.contains("pg_dump"),
        "{err}"
    );
    assert_eq!(server.stop().await, Some(0));
    assert_eq!(server.verify().await["ok"], true);
    assert!(!server.data.join("quivive.db").exists());
}

/// By network and in TLS; the authority is one that only `database.ca_file` knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_speaks_tls_with_its_database_or_does_not_start() {
    let Some(authority) = Authority::new() else {
        return;
    };
    let Some(cluster) = Cluster::encrypted(&authority.issue()) else {
        return;
    };
    let database = cluster.database();
    let options = |host: &str| {
        let url = cluster.network_url(host, &database.name);
        Options::unlimited().env(SETTING, &url)
    };
    let trusting = |host: &str| {
        let file = authority.file().display().to_string();
        options(host).env("QUIVIVE__DATABASE__CA_FILE", &file)
    };
    let mut server = Server::start(BINARY, trusting("localhost")).await;
    server.register("ada@example.org").await;
    let login = server.login("ada@example.org", PASSWORD).await;
    let token = login["access_token"].as_str();
    let me = server.api("GET", "/me", None, token).await;
    let me = me.expect(200).json();
    assert_eq!(me["email"], "ada@example.org");
    assert_eq!(server.stop().await, Some(0));

    for (options, told) in [
        (
            options("localhost"),
            ["signed by nobody who is trusted", "database.ca_file"],
        ),
        (trusting("127.0.0.1"), ["not for 127.0.0.1", "database.url"]),
    ] {
        let mut server = Server::unstarted(BINARY, options);
        server.spawn();
        assert_eq!(server.wait(Duration::from_secs(20)).await, Some(69));
        let said = server.output();
        assert!(told.iter().all(|told| said.contains(told)), "{said}");
        assert!(!said.contains(NETWORK_PASSWORD), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_the_answer_is_503_and_then_everything_goes_on() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let database = cluster.database();
    let mut server = start(&database).await;
    let admin = server.administrator().await;
    server.register("ada@example.org").await;
    halt(&cluster).await;
    let body = || json!({"email": "ada@example.org", "password": PASSWORD});
    let reply = post(&server, "/sessions", body()).await;
    assert_eq!(reply.status, 503, "{}", reply.code());
    assert!(reply.header("retry-after").is_some());
    resume(&cluster).await;
    let began = Instant::now();
    while post(&server, "/sessions", body()).await.status != 200 {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{}",
            server.output()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Letters go on, too.
    server.register("bob@example.org").await;
    check::whole(&server.events(&admin).await);
    assert_eq!(server.stop().await, Some(0));
    assert_eq!(server.verify().await["ok"], true);
}

async fn halt(cluster: &Arc<Cluster>) {
    let cluster = Arc::clone(cluster);
    tokio::task::spawn_blocking(move || cluster.halt())
        .await
        .unwrap();
}

async fn resume(cluster: &Arc<Cluster>) {
    let cluster = Arc::clone(cluster);
    tokio::task::spawn_blocking(move || cluster.resume())
        .await
        .unwrap();
}

/// The commands of the README's section, on a server of the test's own.
#[tokio::test(flavor = "multi_thread")]
async fn the_readme_says_how() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let readme = include_str!("../../../../README.md");
    let (_, section) = readme.split_once("## On PostgreSQL").expect("the section");
    let (_, script) = section.split_once("```sh\n").expect("its commands");
    let (script, _) = script.split_once("```").expect("their end");
    let mut url = None;
    for line in script.lines() {
        let command = line.split(" #").next().unwrap_or(line).trim();
        if let Some(made) = command.strip_prefix("sudo -u postgres ") {
            // Its own user is who runs the test; the tests' server knows another.
            let words: Vec<_> = made
                .replace("$USER", "ada")
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            let words: Vec<_> = words.iter().map(|word| word.trim_matches('"')).collect();
            cluster.run(words[0], &words[1..]);
        } else if let Some((_, named)) = command.split_once("--database ") {
            url = Some(named.trim_matches('"').to_owned());
        }
    }
    let url = url.expect("a server is started");
    let (_, directory) = url.split_once("?host=").expect("a socket's directory");
    let own = cluster.url("quivive");
    let (_, own_directory) = own.split_once("?host=").unwrap();
    let url = url.replace(directory, &format!("{own_directory}&user=ada"));
    let server = Server::start(BINARY, Options::default().env(SETTING, &url)).await;
    server.register("ada@example.org").await;
    assert_eq!(server.verify().await["ok"], true);
}
