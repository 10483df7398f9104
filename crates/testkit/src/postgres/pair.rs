//! Two servers, of which one takes writes and the other follows it. The primary is killed, whole; the standby takes its place,
//! and another standby is made of it: as often as a test likes.
//!
//! They listen on Unix sockets, in a directory each, and one URL names both.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{USER, as_unprivileged, dismiss, fresh_directory, installed, keep, pause, tell};

/// The only database.
const DATABASE: &str = "quivive";

/// The directories of the two.
const SIDES: [&str; 2] = ["a", "b"];

/// Anything that is waited for here takes less.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a side, forgets one that was killed, and ends both at the end of what it reads. Until it forgets one, its process id
/// is nobody else's.
const KEEPER: &str = r#"
bin=$1 dir=$2
a= b=
while read -r word side; do
    case $word in
        start)
            "$bin/postgres" -D "$dir/$side/data" -k "$dir/$side" -c listen_addresses= -c fsync=off \
                -c max_connections=100 -c shared_buffers=64MB >>"$dir/$side/log" 2>&1 &
            eval "$side=\$!" ;;
        forget) eval "wait \"\$$side\" 2>/dev/null; $side=" ;;
    esac
done
for pid in $a $b; do kill -QUIT "$pid"; done
wait
rm -rf "$dir"
"#;

/// Both run, and one follows the other.
pub struct Pair {
    programs: PathBuf,
    directory: PathBuf,
    keeper: Mutex<Child>,
    /// Which of them takes writes.
    primary: AtomicUsize,
    synchronous: bool,
}

impl Pair {
    /// With `synchronous` a commit is acknowledged when the standby has it. `None` where PostgreSQL is not installed.
    pub fn start(synchronous: bool) -> Option<Self> {
        let programs = installed()?;
        let directory = fresh_directory();
        let keeper = Mutex::new(keep(KEEPER, &programs, &directory, &[]));
        let pair = Self {
            programs,
            directory,
            keeper,
            primary: AtomicUsize::new(0),
            synchronous,
        };
        for side in 0..2 {
            let mut made = Command::new("mkdir");
            as_unprivileged(&mut made);
            let made = made.arg(pair.side(side)).status();
            assert!(made.is_ok_and(|status| status.success()), "a directory");
        }
        let data = pair.data(0);
        let data = data.to_str().expect("a plain name");
        let how = ["-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        pair.run("initdb", &[&["-D", data, "-U", USER], &how[..]].concat());
        pair.begin(0);
        pair.run("createdb", &[DATABASE]);
        pair.follow();
        Some(pair)
    }

    /// Names both, and which of them is meant.
    pub fn url(&self) -> String {
        let [a, b] = [0, 1].map(|side| self.side(side).display().to_string().replace('/', "%2F"));
        format!("postgres://{USER}@{a},{b}/{DATABASE}?target_session_attrs=read-write")
    }

    /// Names the standby alone.
    pub fn standby_url(&self) -> String {
        let standby = self.side(1 - self.primary());
        format!("postgres://{USER}@/{DATABASE}?host={}", standby.display())
    }

    /// What a statement gives at the primary, a line for each row.
    pub fn ask(&self, sql: &str) -> String {
        let args = ["-v", "ON_ERROR_STOP=1", "-Atqc", sql, DATABASE];
        self.run("psql", &args).trim().to_owned()
    }

    /// Stops what sends the log to the standby: what is committed from now on does not get there.
    pub fn stall(&self) {
        let sender: i32 = self
            .ask("SELECT pid FROM pg_stat_replication")
            .parse()
            .expect("one");
        send(sender, Signal::STOP);
    }

    /// Ends the primary with all its processes, by SIGKILL. Of its files nothing is left.
    pub fn kill(&self) {
        let dead = self.primary();
        let file = std::fs::read_to_string(self.data(dead).join("postmaster.pid"));
        let file = file.expect("it runs");
        let first = file
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok());
        let postmaster: i32 = first.expect("a process id");
        // So that it starts nothing more.
        send(postmaster, Signal::STOP);
        let children = children(postmaster);
        for pid in children.iter().chain([&postmaster]) {
            send(*pid, Signal::KILL);
        }
        wait("its processes end", || {
            !children.iter().any(|pid| lives(*pid))
        });
        tell(&self.keeper, &format!("forget {}", SIDES[dead]));
        wait("it ends", || !lives(postmaster));
        std::fs::remove_dir_all(self.data(dead)).expect("nobody writes there");
        let socket = self.side(dead).join(".s.PGSQL.5432");
        let _ = std::fs::remove_file(&socket);
        let _ = std::fs::remove_file(socket.with_extension("5432.lock"));
    }

    /// Makes the standby the primary, and waits until it takes writes. Nobody follows it yet, so it waits for nobody.
    pub fn promote(&self) {
        let next = 1 - self.primary();
        let data = self.data(next);
        self.run(
            "pg_ctl",
            &["promote", "-D", data.to_str().expect("a plain name")],
        );
        self.primary.store(next, Ordering::SeqCst);
    }

    /// Makes a standby of the primary, and waits until it has all there is; from then on commits wait for it, where they should.
    pub fn follow(&self) {
        let standby = 1 - self.primary();
        let data = self.data(standby);
        let path = data.to_str().expect("a plain name");
        let how = ["-R", "-X", "stream", "-c", "fast", "--no-sync"];
        self.run("pg_basebackup", &[&["-D", path], &how[..]].concat());
        // What it is to do when it is the primary, until it has a standby of its own.
        let settings = data.join("postgresql.auto.conf");
        let copied = std::fs::read_to_string(&settings).expect("it was copied");
        let alone = format!("{copied}synchronous_standby_names = ''\n");
        std::fs::write(&settings, alone).expect("it may be changed");
        self.begin(standby);
        self.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'");
        if self.synchronous {
            self.ask("ALTER SYSTEM SET synchronous_standby_names = '*'");
            self.ask("SELECT pg_reload_conf()");
            self.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'");
        }
    }

    fn until(&self, sql: &str) {
        wait(sql, || self.ask(sql) == "t");
    }

    fn begin(&self, side: usize) {
        tell(&self.keeper, &format!("start {}", SIDES[side]));
        let there = || {
            let mut command = self.program("pg_isready", &self.side(side));
            let status = command.stdout(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        wait("it starts", there);
    }

    fn primary(&self) -> usize {
        self.primary.load(Ordering::SeqCst)
    }

    fn side(&self, side: usize) -> PathBuf {
        self.directory.join(SIDES[side])
    }

    fn data(&self, side: usize) -> PathBuf {
        self.side(side).join("data")
    }

    /// Runs one of its programs against the primary, as who the servers run as.
    fn run(&self, program: &str, args: &[&str]) -> String {
        let mut command = self.program(program, &self.side(self.primary()));
        let done = command.args(args).output().expect("a program starts");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{program} {args:?}: {said}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    fn program(&self, name: &str, host: &Path) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.env("PGHOST", host).env("PGUSER", USER);
        as_unprivileged(&mut command);
        command
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        dismiss(&mut self.keeper);
    }
}

/// One that has ended already is well, too.
fn send(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).expect("a process id"), signal);
}

fn children(parent: i32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").expect("it is Linux").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| status(*pid).is_some_and(|(_, of)| of == parent))
        .collect()
}

/// Whether it is there and is not one that has ended and was not asked after.
fn lives(pid: i32) -> bool {
    status(pid).is_some_and(|(state, _)| state != "Z")
}

/// Its state and its parent.
fn status(pid: i32) -> Option<(String, i32)> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = line.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        pause();
    }
}
