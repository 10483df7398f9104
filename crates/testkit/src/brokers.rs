//! Message brokers of the tests' own, on loopback ports that were free, and a proxy that spoils the way to them.
//!
//! A broker is a process group that a shell keeps: it starts, stops, freezes and kills it as it is told through a pipe. At the
//! end of the pipe, however the test program ends, it kills the group by its id and removes the directory.

pub mod proxy;
mod rabbitmq;
mod redis;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use proxy::Proxy;
pub use rabbitmq::RabbitMq;
pub use redis::Redis;

/// Does what it reads and answers each word with a line.
const KEEPER: &str = r#"
dir=$1; shift
run() { setsid "$@" >>"$dir/log" 2>&1 </dev/null & pid=$!; }
while read -r word; do
    case $word in
        start) run "$@" ;;
        end) kill -s TERM "$pid"; wait "$pid" ;;
        kill) kill -s KILL -- "-$pid"; wait "$pid" ;;
        freeze) kill -s STOP -- "-$pid" ;;
        thaw) kill -s CONT -- "-$pid" ;;
    esac 2>/dev/null
    echo done
done
kill -s KILL -- "-$pid" 2>/dev/null
wait "$pid" 2>/dev/null
umount "$dir" 2>/dev/null
rm -rf "$dir"
"#;

/// How long a broker may take to be there.
const PATIENCE: Duration = Duration::from_mins(1);

/// A process group and its directory.
struct Kept {
    directory: PathBuf,
    keeper: Mutex<(Child, BufReader<ChildStdout>)>,
    address: SocketAddr,
}

impl Kept {
    /// `command` serves at `address` when it is started.
    fn new(directory: PathBuf, command: &Command, address: SocketAddr) -> Self {
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(&directory);
        keeper.arg(command.get_program()).args(command.get_args());
        let mut keeper = keeper
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .current_dir("/")
            .spawn()
            .expect("sh starts");
        let said = BufReader::new(keeper.stdout.take().expect("it was piped"));
        Self {
            directory,
            keeper: Mutex::new((keeper, said)),
            address,
        }
    }

    fn tell(&self, word: &str) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let (child, said) = &mut *keeper;
        let pipe = child.stdin.as_mut().expect("it was piped");
        writeln!(pipe, "{word}").expect("the keeper listens");
        let mut answer = String::new();
        said.read_line(&mut answer).expect("the keeper answers");
    }

    fn start(&self) {
        self.tell("start");
        let began = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            assert!(began.elapsed() < PATIENCE, "{}", self.log());
            pause();
        }
    }

    /// Takes all that is left of the disk, or gives it back.
    fn fill(&self, full: bool) {
        let ballast = self.directory.join("ballast");
        if !full {
            std::fs::remove_file(ballast).expect("it was filled");
            return;
        }
        let mut ballast = std::fs::File::create(ballast).expect("there is a disk");
        // In pieces that become small, so that nothing is left.
        for piece in [1 << 20, 1 << 12, 1] {
            let zeros = vec![0; piece];
            while ballast.write(&zeros).is_ok_and(|written| written > 0) {}
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let keeper = self.keeper.get_mut();
        let (child, _) = keeper.unwrap_or_else(PoisonError::into_inner);
        drop(child.stdin.take());
        let _ = child.wait();
    }
}

/// A broker of a test.
pub trait Server: Send + Sync {
    /// What is written into `bus.url` and given to consumers, by way of an address.
    fn url_by(&self, address: SocketAddr) -> String;

    fn address(&self) -> SocketAddr;

    /// Starts it again after [`Server::kill`] or [`Server::end`], and waits until it serves.
    fn start(&self);

    /// As a power cut: what is not on its disk is gone.
    fn kill(&self);

    /// Stops it in peace.
    fn end(&self);

    /// SIGSTOP: connections stay open and nothing is answered.
    fn freeze(&self);

    fn thaw(&self);

    fn url(&self) -> String {
        self.url_by(self.address())
    }
}

/// A directory with a short path.
fn directory(of: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(format!("/tmp/qv-{of}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&path).expect("/tmp is writable");
    path
}

/// Makes a directory a disk of its own with so many MiB, in memory. Whether it could, which takes a privilege.
fn small_disk(directory: &Path, mib: u32) -> bool {
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
        .arg(directory);
    let mounted = mount.stdout(Stdio::null()).stderr(Stdio::null()).status();
    mounted.is_ok_and(|status| status.success())
}

fn free_address() -> SocketAddr {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.expect("a free loopback port")
}

/// Says that a broker is not installed; where `QUIVIVE_TEST_REQUIRE` names it that is a failure.
#[expect(
    clippy::disallowed_methods,
    reason = "what the tests run with is no configuration of a server"
)]
fn skip(name: &str) {
    let required = std::env::var("QUIVIVE_TEST_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|required| required.trim() == name);
    assert!(
        !required,
        "QUIVIVE_TEST_REQUIRE names {name}, and there is none"
    );
    eprintln!("skipped: there is no {name} here");
}

/// A program in the PATH or in one of these places.
#[expect(
    clippy::disallowed_methods,
    reason = "what the tests run with is no configuration of a server"
)]
fn program(name: &str, places: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = places.iter().map(PathBuf::from);
    let mut all = std::env::split_paths(&path).chain(places);
    all.find_map(|place| Some(place.join(name)).filter(|found| Path::is_file(found)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a blocking wait for another process, outside a server"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
