//! A small client of HTTP/1.1: one connection, one request at a time, and no task beside it.

use std::pin::Pin;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use quivive_tls::Tls;
use tokio::net::TcpStream;
use url::Url;

/// Connecting, and one request whole.
const CONNECT: Duration = Duration::from_secs(2);
const WHOLE: Duration = Duration::from_secs(10);
/// 250 events of 64 KiB at most.
const MAX_BODY: usize = 17 * 1024 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        Some(self.headers.get(name)?.to_str().ok()?.to_owned())
    }
}

struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// Moves the bytes; it is polled while a request waits.
    driver: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

pub(super) struct Client {
    host: String,
    port: u16,
    /// What paths are put behind.
    prefix: String,
    authority: String,
    tls: Option<Tls>,
    connection: Option<Connection>,
}

impl Client {
    /// For http and https.
    pub(super) fn new(url: &Url) -> Option<Self> {
        let tls = match url.scheme() {
            "http" => None,
            "https" => Some(Tls::default()),
            _ => return None,
        };
        let host = url.host_str()?.to_owned();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        };
        Some(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default()?,
            prefix: url.path().trim_end_matches('/').to_owned(),
            authority,
            tls,
            connection: None,
        })
    }

    /// As of now it connects so, where the URL says https.
    pub(super) fn trust(&mut self, tls: Tls) {
        if let Some(trusted) = &mut self.tls {
            *trusted = tls;
            self.connection = None;
        }
    }

    pub(super) async fn get(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        let reused = self.connection.is_some();
        match self.attempt(path, headers).await {
            // The server may have ended a connection that was not used.
            Err(_) if reused => self.attempt(path, headers).await,
            done => done,
        }
    }

    async fn attempt(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.sender.is_closed() => connection,
            _ => tokio::time::timeout(CONNECT, self.connect()).await??,
        };
        let mut request = Request::get(format!("{}{path}", self.prefix))
            .header(HOST, &self.authority)
            .header(USER_AGENT, "quivive-consumer");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new())?;
        let Connection { sender, driver } = &mut connection;
        let exchange = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await?.to_bytes();
            Ok::<_, Failure>(Answer {
                status: head.status,
                headers: head.headers,
                body,
            })
        };
        let driven = async {
            tokio::pin!(exchange);
            tokio::select! {
                biased;
                done = &mut exchange => (done, false),
                () = driver => (exchange.await, true),
            }
        };
        let (answer, ended) = tokio::time::timeout(WHOLE, driven).await?;
        let answer = answer?;
        if !ended {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return over(stream).await;
        };
        over(tls.connect(&self.host, stream).await?).await
    }
}

async fn over<S>(stream: S) -> Result<Connection, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Sync + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = Box::pin(async move {
        let _ = connection.await;
    });
    Ok(Connection { sender, driver })
}
