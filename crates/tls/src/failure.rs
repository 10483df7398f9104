//! Why a connection is not protected, and what to do about it.

use std::io;

use rustls::CertificateError;

/// Why there is no TLS with somebody. Nothing was said to them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    #[error("its certificate is signed by nobody who is trusted")]
    UnknownIssuer,
    #[error("its certificate is not for {asked}{}", .names.as_ref().map(|names| format!(" but for {names}")).unwrap_or_default())]
    OtherName {
        asked: String,
        names: Option<String>,
    },
    #[error("its certificate is out of date, or not good yet")]
    OutOfDate,
    #[error("its certificate is an authority's own, which is not for servers")]
    AuthoritysOwn,
    #[error("its certificate will not do: {0}")]
    Certificate(CertificateError),
    #[error("it does not speak TLS")]
    NotSpoken,
    #[error("it did not answer as TLS does, or not in time")]
    Silent,
    #[error("{0:?} is no host name that a certificate could be for")]
    NoName(String),
    #[error("no TLS with it: {0}")]
    Other(String),
}

impl TlsError {
    pub(crate) fn of(error: &io::Error, host: &str) -> Self {
        let cause = error
            .get_ref()
            .and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidCertificate(why)) => Self::of_certificate(why, host),
            Some(rustls::Error::InvalidMessage(_)) => Self::NotSpoken,
            Some(other) => Self::Other(other.to_string()),
            None if error.kind() == io::ErrorKind::UnexpectedEof
                || error.kind() == io::ErrorKind::ConnectionReset =>
            {
                Self::Silent
            }
            None => Self::Other(error.to_string()),
        }
    }

    fn of_certificate(why: &CertificateError, host: &str) -> Self {
        let asked = host.to_owned();
        match why {
            // A bad signature: by somebody who is called as one who is trusted.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::NotValidForName => Self::OtherName { asked, names: None },
            CertificateError::NotValidForNameContext { presented, .. } => Self::OtherName {
                asked,
                names: (!presented.is_empty()).then(|| presented.join(", ")),
            },
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::OutOfDate,
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                Self::AuthoritysOwn
            }
            other => Self::Certificate(other.clone()),
        }
    }

    /// What to do. `url` and `ca` are what the settings of the address, and of the file of certificates, are called there.
    pub fn remedy(&self, url: &str, ca: &str) -> String {
        match self {
            Self::UnknownIssuer => format!("name the file of its authority's certificate in {ca}"),
            Self::OtherName { .. } | Self::NoName(_) => format!(
                "write the name that its certificate is for in {url}, or give it a certificate for this one"
            ),
            Self::OutOfDate => "renew its certificate, and look at both clocks".to_owned(),
            Self::AuthoritysOwn => format!(
                "give it one that the authority has signed, and name the authority's in {ca}"
            ),
            Self::NotSpoken | Self::Silent => {
                format!("switch TLS on there, or put host and port in {url} right")
            }
            Self::Certificate(_) | Self::Other(_) => {
                "look at its certificate and at its settings of TLS".to_owned()
            }
        }
    }
}

/// Why there is no connection. No text has a password.
#[derive(Debug, thiserror::Error)]
pub enum Unconnected<E: std::error::Error + 'static> {
    #[error("the URL cannot be read")]
    Url,
    #[error("{0}")]
    Tls(#[source] TlsError),
    #[error("{0}")]
    Network(#[from] io::Error),
    #[error("{0}")]
    Driver(#[source] E),
}

impl<E: std::error::Error + 'static> Unconnected<E> {
    /// In one line, with what to do where it is TLS; see [`TlsError::remedy`].
    pub fn told(&self, url: &str, ca: &str) -> String {
        match self {
            Self::Tls(error) => format!("{self}; {}", error.remedy(url, ca)),
            _ => self.to_string(),
        }
    }
}
