//! The first thing a person sees: what runs, where, and what to do next.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Mode;

/// The width at which the mode ends.
const WIDTH: usize = 98;

/// What the banner tells.
pub(crate) struct Banner<'a> {
    pub mode: Mode,
    pub url: &'a str,
    pub mail: Mail<'a>,
    pub management: Option<std::net::SocketAddr>,
    pub database: String,
    pub schema: Schema,
    pub keys: &'a Path,
    pub keys_created: bool,
    /// The file that was read.
    pub config: Option<&'a Path>,
    pub searched: &'a [PathBuf],
    pub subscriptions: usize,
    /// The link of the first minute. A secret: only for a terminal.
    pub setup: Option<&'a str>,
}

/// Where letters go.
pub(crate) enum Mail<'a> {
    /// With the mailbox's key: a secret.
    Mailbox { key: &'a str },
    Server {
        host: &'a str,
        port: u16,
        from: &'a str,
    },
}

/// What opening did to the database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema {
    pub applied: usize,
    pub version: u32,
    pub took: Duration,
}

impl Banner<'_> {
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let name = format!("  quivive {}", env!("CARGO_PKG_VERSION"));
        let mode = match self.mode {
            Mode::Development => "mode: development (loopback)",
            Mode::Production => "mode: production",
        };
        let gap = WIDTH.saturating_sub(name.chars().count());
        let _ = writeln!(text, "{name}{mode:>gap$}");
        let lines = self.lines();
        for (index, (what, told)) in lines.iter().enumerate() {
            let branch = if index + 1 == lines.len() {
                "└─"
            } else {
                "├─"
            };
            let _ = writeln!(text, "  {branch} {what:<14}  {told}");
        }
        if let Some(setup) = self.setup {
            let _ = writeln!(
                text,
                "  ! No administrator yet. Open this link within 30 minutes: {setup}"
            );
            let _ = writeln!(text, "    or run: quivive admin create you@example.org");
        }
        text
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let url = self.url;
        let mut lines = vec![
            ("Pages", format!("{url}/")),
            ("API and docs", format!("{url}/api/docs")),
            self.mail(),
        ];
        if let Some(address) = self.management {
            lines.push(("Management", format!("http://{address}/metrics")));
        }
        lines.push((
            "Data",
            format!("{}    ({})", self.database, self.schema.told()),
        ));
        let keys = if self.keys_created { "created, " } else { "" };
        lines.push((
            "Keys",
            format!("{}    ({keys}readable by you alone)", self.keys.display()),
        ));
        lines.push(("Config", self.config()));
        let plural = if self.subscriptions == 1 { "" } else { "s" };
        lines.push((
            "Events",
            format!("{} subscription{plural} ready", self.subscriptions),
        ));
        lines
    }

    fn mail(&self) -> (&'static str, String) {
        match self.mail {
            Mail::Mailbox { key } => {
                let why = "no SMTP configured: letters are kept here, in memory";
                (
                    "Mailbox",
                    format!("{}/dev/mail?key={key}    ({why})", self.url),
                )
            }
            Mail::Server { host, port, from } => ("Mail", format!("{host}:{port}, from {from}")),
        }
    }

    fn config(&self) -> String {
        if let Some(file) = self.config {
            return file.display().to_string();
        }
        let searched: Vec<_> = self.searched.iter().map(|path| shown(path)).collect();
        format!("none found (looked in {})", searched.join(", "))
    }
}

/// A relative path as one types it.
fn shown(path: &Path) -> String {
    let dot = if path.is_relative() { "./" } else { "" };
    format!("{dot}{}", path.display())
}

impl Schema {
    fn told(self) -> String {
        let Self {
            applied,
            version,
            took,
        } = self;
        if applied == 0 {
            return format!("schema {version}");
        }
        let created = if u32::try_from(applied) == Ok(version) {
            "created, "
        } else {
            ""
        };
        let plural = if applied == 1 { "" } else { "s" };
        format!(
            "{created}{applied} migration{plural} applied in {} ms",
            took.as_millis()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(banner: &Banner<'_>, golden: &str) {
        let text = banner.text();
        assert!(
            text == golden,
            "the banner is now:\n{text}\nand was:\n{golden}"
        );
    }

    fn banner() -> Banner<'static> {
        Banner {
            mode: Mode::Development,
            url: "http://localhost:8080",
            mail: Mail::Mailbox { key: "k3y" },
            management: None,
            database: "/home/ada/.local/share/quivive/quivive.db".into(),
            schema: Schema {
                applied: 1,
                version: 1,
                took: Duration::from_millis(9),
            },
            keys: Path::new("/home/ada/.local/share/quivive/keys"),
            keys_created: true,
            config: None,
            searched: &[],
            subscriptions: 6,
            setup: Some("http://localhost:8080/setup?token=t0ken"),
        }
    }

    #[test]
    fn the_first_minute() {
        let searched = [
            "quivive.toml",
            "/home/ada/.config/quivive/config.toml",
            "/etc/quivive/config.toml",
        ];
        let searched: Vec<_> = searched.iter().map(PathBuf::from).collect();
        let banner = Banner {
            searched: &searched,
            ..banner()
        };
        check(&banner, include_str!("banner.first.txt"));
    }

    #[test]
    fn a_server_that_has_run_before() {
        let banner = Banner {
            mode: Mode::Production,
            url: "https://id.example.org",
            mail: Mail::Server {
                host: "smtp.example.org",
                port: 465,
                from: "Quivive <no-reply@example.org>",
            },
            management: Some("127.0.0.1:9090".parse().unwrap()),
            schema: Schema {
                applied: 0,
                version: 2,
                took: Duration::ZERO,
            },
            keys_created: false,
            config: Some(Path::new("/etc/quivive/config.toml")),
            subscriptions: 1,
            setup: None,
            ..banner()
        };
        check(&banner, include_str!("banner.production.txt"));
    }
}
