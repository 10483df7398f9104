//! The socket of a running server, and who may use it.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::tasks::Tasks;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use zeroize::Zeroizing;

use super::SOCKET;
use super::call::{Call, Line};
use super::desk::Desk;
use crate::failure::{Class, Failure};
use crate::private;

/// The longest call: a password and an address, with room to spare.
const MAX_CALL_BYTES: u64 = 64 * 1024;

/// A command writes its call at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Operators at once.
const MAX_CONNECTIONS: usize = 16;

/// Items between the desk and a slow terminal.
const ITEMS: usize = 64;

/// What a path of a socket may have in bytes, its end included: 104 on BSD and macOS, 108 on Linux.
const MAX_PATH_BYTES: usize = 104;

/// A path to the socket that fits into a socket's address. The directory is kept open as long as it is needed.
pub(super) struct Address {
    pub(super) path: PathBuf,
    _directory: Option<std::fs::File>,
}

impl Address {
    pub(super) fn of(data: &Path) -> io::Result<Self> {
        let path = data.join(SOCKET);
        if path.as_os_str().len() < MAX_PATH_BYTES {
            return Ok(Self {
                path,
                _directory: None,
            });
        }
        // Through the open directory the path is short, wherever it lies. Linux alone has it.
        let directory = std::fs::File::open(data)?;
        Ok(Self {
            path: PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd())),
            _directory: Some(directory),
        })
    }
}

/// Opens the socket in the data directory, which is this process's own: what an earlier run left there is stale.
pub(crate) fn listen(data: &Path, desk: Desk, tasks: &Tasks) -> io::Result<()> {
    let address = Address::of(data)?;
    private::remove(&address.path)?;
    let listener = UnixListener::bind(&address.path)?;
    std::fs::set_permissions(&address.path, std::fs::Permissions::from_mode(0o600))?;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = tasks.clone();
    drop(tasks.spawn(async move {
        let stopping = connections.stopping();
        while let Some(place) = stopping
            .run_until_cancelled(Arc::clone(&places).acquire_owned())
            .await
        {
            let Some(accepted) = stopping.run_until_cancelled(listener.accept()).await else {
                break;
            };
            match accepted {
                Ok((stream, _)) => {
                    let (desk, stopping) = (desk.clone(), connections.stopping());
                    drop(connections.spawn(async move {
                        let _place = place;
                        let _ = stopping.run_until_cancelled(serve(stream, &desk)).await;
                    }));
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket did not accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        // The last to go: a command that finds no socket opens the data itself.
        let _ = private::remove(&address.path);
    }));
    Ok(())
}

async fn serve(stream: UnixStream, desk: &Desk) {
    if !may(&stream) {
        tracing::warn!("somebody else's process was refused at the control socket");
        return;
    }
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let last = match tokio::time::timeout(PATIENCE, call(&mut read)).await {
        Ok(Ok(call)) => tokio::select! {
            last = answer(desk, call, &mut write) => last,
            () = gone(&mut read) => None,
        },
        Ok(Err(failure)) => Some(Line::Failed(failure)),
        Err(_) => None,
    };
    if let Some(last) = last {
        let _ = put(&mut write, &last).await;
    }
}

/// The server's own user, or root.
fn may(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn call(read: &mut BufReader<OwnedReadHalf>) -> Result<Call, Failure> {
    let bad = |what: &str| {
        Failure::new(
            Class::Refused,
            format!("the server does not understand the command: {what}"),
            "use the `quivive` of the server's version",
        )
    };
    let mut line = Zeroizing::new(String::new());
    let mut limited = read.take(MAX_CALL_BYTES);
    limited
        .read_line(&mut line)
        .await
        .map_err(|error| bad(&error.to_string()))?;
    // The error may repeat what it read.
    serde_json::from_str(&line).map_err(|error| bad(&format!("at column {}", error.column())))
}

/// Waits until the caller has closed the connection. A follower that waits for the next event would not find out by
/// writing, and would keep its place until then. A workflow that was begun ends all the same.
async fn gone(read: &mut BufReader<OwnedReadHalf>) {
    // There is one call a connection: what else comes is let go.
    let _ = tokio::io::copy(read, &mut tokio::io::sink()).await;
}

/// The line that ends the answer; `None` when nobody is there to read it.
async fn answer(
    desk: &Desk,
    call: Call,
    write: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> Option<Line> {
    let (items, mut taken) = mpsc::channel(ITEMS);
    let answering = desk.answer(call, items);
    let writing = async {
        while let Some(item) = taken.recv().await {
            if put(write, &Line::Item(item)).await.is_err() {
                return false;
            }
        }
        true
    };
    let mut answering = std::pin::pin!(answering);
    let mut writing = std::pin::pin!(writing);
    let answered = tokio::select! {
        answered = &mut answering => answered,
        // It ends first only because nobody reads any more.
        _ = &mut writing => return None,
    };
    if !writing.await {
        return None;
    }
    Some(match answered {
        Ok(()) => Line::Done,
        Err(failure) => Line::Failed(failure),
    })
}

async fn put(write: &mut (impl tokio::io::AsyncWrite + Unpin), line: &Line) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await
}
