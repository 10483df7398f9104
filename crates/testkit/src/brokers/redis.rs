//! Redis: in memory, or with an append-only file that every write is synced to.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::certificates::Certificate;

use super::{Kept, Server, directory, free_address, program, skip};

/// A running server.
pub struct Redis {
    kept: Kept,
    encrypted: bool,
}

impl Redis {
    /// One that keeps nothing over its end. `None` where it is not installed.
    pub fn start() -> Option<Self> {
        Self::with(&["--save", "", "--appendonly", "no"])
    }

    /// One that keeps all over a kill.
    pub fn durable() -> Option<Self> {
        Self::with(&[
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ])
    }

    /// One that speaks TLS alone.
    pub fn encrypted(certificate: &Certificate) -> Option<Self> {
        let shown = |path: &Path| path.display().to_string();
        let (certificate, key) = (shown(&certificate.certificate), shown(&certificate.key));
        Self::made(
            &[
                "--save",
                "",
                "--tls-cert-file",
                &certificate,
                "--tls-key-file",
                &key,
                "--tls-ca-cert-file",
                &certificate,
                "--tls-auth-clients",
                "no",
            ],
            true,
        )
    }

    fn with(options: &[&str]) -> Option<Self> {
        Self::made(options, false)
    }

    fn made(options: &[&str], encrypted: bool) -> Option<Self> {
        let Some(server) = program("redis-server", &["/usr/bin"]) else {
            skip("redis");
            return None;
        };
        let (directory, address) = (directory("redis"), free_address());
        let mut command = Command::new(server);
        command
            .args(["--bind", "127.0.0.1"])
            .args(if encrypted {
                &["--port", "0", "--tls-port"][..]
            } else {
                &["--port"]
            })
            .arg(address.port().to_string())
            .arg("--dir")
            .arg(&directory)
            .args(options);
        let kept = Kept::new(directory, &command, address);
        kept.start();
        Some(Self { kept, encrypted })
    }

    /// A command of its own client, and what that prints.
    pub fn ask(&self, words: &[&str]) -> String {
        let port = self.kept.address.port().to_string();
        let mut client = Command::new("redis-cli");
        let asked = client.args(["-p", &port]).args(words).output();
        let asked = asked.expect("redis-cli is there with the server");
        String::from_utf8_lossy(&asked.stdout).trim().to_owned()
    }
}

impl Server for Redis {
    fn url_by(&self, address: SocketAddr) -> String {
        if self.encrypted {
            format!("rediss://localhost:{}", address.port())
        } else {
            format!("redis://{address}")
        }
    }

    fn address(&self) -> SocketAddr {
        self.kept.address
    }

    fn start(&self) {
        self.kept.start();
    }

    fn kill(&self) {
        self.kept.tell("kill");
    }

    fn end(&self) {
        self.kept.tell("end");
    }

    fn freeze(&self) {
        self.kept.tell("freeze");
    }

    fn thaw(&self) {
        self.kept.tell("thaw");
    }
}
