//! Lets the subscription of a webhook endpoint follow what was decided about it.

use std::sync::Arc;

use quivive_delivery::subscriber::Begin;
use quivive_delivery::{Cx, Fault, Received, Subscription, subscriber};

use crate::webhooks::Endpoints;
use crate::workflows::webhooks::change_endpoint;

pub fn subscription(endpoints: Arc<Endpoints>) -> Subscription {
    webhooks(endpoints)
}

// A start loads every endpoint as it is, so it begins at the head.
#[subscriber(name = "webhooks", begin = Begin::Head, on = change_endpoint::Succeeded)]
async fn webhooks(
    endpoints: &Arc<Endpoints>,
    event: &Received<change_endpoint::Succeeded>,
    _: &mut Cx,
) -> Result<(), Fault> {
    endpoints
        .follow(event.endpoint_id, event.action.as_str())
        .await
}
