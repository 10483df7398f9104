//! The log over HTTP: `GET /api/v1/events`, as CloudEvents.

mod http;

use std::time::Duration;

use hyper::StatusCode;
use quivive_tls::{BadCertificates, Tls, TlsError};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use crate::event::{Event, Unreadable};
use http::Client;

/// Events of a page; the server has no longer ones.
const PAGE: usize = 250;
const MEDIA_TYPE: &str = "application/cloudevents-batch+json";
/// A server that is asked too often, and does not say for how long it wants to rest.
const REST: Duration = Duration::from_secs(1);

/// Why a feed cannot be read from there.
#[derive(Debug, thiserror::Error)]
pub enum BadFeed {
    #[error("{0:?} is no http or https URL of a server")]
    Url(String),
    #[error("the key has characters that no key has")]
    Key,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The server is away or busy, for so long at least.
    #[error("{1}")]
    Later(Duration, String),
    #[error("{0}")]
    Expired(String),
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// What the log has after a place.
pub(crate) struct Page {
    /// Oldest first, without gaps.
    pub(crate) events: Vec<Event>,
    /// There may be more.
    pub(crate) is_full: bool,
    pub(crate) epoch: u64,
}

/// The log of a server.
pub struct Feed {
    client: Client,
    key: SecretString,
}

impl Feed {
    /// `url` is the server's public one; `key` an API key with the scope `events.read`. Connects when it is read.
    pub fn new(url: &str, key: impl Into<SecretString>) -> Result<Self, BadFeed> {
        let key = key.into();
        let visible = |byte: &u8| (0x21..0x7f).contains(byte);
        if !key.expose_secret().as_bytes().iter().all(visible) {
            return Err(BadFeed::Key);
        }
        let parsed = Url::parse(url).map_err(|_| BadFeed::Url(url.to_owned()))?;
        let client = Client::new(&parsed).ok_or_else(|| BadFeed::Url(url.to_owned()))?;
        Ok(Self { client, key })
    }

    /// Trusts certificates in PEM besides the public ones, where the URL says `https`.
    pub fn trusting(mut self, pem: &[u8]) -> Result<Self, BadCertificates> {
        self.client.trust(Tls::new(Some(pem))?);
        Ok(self)
    }

    /// The events after a position. An epoch of 0 is not known yet.
    pub(crate) async fn read(&mut self, epoch: u64, after: u64) -> Result<Page, FeedError> {
        let mut path = format!("/api/v1/events?limit={PAGE}&after={after}");
        if epoch != 0 {
            path = format!("{path}&epoch={epoch}");
        }
        let bearer = format!("Bearer {}", self.key.expose_secret());
        let headers = [("accept", MEDIA_TYPE), ("authorization", &bearer)];
        let answer = self.client.get(&path, &headers).await;
        let answer = answer.map_err(|error| FeedError::Later(Duration::ZERO, told(&*error)))?;
        if answer.status != StatusCode::OK {
            return Err(failed(&answer));
        }
        let link = answer.header("link").unwrap_or_default();
        let epoch = parameter(&link, "epoch").unwrap_or(epoch);
        let list: Vec<Value> = serde_json::from_slice(&answer.body).map_err(Unreadable::from)?;
        let is_full = list.len() == PAGE;
        let read = |json| Ok(Event::read(json)?.0);
        let events = list
            .into_iter()
            .map(read)
            .collect::<Result<_, Unreadable>>()?;
        Ok(Page {
            events,
            is_full,
            epoch,
        })
    }
}

/// A number of the query in a `Link`.
fn parameter(link: &str, name: &str) -> Option<u64> {
    let query = link.split_once('?')?.1.split_once('>')?.0;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| *found == name)?.1.parse().ok()
}

/// In one line, with what to do where it is TLS.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<TlsError>() {
        Some(tls) => format!("{tls}; {}", tls.remedy("its URL", "`Feed::trusting`")),
        None => error.to_string(),
    }
}

fn failed(answer: &http::Answer) -> FeedError {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = ["detail", "title"]
        .iter()
        .find_map(|name| problem[*name].as_str());
    let text = format!("{}: {}", answer.status, text.unwrap_or("no more was said"));
    match answer.status {
        StatusCode::GONE => FeedError::Expired(text),
        StatusCode::TOO_MANY_REQUESTS => {
            let wait = answer.header("retry-after");
            let seconds = wait.and_then(|wait| wait.parse().ok());
            FeedError::Later(seconds.map_or(REST, Duration::from_secs), text)
        }
        status if status.is_client_error() => FeedError::Refused(text),
        _ => FeedError::Later(Duration::ZERO, text),
    }
}

#[cfg(test)]
mod tests {
    use super::{TlsError, parameter, told};

    #[test]
    fn a_certificate_that_nobody_trusts_is_told_with_what_to_do() {
        let error: Box<dyn std::error::Error + Send + Sync> = TlsError::UnknownIssuer.into();
        let text = told(&*error);
        assert!(
            text.contains("nobody who is trusted") && text.contains("`Feed::trusting`"),
            "{text}"
        );
    }

    #[test]
    fn the_epoch_is_in_the_link() {
        let link = "<?after=12&epoch=3&limit=250>; rel=\"next\"";
        assert_eq!(parameter(link, "epoch"), Some(3));
        assert_eq!(parameter(link, "after"), Some(12));
        assert_eq!(parameter("", "epoch"), None);
    }
}
