//! Redis: in memory, or with an append-only file that every write is synced to, or with one on a small disk.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::certificates::Certificate;

use super::{Kept, Server, directory, free_address, program, skip, small_disk};

/// A running server.
pub struct Redis {
    kept: Kept,
    encrypted: bool,
    has_disk: bool,
}

/// What it is made with.
#[derive(Clone, Copy, Default)]
struct Made<'a> {
    options: &'a [&'a str],
    encrypted: bool,
    /// MiB.
    disk: Option<u32>,
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

    /// One with a file on a disk of its own, which [`Redis::fill`] fills. Where none can be made it keeps nothing, and it is
    /// its memory that is full.
    pub fn on_small_disk() -> Option<Self> {
        Self::made(Made {
            options: &[
                "--save",
                "",
                "--appendonly",
                "yes",
                "--auto-aof-rewrite-min-size",
                "8mb",
            ],
            disk: Some(192),
            ..Made::default()
        })
    }

    /// One that speaks TLS alone.
    pub fn encrypted(certificate: &Certificate) -> Option<Self> {
        let shown = |path: &Path| path.display().to_string();
        let (certificate, key) = (shown(&certificate.certificate), shown(&certificate.key));
        Self::made(Made {
            options: &[
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
            encrypted: true,
            ..Made::default()
        })
    }

    fn with(options: &[&str]) -> Option<Self> {
        Self::made(Made {
            options,
            ..Made::default()
        })
    }

    fn made(made: Made<'_>) -> Option<Self> {
        let Made {
            options,
            encrypted,
            disk,
        } = made;
        let Some(server) = program("redis-server", &["/usr/bin"]) else {
            skip("redis");
            return None;
        };
        let (directory, address) = (directory("redis"), free_address());
        let has_disk = disk.is_some_and(|mib| small_disk(&directory, mib));
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
        Some(Self {
            kept,
            encrypted,
            has_disk,
        })
    }

    /// Whether it is its disk that [`Redis::fill`] fills.
    pub fn has_disk(&self) -> bool {
        self.has_disk
    }

    /// Nothing more can be written, until `full` is false.
    pub fn fill(&self, full: bool) {
        if self.has_disk {
            self.kept.fill(full);
        } else {
            self.ask(&["CONFIG", "SET", "maxmemory", if full { "1" } else { "0" }]);
        }
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
