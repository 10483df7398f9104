//! `quivive serve`: a server from its configuration to its last request.
//!
//! **Order.** Log → runtime → address → database, keys, kernel, engine, web ([`crate::builder`]) → control socket →
//! listening → ready. What is wrong is said before anything is touched, as far as it can be known.
//!
//! **Two runtimes.** Connections are accepted, read and answered in one of their own, the edge: there it is decided who is let
//! in. What was let in runs in the other, as workflows, and so does all that the server does by itself. A step of a workflow
//! waits for other workflows, of which there are only so many, and not for everybody who has just come (ADR 15).
//!
//! **The end.** On SIGTERM or SIGINT nothing new is accepted, and `/readyz` says so; streams end at once, what is under way
//! has the configured time to; subscriptions save how far they came; the database is closed; exit code 0. A second signal cuts the wait
//! short. A store that has stopped for good ends the process with exit code 74: a restart reads back what is on the disk.

mod banner;
mod connections;
mod crowd;
mod figures;
mod management;
mod patience;
mod signals;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::tasks::Tasks;
use quivive_web::Operation;
use secrecy::ExposeSecret as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::builder::{self, Server, has_keys};
use crate::config::{Mode, Plan};
use crate::control;
use crate::failure::{Class, Failure};
use crate::logging::{self, Lines};
use crate::start::StartError;

use banner::{Banner, Mail, Schema};
use signals::Signals;

/// Connections that wait to be accepted. Linux cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 1_024;

/// Of a thread of the runtime. Nothing of ours recurses; the libraries' deepest need a fraction of it.
const STACK_BYTES: usize = 1024 * 1024;

/// As a step of priority: five count a third.
#[cfg(target_os = "linux")]
const GIVES_WAY: i32 = 5;

/// What is left of a stopped server ends by itself; nothing is lost by not waiting for it.
const FAREWELL: Duration = Duration::from_millis(200);

/// Serves until told to stop.
pub fn run(plan: Plan) -> Result<(), Failure> {
    let lines = logging::init(&plan.log);
    let edge = runtime("quivive-edge")?;
    // Threads have the priority of who starts them. The edge's are there by now.
    give_way();
    let inside = runtime("quivive")?;
    let ended = inside.block_on(serve(plan, lines, edge.handle()));
    edge.shutdown_timeout(FAREWELL);
    inside.shutdown_timeout(FAREWELL);
    ended
}

/// All that is started from now on counts a third as much as the edge, when there are too few cores: who asks under a flood
/// hears soon that there is no place, and those that have one are few.
fn give_way() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        let thread = Some(rustix::thread::gettid());
        // Nobody is refused this. If it were, all would count the same.
        let _ = getpriority_process(thread)
            .and_then(|nice| setpriority_process(thread, nice + GIVES_WAY));
    }
}

fn runtime(name: &str) -> Result<Runtime, StartError> {
    Builder::new_multi_thread()
        .thread_name(name)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .map_err(StartError::Runtime)
}

/// In production keys are never made on the side: a server that finds none was most likely given the wrong directory.
pub fn check_keys(plan: &Plan) -> Result<(), StartError> {
    if plan.mode == Mode::Development || has_keys(&plan.directories) {
        return Ok(());
    }
    Err(StartError::NoKeys {
        directory: plan.directories.data.join("keys"),
    })
}

async fn serve(plan: Plan, lines: Lines, edge: &Handle) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    check_keys(&plan)?;
    let (socket, address) = bind(plan.listen)?;
    let management = plan.management.map(bind).transpose()?;
    let plan = plan.bound_to(address);
    let mut builder = builder::Builder::of_plan(&plan);
    let figures = figures::install();
    if let Some(figures) = &figures {
        builder = builder.metrics(figures.clone());
    }
    let server = builder.build().await?;
    let invitation = Invitation::prepare(&plan, &server, lines);
    let ready = || announce(&plan, &server, lines, invitation);
    let opened = {
        let _edge = edge.enter();
        Running::open(&plan, &server, socket, management, ready)
    };
    let running = match opened {
        Ok(running) => running,
        Err(error) => {
            server.shut_down().await;
            return Err(error.into());
        }
    };
    if let Some(figures) = figures {
        figures::keep_up(figures, &running.connections);
    }
    let mut fatal = server.fatal();
    tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping: no new connections, what is under way may end");
            server.stop();
            running.stop(&mut signals).await;
            server.shut_down().await;
            tracing::info!("stopped");
            Ok(())
        }
        why = fatal.wait_for(Option::is_some) => {
            let why = why.ok().and_then(|why| why.clone()).unwrap_or_default();
            tracing::error!(why, "the store has stopped: nothing more can be made durable");
            server.abandon().await;
            let remedy = "look at the disk; when it is sound, start again: what was acknowledged is there";
            Err(Failure::new(Class::Io, format!("the store has stopped: {why}"), remedy))
        }
    }
}

/// Takes the address without accepting yet, so that a port in use is told before anything else happens.
fn bind(address: SocketAddr) -> Result<(TcpSocket, SocketAddr), StartError> {
    let bound = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // A restart need not wait for connections of the last run to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let bound = socket.local_addr()?;
        Ok((socket, bound))
    };
    bound().map_err(|source| StartError::Listen { address, source })
}

/// What accepts: people, operators, collectors of figures.
struct Running {
    connections: Tasks,
    drain: Duration,
}

impl Running {
    /// Accepts in the runtime that this is called in. `ready` is called when nothing can fail any more, and before anybody is answered.
    fn open(
        plan: &Plan,
        server: &Server,
        socket: TcpSocket,
        management: Option<(TcpSocket, SocketAddr)>,
        ready: impl FnOnce(),
    ) -> Result<Self, StartError> {
        let connections = Tasks::new();
        let data = &plan.directories.data;
        control::listen(data, server.desk(), &connections).map_err(|source| {
            StartError::Directory {
                path: data.clone(),
                source,
            }
        })?;
        if let Some((socket, address)) = management {
            let router = management::router(Arc::clone(&server.health) as Arc<dyn Operation>);
            let limit = management::MAX_CONNECTIONS;
            connections::accept(
                listen(socket, address)?,
                router,
                limit,
                plan.drain,
                &connections,
            );
        }
        let listener = listen(socket, plan.listen)?;
        let limit = connections::affordable(plan.max_connections);
        ready();
        connections::accept(listener, server.router(), limit, plan.drain, &connections);
        Ok(Self {
            connections,
            drain: plan.drain,
        })
    }

    /// Lets what is under way end, for as long as it may take or until a second signal.
    async fn stop(self, signals: &mut Signals) {
        tokio::select! {
            ended = tokio::time::timeout(self.drain + FAREWELL, self.connections.shut_down()) => {
                if ended.is_err() {
                    tracing::warn!("some requests did not end in time and were cut off");
                }
            }
            signal = signals.next() => tracing::warn!(signal, "told again: what is under way was cut off"),
        }
    }
}

fn listen(socket: TcpSocket, address: SocketAddr) -> Result<TcpListener, StartError> {
    socket
        .listen(BACKLOG)
        .map_err(|source| StartError::Listen { address, source })
}

/// How the first administrator gets in. The link is a secret: for a terminal or a private file, never for a log.
enum Invitation {
    /// There is an administrator.
    None,
    Terminal(String),
    File(std::io::Result<PathBuf>),
}

impl Invitation {
    /// Before anybody can find the server ready, so that whoever does finds the file too.
    fn prepare(plan: &Plan, server: &Server, lines: Lines) -> Self {
        use std::io::IsTerminal as _;
        match server.setup.url(&plan.public_url) {
            None => Self::None,
            Some(link) if std::io::stderr().is_terminal() && lines == Lines::Text => {
                Self::Terminal(link)
            }
            Some(link) => Self::File(server.setup.write(&link).map(Path::to_owned)),
        }
    }
}

/// Says that it is ready, and how to go on.
fn announce(plan: &Plan, server: &Server, lines: Lines, invitation: Invitation) {
    use std::io::{IsTerminal as _, Write as _};
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() && lines == Lines::Text {
        let key = server
            .mailbox_key
            .as_ref()
            .map_or("", |key| key.expose_secret());
        let link = match &invitation {
            Invitation::Terminal(link) => Some(link.as_str()),
            Invitation::None | Invitation::File(_) => None,
        };
        let text = banner(plan, server, key, link).text();
        // Who closed the terminal does not read it.
        let _ = stderr.write_all(text.as_bytes());
        return;
    }
    if lines == Lines::Text {
        let text = banner(plan, server, "…", None).text();
        let _ = stderr.write_all(text.as_bytes());
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = %plan.listen,
        public_url = plan.public_url,
        development = plan.mode == Mode::Development,
        data = %plan.directories.data.display(),
        migrations = server.migrated().applied,
        subscriptions = server.health.count(),
        "ready"
    );
    match invitation {
        Invitation::None | Invitation::Terminal(_) => {}
        Invitation::File(Ok(path)) => tracing::info!(
            path = %path.display(),
            "no administrator yet: open the link in this file within 30 minutes, or run `quivive admin create`"
        ),
        Invitation::File(Err(error)) => {
            tracing::warn!(%error, "no administrator yet, and the link could not be written: run `quivive admin create`");
        }
    }
}

fn banner<'a>(
    plan: &'a Plan,
    server: &'a Server,
    key: &'a str,
    setup: Option<&'a str>,
) -> Banner<'a> {
    let migrated = server.migrated();
    let opened = server.opened();
    Banner {
        mode: plan.mode,
        url: &plan.public_url,
        mail: match &plan.smtp {
            Some(smtp) => Mail::Server {
                host: &smtp.host,
                port: smtp.port,
                from: &smtp.from,
            },
            None => Mail::Mailbox { key },
        },
        management: plan.management,
        database: opened.store.shown(&plan.directories),
        schema: Schema {
            applied: migrated.applied,
            version: migrated.version,
            took: migrated.took,
        },
        keys: opened.keys.directory(),
        keys_created: opened.keys.created(),
        config: plan.config_file.as_deref(),
        searched: &plan.searched,
        subscriptions: server.health.count(),
        setup,
    }
}
