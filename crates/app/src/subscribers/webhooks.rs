//! Lets the subscription of a webhook endpoint follow what was decided about it.

use std::sync::Arc;

use quivive_delivery::subscriber::Phase;
use quivive_delivery::{Cx, Fault, Received, Subscription, subscriber};

use crate::webhooks::Endpoints;
use crate::workflows::webhooks::change_endpoint;

pub fn subscription(endpoints: Arc<Endpoints>) -> Subscription {
    webhooks(endpoints).phase(Phase::View)
}

// On every node: each must know what it could be given. A start loads every endpoint as it is.
#[subscriber(name = "webhooks", on = change_endpoint::Succeeded)]
async fn webhooks(
    endpoints: &Arc<Endpoints>,
    event: &Received<change_endpoint::Succeeded>,
    _: &mut Cx,
) -> Result<(), Fault> {
    endpoints
        .follow(event.endpoint_id, event.action.as_str())
        .await
}
