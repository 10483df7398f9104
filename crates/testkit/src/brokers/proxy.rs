//! A TCP proxy that delays, drops and resets, as a seed says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What it does to what comes through, in parts of a thousand of all pieces.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The piece waits for up to `delay_ms`.
    pub delayed: u64,
    pub delay_ms: u64,
    /// The connection is reset in the middle of the piece.
    pub reset: u64,
}

struct State {
    target: SocketAddr,
    faults: Mutex<Faults>,
    random: AtomicU64,
    /// Nothing comes through, and nobody is told.
    silent: AtomicBool,
    /// Counts the times that every connection was reset.
    resets: watch::Sender<u64>,
}

impl State {
    /// `SplitMix64`.
    fn below(&self, bound: u64) -> u64 {
        let state = self
            .random
            .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound.max(1)
    }

    fn faults(&self) -> Faults {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running proxy. It ends when it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Passes everything on to `target`, unchanged at first.
    pub async fn start(target: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State {
            target,
            faults: Mutex::default(),
            random: AtomicU64::new(seed),
            silent: AtomicBool::new(false),
            resets: watch::Sender::new(0),
        });
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(carry(stream, Arc::clone(&shared)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            state,
            _tasks: tasks,
        }
    }

    pub fn set(&self, faults: Faults) {
        *self
            .state
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Resets every connection.
    pub fn reset(&self) {
        self.state.resets.send_modify(|count| *count += 1);
    }

    /// Whether what comes is swallowed.
    pub fn silence(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::Relaxed);
    }
}

async fn carry(client: TcpStream, state: Arc<State>) {
    let mut resets = state.resets.subscribe();
    let Ok(server) = TcpStream::connect(state.target).await else {
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
        // Closing is a reset then.
        let _ = stream.set_zero_linger();
    }
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::select! {
        () = pass(from_client, to_server, &state) => {}
        () = pass(from_server, to_client, &state) => {}
        _ = resets.changed() => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let faults = state.faults();
        if state.below(1_000) < faults.delayed {
            let wait = state.below(faults.delay_ms);
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        if state.below(1_000) < faults.reset {
            let part = usize::try_from(state.below(read as u64)).unwrap_or_default();
            let _ = to.write_all(&piece[..part]).await;
            return;
        }
        if state.silent.load(Ordering::Relaxed) {
            continue;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}
