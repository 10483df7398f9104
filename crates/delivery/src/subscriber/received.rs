//! An event as a handler gets it.

use std::ops::Deref;
use std::sync::Arc;

use crate::envelope::{Context, Envelope, Stored};
use crate::event::{DecodeError, Event};

/// Any event: what a handler of several types gets. It decodes for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Any;

/// An event, with what was sealed opened where the key still exists. `Received<OrderPlaced>` reads like the event
/// itself: `event.total`.
#[derive(Debug, Clone)]
pub struct Received<E = Any> {
    pub stored: Arc<Stored>,
    /// Empty unless the subscription has personal fields opened.
    pub context: Context,
    personal: Option<Vec<u8>>,
    subscription: Arc<str>,
    fields: E,
}

impl<E> Received<E> {
    pub fn envelope(&self) -> &Envelope {
        &self.stored.envelope
    }

    /// The same for every delivery of this event to this subscription: give it to whatever the handler calls.
    pub fn idempotency_key(&self) -> String {
        format!("{}:{}", self.subscription, self.envelope().id)
    }
}

impl Received {
    /// `personal` is the opened JSON of the personal fields, where there are any and the key exists.
    pub fn new(
        stored: Arc<Stored>,
        personal: Option<Vec<u8>>,
        context: Context,
        subscription: Arc<str>,
    ) -> Self {
        Self {
            stored,
            context,
            personal,
            subscription,
            fields: Any,
        }
    }

    /// Whether this is an `E`.
    pub fn is<E: Event>(&self) -> bool {
        self.envelope().kind == E::META.kind
    }

    /// The event as its type, whatever version it was stored with.
    pub fn decode<E: Event>(&self) -> Result<E, DecodeError> {
        if !self.is::<E>() {
            return Err(DecodeError::OtherType {
                found: self.envelope().kind.clone(),
                wanted: E::META.kind,
            });
        }
        let body = self.stored.fields(self.personal.clone());
        E::read(self.envelope().version, &body)
    }

    /// The same, for who takes several types: nothing where it is of another one. What is of this type and cannot be read is
    /// an error, which is for the engine to see.
    pub fn decode_if<E: Event>(&self) -> Result<Option<E>, DecodeError> {
        self.is::<E>().then(|| self.decode()).transpose()
    }

    /// The same delivery, with the event as its type.
    pub fn typed<E: Event>(&self) -> Result<Received<E>, DecodeError> {
        Ok(Received {
            fields: self.decode()?,
            stored: Arc::clone(&self.stored),
            context: self.context.clone(),
            personal: self.personal.clone(),
            subscription: Arc::clone(&self.subscription),
        })
    }
}

impl<E: Event> Deref for Received<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.fields
    }
}
