//! Rotations: what was issued before is good for nothing. Of one's own tokens, of a person's, of everybody's.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use quivive_app::step_up::By;
use quivive_app::workflows::rotations::rotate_all_tokens::{self, RotateAllTokens};
use quivive_app::workflows::rotations::rotate_user_tokens::{self, Devices, RotateUserTokens};
use quivive_domain::{Rationale, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::id::{Id, absent};
use super::{Authority, Routes};
use crate::Web;
use crate::auth::SignedIn;
use crate::json::{Body, Field, Fields, Json, Shaped, Text, rationale};
use crate::limits::Family;
use crate::openapi::described;
use crate::problem::{Code, FieldError, Problem};
use crate::request::RequestContext;

/// The reason of who gives none.
const SIGNED_OUT_EVERYWHERE: &str = "signed out everywhere";

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(Authority::Bearer, Family::Write, || routes!(rotate_mine))
        .counted(Authority::Admin, Family::Write, || routes!(rotate_theirs))
        .counted(Authority::Admin, Family::Write, || routes!(rotate_all))
}

struct MyRotation {
    reason: Option<String>,
}

impl Body for MyRotation {
    const FIELDS: &'static [Field] = &[Field {
        name: "reason",
        text: Text::Line {
            max_chars: Rationale::MAX_CHARS,
        },
        required: false,
        about: "For the trail.",
    }];

    fn from_fields(mut fields: Fields) -> Result<Self, FieldError> {
        Ok(Self {
            reason: fields.optional("reason"),
        })
    }
}

described!(MyRotation);

/// Why somebody's tokens are to be good for nothing.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserRotation {
    /// For the trail: from 1 to 500 characters.
    reason: String,
}

/// Why everybody's tokens are to be good for nothing, and from when on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GlobalRotation {
    /// For the trail: from 1 to 500 characters. With `breach` there is no grace period.
    reason: String,
    /// How long tokens that were issued before are still good: 300 unless configured otherwise.
    grace_period_seconds: Option<u64>,
}

/// A rotation of one person's tokens.
#[derive(Serialize, ToSchema)]
struct UserRotationResult {
    #[schema(value_type = String, format = "uuid")]
    user_id: UserId,
    previous_version: u32,
    new_version: u32,
}

/// A rotation of everybody's tokens.
#[derive(Serialize, ToSchema)]
struct GlobalRotationResult {
    previous_version: u32,
    new_version: u32,
    grace_period_seconds: u64,
}

/// Sign out everywhere.
///
/// Every session of yours ends, this one too, and no token that was issued before is good for anything.
#[utoipa::path(post, path = "/api/v1/me/rotations", tag = "signing in", request_body = Option<MyRotation>, responses(
    (status = 200, description = "Sign in again.", body = UserRotationResult),
    (status = 422, description = "`invalid_fields`"),
))]
async fn rotate_mine(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    caller: SignedIn,
    body: Option<Json<MyRotation>>,
) -> Result<axum::Json<UserRotationResult>, Problem> {
    let given = body.and_then(|Json(body)| body.reason);
    let reason = given.unwrap_or_else(|| SIGNED_OUT_EVERYWHERE.to_owned());
    let user = caller.0.user;
    rotate_user(&web, &context, &caller, user, By::Owner, &reason).await
}

/// Rotate somebody's tokens.
///
/// Every session of theirs ends, and no token that was issued before is good for anything. They can sign in again.
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/rotations", tag = "administration", params(
    ("id" = String, Path, description = "The user's id, a UUID."),
), request_body = UserRotation, responses(
    (status = 200, description = "Rotated.", body = UserRotationResult),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`: there is no such user"),
    (status = 422, description = "`invalid_fields`"),
))]
async fn rotate_theirs(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    caller: SignedIn,
    Id(user): Id<UserId>,
    Shaped(body): Shaped<UserRotation>,
) -> Result<axum::Json<UserRotationResult>, Problem> {
    let by = By::Administrator(caller.0.proven());
    rotate_user(&web, &context, &caller, user, by, &body.reason).await
}

async fn rotate_user(
    web: &Web,
    context: &RequestContext,
    SignedIn(caller): &SignedIn,
    user: UserId,
    by: By,
    given: &str,
) -> Result<axum::Json<UserRotationResult>, Problem> {
    use rotate_user_tokens::Refusal;
    let reason = rationale(given)?;
    let command = RotateUserTokens {
        user,
        by,
        reason,
        devices: Devices::Kept,
    };
    let request = context.request(caller.actor());
    let rotated = web.kernel.execute(command, request).await;
    let rotated = rotated.map_err(|failure| {
        Problem::of_failure(failure, |refusal| match refusal {
            Refusal::UserNotFound => absent::<UserId>(),
            Refusal::Forbidden => Problem::new(Code::Forbidden),
            Refusal::StepUpRequired => Problem::new(Code::StepUpRequired),
        })
    })?;
    Ok(axum::Json(UserRotationResult {
        user_id: rotated.user_id,
        previous_version: rotated.previous_version,
        new_version: rotated.new_version,
    }))
}

/// Rotate everybody's tokens.
///
/// When the grace period is over, no token that was issued before is good for anything; who refreshes before goes on with new
/// ones. No later rotation admits again what one has cut off.
#[utoipa::path(post, path = "/api/v1/admin/rotations", tag = "administration", request_body = GlobalRotation, responses(
    (status = 200, description = "Rotated.", body = GlobalRotationResult),
    (status = 403, description = "`step_up_required`"),
    (status = 422, description = "`invalid_grace`, `invalid_fields`"),
))]
async fn rotate_all(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Shaped(body): Shaped<GlobalRotation>,
) -> Result<axum::Json<GlobalRotationResult>, Problem> {
    use rotate_all_tokens::Refusal;
    let command = RotateAllTokens {
        by: Some(caller.proven()),
        reason: rationale(&body.reason)?,
        grace: body.grace_period_seconds.map(Duration::from_secs),
    };
    let request = context.request(caller.actor());
    let rotated = web.kernel.execute(command, request).await;
    let rotated = rotated.map_err(|failure| {
        Problem::of_failure(failure, |refusal| match refusal {
            Refusal::InvalidGrace => {
                let message =
                    "None with the reason `breach`; else at most as long as a refresh token lives.";
                Problem::of_field(
                    Code::InvalidGrace,
                    FieldError::new("/grace_period_seconds", "invalid_grace", message),
                )
            }
            Refusal::Forbidden => Problem::new(Code::Forbidden),
            Refusal::StepUpRequired => Problem::new(Code::StepUpRequired),
        })
    })?;
    Ok(axum::Json(GlobalRotationResult {
        previous_version: rotated.previous_version,
        new_version: rotated.new_version,
        grace_period_seconds: rotated.grace.as_secs(),
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quivive_app::testing::{account, account_of, given};
    use quivive_domain::Role;
    use serde_json::{Value, json};

    use crate::testing::{Answer, Ask, Server, get, post};

    const ALL: &str = "/api/v1/admin/rotations";
    const MINE: &str = "/api/v1/me/rotations";

    fn administrator() -> Server {
        Server::new(given(account().verified().role(Role::Admin)))
    }

    async fn asked(server: &Server, ask: Ask, token: &Value) -> Answer {
        server.send(ask.token(token.as_str().unwrap())).await
    }

    #[tokio::test]
    async fn everybody_is_rotated_with_or_without_grace() {
        let server = administrator();
        let tokens = server.tokens().await;
        let access = &tokens["access_token"];
        let rotated = asked(&server, post(ALL, &json!({"reason": "yearly"})), access).await;
        let want = json!({"previous_version": 1, "new_version": 2, "grace_period_seconds": 300});
        assert_eq!((rotated.status, rotated.json()), (200, want));
        let body = json!({"reason": "breach", "grace_period_seconds": 0});
        assert_eq!(
            asked(&server, post(ALL, &body), access).await.json()["new_version"],
            3
        );
        let refresh = json!({"refresh_token": tokens["refresh_token"]});
        let refused = server.send(post("/api/v1/tokens", &refresh)).await;
        assert_eq!(refused.problem(), (401, "invalid_token".to_owned()));
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_rotation_is_named() {
        let server = administrator();
        let access = server.tokens().await["access_token"].clone();
        for (body, code, pointer) in [
            (
                json!({"reason": "breach", "grace_period_seconds": 1}),
                "invalid_grace",
                "/grace_period_seconds",
            ),
            (
                json!({"reason": "x", "grace_period_seconds": 2_592_001}),
                "invalid_grace",
                "/grace_period_seconds",
            ),
            (
                json!({"reason": "x", "grace_period_seconds": -1}),
                "invalid_fields",
                "/grace_period_seconds",
            ),
            (json!({"reason": " "}), "invalid_fields", "/reason"),
            (
                json!({"reason": "x".repeat(501)}),
                "invalid_fields",
                "/reason",
            ),
            (json!({"reason": "a\nb"}), "invalid_fields", "/reason"),
            (json!({}), "invalid_fields", "/reason"),
        ] {
            let answer = asked(&server, post(ALL, &body), &access).await;
            assert_eq!(answer.problem(), (422, code.to_owned()), "{body}");
            assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}");
        }
    }

    #[tokio::test]
    async fn it_wants_a_fresh_proof_and_says_so() {
        let server = administrator();
        let user = server.scene.user;
        let access = server.tokens().await["access_token"].clone();
        server.scene.world.pass(Duration::from_mins(10));
        let act = |act: &str| format!("/api/v1/admin/users/{user}/{act}");
        let theirs = act("rotations");
        let body = json!({"reason": "yearly"});
        let key = json!({"name": "billing", "scopes": ["events.read"]});
        let (lock, unlock) = (act("lock"), act("unlock"));
        let (deactivate, reactivate) = (act("deactivate"), act("reactivate"));
        let address = json!({"new_email": "ada@new.example"});
        let asks = [
            (ALL, &body),
            (&theirs, &body),
            (&lock, &json!({})),
            (&unlock, &json!({})),
            (&deactivate, &body),
            (&reactivate, &body),
            ("/api/v1/me/email-changes", &address),
            ("/api/v1/admin/api-keys", &key),
        ];
        for (path, body) in asks {
            let refused = asked(&server, post(path, body), &access).await;
            assert_eq!(
                refused.problem(),
                (403, "step_up_required".to_owned()),
                "{path}"
            );
        }
        let step_up = |password: &str| post("/api/v1/me/step-up", &json!({"password": password}));
        let wrong = asked(&server, step_up("not this one 1"), &access).await;
        assert_eq!(wrong.problem(), (403, "invalid_password".to_owned()));
        let proved = asked(&server, step_up(quivive_app::testing::PASSWORD), &access).await;
        assert_eq!(proved.status, 200, "{proved:?}");
        let proved = proved.json()["access_token"].clone();
        for (path, body) in asks.into_iter().rev() {
            let done = asked(&server, post(path, body), &proved).await;
            // Nobody is left but them.
            let fits = done.status < 300 || done.status == 409;
            assert!(fits, "{path}: {done:?}");
            if path == theirs {
                break;
            }
        }
    }

    #[tokio::test]
    async fn one_person_is_rotated_by_an_administrator_or_by_themselves() {
        let root = given(account_of("root@example.org").verified().role(Role::Admin));
        let admin = Server::new(root.clone());
        let server = Server::new(root.and(account().verified()));
        let (root, mine) = (admin.access_token().await, server.access_token().await);
        let path = format!("/api/v1/admin/users/{}/rotations", server.scene.user);
        let body = json!({"reason": "a lost telephone"});
        let rotated = admin.send(post(&path, &body).token(&root)).await;
        let want = json!({"user_id": server.scene.user, "previous_version": 1, "new_version": 2});
        assert_eq!((rotated.status, rotated.json()), (200, want));
        let me = server.send(get("/api/v1/me").token(&mine)).await;
        assert_eq!(me.problem(), (401, "unauthenticated".to_owned()));

        let mine = server.access_token().await;
        let refused = server.send(post(&path, &body).token(&mine)).await;
        assert_eq!(refused.problem(), (403, "forbidden".to_owned()));
        let bare = crate::testing::ask(&axum::http::Method::POST, MINE).token(&mine);
        assert_eq!(server.send(bare).await.json()["new_version"], 3);
        let me = server.send(get("/api/v1/me").token(&mine)).await;
        assert_eq!(me.status, 401);
        let mine = server.access_token().await;
        let told = server.send(post(MINE, &body).token(&mine)).await;
        assert_eq!(told.json()["new_version"], 4);

        for id in ["7", "00000000-0000-0000-0000-000000000007"] {
            let path = format!("/api/v1/admin/users/{id}/rotations");
            let nobody = admin.send(post(&path, &body).token(&root)).await;
            assert_eq!(nobody.problem(), (404, "not_found".to_owned()), "{id}");
        }
    }
}
