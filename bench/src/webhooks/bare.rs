//! A bare HTTP client: hyper's own, which most Rust programs call others with, and a request sent over and over. The
//! server's way out is made of the same library.

use std::io::Read as _;
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;

/// What this program is called with to be nothing but this client: then an address, how many requests, and over how many
/// connections. The request is read from the standard input.
pub(crate) const NAME: &str = "bare-client";

pub(crate) async fn run(arguments: &[String]) {
    let address: SocketAddr = arguments[0].parse().unwrap();
    let [count, connections] = [1, 2].map(|at: usize| arguments[at].parse::<u64>().unwrap());
    let mut request = Vec::new();
    std::io::stdin().read_to_end(&mut request).unwrap();
    let told = Told::parse(address, &request);
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let mut tasks = JoinSet::new();
    for connection in 0..connections {
        let surplus = u64::from(connection < count % connections);
        tasks.spawn(send(
            client.clone(),
            told.clone(),
            count / connections + surplus,
        ));
    }
    tasks.join_all().await;
}

/// Sends a request so many times, one after the other.
async fn send(client: Client<HttpConnector, Full<Bytes>>, told: Told, count: u64) {
    for _ in 0..count {
        let response = client.request(told.request()).await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        response.into_body().collect().await.unwrap();
    }
}

/// The request, in its parts.
#[derive(Clone)]
struct Told {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Told {
    fn parse(address: SocketAddr, request: &[u8]) -> Self {
        let end = request
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")
            .unwrap()
            + 4;
        let head = std::str::from_utf8(&request[..end]).unwrap();
        let mut lines = head.lines();
        let path = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        Self {
            uri: format!("http://{address}{path}").parse().unwrap(),
            headers: headers.filter(|(name, _)| name != CONTENT_LENGTH).collect(),
            body: Bytes::copy_from_slice(&request[end..]),
        }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}
