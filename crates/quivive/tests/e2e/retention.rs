//! A log that is kept for two seconds, under load: cut, archived, proved.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use quivive_testkit::experiments::ground::Ground;
use quivive_testkit::{Client, Options, Server};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::BINARY;

const WRITERS: usize = 4;

fn options() -> Options {
    Options::unlimited()
        .env("QUIVIVE__RETENTION__LOG_SECONDS", "2")
        .env("QUIVIVE__RETENTION__GRACE_SECONDS", "60")
}

/// Asks for resets of addresses that nobody has, until the time is over.
async fn write(mut client: Client, writer: usize, until: Instant) {
    for i in 0.. {
        if Instant::now() > until {
            return;
        }
        let body = json!({"email": format!("w{writer}-{i}@example.org")});
        let path = "/password-reset-requests";
        // A server that was killed does not answer.
        if let Ok(reply) = client.api("POST", path, Some(body), None).await {
            reply.expect(202);
        } else {
            return;
        }
    }
}

async fn load(server: &Server, time: Duration) {
    let until = Instant::now() + time;
    let writers = (0..WRITERS).map(|writer| write(server.client(), writer, until));
    writers.collect::<JoinSet<_>>().join_all().await;
}

/// `audit verify`, as soon as it says that the log was cut behind a position.
async fn cut_behind(server: &Server, position: u64) -> Value {
    let began = Instant::now();
    loop {
        let verdict = server.verify().await;
        assert_eq!(verdict["ok"], true, "{verdict}");
        if verdict["cut"].as_u64().unwrap() > position {
            return verdict;
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{}",
            server.output()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn archives(data: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(data.join("archive")).expect("archives");
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// The lines of an archive, by a plain tool.
fn lines(archive: &Path) -> Vec<Value> {
    let output = Command::new("zcat").arg(archive).output().expect("zcat");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_under_load_is_cut_archived_and_still_proved() {
    let mut server = Server::start(BINARY, options()).await;
    let admin = server.administrator().await;
    let first = server.events(&admin).await;
    let kept = first[2]["position"].as_u64().unwrap();

    // While it is cut, everybody is served, and who is behind is told where to go on.
    load(&server, Duration::from_secs(4)).await;
    cut_behind(&server, kept).await;
    let path = format!("/events?after={kept}&epoch=1");
    let reply = server
        .api("GET", &path, None, Some(&admin))
        .await
        .expect(410);
    let problem = reply.json();
    assert_eq!(problem["code"], "cursor_expired");
    let detail = problem["detail"].as_str().unwrap();
    let (_, named) = detail.split_once("`after=").unwrap();
    let next: u64 = named.split('`').next().unwrap().parse().unwrap();
    assert!(next > kept, "{detail}");

    // What comes is where what went was: the file grows no more.
    let before = (Ground::of(&server.data).bytes(), server.verify().await);
    load(&server, Duration::from_secs(8)).await;
    let after = (Ground::of(&server.data).bytes(), server.verify().await);
    let cut = |verdict: &Value| verdict["cut"].as_u64().unwrap();
    assert!(cut(&after.1) > 2 * cut(&before.1), "{before:?} {after:?}");
    assert!(
        2 * after.0 < 3 * before.0 + 2_000_000,
        "{before:?} {after:?}"
    );

    // Every event of the categories is in an archive or in the log, once.
    server.kill().await;
    server.restart().await;
    let verdict = cut_behind(&server, cut(&after.1)).await;
    assert!(verdict["archives"].as_u64().unwrap() > 1, "{verdict}");
    assert_eq!(server.stop().await, Some(0));
    let verdict = server.verify().await;
    let mut positions = Vec::new();
    let mut at = 0;
    for file in archives(&server.data) {
        let lines = lines(&file);
        let (head, tail) = (&lines[0], &lines[lines.len() - 1]);
        assert_eq!(head["from_pos"], at + 1, "{}", file.display());
        at = head["to_pos"].as_u64().unwrap();
        assert_eq!(tail["events"], lines.len() - 2);
        for event in &lines[1..lines.len() - 1] {
            assert!(event["data"].get("email").is_none(), "{event}");
            positions.push(event["position"].as_u64().unwrap());
        }
    }
    assert!(at >= cut(&verdict));
    assert!(positions.is_sorted_by(|a, b| a < b));
    // Letters and deliveries are not archived, and little else happened.
    assert!(
        2 * positions.len() as u64 > at,
        "{} of {at}",
        positions.len()
    );

    tampered(&server).await;
}

/// With the server stopped, somebody changes what was cut; each change is undone.
async fn tampered(server: &Server) {
    let ground = Ground::of(&server.data);
    let whole = server.verify().await;
    assert_eq!((&whole["ok"], whole.get("flaw")), (&json!(true), None));
    let kept = ground.keep();
    let end = whole["cut"].as_u64().unwrap() + 1;
    for (deed, sql, said) in [
        (
            "a cut by hand",
            format!(
                "UPDATE anchor SET pos = {end}, chain = (SELECT chain FROM event WHERE pos = {end}); \
                 DELETE FROM event WHERE pos <= {end}"
            ),
            "no key of this server vouches",
        ),
        (
            "an archive that is not noted",
            "DELETE FROM archive WHERE from_pos = (SELECT max(from_pos) FROM archive)".to_owned(),
            "do not meet",
        ),
        (
            "one in between",
            "DELETE FROM archive WHERE from_pos = (SELECT from_pos FROM archive ORDER BY from_pos LIMIT 1 OFFSET 1)"
                .to_owned(),
            "is missing before",
        ),
    ] {
        ground.edit(&sql);
        let verdict = server.verify().await;
        assert_eq!(verdict["ok"], false, "{deed}");
        let flaw = verdict["flaw"].as_str().unwrap_or_default();
        assert!(flaw.contains(said), "{deed}: {verdict}");
        ground.restore(&kept);
    }
    let archive = archives(&server.data).swap_remove(1);
    let mut bytes = std::fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    let verdict = server.verify().await;
    let flaw = verdict["flaw"].as_str().unwrap_or_default();
    assert!(
        verdict["ok"] == false && flaw.contains("SHA-256"),
        "{verdict}"
    );
}
