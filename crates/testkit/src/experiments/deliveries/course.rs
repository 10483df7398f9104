//! One server on one data directory, started and killed over and over.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::step::{Kill, Step, Work};
use super::subject::{ADMIN, KIND, MENDED};
use super::work::{Worker, at_rest, until};
use crate::client::{Call, Client};

/// How to run [`super::serve`]: a program, and the argument that comes before those of it.
#[derive(Debug, Clone)]
pub struct Program {
    pub path: PathBuf,
    pub arg: &'static str,
}

/// A step that is hardly come to is a fault of the experiment.
const PATIENCE: Duration = Duration::from_secs(30);

/// Rounds between two sign-ins of the administrator: what administrators decide needs a proof of a few minutes ago.
const SIGN_IN_EVERY: u64 = 20;

/// Between two rounds of work; a step that was made possible is come to meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

/// Numbers as good as any, the same with the same seed.
#[derive(Debug, Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// In memory where the system has a place for it: `kill -9` loses nothing that was written to a file, and a sync that goes
/// to no disk costs nothing.
pub(super) fn fresh_directory(name: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    let directory = parent.join(format!("quivive-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("the temporary directory is writable");
    directory
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    // Keys are not taken from a directory that others may read.
    let permissions = fs::metadata(from).expect("it is there").permissions();
    fs::set_permissions(to, permissions).expect("it is ours");
    for entry in fs::read_dir(from).expect("it is there").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("it is copied");
        }
    }
}

/// Whom the requests are of.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) admin: String,
    pub(super) service: String,
}

pub(super) struct Course {
    program: Program,
    pub(super) directory: PathBuf,
    address: SocketAddr,
    pub(super) keys: Keys,
    pub(super) starts: u64,
    pub(super) kills: u64,
}

impl Course {
    /// Makes an administrator, a service and the type of its events.
    pub(super) async fn begin(program: &Program, directory: &Path) -> Self {
        fs::create_dir_all(directory).expect("the temporary directory is writable");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let mut course = Self {
            program: program.clone(),
            directory: directory.to_owned(),
            address: address.expect("a free loopback port"),
            keys: Keys {
                admin: String::new(),
                service: String::new(),
            },
            starts: 0,
            kills: 0,
        };
        let mut child = course.start(Kill::Never);
        let mut client = course.ready(&mut child).await.expect("it starts");
        let admin = sign_in(&mut client).await;
        let mut post = async |path: &str, body: Value, token: Option<&str>| {
            let reply = client.api("POST", path, Some(body), token).await;
            reply.expect("an answer").json()
        };
        let body = json!({"name": "proof", "scopes": ["events.write"]});
        let key = post("/admin/api-keys", body, Some(&admin)).await;
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        let body = json!({"type": KIND, "version": 1, "schema": schema});
        post("/admin/schemas", body, Some(&admin)).await;
        course.keys = Keys {
            admin,
            service: key["key"].as_str().expect("a key").to_owned(),
        };
        drop(client);
        course.stop(child).await;
        course
    }

    /// The same, on a copy of its data.
    pub(super) fn again(&self, directory: &Path) -> Self {
        copy(&self.directory, directory);
        Self {
            program: self.program.clone(),
            directory: directory.to_owned(),
            keys: self.keys.clone(),
            starts: 0,
            kills: 0,
            ..*self
        }
    }

    fn log(&self) -> PathBuf {
        self.directory.join("output")
    }

    pub(super) fn start(&mut self, kill: Kill) -> Child {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log());
        let log = log.expect("the log file is writable");
        let mut command = Command::new(&self.program.path);
        command
            .arg(self.program.arg)
            .arg(&self.directory)
            .arg(self.address.to_string())
            .args(kill.args())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .kill_on_drop(true);
        self.starts += 1;
        command.spawn().expect("the program starts")
    }

    /// A client of it, once it serves; `None` when it ended before.
    pub(super) async fn ready(&self, child: &mut Child) -> Option<Client> {
        let began = Instant::now();
        let mut client = Client::new(self.address);
        let call = Call {
            method: "GET",
            path: "/readyz",
            ..Call::default()
        };
        while client.call(&call).await.is_err() {
            if child.try_wait().expect("it is ours").is_some() {
                return None;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "it does not serve: {}",
                self.output()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Some(client)
    }

    pub(super) fn output(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let from = text.len().saturating_sub(4_000);
        text.get(from..).unwrap_or(&text).to_owned()
    }

    /// SIGTERM, and waits for it to end in good order.
    pub(super) async fn stop(&self, mut child: Child) {
        let pid = child.id().expect("it runs").to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status().await;
        let status = child.wait().await.expect("it is ours");
        assert!(status.success(), "{status}: {}", self.output());
    }

    /// Starts it so often that it is killed so many times at a step. Every third start gets everything done before: an event
    /// that is there at three deaths in a row would be taken for the cause of them, and rightly.
    pub(super) async fn kill_at(&mut self, step: Step, kills: u64, worker: &mut Worker) {
        for round in 0..kills {
            if round % SIGN_IN_EVERY == 0 {
                self.sign_in(worker).await;
            }
            let nth = 1 + worker.random.below(4);
            let mut patient = round % 3 == 2;
            if step.is_of_the_start() {
                // It does not come to it once everything is done.
                patient = false;
                if round % 2 == 0 {
                    self.interlude(worker).await;
                }
            }
            let mut child = self.start(Kill::At { step, nth, patient });
            let status = self.until_killed(step, &mut child, worker).await;
            assert!(was_killed(status), "{step} {status}: {}", self.output());
            self.kills += 1;
            worker.look(&self.directory);
        }
    }

    /// A start for a fresh proof of the administrator. It is stopped in the middle of its work: what it did beyond something
    /// that it had not begun comes again, as after a kill.
    async fn sign_in(&mut self, worker: &mut Worker) {
        let mut child = self.start(Kill::Never);
        let mut client = self.ready(&mut child).await.expect("it serves");
        self.keys.admin = sign_in(&mut client).await;
        drop(client);
        self.stop(child).await;
        worker.look(&self.directory);
    }

    /// A start that does everything that was left, and is killed in the middle of something else.
    async fn interlude(&mut self, worker: &mut Worker) {
        let mut child = self.start(Kill::Never);
        let mut client = self.ready(&mut child).await.expect("it serves");
        until(&mut client, at_rest).await.expect("it lives");
        for _ in 0..3 {
            let work = worker.work(&mut client, self, Work::Events);
            work.await.expect("it lives");
        }
        child.kill().await.expect("it is ours");
        worker.look(&self.directory);
    }

    async fn until_killed(&self, step: Step, child: &mut Child, worker: &mut Worker) -> ExitStatus {
        if let Some(mut client) = self.ready(child).await {
            let began = Instant::now();
            loop {
                if worker.work(&mut client, self, step.work()).await.is_err() {
                    break;
                }
                if let Ok(status) = tokio::time::timeout(PAUSE, child.wait()).await {
                    return status.expect("it is ours");
                }
                assert!(
                    began.elapsed() < PATIENCE,
                    "{step} is hardly come to: {}",
                    self.output()
                );
            }
        }
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
        ended.expect("it is being killed").expect("it is ours")
    }

    /// Runs it without a kill until nothing is left to do, and stops it.
    pub(super) async fn finish(&mut self, worker: &mut Worker) {
        self.mend(true);
        let mut child = self.start(Kill::Never);
        let mut client = self.ready(&mut child).await.expect("it serves");
        self.keys.admin = sign_in(&mut client).await;
        worker.finish(&mut client, self).await;
        drop(client);
        self.stop(child).await;
    }

    /// Whether the ledger takes what it has refused.
    pub(super) fn mend(&self, mended: bool) {
        let file = self.directory.join(MENDED);
        let _ = if mended {
            fs::write(file, "")
        } else {
            fs::remove_file(file)
        };
    }
}

async fn sign_in(client: &mut Client) -> String {
    let (email, password) = ADMIN;
    let body = json!({"email": email, "password": password});
    let reply = client.api("POST", "/sessions", Some(body), None).await;
    let tokens = reply.expect("an answer").json();
    tokens["access_token"].as_str().expect("a token").to_owned()
}

pub(super) fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal() == Some(9)
}
