//! RabbitMQ: a node of its own name with a port mapper of its own, so that it knows no other on this machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::certificates::Certificate;

use super::{Kept, Server, directory, free_address, program, skip};

/// Runs the node and its port mapper in one process group. A short name, for it needs no name service.
const SCRIPT: &str = r#"
dir=$1 amqp=$2 epmd=$3 dist=$4 server=$5
export HOME=$dir ERL_EPMD_PORT=$epmd ERL_EPMD_ADDRESS=127.0.0.1
export RABBITMQ_NODENAME=qv$amqp@localhost RABBITMQ_DIST_PORT=$dist
export RABBITMQ_MNESIA_BASE=$dir/mnesia RABBITMQ_LOG_BASE=$dir/log.d RABBITMQ_LOGS=- RABBITMQ_PID_FILE=$dir/pid
export RABBITMQ_ENABLED_PLUGINS_FILE=$dir/plugins RABBITMQ_CONFIG_FILE=$dir/rabbitmq RABBITMQ_CONF_ENV_FILE=/dev/null
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 1:1 +sbwt none"
epmd &
exec "$server"
"#;

/// A running node.
pub struct RabbitMq {
    kept: Kept,
    encrypted: bool,
    ctl: PathBuf,
    epmd: u16,
}

impl RabbitMq {
    /// `None` where it is not installed. It takes some seconds.
    pub fn start() -> Option<Self> {
        Self::made(None)
    }

    /// One that speaks TLS alone.
    pub fn encrypted(certificate: &Certificate) -> Option<Self> {
        Self::made(Some(certificate))
    }

    fn made(certificate: Option<&Certificate>) -> Option<Self> {
        let installed = std::fs::read_dir("/usr/lib/rabbitmq/lib").into_iter();
        let mut places: Vec<_> = installed
            .flatten()
            .flatten()
            .map(|version| version.path().join("sbin").display().to_string())
            .collect();
        places.sort();
        let places: Vec<_> = places.iter().rev().map(String::as_str).collect();
        // Not the one in the PATH before these: that one wants to be another user.
        let server = places
            .iter()
            .map(|place| PathBuf::from(place).join("rabbitmq-server"))
            .find(|server| server.is_file());
        let (Some(server), Some(_)) = (server, program("epmd", &["/usr/bin"])) else {
            skip("rabbitmq");
            return None;
        };
        let directory = directory("rabbit");
        let [address, epmd, dist] = [free_address(), free_address(), free_address()];
        std::fs::write(directory.join("plugins"), "[].\n").expect("it was just made");
        let listeners = match certificate {
            None => format!("listeners.tcp.1 = {address}"),
            Some(Certificate { certificate, key }) => format!(
                "listeners.tcp = none\nlisteners.ssl.1 = {address}\nssl_options.certfile = {}\n\
                ssl_options.keyfile = {}\nssl_options.verify = verify_none",
                certificate.display(),
                key.display()
            ),
        };
        let config = format!(
            "{listeners}\nlog.console.level = warning\nloopback_users = none\n\
            disk_free_limit.absolute = 10MB\nvm_memory_high_watermark.absolute = 512MB\n"
        );
        std::fs::write(directory.join("rabbitmq.conf"), config).expect("it was just made");
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh"]).arg(&directory);
        for port in [address, epmd, dist] {
            command.arg(port.port().to_string());
        }
        command.arg(&server);
        let kept = Kept::new(directory, &command, address);
        kept.start();
        Some(Self {
            kept,
            encrypted: certificate.is_some(),
            ctl: server.with_file_name("rabbitmqctl"),
            epmd: epmd.port(),
        })
    }

    /// A command of its own tool, and what that prints.
    pub fn ctl(&self, words: &[&str]) -> String {
        let mut ctl = Command::new(&self.ctl);
        let done = ctl
            .arg("--quiet")
            .args(["-n", &format!("qv{}@localhost", self.kept.address.port())])
            .args(words)
            .env("HOME", &self.kept.directory)
            .env("ERL_EPMD_PORT", self.epmd.to_string())
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .output()
            .expect("rabbitmqctl is there with the server");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{words:?}: {said}");
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }
}

impl Server for RabbitMq {
    fn url_by(&self, address: SocketAddr) -> String {
        if self.encrypted {
            format!("amqps://guest:guest@localhost:{}/%2f", address.port())
        } else {
            format!("amqp://guest:guest@{address}/%2f")
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
