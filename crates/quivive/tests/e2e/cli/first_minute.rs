//! The first minute: nothing configured, and the three ways to the first administrator.

use std::process::Command;

use quivive_testkit::postgres::servers;
use quivive_testkit::{Options, Server};
use serde_json::{Value, json};

use super::{Home, PASSPHRASE, mode};
use crate::support::{BINARY, in_a_file, post};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_secrets_go_to_private_files_and_the_log_is_json() {
    let mut server = Server::start(BINARY, Options::default()).await;
    let link = std::fs::read_to_string(server.data.join("setup-link")).unwrap();
    let token = link
        .trim()
        .split_once("/setup?token=")
        .expect("a link")
        .1
        .to_owned();
    assert_eq!(mode(&server.data.join("setup-link")), 0o600);
    assert_eq!(mode(&server.data.join("dev-mail-key")), 0o600);
    if !servers::wanted() {
        assert_eq!(mode(&server.data.join("quivive.db")), 0o600);
    }
    let output = server.output();
    let key = std::fs::read_to_string(server.data.join("dev-mail-key")).unwrap();
    assert!(
        !output.contains(&token) && !output.contains(key.trim()),
        "a secret was logged: {output}"
    );
    let lines: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert!(
        lines.iter().any(|line| line["message"] == "ready"),
        "{output}"
    );
    let path = server.data.join("setup-link");
    assert!(
        lines.iter().any(|line| line["path"] == json!(path)),
        "the path is logged: {output}"
    );
    // An administrator by command: the link is gone.
    server.administrator().await;
    assert!(!path.exists());
    assert_eq!(server.stop().await, Some(0));
    server.restart().await;
    assert!(!path.exists(), "there is an administrator");
}

#[test]
fn in_a_terminal_the_banner_has_the_links_and_nothing_is_on_stdout() {
    let home = Home::new();
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: a terminal (no script)");
        return;
    }
    // A terminal of its own for stderr; stdout into a file.
    let serve = format!("{BINARY} serve --listen 127.0.0.1:0 --data-dir data >stdout");
    let told = Command::new("timeout")
        .args([
            "--preserve-status",
            "-s",
            "TERM",
            "3",
            "script",
            "-qefc",
            &serve,
            "screen",
        ])
        .env_clear()
        .env("HOME", &home.0)
        .env("PATH", "/usr/bin:/bin")
        .current_dir(&home.0)
        .output()
        .unwrap();
    let screen = std::fs::read_to_string(home.path("screen")).unwrap();
    for part in [
        concat!("  quivive ", env!("CARGO_PKG_VERSION")),
        "mode: development (loopback)",
        "Pages           http://localhost:",
        "/dev/mail?key=",
        "created, 1 migration applied in ",
        "none found (looked in ./quivive.toml, ",
        "subscriptions ready",
        "  ! No administrator yet. Open this link within 30 minutes: http://localhost:",
        "/setup?token=",
    ] {
        assert!(
            screen.contains(part),
            "{part:?} is not in {screen}\n{told:?}"
        );
    }
    assert!(
        !screen.contains("localhost:0"),
        "the port is the one that was given: {screen}"
    );
    assert_eq!(std::fs::read_to_string(home.path("stdout")).unwrap(), "");
    assert!(!home.path("data/setup-link").exists(), "the link was shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_by_configuration() {
    let home = Home::new();
    let secret = home.write("secret", &format!("{PASSPHRASE}\n"));
    let options = Options::default()
        .env("QUIVIVE__ADMIN__EMAIL", "first@example.org")
        .env("QUIVIVE__ADMIN__PASSWORD_FILE", secret.to_str().unwrap());
    let mut server = Server::start(BINARY, options).await;
    assert!(!server.data.join("setup-link").exists());
    let tokens = server.login("first@example.org", PASSPHRASE).await;
    let admin = tokens["access_token"].as_str().unwrap();
    let count = |events: &[Value]| {
        events
            .iter()
            .filter(|event| event["type"] == "operator.bootstrap.succeeded")
            .count()
    };
    assert_eq!(count(&server.events(admin).await), 1);
    // Once there is one, the configuration makes no other.
    server.stop().await;
    server.restart().await;
    assert_eq!(count(&server.events(admin).await), 1);
    assert!(!server.output().contains(PASSPHRASE));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_before_the_server_and_a_way_back_in() {
    if !in_a_file("commands before a server") {
        return;
    }
    let home = Home::new();
    let data = home.path("data");
    let created = home.run_with(
        &[
            "admin",
            "create",
            "root@example.org",
            "--password-stdin",
            "--data-dir",
            "data",
            "--output",
            "json",
        ],
        &[],
        PASSPHRASE,
    );
    assert!(created.expect(0).json()["user_id"].is_string());
    let options = Options {
        data: Some(data),
        ..Options::default()
    };
    let server = Server::start(BINARY, options).await;
    server.login("root@example.org", PASSPHRASE).await;
    let (code, out, err) = server
        .cli(
            &["admin", "recover", "root@example.org", "--output", "json"],
            "",
        )
        .await;
    assert_eq!(code, Some(0), "{err}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["expires_in"], 900);
    let link = answer["link"].as_str().unwrap();
    let prefix = format!("http://localhost:{}/reset?token=", server.address.port());
    let token = link
        .strip_prefix(&prefix)
        .unwrap_or_else(|| panic!("{link}"));
    let body = json!({"token": token, "new_password": "another long passphrase for today"});
    post(&server, "/password-resets", body.clone())
        .await
        .expect(200);
    post(&server, "/password-resets", body).await.expect(400);
    server
        .login("root@example.org", "another long passphrase for today")
        .await;
}
