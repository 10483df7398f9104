//! The code that reacts: a type with state, or a plain async function.

use std::marker::PhantomData;
use std::sync::Arc;

use super::outcome::{Cx, Outcome};
use super::received::{Any, Received};
use crate::BoxFuture;
use crate::event::{DecodeError, Event};

/// The code that reacts, where it has state of its own. A function needs no handler: see [`on`](super::on).
pub trait Handler: Send + Sync {
    fn handle<'a>(&'a self, event: &'a Received, cx: &'a mut Cx) -> BoxFuture<'a, Outcome>;
}

/// What a handler may ask for: one event type, or [`Any`].
pub trait Content: Sized + Send + Sync + 'static {
    /// The one type it can be made of.
    const KIND: Option<&'static str>;

    fn of(event: &Received) -> Result<Received<Self>, DecodeError>;

    /// Whether it has personal fields, so that these must be opened to make one.
    fn is_personal() -> bool;
}

impl Content for Any {
    const KIND: Option<&'static str> = None;

    fn of(event: &Received) -> Result<Received, DecodeError> {
        Ok(event.clone())
    }

    fn is_personal() -> bool {
        false
    }
}

impl<E: Event> Content for E {
    const KIND: Option<&'static str> = Some(E::META.kind);

    fn of(event: &Received) -> Result<Received<E>, DecodeError> {
        event.typed()
    }

    fn is_personal() -> bool {
        let mut generator = schemars::SchemaGenerator::default();
        E::fields(&mut generator).iter().any(|field| field.personal)
    }
}

/// An async function that reacts: `async fn(&Received<E>, &mut Cx) -> Outcome`, or anything that becomes an outcome. A
/// closure that does not borrow from its arguments is one too.
pub trait Reaction<'a, E: 'a>: Send + Sync {
    type Future: Future<Output: Into<Outcome>> + Send + 'a;

    fn react(&self, event: &'a Received<E>, cx: &'a mut Cx) -> Self::Future;
}

impl<'a, E: 'a, F, Said> Reaction<'a, E> for F
where
    F: Fn(&'a Received<E>, &'a mut Cx) -> Said + Send + Sync,
    Said: Future<Output: Into<Outcome>> + Send + 'a,
{
    type Future = Said;

    fn react(&self, event: &'a Received<E>, cx: &'a mut Cx) -> Said {
        self(event, cx)
    }
}

/// A function as a handler.
pub(super) struct Function<E, F> {
    react: F,
    content: PhantomData<fn() -> E>,
}

impl<E, F> Function<E, F> {
    pub(super) fn new(react: F) -> Self {
        Self {
            react,
            content: PhantomData,
        }
    }
}

impl<E: Content, F: for<'a> Reaction<'a, E>> Handler for Function<E, F> {
    fn handle<'a>(&'a self, event: &'a Received, cx: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match E::of(event) {
                Ok(event) => self.react.react(&event, cx).await.into(),
                Err(error) => error.into(),
            }
        })
    }
}

/// A handler that is asked only where a condition holds.
pub(super) struct When<E, C> {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) condition: Arc<C>,
    pub(super) content: PhantomData<fn() -> E>,
}

impl<E: Content, C: Fn(&Received<E>) -> bool + Send + Sync> Handler for When<E, C> {
    fn handle<'a>(&'a self, event: &'a Received, cx: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match E::of(event) {
                Ok(typed) if (self.condition)(&typed) => self.handler.handle(event, cx).await,
                Ok(_) => Outcome::Done,
                Err(error) => error.into(),
            }
        })
    }
}
