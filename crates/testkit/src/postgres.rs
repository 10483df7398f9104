//! A PostgreSQL server of the tests' own: made once for a test program, with a database for each test.
//!
//! It listens on a Unix socket in a short directory under `/tmp`, runs as an unprivileged user where the tests are root (it
//! refuses to be), and ends with the program that made it, however that ends: a shell beside it waits for the end of a
//! pipe, stops it by its process id, and removes the directory.

pub mod pair;
pub mod servers;

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use quivive_outbound::SystemClock;
use quivive_store::POSTGRES_MIGRATIONS;
use quivive_store_postgres::{Postgres, PostgresOptions};

use crate::certificates::Certificate;

/// The superuser of the server.
const USER: &str = "quivive";

/// What every database is copied from: the newest schema, and nothing else.
const TEMPLATE: &str = "quivive_template";

/// Who comes by network does so in TLS, with a password.
const ENCRYPTED: &str = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";

/// The password of who comes by network.
pub const NETWORK_PASSWORD: &str = "geheim";

/// Starts the server, does what it reads, and cleans up at the end of it. A test needs no durability.
const KEEPER: &str = r#"
bin=$1 dir=$2 user=$3; shift 3
"$bin/initdb" -D "$dir/data" -U "$user" -A trust -E UTF8 --locale=C --no-sync >"$dir/log" 2>&1 || exit 1
hba() { [ -f "$dir/hba" ] && cp "$dir/hba" "$dir/data/pg_hba.conf"; }
hba
start() {
    "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off -c max_connections=400 \
        -c shared_buffers=64MB "$@" >>"$dir/log" 2>&1 &
    pid=$!
}
start "$@"
while read -r word; do
    case $word in
        start) start "$@" ;;
        stop) kill -QUIT "$pid"; wait "$pid" ;;
    esac
done
kill -QUIT "$pid"
wait "$pid"
rm -rf "$dir"
"#;

static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// A running server.
pub struct Cluster {
    programs: PathBuf,
    directory: PathBuf,
    keeper: Mutex<Child>,
    port: u16,
}

impl Cluster {
    /// The one of this program. `None` where PostgreSQL is not installed, which is said once; where `QUIVIVE_TEST_REQUIRE`
    /// names `postgres` that is a failure.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: OnceLock<Option<Arc<Cluster>>> = OnceLock::new();
        SHARED.get_or_init(Self::start).clone()
    }

    /// One of a test's own, to be stopped and started.
    pub fn start() -> Option<Arc<Self>> {
        Self::made(None, &[])
    }

    /// One that syncs what it commits, as it is used for good.
    pub fn durable() -> Option<Arc<Self>> {
        Self::made(None, &["fsync=on"])
    }

    /// One that also listens on a port of 127.0.0.1, in TLS alone: [`Self::network_url`].
    pub fn encrypted(certificate: &Certificate) -> Option<Arc<Self>> {
        let cluster = Self::made(Some(certificate), &[])?;
        let password = format!("ALTER ROLE {USER} PASSWORD '{NETWORK_PASSWORD}'");
        cluster.run("psql", &["-qc", &password, "postgres"]);
        Some(cluster)
    }

    fn made(certificate: Option<&Certificate>, settings: &[&str]) -> Option<Arc<Self>> {
        let programs = installed()?;
        let directory = fresh_directory();
        let mut port = 5432;
        let settings = settings.iter().flat_map(|it| ["-c", it]);
        let mut settings: Vec<_> = settings.map(str::to_owned).collect();
        if let Some(certificate) = certificate {
            port = free_port();
            let here = certificate.copied_to(&directory);
            let mode = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&here.key, mode).expect("it is ours");
            std::fs::write(directory.join("hba"), ENCRYPTED).expect("it was just made");
            for setting in [
                "listen_addresses=127.0.0.1".to_owned(),
                format!("port={port}"),
                "ssl=on".to_owned(),
                format!("ssl_cert_file={}", here.certificate.display()),
                format!("ssl_key_file={}", here.key.display()),
            ] {
                settings.extend(["-c".to_owned(), setting]);
            }
            if let Some((user, group)) = unprivileged() {
                let owned = std::os::unix::fs::chown(&here.key, Some(user), Some(group));
                owned.expect("root may give a file away");
            }
        }
        let keeper = keep(KEEPER, &programs, &directory, &settings);
        let cluster = Self {
            programs,
            directory,
            keeper: Mutex::new(keeper),
            port,
        };
        cluster.wait_until(true);
        cluster.run("createdb", &[TEMPLATE]);
        cluster.migrate();
        Some(Arc::new(cluster))
    }

    /// A fresh database with the newest schema.
    pub fn database(self: &Arc<Self>) -> Database {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.run("createdb", &["-T", TEMPLATE, &name]);
        Database {
            name,
            cluster: Arc::clone(self),
        }
    }

    /// Ends the server as a crash would, and waits until it is gone.
    pub fn halt(&self) {
        tell(&self.keeper, "stop");
        self.wait_until(false);
    }

    /// Starts it again, and waits until it is there.
    pub fn resume(&self) {
        tell(&self.keeper, "start");
        self.wait_until(true);
    }

    /// Runs one of its client programs against it.
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let done = self.client(program).args(args).output();
        let done = done.expect("a client program starts");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{program} {args:?}: {said}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(format!(".s.PGSQL.{}", self.port))
    }

    /// Where a database of that name is.
    pub fn url(&self, name: &str) -> String {
        let directory = self.directory.display();
        let port = self.port;
        format!("postgres://{USER}@/{name}?host={directory}&port={port}")
    }

    /// Where a database of an [encrypted](Self::encrypted) server is, by network; in TLS, bound to the certificate.
    pub fn network_url(&self, host: &str, name: &str) -> String {
        let port = self.port;
        format!(
            "postgres://{USER}:{NETWORK_PASSWORD}@{host}:{port}/{name}?sslmode=require&channel_binding=require"
        )
    }

    /// One of its client programs, to be given its arguments.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env("PGHOST", &self.directory).env("PGUSER", USER);
        command.env("PGPORT", self.port.to_string());
        command
    }

    fn wait_until(&self, there: bool) {
        let began = Instant::now();
        while self
            .client("pg_isready")
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
            != there
        {
            let log = || std::fs::read_to_string(self.directory.join("log"));
            assert!(began.elapsed() < Duration::from_mins(1), "{:?}", log());
            pause();
        }
    }

    /// On a thread of its own: the caller may be in a runtime.
    fn migrate(&self) {
        let url = self.url(TEMPLATE);
        let migrated = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let options =
                    PostgresOptions::new(&url, None, Arc::new(SystemClock)).expect("a URL");
                let opened = Postgres::open(options, POSTGRES_MIGRATIONS).await;
                opened.expect("a fresh database").close().await;
            });
        });
        migrated.join().expect("the template is made");
        // What is copied must have no connections; those just closed end soon.
        let template =
            format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{TEMPLATE}'");
        while self.run("psql", &["-Atc", &template, "postgres"]).trim() != "0" {
            pause();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        dismiss(&mut self.keeper);
    }
}

/// A database, removed with it.
pub struct Database {
    pub name: String,
    pub cluster: Arc<Cluster>,
}

impl Database {
    pub fn url(&self) -> String {
        self.cluster.url(&self.name)
    }

    /// What a statement gives, a line for each row.
    pub fn ask(&self, sql: &str) -> String {
        let answer = self
            .cluster
            .run("psql", &["-v", "ON_ERROR_STOP=1", "-Atqc", sql, &self.name]);
        answer.trim().to_owned()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server that is down, or a test that has failed, leaves it to the end of the cluster.
        let mut command = self.cluster.client("dropdb");
        let _ = command
            .args(["--force", &self.name])
            .stderr(Stdio::null())
            .status();
    }
}

/// Where the programs are. `None` where they are not, as [`Cluster::shared`].
fn installed() -> Option<PathBuf> {
    let programs = programs();
    if programs.is_none() {
        assert!(
            !required(),
            "QUIVIVE_TEST_REQUIRE names postgres, and there is none"
        );
        eprintln!("skipped: there is no PostgreSQL here");
    }
    programs
}

/// Owned by who the server runs as.
fn fresh_directory() -> PathBuf {
    let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
    // Not in TMPDIR, which may be closed to others, and whose path may be too long for a socket's.
    let name = format!("/tmp/qv-pg-{}-{number}", std::process::id());
    let directory = PathBuf::from(name);
    std::fs::create_dir_all(&directory).expect("/tmp is writable");
    if let Some((user, group)) = unprivileged() {
        let owned = std::os::unix::fs::chown(&directory, Some(user), Some(group));
        owned.expect("root may give a directory away");
    }
    directory
}

/// Starts a keeper's script, which is given where the programs are, its directory, the superuser's name, and what else the
/// server is started with.
fn keep(script: &str, programs: &Path, directory: &Path, settings: &[String]) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(programs);
    command.arg(directory).arg(USER).args(settings);
    command.stdin(Stdio::piped());
    as_unprivileged(&mut command);
    command.spawn().expect("sh starts")
}

fn as_unprivileged(command: &mut Command) {
    if let Some((user, group)) = unprivileged() {
        command.uid(user).gid(group);
    }
    command.current_dir("/");
}

fn tell(keeper: &Mutex<Child>, word: &str) {
    let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
    let told = keeper.stdin.as_mut().map(|pipe| writeln!(pipe, "{word}"));
    told.expect("a pipe").expect("the keeper listens");
}

/// The end of the pipe is the keeper's sign.
fn dismiss(keeper: &mut Mutex<Child>) {
    let keeper = keeper.get_mut().unwrap_or_else(PoisonError::into_inner);
    drop(keeper.stdin.take());
    let _ = keeper.wait();
}

fn free_port() -> u16 {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.expect("a free loopback port").port()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a blocking wait for another process, outside a server"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

#[expect(
    clippy::disallowed_methods,
    reason = "what the tests run with is no configuration of a server"
)]
fn required() -> bool {
    let required = std::env::var("QUIVIVE_TEST_REQUIRE").unwrap_or_default();
    required.split(',').any(|name| name.trim() == "postgres")
}

/// Where the server's programs are: in the PATH, or where Debian puts the newest.
#[expect(
    clippy::disallowed_methods,
    reason = "what the tests run with is no configuration of a server"
)]
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    places.sort();
    places.extend(std::env::split_paths(&path));
    let whole = |place: &PathBuf| {
        ["initdb", "postgres"]
            .iter()
            .all(|name| place.join(name).is_file())
    };
    places.into_iter().find(whole)
}

/// Whom to be where we are root: the user of the package, or nobody.
fn unprivileged() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = users.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, user, group, ..] = fields[..] else {
            return None;
        };
        (name == "postgres").then_some((user.parse().ok()?, group.parse().ok()?))
    });
    Some(found.unwrap_or((65_534, 65_534)))
}
