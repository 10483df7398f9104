//! What is posted: an event as a CloudEvents message, in the version of its data that the endpoint reads.

use bytes::Bytes;
use quivive_delivery::cloudevents;
use quivive_delivery::{Fault, Stored};
use quivive_domain::EndpointId;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Tools;
use crate::ports::Endpoint;

/// The type of a message that is no event.
const TEST: &str = "webhook.test";

/// Most messages are shorter.
const USUAL_BYTES: usize = 1024;

/// A message, the same at each try.
pub(super) struct Message<'a> {
    /// Its `webhook-id`.
    pub(super) id: Uuid,
    pub(super) kind: &'a str,
    pub(super) body: Bytes,
}

impl<'a> Message<'a> {
    /// `None` where the event cannot be told in the version that the endpoint reads.
    pub(super) fn of(
        tools: &Tools,
        endpoint: &Endpoint,
        event: &'a Stored,
    ) -> Result<Option<Self>, serde_json::Error> {
        let (catalogue, origin) = (tools.kernel.catalogue(), &tools.origin);
        let kind = &event.envelope.kind;
        let message = match endpoint.versions.get(kind) {
            Some(version) => cloudevents::message_as(event, catalogue, origin, *version)?,
            None => Some(cloudevents::message(event, catalogue, origin)?),
        };
        message
            .map(|message| Self::new(event.envelope.id, kind, &message))
            .transpose()
    }

    /// One that says of itself that it is a test.
    pub(super) fn test(tools: &Tools, endpoint: EndpointId) -> Result<Self, Fault> {
        let families = tools.families();
        let id = families.ids.next();
        let message = json!({
            "specversion": "1.0",
            "id": id,
            "source": tools.origin.source,
            "type": TEST,
            "time": families.clock.now(),
            "datacontenttype": "application/json",
            "data": {"endpoint_id": endpoint},
        });
        Self::new(id, TEST, &message).map_err(Fault::internal)
    }

    fn new(id: Uuid, kind: &'a str, message: &impl Serialize) -> Result<Self, serde_json::Error> {
        let mut body = Vec::with_capacity(USUAL_BYTES);
        serde_json::to_writer(&mut body, message)?;
        Ok(Self {
            id,
            kind,
            body: body.into(),
        })
    }
}

/// Whether an event is about deliveries to endpoints. No endpoint is told of those: each failure would make a message for
/// all the others that fail too.
pub(super) fn is_about_endpoints(event: &Stored) -> bool {
    if !event.envelope.kind.starts_with("delivery.") {
        return false;
    }
    let fields: Value = serde_json::from_slice(&event.body).unwrap_or_default();
    fields["subscription"]
        .as_str()
        .is_some_and(|name| name.starts_with(super::FAMILY))
}
