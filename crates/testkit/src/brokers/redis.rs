//! Redis: in memory, or with an append-only file that every write is synced to.

use std::net::SocketAddr;
use std::process::Command;

use super::{Kept, Server, directory, free_address, program, skip};

/// A running server.
pub struct Redis(Kept);

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

    fn with(options: &[&str]) -> Option<Self> {
        let Some(server) = program("redis-server", &["/usr/bin"]) else {
            skip("redis");
            return None;
        };
        let (directory, address) = (directory("redis"), free_address());
        let mut command = Command::new(server);
        command
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .arg("--dir")
            .arg(&directory)
            .args(options);
        let kept = Kept::new(directory, &command, address);
        kept.start();
        Some(Self(kept))
    }

    /// A command of its own client, and what that prints.
    pub fn ask(&self, words: &[&str]) -> String {
        let port = self.0.address.port().to_string();
        let mut client = Command::new("redis-cli");
        let asked = client.args(["-p", &port]).args(words).output();
        let asked = asked.expect("redis-cli is there with the server");
        String::from_utf8_lossy(&asked.stdout).trim().to_owned()
    }
}

impl Server for Redis {
    fn url_by(&self, address: SocketAddr) -> String {
        format!("redis://{address}")
    }

    fn address(&self) -> SocketAddr {
        self.0.address
    }

    fn start(&self) {
        self.0.start();
    }

    fn kill(&self) {
        self.0.tell("kill");
    }

    fn end(&self) {
        self.0.tell("end");
    }

    fn freeze(&self) {
        self.0.tell("freeze");
    }

    fn thaw(&self) {
        self.0.tell("thaw");
    }
}
