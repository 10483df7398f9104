//! The built binary, started on a free loopback port with a fresh data directory, and stopped by pid.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::PASSWORD;
use crate::client::{Call, Client, Reply};
use crate::postgres::servers;

/// How to start it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Reused when given; else a fresh one that goes with the server.
    pub data: Option<PathBuf>,
    /// A free port of 127.0.0.1 unless it is said.
    pub listen: Option<SocketAddr>,
    pub env: Vec<(String, String)>,
    pub args: Vec<String>,
    /// A command that runs it: `strace …`, `taskset -c 0`.
    pub wrap: Vec<String>,
}

impl Options {
    /// Without limits by source, which one loopback address would meet at once. The limits by account stay.
    pub fn unlimited() -> Self {
        Self::default().env("QUIVIVE__RATE_LIMITS__ENABLED", "false")
    }

    /// With access tokens that are good for a day.
    #[must_use]
    pub fn for_long(self) -> Self {
        self.env("QUIVIVE__TOKENS__ACCESS_TOKEN_SECONDS", "86400")
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    binary: PathBuf,
    options: Options,
    pub data: PathBuf,
    owns_data: bool,
    pub address: SocketAddr,
    child: Option<Child>,
    /// From the start of the process to the first ready answer.
    pub ready_after: Duration,
}

static SERIAL: AtomicU32 = AtomicU32::new(0);

fn fresh_directory() -> PathBuf {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("quivive-{}-{serial}", std::process::id()));
    std::fs::create_dir_all(&path).expect("the temporary directory is writable");
    path
}

impl Server {
    /// Starts it and waits until it is ready.
    pub async fn start(binary: impl AsRef<Path>, options: Options) -> Self {
        let mut server = Self::unstarted(binary, options);
        server.restart().await;
        server
    }

    /// One that is yet to be started.
    pub fn unstarted(binary: impl AsRef<Path>, mut options: Options) -> Self {
        let owns_data = options.data.is_none();
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let port = options.listen.map_or_else(free, Ok);
        let data = options.data.clone().unwrap_or_else(fresh_directory);
        let named = options.env.iter().any(|(name, _)| name == servers::SETTING);
        if let Some(url) = servers::url_for(&data).filter(|_| !named) {
            options.env.push((servers::SETTING.to_owned(), url));
        }
        Self {
            binary: binary.as_ref().to_owned(),
            data,
            owns_data,
            options,
            address: port.expect("a free loopback port"),
            child: None,
            ready_after: Duration::ZERO,
        }
    }

    /// Stops it, if it runs, and starts it again on the same data.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.spawn();
        let began = Instant::now();
        let mut client = self.client();
        let ready = Call {
            method: "GET",
            path: "/readyz",
            ..Call::default()
        };
        loop {
            if client
                .call(&ready)
                .await
                .is_ok_and(|reply| reply.status == 200)
            {
                self.ready_after = began.elapsed();
                return;
            }
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            assert!(
                ended.is_none() && began.elapsed() < Duration::from_mins(1),
                "the server is not ready ({ended:?}): {}",
                self.output()
            );
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// Starts the process without waiting for anything.
    pub fn spawn(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path());
        let log = log.expect("the log file is writable");
        let (program, wrapped) = match self.options.wrap.split_first() {
            Some((first, rest)) => (PathBuf::from(first), rest.to_vec()),
            None => (self.binary.clone(), Vec::new()),
        };
        let mut command = Command::new(program);
        if !self.options.wrap.is_empty() {
            command.args(wrapped).arg(&self.binary);
        }
        command
            .arg("serve")
            .args(["--listen", &self.address.to_string(), "--data-dir"])
            .arg(&self.data)
            .args(&self.options.args)
            .envs(self.options.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .kill_on_drop(true);
        self.child = Some(command.spawn().expect("the binary starts"));
    }

    fn log_path(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// What it wrote to stdout and stderr, over all its starts.
    pub fn output(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("it runs")
    }

    /// Stops it where it is, as a machine that hangs; or lets it go on.
    pub async fn signal(&self, name: &str) {
        let (name, pid) = (format!("-{name}"), self.pid().to_string());
        let sent = Command::new("kill").args([&name, &pid]).status().await;
        assert!(sent.is_ok_and(|status| status.success()), "{pid}");
    }

    /// kill -9.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
    }

    /// SIGTERM; its exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        let pid = child.id()?.to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status().await;
        child.wait().await.ok()?.code()
    }

    /// Waits for it to end by itself; its exit code.
    pub async fn wait(&mut self, patience: Duration) -> Option<i32> {
        let child = self.child.as_mut()?;
        let status = tokio::time::timeout(patience, child.wait())
            .await
            .ok()?
            .ok()?;
        self.child = None;
        status.code()
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// One JSON call on a connection of its own.
    pub async fn api(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        token: Option<&str>,
    ) -> Reply {
        let reply = self.client().api(method, path, body, token).await;
        reply.unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.output()))
    }

    /// A GET outside the API.
    pub async fn get(&self, path: &str) -> Reply {
        let call = Call {
            method: "GET",
            path,
            ..Call::default()
        };
        self.client().call(&call).await.expect("an answer")
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0)
    }

    /// The command line beside the server; its exit code, stdout and stderr.
    pub async fn cli(&self, args: &[&str], stdin: &str) -> (Option<i32>, String, String) {
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .arg("--data-dir")
            .arg(&self.data)
            .envs(self.options.env.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let mut input = child.stdin.take().expect("it was piped");
        let _ = input.write_all(stdin.as_bytes()).await;
        drop(input);
        let output = child.wait_with_output().await.expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// `audit verify` on the data directory.
    pub async fn verify(&self) -> Value {
        let (_, out, err) = self.cli(&["audit", "verify", "--output", "json"], "").await;
        serde_json::from_str(&out).unwrap_or_else(|_| panic!("audit verify said {out:?} {err:?}"))
    }

    /// All letters in the mailbox, newest first.
    pub async fn letters(&self) -> Vec<Value> {
        let key = std::fs::read_to_string(self.data.join("dev-mail-key")).unwrap_or_default();
        let reply = self
            .get(&format!("/dev/mail?key={}", key.trim()))
            .await
            .expect(200);
        reply.json().as_array().cloned().unwrap_or_default()
    }

    /// The newest letter to an address, of a template whose code contains `template`. Waits for it.
    pub async fn letter(&self, to: &str, template: &str) -> Value {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(15) {
            let letters = self.letters().await;
            let found = letters.into_iter().find(|letter| {
                letter["to"]
                    .to_string()
                    .to_lowercase()
                    .contains(&to.to_lowercase())
                    && letter["template"]
                        .as_str()
                        .is_some_and(|t| t.contains(template))
            });
            if let Some(letter) = found {
                return letter;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no letter for {to} ({template})\n{}", self.output())
    }

    /// The token in the newest such letter.
    pub async fn token(&self, to: &str, template: &str) -> String {
        token_in(
            self.letter(to, template).await["text"]
                .as_str()
                .unwrap_or_default(),
        )
    }

    /// Registers and verifies; the user's id.
    pub async fn register(&self, email: &str) -> String {
        let body = json!({"email": email, "password": PASSWORD});
        self.api("POST", "/users", Some(body), None)
            .await
            .expect(202);
        let token = self.token(email, "verify_email").await;
        let reply = self
            .api(
                "POST",
                "/email-verifications",
                Some(json!({"token": token})),
                None,
            )
            .await
            .expect(200);
        reply.json()["user_id"]
            .as_str()
            .expect("a user id")
            .to_owned()
    }

    /// Signs in; the tokens.
    pub async fn login(&self, email: &str, password: &str) -> Value {
        let body = json!({"email": email, "password": password});
        self.api("POST", "/sessions", Some(body), None)
            .await
            .expect(200)
            .json()
    }

    /// Makes an administrator by command and signs in; an access token.
    pub async fn administrator(&self) -> String {
        const SECRET: &str = "an administrators long passphrase 7";
        let args = ["admin", "create", "root@example.org", "--password-stdin"];
        let (code, _, err) = self.cli(&args, &format!("{SECRET}\n")).await;
        assert_eq!(code, Some(0), "{err}");
        let tokens = self.login("root@example.org", SECRET).await;
        tokens["access_token"].as_str().expect("a token").to_owned()
    }

    /// Every event of the log.
    pub async fn events(&self, admin: &str) -> Vec<Value> {
        let (mut events, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/events?after={after}&limit=250");
            let page = self
                .api("GET", &path, None, Some(admin))
                .await
                .expect(200)
                .json();
            events.extend(page["data"].as_array().cloned().unwrap_or_default());
            after = page["next_cursor"].as_u64().expect("a cursor");
            if page["has_more"] == false {
                return events;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.start_kill();
        }
        if self.owns_data && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.data);
            let _ = std::fs::remove_file(self.log_path());
            servers::forget(&self.data);
        }
    }
}

/// The token in a letter's text.
pub fn token_in(text: &str) -> String {
    let (_, rest) = text
        .split_once("token=")
        .unwrap_or_else(|| panic!("no token in {text}"));
    rest.chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .collect()
}
