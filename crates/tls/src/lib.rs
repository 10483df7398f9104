//! TLS towards what we call: whom it trusts, and what went wrong, for people.
//!
//! **What holds.** The other side's certificate is verified up to a certificate that is trusted, for now, and for the name that
//! was asked for: always, there is no other way. Trusted are the certificates that Mozilla trusts, and those of a file beside
//! them. TLS 1.2 or 1.3, by rustls over aws-lc-rs.

mod binding;
mod failure;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

pub use binding::server_end_point;
pub use failure::{TlsError, Unconnected};
pub use rustls;
pub use tokio_rustls::client::TlsStream;

/// What a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Why certificates cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificates {
    #[error("it holds no certificate in PEM")]
    None,
    #[error("it cannot be read as PEM: {0}")]
    Pem(String),
    #[error("a certificate in it cannot be used: {0}")]
    Certificate(#[source] rustls::Error),
}

/// The certificates that Mozilla trusts.
pub fn public_roots() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

/// A client that trusts these and shows no certificate of its own.
pub fn client(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Puts TLS over connections.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

impl Default for Tls {
    /// Trusts the public certificates alone.
    fn default() -> Self {
        let config = Arc::new(client(public_roots()));
        Self { config }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// `trusted_pem`: certificates that are trusted besides the public ones.
    pub fn new(trusted_pem: Option<&[u8]>) -> Result<Self, BadCertificates> {
        let mut roots = public_roots();
        if let Some(pem) = trusted_pem {
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate =
                    certificate.map_err(|error| BadCertificates::Pem(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(BadCertificates::Certificate)?;
            }
            if roots.len() == before {
                return Err(BadCertificates::None);
            }
        }
        let config = Arc::new(client(roots));
        Ok(Self { config })
    }

    /// Names the protocol that will be spoken (ALPN).
    #[must_use]
    pub fn for_protocol(self, name: &[u8]) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![name.to_vec()];
        let config = Arc::new(config);
        Self { config }
    }

    /// The handshake with `host`, a name or an address, in five seconds at most.
    pub async fn connect<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = host.trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| TlsError::NoName(host.to_owned()))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let shaken = tokio::time::timeout(HANDSHAKE, connector.connect(name, stream)).await;
        let stream = shaken.map_err(|_| TlsError::Silent)?;
        stream.map_err(|error| TlsError::of(&error, host))
    }
}

/// By its name or by its address: what is said there in clear is heard by nobody else. A name that merely resolves to this machine
/// may resolve elsewhere tomorrow.
pub fn is_this_machine(host: &str) -> bool {
    let host = host.trim_end_matches('.').trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_are_trusted() {
        assert!(Tls::new(None).is_ok());
        let refused = |pem: &[u8]| Tls::new(Some(pem)).err().map(|error| error.to_string());
        assert_eq!(
            refused(b"").as_deref(),
            Some("it holds no certificate in PEM")
        );
        assert!(
            refused(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_some()
        );
        assert!(refused(b"-----BEGIN CERTIFICATE-----\n").is_some());
    }

    #[test]
    fn this_machine_is_known_by_name_and_address() {
        for here in [
            "localhost",
            "LocalHost.",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "[::1]",
        ] {
            assert!(is_this_machine(here), "{here}");
        }
        for there in ["localhost.example.org", "10.0.0.1", "db", "0.0.0.0", ""] {
            assert!(!is_this_machine(there), "{there}");
        }
    }
}
