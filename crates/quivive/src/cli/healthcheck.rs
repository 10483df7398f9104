//! `quivive healthcheck`: for containers and supervisors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, StatusCode, Uri, header};
use clap::Args;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::exit::Exit;
use super::failure::Failure;
use super::{Everywhere, block_on, output};

/// A server that takes longer to say that it is ready is not.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// What to ask [default: /readyz at the configured address]
    #[arg(long)]
    url: Option<Uri>,
}

impl Healthcheck {
    pub(super) fn run(&self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => local(everywhere.load()?.listen()?),
        };
        let (authority, host, port) = parts(&url)?;
        let asked = block_on(async {
            Ok(tokio::time::timeout(PATIENCE, ask(&url, &authority, &host, port)).await)
        })?;
        let healthy = match &asked {
            Ok(Ok(status)) => status.is_success(),
            Ok(Err(_)) | Err(_) => false,
        };
        let said = match asked {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error,
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        let told = serde_json::json!({"healthy": healthy, "url": url.to_string(), "answer": said});
        output::value(everywhere.output, &told, || format!("{url}: {said}"))?;
        Ok(if healthy { Exit::Done } else { Exit::Unhealthy })
    }
}

/// A server that listens everywhere is asked on loopback.
fn local(listen: SocketAddr) -> Uri {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let url = format!("http://{}/readyz", SocketAddr::new(ip, listen.port()));
    url.parse().expect("an address and a path are a URL")
}

fn parts(url: &Uri) -> Result<(String, String, u16), Failure> {
    let usage = |message: &str| {
        Failure::new(
            Exit::Usage,
            format!("{url} {message}"),
            "give it as http://127.0.0.1:8080/readyz",
        )
    };
    if url.scheme_str() != Some("http") {
        return Err(usage(
            "is not http: the check is for the server itself, behind its proxy",
        ));
    }
    let authority = url.authority().ok_or_else(|| usage("names no host"))?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    Ok((
        authority.to_string(),
        host,
        authority.port_u16().unwrap_or(80),
    ))
}

async fn ask(url: &Uri, authority: &str, host: &str, port: u16) -> Result<StatusCode, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|e| text(&e))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| text(&e))?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header(header::HOST, authority);
    let request = request
        .body(axum::body::Body::from(Bytes::new()))
        .map_err(|e| text(&e))?;
    let answer = async {
        let reply = sender.send_request(request).await.map_err(|e| text(&e))?;
        Ok(reply.status())
    };
    // The connection is driven beside the request, in this task; it ends when the answer is here.
    tokio::select! {
        answer = answer => answer,
        ended = connection => Err(ended.map_or_else(|e| text(&e), |()| "the connection was closed".to_owned())),
    }
}
