//! `[bus]`: where every event goes after the log.

use std::collections::HashSet;
use std::path::PathBuf;

use quivive_outbound::bus::is_encrypted;
use quivive_outbound::{BusConfig, BusKind, Tls};
use secrecy::SecretString;
use serde::Deserialize;

use super::report::Report;
use super::secret::Secret;
use super::trust;

/// Names in streams and queues.
const NAME: &str = "write 1 to 64 letters, digits, dots, hyphens or underscores";

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Bus {
    kind: String,
    url: Option<Secret>,
    ca_file: Option<PathBuf>,
    shards: u32,
    prefix: String,
    max_unread: u64,
    services: Vec<String>,
}

impl Bus {
    /// A broker, or `None` where events stay in this process. A URL is not repeated: it may hold a password.
    pub(super) fn check(&self, report: &mut Report<'_>) -> Option<BusConfig> {
        let kind = self.kind.as_str();
        let wanted = match kind {
            "memory" => {
                if self.url.is_some() {
                    let what = "= \"memory\" goes nowhere, and bus.url is set";
                    let remedy = "write redis, rabbitmq or hybrid, or leave the URL out";
                    report.bad("bus.kind", what, remedy);
                }
                if self.ca_file.is_some() {
                    let what = "is given, and bus.kind = \"memory\" goes nowhere";
                    report.bad("bus.ca_file", what, "leave it out, or choose a broker");
                }
                return None;
            }
            "redis" => Some(BusKind::Redis),
            "rabbitmq" => Some(BusKind::RabbitMq),
            "hybrid" => None,
            _ => {
                let what = format!("= {kind:?} is no bus");
                let remedy = "write memory, redis, rabbitmq or hybrid";
                report.bad("bus.kind", &what, remedy);
                return None;
            }
        };
        let example = match wanted {
            Some(BusKind::RabbitMq) => "write amqp://user:password@host:5672/vhost",
            Some(BusKind::Redis) => "write redis://:password@host:6379/0",
            None => "write redis://:password@host:6379/0 or amqp://user:password@host:5672/vhost",
        };
        let Some(url) = &self.url else {
            let what = format!("is missing, and bus.kind is {kind:?}");
            report.bad("bus.url", &what, example);
            return None;
        };
        let found = match BusKind::of(&url.0) {
            Ok(found) => found,
            Err(error) => {
                report.bad("bus.url", &format!("will not do: {error}"), example);
                return None;
            }
        };
        if wanted.is_some_and(|wanted| wanted != found) {
            let what = format!("is of another broker than bus.kind, which is {kind:?}");
            report.bad("bus.url", &what, example);
        }
        let (built, feature) = match found {
            BusKind::Redis => (cfg!(feature = "redis"), "redis"),
            BusKind::RabbitMq => (cfg!(feature = "rabbitmq"), "rabbitmq"),
        };
        if !built {
            let what = "is of a broker that this program was built without";
            let remedy = format!("build it with --features {feature}, or write kind = \"memory\"");
            report.bad("bus.url", what, &remedy);
        }
        if !is_name(&self.prefix) {
            report.bad("bus.prefix", "is no name", NAME);
        }
        let unique: HashSet<_> = self.services.iter().collect();
        if unique.len() < self.services.len() || !self.services.iter().all(|name| is_name(name)) {
            report.bad(
                "bus.services",
                "has a name twice, or one that is none",
                NAME,
            );
        }
        if found == BusKind::RabbitMq && self.services.is_empty() {
            let what = "names nobody, so there are no queues";
            report.bad("bus.services", what, "name each service that reads events");
        }
        Some(BusConfig {
            tls: self.tls(&url.0, report),
            url: url.0.clone(),
            prefix: self.prefix.clone(),
            shards: report.within("bus.shards", self.shards, 1..=64),
            max_unread: report.within("bus.max_unread", self.max_unread, 1_000..=1_000_000_000),
            drops_unread: wanted.is_none(),
            services: self.services.clone(),
        })
    }

    fn tls(&self, url: &SecretString, report: &mut Report<'_>) -> Tls {
        const KEY: &str = "bus.ca_file";
        if self.ca_file.is_some() && !is_encrypted(url) {
            let what = "is given, and bus.url does not ask for TLS";
            report.bad(KEY, what, "write rediss:// or amqps:// in bus.url");
        }
        let Some(pem) = trust::certificates(KEY, self.ca_file.as_deref(), report) else {
            return Tls::default();
        };
        Tls::new(Some(&pem)).unwrap_or_else(|error| {
            let what = format!("will not do: {error}");
            report.bad(KEY, &what, "name a file of certificates in PEM");
            Tls::default()
        })
    }
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}
