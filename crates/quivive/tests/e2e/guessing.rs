//! Login, guessing and enumeration: T08 and T11 to T14 of the security cases (T09 and T10 are experiments).

use quivive_testkit::client::Call;
use quivive_testkit::experiments::check;
use quivive_testkit::{Client, Options, PASSWORD, Reply, Server};
use serde_json::{Value, json};

use crate::support::{BINARY, events, post, production, server};

/// bcrypt of a password that nobody tries here.
const BCRYPT: &str = "$2b$04$g5p6iPrRAcCbyRiLQd/whuwt/OTEsQfnVBOM0XymvEO1pJZ8.crI.";

async fn login(server: &Server, email: &str, password: &str) -> Reply {
    post(
        server,
        "/sessions",
        json!({"email": email, "password": password}),
    )
    .await
}

async fn login_on(server: &Server, email: &str, password: &str, device: &Value) -> Reply {
    let device = &device["device_token"];
    let body = json!({"email": email, "password": password, "device_token": device});
    post(server, "/sessions", body).await
}

/// A stranger's guesses, until the account's own path is closed.
async fn close_path(server: &Server, email: &str) {
    for _ in 0..5 {
        login(server, email, "a wrong password 1").await.expect(401);
    }
}

/// Everything but what names the request and its time.
fn shown(reply: &Reply) -> (u16, Vec<(String, String)>, Value) {
    let mut headers = reply.headers.clone();
    headers.retain(|(name, _)| name != "date" && name != "x-request-id");
    let mut body = reply.json();
    if let Some(object) = body.as_object_mut() {
        object.remove("request_id");
        object.remove("instance");
    }
    (reply.status, headers, body)
}

/// T08: also of whom an administrator has sent away, and of whom another system hashed the password. The in-memory tests have
/// who has none.
#[tokio::test(flavor = "multi_thread")]
async fn t08_a_refused_login_does_not_say_why() {
    let server = server().await;
    server.register("verified@example.com").await;
    let unverified = json!({"email": "unverified@example.com", "password": PASSWORD});
    post(&server, "/users", unverified).await.expect(202);
    server.register("locked@example.com").await;
    for _ in 0..5 {
        login(&server, "locked@example.com", "a wrong password 1")
            .await
            .expect(401);
    }
    let user = server.register("inactive@example.com").await;
    let admin = server.administrator().await;
    let path = format!("/admin/users/{user}/deactivate");
    let body = Some(json!({"reason": "left"}));
    let sent_away = server.api("POST", &path, body, Some(&admin)).await;
    sent_away.expect(204);
    let file = server.data.join("people.ndjson");
    let hashed = json!({"email": "imported@example.com", "password_hash": BCRYPT});
    std::fs::write(&file, hashed.to_string()).unwrap();
    let args = ["users", "import", file.to_str().unwrap()];
    let (code, _, err) = server.cli(&args, "").await;
    assert_eq!(code, Some(0), "{err}");
    let unknown = login(&server, "unknown@example.com", "a wrong password 1")
        .await
        .expect(401);
    assert_eq!(unknown.code(), "invalid_credentials");
    for email in [
        "verified@example.com",
        "unverified@example.com",
        "locked@example.com",
        "inactive@example.com",
        "imported@example.com",
    ] {
        let reply = login(&server, email, "a wrong password 1").await;
        assert_eq!(shown(&reply), shown(&unknown), "{email}");
    }
    // During the lock not even the right password is told from a wrong one.
    let right = login(&server, "locked@example.com", PASSWORD).await;
    assert_eq!(shown(&right), shown(&unknown));
    // State is told after the right password alone.
    assert_eq!(
        login(&server, "unverified@example.com", PASSWORD)
            .await
            .expect(403)
            .code(),
        "email_not_verified"
    );
    let events = events(&server).await;
    for (reason, count) in [
        ("user_not_found", 1),
        ("email_not_verified", 1),
        ("invalid_credentials", 11),
    ] {
        assert_eq!(
            check::count_reason(&events, "user.login.failed", reason),
            count,
            "{reason}"
        );
    }
}

/// Logs in once more and once more until it is refused; how many were not. `dress` gives each call its headers.
async fn until_limited(
    server: &Server,
    dress: impl Fn(usize) -> Vec<(&'static str, String)>,
) -> (usize, Reply) {
    let mut client = server.client();
    for i in 0..40 {
        let body = json!({"email": format!("u{i}@example.com"), "password": "a wrong password 1"});
        let call = Call {
            method: "POST",
            path: "/api/v1/sessions",
            body: Some(body.to_string().into_bytes()),
            headers: dress(i),
            ..Call::default()
        };
        let reply = client.call(&call).await.unwrap();
        if reply.status == 429 {
            return (i, reply);
        }
        assert_eq!(
            reply.status,
            401,
            "{}",
            String::from_utf8_lossy(&reply.body)
        );
    }
    panic!("the limit of 30 a minute is not met")
}

/// T11: admission.rs has other sources, and the one event of all that was refused.
#[tokio::test(flavor = "multi_thread")]
async fn t11_a_source_has_so_many_logins_a_minute() {
    let server = Server::start(BINARY, Options::default()).await;
    let (admitted, reply) = until_limited(&server, |_| Vec::new()).await;
    assert_eq!(admitted, 30, "the thirty-first is refused");
    assert!(reply.header("retry-after").is_some());
    assert_eq!(reply.code(), "rate_limited");
    // Other routes of the same source go on.
    server.get("/readyz").await.expect(200);
    post(&server, "/tokens", json!({"refresh_token": "nonsense"}))
        .await
        .expect(401);
}

/// What a client may claim about where it is.
const HEADERS: [&str; 5] = [
    "X-Forwarded-For",
    "Forwarded",
    "X-Real-IP",
    "CF-Connecting-IP",
    "True-Client-IP",
];

/// T12: admission.rs has the log.
#[tokio::test(flavor = "multi_thread")]
async fn t12_the_source_is_the_socket_whatever_the_headers_say() {
    let server = production("guessing", |options| options).await;
    let dress = |i: usize| {
        vec![
            ("Host", "id.example.org".to_owned()),
            (HEADERS[i % HEADERS.len()], format!("203.0.113.{i}")),
        ]
    };
    let (admitted, _) = until_limited(&server, dress).await;
    assert_eq!(admitted, 30, "a header makes no new source");
}

/// T13: the tests of the workflow have the end of the lock and the next one, which takes longer.
#[tokio::test(flavor = "multi_thread")]
async fn t13_a_stranger_does_not_lock_out_the_owner() {
    let server = server().await;
    server.register("owner@example.com").await;
    let first = server.login("owner@example.com", PASSWORD).await;
    for _ in 0..6 {
        login(&server, "owner@example.com", "a wrong password 1")
            .await
            .expect(401);
    }
    login(&server, "owner@example.com", PASSWORD)
        .await
        .expect(401);
    server.letter("owner@example.com", "account_locked").await;
    // The device that signed in before has counters of its own.
    login_on(&server, "owner@example.com", PASSWORD, &first)
        .await
        .expect(200);
    // So does a reset.
    post(
        &server,
        "/password-reset-requests",
        json!({"email": "owner@example.com"}),
    )
    .await
    .expect(202);
    let token = server.token("owner@example.com", "reset_password").await;
    let new = format!("{PASSWORD} anew");
    post(
        &server,
        "/password-resets",
        json!({"token": token, "new_password": new}),
    )
    .await
    .expect(200);
    login(&server, "owner@example.com", &new).await.expect(200);
    let events = events(&server).await;
    assert_eq!(check::count(&events, "user.lock.succeeded"), 1);
    assert_eq!(check::count(&events, "user.unlock.succeeded"), 1);
    check::whole(&events);
}

/// T17: also a device that was known.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_takes_every_device_its_path() {
    let server = server().await;
    let email = "lost@example.com";
    server.register(email).await;
    let old = server.login(email, PASSWORD).await;
    post(&server, "/password-reset-requests", json!({"email": email}))
        .await
        .expect(202);
    let token = server.token(email, "reset_password").await;
    let new = format!("{PASSWORD} anew");
    post(
        &server,
        "/password-resets",
        json!({"token": token, "new_password": new}),
    )
    .await
    .expect(200);
    close_path(&server, email).await;
    let refused = login_on(&server, email, &new, &old).await.expect(401);
    assert_eq!(refused.code(), "invalid_credentials");
    let events = events(&server).await;
    check::whole(&events);
    assert_eq!(
        check::count_reason(&events, "device.revocation.succeeded", "password_reset"),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_leaves_the_callers_device_its_path_alone() {
    let server = server().await;
    let email = "changed@example.com";
    server.register(email).await;
    let mut others = Vec::new();
    for _ in 0..2 {
        others.push(server.login(email, PASSWORD).await);
    }
    let own = server.login(email, PASSWORD).await;
    let new = format!("{PASSWORD} anew");
    let body = json!({"current_password": PASSWORD, "new_password": new});
    server
        .api(
            "PUT",
            "/me/password",
            Some(body),
            own["access_token"].as_str(),
        )
        .await
        .expect(200);
    close_path(&server, email).await;
    for other in &others {
        login_on(&server, email, &new, other).await.expect(401);
    }
    login_on(&server, email, &new, &own).await.expect(200);
    let events = events(&server).await;
    // Two triples of a type in one commit, each whole.
    check::whole(&events);
    assert_eq!(
        check::count_reason(&events, "device.revocation.succeeded", "password_change"),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_does_not_keep_the_owner_from_a_new_password() {
    let server = server().await;
    let email = "signed-in@example.com";
    server.register(email).await;
    let own = server.login(email, PASSWORD).await;
    close_path(&server, email).await;
    let change = async |current: &str| {
        let new = format!("{PASSWORD} anew");
        let body = json!({"current_password": current, "new_password": new});
        let token = own["access_token"].as_str();
        server.api("PUT", "/me/password", Some(body), token).await
    };
    change("a wrong password 1").await.expect(403);
    change(PASSWORD).await.expect(200);
    let events = events(&server).await;
    check::whole(&events);
    let lock = "user.lock.succeeded";
    assert_eq!(check::count(&events, lock), 1, "the stranger's alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_few_devices() {
    let options = Options::unlimited().env("QUIVIVE__SESSIONS__DEVICES_PER_USER", "2");
    let server = Server::start(BINARY, options).await;
    let email = "many-devices@example.com";
    server.register(email).await;
    let first = server.login(email, PASSWORD).await;
    let second = server.login(email, PASSWORD).await;
    login_on(&server, email, PASSWORD, &first).await.expect(200);
    server.login(email, PASSWORD).await;
    close_path(&server, email).await;
    login_on(&server, email, PASSWORD, &second)
        .await
        .expect(401);
    login_on(&server, email, PASSWORD, &first).await.expect(200);
    let events = events(&server).await;
    assert_eq!(
        check::count_reason(&events, "device.revocation.succeeded", "too_many_devices"),
        1
    );
}

/// T14.
#[tokio::test(flavor = "multi_thread")]
async fn t14_hostile_text_is_only_text() {
    let server = server().await;
    let corpus = [
        "' OR '1'='1",
        "\"; DROP TABLE account; --",
        "*)(uid=*))(|(uid=*",
        "{{7*7}}${7*7}<%= 7*7 %>",
        "a@example.com\r\nBcc: victim@example.com",
        "nul\u{0}byte@example.com",
        "\u{1b}[31mred\u{1b}[0m@example.com",
        "<script>alert(1)</script>@example.com",
        "../../etc/passwd",
    ];
    for text in corpus {
        assert_eq!(
            login(&server, text, text).await.expect(401).code(),
            "invalid_credentials",
            "{text}"
        );
        let body = json!({"email": text, "password": PASSWORD});
        assert_eq!(
            post(&server, "/users", body).await.expect(422).code(),
            "invalid_email",
            "{text}"
        );
        post(&server, "/password-reset-requests", json!({"email": text}))
            .await
            .expect(202);
    }
    let mut client = Client::with_agent(server.address, "agent/1 ' OR 1=1 -- <b>{{7*7}}");
    let body = json!({"email": "x@example.com", "password": "a wrong password 1"});
    client
        .api("POST", "/sessions", Some(body), None)
        .await
        .unwrap()
        .expect(401);
    let output = server.output();
    for line in output.lines() {
        let line = serde_json::from_str::<Value>(line);
        assert!(line.is_ok_and(|line| line.is_object()), "{output}");
    }
    assert!(
        !output.contains('\u{1b}')
            && !output.contains("alert(1)")
            && !output.contains("DROP TABLE")
    );
    check::whole(&events(&server).await);
}
