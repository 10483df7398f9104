//! Letters through a real mail server: aiosmtpd, which `QUIVIVE_TEST_PYTHON` or the system's Python may have.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use quivive_testkit::experiments::{check, journey};
use quivive_testkit::server::token_in;
use quivive_testkit::{Options, PASSWORD, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::{BINARY, events_until, free_port, post, python_with};

/// Keeps each letter in a file; refuses every recipient whose address begins with `refused`.
const SERVER: &str = r#"
import sys, time
from aiosmtpd.controller import Controller
folder, port = sys.argv[1], int(sys.argv[2])
class Keep:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused"): return "550 no such mailbox"
        envelope.rcpt_tos.append(address); return "250 OK"
    async def handle_DATA(self, server, session, envelope):
        with open(f"{folder}/{time.time_ns()}.eml", "wb") as f:
            f.write(("X-To: " + ",".join(envelope.rcpt_tos) + "\r\n").encode() + envelope.content)
        return "250 kept"
c = Controller(Keep(), hostname="127.0.0.1", port=port); c.start()
print(c.server.sockets[0].getsockname()[1], flush=True)
while True: time.sleep(60)
"#;

/// Reads a letter as a mail program does: decoded.
const READER: &str = r#"
import sys, email, email.policy, json, glob
out = []
for name in sorted(glob.glob(sys.argv[1] + "/*.eml")):
    m = email.message_from_binary_file(open(name, "rb"), policy=email.policy.default)
    body = m.get_body(("plain",))
    out.append({"to": m["X-To"], "subject": m["Subject"], "message_id": m["Message-ID"], "text": body.get_content() if body else "", "html": bool(m.get_body(("html",)))})
print(json.dumps(out))
"#;

struct MailServer {
    python: String,
    folder: PathBuf,
    port: u16,
    child: Child,
}

impl MailServer {
    /// `None` when there is no Python with aiosmtpd: said aloud, and a failure where it is required.
    async fn start(folder: &Path) -> Option<Self> {
        let python = python_with("aiosmtpd", "a real mail server").await?;
        std::fs::create_dir_all(folder).unwrap();
        let (child, port) = spawn(&python, folder, free_port()).await;
        Some(Self {
            python,
            folder: folder.to_owned(),
            port,
            child,
        })
    }

    async fn stop(&mut self) {
        let _ = self.child.kill().await;
    }

    async fn again(&mut self) {
        (self.child, self.port) = spawn(&self.python, &self.folder, self.port).await;
    }

    async fn letters(&self) -> Vec<serde_json::Value> {
        let output = Command::new(&self.python)
            .args(["-c", READER])
            .arg(&self.folder)
            .output()
            .await
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// The newest letter to an address with these words in it. Waits for it.
    async fn letter(&self, to: &str, words: &str) -> serde_json::Value {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            let found = self.letters().await.into_iter().rev().find(|letter| {
                letter["to"]
                    .as_str()
                    .is_some_and(|t| t.eq_ignore_ascii_case(to))
                    && letter["text"]
                        .as_str()
                        .is_some_and(|text| text.contains(words))
            });
            if let Some(letter) = found {
                return letter;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no letter to {to} ({words}): {:?}", self.letters().await)
    }

    fn options(&self) -> Options {
        Options::unlimited()
            .env("QUIVIVE__MAIL__HOST", "127.0.0.1")
            .env("QUIVIVE__MAIL__PORT", &self.port.to_string())
            .env("QUIVIVE__MAIL__TLS", "none")
            .env("QUIVIVE__MAIL__FROM", "Quivive <no-reply@example.org>")
    }
}

impl journey::Post for MailServer {
    async fn token(&self, _: &Server, to: &str, template: &str) -> String {
        let link = if template == "reset_password" {
            "/reset?token="
        } else {
            "/verify?token="
        };
        let letter = self.letter(to, link).await;
        token_in(letter["text"].as_str().unwrap_or_default())
    }
}

async fn spawn(python: &str, folder: &Path, port: u16) -> (Child, u16) {
    let mut command = Command::new(python);
    command
        .args(["-c", SERVER])
        .arg(folder)
        .arg(port.to_string());
    let mut child = command
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines
        .next_line()
        .await
        .unwrap()
        .expect("the mail server says its port");
    (child, line.trim().parse().unwrap())
}

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("quivive-letters-{name}-{}", std::process::id()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journey_with_a_real_mail_server() {
    let folder = folder("journey");
    let Some(mail) = MailServer::start(&folder).await else {
        return;
    };
    let mut server = Server::start(BINARY, mail.options()).await;
    println!("{}", journey::run(&mut server, &mail).await);
    assert!(
        mail.letters()
            .await
            .iter()
            .all(|letter| letter["html"] == true)
    );
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_is_away_or_refuses() {
    let folder = folder("away");
    let Some(mut mail) = MailServer::start(&folder).await else {
        return;
    };
    let options = mail
        .options()
        .env("QUIVIVE__DELIVERY__RETRY_BASE_MS", "50")
        .env("QUIVIVE__DELIVERY__MAX_ATTEMPTS", "4");
    let server = Server::start(BINARY, options).await;
    let admin = server.administrator().await;
    // Refused for good: said, and nobody else waits for it.
    let body = json!({"email": "refused@example.org", "password": PASSWORD});
    post(&server, "/users", body).await.expect(202);
    wait_for(&server, &admin, "email.delivery_failed").await;
    // Away for a moment: the letter comes when it is back, once.
    mail.stop().await;
    let body = json!({"email": "patient@example.org", "password": PASSWORD});
    post(&server, "/users", body).await.expect(202);
    tokio::time::sleep(Duration::from_millis(100)).await;
    mail.again().await;
    mail.letter("patient@example.org", "/verify?token=").await;
    // Away for longer than the attempts: parked, and said.
    mail.stop().await;
    let body = json!({"email": "parked@example.org", "password": PASSWORD});
    post(&server, "/users", body).await.expect(202);
    wait_for(&server, &admin, "delivery.dead_lettered").await;
    mail.again().await;
    let body = json!({"email": "after@example.org", "password": PASSWORD});
    post(&server, "/users", body).await.expect(202);
    mail.letter("after@example.org", "/verify?token=").await;
    let events = server.events(&admin).await;
    check::whole(&events);
    let letters = mail.letters().await;
    assert_eq!(
        letters
            .iter()
            .filter(|l| l["to"] == "patient@example.org")
            .count(),
        1
    );
    assert!(
        !server.output().contains("example.org"),
        "no address in the output"
    );
    let _ = std::fs::remove_dir_all(folder);
}

async fn wait_for(server: &Server, admin: &str, kind: &str) {
    let raised = |events: &[Value]| check::count(events, kind) > 0;
    let events = events_until(server, admin, raised).await;
    assert!(
        raised(&events),
        "{kind} was not raised: {}",
        server.output()
    );
}
