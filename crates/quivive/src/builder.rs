//! Putting a server together: for the program, for its commands, and inside somebody else's.
//!
//! **Cast.** A [`Builder`] knows what to build. `Builder::open` opens keys and database and makes the kernel: enough for
//! a command. [`Builder::build`] goes on to the engine and the web: a [`Server`], to be served by whoever holds it.
//!
//! **Order.** Data directory, database with its lock, keys, comparison of the two, kernel, recovery of what a crash left open, first
//! administrator, engine, web. Nothing is ready before all of it is.

mod opened;
mod server;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use metrics_exporter_prometheus::PrometheusHandle;
use quivive_app::Settings;
use quivive_app::ports::{Crm, Mailer};
use quivive_app::switchboard::{self, Workflows};
use quivive_delivery::catalogue::Duplicate;
use quivive_delivery::relay::Broker;
use quivive_delivery::retention::Terms;
use quivive_delivery::subscriber::{Effects, InCommit, NotInCommit, Retry, Subscription};
use quivive_delivery::{Code, Event, Fault, Log};
use quivive_domain::webhook::Reach;
use quivive_outbound::{CrmConfig, Hashing, HttpCrm, HttpOutlet, SmtpConfig, SystemClock};
use quivive_web::request::{ForwardingHeader, Proxies};
#[cfg(feature = "postgres")]
use secrecy::SecretString;

use crate::bus::Bus;
use crate::config::{Directories, FirstAdmin, Location, Mode, Plan};
use crate::start::StartError;

pub use opened::create_keys;
pub use server::Server;

pub(crate) use opened::{KEYS, Opened, has_keys};

/// What to build. The defaults are those of the configuration reference.
pub struct Builder {
    pub(crate) directories: Option<Directories>,
    pub(crate) settings: Settings,
    /// Taken by the kernel.
    pub(crate) workflows: Option<Result<Workflows, Duplicate>>,
    pub(crate) subscriptions: Vec<Subscription>,
    /// Taken by the kernel.
    pub(crate) in_commit: Option<Result<InCommit, NotInCommit>>,
    pub(crate) mail: Mail,
    /// With customer relations to tell, accounts are provisioned.
    pub(crate) crm: Option<Arc<dyn Crm>>,
    pub(crate) templates: Option<PathBuf>,
    pub(crate) hashing: Hashing,
    pub(crate) retry: Retry,
    /// `None`: the log is kept for ever.
    pub(crate) retention: Option<Terms>,
    pub(crate) webhooks: Reach,
    /// Taken when the engine starts. `None`: events go to no broker.
    pub(crate) bus: Option<Result<Bus, Fault>>,
    pub(crate) proxies: Proxies,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) rate_limits: bool,
    pub(crate) admin: Option<FirstAdmin>,
    pub(crate) metrics: Option<PrometheusHandle>,
    /// Taken when the log is opened.
    pub(crate) around_log: Option<Around>,
}

/// Puts something around the log.
pub(crate) type Around = Box<dyn FnOnce(Arc<dyn Log>) -> Arc<dyn Log> + Send>;

/// Where letters go.
pub(crate) enum Mail {
    /// The built-in mailbox; development only.
    Mailbox,
    Smtp(SmtpConfig),
    Own(Arc<dyn Mailer>),
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// A server for development at `http://localhost:8080`, with its letters in a mailbox of its own. Give it at least a
    /// directory.
    pub fn new() -> Self {
        Self {
            directories: None,
            settings: Settings::for_url("http://localhost:8080"),
            workflows: Some(switchboard::workflows()),
            subscriptions: Vec::new(),
            in_commit: None,
            mail: Mail::Mailbox,
            crm: None,
            templates: None,
            hashing: Hashing::default(),
            retry: Retry::DEFAULT,
            retention: None,
            webhooks: Reach::default(),
            bus: None,
            proxies: Proxies::default(),
            cors_origins: Vec::new(),
            rate_limits: true,
            admin: None,
            metrics: None,
            around_log: None,
        }
    }

    /// As configured.
    pub fn of_plan(plan: &Plan) -> Self {
        Self {
            directories: Some(plan.directories.clone()),
            settings: plan.settings.clone(),
            mail: plan.smtp.clone().map_or(Mail::Mailbox, Mail::Smtp),
            templates: plan.templates.clone(),
            hashing: plan.hashing,
            retry: plan.retry,
            retention: Some(plan.retention),
            webhooks: plan.webhooks.clone(),
            bus: plan.bus.clone().map(Bus::of),
            crm: plan.crm.clone().map(crm),
            proxies: plan.proxies.clone(),
            cors_origins: plan.cors_origins.clone(),
            rate_limits: plan.rate_limits,
            admin: plan.admin.clone(),
            ..Self::new()
        }
    }

    /// Keeps database and keys in this directory; it is made when it is not there. One server at a time.
    #[must_use]
    pub fn sqlite(mut self, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        self.directories = Some(Directories {
            database: Location::Sqlite(directory.clone()),
            archive: directory.join("archive"),
            data: directory,
        });
        self
    }

    /// Keeps the database on a PostgreSQL server, by a URL like `postgres://user:password@host/database`, and the keys in this
    /// directory. One server at a time has the directory; several, each with a copy of the keys, may have the database.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn postgres(mut self, url: SecretString, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        self.directories = Some(Directories {
            database: Location::Postgres {
                url,
                trusted_pem: None,
            },
            archive: directory.join("archive"),
            data: directory,
        });
        self
    }

    /// As [`Self::postgres`], with certificates in PEM that are trusted besides the public ones. The URL says `sslmode=require`.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn postgres_with_ca(
        self,
        url: SecretString,
        pem: Vec<u8>,
        directory: impl Into<PathBuf>,
    ) -> Self {
        let mut it = self.postgres(url, directory);
        if let Some(Directories {
            database: Location::Postgres { trusted_pem, .. },
            ..
        }) = &mut it.directories
        {
            *trusted_pem = Some(pem);
        }
        it
    }

    /// Names, lifetimes and policies. An https issuer makes it production: then it needs a mailer.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Reacts to events in code: durable, in order, tried again when it fails, unless the subscription says otherwise.
    #[must_use]
    pub fn subscribe(mut self, subscription: impl Into<Subscription>) -> Self {
        self.subscriptions.push(subscription.into());
        self
    }

    /// Has a say in every commit that raises an `E`: before it is submitted, and again when it is decided again because
    /// something had changed. What the handler adds to the effects is committed with the event or not at all. With a code
    /// it refuses: nothing of the workflow happens, its outcome is Failed with the reason `vetoed`, and the answer is 403
    /// `vetoed`. It must be quick and have no other effect.
    ///
    /// ```
    /// use quivive::app::workflows::accounts::register_user;
    /// use quivive::delivery::Code;
    ///
    /// # fn builder() -> quivive::Builder {
    /// quivive::Builder::new().in_commit("guests", |new: &register_user::Succeeded, _| {
    ///     if new.email.as_str().ends_with("@example.org") {
    ///         return Ok(());
    ///     }
    ///     Err(Code::new("not_one_of_us"))
    /// })
    /// # }
    /// # builder();
    /// ```
    ///
    /// A workflow that refuses by itself stands by it: handlers of its Failed event may add, not refuse. Where the answer
    /// must not tell whether somebody has an account (registration, and asking for a letter) a veto is answered like
    /// success. A veto that depends on the address alone is better given there than at the sign-in.
    #[must_use]
    pub fn in_commit<E: Event>(
        mut self,
        name: &'static str,
        handler: impl Fn(&E, &mut Effects) -> Result<(), Code> + Send + Sync + 'static,
    ) -> Self {
        let all = self.in_commit.unwrap_or_else(|| Ok(InCommit::default()));
        self.in_commit = Some(all.and_then(|all| all.on(name, handler)));
        self
    }

    /// Adds workflows and event types of one's own: `.register(|all| all.workflow::<PlaceOrder>())`.
    #[must_use]
    pub fn register(mut self, add: impl FnOnce(Workflows) -> Result<Workflows, Duplicate>) -> Self {
        self.workflows = self.workflows.map(|workflows| workflows.and_then(add));
        self
    }

    /// Sends letters in one's own way.
    #[must_use]
    pub fn mailer(mut self, mailer: Arc<dyn Mailer>) -> Self {
        self.mail = Mail::Own(mailer);
        self
    }

    /// Keeps the log, and archives of it, for so long; without this nothing is ever cut.
    #[must_use]
    pub fn retention(mut self, terms: Terms) -> Self {
        self.retention = Some(terms);
        self
    }

    /// Gives everybody who verifies an address a profile, and tells the customer relations of them, as one process that is
    /// undone when these give up. Without it neither happens.
    #[must_use]
    pub fn crm(mut self, crm: Arc<dyn Crm>) -> Self {
        self.crm = Some(crm);
        self
    }

    /// Believes what these say of where a request came from, in the header that they write.
    #[must_use]
    pub fn trusted_proxies(mut self, networks: Vec<IpNet>, header: ForwardingHeader) -> Self {
        self.proxies = Proxies { networks, header };
        self
    }

    /// What webhooks may reach besides the public Internet.
    #[must_use]
    pub fn webhooks(mut self, reach: Reach) -> Self {
        self.webhooks = reach;
        self
    }

    /// Brings every event to a message broker, in so many ordered streams, after the log: see
    /// [`relay`](quivive_delivery::relay).
    #[must_use]
    pub fn bus(mut self, broker: Arc<dyn Broker>, shards: NonZeroU32) -> Self {
        let shards = shards.get();
        self.bus = Some(Ok(Bus { broker, shards }));
        self
    }

    /// What `/metrics` prints. A library installs no recorder; who installs one gives its handle here.
    #[must_use]
    pub fn metrics(mut self, handle: PrometheusHandle) -> Self {
        self.metrics = Some(handle);
        self
    }

    /// Puts something between the server and its log, through which every commit goes: to count them, to delay them, or to end
    /// the process at one of them and see what a crash leaves behind. What it gets it must pass on as it is.
    #[must_use]
    pub fn around_log(
        mut self,
        wrap: impl FnOnce(Arc<dyn Log>) -> Arc<dyn Log> + Send + 'static,
    ) -> Self {
        self.around_log = Some(Box::new(wrap));
        self
    }

    /// Builds the whole server. Must be called within a Tokio runtime, which the server then uses.
    pub async fn build(self) -> Result<Server, StartError> {
        Server::start(self).await
    }

    /// Opens the data and makes the kernel, without reacting to anything.
    pub(crate) async fn open(mut self) -> Result<Opened, StartError> {
        Opened::open(&mut self).await
    }

    pub(crate) fn mode(&self) -> Mode {
        if self.settings.issuer.starts_with("https://") {
            Mode::Production
        } else {
            Mode::Development
        }
    }
}

/// The customer relations of the configuration: where they are, the operator says, so every address may be called.
fn crm(config: CrmConfig) -> Arc<dyn Crm> {
    let outlet = Arc::new(HttpOutlet::new(Reach::anywhere()));
    Arc::new(HttpCrm::new(config, outlet, Arc::new(SystemClock)))
}
