//! Makes types of events known that were registered on another node.

use std::sync::Arc;

use quivive_delivery::subscriber::Phase;
use quivive_delivery::{Catalogue, Cx, Fault, Received, Subscription, subscriber};

use crate::custom_events;
use crate::kernel::Families;
use crate::workflows::operators::register_event_schema;

/// What a program knows of types, where they are kept.
type Known = (Arc<Families>, Arc<Catalogue>);

pub fn subscription(families: Arc<Families>, catalogue: Arc<Catalogue>) -> Subscription {
    schemas(Arc::new((families, catalogue))).phase(Phase::View)
}

// A start loads every type.
#[subscriber(name = "schemas", on = register_event_schema::Succeeded)]
async fn schemas(
    known: &Arc<Known>,
    event: &Received<register_event_schema::Succeeded>,
    _: &mut Cx,
) -> Result<(), Fault> {
    let (families, catalogue) = &**known;
    custom_events::learn(families, catalogue, &event.event_type).await
}
