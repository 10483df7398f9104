//! Webhook endpoints, for administrators.

mod revision;
mod view;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use quivive_app::Failure;
use quivive_app::ports::Endpoint;
use quivive_app::webhooks::{Since, Unknown, Wanted};
use quivive_app::workflows::webhooks::change_endpoint::{
    Change, ChangeEndpoint, Draft, Edit, Refusal, Reply,
};
use quivive_delivery::Time;
use quivive_domain::EndpointId;
use quivive_domain::webhook::{Disabled, MAX_PATTERNS, Order, Signatures, SigningKeys, Target};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::id::{Id, absent};
use super::{Authority, Routes};
use crate::Web;
use crate::auth::{AsCaller, SignedIn};
use crate::json::Shaped;
use crate::limits::Family;
use crate::problem::{Code, FieldError, Problem};
use view::{
    AttemptView, AttemptViews, EndpointDetail, EndpointView, EndpointViews, NewEndpoint, NewSecret,
    RecoveryView,
};

/// Of a description, in characters.
const MAX_DESCRIPTION_CHARS: usize = 200;

pub(super) fn router() -> Routes {
    const ADMIN: Authority = Authority::Admin;
    Routes::new()
        .counted(ADMIN, Family::Write, || routes!(create_endpoint))
        .never_kept()
        .counted(ADMIN, Family::Read, || routes!(list_endpoints))
        .counted(ADMIN, Family::Read, || routes!(read_endpoint))
        .counted(ADMIN, Family::Write, || routes!(update_endpoint))
        .counted(ADMIN, Family::Write, || routes!(delete_endpoint))
        .counted(ADMIN, Family::Write, || routes!(enable_endpoint))
        .counted(ADMIN, Family::Write, || routes!(disable_endpoint))
        .counted(ADMIN, Family::Write, || routes!(rotate_secret))
        .never_kept()
        .counted(ADMIN, Family::Write, || routes!(test_endpoint))
        .counted(ADMIN, Family::Write, || routes!(recover_endpoint))
        .counted(ADMIN, Family::Read, || routes!(list_attempts))
}

/// An endpoint to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EndpointDraft {
    /// Where messages are posted to: https.
    #[schema(format = "uri", example = "https://hooks.example.org/quivive")]
    url: String,
    /// For people: up to 200 characters.
    #[serde(default)]
    description: String,
    /// Types, any other names they have, or families: `user.*`, `*.failed`. None: all.
    #[serde(default)]
    #[schema(max_items = 64, example = json!(["user.*"]))]
    events: Vec<String>,
    /// `none` (the default), or `key`: messages about the same account come one after the other, in order.
    #[schema(example = "none")]
    order: Option<String>,
    /// What messages are signed with: `v1` (HMAC-SHA256), `v1a` (Ed25519), or `all` (the default), for a receiver that verifies
    /// one of them needs no other.
    #[schema(example = "v1")]
    signatures: Option<String>,
}

/// What becomes different. What is not named stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EndpointEdit {
    #[schema(format = "uri")]
    url: Option<String>,
    description: Option<String>,
    /// Also sets the versions of their data to the current ones.
    #[schema(max_items = 64)]
    events: Option<Vec<String>>,
    /// `v1`, `v1a` or `all`.
    signatures: Option<String>,
    /// `current`: from now on data come in the versions that are current now.
    #[schema(example = "current")]
    schema_versions: Option<String>,
}

/// From when on events are sent again; one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RecoverySince {
    /// What was recorded then or later.
    #[schema(value_type = Option<String>, format = "date-time")]
    since: Option<Time>,
    /// What lies after this position of the log.
    after: Option<u64>,
}

/// Register an endpoint.
///
/// It is sent what happens from now on, signed after Standard Webhooks. The secret is told here and never again.
#[utoipa::path(post, path = "/api/v1/admin/webhooks", tag = "webhooks", request_body = EndpointDraft, responses(
    (status = 201, description = "Registered.", body = NewEndpoint),
    (status = 403, description = "`step_up_required`"),
    (status = 409, description = "`too_many_endpoints`"),
    (status = 422, description = "`invalid_url`, `private_address`, `unresolved_host`, `invalid_fields`"),
))]
async fn create_endpoint(
    State(web): State<Arc<Web>>,
    asked: AsCaller,
    Shaped(body): Shaped<EndpointDraft>,
) -> Result<(StatusCode, axum::Json<NewEndpoint>), Problem> {
    described(&body.description)?;
    let order = match body.order.as_deref() {
        None => Order::default(),
        Some(word) => Order::parse(word)
            .ok_or_else(|| Problem::of_invalid("/order", "unknown_value", "`none` or `key`."))?,
    };
    let draft = Draft {
        wanted: wanted(&web, &body.events)?,
        url: body.url,
        description: body.description,
        order,
        signatures: signatures(body.signatures.as_deref())?.unwrap_or_default(),
    };
    let id = EndpointId(web.kernel.families().ids.next());
    let reply = change(&web, id, Change::Create(draft), asked).await?;
    let (Some(endpoint), Some(shown)) = (reply.endpoint, reply.shown) else {
        return Err(Problem::new(Code::Internal));
    };
    let new = NewEndpoint::new(endpoint.into(), shown);
    Ok((StatusCode::CREATED, axum::Json(new)))
}

/// The endpoints.
#[utoipa::path(get, path = "/api/v1/admin/webhooks", tag = "webhooks", responses(
    (status = 200, description = "In the order of their registration.", body = EndpointViews),
))]
async fn list_endpoints(
    State(web): State<Arc<Web>>,
    _admin: SignedIn,
) -> Result<axum::Json<EndpointViews>, Problem> {
    let all = web.kernel.families().webhooks.endpoints().await;
    let data = all.map_err(|fault| Problem::of_fault(&fault))?;
    let data = data.into_iter().map(EndpointView::from).collect();
    Ok(axum::Json(EndpointViews { data }))
}

/// One endpoint, with how it is doing.
#[utoipa::path(get, path = "/api/v1/admin/webhooks/{id}", tag = "webhooks", params(
    ("id" = String, Path, description = "The endpoint's id, a UUID."),
), responses(
    (status = 200, description = "The endpoint.", body = EndpointDetail, headers(
        ("ETag" = String, description = "Which revision it is: another after each change."),
    )),
    (status = 404, description = "`not_found`"),
))]
async fn read_endpoint(
    State(web): State<Arc<Web>>,
    _admin: SignedIn,
    Id(id): Id<EndpointId>,
) -> Result<Detailed, Problem> {
    let endpoint = known(&web, id).await?;
    detail(&web, endpoint).await
}

/// Change an endpoint.
///
/// Messages that wait go to where it is then.
#[utoipa::path(patch, path = "/api/v1/admin/webhooks/{id}", tag = "webhooks", params(
    ("id" = String, Path, description = "The endpoint's id, a UUID."),
    ("If-Match" = Option<String>, Header, description = "The `ETag` that the change was made of: where others changed it since, \
        nothing is."),
), request_body = EndpointEdit, responses(
    (status = 200, description = "As it is now.", body = EndpointDetail, headers(
        ("ETag" = String, description = "Which revision it is: another after each change."),
    )),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`"),
    (status = 412, description = "`precondition_failed`"),
    (status = 422, description = "`invalid_url`, `private_address`, `unresolved_host`, `invalid_fields`"),
))]
async fn update_endpoint(
    State(web): State<Arc<Web>>,
    asked: AsCaller,
    Id(id): Id<EndpointId>,
    headers: HeaderMap,
    Shaped(body): Shaped<EndpointEdit>,
) -> Result<Detailed, Problem> {
    described(body.description.as_deref().unwrap_or_default())?;
    let endpoint = known(&web, id).await?;
    let wanted = match (&body.events, body.schema_versions.as_deref()) {
        (Some(events), None | Some("current")) => Some(wanted(&web, events)?),
        (None, Some("current")) => Some(Wanted::now(web.kernel.catalogue(), endpoint.events)),
        (None, None) => None,
        (_, Some(_)) => {
            return Err(Problem::of_invalid(
                "/schema_versions",
                "unknown_value",
                "`current`.",
            ));
        }
    };
    let edit = Edit {
        url: body.url,
        description: body.description,
        wanted,
        signatures: signatures(body.signatures.as_deref())?,
        revisions: revision::wanted(&headers),
    };
    changed(&web, id, Change::Update(edit), asked).await
}

/// Remove an endpoint.
///
/// With its secrets, its place in the log and what waits for it.
#[utoipa::path(delete, path = "/api/v1/admin/webhooks/{id}", tag = "webhooks", params(
    ("id" = String, Path, description = "The endpoint's id, a UUID."),
), responses(
    (status = 204, description = "It is gone."),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`"),
))]
async fn delete_endpoint(
    State(web): State<Arc<Web>>,
    asked: AsCaller,
    Id(id): Id<EndpointId>,
) -> Result<StatusCode, Problem> {
    change(&web, id, Change::Delete, asked).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Send messages to an endpoint again.
///
/// It goes on with the first event that it did not take.
#[utoipa::path(post, path = "/api/v1/admin/webhooks/{id}/enable", tag = "webhooks", params(
    ("id" = String, Path, description = "The endpoint's id, a UUID."),
), responses(
    (status = 200, description = "As it is now.", body = EndpointDetail),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`"),
))]
async fn enable_endpoint(
    State(web): State<Arc<Web>>,
    asked: AsCaller,
    Id(id): Id<EndpointId>,
) -> Result<Detailed, Problem> {
    changed(&web, id, Change::Enable, asked).await
}

/// Send no messages to an endpoint until it is enabled.
#[utoipa::path(post, path = "/api/v1/admin/webhooks/{id}/disable", tag = "webhooks", params(
    ("id" = String, Path, description = "The endpoint's id, a UUID."),
), responses(
    (status = 200, description = "As it is now.", body = EndpointDetail),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`"),
))]
async fn disable_endpoint(
    State(web): State<Arc<Web>>,
    asked: AsCaller,
    Id(id): Id<EndpointId>,
) -> Result<Detailed, Problem> {
    let disable = Change::Disable(Disabled::Operator);
    changed(&web, id, disable, asked).await
}

/// Give an endpoint a new secret.
///
/// It is told here and never again. For a day messages are signed with the one before, too.
#[utoipa::path(post, path = "/api/v1/admin/webhooks/{id}/secret-rotations", tag = "webhooks", params(
    ("id" = String, Path, description = "The endpoint's id, a UUID."),
), responses(
    (status = 201, description = "The new secret.", body = NewSecret),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`"),
))]
async fn rotate_secret(
    State(web): State<Arc<Web>>,
    asked: AsCaller,
    Id(id): Id<EndpointId>,
) -> Result<(StatusCode, axum::Json<NewSecret>), Problem> {
    let reply = change(&web, id, Change::RotateSecret, asked).await?;
    let shown = reply.shown.ok_or_else(|| Problem::new(Code::Internal))?;
    Ok((StatusCode::CREATED, axum::Json(shown.into())))
}

/// Post a test message to an endpoint, and wait for what it answers.
///
/// Its type is `webhook.test`; it is signed like any other, and sent also to an endpoint that is disabled.
#[utoipa::path(post, path = "/api/v1/admin/webhooks/{id}/test", tag = "webhooks", params(
    ("id" = String, Path, description = "The endpoint's id, a UUID."),
), responses(
    (status = 200, description = "What became of it, well or not.", body = AttemptView),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`"),
))]
async fn test_endpoint(
    State(web): State<Arc<Web>>,
    asked: AsCaller,
    Id(id): Id<EndpointId>,
) -> Result<axum::Json<AttemptView>, Problem> {
    change(&web, id, Change::Test, asked).await?;
    let sent = web.endpoints.test(id).await?;
    sent.map(|attempt| axum::Json(attempt.into()))
        .ok_or_else(absent::<EndpointId>)
}

/// Send an endpoint again what it was sent since some moment.
///
/// In the background, under the ids they had, also over a restart; `recovery` of the endpoint says how far it is. What lies
/// after the endpoint's place in the log comes in its turn, meanwhile.
#[utoipa::path(post, path = "/api/v1/admin/webhooks/{id}/recoveries", tag = "webhooks", params(
    ("id" = String, Path, description = "The endpoint's id, a UUID."),
), request_body = RecoverySince, responses(
    (status = 202, description = "It began.", body = RecoveryView),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`recovery_running`"),
))]
async fn recover_endpoint(
    State(web): State<Arc<Web>>,
    asked: AsCaller,
    Id(id): Id<EndpointId>,
    Shaped(body): Shaped<RecoverySince>,
) -> Result<(StatusCode, axum::Json<RecoveryView>), Problem> {
    let since = match (body.since, body.after) {
        (Some(time), None) => Since::Time(time),
        (None, Some(position)) if i64::try_from(position).is_ok() => Since::Position(position),
        (None, Some(_)) => {
            let message = "A position of the log, at most 9223372036854775807.";
            return Err(Problem::of_invalid("/after", "out_of_range", message));
        }
        _ => {
            return Err(Problem::of_invalid(
                "/since",
                "missing_field",
                "`since` or `after`, one of them.",
            ));
        }
    };
    let begun = web
        .endpoints
        .recover(id, since, asked.by, asked.request)
        .await;
    let begun = begun.map_err(|failure| refused(failure, None))?;
    Ok((StatusCode::ACCEPTED, axum::Json(begun.into())))
}

/// What became of the last messages to an endpoint.
#[utoipa::path(get, path = "/api/v1/admin/webhooks/{id}/attempts", tag = "webhooks", params(
    ("id" = String, Path, description = "The endpoint's id, a UUID."),
), responses(
    (status = 200, description = "Newest first, the last hundred.", body = AttemptViews),
    (status = 404, description = "`not_found`"),
))]
async fn list_attempts(
    State(web): State<Arc<Web>>,
    _admin: SignedIn,
    Id(id): Id<EndpointId>,
) -> Result<axum::Json<AttemptViews>, Problem> {
    let endpoint = known(&web, id).await?;
    let attempts = web.endpoints.attempts(endpoint.id).await?;
    let data = attempts.into_iter().map(AttemptView::from).collect();
    Ok(axum::Json(AttemptViews { data }))
}

/// Runs the workflow.
async fn change(
    web: &Web,
    endpoint: EndpointId,
    change: Change,
    asked: AsCaller,
) -> Result<Reply, Problem> {
    let url = match &change {
        Change::Create(draft) => Some(draft.url.clone()),
        Change::Update(edit) => edit.url.clone(),
        _ => None,
    };
    let by = Some(asked.by);
    let command = ChangeEndpoint {
        endpoint,
        change,
        by,
    };
    let changed = web.endpoints.change(command, asked.request).await;
    changed.map_err(|failure| refused(failure, url.as_deref()))
}

fn refused(failure: Failure<Refusal>, url: Option<&str>) -> Problem {
    const URL: &str = "/url";
    Problem::of_failure(failure, |refusal| match refusal {
        Refusal::InvalidUrl => {
            let message = match url.map(Target::parse) {
                Some(Err(unfit)) => format!("It is not called: {unfit}."),
                _ => "https, to port 443, 8443 or 80, or what `webhooks.ports` of the configuration adds.".to_owned(),
            };
            let code = Code::InvalidUrl;
            Problem::of_field(code, FieldError::new(URL, code.meaning().code, message))
        }
        Refusal::PrivateAddress => Problem::at(Code::PrivateAddress, URL),
        Refusal::Unresolved => Problem::at(Code::UnresolvedHost, URL),
        Refusal::Forbidden => Problem::new(Code::Forbidden),
        Refusal::StepUpRequired => Problem::new(Code::StepUpRequired),
        Refusal::NotFound => absent::<EndpointId>(),
        Refusal::Changed => Problem::new(Code::PreconditionFailed),
        Refusal::TooMany => Problem::new(Code::TooManyEndpoints),
        Refusal::RecoveryRunning => Problem::new(Code::RecoveryRunning),
    })
}

/// The same, and shows how the endpoint is then.
async fn changed(
    web: &Web,
    id: EndpointId,
    wanted: Change,
    asked: AsCaller,
) -> Result<Detailed, Problem> {
    let reply = change(web, id, wanted, asked).await?;
    let endpoint = reply.endpoint.ok_or_else(absent::<EndpointId>)?;
    detail(web, endpoint).await
}

/// An endpoint with its tag.
type Detailed = ([(HeaderName, String); 1], axum::Json<EndpointDetail>);

async fn detail(web: &Web, endpoint: Endpoint) -> Result<Detailed, Problem> {
    let (id, tag) = (endpoint.id, revision::tag(&endpoint));
    let secrets = web.kernel.families().webhooks.secrets(id).await;
    let now = web.kernel.families().clock.now();
    let live = secrets?.into_iter();
    let live = live.filter(|secret| secret.expires_at.is_none_or(|until| now < until));
    let detail = EndpointDetail {
        endpoint: endpoint.into(),
        paused: web.endpoints.is_paused(id),
        public_keys: live
            .map(|secret| SigningKeys::public_key(&secret.public_key))
            .collect(),
        recovery: web.endpoints.recovery(id).await?.map(RecoveryView::from),
    };
    Ok((tag, axum::Json(detail)))
}

async fn known(web: &Web, id: EndpointId) -> Result<Endpoint, Problem> {
    let endpoint = web.kernel.families().webhooks.endpoint(id).await?;
    endpoint.ok_or_else(absent::<EndpointId>)
}

fn wanted(web: &Web, events: &[String]) -> Result<Wanted, Problem> {
    if events.len() > MAX_PATTERNS {
        let message = format!("At most {MAX_PATTERNS}: `user.*` says as much as all of its types.");
        return Err(Problem::of_invalid("/events", "too_many", message));
    }
    Wanted::parse(web.kernel.catalogue(), events).map_err(|Unknown(index)| {
        let message = "No type in the catalogue has this name or is of this family.";
        Problem::of_invalid(format!("/events/{index}"), "unknown_event", message)
    })
}

fn signatures(word: Option<&str>) -> Result<Option<Signatures>, Problem> {
    let known = |word| {
        Signatures::parse(word).ok_or_else(|| {
            Problem::of_invalid("/signatures", "unknown_value", "`v1`, `v1a` or `all`.")
        })
    };
    word.map(known).transpose()
}

fn described(text: &str) -> Result<(), Problem> {
    if text.chars().count() <= MAX_DESCRIPTION_CHARS && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let message =
        format!("At most {MAX_DESCRIPTION_CHARS} characters, none of them a control character.");
    Err(Problem::of_invalid("/description", "too_long", message))
}

#[cfg(test)]
mod tests;
