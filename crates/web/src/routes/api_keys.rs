//! Keys of services, for administrators.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use quivive_app::workflows::api_keys::create_api_key::{self, CreateApiKey};
use quivive_app::workflows::api_keys::revoke_api_key::{self, RevokeApiKey};
use quivive_delivery::Time;
use quivive_domain::api_key::{ApiKey, DEFAULT_LIFETIME, MAX_LIFETIME, Scope};
use quivive_domain::{ApiKeyId, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::id::{Id, absent};
use super::{Authority, Routes};
use crate::Web;
use crate::auth::SignedIn;
use crate::json::Shaped;
use crate::limits::Family;
use crate::problem::{Code, FieldError, Problem};
use crate::request::RequestContext;

/// Keys in one answer: more than anybody looks at.
const MAX_LISTED: u32 = 250;

/// Of a name, in characters.
const MAX_NAME_CHARS: usize = 100;

/// Of the scopes of one key, how many, and of each, in bytes: they are in an event before they are known to be scopes.
const MAX_SCOPES: usize = 16;
const MAX_SCOPE_BYTES: usize = 64;

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(Authority::Admin, Family::Write, || routes!(create_api_key))
        .never_kept()
        .counted(Authority::Admin, Family::Read, || routes!(list_api_keys))
        .counted(Authority::Admin, Family::Write, || routes!(revoke_api_key))
}

/// A key to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewApiKey {
    /// Which service will have it: up to 100 characters.
    #[schema(example = "billing")]
    name: String,
    /// What it may do: `events.read`, `events.read_personal`, `events.write`, `introspect`,
    /// `client.forward` (to state the address of a user in `Quivive-Client-IP`).
    #[schema(example = json!(["events.read"]))]
    scopes: Vec<String>,
    /// In 90 days unless said otherwise; in 366 at most.
    #[schema(value_type = Option<String>, format = "date-time")]
    expires_at: Option<Time>,
}

/// A key, without what opens it.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
struct ApiKeyView {
    #[schema(value_type = String, format = "uuid")]
    id: ApiKeyId,
    name: String,
    #[schema(value_type = String, format = "uuid")]
    owner_id: UserId,
    scopes: Vec<&'static str>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Time,
    #[schema(value_type = String, format = "date-time")]
    expires_at: Time,
    #[schema(value_type = Option<String>, format = "date-time", required)]
    revoked_at: Option<Time>,
    /// Within an hour.
    #[schema(value_type = Option<String>, format = "date-time", required)]
    last_used_at: Option<Time>,
}

impl From<ApiKey> for ApiKeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            owner_id: key.owner,
            scopes: key.scopes.into_iter().map(Scope::as_str).collect(),
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.used_at,
        }
    }
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
struct CreatedApiKey {
    #[serde(flatten)]
    view: ApiKeyView,
    /// What the service sends, as `Authorization: Bearer …`. It is told here and never again.
    #[schema(value_type = String, example = "qk_…")]
    #[serde(serialize_with = "told")]
    key: SecretString,
}

fn told<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

/// The keys there are.
#[derive(Serialize, ToSchema)]
struct ApiKeys {
    /// Newest first, 250 at most.
    data: Vec<ApiKeyView>,
}

/// Make a key for a service.
///
/// It is worth no more than you: it ends when you are no administrator any more.
#[utoipa::path(post, path = "/api/v1/admin/api-keys", tag = "api keys", request_body = NewApiKey, responses(
    (status = 201, description = "Made.", body = CreatedApiKey),
    (status = 403, description = "`step_up_required`"),
    (status = 422, description = "`unknown_scope`, `invalid_fields`"),
))]
async fn create_api_key(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Shaped(body): Shaped<NewApiKey>,
) -> Result<(StatusCode, axum::Json<CreatedApiKey>), Problem> {
    let expires_at = checked(&body, web.kernel.families().clock.now())?;
    let unknown = body
        .scopes
        .iter()
        .position(|scope| Scope::parse(scope).is_none());
    let command = CreateApiKey {
        owner: caller.proven(),
        name: body.name,
        scopes: body.scopes,
        expires_at,
    };
    let request = context.request(caller.actor());
    let made = web
        .kernel
        .execute(command, request)
        .await
        .map_err(|failure| {
            Problem::of_failure(failure, |refusal| match refusal {
                create_api_key::Refusal::UnknownScope => {
                    let pointer = format!("/scopes/{}", unknown.unwrap_or_default());
                    let known = Scope::ALL.map(Scope::as_str).join(", ");
                    let message = format!("There is no such scope. There are: {known}.");
                    Problem::of_field(
                        Code::UnknownScope,
                        FieldError::new(pointer, "unknown_scope", message),
                    )
                }
                create_api_key::Refusal::Forbidden => Problem::new(Code::Forbidden),
                create_api_key::Refusal::StepUpRequired => Problem::new(Code::StepUpRequired),
            })
        })?;
    let created = CreatedApiKey {
        view: made.key.into(),
        key: made.text,
    };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// When it will end, if all of it can be.
fn checked(body: &NewApiKey, now: Time) -> Result<Time, Problem> {
    let wrong =
        |pointer: &str, code, message: String| Err(Problem::of_invalid(pointer, code, message));
    let chars = body.name.chars().count();
    if !(1..=MAX_NAME_CHARS).contains(&chars) || body.name.chars().any(char::is_control) {
        let message =
            format!("From 1 to {MAX_NAME_CHARS} characters, none of them a control character.");
        return wrong("/name", "out_of_range", message);
    }
    if !(1..=MAX_SCOPES).contains(&body.scopes.len()) {
        return wrong(
            "/scopes",
            "out_of_range",
            format!("From 1 to {MAX_SCOPES} scopes."),
        );
    }
    if let Some(long) = body
        .scopes
        .iter()
        .position(|scope| scope.len() > MAX_SCOPE_BYTES)
    {
        let message = format!("At most {MAX_SCOPE_BYTES} bytes.");
        return wrong(&format!("/scopes/{long}"), "too_long", message);
    }
    let expires_at = body.expires_at.unwrap_or(now + DEFAULT_LIFETIME);
    if expires_at <= now || expires_at > now + MAX_LIFETIME {
        return wrong(
            "/expires_at",
            "out_of_range",
            "From now on, within 366 days.".to_owned(),
        );
    }
    Ok(expires_at)
}

/// The keys of services.
///
/// Those that are over are among them.
#[utoipa::path(get, path = "/api/v1/admin/api-keys", tag = "api keys", responses(
    (status = 200, description = "Newest first.", body = ApiKeys),
))]
async fn list_api_keys(State(web): State<Arc<Web>>) -> Result<axum::Json<ApiKeys>, Problem> {
    let keys = web.kernel.families().api_keys.list(MAX_LISTED).await?;
    let data = keys.into_iter().map(ApiKeyView::from).collect();
    Ok(axum::Json(ApiKeys { data }))
}

/// End a key.
///
/// The next request with it is refused, and streams that were opened with it end within seconds.
#[utoipa::path(delete, path = "/api/v1/admin/api-keys/{id}", tag = "api keys", params(
    ("id" = String, Path, description = "The key's id, a UUID."),
), responses(
    (status = 204, description = "It is over."),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`: there is no such key, or it was over"),
))]
async fn revoke_api_key(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Id(key): Id<ApiKeyId>,
) -> Result<StatusCode, Problem> {
    let command = RevokeApiKey {
        key,
        by: Some(caller.proven()),
    };
    let request = context.request(caller.actor());
    let revoked = web.kernel.execute(command, request).await;
    revoked.map_err(|failure| {
        Problem::of_failure(failure, |refusal| match refusal {
            revoke_api_key::Refusal::NotFound => absent::<ApiKeyId>(),
            revoke_api_key::Refusal::Forbidden => Problem::new(Code::Forbidden),
            revoke_api_key::Refusal::StepUpRequired => Problem::new(Code::StepUpRequired),
        })
    })?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use quivive_app::testing::{account, given};
    use quivive_domain::Role;
    use serde_json::{Value, json};

    use crate::testing::{Answer, Server, ask, get, post};

    const KEYS: &str = "/api/v1/admin/api-keys";

    async fn server() -> (Server, String) {
        let server = Server::new(given(account().verified().role(Role::Admin)));
        let token = server.access_token().await;
        (server, token)
    }

    async fn made(server: &Server, token: &str, body: &Value) -> Answer {
        server.send(post(KEYS, body).token(token)).await
    }

    #[tokio::test]
    async fn a_key_serves_until_it_is_revoked() {
        let (server, token) = server().await;
        let body = json!({"name": "billing", "scopes": ["events.read"]});
        let answer = made(&server, &token, &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let (made, key) = (
            answer.json(),
            answer.json()["key"].as_str().unwrap().to_owned(),
        );
        assert!(key.starts_with("qk_") && answer.header("cache-control") == "no-store");
        assert_eq!(made["owner_id"], server.scene.user.to_string());

        let feed = server.send(get("/api/v1/events").token(&key)).await;
        assert_eq!(feed.status, 200, "{feed:?}");
        for path in ["/api/v1/events/catalogue", "/api/v1/events/schemas"] {
            assert_eq!(
                server.send(get(path).token(&key)).await.status,
                200,
                "{path}"
            );
        }
        let listed = server.send(get(KEYS).token(&token)).await.json();
        let entry = &listed["data"][0];
        assert_eq!(
            (&entry["id"], &entry["name"]),
            (&made["id"], &json!("billing"))
        );
        assert!(entry["last_used_at"].is_string() && entry.get("key").is_none());

        let path = format!("{KEYS}/{}", made["id"].as_str().unwrap());
        let end = || ask(&Method::DELETE, &path).token(&token);
        assert_eq!(server.send(end()).await.status, 204);
        let refused = server.send(get("/api/v1/events").token(&key)).await;
        assert_eq!(refused.problem(), (401, "unauthenticated".to_owned()));
        assert_eq!(
            server.send(end()).await.problem(),
            (404, "not_found".to_owned())
        );
        let nonsense = ask(&Method::DELETE, &format!("{KEYS}/7")).token(&token);
        assert_eq!(server.send(nonsense).await.problem().0, 404);
    }

    #[tokio::test]
    async fn a_key_does_only_what_its_scopes_say() {
        let (server, token) = server().await;
        let body = json!({"name": "writer", "scopes": ["events.write"]});
        let key = made(&server, &token, &body).await.json()["key"]
            .as_str()
            .unwrap()
            .to_owned();
        let feed = server.send(get("/api/v1/events").token(&key)).await;
        assert_eq!(feed.problem(), (403, "forbidden".to_owned()));
        assert!(feed.body.contains("events.read"), "{feed:?}");
        for path in ["/api/v1/me", KEYS] {
            let answer = server.send(get(path).token(&key)).await;
            assert_eq!(
                answer.problem(),
                (401, "unauthenticated".to_owned()),
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_key_is_named() {
        let (server, token) = server().await;
        let scopes = json!(["events.read"]);
        for (body, code, pointer) in [
            (
                json!({"name": "a", "scopes": ["events.read", "x"]}),
                "unknown_scope",
                "/scopes/1",
            ),
            (
                json!({"name": "a", "scopes": []}),
                "invalid_fields",
                "/scopes",
            ),
            (
                json!({"name": "a", "scopes": ["x".repeat(65)]}),
                "invalid_fields",
                "/scopes/0",
            ),
            (
                json!({"name": "", "scopes": scopes}),
                "invalid_fields",
                "/name",
            ),
            (
                json!({"name": "a\nb", "scopes": scopes}),
                "invalid_fields",
                "/name",
            ),
            (
                json!({"name": "a", "scopes": scopes, "expires_at": "2026-01-01T00:00:00Z"}),
                "invalid_fields",
                "/expires_at",
            ),
            (
                json!({"name": "a", "scopes": scopes, "expires_at": "2028-01-01T00:00:00Z"}),
                "invalid_fields",
                "/expires_at",
            ),
            (
                json!({"name": "a", "scopes": scopes, "expires_at": "soon"}),
                "invalid_fields",
                "/expires_at",
            ),
        ] {
            let answer = made(&server, &token, &body).await;
            assert_eq!(answer.problem(), (422, code.to_owned()), "{body}");
            assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}");
        }
    }
}
