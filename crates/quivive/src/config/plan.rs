//! The configuration as the wiring takes it: checked, and complete.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use quivive_app::Settings;
use quivive_delivery::retention::Terms;
use quivive_delivery::subscriber::Retry;
use quivive_domain::webhook::Reach;
use quivive_outbound::{BusConfig, CrmConfig, Hashing, SmtpConfig};
use quivive_web::request::Proxies;

use super::report::Report;
use super::{Directories, FirstAdmin, Loaded, Log, Mode, Sections, lifetimes};

/// Where archives are, in the data directory, unless they are elsewhere.
const ARCHIVE: &str = "archive";

/// A server to be built.
#[derive(Debug, Clone)]
pub struct Plan {
    pub mode: Mode,
    pub listen: SocketAddr,
    pub management: Option<SocketAddr>,
    /// No slash at its end.
    pub public_url: String,
    pub directories: Directories,
    pub proxies: Proxies,
    pub cors_origins: Vec<String>,
    pub rate_limits: bool,
    pub max_connections: usize,
    /// How long requests under way may take to end.
    pub drain: Duration,
    /// `None`: letters go to the mailbox; development only.
    pub smtp: Option<SmtpConfig>,
    pub settings: Settings,
    /// A folder of letter templates that replace the built-in ones.
    pub templates: Option<PathBuf>,
    pub hashing: Hashing,
    pub retry: Retry,
    pub retention: Terms,
    pub webhooks: Reach,
    /// `None`: events go to no broker.
    pub bus: Option<BusConfig>,
    /// `None`: nobody is told of new accounts.
    pub crm: Option<CrmConfig>,
    pub log: Log,
    pub admin: Option<FirstAdmin>,
    /// The file that was read.
    pub config_file: Option<PathBuf>,
    /// Where a file was looked for.
    pub searched: Vec<PathBuf>,
}

pub(super) fn check(sections: &Sections, loaded: &Loaded, report: &mut Report<'_>) -> Option<Plan> {
    let directories = directories(sections, loaded, report);
    let server = sections.server.check(report);
    let smtp = sections.mail.check(server.as_ref(), report);
    let management = sections.management.check(report);
    let cors_origins = sections.cors.check(report);
    let hashing = sections.hashing.check(report);
    let retry = sections.delivery.check(report);
    let retention = sections.retention.check(report);
    let webhooks = sections.webhooks.check(report);
    let bus = sections.bus.check(report);
    let crm = sections.provisioning.check(report);
    let log = sections.log.check(report);
    let admin = sections.admin.check(report);
    let public_url = server.as_ref().map_or("", |server| &server.public_url);
    let settings = settings(sections, public_url, report);
    let server = server?;
    Some(Plan {
        mode: server.mode,
        listen: server.listen,
        management,
        public_url: server.public_url,
        directories: directories?,
        proxies: server.proxies,
        cors_origins,
        rate_limits: sections.rate_limits.enabled,
        max_connections: server.max_connections,
        drain: server.drain,
        smtp,
        settings,
        templates: sections.letters.templates.clone(),
        hashing,
        retry,
        retention,
        webhooks,
        bus,
        crm,
        log: log?,
        admin,
        config_file: loaded.file.clone(),
        searched: loaded.searched.clone(),
    })
}

pub(super) fn directories(
    sections: &Sections,
    loaded: &Loaded,
    report: &mut Report<'_>,
) -> Option<Directories> {
    let configured = sections
        .server
        .data_dir
        .as_ref()
        .or(loaded.default_data_dir.as_ref());
    let Some(data) = configured.filter(|dir| !dir.as_os_str().is_empty()) else {
        report.bad(
            "server.data_dir",
            "is missing, and there is no home directory to put it in",
            "name a directory with --data-dir",
        );
        return None;
    };
    Some(Directories {
        database: sections.database.check(data, report)?,
        archive: sections
            .retention
            .archive_dir
            .clone()
            .unwrap_or_else(|| data.join(ARCHIVE)),
        data: data.clone(),
    })
}

fn settings(sections: &Sections, public_url: &str, report: &mut Report<'_>) -> Settings {
    let product = sections.product.check(report);
    let (passwords, password_history) = sections.passwords.check(&product, report);
    Settings {
        audience: sections
            .tokens
            .audience
            .clone()
            .unwrap_or_else(|| public_url.to_owned()),
        issuer: public_url.to_owned(),
        lifetimes: lifetimes::check(
            &sections.tokens,
            &sections.sessions,
            &sections.letters,
            &sections.registration,
            report,
        ),
        max_sessions_of: sections.sessions.of_roles(report),
        max_sessions_of_users: sections.sessions.of_users(report),
        verified_tokens: sections.tokens.verified(report),
        guesses: sections.lockout.check(report),
        passwords,
        password_history,
        registration_open: sections.registration.open,
        links: sections.links.check(public_url, report),
        product,
    }
}

impl Plan {
    /// The same plan once the address is known, where port 0 let the system choose the port.
    #[must_use]
    pub fn bound_to(mut self, listen: SocketAddr) -> Self {
        if self.listen.port() != 0 || self.mode == Mode::Production {
            return self;
        }
        let moved = |text: &str| text.replacen(":0", &format!(":{}", listen.port()), 1);
        let public_url = moved(&self.public_url);
        let settings = &mut self.settings;
        for text in [
            &mut settings.links.verify,
            &mut settings.links.reset,
            &mut settings.links.forgot,
            &mut settings.links.change_email,
            &mut settings.links.revert_email,
        ] {
            if text.starts_with(&self.public_url) {
                *text = moved(text);
            }
        }
        if settings.audience == settings.issuer {
            settings.audience.clone_from(&public_url);
        }
        settings.issuer.clone_from(&public_url);
        self.public_url = public_url;
        self.listen = listen;
        self
    }
}
