//! The one way out over HTTP: posts to addresses that strangers chose, without becoming their tool.
//!
//! **What holds.** A name is resolved here, and refused if *any* of its addresses is one that the rules do not admit; what
//! is connected to is one of the addresses that were looked at, not what the name means a moment later. The name goes into
//! TLS and `Host` all the same. No redirect is followed, no proxy of the environment asked. An answer costs at most
//! 32 KiB of headers, 64 KiB of body and 20 s, whatever is sent.
//!
//! **Connections** stay open for a while for the next message to the same host. One is used again only after an answer was
//! read to its end.

mod connection;
mod places;
mod pool;
mod resolver;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use quivive_app::ports::{Answer, CallError, Outlet, Post};
use quivive_delivery::BoxFuture;
use quivive_domain::webhook::{Reach, Target};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::ServerName;

use connection::{Connection, Exchange};
use places::Places;
use pool::{Origin, Pool, Pooled};
pub use resolver::{Resolver, SystemResolver};

/// From the first byte out to the last header in, with the way there.
const WHOLE: Duration = Duration::from_secs(20);
/// For resolving, and again for connecting with TLS.
const CONNECT: Duration = Duration::from_secs(5);
/// Of status line and headers. What needs more is not for us.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Read of a body, to be able to use the connection again, and dropped.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long that may take. The answer is known by then.
const BODY: Duration = Duration::from_secs(1);
/// Calls under way. Each is a socket and some 50 KB.
const MAX_CALLS: usize = 512;
/// How long a call waits for a place among them.
const PATIENCE: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried. All of them are looked at.
const MAX_TRIED: usize = 4;

/// Posts over HTTP/1.1, with TLS by rustls.
pub struct HttpOutlet {
    reach: Reach,
    resolver: Arc<dyn Resolver>,
    tls: TlsConnector,
    pool: Pool,
    places: Places,
    whole: Duration,
}

impl HttpOutlet {
    /// Trusts the certificates that Mozilla does.
    pub fn new(reach: Reach) -> Self {
        Self::with(reach, Arc::new(SystemResolver), quivive_tls::public_roots())
    }

    pub(crate) fn with(reach: Reach, resolver: Arc<dyn Resolver>, roots: RootCertStore) -> Self {
        let mut tls = quivive_tls::client(roots);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            reach,
            resolver,
            tls: TlsConnector::from(Arc::new(tls)),
            pool: Pool::default(),
            places: Places::new(MAX_CALLS),
            whole: WHOLE,
        }
    }

    /// The addresses of a target, if every one of them may be called.
    async fn addresses(&self, target: &Target) -> Result<Vec<IpAddr>, CallError> {
        let found = match target.address() {
            Some(ip) => vec![ip],
            None => timeout(CONNECT, self.resolver.resolve(target.host()))
                .await
                .map_err(|_| CallError::Unresolved)?
                .map_err(|_| CallError::Unresolved)?,
        };
        if found.is_empty() {
            return Err(CallError::Unresolved);
        }
        for ip in &found {
            self.reach.admits(target, *ip)?;
        }
        Ok(found)
    }

    /// Connects to one of the addresses that were looked at.
    async fn connect(&self, target: &Target) -> Result<Connection, CallError> {
        let addresses = self.addresses(target).await?;
        let connecting = async {
            let stream = dial(&addresses, target.port()).await?;
            if !target.is_encrypted() {
                return Connection::over(stream).await;
            }
            let name = server_name(target)?;
            let stream = self.tls.connect(name, stream).await;
            let stream = stream.map_err(|error| CallError::Unreachable(error.to_string()))?;
            Connection::over(stream).await
        };
        let late = |_| CallError::Unreachable(format!("none within {} s", CONNECT.as_secs()));
        timeout(CONNECT, connecting).await.map_err(late)?
    }

    async fn exchange(&self, post: &Post, origin: Origin) -> Result<Answer, CallError> {
        if let Some(mut pooled) = self.pool.take(&origin).await {
            // The receiver may have closed it just now, so that nothing of the message was looked at. If it was, the
            // message comes twice, under the same id.
            if let Exchange::Answered(answer) = pooled.connection.exchange(request(post)?).await {
                self.pool.put(origin, pooled).await;
                return Ok(answer);
            }
        }
        // Apart, for it is rare and large.
        Box::pin(self.exchange_anew(post, origin)).await
    }

    async fn exchange_anew(&self, post: &Post, origin: Origin) -> Result<Answer, CallError> {
        let mut pooled = Pooled::new(self.connect(&post.target).await?);
        match pooled.connection.exchange(request(post)?).await {
            Exchange::Answered(answer) => {
                self.pool.put(origin, pooled).await;
                Ok(answer)
            }
            Exchange::Broken(why) => Err(CallError::Broken(why)),
        }
    }
}

impl Outlet for HttpOutlet {
    fn admits<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move { self.addresses(target).await.map(drop) })
    }

    fn post(&self, post: Post) -> BoxFuture<'_, Result<Answer, CallError>> {
        Box::pin(async move {
            let origin = Origin(Arc::clone(&post.target));
            let place = timeout(PATIENCE, self.places.take(&origin)).await;
            let _place = place.map_err(|_| CallError::Busy)?;
            let exchange = pin!(self.exchange(&post, origin));
            timeout(self.whole, exchange)
                .await
                .unwrap_or(Err(CallError::TimedOut(self.whole)))
        })
    }
}

async fn dial(addresses: &[IpAddr], port: u16) -> Result<TcpStream, CallError> {
    let mut why = None;
    for ip in addresses.iter().take(MAX_TRIED) {
        match TcpStream::connect(SocketAddr::new(*ip, port)).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => why = Some(error.kind().to_string()),
        }
    }
    Err(CallError::Unreachable(why.unwrap_or_default()))
}

fn server_name(target: &Target) -> Result<ServerName<'static>, CallError> {
    let name = match target.address() {
        Some(ip) => return Ok(ServerName::IpAddress(ip.into())),
        None => target.host().to_owned(),
    };
    ServerName::try_from(name).map_err(|_| CallError::Unreachable("no name for TLS".to_owned()))
}

fn request(post: &Post) -> Result<Request<Full<Bytes>>, CallError> {
    let unfit = || CallError::Broken("the message does not fit HTTP".to_owned());
    let path = post.target.path_and_query().parse();
    let mut request = Request::new(Full::new(post.body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.map_err(|_| unfit())?;
    let headers = request.headers_mut();
    // Ours, and the length.
    headers.reserve(post.headers.len() + 3);
    let host = HeaderValue::try_from(post.target.authority());
    headers.insert(
        HOST,
        host.map_err(|_| CallError::Unreachable("no name for HTTP".to_owned()))?,
    );
    let agent = concat!("quivive/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    for (name, value) in &post.headers {
        let value = match value {
            Cow::Borrowed(value) => HeaderValue::from_static(value),
            Cow::Owned(value) => HeaderValue::try_from(value).map_err(|_| unfit())?,
        };
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(request)
}
