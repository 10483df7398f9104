//! RabbitMQ in TLS, over a connection of ours: the driver's own TLS would bring a reader of key stores along.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::Stream;
use futures_util::io::{AsyncRead, AsyncWrite};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

use crate::{Tls, TlsStream, Unconnected};

/// Connects by a URL: `amqp://` in clear, `amqps://` in TLS. `tls` is what is trusted there.
pub async fn connect(url: &str, tls: &Tls) -> Result<Connection, Unconnected<lapin::Error>> {
    let uri: AMQPUri = url.parse().map_err(|_| Unconnected::Url)?;
    let properties = ConnectionProperties::default();
    if uri.scheme == AMQPScheme::AMQP {
        let connected = Connection::connect_uri(uri, properties).await;
        return connected.map_err(Unconnected::Driver);
    }
    let host = uri.authority.host.trim_matches(['[', ']']).to_owned();
    let stream = TcpStream::connect((host.as_str(), uri.authority.port)).await?;
    stream.set_nodelay(true)?;
    let stream = tls.connect(&host, stream).await.map_err(Unconnected::Tls)?;
    let once = Mutex::new(Some(stream.compat()));
    let take = async move |_, _| {
        let taken = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stream = taken.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        Ok(AsyncTcpStream::Plain(stream))
    };
    let tokio = Tokio::current();
    let runtime = Runtime::new(RuntimeParts::new(tokio.clone(), Given(tokio)));
    let connected = Connection::connector(uri, runtime, take, properties).await;
    connected.map_err(Unconnected::Driver)
}

/// Where the driver gets its connections from: it is given the one there is, and no other.
#[derive(Debug, Clone)]
struct Given(Tokio);

const NO_OTHER: &str = "there is one connection, and it was given";

impl Reactor for Given {
    type TcpStream = Compat<TlsStream<TcpStream>>;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Self::TcpStream, _>(io::Error::other(NO_OTHER))
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        _: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        std::future::ready(Err(io::Error::other(NO_OTHER)))
    }
}
