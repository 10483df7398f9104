//! Services that are called with our tokens: they judge them by themselves or ask, and keys change under them.

use quivive_testkit::{PASSWORD, Reply, Server};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{events_until, post, python_with, server, verifies};

const PAGE: &str = include_str!("../../../../docs/services.md");

/// What the page's examples are called with.
const DRIVER: &str = r#"
import json, sys
from authlib.oauth2.rfc6750 import InvalidTokenError
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
given = json.load(sys.stdin)
issuer, token, refresh = given["issuer"], given["access_token"], given["refresh_token"]
def refused(call, *errors):
    try: call()
    except errors: return
    raise SystemExit(f"{call} lets it through")

judge, asking = Judge(issuer), Introspection(issuer, given["key"])
AuthorizationServerMetadata(asking.metadata).validate()
assert judge.issuer == issuer
claims = judge.who_calls(token)
assert (claims["sub"], claims["sid"], claims["roles"]) == (given["sub"], given["session_id"], ["user"]), claims
assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
middle = len(token) // 2
forged = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1:]
for wrong in [forged, token + "x", refresh]:
    refused(lambda: judge.who_calls(wrong), jwt.PyJWTError)

def ask(token):
    told = asking.authenticate_token(token)
    asking.validate_token(told, None, None)
    return told
told = ask(token)
for name in ["iss", "aud", "sub", "sid", "jti", "client_id", "exp", "iat", "roles", "amr", "auth_time"]:
    assert told[name] == claims[name], name
for wrong in [forged, refresh, "nonsense", given["key"]]:
    refused(lambda: ask(wrong), InvalidTokenError)
refused(lambda: Introspection(issuer, given["key"][:-1]).introspect_token(token), requests.HTTPError)
asking.revoke(refresh)
refused(lambda: ask(token), InvalidTokenError)
print("verified")
"#;

/// A service's call: a form, as OAuth has it.
async fn ask(server: &Server, key: &str, path: &str, form: &str) -> Reply {
    server
        .client()
        .form(path, form, key)
        .await
        .expect("an answer")
}

async fn active(server: &Server, key: &str, token: &Value) -> bool {
    let form = format!("token={}", token.as_str().unwrap());
    let told = ask(server, key, "/introspect", &form).await.expect(200);
    told.json()["active"].as_bool().unwrap()
}

async fn key(server: &Server, admin: &str) -> String {
    let body = json!({"name": "shop", "scopes": ["introspect"]});
    let made = server.api("POST", "/admin/api-keys", Some(body), Some(admin));
    let made = made.await.expect(201).json();
    made["key"].as_str().unwrap().to_owned()
}

/// The code of the page.
fn examples() -> String {
    let blocks = PAGE.split("```").skip(1).step_by(2);
    let fitting = blocks.filter_map(|block| block.strip_prefix("python\n"));
    let fitting: Vec<_> = fitting.collect();
    assert_eq!(fitting.len(), 2, "examples");
    fitting.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_made_by_others_verify_our_tokens() {
    let modules = "jwt, cryptography, authlib, requests";
    let Some(python) = python_with(modules, "resource servers in Python").await else {
        return;
    };
    let server = server().await;
    let admin = server.administrator().await;
    let user = server.register("ada@example.com").await;
    let tokens = server.login("ada@example.com", PASSWORD).await;
    let mut given = tokens.clone();
    given["issuer"] = json!(format!("http://localhost:{}", server.address.port()));
    given["key"] = json!(key(&server, &admin).await);
    given["sub"] = json!(user);
    let mut program = Command::new(python);
    program
        .args(["-c", &(examples() + DRIVER)])
        // The server under test is on this machine, without TLS.
        .env("AUTHLIB_INSECURE_TRANSPORT", "1")
        .env("NO_PROXY", "*");
    verifies(&mut program, &given).await;
    let access = tokens["access_token"].as_str();
    server.api("GET", "/me", None, access).await.expect(401);
}

/// T30, from outside.
#[tokio::test(flavor = "multi_thread")]
async fn t30_introspection_and_revocation_are_for_services_and_felt_at_once() {
    let server = server().await;
    let admin = server.administrator().await;
    let key = key(&server, &admin).await;
    server.register("ada@example.com").await;
    for kind in ["access_token", "refresh_token"] {
        let tokens = server.login("ada@example.com", PASSWORD).await;
        let other = server.login("ada@example.com", PASSWORD).await;
        assert!(active(&server, &key, &tokens["access_token"]).await);
        let form = format!("token={}", tokens[kind].as_str().unwrap());
        for path in ["/introspect", "/revoke"] {
            ask(&server, "qk_nobodys", path, &form).await.expect(401);
            ask(&server, &admin, path, &form).await.expect(403);
        }
        for _ in 0..2 {
            ask(&server, &key, "/revoke", &form).await.expect(200);
        }
        let access = tokens["access_token"].as_str();
        server.api("GET", "/me", None, access).await.expect(401);
        let body = json!({"refresh_token": tokens["refresh_token"]});
        post(&server, "/tokens", body).await.expect(401);
        let refresh = tokens["refresh_token"].as_str().unwrap();
        let hinted = format!("token={refresh}&token_type_hint=refresh_token");
        for form in [hinted, format!("token={}", access.unwrap())] {
            let told = ask(&server, &key, "/introspect", &form).await.expect(200);
            assert_eq!(told.json(), json!({"active": false}));
        }
        assert!(active(&server, &key, &other["access_token"]).await);
    }
    let root = json!({"user_id": id_of(&server, &admin).await, "permission": "users.read"});
    let may = server
        .api("POST", "/authorize-check", Some(root), Some(&key))
        .await;
    let want = json!({"decision": "allow", "path": ["role:admin"]});
    assert_eq!(may.expect(200).json(), want);
    let revoked = |events: &[Value]| {
        let of = |event: &&Value| event["type"] == "token.revoked";
        let kinds = events.iter().filter(of).map(|event| {
            assert_eq!(event["actor"]["kind"], "service");
            event["data"]["token_type"].clone()
        });
        kinds.collect::<Vec<_>>()
    };
    assert_eq!(revoked(&server.events(&admin).await), ["access", "refresh"]);
}

async fn id_of(server: &Server, token: &str) -> Value {
    let me = server.api("GET", "/me", None, Some(token)).await;
    me.expect(200).json()["user_id"].clone()
}

async fn kids(server: &Server) -> Vec<String> {
    let set = server
        .get("/.well-known/jwks.json")
        .await
        .expect(200)
        .json();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

async fn rotate(server: &Server, more: &[&str]) -> Value {
    let args = [&["rotate", "keys", "--output", "json"], more].concat();
    let (code, out, err) = server.cli(&args, "").await;
    assert_eq!(code, Some(0), "{err}");
    serde_json::from_str(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_keys_are_rotated_beside_the_server_and_without_it() {
    let mut server = server().await;
    let admin = server.administrator().await;
    let service = key(&server, &admin).await;
    server.register("ada@example.com").await;
    let first = kids(&server).await;
    assert_eq!(first.len(), 1);
    let first = &first[0];
    let old = server.login("ada@example.com", PASSWORD).await;
    let me = async |server: &Server, tokens: &Value| {
        let token = tokens["access_token"].as_str();
        server.api("GET", "/me", None, token).await.status
    };
    assert_eq!(me(&server, &old).await, 200);

    let rotated = rotate(&server, &[]).await;
    assert_eq!(rotated["retired_key_id"], first.as_str());
    let second = rotated["new_key_id"].as_str().unwrap().to_owned();
    assert_eq!(kids(&server).await, [second.clone(), first.clone()]);
    let new = server.login("ada@example.com", PASSWORD).await;
    assert_eq!(
        (me(&server, &old).await, me(&server, &new).await),
        (200, 200)
    );

    server.stop().await;
    let offline = rotate(&server, &[]).await;
    let third = offline["new_key_id"].as_str().unwrap().to_owned();
    server.restart().await;
    assert_eq!(kids(&server).await, [third.clone(), second, first.clone()]);
    assert_eq!(
        (me(&server, &old).await, me(&server, &new).await),
        (200, 200)
    );
    let newest = server.login("ada@example.com", PASSWORD).await;

    let (code, _, err) = server.cli(&["rotate", "keys", "--compromised"], "").await;
    assert_eq!(
        code,
        Some(2),
        "it asks, and nobody is there to answer: {err}"
    );
    let last = rotate(&server, &["--compromised", "--yes"]).await;
    assert_eq!(
        (&last["retired_key_id"], &last["revoked"]),
        (&json!(third), &json!(true))
    );
    for tokens in [&old, &new, &newest] {
        assert_eq!(me(&server, tokens).await, 401);
        assert!(!active(&server, &service, &tokens["access_token"]).await);
        let body = json!({"refresh_token": tokens["refresh_token"]});
        let fresh = post(&server, "/tokens", body).await.expect(200).json();
        assert_eq!(me(&server, &fresh).await, 200);
    }
    let left = kids(&server).await;
    assert_eq!(left, [last["new_key_id"].as_str().unwrap()]);
    server.restart().await;
    assert_eq!(kids(&server).await, left);
    assert_eq!(me(&server, &old).await, 401);

    let admin = server.administrator().await;
    let done = |events: &[Value]| {
        let done = |event: &&Value| event["type"] == "operator.signing_key_rotation.succeeded";
        events.iter().filter(done).count()
    };
    let events = events_until(&server, &admin, |events| done(events) == 3).await;
    assert_eq!(done(&events), 3);
}
