//! The committed document, the list of routes and the handlers say the same.

use std::collections::BTreeSet;

use quivive_domain::Permission;
use quivive_domain::api_key::Scope;

use super::*;
use crate::routes::ROUTES;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "UPDATE_GOLDEN=1 rewrites the golden file; nothing else reads it"
)]
fn the_committed_document_is_the_one_that_is_served() {
    let now = routes::document();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &now).unwrap();
    }
    let committed = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    assert!(
        now == committed,
        "crates/web/openapi.json differs: UPDATE_GOLDEN=1 writes it; look at git diff"
    );
}

#[test]
fn every_route_is_listed_and_described() {
    let api = serde_json::to_value(openapi()).unwrap();
    let described: BTreeSet<_> = api["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .keys()
                .map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let listed: BTreeSet<_> = ROUTES
        .iter()
        .map(|route| (route.method.to_string(), route.path.clone()))
        .collect();
    assert_eq!(listed.len(), ROUTES.len(), "a route is listed twice");
    assert_eq!(described, listed);
}

#[test]
fn every_operation_says_what_it_does_and_how_it_refuses() {
    let api = serde_json::to_value(openapi()).unwrap();
    for route in ROUTES.iter() {
        let operation = &api["paths"][&route.path][route.method.as_str().to_lowercase()];
        let named = format!("{} {}", route.method, route.path);
        assert!(
            !operation["summary"].as_str().unwrap_or_default().is_empty(),
            "{named}"
        );
        assert!(
            !operation["operationId"]
                .as_str()
                .unwrap_or_default()
                .is_empty(),
            "{named}"
        );
        let guarded = !matches!(
            route.authority,
            Authority::Open | Authority::Probe | Authority::Loopback
        );
        if guarded {
            assert!(
                operation["responses"]["401"].is_object() && operation["security"].is_array(),
                "{named}"
            );
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            if route.family.is_some() && status.starts_with(['4', '5']) {
                let shape = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(shape, "#/components/schemas/Problem", "{named} {status}");
            }
        }
    }
    assert_eq!(api["openapi"], "3.1.0");
}

#[test]
fn each_scope_and_each_permission_is_named_where_one_is_asked_for() {
    let api = serde_json::to_value(openapi()).unwrap();
    let said = |shape: &str, field: &str| {
        let pointer = format!("/components/schemas/{shape}/properties/{field}/description");
        api.pointer(&pointer).unwrap().as_str().unwrap().to_owned()
    };
    let (scopes, permissions) = (said("NewApiKey", "scopes"), said("Question", "permission"));
    for scope in Scope::ALL.map(Scope::as_str) {
        assert!(scopes.contains(&format!("`{scope}`")), "{scope}");
    }
    for permission in Permission::ALL.map(Permission::as_str) {
        let named = permissions.contains(&format!("`{permission}`"));
        assert!(named, "{permission}");
    }
}
