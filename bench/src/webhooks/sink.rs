//! The receiver: answers every request with 204 and counts them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quivive_delivery::tasks::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

#[derive(Clone)]
pub(super) struct Sink {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    count: u64,
    first: Option<(Instant, Vec<u8>)>,
    last: Option<Instant>,
    /// That a request came over.
    connections: u64,
}

/// What came since [`Sink::receive`] ended last.
pub(super) struct Received {
    /// Requests a second, from the first to the last.
    pub(super) rate: f64,
    /// The first one, byte for byte.
    pub(super) request: Vec<u8>,
    /// Over how many connections they came.
    pub(super) connections: u64,
}

impl Sink {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
        };
        let (serving, tasks) = (sink.clone(), Tasks::new());
        drop(tasks.clone().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                drop(tasks.spawn(async move { serving.serve(stream).await }));
            }
        }));
        sink
    }

    /// Waits for so many requests.
    pub(super) async fn receive(&self, count: u64) -> Received {
        while self.seen.lock().unwrap().count < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        let ((began, request), ended) = (seen.first.unwrap(), seen.last.unwrap());
        Received {
            rate: (seen.count - 1) as f64 / (ended - began).as_secs_f64(),
            request,
            connections: seen.connections,
        }
    }

    async fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut read = Vec::with_capacity(16 * 1024);
        let mut fresh = true;
        while let Ok(1..) = stream.read_buf(&mut read).await {
            while let Some(length) = whole(&read) {
                self.note(&read[..length], std::mem::take(&mut fresh));
                read.drain(..length);
                if stream.write_all(NO_CONTENT).await.is_err() {
                    return;
                }
            }
        }
    }

    fn note(&self, request: &[u8], fresh: bool) {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap();
        seen.count += 1;
        seen.connections += u64::from(fresh);
        seen.first.get_or_insert_with(|| (now, request.to_vec()));
        seen.last = Some(now);
    }
}

/// How long a request is, once all of it is there.
fn whole(read: &[u8]) -> Option<usize> {
    let head = read.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&read[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let named = name.eq_ignore_ascii_case("content-length");
        named.then(|| value.trim().parse::<usize>().ok())?
    });
    let length = head + length.unwrap_or(0);
    (read.len() >= length).then_some(length)
}
