//! Signs messages to one endpoint, posts them, and says what became of them.

use std::sync::Arc;
use std::time::Instant;

use quivive_delivery::cloudevents::MEDIA_TYPE;
use quivive_delivery::{Fault, Time};
use quivive_domain::webhook::{SignatureHeader, Signatures, Target, signed_content};

use super::Tools;
use super::message::Message;
use super::secrets::{self, Keys};
use crate::ports::{Answer, Attempt, CallError, Endpoint, Headers, Post};

/// An endpoint with its keys, as of its last change.
pub(super) struct Sender {
    pub(super) tools: Arc<Tools>,
    pub(super) endpoint: Endpoint,
    target: Arc<Target>,
    keys: Keys,
}

/// What became of a message.
pub(super) struct Sent {
    pub(super) answer: Result<Answer, CallError>,
    pub(super) attempt: Attempt,
}

impl Sender {
    pub(super) async fn to(tools: &Arc<Tools>, endpoint: Endpoint) -> Result<Self, Fault> {
        let keys = secrets::open(tools.families(), endpoint.id).await?;
        if keys.is_empty() {
            tracing::error!(endpoint = %endpoint.id, "a webhook's secret cannot be opened: rotate it");
        }
        Ok(Self {
            tools: Arc::clone(tools),
            target: Arc::new(endpoint.target.clone()),
            endpoint,
            keys,
        })
    }

    /// `number` is the attempt's, 0 for what is sent out of turn.
    pub(super) async fn send(&self, message: &Message<'_>, number: u32) -> Sent {
        let families = self.tools.families();
        let now = families.clock.now();
        let began = Instant::now();
        let answer = match self.headers(message, now) {
            Some(headers) => {
                let post = Post {
                    target: Arc::clone(&self.target),
                    headers,
                    body: message.body.clone(),
                };
                families.outlet.post(post).await
            }
            None => Err(CallError::Broken(
                "there is no key to sign it with".to_owned(),
            )),
        };
        let attempt = Attempt {
            endpoint: self.endpoint.id,
            event_id: message.id,
            event_type: message.kind.to_owned(),
            number,
            at: now,
            latency_ms: u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX),
            status: answer.as_ref().ok().map(|answer| answer.status.into()),
            error: error(&answer),
        };
        Sent { answer, attempt }
    }

    /// `None` without a key. The time is that of the try: receivers refuse what is older than some minutes.
    fn headers(&self, message: &Message<'_>, now: Time) -> Option<Headers> {
        let (id, seconds) = (message.id.to_string(), now.as_second());
        let wanted = self.endpoint.signatures;
        let content = signed_content(&id, seconds, &message.body);
        let live = self
            .keys
            .iter()
            .filter(|(_, until)| until.is_none_or(|until| now < until));
        let mut signatures = SignatureHeader::default();
        for (keys, _) in live {
            if wanted != Signatures::V1a {
                signatures.put_hmac(&keys.hmac_sha256(&content));
            }
            if wanted != Signatures::V1 {
                signatures.put_ed25519(&keys.ed25519(&content));
            }
        }
        Some(vec![
            ("content-type", MEDIA_TYPE.into()),
            ("webhook-id", id.into()),
            ("webhook-timestamp", seconds.to_string().into()),
            ("webhook-signature", signatures.into_text()?.into()),
        ])
    }
}

/// Why it does not count as taken.
fn error(answer: &Result<Answer, CallError>) -> Option<String> {
    match answer {
        Ok(Answer {
            status: 200..=299, ..
        }) => None,
        Ok(Answer {
            status: status @ 300..=399,
            ..
        }) => Some(format!("answered {status}; redirects are not followed")),
        Ok(Answer { status, .. }) => Some(format!("answered {status}")),
        Err(error) => Some(error.to_string()),
    }
}
