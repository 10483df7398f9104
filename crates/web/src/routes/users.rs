//! Accounts, for administrators and support: found and looked at. What is done to them is in `acts`.

mod acts;

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use quivive_app::facts::AuditLogCreated;
use quivive_delivery::{Code as Word, Fault, Time};
use quivive_domain::{Account, AccountState, Address, Permission, Role, UserId};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::id::{Id, absent};
use super::query::{DEFAULT_LIMIT, limit, pairs, unknown, wrong};
use super::{Authority, Routes};
use crate::Web;
use crate::auth::SignedIn;
use crate::limits::Family;
use crate::problem::Problem;
use crate::request::RequestContext;

const READ: Authority = Authority::May(Permission::UsersRead);

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(READ, Family::Read, || routes!(list_users))
        .counted(READ, Family::Read, || routes!(show_user))
        .merge(acts::router())
}

/// An account, as administrators see it.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct AccountView {
    #[schema(value_type = String, format = "uuid")]
    user_id: UserId,
    /// As typed.
    #[schema(format = "email")]
    email: String,
    email_verified: bool,
    #[schema(required)]
    display_name: Option<String>,
    locale: String,
    /// `active`, `locked` (by an administrator) or `inactive`. Wrong passwords close the password path for a while and are no
    /// state.
    #[schema(value_type = String, example = "active")]
    state: AccountState,
    #[schema(value_type = Vec<String>, example = json!(["user"]))]
    roles: Vec<Role>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Time,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            user_id: account.id,
            email: account.email.typed().to_owned(),
            email_verified: account.verified_at.is_some(),
            display_name: account.display_name,
            locale: account.locale,
            state: account.state,
            roles: account.roles,
            created_at: account.created_at,
        }
    }
}

/// Accounts, a page of them.
#[derive(Serialize, ToSchema)]
struct Users {
    data: Vec<AccountView>,
    /// For `after`, when there are more.
    #[schema(value_type = Option<String>, format = "uuid", required)]
    next_cursor: Option<UserId>,
    has_more: bool,
}

/// What is looked for.
#[derive(Debug, Default)]
struct Question {
    email: Option<Address>,
    state: Option<AccountState>,
    after: Option<UserId>,
    limit: Option<u32>,
}

impl Question {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut question = Self::default();
        for (name, value) in &pairs(uri)? {
            match name.as_str() {
                "email" => {
                    let address = Address::parse(value);
                    let address = address
                        .map_err(|_| wrong(name, "wrong_type", "A whole e-mail address."))?;
                    question.email = Some(address);
                }
                "state" => {
                    let all = [
                        AccountState::Active,
                        AccountState::Locked,
                        AccountState::Inactive,
                    ];
                    let state = all.into_iter().find(|state| state.as_str() == value);
                    let state = state.ok_or_else(|| {
                        wrong(name, "wrong_type", "`active`, `locked` or `inactive`.")
                    })?;
                    question.state = Some(state);
                }
                "after" => {
                    let id = Uuid::try_parse(value);
                    let id = id.map_err(|_| wrong(name, "wrong_type", "A UUID."))?;
                    question.after = Some(UserId(id));
                }
                "limit" => question.limit = Some(limit(name, value)?),
                _ => return Err(unknown(name)),
            }
        }
        Ok(question)
    }

    /// One more than a page has, so that its end is known.
    async fn ask(&self, web: &Web, limit: u32) -> Result<Vec<Account>, Fault> {
        let accounts = &web.kernel.families().accounts;
        let Some(address) = &self.email else {
            return accounts.page(self.after, self.state, limit + 1).await;
        };
        let found = accounts.by_address(address).await?;
        let meant = |account: &Account| {
            self.state.is_none_or(|state| state == account.state)
                && self.after.is_none_or(|after| account.id > after)
        };
        Ok(found.into_iter().filter(meant).collect())
    }
}

/// Accounts.
///
/// By the order in which they were made. An address is looked for as a whole. That somebody looked is an event,
/// `AuditLogCreated`.
#[utoipa::path(get, path = "/api/v1/admin/users", tag = "users", params(
    ("email" = Option<String>, Query, description = "The account of this address, however it is spelt."),
    ("state" = Option<String>, Query, description = "`active`, `locked` or `inactive`."),
    ("after" = Option<String>, Query, description = "The `next_cursor` of an earlier page."),
    ("limit" = Option<u32>, Query, description = "Up to 250, 50 unless said otherwise."),
), responses(
    (status = 200, description = "Oldest first.", body = Users),
    (status = 400, description = "`invalid_query`"),
))]
async fn list_users(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    uri: Uri,
) -> Result<axum::Json<Users>, Problem> {
    let question = Question::read(&uri)?;
    let limit = question.limit.unwrap_or(DEFAULT_LIMIT);
    let found = question.ask(&web, limit).await;
    let mut found = found.map_err(|fault| Problem::of_fault(&fault))?;
    let has_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let request = context.request(caller.actor());
    looked_at(&web, request, caller.user, None).await?;
    let last = found.last().map(|account| account.id);
    Ok(axum::Json(Users {
        data: found.into_iter().map(AccountView::from).collect(),
        next_cursor: last.filter(|_| has_more),
        has_more,
    }))
}

/// An account.
///
/// That somebody looked is an event, `AuditLogCreated`.
#[utoipa::path(get, path = "/api/v1/admin/users/{id}", tag = "users", params(
    ("id" = String, Path, description = "The user's id, a UUID."),
), responses(
    (status = 200, description = "As it is now.", body = AccountView),
    (status = 404, description = "`not_found`: there is no such user"),
))]
async fn show_user(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Id(user): Id<UserId>,
) -> Result<axum::Json<AccountView>, Problem> {
    let account = account(&web, user).await?;
    let request = context.request(caller.actor());
    looked_at(&web, request, caller.user, Some(account.id)).await?;
    Ok(axum::Json(account.into()))
}

/// Access to what is personal is itself in the trail, before it is answered.
async fn looked_at(
    web: &Web,
    request: quivive_app::kernel::Request,
    by: UserId,
    user: Option<UserId>,
) -> Result<(), Problem> {
    let fact = AuditLogCreated {
        audit_id: web.kernel.families().ids.next(),
        action: Word::new("users_read"),
        resource_type: Word::new("user"),
        resource_id: user.map(|user| user.to_string()),
        actor_id: Some(by),
        user_id: user,
    };
    let noted = web.kernel.note(&fact, request).await;
    noted.map_err(|fault| Problem::of_fault(&fault))
}

async fn account(web: &Web, id: UserId) -> Result<Account, Problem> {
    let found = web.kernel.families().accounts.by_id(id).await;
    let found = found.map_err(|fault| Problem::of_fault(&fault))?;
    found.ok_or_else(absent::<UserId>)
}

#[cfg(test)]
mod tests {
    use quivive_app::testing::{Scene, account, account_of, given};
    use quivive_domain::{AccountState, Role};
    use serde_json::{Value, json};

    use crate::testing::{Server, get};

    pub(super) const USERS: &str = "/api/v1/admin/users";

    /// A server, the token of its administrator, and Ada.
    pub(super) async fn server() -> (Server, String, Scene) {
        let root = given(account_of("root@example.org").verified().role(Role::Admin));
        let ada = root.clone().and(account().verified());
        let server = Server::new(root);
        let token = server.access_token().await;
        (server, token, ada)
    }

    #[tokio::test]
    async fn accounts_are_found_and_that_is_noted() {
        let (server, token, ada) = server().await;
        let eve = ada.clone().and(account_of("eve@example.org"));
        eve.world.change(|s| {
            s.accounts.get_mut(&eve.user).unwrap().state = AccountState::Locked;
        });
        let list = async |query: &str| {
            let answer = server
                .send(get(&format!("{USERS}{query}")).token(&token))
                .await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let page = answer.json();
            let found = page["data"].as_array().unwrap().iter();
            let found: Vec<_> = found.map(|user| user["email"].clone()).collect();
            (found, page)
        };
        let (all, page) = list("").await;
        assert_eq!(
            all,
            ["root@example.org", "ada@example.org", "eve@example.org"]
        );
        assert_eq!(
            (&page["has_more"], &page["next_cursor"]),
            (&json!(false), &Value::Null)
        );
        let (first, page) = list("?limit=2").await;
        assert_eq!((first.len(), &page["has_more"]), (2, &json!(true)));
        let after = page["next_cursor"].as_str().unwrap();
        assert_eq!(
            list(&format!("?after={after}")).await.0,
            ["eve@example.org"]
        );
        assert_eq!(list("?state=locked").await.0, ["eve@example.org"]);
        assert_eq!(list("?email=ADA@Example.org").await.0, ["ada@example.org"]);
        assert!(
            list("?email=ada@example.org&state=locked")
                .await
                .0
                .is_empty()
        );
        for wrong in ["email=ada", "state=gone", "after=7", "limit=0", "name=ada"] {
            let answer = server
                .send(get(&format!("{USERS}?{wrong}")).token(&token))
                .await;
            assert_eq!(
                answer.problem(),
                (400, "invalid_query".to_owned()),
                "{wrong}"
            );
        }
        let one = server
            .send(get(&format!("{USERS}/{}", ada.user)).token(&token))
            .await;
        assert_eq!(one.json()["state"], "active");
        let noted = server.scene.world.kinds();
        let noted = noted.iter().filter(|kind| *kind == "audit.log_created");
        assert_eq!(noted.count(), 7, "six lists and one account");
    }
}
