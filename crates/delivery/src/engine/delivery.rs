//! One delivery: what is sealed is opened, the handler is called, and whatever it does becomes a verdict.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::machine::Verdict;
use crate::envelope::{Context, Stored};
use crate::fault::Fault;
use crate::seal::{self, Vault};
use crate::subscriber::{Handler, Received};

/// Where a subscription's events go.
pub(super) struct Target {
    pub(super) name: Arc<str>,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) vault: Arc<dyn Vault>,
    /// Whether to open what is sealed.
    pub(super) personal: bool,
    pub(super) timeout: Duration,
}

/// Delivers one event. A panic of the handler ends here.
pub(super) async fn deliver(target: Arc<Target>, event: Arc<Stored>) -> Verdict {
    let delivery = async {
        let (personal, context) = if target.personal {
            match opened(&*target.vault, &event).await {
                Ok(opened) => opened,
                Err(fault) => return Verdict::Retry(format!("cannot open it: {fault}")),
            }
        } else {
            (None, Context::default())
        };
        let received = Received::new(event.clone(), personal, context, target.name.clone());
        target.handler.handle(&received).await.into()
    };
    AssertUnwindSafe(delivery)
        .catch_unwind()
        .await
        .unwrap_or(Verdict::Panicked)
}

/// The personal fields and the context, as far as their keys exist.
async fn opened(vault: &dyn Vault, event: &Stored) -> Result<(Option<Vec<u8>>, Context), Fault> {
    Ok((
        seal::personal(vault, event).await?,
        seal::context(vault, event).await?,
    ))
}
