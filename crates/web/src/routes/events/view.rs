//! An event as it is shown: the envelope whole, with the address and the agent opened, and the personal fields as null unless
//! they are asked for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use quivive_delivery::seal::{SealKey, Sealed, Vault};
use quivive_delivery::{Catalogue, Context, Fault, Priority, Stored, Time};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// One event.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    #[schema(value_type = String, format = "uuid")]
    id: Uuid,
    #[serde(rename = "type")]
    #[schema(example = "user.login.succeeded")]
    pub(super) kind: String,
    /// Of `data`: what was stored with an older version is shown as the current one.
    version: u32,
    /// Dense, from 1: the order of all events.
    pub(super) position: u64,
    epoch: u64,
    /// When it happened.
    #[schema(value_type = String, format = "date-time")]
    time: Time,
    /// When its commit was written.
    #[schema(value_type = String, format = "date-time")]
    recorded_at: Time,
    /// Whom it is about: a user's id, or a keyed digest.
    #[schema(required)]
    subject: Option<String>,
    #[schema(value_type = String, format = "uuid")]
    workflow_id: Uuid,
    #[schema(value_type = String, format = "uuid")]
    correlation_id: Uuid,
    #[schema(value_type = Option<String>, format = "uuid", required)]
    causation_id: Option<Uuid>,
    actor: ActorView,
    #[schema(required)]
    ip_address: Option<String>,
    #[schema(required)]
    user_agent: Option<String>,
    #[schema(required)]
    request_id: Option<String>,
    #[schema(required)]
    traceparent: Option<String>,
    #[schema(value_type = String, example = "normal")]
    priority: Priority,
    #[schema(example = "security")]
    category: &'static str,
    /// Its fields, as the catalogue lists them for the type.
    #[schema(value_type = Object)]
    data: Map<String, Value>,
}

/// Who did it.
#[derive(Serialize, ToSchema)]
#[schema(as = Actor)]
struct ActorView {
    /// `user`, `admin`, `service`, `system` or `anonymous`.
    #[schema(value_type = String)]
    kind: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    id: Option<Uuid>,
}

/// A category for types that the catalogue does not know (any more).
const UNKNOWN_CATEGORY: &str = "operation";

impl EventView {
    /// As the current version of its type, the personal fields as null; `context` is what was opened of it, or nothing.
    pub fn new(event: Stored, context: Context, catalogue: &Catalogue) -> Result<Self, Fault> {
        let shown = catalogue.shown(&event).map_err(Fault::internal)?;
        Ok(Self::of(event, context, shown, catalogue))
    }

    fn of(
        event: Stored,
        context: Context,
        (version, data): (u32, Map<String, Value>),
        catalogue: &Catalogue,
    ) -> Self {
        let envelope = event.envelope;
        let spec = catalogue.spec(&envelope.kind);
        Self {
            id: envelope.id,
            category: spec.map_or(UNKNOWN_CATEGORY, |spec| spec.category),
            kind: envelope.kind,
            version,
            position: event.position,
            epoch: event.epoch,
            time: envelope.time,
            recorded_at: event.recorded_at,
            subject: envelope.subject,
            workflow_id: envelope.workflow_id,
            correlation_id: envelope.correlation_id,
            causation_id: envelope.causation_id,
            actor: ActorView {
                kind: envelope.actor.kind,
                id: envelope.actor.id,
            },
            ip_address: context.ip,
            user_agent: context.agent,
            request_id: envelope.request_id,
            traceparent: envelope.traceparent,
            priority: envelope.priority,
            data,
        }
    }
}

/// Opens what is sealed. Keeps the keys of one answer: events of one person come together.
pub(in crate::routes) struct Opener<'a> {
    vault: &'a dyn Vault,
    catalogue: &'a Catalogue,
    personal: bool,
    /// `None`: destroyed.
    keys: HashMap<String, Option<Arc<dyn SealKey>>>,
}

impl<'a> Opener<'a> {
    pub(in crate::routes) fn new(vault: &'a dyn Vault, catalogue: &'a Catalogue) -> Self {
        Self {
            vault,
            catalogue,
            personal: false,
            keys: HashMap::new(),
        }
    }

    /// Personal fields are opened, too, for somebody who may see them.
    pub(in crate::routes) fn with_personal_fields(self) -> Self {
        Self {
            personal: true,
            ..self
        }
    }

    pub(in crate::routes) async fn all(
        mut self,
        events: Vec<Stored>,
    ) -> Result<Vec<EventView>, Fault> {
        let mut views = Vec::with_capacity(events.len());
        for event in events {
            views.push(self.view(event).await?);
        }
        Ok(views)
    }

    pub(in crate::routes) async fn view(&mut self, event: Stored) -> Result<EventView, Fault> {
        let context = self.open(event.envelope.workflow_id, event.context.as_ref());
        let context = context
            .await?
            .and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_default();
        if !self.personal {
            return EventView::new(event, context, self.catalogue);
        }
        let personal = self
            .open(event.envelope.id, event.personal.as_ref())
            .await?;
        let shown = self.catalogue.shown_whole(&event, personal.as_deref());
        let shown = shown.map_err(Fault::internal)?;
        Ok(EventView::of(event, context, shown, self.catalogue))
    }

    /// Nothing when its key is gone: then so is what it said.
    async fn open(
        &mut self,
        bound_to: Uuid,
        sealed: Option<&Sealed>,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        if !self.keys.contains_key(&sealed.key) {
            let key = self.vault.existing(&sealed.key).await?;
            self.keys.insert(sealed.key.clone(), key);
        }
        let key = self.keys.get(&sealed.key).and_then(Option::as_ref);
        Ok(key.and_then(|key| key.open(bound_to.as_bytes(), &sealed.bytes)))
    }
}
