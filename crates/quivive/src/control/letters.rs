//! Answers about subscriptions and dead letters, beside a server or without one.

use quivive_app::Request;
use quivive_app::ports::Positions;
use quivive_app::workflows::delivery::change_subscription::{Change, ChangeSubscription, Refusal};
use quivive_delivery::engine::Declined;
use quivive_delivery::subscriber::{Choice, DeadLetters as _, ErrorClass, Subscriptions as _};
use quivive_delivery::{Key, Log as _, Time};
use quivive_web::DeadLetterView;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::call::{Chosen, Decide, Fate};
use super::desk::{Desk, fault, rationale, refused, told, view};
use crate::failure::Failure;

/// Dead letters read at once.
const PAGE: usize = 250;

impl Desk {
    /// As a running server tells them; without one, as the database has them.
    pub(super) async fn subscriptions(&self, items: &mpsc::Sender<Value>) -> Result<(), Failure> {
        let all = if let Some(operation) = &self.operation {
            operation.subscriptions()
        } else {
            let head = self.database.head().borrow().position;
            let stored = self.database.load().await.map_err(fault)?;
            let one = |stored: quivive_delivery::subscriber::StoredSubscription| {
                json!({
                    "name": stored.name,
                    "position": stored.position,
                    "lag": head.saturating_sub(stored.position),
                    "state": if stored.condition.paused { "paused" } else { "stopped" },
                    "paused": stored.condition.paused,
                })
            };
            stored.into_iter().map(one).collect()
        };
        for one in all {
            if items.send(one).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    pub(super) async fn set_paused(
        &self,
        subscription: String,
        paused: bool,
    ) -> Result<Value, Failure> {
        let change = if paused {
            Change::Pause
        } else {
            Change::Resume
        };
        self.change(subscription.clone(), change).await?;
        Ok(json!({"name": subscription, "paused": paused}))
    }

    /// What handlers allow, only a running server knows.
    pub(super) async fn replay(
        &self,
        subscription: String,
        range: Positions,
        dry_run: bool,
    ) -> Result<Value, Failure> {
        if self.operation.is_none() {
            let remedy = "start it, then ask again";
            return Err(refused("a replay needs a running server", remedy));
        }
        let count = if dry_run {
            let deliveries = &self.kernel.families().deliveries;
            let would = deliveries.would_replay(&subscription, range).await;
            would.map_err(declined)?
        } else {
            self.change(subscription, Change::Replay(range)).await?
        };
        Ok(json!({"count": count, "dry_run": dry_run}))
    }

    pub(super) async fn dead_letters(
        &self,
        chosen: &Chosen,
        items: &mpsc::Sender<Value>,
    ) -> Result<(), Failure> {
        let choice = self.choice(chosen)?;
        let mut after = None;
        loop {
            let name = chosen.subscription.as_deref();
            let page = self
                .database
                .dead_letters(name, &choice, after.as_ref(), PAGE);
            let page = page.await.map_err(fault)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some((last.subscription.clone(), last.lane.key.clone()));
            for letter in page {
                if items
                    .send(json!(DeadLetterView::from(letter)))
                    .await
                    .is_err()
                {
                    return Ok(());
                }
            }
        }
    }

    pub(super) async fn dead_letter(
        &self,
        subscription: &str,
        event_id: Uuid,
    ) -> Result<Value, Failure> {
        let choice = Choice {
            event_id: Some(event_id),
            ..Choice::default()
        };
        let found = self
            .database
            .dead_letters(Some(subscription), &choice, None, 1);
        let letter = found.await.map_err(fault)?.pop().ok_or_else(|| {
            let message = "no such event is parked for a subscription of this name";
            refused(message, "see `quivive dead-letters list`")
        })?;
        let deliveries = &self.kernel.families().deliveries;
        let behind = deliveries.behind(subscription, &letter.lane).await;
        let behind = behind.map_err(declined)?;
        let at = letter.lane.position.saturating_sub(1);
        let event = self.database.read(at, 1).await.map_err(fault)?.pop();
        let event = event.filter(|event| event.envelope.id == event_id);
        let event = event.map(|event| view(event, self.kernel.catalogue()));
        let mut shown = json!(DeadLetterView::from(letter));
        shown["event"] = event.transpose()?.unwrap_or_default();
        shown["behind"] = json!(behind.map(|behind| behind.count));
        shown["behind_is_cut"] = json!(behind.map(|behind| behind.more));
        Ok(shown)
    }

    pub(super) async fn decide(&self, decide: Decide) -> Result<Value, Failure> {
        let choice = self.choice(&decide.chosen)?;
        let subscription = decide.chosen.subscription.unwrap_or_default();
        let count = if decide.dry_run {
            let deliveries = &self.kernel.families().deliveries;
            let count = deliveries.count(&subscription, &choice).await;
            count.map_err(declined)?
        } else {
            let change = match decide.fate {
                Fate::Redrive { rate } => Change::Redrive {
                    choice,
                    per_second: rate,
                },
                Fate::Discard { reason } => Change::Discard {
                    choice,
                    reason: rationale(&reason)?,
                },
            };
            self.change(subscription, change).await?
        };
        Ok(json!({"count": count, "dry_run": decide.dry_run}))
    }

    async fn change(&self, subscription: String, change: Change) -> Result<u64, Failure> {
        let command = ChangeSubscription {
            subscription,
            change,
            by: None,
        };
        let done = self.kernel.execute(command, Request::system()).await;
        let reply = done.map_err(|outcome| {
            told(outcome, |refusal| match refusal {
                Refusal::NotFound => declined(Declined::NotFound),
                Refusal::WrongState => declined(Declined::WrongState),
                Refusal::Forbidden | Refusal::StepUpRequired => {
                    refused("this may not be done", "ask an administrator")
                }
            })
        })?;
        Ok(reply.count)
    }

    fn choice(&self, chosen: &Chosen) -> Result<Choice, Failure> {
        let catalogue = self.kernel.catalogue();
        let known = |kind: &String| {
            let spec = catalogue.find(kind);
            spec.map_or_else(|| kind.clone(), |spec| spec.kind.to_owned())
        };
        let error_class = match &chosen.error_class {
            None => None,
            Some(code) => Some(ErrorClass::of_code(code).ok_or_else(|| {
                let remedy = "use transient, rate_limited, permanent or poison";
                refused(&format!("{code:?} is no class of errors"), remedy)
            })?),
        };
        Ok(Choice {
            key: chosen.key.clone().map(Key::stored),
            event_id: chosen.event_id,
            event_type: chosen.event_type.as_ref().map(known),
            error_class,
            since: time(chosen.since.as_deref())?,
            until: time(chosen.until.as_deref())?,
        })
    }
}

fn time(text: Option<&str>) -> Result<Option<Time>, Failure> {
    let read = |text: &str| {
        text.parse().map_err(|_| {
            let remedy = "write it like 2026-01-31T12:00:00Z";
            refused(&format!("{text:?} is no time"), remedy)
        })
    };
    text.map(read).transpose()
}

fn declined(declined: Declined) -> Failure {
    match declined {
        Declined::NotFound => refused(
            "there is no subscription of this name",
            "see `quivive subscriptions list`",
        ),
        Declined::WrongState => refused(
            "there is nothing to do: it is so already, no dead letter is meant, or it may not be replayed so",
            "see `quivive subscriptions list` and `quivive dead-letters list`",
        ),
        Declined::Fault(error) => fault(error),
    }
}
