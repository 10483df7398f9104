//! A whole server, without the socket it is served on.

use std::sync::Arc;

use axum::Router;
use quivive_app::access::Access;
use quivive_app::admission::Rejections;
use quivive_app::custom_events;
use quivive_app::kernel::{Failure as Outcome, Kernel};
use quivive_app::letters::Letters;
use quivive_app::ports::{Crm, Mailer, Profiles};
use quivive_app::processes::account_provisioning;
use quivive_app::search::Indexer;
use quivive_app::subscribers::sessions;
use quivive_app::switchboard;
use quivive_app::webhooks::Endpoints;
use quivive_app::workflows::operators::bootstrap_administrator::Refusal;
use quivive_delivery::cloudevents::Origin;
use quivive_delivery::engine::Running;
use quivive_delivery::log::Appender;
use quivive_delivery::process::{Deadlines, Processes};
use quivive_delivery::subscriber::{Retry, Subscription};
use quivive_delivery::{Codes as _, Fault};
use quivive_outbound::{Mailbox, SmtpMailer};
use quivive_store::Migrated;
use quivive_web::{Operation, Options, Streams, Web};
use secrecy::SecretString;
use tokio::sync::watch;

use super::opened::Opened;
use super::{Builder, Mail};
use crate::config::Mode;
use crate::control::{Desk, first_administrator, tags};
use crate::health::{Health, INDEX, Kept};
use crate::retention;
use crate::secrets::{SetupLink, mailbox_key};
use crate::start::StartError;

/// A server: subscriptions run, the router answers. Shut it down with [`Server::shut_down`]; a dropped one leaves what
/// was under way to the recovery of the next start.
pub struct Server {
    opened: Opened,
    router: Router,
    pub(crate) setup: Arc<SetupLink>,
    pub(crate) health: Arc<Health>,
    streams: Arc<Streams>,
    pub(crate) mailbox_key: Option<SecretString>,
}

impl Server {
    pub(super) async fn start(mut builder: Builder) -> Result<Self, StartError> {
        let mode = builder.mode();
        if mode == Mode::Production && matches!(builder.mail, Mail::Mailbox) {
            return Err(StartError::NoMailer);
        }
        let opened = Opened::open(&mut builder).await?;
        let streams = Arc::default();
        match Self::over(&mut builder, &opened, mode, &streams).await {
            Ok((router, setup, health, mailbox_key)) => Ok(Self {
                opened,
                router,
                setup,
                health,
                streams,
                mailbox_key,
            }),
            Err(error) => {
                opened.close().await;
                Err(error)
            }
        }
    }

    /// Everything over open data. When it fails, the data are still the caller's to close.
    async fn over(
        builder: &mut Builder,
        opened: &Opened,
        mode: Mode,
        streams: &Arc<Streams>,
    ) -> Result<(Router, Arc<SetupLink>, Arc<Health>, Option<SecretString>), StartError> {
        let setup = Arc::new(set_up(builder, opened).await?);
        let post = Post::of(builder, opened, mode)?;
        let access = Arc::new(Access::new(Arc::clone(&opened.families)));
        let letters = Letters::new(builder.templates.as_deref())?;
        let endpoints = Arc::new(endpoints(builder, opened));
        let mut subscriptions = switchboard::subscribers(
            &opened.families,
            opened.kernel.catalogue(),
            post.mailer,
            letters,
            &endpoints,
            (
                Arc::new(opened.database.clone()),
                Arc::new(opened.database.clone()),
            ),
        );
        subscriptions.append(&mut builder.subscriptions);
        if let Some(crm) = builder.crm.take() {
            subscriptions.extend(provisioning(opened, crm));
        }
        subscriptions.append(&mut endpoints.subscriptions().await?);
        if let Some(bus) = builder.bus.take() {
            subscriptions.push(bus?.subscription(opened, origin(builder)));
        }
        retry_as_configured(&mut subscriptions, builder.retry);
        opened.serve().await?;
        let health = Arc::new(Health::start(opened, subscriptions, builder.metrics.take()).await?);
        // What was registered on another node since it was loaded, and before the head from which this one follows.
        let schemas = opened.families.event_schemas.as_ref();
        custom_events::load(schemas, opened.kernel.catalogue()).await?;
        follow(opened, &access, health.running());
        endpoints.run(health.running().clone());
        opened.kernel.sweep();
        let index = Arc::new(opened.database.clone());
        let running = health.running().clone();
        let indexer = Indexer::new(index.clone(), tags(&opened.kernel, &opened.database))
            .while_mine(move || running.has_duty(INDEX));
        let stopping = opened.tasks.stopping();
        opened.tasks.spawn(indexer.run(stopping));
        if let Some(terms) = builder.retention {
            let directory = &opened.directories.archive;
            retention::start(opened, health.running().clone(), terms, directory)?;
        }
        let rejections = Arc::new(Rejections::new(Arc::clone(&opened.clock)));
        let (tells, kernel) = (Arc::clone(&rejections), Arc::clone(&opened.kernel));
        opened
            .tasks
            .spawn(tells.run(kernel, opened.tasks.stopping()));
        let web = Web {
            options: Options {
                public_url: builder.settings.issuer.clone(),
                development: mode == Mode::Development,
                proxies: builder.proxies.clone(),
                cors_origins: builder.cors_origins.clone(),
                rate_limits: builder.rate_limits,
                mailbox_key: post.key.clone(),
            },
            settings: builder.settings.clone(),
            kernel: Arc::clone(&opened.kernel),
            access,
            rejections,
            log: Arc::new(opened.database.clone()),
            index,
            dead_letters: Arc::new(opened.database.clone()),
            vault: Arc::clone(&opened.families.vault),
            mailbox: post.mailbox,
            operation: Arc::clone(&health) as Arc<dyn Operation>,
            streams: Arc::clone(streams),
            setup: Arc::clone(&setup) as _,
            endpoints,
        };
        Ok((quivive_web::router(Arc::new(web)), setup, health, post.key))
    }

    /// Everything the server answers. Nest it in an axum app, and serve that with
    /// `into_make_service_with_connect_info::<SocketAddr>()`: without it all clients are one source.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Runs workflows, and reads what they read.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.opened.kernel
    }

    /// The subscriptions: how they are doing, and what tests ask of them (`drain`, `mute`, `only`, `captured`).
    pub fn running(&self) -> &Running {
        self.health.running()
    }

    /// Says why, once the store has stopped for good. Then end the process: a restart reads back what is on the disk.
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.opened.store.fatal()
    }

    /// From now on it is not ready, and what would not end by itself does. The rest goes on until [`Server::shut_down`].
    pub(crate) fn stop(&self) {
        self.health.stop();
        self.streams.stop();
    }

    /// The open streams of events. Stop them when you begin to shut down: a server of HTTP that waits for its answers to
    /// end would wait for them.
    pub fn streams(&self) -> Arc<Streams> {
        Arc::clone(&self.streams)
    }

    /// Stops reacting, saves how far each subscription came, ends every task and closes the database.
    pub async fn shut_down(self) {
        self.health.stop();
        self.streams.shut_down().await;
        self.opened.close().await;
    }

    /// As [`Server::shut_down`], where the store is past saving anything.
    pub(crate) async fn abandon(self) {
        self.opened.store.close().await;
    }

    pub(crate) fn desk(&self) -> Desk {
        Desk {
            setup: Some(Arc::clone(&self.setup)),
            operation: Some(Arc::clone(&self.health) as _),
            ..self.opened.desk()
        }
    }

    pub(crate) fn opened(&self) -> &Opened {
        &self.opened
    }

    /// What opening did to the database.
    pub(crate) fn migrated(&self) -> Migrated {
        self.opened.store.migrated()
    }
}

/// Access tokens are judged from memory as long as the `sessions` view is at the head of the log.
fn follow(opened: &Opened, access: &Arc<Access>, running: &Running) {
    let (access, running) = (Arc::clone(access), running.clone());
    let (log, stopping) = (opened.database.clone(), opened.tasks.stopping());
    let reached = move || running.position(sessions::NAME).unwrap_or_default();
    drop(opened.tasks.spawn(async move {
        stopping
            .run_until_cancelled(access.follow(&log, reached))
            .await
    }));
}

/// The steps of account provisioning, with a watch over its deadlines.
fn provisioning(opened: &Opened, crm: Arc<dyn Crm>) -> Vec<Subscription> {
    let database = Arc::new(opened.database.clone());
    let processes: Arc<dyn Processes> = Arc::clone(&database) as _;
    let profiles: Arc<dyn Profiles> = Arc::clone(&database) as _;
    let deadlines = Deadlines {
        processes: Arc::clone(&processes),
        log: Arc::clone(&opened.engine.log),
        appender: Arc::new(Appender::new()),
        catalogue: Arc::clone(opened.kernel.catalogue()),
        clock: Arc::clone(&opened.clock),
        ids: Arc::clone(&opened.ids),
    };
    drop(opened.tasks.spawn(deadlines.run(opened.tasks.stopping())));
    let process = account_provisioning::process(&opened.families, &profiles, crm);
    process.subscriptions(&processes, &opened.clock)
}

/// The administrator of the configuration, or the link for whoever comes first; neither when there is one.
async fn set_up(builder: &Builder, opened: &Opened) -> Result<SetupLink, StartError> {
    let mut needed = opened.families.accounts.administrators().await? == 0;
    if let Some(admin) = builder.admin.as_ref().filter(|_| needed) {
        match first_administrator(&opened.kernel, admin).await {
            Ok(user_id) => {
                tracing::info!(%user_id, "the administrator of the configuration was created");
            }
            Err(Outcome::Refused(Refusal::AlreadyDone)) => {}
            Err(Outcome::Refused(refusal)) => {
                return Err(StartError::FirstAdmin {
                    why: refusal.code(),
                });
            }
            Err(Outcome::Vetoed(_)) => return Err(StartError::FirstAdmin { why: "vetoed" }),
            Err(Outcome::NotAdmitted(fault) | Outcome::Fault(fault)) => return Err(fault.into()),
            Err(Outcome::Conflict | Outcome::Closed | Outcome::Internal) => {
                return Err(Fault::Internal(
                    "the first administrator could not be created".to_owned(),
                )
                .into());
            }
        }
        needed = false;
    }
    let clock = Arc::clone(&opened.clock);
    Ok(SetupLink::new(
        &opened.directories.data,
        needed,
        opened.ids.as_ref(),
        clock,
    ))
}

/// Who raises the events.
fn origin(builder: &Builder) -> Origin {
    let source = builder.settings.issuer.clone();
    Origin {
        schemas: format!("{source}/api/v1/events/schemas"),
        source,
    }
}

fn endpoints(builder: &Builder, opened: &Opened) -> Endpoints {
    let origin = origin(builder);
    let (kernel, tasks) = (Arc::clone(&opened.kernel), opened.tasks.clone());
    Endpoints::new(kernel, Arc::new(opened.database.clone()), tasks, origin)
}

/// Where letters go, and where they can be read if that is here.
struct Post {
    mailer: Arc<dyn Mailer>,
    mailbox: Option<Arc<dyn quivive_web::Mailbox>>,
    key: Option<SecretString>,
}

impl Post {
    fn of(builder: &Builder, opened: &Opened, mode: Mode) -> Result<Self, StartError> {
        let mailer: Arc<dyn Mailer> = match &builder.mail {
            Mail::Own(mailer) => Arc::clone(mailer),
            Mail::Smtp(smtp) => Arc::new(SmtpMailer::new(smtp, Arc::clone(&opened.clock))?),
            Mail::Mailbox => {
                debug_assert_eq!(
                    mode,
                    Mode::Development,
                    "checked before anything was opened"
                );
                let data = &opened.directories.data;
                let key = mailbox_key(data, opened.ids.as_ref()).map_err(|source| {
                    StartError::Directory {
                        path: data.clone(),
                        source,
                    }
                })?;
                let mailbox = Arc::new(Mailbox::new(Arc::clone(&opened.clock)));
                return Ok(Self {
                    mailbox: Some(Arc::new(Kept(Arc::clone(&mailbox)))),
                    mailer: mailbox,
                    key: Some(key),
                });
            }
        };
        Ok(Self {
            mailer,
            mailbox: None,
            key: None,
        })
    }
}

/// What has no retry of its own is tried again as the operator said.
fn retry_as_configured(subscriptions: &mut [Subscription], retry: Retry) {
    for subscription in subscriptions {
        if subscription.retry == Retry::DEFAULT {
            subscription.retry = retry;
        }
    }
}
