//! Who may use the routes of administration: asked of each of them by nobody, somebody, support and an administrator.

use quivive_app::testing::{PASSWORD, account_of};

use super::*;

/// What support may. Everything else is for administrators.
const SUPPORT: [(&str, &str); 4] = [
    ("GET", "/api/v1/admin/users"),
    ("GET", "/api/v1/admin/users/{id}"),
    ("POST", "/api/v1/admin/users/{id}/unlock"),
    ("DELETE", "/api/v1/admin/users/{id}/sessions"),
];

/// A server, with access tokens of somebody, of support and of an administrator.
async fn server() -> (Server, [String; 3]) {
    let person = |name: &str| account_of(&format!("{name}@example.org")).verified();
    let admin = given(person("admin").role(Role::Admin));
    let _ = admin.clone().and(person("support").role(Role::Support));
    let _ = admin.clone().and(person("somebody"));
    let server = Server::new(admin);
    let mut tokens = Vec::new();
    for name in ["somebody", "support", "admin"] {
        let email = format!("{name}@example.org");
        let body = json!({"email": email, "password": PASSWORD});
        let answer = server.send(post("/api/v1/sessions", &body)).await.json();
        tokens.push(answer["access_token"].as_str().unwrap().to_owned());
    }
    (server, tokens.try_into().unwrap())
}

/// T36.
#[tokio::test]
async fn each_route_of_administration_is_for_whom_the_table_says() {
    let (server, [somebody, support, admin]) = server().await;
    let (mut for_support, mut all) = (0, 0);
    for route in ROUTES.iter() {
        let of_administration = route.authority.permission().is_some();
        assert!(
            of_administration || !route.path.starts_with("/api/v1/admin/"),
            "{}",
            route.path
        );
        if !of_administration {
            continue;
        }
        let name = (route.method.as_str(), route.path.as_str());
        // A stream does not end, so the answer is not read to its end.
        let status = async |token: Option<&String>| {
            let ask = ask(&route.method, &concrete(route));
            let ask = match token {
                Some(token) => ask.token(token),
                None => ask,
            };
            server.begin(ask).await.status().as_u16()
        };
        let passes = |status| ![401, 403, 500].contains(&status);
        assert_eq!(status(None).await, 401, "{name:?}");
        assert_eq!(status(Some(&somebody)).await, 403, "{name:?}");
        let by_support = status(Some(&support)).await;
        if SUPPORT.contains(&name) {
            for_support += 1;
            assert!(passes(by_support), "{name:?} {by_support}");
        } else {
            assert_eq!(by_support, 403, "{name:?}");
        }
        let by_admin = status(Some(&admin)).await;
        assert!(passes(by_admin), "{name:?} {by_admin}");
        all += 1;
    }
    assert_eq!(for_support, SUPPORT.len());
    assert!(all > 30, "{all}");
}
