//! docs/proxies.md: its configurations as they stand there, in front of a server in production.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quivive_testkit::Server;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{BINARY, free_port, production};

const PAGE: &str = include_str!("../../../../docs/proxies.md");

/// The one example in that language.
fn example(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).unwrap();
    rest.split("```").next().unwrap()
}

/// Where a program is; also where only root looks for it.
fn installed(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
    let found = folders.map(|folder| Path::new(folder).join(name));
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        println!("skipped: {name} is not installed");
    }
    found
}

fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the page has {from}");
    text.replace(from, to)
}

/// nginx in one process, ended when it is dropped.
struct Nginx {
    child: Child,
    folder: PathBuf,
    http: u16,
    https: u16,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Nginx {
    /// With the page's file; ports, the certificate and the server's address are this test's.
    async fn start(program: &Path, server: &Server) -> Self {
        let folder = server.data.with_extension("nginx");
        std::fs::create_dir_all(&folder).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        let made = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
            ])
            .args([
                "-subj",
                "/CN=id.example.org",
                "-addext",
                "subjectAltName=DNS:id.example.org",
            ])
            .args(["-keyout", &at("key.pem"), "-out", &at("certificate.pem")])
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let (http, https) = (free_port(), free_port());
        let page = example("nginx");
        let page = replace(page, "listen 80;", &format!("listen 127.0.0.1:{http};"));
        let page = replace(&page, "listen 443 ", &format!("listen 127.0.0.1:{https} "));
        let page = replace(&page, "127.0.0.1:8080", &server.address.to_string());
        let page = replace(
            &page,
            "/etc/nginx/tls/id.example.org.pem",
            &at("certificate.pem"),
        );
        let page = replace(&page, "/etc/nginx/tls/id.example.org.key", &at("key.pem"));
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {};\n", at(kind)))
            .fold(String::new(), |all, line| all + &line);
        let whole = format!(
            "daemon off;\nmaster_process off;\npid {};\nerror_log {} warn;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{page}}}\n",
            at("nginx.pid"),
            at("error.log"),
        );
        std::fs::write(folder.join("nginx.conf"), whole).unwrap();
        let child = Command::new(program)
            .args([
                "-e",
                &at("error.log"),
                "-p",
                &at(""),
                "-c",
                &at("nginx.conf"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self {
            child,
            folder,
            http,
            https,
        };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", https)).is_err() {
            let said = std::fs::read_to_string(nginx.folder.join("error.log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(10), "{said}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        nginx
    }

    /// A call from 127.0.0.2, so that client and proxy are two.
    fn curl(&self) -> tokio::process::Command {
        let mut curl = tokio::process::Command::new("curl");
        let certificate = self.folder.join("certificate.pem");
        curl.args(["-s", "--interface", "127.0.0.2", "--cacert"])
            .arg(certificate);
        for (port, to) in [(443, self.https), (80, self.http)] {
            curl.args([
                "--connect-to",
                &format!("id.example.org:{port}:127.0.0.1:{to}"),
            ]);
        }
        curl.kill_on_drop(true);
        curl
    }

    /// Status, head and body.
    async fn call(&self, url: &str, args: &[&str]) -> (u16, String, String) {
        let output = self
            .curl()
            .args(["-i", url])
            .args(args)
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        (status.unwrap_or_default(), head.to_owned(), body.to_owned())
    }
}

const SITE: &str = "https://id.example.org";

#[tokio::test(flavor = "multi_thread")]
async fn nginx_in_front_as_the_page_has_it() {
    let Some(program) = installed("nginx") else {
        return;
    };
    if installed("openssl").is_none() {
        return;
    }
    let server = production("nginx", |it| {
        it.env("QUIVIVE__SERVER__TRUSTED_PROXIES", "127.0.0.1")
    })
    .await;
    let nginx = Nginx::start(&program, &server).await;
    let (status, head, _) = nginx.call(&format!("{SITE}/readyz"), &[]).await;
    assert_eq!(status, 200, "{head}");
    assert!(
        head.to_lowercase().contains("strict-transport-security"),
        "{head}"
    );
    let (status, head, _) = nginx.call("http://id.example.org/forgot?x=1", &[]).await;
    assert_eq!(status, 301);
    assert!(head.contains("https://id.example.org/forgot?x=1"), "{head}");
    // To nobody behind it the server shows what is this machine's alone.
    assert_eq!(nginx.call(&format!("{SITE}/metrics"), &[]).await.0, 404);

    let secret = "an administrators long passphrase 7";
    let args = ["admin", "create", "root@example.org", "--password-stdin"];
    assert_eq!(server.cli(&args, secret).await.0, Some(0));
    let body = json!({"email": "root@example.org", "password": secret}).to_string();
    // A stranger's headers change nothing: T12 and T15 through a proxy.
    let disguised = [
        "-H",
        "content-type: application/json",
        "-H",
        "X-Forwarded-For: 203.0.113.9",
        "-H",
        "Forwarded: for=203.0.113.9;host=evil.example",
        "-H",
        "X-Forwarded-Host: evil.example",
        "-H",
        "X-Real-IP: 203.0.113.9",
        "-d",
        &body,
    ];
    let (status, _, answer) = nginx
        .call(&format!("{SITE}/api/v1/sessions"), &disguised)
        .await;
    assert_eq!(status, 200, "{answer}");
    let tokens: Value = serde_json::from_str(&answer).unwrap();
    let bearer = format!(
        "authorization: Bearer {}",
        tokens["access_token"].as_str().unwrap()
    );
    let listed = nginx
        .call(&format!("{SITE}/api/v1/sessions"), &["-H", &bearer])
        .await;
    let listed: Value = serde_json::from_str(&listed.2).unwrap();
    assert_eq!(listed["data"][0]["ip_address"], "127.0.0.2");
    let wrong = ["-H", "Host: evil.example"];
    assert_ne!(nginx.call(&format!("{SITE}/readyz"), &wrong).await.0, 500);

    let large = nginx.folder.join("large.json");
    std::fs::write(&large, "x".repeat(100_000)).unwrap();
    let large = format!("@{}", large.display());
    let upload = [
        "-H",
        "content-type: application/json",
        "-H",
        "expect:",
        "--data-binary",
        &large,
    ];
    let (status, _, body) = nginx.call(&format!("{SITE}/api/v1/users"), &upload).await;
    assert_eq!(status, 413);
    assert!(
        body.contains("payload_too_large"),
        "in the server's words: {body}"
    );
    streams(&nginx, &bearer).await;
}

/// An event comes when it happens, not when a buffer is full.
async fn streams(nginx: &Nginx, bearer: &str) {
    let mut curl = nginx.curl();
    curl.args([
        "-N",
        "-H",
        bearer,
        &format!("{SITE}/api/v1/events/stream?after=0"),
    ]);
    let mut child = curl.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = async |lines: &mut tokio::io::Lines<_>, wanted: &str| {
        let patience = Duration::from_secs(5);
        let found = tokio::time::timeout(patience, async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(wanted) {
                    return true;
                }
            }
            false
        });
        assert_eq!(found.await, Ok(true), "{wanted}");
    };
    said(&mut lines, "user.login.succeeded").await;
    let wrong = json!({"email": "nobody@example.org", "password": "not this one 1"}).to_string();
    let args = ["-H", "content-type: application/json", "-d", &wrong];
    assert_eq!(
        nginx
            .call(&format!("{SITE}/api/v1/sessions"), &args)
            .await
            .0,
        401
    );
    said(&mut lines, "user.login.failed").await;
}

#[test]
fn caddy_takes_the_page_s_configuration() {
    let Some(caddy) = installed("caddy") else {
        return;
    };
    let folder = std::env::temp_dir().join(format!("quivive-caddy-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("Caddyfile");
    std::fs::write(&file, example("caddy")).unwrap();
    let said = Command::new(caddy)
        .args(["validate", "--adapter", "caddyfile", "--config"])
        .arg(&file)
        .env("HOME", &folder)
        .output()
        .unwrap();
    let _ = std::fs::remove_dir_all(&folder);
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
}

/// What the page says of the server's settings is what it takes.
#[test]
fn the_page_s_settings_are_settings() {
    let folder = std::env::temp_dir().join(format!("quivive-page-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("quivive.toml");
    let mail = "\n[mail]\nurl = \"smtps://user:password@smtp.example.org:465\"\nfrom = \"no-reply@example.org\"\n";
    std::fs::write(&file, format!("{}{mail}", example("toml"))).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(args).arg("--data-dir").arg(&folder);
        command.output().unwrap()
    };
    assert!(run(&["keys", "create"]).status.success());
    let said = run(&["config", "check", "--config", file.to_str().unwrap()]);
    let _ = std::fs::remove_dir_all(&folder);
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
}
