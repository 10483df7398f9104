//! What stands in front of a server and ends TLS for it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificates::Certificate;

/// A port where it will stand.
pub struct Front {
    listener: TcpListener,
    pub port: u16,
}

impl Front {
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        Self { listener, port }
    }

    /// Takes connections in TLS, and hands what comes to the server, until what is returned is dropped.
    pub fn stand(self, certificate: &Certificate, server: SocketAddr) -> JoinSet<()> {
        let acceptor = acceptor(certificate);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = self.listener.accept().await {
                connections.spawn(hand_on(stream, acceptor.clone(), server));
            }
        });
        tasks
    }
}

fn acceptor(certificate: &Certificate) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(&certificate.certificate).expect("PEM");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("a key");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they fit");
    TlsAcceptor::from(Arc::new(config))
}

/// A client that does not trust the certificate goes away in the handshake.
async fn hand_on(stream: TcpStream, acceptor: TlsAcceptor, server: SocketAddr) {
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    if let Ok(mut behind) = TcpStream::connect(server).await {
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
    }
}
