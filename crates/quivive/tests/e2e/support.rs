//! What every module here needs: a server of its own, and calls that read well.

use std::process::Stdio;
use std::time::{Duration, Instant};

use quivive_testkit::postgres::servers;
use quivive_testkit::{Options, Reply, Server};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_quivive");

/// Whether servers have their database in a file, which the test is about; says so where they have not.
pub(crate) fn in_a_file(what: &str) -> bool {
    let wanted = servers::wanted();
    if wanted {
        println!("skipped: {what} (the database is not in a file)");
    }
    !wanted
}

/// A fresh server without limits by source.
pub(crate) async fn server() -> Server {
    Server::start(
        BINARY,
        Options::unlimited().env("QUIVIVE__LOG__LEVEL", "info"),
    )
    .await
}

/// A server behind a public URL, with keys made beforehand and a mail server that is away.
pub(crate) async fn production(name: &str, change: impl FnOnce(Options) -> Options) -> Server {
    let data = std::env::temp_dir().join(format!("quivive-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&data);
    let made = std::process::Command::new(BINARY)
        .args(["keys", "create", "--data-dir"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let options = Options {
        data: Some(data),
        ..Options::default()
    };
    let options = options
        .env("QUIVIVE__SERVER__PUBLIC_URL", "https://id.example.org")
        .env("QUIVIVE__MAIL__HOST", "127.0.0.1")
        .env("QUIVIVE__MAIL__PORT", "9")
        .env("QUIVIVE__MAIL__TLS", "none")
        .env("QUIVIVE__MAIL__FROM", "no-reply@example.org");
    Server::start(BINARY, change(options)).await
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A POST without a token.
pub(crate) async fn post(server: &Server, path: &str, body: Value) -> Reply {
    server.api("POST", path, Some(body), None).await
}

/// How many events there are, as an administrator made for the question sees them.
pub(crate) async fn events(server: &Server) -> Vec<Value> {
    let admin = server.administrator().await;
    server.events(&admin).await
}

/// How long [`events_until`] waits: for letters above all, some of which are tried again.
const PATIENCE: Duration = Duration::from_secs(30);

/// The events as soon as they are what a test waits for; after half a minute those that there are.
pub(crate) async fn events_until(
    server: &Server,
    admin: &str,
    there: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let events = server.events(admin).await;
        if there(&events) || began.elapsed() > PATIENCE {
            return events;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A Python that can import these, with a comma between them. `None` when there is none: said aloud, and a failure where
/// `QUIVIVE_TEST_PYTHON` names one that must.
pub(crate) async fn python_with(modules: &str, what: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "how CI names the interpreter that has the packages"
    )]
    let named = std::env::var("QUIVIVE_TEST_PYTHON").ok();
    let python = named.clone().unwrap_or_else(|| "python3".to_owned());
    let output = Command::new(&python)
        .args(["-c", &format!("import {modules}")])
        .output()
        .await;
    if output.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(named.is_none(), "QUIVIVE_TEST_PYTHON has no {modules}");
    println!("skipped: {what} (pip install {modules})");
    None
}

/// Runs a program that reads what it is given and says `verified` when all was as it should be.
pub(crate) async fn verifies(program: &mut Command, given: &Value) {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(given.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.trim(), "verified", "{program:?}: {errors}");
}
