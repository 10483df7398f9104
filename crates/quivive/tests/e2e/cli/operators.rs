//! Commands beside a running server, and without one: the same answers, through the same kernel.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use quivive_testkit::Server;
use quivive_testkit::postgres::servers;
use serde_json::Value;

use super::mode;
use crate::support::{BINARY, in_a_file, server};

fn lines(out: &str) -> Vec<Value> {
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn told(server: &Server, args: &[&str]) -> String {
    let (code, out, err) = server.cli(args, "").await;
    assert_eq!(code, Some(0), "{args:?}: {err}");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_is_the_feed_with_a_server_and_without() {
    let mut server = server().await;
    let admin = server.administrator().await;
    server.register("tail@example.org").await;
    let feed = server.events(&admin).await;
    let all = ["events", "tail", "--after", "0", "--output", "json"];
    let beside = lines(&told(&server, &all).await);
    let positions = |events: &[Value]| {
        events
            .iter()
            .map(|event| event["position"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let shared = feed.len().min(beside.len());
    assert_eq!(positions(&feed)[..shared], positions(&beside)[..shared]);
    assert!(beside.len() >= feed.len());
    for (event, same) in feed.iter().zip(&beside) {
        for field in [
            "id",
            "type",
            "time",
            "subject",
            "workflow_id",
            "actor",
            "data",
            "category",
            "priority",
        ] {
            assert_eq!(event[field], same[field], "{field} of {event}");
        }
    }
    let out = told(
        &server,
        &[
            "events",
            "tail",
            "--type",
            "UserRegistrationSucceeded",
            "--output",
            "json",
        ],
    )
    .await;
    assert_eq!(lines(&out).len(), 1, "{out}");
    assert!(
        !out.contains("tail@example.org"),
        "personal fields stay sealed: {out}"
    );
    for (option, field) in [
        ("--workflow-id", "workflow_id"),
        ("--correlation-id", "correlation_id"),
        ("--subject", "subject"),
    ] {
        let wanted = lines(&out)[0][field].as_str().unwrap().to_owned();
        let args = [
            "events", "tail", "--after", "0", option, &wanted, "--output", "json",
        ];
        let found = positions(&lines(&told(&server, &args).await));
        let same = feed.iter().filter(|event| event[field] == *wanted);
        let same = positions(&same.cloned().collect::<Vec<_>>());
        assert!(same.len() > 1 && same.len() < feed.len(), "{field}");
        assert_eq!(found[..same.len()], same, "{field}");
    }
    let id = lines(&out)[0]["id"].as_str().unwrap().to_owned();
    let shown: Value =
        serde_json::from_str(&told(&server, &["events", "show", &id, "--output", "json"]).await)
            .unwrap();
    assert_eq!(shown["id"], Value::from(id.clone()));
    let email = shown["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .find(|delivery| delivery["subscription"] == "email");
    assert!(
        email.is_some_and(|delivery| delivery["state"] == "done" || delivery["state"] == "waiting"),
        "{shown}"
    );

    assert_eq!(server.stop().await, Some(0));
    let alone = lines(&told(&server, &all).await);
    assert_eq!(alone[..beside.len()], beside[..]);
    assert!(told(&server, &["events", "tail"]).await.lines().count() <= 20);
    let shown: Value =
        serde_json::from_str(&told(&server, &["events", "show", &id, "--output", "json"]).await)
            .unwrap();
    assert!(shown["deliveries"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_tail_tells_what_comes_and_ends_with_the_server() {
    let mut server = server().await;
    let mut child = Command::new(BINARY)
        .args([
            "events",
            "tail",
            "--follow",
            "--type",
            "operator.*",
            "--data-dir",
        ])
        .arg(&server.data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
    server.administrator().await;
    let first = printed.next().unwrap().unwrap();
    let second = printed.next().unwrap().unwrap();
    assert!(first.contains("operator.bootstrap.attempted"), "{first}");
    assert!(second.contains("operator.bootstrap.succeeded"), "{second}");
    assert_eq!(
        server.stop().await,
        Some(0),
        "a follower does not hold it up"
    );
    let status = tokio::task::spawn_blocking(move || child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(69));
}

/// As many as the server has places; what they follow has come once and does not come again.
#[tokio::test(flavor = "multi_thread")]
async fn followers_that_went_away_leave_their_places() {
    let server = server().await;
    server.administrator().await;
    let call = b"{\"call\":\"tail\",\"follow\":true,\"after\":0,\"criteria\":[[\"type\",\"operator.bootstrap.succeeded\"]]}\n";
    let mut followers = Vec::new();
    for _ in 0..16 {
        let mut stream = UnixStream::connect(server.data.join("control.sock")).unwrap();
        stream.write_all(call).unwrap();
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.contains("operator.bootstrap.succeeded"), "{first}");
        followers.push(lines);
    }
    let mut next = UnixStream::connect(server.data.join("control.sock")).unwrap();
    next.write_all(call).unwrap();
    next.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let waits = next.read(&mut [0]).unwrap_err().kind();
    assert_eq!(waits, ErrorKind::WouldBlock, "all places are taken");
    drop(followers);
    next.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    assert_eq!(next.read(&mut [0]).unwrap(), 1, "one is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_socket_is_private_and_a_stale_one_is_no_harm() {
    let mut server = server().await;
    let socket = server.data.join("control.sock");
    assert_eq!(mode(&socket), 0o600);
    server.kill().await;
    assert!(socket.exists(), "kill -9 leaves it behind");
    // Nobody listens there: the command opens the data itself.
    told(&server, &["events", "tail"]).await;
    server.restart().await;
    assert_eq!(mode(&socket), 0o600);
    server.administrator().await;
    assert_eq!(server.stop().await, Some(0));
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_with_a_long_path_has_a_control_socket_too() {
    let home = super::Home::new();
    let data = home.path(&"long/".repeat(30));
    std::fs::create_dir_all(&data).unwrap();
    let options = quivive_testkit::Options {
        data: Some(data),
        ..quivive_testkit::Options::default()
    };
    let mut server = Server::start(BINARY, options).await;
    server.administrator().await;
    assert_eq!(server.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_log_does_not_verify() {
    if !in_a_file("a byte of the file") {
        return;
    }
    let mut server = server().await;
    server.administrator().await;
    assert_eq!(server.verify().await["ok"], true, "beside a running server");
    assert_eq!(server.stop().await, Some(0));
    let whole = server.verify().await;
    assert_eq!(
        (&whole["ok"], &whole["checkpoints"]),
        (&Value::from(true), &Value::from(0))
    );
    assert!(whole.get("first_bad_position").is_none());
    // One byte of one event, where it lies.
    let path = server.data.join("quivive.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let word = b"operator.bootstrap.succeeded";
    let at = bytes
        .windows(word.len())
        .position(|window| window == word)
        .expect("it is in the file");
    bytes[at] = b'0';
    std::fs::write(&path, bytes).unwrap();
    let (code, out, _) = server
        .cli(&["audit", "verify", "--output", "json"], "")
        .await;
    let broken: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &broken["ok"], &broken["first_bad_position"]),
        (Some(1), &Value::from(false), &Value::from(2))
    );
    assert_eq!(broken["events"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_another_server_are_refused() {
    let mut server = server().await;
    assert_eq!(server.stop().await, Some(0));
    let keys = server.data.join("keys");
    std::fs::rename(&keys, server.data.join("keys-of-this")).unwrap();
    let (code, _, err) = server.cli(&["serve", "--listen", "127.0.0.1:0"], "").await;
    assert_eq!(code, Some(78), "{err}");
    // Where another server may have them, none are made on the side.
    let shared = servers::wanted();
    let told: &[&str] = if shared {
        &["there are none in", "copy the directory `keys`"]
    } else {
        &["not those this database was used with", "master"]
    };
    assert!(told.iter().all(|words| err.contains(words)), "{err}");
    assert_eq!(keys.exists(), !shared);
    let _ = std::fs::remove_dir_all(&keys);
    std::fs::rename(server.data.join("keys-of-this"), &keys).unwrap();
    server.restart().await;
}
