//! One delivery: what is sealed is opened, the handler is called, and whatever it does becomes a verdict.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;

use super::machine::Verdict;
use crate::commit::Write;
use crate::envelope::{Context, Stored};
use crate::fault::Fault;
use crate::seal::{self, Vault};
use crate::subscriber::{BatchHandler, Cx, Handler, Order, Received, Subscription, WithCursor};

/// Where a subscription's events go.
pub(super) struct Target {
    pub(super) name: Arc<str>,
    handler: Arc<dyn Handler>,
    pub(super) together: Option<Arc<dyn BatchHandler>>,
    pub(super) order: Order,
    with_cursor: Option<Arc<dyn WithCursor>>,
    vault: Arc<dyn Vault>,
    /// Whether to open what is sealed.
    personal: bool,
    pub(super) timeout: Duration,
    /// What the handler calls, as alerts name it.
    pub(super) calls: Arc<str>,
    generation: AtomicU32,
    replay: bool,
    /// A test does not want it called.
    muted: AtomicBool,
}

impl Target {
    pub(super) fn new(subscription: &Subscription, vault: Arc<dyn Vault>) -> Self {
        Self {
            name: Arc::clone(&subscription.name),
            handler: Arc::clone(&subscription.handler),
            together: subscription.together.clone(),
            order: subscription.order,
            with_cursor: subscription.with_cursor.clone(),
            vault,
            personal: subscription.personal,
            timeout: subscription.timeout,
            calls: Arc::clone(subscription.target.as_ref().unwrap_or(&subscription.name)),
            generation: AtomicU32::new(1),
            replay: false,
            muted: AtomicBool::new(false),
        }
    }

    /// With deliveries of this generation.
    pub(super) fn of(self, generation: u32, replay: bool) -> Self {
        Self {
            generation: AtomicU32::new(generation),
            replay,
            ..self
        }
    }

    /// What the handler writes with this cursor.
    pub(super) fn writes(&self, cursor: u64) -> Vec<Write> {
        let with_cursor = self.with_cursor.as_ref();
        with_cursor.map_or_else(Vec::new, |state| state.writes(cursor))
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The next deliveries are of this generation.
    pub(super) fn set_generation(&self, generation: u32) {
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// From now on whatever it gets is done without the handler.
    pub(super) fn mute(&self) {
        self.muted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_muted(&self) -> bool {
        self.muted.load(Ordering::Relaxed)
    }

    /// Delivers one event. A panic of the handler ends here.
    pub(super) async fn deliver(&self, event: &Arc<Stored>, attempt: u32) -> Verdict {
        if self.is_muted() {
            return Verdict::Done;
        }
        let delivery = async {
            let received = match self.received(event).await {
                Ok(received) => received,
                Err(fault) => return Verdict::Retry(format!("cannot open it: {fault}")),
            };
            let mut cx = Cx::new(attempt).of(self.generation(), self.replay);
            let outcome = self.handler.handle(&received, &mut cx).await;
            Verdict::of(cx.conclude(outcome), &self.name, &event.envelope)
        };
        AssertUnwindSafe(delivery)
            .catch_unwind()
            .await
            .unwrap_or(Verdict::Panicked)
    }

    pub(super) async fn received(&self, event: &Arc<Stored>) -> Result<Received, Fault> {
        let (personal, context) = if self.personal {
            open(&*self.vault, event).await?
        } else {
            (None, Context::default())
        };
        let name = Arc::clone(&self.name);
        Ok(Received::new(Arc::clone(event), personal, context, name))
    }
}

/// The personal fields and the context, as far as their keys exist.
pub(super) async fn open(
    vault: &dyn Vault,
    event: &Stored,
) -> Result<(Option<Vec<u8>>, Context), Fault> {
    Ok((
        seal::personal(vault, event).await?,
        seal::context(vault, event).await?,
    ))
}
