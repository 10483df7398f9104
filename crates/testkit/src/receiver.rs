//! A receiver of webhooks on a loopback port: keeps what it is sent, and answers by path as it was told, well or ill.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quivive_delivery::tasks::Tasks;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What is done with a request that was read.
#[derive(Debug, Clone)]
pub enum Act {
    Answer(u16),
    /// With a header line.
    AnswerWith(u16, String),
    /// 200, and a gigabyte.
    Pour,
    /// A byte of the answer each second.
    Drip,
    /// The connection is reset.
    Reset,
    /// Nothing.
    Hang,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Message {
    pub at: Instant,
    pub path: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// Its `webhook-id`.
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

#[derive(Default)]
struct Inside {
    /// By path; the last one stays. A path without any answers 204.
    acts: HashMap<String, VecDeque<Act>>,
    messages: Vec<Message>,
}

/// Runs until the test's runtime ends. Clones are the same.
#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free loopback port");
        let receiver = Self {
            address: listener.local_addr().expect("it is bound"),
            inside: Arc::default(),
            connections: Arc::default(),
        };
        let (serving, tasks) = (receiver.clone(), Tasks::new());
        drop(tasks.clone().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let serving = serving.clone();
                drop(tasks.spawn(async move { serving.serve(stream).await }));
            }
        }));
        receiver
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What is done with the next requests to a path; the last act stays.
    pub fn script(&self, path: &str, acts: impl IntoIterator<Item = Act>) {
        let acts = acts.into_iter().collect();
        self.lock().acts.insert(path.to_owned(), acts);
    }

    /// How many connections were opened to it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many messages came to a path.
    pub fn count(&self, path: &str) -> usize {
        let inside = self.lock();
        let to_it = inside
            .messages
            .iter()
            .filter(|message| message.path == path);
        to_it.count()
    }

    /// What came to a path, in order.
    pub fn messages(&self, path: &str) -> Vec<Message> {
        let inside = self.lock();
        let to_it = inside
            .messages
            .iter()
            .filter(|message| message.path == path);
        to_it.cloned().collect()
    }

    /// The same, once it is what a test waits for.
    ///
    /// # Panics
    /// When it is not after half a minute.
    pub async fn until(&self, path: &str, there: impl Fn(&[Message]) -> bool) -> Vec<Message> {
        let began = Instant::now();
        loop {
            let messages = self.messages(path);
            if there(&messages) {
                return messages;
            }
            let kinds: Vec<_> = messages
                .iter()
                .map(|m| m.json()["type"].to_string())
                .collect();
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "{path}: {kinds:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut bytes = Vec::new();
        loop {
            let message = loop {
                if let Some((message, length)) = parse(&bytes) {
                    bytes.drain(..length);
                    break message;
                }
                if stream.read_buf(&mut bytes).await.ok()? == 0 {
                    return None;
                }
            };
            let act = self.take(message);
            self.act(&mut stream, act).await?;
        }
    }

    fn take(&self, message: Message) -> Act {
        let mut inside = self.lock();
        let acts = inside.acts.get_mut(&message.path);
        let act = acts.and_then(|acts| match acts.len() {
            0 | 1 => acts.front().cloned(),
            _ => acts.pop_front(),
        });
        inside.messages.push(message);
        act.unwrap_or(Act::Answer(204))
    }

    /// `None` when the connection is over.
    async fn act(&self, stream: &mut TcpStream, act: Act) -> Option<()> {
        let (status, line) = match act {
            Act::Answer(status) => (status, String::new()),
            Act::AnswerWith(status, line) => (status, format!("{line}\r\n")),
            Act::Pour => {
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n";
                stream.write_all(head.as_bytes()).await.ok()?;
                for _ in 0..1_000_000_000 / 8_192 {
                    stream.write_all(&[b'x'; 8_192]).await.ok()?;
                }
                return None;
            }
            Act::Drip => {
                for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" {
                    stream.write_all(&[*byte]).await.ok()?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                return None;
            }
            Act::Hang => {
                // Until the caller has had enough.
                let _ = stream.read_u8().await;
                return None;
            }
            Act::Reset => {
                let _ = stream.set_zero_linger();
                return None;
            }
        };
        let body = if status == 204 {
            ""
        } else {
            "content-length: 0\r\n"
        };
        let answer = format!("HTTP/1.1 {status} Said\r\n{line}{body}\r\n");
        stream.write_all(answer.as_bytes()).await.ok()
    }
}

/// A request with all of its body, and its length.
fn parse(bytes: &[u8]) -> Option<(Message, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap_or(0));
    let body = bytes.get(end..end + length)?.to_vec();
    let message = Message {
        at: Instant::now(),
        path,
        headers,
        body,
    };
    Some((message, end + length))
}
