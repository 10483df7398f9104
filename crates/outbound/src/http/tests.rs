//! Against receivers that mean no good.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use quivive_delivery::tasks::Tasks;
use quivive_domain::webhook::Refused;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

/// What a receiver does with a request that it has read.
#[derive(Clone, Copy)]
enum Act {
    Say(&'static str),
    SayAndClose(&'static str),
    /// A body that does not end, after these headers.
    Pour(&'static str),
    /// A byte of the headers every 50 ms.
    Drip,
    /// Headers, then a byte of the body every 50 ms.
    DripBody,
    /// Headers that do not end.
    Headers,
    Close,
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Counts who connects, keeps what they say.
#[derive(Clone)]
struct Receiver {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    poured: Arc<AtomicUsize>,
}

impl Receiver {
    async fn start(act: Act) -> Self {
        Self::with(act, None).await
    }

    async fn with(act: Act, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            port: listener.local_addr().unwrap().port(),
            connections: Arc::default(),
            requests: Arc::default(),
            poured: Arc::default(),
        };
        let (serving, tasks) = (receiver.clone(), Tasks::new());
        tasks.clone().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let (serving, tls) = (serving.clone(), tls.clone());
                tasks.spawn(async move {
                    match tls {
                        None => serving.serve(stream, act).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serving.serve(stream, act).await,
                            Err(error) => Err(error),
                        },
                    }
                });
            }
        });
        receiver
    }

    async fn serve(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        act: Act,
    ) -> io::Result<()> {
        let pause = || tokio::time::sleep(Duration::from_millis(50));
        loop {
            let mut bytes = Vec::new();
            while !is_whole(&bytes) {
                if stream.read_buf(&mut bytes).await? == 0 {
                    return Ok(());
                }
            }
            let text = String::from_utf8(bytes).unwrap();
            self.lock().push(text);
            match act {
                Act::Say(answer) => stream.write_all(answer.as_bytes()).await?,
                Act::SayAndClose(answer) => return stream.write_all(answer.as_bytes()).await,
                Act::Close => return Ok(()),
                Act::Pour(header) => {
                    let head = format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n");
                    stream.write_all(head.as_bytes()).await?;
                    loop {
                        stream.write_all(&[b'x'; 4_096]).await?;
                        self.poured.fetch_add(4_096, Ordering::SeqCst);
                    }
                }
                Act::Drip => loop {
                    stream.write_all(b"H").await?;
                    pause().await;
                },
                Act::DripBody => {
                    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
                    stream.write_all(head.as_bytes()).await?;
                    loop {
                        stream.write_all(b"x").await?;
                        pause().await;
                    }
                }
                Act::Headers => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                    loop {
                        stream.write_all(&[b'x'; 4_096]).await?;
                        stream.write_all(b": y\r\n").await?;
                        self.poured.fetch_add(4_096, Ordering::SeqCst);
                    }
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Whether these are a request with all of its body.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    body.len() >= length
}

/// Names with what they resolve to, one answer after the other; the last one stays.
struct Names(Mutex<HashMap<&'static str, Vec<Vec<&'static str>>>>);

impl Names {
    fn of(names: impl IntoIterator<Item = (&'static str, Vec<Vec<&'static str>>)>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(names.into_iter().collect())))
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let mut names = self.0.lock().unwrap();
        let found = names.get_mut(host).map(|answers| {
            let answer = answers[0].iter().map(|ip| ip.parse().unwrap()).collect();
            if answers.len() > 1 {
                answers.remove(0);
            }
            answer
        });
        Box::pin(async move { found.ok_or_else(|| io::ErrorKind::NotFound.into()) })
    }
}

fn loopback() -> Reach {
    Reach {
        networks: vec!["127.0.0.0/8".parse().unwrap()],
        ports: Vec::new(),
    }
}

fn outlet() -> HttpOutlet {
    with_limits(HttpOutlet::new(loopback()))
}

fn with_limits(outlet: HttpOutlet) -> HttpOutlet {
    HttpOutlet {
        whole: Duration::from_secs(1),
        ..outlet
    }
}

fn post(url: &str) -> Post {
    Post {
        target: Arc::new(Target::parse(url).unwrap()),
        headers: vec![("webhook-id", "msg_1".into())],
        body: Bytes::from_static(b"{\"a\":1}"),
    }
}

fn at(receiver: &Receiver, path: &str) -> Post {
    post(&format!("http://127.0.0.1:{}{path}", receiver.port))
}

fn answered(status: u16) -> Answer {
    Answer {
        status,
        retry_after: None,
    }
}

#[tokio::test]
async fn who_finds_no_place_waits_for_one() {
    let receiver = Receiver::start(Act::Say(OK)).await;
    let outlet = Arc::new(HttpOutlet {
        places: Places::new(1),
        ..outlet()
    });
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (outlet, post) = (Arc::clone(&outlet), at(&receiver, "/in"));
        calls.spawn(async move { outlet.post(post).await });
    }
    for answer in calls.join_all().await {
        assert_eq!(answer, Ok(answered(200)));
    }
    assert_eq!(receiver.connections(), 1, "one at a time");
}

#[tokio::test]
async fn a_message_arrives_and_the_next_takes_the_same_connection() {
    let receiver = Receiver::start(Act::Say(OK)).await;
    let outlet = outlet();
    for _ in 0..3 {
        assert_eq!(
            outlet.post(at(&receiver, "/in?k=v")).await,
            Ok(answered(200))
        );
    }
    assert_eq!(receiver.connections(), 1);
    let requests = receiver.lock();
    let request = &requests[2];
    assert!(
        request.starts_with("POST /in?k=v HTTP/1.1\r\n"),
        "{request}"
    );
    for line in [
        &format!("host: 127.0.0.1:{}", receiver.port),
        "webhook-id: msg_1",
        "content-length: 7",
    ] {
        assert!(
            request.contains(&format!("{line}\r\n")),
            "{line}: {request}"
        );
    }
    assert!(request.ends_with("\r\n\r\n{\"a\":1}"), "{request}");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_opened_again() {
    let receiver = Receiver::start(Act::SayAndClose(OK)).await;
    let outlet = outlet();
    for _ in 0..3 {
        assert_eq!(outlet.post(at(&receiver, "/")).await, Ok(answered(200)));
    }
    assert_eq!((receiver.connections(), receiver.lock().len()), (3, 3));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_wait_is_told() {
    let canary = Receiver::start(Act::Say(OK)).await;
    let away = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{}/\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
        canary.port
    );
    let receiver = Receiver::start(Act::Say(away.leak())).await;
    let answer = outlet().post(at(&receiver, "/")).await.unwrap();
    assert_eq!(
        (answer.status, answer.retry_after.as_deref()),
        (302, Some("7"))
    );
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_body_without_end_costs_nothing() {
    // One says how long it is, and is not begun; the other does not.
    for header in ["content-length: 1000000000", "connection: close"] {
        let receiver = Receiver::start(Act::Pour(header)).await;
        let (outlet, began) = (outlet(), Instant::now());
        for _ in 0..2 {
            assert_eq!(outlet.post(at(&receiver, "/")).await, Ok(answered(200)));
        }
        assert_eq!(receiver.connections(), 2, "neither is used again");
        assert!(began.elapsed() < Duration::from_secs(2));
        // What was on its way when it was closed: buffers of the system.
        let poured = receiver.poured.load(Ordering::SeqCst);
        assert!(poured < 2 * 20_000_000, "{poured}");
    }
}

#[tokio::test]
async fn an_answer_that_drips_is_given_up() {
    let receiver = Receiver::start(Act::Drip).await;
    let late = outlet().post(at(&receiver, "/")).await;
    assert_eq!(late, Err(CallError::TimedOut(Duration::from_secs(1))));
    let receiver = Receiver::start(Act::DripBody).await;
    let outlet = HttpOutlet::new(loopback());
    assert_eq!(outlet.post(at(&receiver, "/")).await, Ok(answered(200)));
    assert_eq!(outlet.post(at(&receiver, "/")).await, Ok(answered(200)));
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn headers_without_end_and_no_answer_at_all() {
    let receiver = Receiver::start(Act::Headers).await;
    let said = outlet().post(at(&receiver, "/")).await;
    let too_large = "the answer is not HTTP, or its headers are too large";
    assert_eq!(said, Err(CallError::Broken(too_large.to_owned())));
    assert!(receiver.poured.load(Ordering::SeqCst) < 20_000_000);
    let receiver = Receiver::start(Act::Close).await;
    let said = outlet().post(at(&receiver, "/")).await;
    let ended = "the connection ended before the answer";
    assert_eq!(said, Err(CallError::Broken(ended.to_owned())));
    let receiver = Receiver::start(Act::Say("nonsense\r\n\r\n")).await;
    let said = outlet().post(at(&receiver, "/")).await;
    assert_eq!(said, Err(CallError::Broken(too_large.to_owned())));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let said = outlet()
        .post(post(&format!("http://127.0.0.1:{port}/")))
        .await;
    assert!(matches!(said, Err(CallError::Unreachable(_))), "{said:?}");
}

/// T40: an address of our own is called by none of its names.
#[tokio::test]
async fn what_is_not_public_is_never_connected_to() {
    let canary = Receiver::start(Act::Say(OK)).await;
    let names = Names::of([
        ("private.example", vec![vec!["127.0.0.1"]]),
        ("both.example", vec![vec!["93.184.216.34", "127.0.0.1"]]),
        ("mapped.example", vec![vec!["::ffff:127.0.0.1"]]),
        ("metadata.example", vec![vec!["169.254.169.254"]]),
        ("localhost", vec![vec!["::1", "127.0.0.1"]]),
        ("nothing.example", vec![vec![]]),
    ]);
    let outlet = HttpOutlet::with(Reach::default(), names, RootCertStore::empty());
    let mut refused = 0;
    for host in [
        "private.example",
        "both.example",
        "mapped.example",
        "metadata.example",
        "localhost",
        "127.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fec0::1]",
        "[fc00::1]",
        "[fe80::1]",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.88.99.1",
        "192.168.0.1",
    ] {
        for scheme in ["http", "https"] {
            let post = post(&format!("{scheme}://{host}:{}/", canary.port));
            for said in [
                outlet.admits(&post.target).await.err(),
                outlet.post(post).await.err(),
            ] {
                assert!(
                    matches!(said, Some(CallError::Refused(_))),
                    "{host}: {said:?}"
                );
            }
            refused += 1;
        }
    }
    assert_eq!((refused, canary.connections()), (46, 0));
    for (host, error) in [
        ("nothing.example", CallError::Unresolved),
        ("unknown.example", CallError::Unresolved),
        ("93.184.216.34:22", CallError::Refused(Refused::Port)),
    ] {
        let said = outlet.post(post(&format!("https://{host}/"))).await;
        assert_eq!(said, Err(error), "{host}");
    }
    let plain = outlet.post(post("http://93.184.216.34/")).await;
    assert_eq!(plain, Err(CallError::Refused(Refused::Plain)));
}

/// A name that was public when it was registered, and is not when it is called.
#[tokio::test]
async fn a_name_that_turns_round_is_refused_at_the_call() {
    let canary = Receiver::start(Act::Say(OK)).await;
    let turned = vec![vec!["93.184.216.34"], vec!["127.0.0.1"]];
    let names = Names::of([("turns.example", turned)]);
    let outlet = HttpOutlet::with(
        Reach {
            ports: vec![canary.port],
            ..Reach::default()
        },
        names,
        RootCertStore::empty(),
    );
    let post = post(&format!("https://turns.example:{}/", canary.port));
    assert_eq!(outlet.admits(&post.target).await, Ok(()));
    let said = outlet.post(post).await;
    assert_eq!(said, Err(CallError::Refused(Refused::Private)));
    assert_eq!(canary.connections(), 0);
}

fn tls() -> (TlsAcceptor, RootCertStore) {
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("fixtures/host.key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(
        tokio_rustls::rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![certificate(include_str!("fixtures/host.pem"))], key)
    .unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(certificate(include_str!("fixtures/ca.pem")))
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), roots)
}

/// The address is the one that was looked at; the name is asked of the certificate.
#[tokio::test]
async fn tls_is_by_name_at_the_address_that_was_looked_at() {
    let (acceptor, roots) = tls();
    let receiver = Receiver::with(Act::Say(OK), Some(acceptor)).await;
    let here = || vec![vec!["127.0.0.1"]];
    let names = Names::of([
        ("hooks.example.test", here()),
        ("other.example.test", here()),
    ]);
    let outlet = HttpOutlet::with(loopback(), names.clone(), roots);
    let hooks = post(&format!("https://hooks.example.test:{}/", receiver.port));
    assert_eq!(outlet.post(hooks.clone()).await, Ok(answered(200)));
    let host = format!("host: hooks.example.test:{}\r\n", receiver.port);
    assert!(receiver.lock()[0].contains(&host), "{:?}", receiver.lock());
    let other = post(&format!("https://other.example.test:{}/", receiver.port));
    let said = outlet.post(other).await;
    assert!(matches!(said, Err(CallError::Unreachable(_))), "{said:?}");
    let stranger = HttpOutlet::with(loopback(), names, RootCertStore::empty());
    let said = stranger.post(hooks).await;
    assert!(matches!(said, Err(CallError::Unreachable(_))), "{said:?}");
    assert_eq!(receiver.lock().len(), 1);
}
