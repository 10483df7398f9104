use std::time::Duration;

use axum::http::Method;
use quivive_app::testing::{Scene, account, account_of, given};
use quivive_domain::{Account, AccountState, Role};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{INTROSPECT, REVOKE};
use crate::testing::{Answer, Server, ask, get, post};

/// A server with an administrator, Ada, who is signed in, and a service that may ask about her tokens.
struct Shop {
    server: Server,
    admin: String,
    key: String,
    ada: Scene,
    tokens: Value,
}

impl Shop {
    async fn new() -> Self {
        let root = given(account_of("root@example.org").verified().role(Role::Admin));
        let ada = root.clone().and(account().verified());
        let server = Server::new(root);
        let admin = server.access_token().await;
        let body = json!({"name": "shop", "scopes": ["introspect"]});
        let made = server
            .send(post("/api/v1/admin/api-keys", &body).token(&admin))
            .await;
        let mut shop = Self {
            key: made.json()["key"].as_str().unwrap().to_owned(),
            server,
            admin,
            ada,
            tokens: Value::Null,
        };
        shop.tokens = shop.sign_in().await;
        shop
    }

    async fn sign_in(&self) -> Value {
        let body = json!({"email": "ada@example.org", "password": quivive_app::testing::PASSWORD});
        let answer = self.server.send(post("/api/v1/sessions", &body)).await;
        answer.json()
    }

    fn token(&self, kind: &str) -> &str {
        self.tokens[kind].as_str().unwrap()
    }

    async fn ask(&self, path: &str, token: &str) -> Answer {
        let question = ask(&Method::POST, path).form(&format!("token={token}"));
        self.server.send(question.token(&self.key)).await
    }

    async fn introspect(&self, token: &str) -> Value {
        let answer = self.ask(INTROSPECT, token).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("cache-control"), "no-store");
        answer.json()
    }
}

#[tokio::test]
async fn of_a_good_token_it_is_told_what_it_says() {
    let shop = Shop::new().await;
    let access = shop.introspect(shop.token("access_token")).await;
    let want = json!({
        "active": true, "token_type": "Bearer", "iss": "https://id.example.org", "aud": "https://id.example.org",
        "sub": shop.ada.user, "sid": shop.tokens["session_id"], "roles": ["user"], "amr": ["pwd"], "client_id": "quivive",
        "jti": access["jti"], "iat": access["iat"], "exp": access["exp"], "auth_time": access["iat"],
    });
    assert_eq!(access, want);
    let (iat, exp) = (access["iat"].as_i64(), access["exp"].as_i64());
    assert_eq!(exp.unwrap() - iat.unwrap(), 900);
    let asked = format!(
        "{}&token_type_hint=refresh_token",
        shop.token("refresh_token")
    );
    let refresh = shop.introspect(&asked).await;
    assert_eq!(refresh["active"], true);
    assert_eq!(refresh["token_type"], "refresh_token");
    assert_eq!(refresh["sub"], access["sub"]);
    assert!(refresh.get("aud").is_none());
}

/// T30: whatever is not good is one answer, to the byte.
#[tokio::test]
async fn of_any_other_nothing_is_told() {
    let shop = Shop::new().await;
    let (access, refresh) = (shop.token("access_token"), shop.token("refresh_token"));
    let nothing = json!({"active": false});
    for wrong in [
        "",
        "x",
        "%00",
        &access[1..],
        &refresh[1..],
        &format!("{refresh}A"),
        refresh,
        &format!("{access}&token_type_hint=refresh_token"),
        &shop.key,
        &"x".repeat(5_000),
    ] {
        assert_eq!(shop.introspect(wrong).await, nothing, "{wrong}");
    }
    let over = shop
        .server
        .send(ask(&Method::DELETE, "/api/v1/sessions/current").token(access));
    assert_eq!(over.await.status, 204);
    for ended in [access, &format!("{refresh}&token_type_hint=refresh_token")] {
        assert_eq!(shop.introspect(ended).await, nothing);
    }
    let tokens = shop.sign_in().await;
    let fresh = tokens["access_token"].as_str().unwrap();
    assert_eq!(shop.introspect(fresh).await["active"], true);
    shop.server.scene.world.pass(Duration::from_mins(15));
    assert_eq!(shop.introspect(fresh).await, nothing);
}

#[tokio::test]
async fn roles_are_told_as_they_are_now() {
    let shop = Shop::new().await;
    let token = shop.token("access_token");
    shop.ada.world.change(|s| {
        s.accounts.get_mut(&shop.ada.user).unwrap().roles = vec![Role::Support];
    });
    assert_eq!(shop.introspect(token).await["roles"], json!(["support"]));
}

/// T30: twice is once, and the other token of the session is dead, too.
#[tokio::test]
async fn a_token_that_is_revoked_takes_its_session_with_it() {
    for kind in ["access_token", "refresh_token"] {
        let shop = Shop::new().await;
        for _ in 0..2 {
            let answer = shop.ask(REVOKE, shop.token(kind)).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, ""));
        }
        let me = shop
            .server
            .send(get("/api/v1/me").token(shop.token("access_token")));
        assert_eq!(me.await.status, 401, "{kind}");
        let body = json!({"refresh_token": shop.token("refresh_token")});
        let refreshed = shop.server.send(post("/api/v1/tokens", &body)).await;
        assert_eq!(refreshed.status, 401, "{kind}");
        let kinds = shop.server.scene.world.kinds();
        let count = |name: &str| kinds.iter().filter(|kind| *kind == name).count();
        assert_eq!(count("session.revocation.succeeded"), 1);
        assert_eq!(count("session.revocation.attempted"), 1);
    }
    let shop = Shop::new().await;
    assert_eq!(shop.ask(REVOKE, "nobodys").await.status, 200);
    // A key is no token of anybody's session.
    assert_eq!(shop.ask(REVOKE, &shop.key).await.status, 200);
    assert_eq!(
        shop.introspect(shop.token("access_token")).await["active"],
        true
    );
}

/// T30: nobody but a service with the scope.
#[tokio::test]
async fn only_a_key_with_the_scope_may_ask() {
    let shop = Shop::new().await;
    let body = json!({"name": "other", "scopes": ["events.read"]});
    let other = post("/api/v1/admin/api-keys", &body).token(&shop.admin);
    let other = shop.server.send(other).await.json();
    let token = shop.token("access_token");
    for path in [INTROSPECT, REVOKE] {
        let question = || ask(&Method::POST, path).form(&format!("token={token}"));
        let send = async |ask| shop.server.send(ask).await.problem();
        let unauthenticated = (401, "unauthenticated".to_owned());
        assert_eq!(send(question()).await, unauthenticated);
        assert_eq!(send(question().token("qk_x_y")).await, unauthenticated);
        let forbidden = (403, "forbidden".to_owned());
        for who in [&shop.admin, token, other["key"].as_str().unwrap()] {
            assert_eq!(send(question().token(who)).await, forbidden);
        }
        let basic = format!("Basic {}", base64(&format!("shop:{}", shop.key)));
        let answer = shop.server.send(question().header("authorization", &basic));
        assert_eq!(answer.await.status, 200);
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn what_is_no_form_with_one_token_is_refused() {
    let shop = Shop::new().await;
    for path in [INTROSPECT, REVOKE] {
        for (form, want) in [
            ("token=x&token_type_hint=access_token&more=1", None),
            ("token_type_hint=access_token", Some("invalid_fields")),
            ("token=x&token=y", Some("invalid_fields")),
            ("", Some("invalid_fields")),
        ] {
            let answer = shop
                .server
                .send(ask(&Method::POST, path).form(form).token(&shop.key));
            let answer = answer.await;
            match want {
                None => assert_eq!(answer.status, 200, "{form}"),
                Some(code) => assert_eq!(answer.problem(), (422, code.to_owned()), "{form}"),
            }
        }
        let json = post(path, &json!({"token": "x"})).token(&shop.key);
        assert_eq!(shop.server.send(json).await.status, 415);
        let question = |form: &str| ask(&Method::POST, path).form(form).token(&shop.key);
        let packed = question("token=x").header("content-encoding", "gzip");
        assert_eq!(shop.server.send(packed).await.status, 415);
        let large = shop.server.send(question(&"x".repeat(65 * 1024))).await;
        assert_eq!(large.problem(), (413, "payload_too_large".to_owned()));
        let query = ask(&Method::POST, &format!("{path}?token=x"))
            .form("")
            .token(&shop.key);
        assert_eq!(shop.server.send(query).await.status, 422);
    }
}

#[tokio::test]
async fn the_metadata_names_routes_that_there_are() {
    let shop = Shop::new().await;
    let answer = shop
        .server
        .send(get("/.well-known/oauth-authorization-server"))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let metadata = answer.json();
    assert_eq!(metadata["issuer"], "http://localhost:8080");
    assert_eq!(metadata["grant_types_supported"], json!([]));
    let members = metadata.as_object().unwrap().iter();
    let named = members.filter_map(|(name, value)| {
        let there = name.ends_with("_endpoint") || name == "jwks_uri";
        value.as_str().filter(|_| there)
    });
    let named: Vec<_> = named
        .map(|url| url.strip_prefix("http://localhost:8080").unwrap())
        .collect();
    assert_eq!(named.len(), 4);
    for path in named {
        assert!(
            crate::routes::ROUTES.iter().any(|route| route.path == path),
            "{path}"
        );
    }
}

#[tokio::test]
async fn whether_somebody_may_is_answered_by_the_roles_they_have_now() {
    let shop = Shop::new().await;
    let may = async |user: String, permission: &str| {
        let body = json!({"user_id": user, "permission": permission});
        let question = post("/api/v1/authorize-check", &body).token(&shop.key);
        let answer = shop.server.send(question).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let deny = json!({"decision": "deny", "path": []});
    let allow = |role: &str| json!({"decision": "allow", "path": [format!("role:{role}")]});
    let (root, ada) = (
        shop.server.scene.user.to_string(),
        shop.ada.user.to_string(),
    );
    assert_eq!(may(root.clone(), "administration").await, allow("admin"));
    assert_eq!(may(ada.clone(), "users.read").await, deny);
    assert_eq!(may(root, "everything").await, deny);
    assert_eq!(may(Uuid::nil().to_string(), "users.read").await, deny);
    let change = |change: fn(&mut Account)| {
        let ada = shop.ada.user;
        shop.ada
            .world
            .change(|s| change(s.accounts.get_mut(&ada).unwrap()));
    };
    change(|ada| ada.roles = vec![Role::User, Role::Support]);
    assert_eq!(may(ada.clone(), "users.read").await, allow("support"));
    assert_eq!(may(ada.clone(), "administration").await, deny);
    change(|ada| ada.state = AccountState::Locked);
    assert_eq!(may(ada, "users.read").await, deny);
    let body = json!({"user_id": Uuid::nil(), "permission": "users.read"});
    let question = post("/api/v1/authorize-check", &body).token(&shop.admin);
    assert_eq!(shop.server.send(question).await.status, 403);
}
