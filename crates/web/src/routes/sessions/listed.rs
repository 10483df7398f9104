//! The caller's own sessions: seen, and ended one by one or together.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use quivive_app::ports::ListedSession;
use quivive_app::step_up::By;
use quivive_app::workflows::sessions::revoke_all_sessions::{self, RevokeAllSessions};
use quivive_app::workflows::sessions::revoke_session::{Refusal, RevokeSession};
use quivive_delivery::Time;
use quivive_domain::{SessionId, UserId};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::Web;
use crate::auth::SignedIn;
use crate::limits::Family;
use crate::problem::{Code, Problem};
use crate::request::RequestContext;
use crate::routes::id::{Id, absent};
use crate::routes::query::{pairs, unknown, wrong};
use crate::routes::{Authority, Routes};

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(Authority::Bearer, Family::Read, || routes!(list_sessions))
        .counted(Authority::Bearer, Family::Write, || routes!(end_sessions))
        .counted(Authority::Bearer, Family::Write, || routes!(end_session))
}

/// One of your sessions.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(in crate::routes) struct SessionView {
    #[schema(value_type = String, format = "uuid")]
    session_id: SessionId,
    /// It is the one that asks.
    current: bool,
    /// What it was opened with, if that is still known.
    #[schema(required, example = "Firefox")]
    device: Option<String>,
    /// Where it was last used from.
    #[schema(value_type = Option<String>, required, example = "203.0.113.7")]
    ip_address: Option<IpAddr>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Time,
    /// When it last got new tokens.
    #[schema(value_type = String, format = "date-time")]
    last_seen_at: Time,
}

impl SessionView {
    pub(in crate::routes) fn of(entry: ListedSession, current: SessionId) -> Self {
        Self {
            session_id: entry.session.id,
            current: entry.session.id == current,
            device: entry.device,
            ip_address: entry.ip,
            created_at: entry.session.created_at,
            last_seen_at: entry.session.last_seen_at,
        }
    }
}

/// Your sessions.
#[derive(Serialize, ToSchema)]
struct Sessions {
    /// Oldest first.
    data: Vec<SessionView>,
}

/// How many sessions ended.
#[derive(Serialize, ToSchema)]
pub(in crate::routes) struct SessionsEnded {
    sessions_ended: u32,
}

/// Your sessions.
///
/// Those that go on: what was ended or has expired is not among them.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "signing in", responses(
    (status = 200, description = "Oldest first.", body = Sessions),
))]
async fn list_sessions(
    State(web): State<Arc<Web>>,
    SignedIn(caller): SignedIn,
) -> Result<axum::Json<Sessions>, Problem> {
    let families = web.kernel.families();
    let mut listed = families
        .sessions
        .list(caller.user)
        .await
        .map_err(|fault| Problem::of_fault(&fault))?;
    let now = families.clock.now();
    listed.retain(|entry| entry.session.is_live(now));
    let view = |entry| SessionView::of(entry, caller.session);
    let data = listed.into_iter().map(view).collect();
    Ok(axum::Json(Sessions { data }))
}

/// End one of your sessions.
///
/// Its tokens are worth nothing from then on. The one that asks can be ended as well.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", tag = "signing in", params(
    ("id" = String, Path, description = "As in the list, a UUID."),
), responses(
    (status = 204, description = "It is over."),
    (status = 404, description = "`not_found`: you have no such session, or it was over"),
))]
async fn end_session(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Id(session): Id<SessionId>,
) -> Result<StatusCode, Problem> {
    let command = RevokeSession::of(caller.user, session);
    let request = context.request(caller.actor());
    let ended = web.kernel.execute(command, request).await;
    ended.map_err(|failure| {
        Problem::of_failure(failure, |refusal| match refusal {
            Refusal::SessionNotFound | Refusal::NotSessionOwner | Refusal::SessionAlreadyEnded => {
                absent::<SessionId>()
            }
        })
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// End your sessions.
///
/// All but the one that asks, unless `keep_current` is false.
#[utoipa::path(delete, path = "/api/v1/sessions", tag = "signing in", params(
    ("keep_current" = Option<bool>, Query, description = "Whether the session that asks goes on: `true` unless said otherwise."),
), responses(
    (status = 200, description = "They are over.", body = SessionsEnded),
    (status = 400, description = "`invalid_query`"),
))]
async fn end_sessions(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    uri: Uri,
) -> Result<axum::Json<SessionsEnded>, Problem> {
    let except = keeps_current(&uri)?.then_some(caller.session);
    let request = context.request(caller.actor());
    end_all(&web, request, caller.user, By::Owner, except).await
}

/// Strict: a word that is misspelt would otherwise end more, or less, than was meant.
fn keeps_current(uri: &Uri) -> Result<bool, Problem> {
    let mut keep = true;
    for (name, value) in &pairs(uri)? {
        if name != "keep_current" {
            return Err(unknown(name));
        }
        keep = value
            .parse()
            .map_err(|_| wrong(name, "wrong_type", "`true` or `false`."))?;
    }
    Ok(keep)
}

/// Ends a person's sessions, for the person or an administrator.
pub(in crate::routes) async fn end_all(
    web: &Web,
    request: quivive_app::kernel::Request,
    user: UserId,
    by: By,
    except: Option<SessionId>,
) -> Result<axum::Json<SessionsEnded>, Problem> {
    let command = RevokeAllSessions { user, by, except };
    let ended = web.kernel.execute(command, request).await;
    let revoke_all_sessions::Reply { sessions_ended } = ended.map_err(|failure| {
        Problem::of_failure(failure, |refusal| match refusal {
            revoke_all_sessions::Refusal::UserNotFound => absent::<UserId>(),
            revoke_all_sessions::Refusal::Forbidden => Problem::new(Code::Forbidden),
            revoke_all_sessions::Refusal::StepUpRequired => Problem::new(Code::StepUpRequired),
        })
    })?;
    Ok(axum::Json(SessionsEnded { sessions_ended }))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use quivive_app::testing::{account, account_of, given};
    use serde_json::{Value, json};

    use crate::testing::{Answer, Server, ask, get};

    const SESSIONS: &str = "/api/v1/sessions";

    async fn listed(server: &Server, token: &str) -> Vec<Value> {
        let answer = server.send(get(SESSIONS).token(token)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["data"].as_array().unwrap().clone()
    }

    async fn end(server: &Server, path: &str, token: &str) -> Answer {
        server.send(ask(&Method::DELETE, path).token(token)).await
    }

    fn text(tokens: &Value, name: &str) -> String {
        tokens[name].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_person_sees_their_sessions_and_no_others() {
        let scene = given(account_of("eve@example.org").verified().with_sessions(1));
        let server = Server::new(scene.and(account().verified()));
        let (one, two) = (server.tokens().await, server.tokens().await);
        let list = listed(&server, &text(&two, "access_token")).await;
        let shown: Vec<_> = list
            .iter()
            .map(|s| (s["session_id"].clone(), s["current"].clone()))
            .collect();
        assert_eq!(
            shown,
            [
                (one["session_id"].clone(), json!(false)),
                (two["session_id"].clone(), json!(true)),
            ]
        );
        assert_eq!(list[0]["ip_address"], "127.0.0.1");
        assert_eq!(list[0]["device"], "other");
        for name in ["created_at", "last_seen_at"] {
            assert!(list[0][name].is_string(), "{list:?}");
        }

        // What has expired is not shown, though nobody has swept it yet.
        let now = server.scene.world.now();
        let first = one["session_id"].clone();
        server.scene.world.change(|s| {
            let mut all = s.sessions.values_mut();
            let one = all.find(|x| x.id.to_string() == first).unwrap();
            one.idle_until = now;
        });
        assert_eq!(listed(&server, &text(&two, "access_token")).await.len(), 1);
    }

    #[tokio::test]
    async fn one_session_is_ended_and_then_it_is_not_there() {
        let scene = given(account_of("eve@example.org").verified());
        let eve = Server::new(scene).tokens().await;
        let server = Server::new(given(account().verified()));
        let (one, two) = (server.tokens().await, server.tokens().await);
        let token = text(&two, "access_token");
        let path = format!("{SESSIONS}/{}", text(&one, "session_id"));
        assert_eq!(end(&server, &path, &token).await.status, 204);
        let not_found = (404, "not_found".to_owned());
        assert_eq!(end(&server, &path, &token).await.problem(), not_found);
        let of_eve = format!("{SESSIONS}/{}", text(&eve, "session_id"));
        assert_eq!(end(&server, &of_eve, &token).await.problem(), not_found);
        let nonsense = format!("{SESSIONS}/7");
        assert_eq!(end(&server, &nonsense, &token).await.problem(), not_found);
        assert_eq!(listed(&server, &token).await.len(), 1);
    }

    #[tokio::test]
    async fn all_but_this_one_end_or_this_one_too() {
        let server = Server::new(given(account().verified().with_sessions(2)));
        let token = server.access_token().await;
        let ended = end(&server, SESSIONS, &token).await;
        assert_eq!(ended.json(), json!({"sessions_ended": 2}));
        assert_eq!(listed(&server, &token).await.len(), 1);
        for wrong in ["keep_current=no", "keep=false"] {
            let path = format!("{SESSIONS}?{wrong}");
            let refused = end(&server, &path, &token).await;
            assert_eq!(refused.problem(), (400, "invalid_query".to_owned()));
        }
        let path = format!("{SESSIONS}?keep_current=false");
        let ended = end(&server, &path, &token).await;
        assert_eq!(ended.json(), json!({"sessions_ended": 1}));
        assert_eq!(server.scene.open_sessions(), 0);
    }
}
