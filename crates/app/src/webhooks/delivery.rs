//! One delivery to an endpoint, and what its answer means.

use std::panic::resume_unwind;
use std::sync::Arc;

use quivive_delivery::subscriber::Effects;
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{BoxFuture, Cx, Handler, Outcome, Received, Stored, Time};
use quivive_domain::EndpointId;
use quivive_domain::webhook::{Disabled, MAX_FAILING, retry_after};

use tokio_util::task::AbortOnDropHandle;

use super::message::{Message, is_about_endpoints};
use super::sender::{Sender, Sent};
use super::wanted::Filter;
use crate::kernel::{Failure, Request};
use crate::ports::Answer;
use crate::workflows::webhooks::change_endpoint::{Change, ChangeEndpoint, Refusal};

/// The handler of an endpoint's subscription.
pub(super) struct Delivery {
    tasks: Tasks,
    way: Arc<Way>,
}

/// The way of a message to its endpoint.
struct Way {
    sender: Sender,
    filter: Filter,
}

impl Delivery {
    pub(super) fn new(tasks: Tasks, sender: Sender, filter: Filter) -> Self {
        let way = Arc::new(Way { sender, filter });
        Self { tasks, way }
    }
}

impl Way {
    /// `recovery`: the generation of the replay that it is part of.
    async fn deliver(&self, event: &Stored, attempt: u32, recovery: Option<u32>) -> Outcome {
        let Sender {
            tools, endpoint, ..
        } = &self.sender;
        if !self.filter.admits(&event.envelope.kind) {
            return Outcome::Done;
        }
        if let Some(reason) = endpoint.disabled {
            return Outcome::Pause(format!("disabled: {}", reason.as_str()));
        }
        if is_about_endpoints(event) {
            return Outcome::Done;
        }
        let message = match Message::of(tools, endpoint, event) {
            Ok(Some(message)) => message,
            Ok(None) => {
                return Outcome::GiveUp(
                    "the endpoint reads an older version of this type: let it take the current ones, then send it again"
                        .to_owned(),
                );
            }
            Err(error) => return Outcome::Poison(error.to_string()),
        };
        let sent = self.sender.send(&message, attempt).await;
        self.judge(sent, recovery).await
    }

    async fn judge(&self, sent: Sent, recovery: Option<u32>) -> Outcome {
        let Sent { answer, attempt } = sent;
        let (tools, id) = (&self.sender.tools, self.sender.endpoint.id);
        let (error, status) = (attempt.error.clone(), attempt.status.unwrap_or_default());
        tools.notes.attempt(attempt);
        let Some(why) = error else {
            tools.notes.well(id);
            let Some(generation) = recovery else {
                return Outcome::Done;
            };
            let counted = tools.families().webhooks.count_recovered(id, generation);
            return Outcome::DoneWith(Effects {
                writes: vec![counted],
                ..Effects::default()
            });
        };
        if status == 410 {
            return self.disable(Disabled::Gone).await;
        }
        let now = tools.families().clock.now();
        let since = tools.notes.failing(id, now);
        if now >= since + MAX_FAILING && self.still_fails(id, now).await {
            return self.disable(Disabled::Failing).await;
        }
        let wait = match answer {
            Ok(Answer {
                status: 429 | 503,
                retry_after: Some(header),
            }) => retry_after(&header, now),
            Ok(_) | Err(_) => None,
        };
        match wait {
            Some(wait) => Outcome::RetryAfter(wait, why),
            None => Outcome::Retry(why),
        }
    }

    /// Whether it failed all the time: another server may have sent to it meanwhile, and seen it take a message.
    async fn still_fails(&self, id: EndpointId, now: Time) -> bool {
        let Sender { tools, .. } = &self.sender;
        if !tools.notes.is_written(id) {
            return true;
        }
        match tools.families().webhooks.endpoint(id).await {
            Ok(Some(stored)) => {
                tools.notes.begin(id, stored.failing_since);
                now >= tools.notes.failing(id, now) + MAX_FAILING
            }
            // It can be looked at again when the message fails again.
            Ok(None) | Err(_) => false,
        }
    }

    /// Stops what is sent to it, in the log for all to see. The event at hand waits with the others.
    async fn disable(&self, reason: Disabled) -> Outcome {
        let Sender {
            tools, endpoint, ..
        } = &self.sender;
        let change = ChangeEndpoint {
            endpoint: endpoint.id,
            change: Change::Disable(reason),
            by: None,
        };
        // Apart, for it is rare and large.
        let deciding = Box::pin(tools.kernel.execute(change, Request::system()));
        match deciding.await {
            Ok(_) => {
                let reason = reason.as_str();
                tracing::warn!(endpoint = %endpoint.id, reason, "a webhook endpoint was disabled");
                Outcome::Pause(format!("disabled: {reason}"))
            }
            Err(Failure::Refused(Refusal::NotFound)) => Outcome::Pause("it was removed".to_owned()),
            Err(_) => Outcome::Retry("it could not be disabled".to_owned()),
        }
    }
}

impl Handler for Delivery {
    fn handle<'a>(&'a self, event: &'a Received, cx: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        let (way, event) = (Arc::clone(&self.way), Arc::clone(&event.stored));
        let attempt = cx.attempt();
        let recovery = cx.is_replay().then_some(cx.generation());
        Box::pin(async move {
            // All cores sign and send: the engine works on a subscription in one task. Whoever stops waiting ends it.
            let task = self
                .tasks
                .spawn(async move { way.deliver(&event, attempt, recovery).await });
            match AbortOnDropHandle::new(task).await {
                Ok(outcome) => outcome,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    Err(_) => Outcome::Retry("it was broken off".to_owned()),
                },
            }
        })
    }
}

#[cfg(test)]
mod tests;
