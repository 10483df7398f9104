//! Broken disks, second servers, impatient clients, late signals.

use std::process::Command;
use std::time::Duration;

use quivive_testkit::experiments::check;
use quivive_testkit::{Options, PASSWORD, Server};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::support::{BINARY, events, in_a_file, post, server};

/// Whether a program is there; says so when it is not.
fn has(program: &str, what: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: {what} (no {program})");
    }
    found
}

/// A small file system of its own, as root can make one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn make(name: &str, size: &str) -> Option<Self> {
        let path = std::env::temp_dir().join(format!("quivive-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&path)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            Some(Self(path))
        } else {
            println!("skipped: a full disk (mounting needs root)");
            None
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_room_lets_it_go_on() {
    if !in_a_file("faults of the disk") {
        return;
    }
    let Some(disk) = SmallDisk::make("full", "24m") else {
        return;
    };
    let data = disk.0.join("data");
    let options = Options {
        data: Some(data.clone()),
        ..Options::unlimited()
    };
    let mut server = Server::start(BINARY, options).await;
    server.register("full@example.org").await;
    let tokens = server.login("full@example.org", PASSWORD).await;
    let mut token = tokens["refresh_token"].clone();
    let filler = disk.0.join("filler");
    let _ = Command::new("dd")
        .args(["if=/dev/zero", "bs=4k", &format!("of={}", filler.display())])
        .output();
    let mut refused = false;
    for _ in 0..4_000 {
        let reply = post(&server, "/tokens", json!({"refresh_token": token})).await;
        if reply.status == 503 {
            refused = true;
            assert!(reply.header("retry-after").is_some());
            break;
        }
        token = reply.expect(200).json()["refresh_token"].clone();
    }
    assert!(refused, "a full disk is said");
    server.get("/livez").await.expect(200);
    std::fs::remove_file(&filler).unwrap();
    // Nothing of the refused one is there, so the same token serves.
    let mut reply = post(&server, "/tokens", json!({"refresh_token": token})).await;
    for _ in 0..50 {
        if reply.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        reply = post(&server, "/tokens", json!({"refresh_token": token})).await;
    }
    reply.expect(200);
    // The sweeper closes what the full disk left open, if anything, once its deadline is over; a restart does it now.
    server.kill().await;
    server.restart().await;
    let events = events(&server).await;
    check::whole(&events);
    server.stop().await;
    assert_eq!(server.verify().await["ok"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_stops_the_server_and_says_why() {
    if !in_a_file("faults of the disk") {
        return;
    }
    if !has("strace", "a failed sync") {
        return;
    }
    let wrap = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync,fsync",
        "-e",
        "inject=fdatasync,fsync:error=EIO:when=40+",
    ];
    let options = Options {
        wrap: wrap.map(str::to_owned).to_vec(),
        ..Options::unlimited()
    };
    let mut server = Server::start(BINARY, options).await;
    let mut acknowledged = 0;
    for i in 0..400 {
        let body = json!({"email": format!("io{i}@example.org")});
        let mut client = server.client();
        match client
            .api("POST", "/password-reset-requests", Some(body), None)
            .await
        {
            Ok(reply) if reply.status == 202 => acknowledged += 1,
            _ => break,
        }
    }
    let code = server.wait(Duration::from_secs(20)).await;
    assert_eq!(code, Some(74), "{}", server.output());
    let output = server.output().to_lowercase();
    assert!(
        output.contains("i/o") || output.contains("disk"),
        "it says why: {output}"
    );
    assert!(acknowledged < 400);
    println!("stopped after {acknowledged} acknowledged requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_never_write_one_directory() {
    let server = server().await;
    let output = Command::new(BINARY)
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&server.data)
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(75),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&server.pid().to_string()),
        "it says who has it: {said}"
    );
    server.get("/readyz").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_changes_nothing() {
    let server = server().await;
    for i in 0..20 {
        let body =
            json!({"email": format!("gone{i}@example.org"), "password": PASSWORD}).to_string();
        let mut stream = tokio::net::TcpStream::connect(server.address)
            .await
            .unwrap();
        let request = format!(
            "POST /api/v1/users HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            server.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(i)).await;
        drop(stream);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let events = events(&server).await;
    check::whole(&events);
    assert_eq!(check::count(&events, "user.registration.failed"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_what_runs_end() {
    let mut server = server().await;
    let address = server.address;
    let mut asked = tokio::task::JoinSet::new();
    asked.spawn(async move {
        let mut client = quivive_testkit::Client::new(address);
        let body = json!({"email": "late@example.org", "password": PASSWORD});
        client.api("POST", "/users", Some(body), None).await
    });
    tokio::time::sleep(Duration::from_millis(15)).await;
    assert_eq!(server.stop().await, Some(0));
    if let Some(Ok(Ok(reply))) = asked.join_next().await {
        reply.expect(202);
    }
    server.restart().await;
    check::whole(&events(&server).await);
}
