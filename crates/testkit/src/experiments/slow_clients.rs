//! Clients that hold connections and ask for next to nothing must not stop others, also where there are more of them than
//! the server has places: how long an honest caller waits, alone and beside them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::Call;
use crate::{Client, PASSWORD, Server};

/// Between two bytes of a slow client.
const DRIP: Duration = Duration::from_secs(1);

/// Between two honest requests.
const PACE: Duration = Duration::from_millis(20);

/// For an honest request, at the longest.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the slow clients get to be there.
const GATHER: Duration = Duration::from_mins(1);

/// How long honest requests took.
#[derive(Debug)]
pub struct Figures {
    pub slow: usize,
    pub asked: usize,
    /// Whose connection was closed before they were answered, and who asked once more, as clients and proxies do.
    pub asked_again: usize,
    pub alone: Duration,
    pub beside: Duration,
    pub slowest: Duration,
    /// How much the server's memory grew beside them.
    pub grown_kib: u64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        write!(
            f,
            "{} slow clients: {} requests on connections of their own, all answered, {} of them asked again; p99 {:.2} ms alone, {:.2} ms beside \
             them, {:.2} ms the slowest; {} MiB more memory",
            self.slow,
            self.asked,
            self.asked_again,
            ms(self.alone),
            ms(self.beside),
            ms(self.slowest),
            self.grown_kib / 1_024
        )
    }
}

/// A request over h2 by somebody who leaves no window for the answer (RFC 9113, 6.9.2): it can never be sent.
pub const WITHOUT_WINDOW: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0\
    \0\0\x15\x01\x05\0\0\0\x01\x82\x86\x04\x06/livez\x01\x09localhost";

/// So many slow clients, of five kinds, each of which comes back when it was let go, while somebody honest asks for `asks`
/// things. Panics when one of those is not answered.
pub async fn run(server: &Server, slow: usize, asks: usize) -> Figures {
    let email = "honest@example.org";
    server.register(email).await;
    let tokens = server.login(email, PASSWORD).await;
    let token = tokens["access_token"].as_str().expect("a token");
    let (mut alone, _) = honest(server.address, token, asks).await;
    let memory = server.resident_kib();
    let mut clients = gather(server.address, slow).await;
    let (mut beside, asked_again) = honest(server.address, token, asks).await;
    let grown_kib = server.resident_kib().saturating_sub(memory);
    clients.shutdown().await;
    let p99 = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[(times.len() * 99).div_ceil(100) - 1]
    };
    Figures {
        slow,
        asked: beside.len(),
        asked_again,
        alone: p99(&mut alone),
        beside: p99(&mut beside),
        slowest: beside[beside.len() - 1],
        grown_kib,
    }
}

/// So many slow clients, when each has come once. They are there until this is dropped.
pub(super) async fn gather(address: SocketAddr, slow: usize) -> JoinSet<()> {
    let came = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for number in 0..slow {
        clients.spawn(crawl(address, number, Arc::clone(&came)));
    }
    let began = Instant::now();
    while came.load(Ordering::Relaxed) < slow {
        assert!(began.elapsed() < GATHER, "{came:?} of {slow} came");
        tokio::time::sleep(PACE).await;
    }
    clients
}

fn was_closed(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    [BrokenPipe, ConnectionReset, UnexpectedEof].contains(&error.kind())
}

/// Each on a connection of its own. How long they took, and how many had to ask again.
async fn honest(address: SocketAddr, token: &str, asks: usize) -> (Vec<Duration>, usize) {
    let call = Call {
        method: "GET",
        path: "/api/v1/me",
        token: Some(token),
        ..Call::default()
    };
    let (mut times, mut again) = (Vec::new(), 0);
    let ask = async |number: usize| {
        let mut client = Client::new(address);
        let reply = tokio::time::timeout(PATIENCE, client.call(&call)).await;
        reply.unwrap_or_else(|_| panic!("request {number} is not answered"))
    };
    for number in 0..asks {
        let began = Instant::now();
        let mut reply = ask(number).await;
        if reply.as_ref().is_err_and(was_closed) {
            again += 1;
            reply = ask(number).await;
        }
        let reply = reply.unwrap_or_else(|error| panic!("request {number}: {error}"));
        reply.expect(200);
        times.push(began.elapsed());
        tokio::time::sleep(PACE).await;
    }
    (times, again)
}

/// One slow client, again and again: silent, with headers that do not end, with a body that does not come, with a protocol
/// that is not decided, or with an answer that it lets lie.
async fn crawl(address: SocketAddr, number: usize, came: Arc<AtomicUsize>) {
    let kind = number % 5;
    let begin: &[u8] = match kind {
        0 => b"",
        1 => b"GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        2 => {
            b"POST /api/v1/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        }
        3 => b"PRI * HTTP/2",
        _ => WITHOUT_WINDOW,
    };
    let mut is_new = true;
    loop {
        let Ok(mut stream) = TcpStream::connect(address).await else {
            tokio::time::sleep(DRIP).await;
            continue;
        };
        let _ = stream.write_all(begin).await;
        if std::mem::take(&mut is_new) {
            came.fetch_add(1, Ordering::Relaxed);
        }
        let mut answer = [0; 1_024];
        loop {
            tokio::time::sleep(DRIP).await;
            // Silence is broken by nobody.
            let silent = matches!(kind, 0 | 3 | 4);
            let dripped = silent || stream.write_all(b"x").await.is_ok();
            let over = matches!(
                tokio::time::timeout(Duration::ZERO, stream.read(&mut answer)).await,
                Ok(Ok(0) | Err(_))
            );
            if over || !dripped {
                break;
            }
        }
    }
}
