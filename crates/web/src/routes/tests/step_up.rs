//! What administrators change, they change when they have just shown that it is them.

use std::time::Duration;

use axum::http::Method;
use quivive_app::testing::FakeSubscription;
use quivive_domain::Role;

use super::*;

/// What is there to be changed.
struct There {
    user: String,
    endpoint: String,
    key: String,
}

async fn prepared(server: &Server, token: &str) -> There {
    let email = FakeSubscription {
        parked: 2,
        ..FakeSubscription::default()
    };
    let world = &server.scene.world;
    world.change(|s| s.subscriptions.insert("email".to_owned(), email));
    let ada = server.scene.clone().and(account().verified());
    let made = async |path: &str, body: Value| {
        let made = server.send(post(path, &body).token(token)).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["id"].as_str().expect("an id").to_owned()
    };
    let endpoint = json!({"url": "https://hooks.example.org/in"});
    let key = json!({"name": "billing", "scopes": ["events.read"]});
    There {
        user: ada.user.to_string(),
        endpoint: made("/api/v1/admin/webhooks", endpoint).await,
        key: made("/api/v1/admin/api-keys", key).await,
    }
}

impl There {
    fn path(&self, route: &Route) -> String {
        let id = match route.path.split('/').nth(4) {
            Some("webhooks") => &self.endpoint,
            Some("api-keys") => &self.key,
            _ => &self.user,
        };
        route.path.replace("{id}", id).replace("{name}", "email")
    }
}

fn body(path: &str) -> Option<Value> {
    let last: Vec<_> = path.rsplit('/').take(2).collect();
    Some(match (last[0], last[1]) {
        ("deactivate" | "reactivate" | "rotations", _) => json!({"reason": "drill"}),
        ("redrive", _) => json!({"subscription": "email", "choice": {}}),
        ("discard", _) => json!({"subscription": "email", "choice": {}, "reason": "no use"}),
        ("replay", _) => json!({}),
        ("recoveries", _) => json!({"after": 0}),
        ("webhooks", _) => json!({"url": "https://other.example.org/in"}),
        (_, "webhooks") => json!({"description": "another"}),
        ("api-keys", _) => json!({"name": "shop", "scopes": ["events.read"]}),
        ("schemas", _) => {
            json!({"type": "custom.order", "version": 1, "schema": {"type": "object"}})
        }
        _ => return None,
    })
}

#[tokio::test]
async fn every_change_by_an_administrator_asks_for_a_fresh_proof() {
    let changes = |route: &&Route| {
        let operators = matches!(route.authority, Authority::Admin | Authority::May(_));
        operators && route.method != Method::GET
    };
    let mut seen = 0;
    for route in ROUTES.iter().filter(changes) {
        let root = given(account_of("root@example.org").verified().role(Role::Admin));
        let server = Server::new(root);
        let stale = server.access_token().await;
        let there = prepared(&server, &stale).await;
        server.scene.world.pass(Duration::from_mins(10));
        let path = there.path(route);
        let asked = |token: &str| {
            let asked = ask(&route.method, &path);
            let asked = match body(&path).filter(|_| route.method != Method::DELETE) {
                Some(body) => asked.body(&body),
                None => asked,
            };
            server.send(asked.token(token))
        };
        let refused = asked(&stale).await;
        let wanted = (403, "step_up_required".to_owned());
        assert_eq!(refused.problem(), wanted, "{} {path}", route.method);
        let said = server.scene.world.log().pop().expect("an event");
        assert!(said.envelope.kind.ends_with(".failed"), "{path}");
        let said = String::from_utf8_lossy(&said.body).into_owned();
        assert!(said.contains("\"step_up_required\""), "{path} {said}");
        let fresh = server.access_token().await;
        let done = asked(&fresh).await;
        assert!(done.status != 403 && done.status != 422, "{path} {done:?}");
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}
