//! Deliveries, for administrators: how each subscription is doing, and what it could not deliver.

mod chosen;
mod dead_letters;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use quivive_app::ports::Positions;
use quivive_app::workflows::delivery::change_subscription::{Change, ChangeSubscription, Refusal};
use quivive_delivery::engine::Declined;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub use dead_letters::DeadLetterView;

use super::{Authority, Routes};
use crate::Web;
use crate::auth::{AsCaller, SignedIn};
use crate::json::Shaped;
use crate::limits::Family;
use crate::problem::{Code, Problem};

/// Of a subscription's name, in bytes. It comes into an event, so what was not looked up is bounded.
const MAX_NAME_BYTES: usize = 128;

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(Authority::Admin, Family::Read, || routes!(list))
        .counted(Authority::Admin, Family::Write, || routes!(pause))
        .counted(Authority::Admin, Family::Write, || routes!(resume))
        .counted(Authority::Admin, Family::Write, || routes!(replay))
        .merge(dead_letters::router())
}

/// All subscriptions.
#[derive(Serialize, ToSchema)]
struct SubscriptionList {
    /// In the order of their registration.
    #[schema(value_type = Vec<Object>)]
    data: Vec<serde_json::Value>,
}

/// How each subscription is doing.
///
/// Each is an object {name, position, lag, `lag_seconds`, state, stuck, `oldest_waiting_seconds`, `in_flight`,
/// `lanes_retrying`, `lanes_parked`, held, paused, broken, generation, replays, types, priority}. One that `replays` another,
/// as {subscription, from, to}, is gone when it has come to the end. `lag` counts the events between it and the head of the
/// log, wanted or not; a lane is a key in trouble, a parked one a dead letter. It takes the `types` (null: all) of at least
/// the `priority`. `held`: before an event that only a newer program can read. `broken`: its target does not answer.
#[utoipa::path(get, path = "/api/v1/admin/subscriptions", tag = "delivery", responses(
    (status = 200, description = "As of now.", body = SubscriptionList),
))]
async fn list(State(web): State<Arc<Web>>, _admin: SignedIn) -> axum::Json<SubscriptionList> {
    let data = web.operation.subscriptions();
    axum::Json(SubscriptionList { data })
}

/// Pause a subscription.
///
/// Nothing of it is delivered until it is resumed, also after a restart. Events wait in the log.
#[utoipa::path(post, path = "/api/v1/admin/subscriptions/{name}/pause", tag = "delivery", params(
    ("name" = String, Path, description = "As in the list."),
), responses(
    (status = 204, description = "It is paused."),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`wrong_state`: it is paused already"),
))]
async fn pause(
    State(web): State<Arc<Web>>,
    asked: AsCaller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    change(&web, asked, name, Change::Pause).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Resume a subscription.
///
/// Whoever paused it: an operator, or the engine because too many keys failed at once.
#[utoipa::path(post, path = "/api/v1/admin/subscriptions/{name}/resume", tag = "delivery", params(
    ("name" = String, Path, description = "As in the list."),
), responses(
    (status = 204, description = "It goes on."),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`wrong_state`: it is not paused"),
))]
async fn resume(
    State(web): State<Arc<Web>>,
    asked: AsCaller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    change(&web, asked, name, Change::Resume).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which events are to be delivered again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Replay {
    /// The first position: that of the first event unless said otherwise.
    from: Option<u64>,
    /// The last position: the head of the log unless said otherwise.
    to: Option<u64>,
    /// Only count.
    #[serde(default)]
    dry_run: bool,
}

/// How much a replay has before it.
#[derive(Serialize, ToSchema)]
struct Replayed {
    /// Positions to go through, wanted or not.
    count: u64,
    /// Nothing was changed.
    dry_run: bool,
}

/// Deliver events to a subscription again.
///
/// Beside the deliveries that go on, as the subscription's next generation: it is in the list under a name of its own until it
/// is done. A read model, such as `statistics`, is rebuilt as a whole, so without a range, and takes the old one's place when
/// it has caught up.
#[utoipa::path(post, path = "/api/v1/admin/subscriptions/{name}/replay", tag = "delivery", params(
    ("name" = String, Path, description = "As in the list."),
), request_body = Replay, responses(
    (status = 202, description = "It has begun; with `dry_run`, it would.", body = Replayed),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`wrong_state`: its handler does not allow it, it is being replayed, or that is no range for it"),
    (status = 422, description = "`invalid_fields`"),
))]
async fn replay(
    State(web): State<Arc<Web>>,
    asked: AsCaller,
    Path(name): Path<String>,
    Shaped(body): Shaped<Replay>,
) -> Result<(StatusCode, axum::Json<Replayed>), Problem> {
    let (from, to, dry_run) = (body.from, body.to, body.dry_run);
    let range = Positions { from, to };
    let count = if dry_run {
        let deliveries = &web.kernel.families().deliveries;
        let would = deliveries.would_replay(&name, range).await;
        would.map_err(declined)?
    } else {
        change(&web, asked, name, Change::Replay(range)).await?
    };
    let told = Replayed { count, dry_run };
    Ok((StatusCode::ACCEPTED, axum::Json(told)))
}

/// Runs the workflow; answers with how many dead letters are meant.
async fn change(
    web: &Web,
    asked: AsCaller,
    subscription: String,
    change: Change,
) -> Result<u64, Problem> {
    if subscription.len() > MAX_NAME_BYTES {
        return Err(no_subscription());
    }
    let command = ChangeSubscription {
        subscription,
        change,
        by: Some(asked.by),
    };
    let done = web.kernel.execute(command, asked.request);
    let reply = done.await.map_err(|failure| {
        Problem::of_failure(failure, |refusal| match refusal {
            Refusal::NotFound => no_subscription(),
            Refusal::WrongState => Problem::new(Code::WrongState),
            Refusal::Forbidden => Problem::new(Code::Forbidden),
            Refusal::StepUpRequired => Problem::new(Code::StepUpRequired),
        })
    })?;
    Ok(reply.count)
}

/// What the engine did not do where no workflow asked it.
fn declined(declined: Declined) -> Problem {
    match declined {
        Declined::NotFound => no_subscription(),
        Declined::WrongState => Problem::new(Code::WrongState),
        Declined::Fault(fault) => fault.into(),
    }
}

fn no_subscription() -> Problem {
    Problem::with_detail(Code::NotFound, "There is no subscription of this name.")
}
