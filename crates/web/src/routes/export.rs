//! What is held about the caller, as one document.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use quivive_app::ports::{Criterion, Device, ListedSession};
use quivive_app::workflows::accounts::export_data::{ExportData, Held, Refusal};
use quivive_delivery::{BoxFuture, Fault, Stored, Time};
use quivive_domain::{Account, DeviceId, UserId};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::events::EventView;
use super::events::view::Opener;
use super::sessions::listed::SessionView;
use super::users::AccountView;
use super::{Authority, Routes};
use crate::Web;
use crate::auth::SignedIn;
use crate::limits::Family;
use crate::problem::{Code, Problem};
use crate::request::RequestContext;

/// Events in it: some 50 MB. Of somebody with more, the newest.
const MAX_EVENTS: usize = 50_000;

/// Events that are read at once.
const PAGE: u32 = 250;

pub(super) fn router() -> Routes {
    // A document is work, so it is counted like a letter.
    Routes::new().counted(Authority::Bearer, Family::Recovery, || routes!(export_me))
}

/// What is held about an account.
#[derive(Serialize, ToSchema)]
struct Export {
    #[schema(value_type = String, format = "date-time")]
    exported_at: Time,
    account: AccountView,
    /// Those that go on, oldest first.
    sessions: Vec<SessionView>,
    /// Those that are remembered.
    devices: Vec<DeviceView>,
    /// What the log has about the account, oldest first, with what is personal. Where others were who did something to it is
    /// not in it.
    events: Vec<EventView>,
    /// There are more events, older ones.
    events_are_cut: bool,
}

/// A device that signed in.
#[derive(Serialize, ToSchema)]
#[schema(as = Device)]
struct DeviceView {
    #[schema(value_type = String, format = "uuid")]
    device_id: DeviceId,
    /// When it last signed in.
    #[schema(value_type = String, format = "date-time")]
    used_at: Time,
}

impl From<Device> for DeviceView {
    fn from(device: Device) -> Self {
        Self {
            device_id: device.id,
            used_at: device.used_at,
        }
    }
}

/// What is held about you.
///
/// Your account, the sessions that go on, the devices that are remembered, and every event about you with its personal
/// fields. Passwords are held as digests, and are not in it.
#[utoipa::path(get, path = "/api/v1/me/export", tag = "accounts", responses(
    (status = 200, description = "As of now.", body = Export),
    (status = 403, description = "`step_up_required`"),
))]
async fn export_me(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
) -> Result<([(HeaderName, &'static str); 2], Vec<u8>), Problem> {
    let command = ExportData {
        by: caller.proven(),
        held: Arc::new(Here {
            web: Arc::clone(&web),
            current: caller.session,
        }),
    };
    let request = context.request(caller.actor());
    let exported = web.kernel.execute(command, request).await;
    let document = exported.map_err(|failure| {
        Problem::of_failure(failure, |refusal| match refusal {
            Refusal::StepUpRequired => Problem::new(Code::StepUpRequired),
        })
    })?;
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CONTENT_DISPOSITION, "attachment; filename=\"export.json\""),
    ];
    Ok((headers, document))
}

struct Here {
    web: Arc<Web>,
    current: quivive_domain::SessionId,
}

impl Held for Here {
    fn about(&self, account: Account) -> BoxFuture<'_, Result<Vec<u8>, Fault>> {
        Box::pin(async move {
            let document = self.export(account).await?;
            serde_json::to_vec(&document).map_err(Fault::internal)
        })
    }
}

impl Here {
    async fn export(&self, account: Account) -> Result<Export, Fault> {
        let families = self.web.kernel.families();
        let now = families.clock.now();
        let mut sessions = families.sessions.list(account.id).await?;
        sessions.retain(|entry: &ListedSession| entry.session.is_live(now));
        let sessions = sessions.into_iter();
        let devices = families.sessions.devices(account.id).await?;
        let (events, events_are_cut) = self.events(account.id).await?;
        let opener = Opener::new(self.web.vault.as_ref(), self.web.kernel.catalogue());
        Ok(Export {
            exported_at: now,
            sessions: sessions
                .map(|entry| SessionView::of(entry, self.current))
                .collect(),
            devices: devices.into_iter().map(DeviceView::from).collect(),
            events: opener.with_personal_fields().all(events).await?,
            events_are_cut,
            account: account.into(),
        })
    }

    /// Oldest first, and without where others were; and whether there are more.
    async fn events(&self, user: UserId) -> Result<(Vec<Stored>, bool), Fault> {
        let subject = user.to_string();
        // Asked before the index itself: what comes into it in between is passed over here.
        let reached = self.web.index.reaches().await?;
        let mut events = self.newer(&subject, reached).await?;
        let wanted = Criterion::Subject(subject);
        let mut below = reached.saturating_add(1);
        loop {
            let page = self.web.index.search(&wanted, below, PAGE).await?;
            let Some(last) = page.last() else { break };
            below = last.position;
            events.extend(page);
            if events.len() > MAX_EVENTS {
                break;
            }
        }
        let cut = events.len() > MAX_EVENTS;
        events.truncate(MAX_EVENTS);
        events.reverse();
        for event in &mut events {
            let actor = event.envelope.actor.id;
            if actor.is_some_and(|actor| actor != user.0) {
                event.context = None;
            }
        }
        Ok((events, cut))
    }

    /// What the index may not have yet, newest first.
    async fn newer(&self, subject: &str, reached: u64) -> Result<Vec<Stored>, Fault> {
        self.web.log.settled().await;
        let head = self.web.log.head().borrow().position;
        let (mut after, mut events) = (reached, Vec::new());
        while after < head {
            let page = self.web.log.read(after, PAGE as usize).await?;
            let Some(last) = page.last() else { break };
            after = last.position;
            let about = |event: &Stored| event.envelope.subject.as_deref() == Some(subject);
            events.extend(page.into_iter().filter(about));
        }
        events.reverse();
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quivive_app::testing::{account, account_of, given};
    use quivive_app::workflows::accounts::lock_user::LockUser;
    use quivive_app::workflows::accounts::unlock_user::UnlockUser;
    use quivive_domain::Role;
    use serde_json::Value;

    use crate::testing::{Server, get};

    const EXPORT: &str = "/api/v1/me/export";

    #[tokio::test]
    async fn where_an_administrator_was_is_theirs() {
        let ada = given(account().verified());
        let user = ada.user;
        let root = ada
            .clone()
            .and(account_of("root@example.org").verified().role(Role::Admin));
        let root = root
            .by_administrator()
            .from([203, 0, 113, 9], "RootBrowser");
        let by = root.proven();
        root.when(LockUser { user, by }).await.succeeded();
        root.when(UnlockUser { user, by }).await.succeeded();
        let server = Server::new(ada);
        let token = server.access_token().await;
        let held = server.send(get(EXPORT).token(&token)).await;
        assert_eq!(held.status, 200, "{held:?}");
        assert!(!held.body.contains("203.0.113.9") && !held.body.contains("RootBrowser"));
        let events = held.json()["events"].as_array().unwrap().clone();
        let of = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap();
        assert_eq!(of("user.lock.succeeded")["ip_address"], Value::Null);
        assert_eq!(of("user.lock.succeeded")["actor"]["kind"], "admin");
        // Where they were themselves, or who signed in to the account, is about them.
        assert!(of("user.login.succeeded")["ip_address"].is_string());
    }

    #[tokio::test]
    async fn everything_about_the_caller_and_about_nobody_else() {
        let eve = given(account_of("eve@example.org").verified());
        eve.signed_in().await;
        let server = Server::new(eve.and(account().verified()));
        let token = server.access_token().await;
        let answer = server.send(get(EXPORT).token(&token)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        let held = answer.json();
        assert_eq!(held["account"]["email"], "ada@example.org");
        assert_eq!(held["sessions"].as_array().unwrap().len(), 1);
        assert_eq!(held["sessions"][0]["current"], true);
        assert_eq!(held["devices"].as_array().unwrap().len(), 1);
        assert_eq!(held["events_are_cut"], false);
        let events = held["events"].as_array().unwrap();
        let user = server.scene.user.to_string();
        assert!(events.iter().all(|event| event["subject"] == *user));
        let positions: Vec<_> = events.iter().map(|e| e["position"].as_u64()).collect();
        assert!(positions.is_sorted() && !positions.is_empty());
        let signed_in = events
            .iter()
            .find(|event| event["type"] == "user.login.attempted");
        assert_eq!(signed_in.unwrap()["data"]["email"], "ada@example.org");
        assert!(!answer.body.contains("eve@example.org"));
        assert!(!answer.body.contains("argon2"));

        server.scene.world.pass(Duration::from_mins(10));
        let answer = server.send(get(EXPORT).token(&token)).await;
        assert_eq!(answer.problem(), (403, "step_up_required".to_owned()));
    }
}
