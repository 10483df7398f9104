//! Connections: large and slow headers, h2 in clear, the second address.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use quivive_testkit::experiments::slow_clients::WITHOUT_WINDOW;
use quivive_testkit::{Client, Options, Server, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::support::{BINARY, server};

async fn answer(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection is not left open");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_have_a_limit_in_size_and_number() {
    let server = server().await;
    let large = format!(
        "GET /livez HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n",
        "a".repeat(70 * 1024)
    );
    let said = answer(server.address, large.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 431 "), "{said:.80}");
    let many: String = (0..200)
        .map(|i| format!("X-{i}: y\r\n"))
        .fold(String::new(), |text, line| text + &line);
    let said = answer(
        server.address,
        format!("GET /livez HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes(),
    )
    .await;
    assert!(said.starts_with("HTTP/1.1 431 "), "{said:.80}");
    server.get("/livez").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_slowly_or_nothing_is_let_go() {
    let server = server().await;
    let began = Instant::now();
    // Headers that do not end, a protocol that is not decided, silence.
    let (headers, preface, nothing) = tokio::join!(
        answer(server.address, b"GET /livez HTTP/1.1\r\nHost: "),
        answer(server.address, b"PRI * HTTP/2"),
        answer(server.address, b""),
    );
    let waited = began.elapsed();
    assert!(
        headers.is_empty() || headers.starts_with("HTTP/1.1 408 "),
        "{headers}"
    );
    assert_eq!((preface, nothing), (String::new(), String::new()));
    assert!(
        waited > Duration::from_secs(8) && waited < Duration::from_secs(15),
        "{waited:?}"
    );
}

/// Asks for more than the system's buffers hold, and reads none of it.
async fn lets_answers_lie(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let one = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(&one.repeat(40)).await.unwrap();
    stream
}

/// A live stream says nothing most of the time, and keeps its place; who lets an answer lie, over either protocol, does not.
#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_answer_makes_room() {
    const PLACES: usize = 12;
    let options = Options::unlimited().env("QUIVIVE__SERVER__MAX_CONNECTIONS", &PLACES.to_string());
    let server = Server::start(BINARY, options).await;
    let admin = server.administrator().await;
    let stream = Stream::open(server.address, "/events/stream", &admin, None).await;
    let mut live = stream.unwrap().unwrap();
    for over_h2 in [false, true] {
        let mut lying = Vec::new();
        while lying.len() < PLACES {
            let stream = if over_h2 {
                let mut stream = TcpStream::connect(server.address).await.unwrap();
                stream.write_all(WITHOUT_WINDOW).await.unwrap();
                stream
            } else {
                lets_answers_lie(server.address).await
            };
            lying.push(stream);
            // Accepted and asked by then: all that come later find all places taken.
            sleep(Duration::from_millis(100)).await;
        }
        for _ in 0..PLACES {
            let mut client = server.client();
            let asked = client.api("GET", "/me", None, Some(&admin));
            let answer = timeout(Duration::from_secs(5), asked).await;
            answer.expect("it is given a place").unwrap().expect(200);
        }
    }
    server
        .login("root@example.org", "an administrators long passphrase 7")
        .await;
    let said = timeout(Duration::from_secs(10), async {
        while live.next().await.unwrap().unwrap().kind != "session.created" {}
    });
    said.await.expect("the stream is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_is_spoken_in_clear() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The preface with empty settings (RFC 9113, 3.4): the server's settings come back.
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "a SETTINGS frame");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_address_has_the_figures() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let options = Options::default().env("QUIVIVE__MANAGEMENT__LISTEN", &free.to_string());
    let server = Server::start(BINARY, options).await;
    server.administrator().await;
    let management = |path: &'static str| async move {
        let call = quivive_testkit::client::Call {
            method: "GET",
            path,
            ..quivive_testkit::client::Call::default()
        };
        Client::new(free).call(&call).await.unwrap()
    };
    let figures = management("/metrics").await.expect(200);
    let text = String::from_utf8(figures.body).unwrap();
    assert!(
        text.contains("quivive_workflows_total{workflow=\"administrator_bootstrap\""),
        "{text}"
    );
    assert!(
        !text.contains("example.org"),
        "no label is personal: {text}"
    );
    let ready = management("/readyz").await.expect(200).json();
    assert!(
        ready["subscriptions"]
            .as_array()
            .is_some_and(|all| !all.is_empty()),
        "{ready}"
    );
    management("/api/v1/me").await.expect(404);
}
