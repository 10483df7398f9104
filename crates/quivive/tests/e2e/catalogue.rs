//! Every event type is raised by the driven run, has an actor and (but for the system's) an address, and is as specified.

use std::collections::{BTreeMap, BTreeSet};

use quivive_testkit::experiments::check;
use quivive_testkit::postgres::servers;
use quivive_testkit::{Client, Options, PASSWORD, Server};
use serde_json::{Value, json};

use crate::support::{BINARY, events_until, in_a_file, post};

/// Raised where this run does not go; each by a test of its own.
const ELSEWHERE: [(&str, &str); 18] = [
    (
        "admission.requests_rejected",
        "admission::what_is_refused_fills_neither_the_log_nor_memory",
    ),
    (
        "session.expired",
        "sessions::a_session_that_is_not_used_ends_by_itself",
    ),
    (
        "email.delivery_failed",
        "smtp::a_mail_server_that_is_away_or_refuses",
    ),
    (
        "delivery.dead_lettered",
        "smtp::a_mail_server_that_is_away_or_refuses",
    ),
    (
        "delivery.redriven",
        "dead_letters::a_letter_that_could_not_be_sent_arrives_when_it_is_redriven",
    ),
    (
        "delivery.discarded",
        "dead_letters::a_letter_that_could_not_be_sent_arrives_when_it_is_redriven",
    ),
    (
        "delivery.circuit_opened",
        "quivive_delivery: trouble::while_the_target_is_away_no_attempt_is_spent_and_no_lane_is_made",
    ),
    (
        "delivery.circuit_closed",
        "quivive_delivery: trouble::while_the_target_is_away_no_attempt_is_spent_and_no_lane_is_made",
    ),
    (
        "delivery.undo_requested",
        "quivive_delivery: trouble::undoing_is_told_in_the_commit_that_ends_the_event",
    ),
    (
        "delivery.subscription_expired",
        "quivive_delivery: expiry::a_parked_lane_loses_what_goes_and_goes_on_after_it",
    ),
    (
        "audit.checkpoint_sealed",
        "retention::a_log_under_load_is_cut_archived_and_still_proved",
    ),
    (
        "delivery.replayed",
        "embedded: statistics_are_rebuilt_to_the_same_numbers_while_people_sign_in",
    ),
    (
        "delivery.step_done",
        "embedded: an_account_is_provisioned_or_what_was_done_is_undone",
    ),
    (
        "user.data_export.failed",
        "exports: who_has_not_just_shown_that_it_is_them_exports_nothing",
    ),
    (
        "operator.restore.attempted",
        "backups::a_busy_server_is_backed_up_and_nothing_that_it_gave_is_good_in_the_restored_one",
    ),
    (
        "operator.restore.succeeded",
        "backups::a_busy_server_is_backed_up_and_nothing_that_it_gave_is_good_in_the_restored_one",
    ),
    (
        "operator.restore.failed",
        "quivive_app: restore::where_the_database_fails_it_failed_and_is_asked_for_again",
    ),
    (
        "delivery.step_undone",
        "embedded: an_account_is_provisioned_or_what_was_done_is_undone",
    ),
];

/// What a newcomer reads whose workflow is not driven yet.
const WHAT_TO_DO: &str = "`drive` in crates/quivive/tests/e2e/catalogue.rs must go that way: let it call the new route, once \
    so that it succeeds (…succeeded) and once so that it is refused (…failed); …attempted comes with both. `server.login` \
    gives the tokens of who must be signed in. What only a disaster raises gets a test of its own, and a line in ELSEWHERE in \
    the same file that names the type and the test.";

async fn catalogue(server: &Server) -> Vec<Value> {
    let (code, out, err) = server
        .cli(&["events", "catalogue", "--output", "json"], "")
        .await;
    assert_eq!(code, Some(0), "{err}");
    serde_json::from_str(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_type_is_raised_and_whole() {
    let options = Options::unlimited()
        .env("QUIVIVE__SESSIONS__MAX_PER_USER", "2")
        .env("QUIVIVE__WEBHOOKS__ALLOW_NETWORKS", "127.0.0.1");
    let server = Server::start(BINARY, options).await;
    let admin = server.administrator().await;
    let catalogue = catalogue(&server).await;
    let types: BTreeMap<&str, &Value> = catalogue
        .iter()
        .map(|spec| (spec["type"].as_str().unwrap(), spec))
        .collect();
    drive(&server, &admin).await;
    let missing = |events: &[Value]| -> Vec<&str> {
        let raised: BTreeSet<&str> = events.iter().filter_map(|e| e["type"].as_str()).collect();
        let elsewhere = ELSEWHERE.map(|(kind, _)| kind);
        let known = types.keys().copied();
        // No backup is made of a database that is not in a file.
        let not_here = |kind: &str| servers::wanted() && kind.starts_with("operator.backup.");
        known
            .filter(|kind| !raised.contains(kind) && !elsewhere.contains(kind))
            .filter(|kind| !not_here(kind))
            .collect()
    };
    // Letters go out in their own time, and the events of them.
    let events = events_until(&server, &admin, |events| missing(events).is_empty()).await;
    let missing = missing(&events);
    assert!(
        missing.is_empty(),
        "declared and never raised: {missing:?}. {WHAT_TO_DO}"
    );
    check::whole(&events);
    let erased = events
        .iter()
        .filter(|event| event["type"] == "user.erasure.succeeded");
    let erased: Vec<&Value> = erased.map(|event| &event["subject"]).collect();
    for event in &events {
        let spec = types
            .get(event["type"].as_str().unwrap())
            .unwrap_or_else(|| panic!("not in the catalogue: {event}"));
        fits(event, spec);
        let placed = event["actor"]["kind"] != "system" && !erased.contains(&&event["subject"]);
        assert!(!placed || event["ip_address"].is_string(), "{event}");
    }
}

/// An event against its catalogue entry: fields, actor, priority, category.
fn fits(event: &Value, spec: &Value) {
    let data = event["data"].as_object().unwrap();
    let fields: BTreeMap<&str, &Value> = spec["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["name"].as_str().unwrap(), f))
        .collect();
    for name in data.keys() {
        assert!(
            fields.contains_key(name.as_str()),
            "{name} is not a field of {event}"
        );
    }
    for (name, field) in fields {
        let value = data.get(name).unwrap_or(&Value::Null);
        if field["personal"] == true {
            assert!(
                value.is_null(),
                "{name} is shown without being asked for: {event}"
            );
        } else if field["optional"] == false {
            assert!(!value.is_null(), "{name} is missing in {event}");
        }
    }
    let actor = event["actor"]["kind"].as_str().unwrap_or_default();
    assert!(!actor.is_empty(), "{event}");
    for name in ["priority", "category"] {
        assert_eq!(event[name], spec[name], "{event}");
    }
    for name in ["id", "time", "recorded_at", "workflow_id", "correlation_id"] {
        assert!(event[name].is_string(), "{name} of {event}");
    }
}

/// Goes every way there is, so that every type is raised.
async fn drive(server: &Server, admin: &str) {
    let email = "driven@example.org";
    post(
        server,
        "/users",
        json!({"email": "not an address", "password": PASSWORD}),
    )
    .await
    .expect(422);
    post(
        server,
        "/email-verification-requests",
        json!({"email": email}),
    )
    .await
    .expect(202);
    post(
        server,
        "/users",
        json!({"email": email, "password": PASSWORD}),
    )
    .await
    .expect(202);
    server.token(email, "verify_email").await;
    post(
        server,
        "/email-verification-requests",
        json!({"email": email}),
    )
    .await
    .expect(202);
    // The second letter is the one that counts.
    let both = |events: &[Value]| {
        let sent = |event: &&Value| {
            event["type"] == "email.delivered" && event["data"]["template"] == "verify_email"
        };
        events.iter().filter(sent).count() >= 2
    };
    events_until(server, admin, both).await;
    let token = server.token(email, "verify_email").await;
    post(server, "/email-verifications", json!({"token": token}))
        .await
        .expect(200);
    post(server, "/email-verifications", json!({"token": token}))
        .await
        .expect(400);
    post(
        server,
        "/users",
        json!({"email": email, "password": PASSWORD}),
    )
    .await
    .expect(202);
    sessions(server, email).await;
    ended_sessions(server, admin, email).await;
    lock_and_reset(server, email).await;
    imported(server).await;
    backed_up(server).await;
    services(server, admin).await;
    rotations(server, admin).await;
    webhooks(server, admin).await;
    for (action, status) in [("pause", 204), ("resume", 204), ("resume", 409)] {
        let path = format!("/admin/subscriptions/statistics/{action}");
        let answer = server.api("POST", &path, None, Some(admin)).await;
        answer.expect(status);
    }
    let (code, _, _) = server
        .cli(
            &["admin", "create", "second@example.org", "--password-stdin"],
            "too weak\n",
        )
        .await;
    assert_ne!(code, Some(0), "a weak password is refused");
    let asked = "/events/search?address=driven@example.org";
    server
        .api("GET", asked, None, Some(admin))
        .await
        .expect(200);
}

/// With a grace period: the administrator goes on.
async fn rotations(server: &Server, admin: &str) {
    let ask = async |path: &str, body, token: Option<&str>, status| {
        let reply = server.api("POST", path, Some(body), token).await;
        reply.expect(status).json()
    };
    let all = "/admin/rotations";
    ask(all, json!({"reason": "yearly"}), Some(admin), 200).await;
    let breach = json!({"reason": "breach", "grace_period_seconds": 1});
    ask(all, breach, Some(admin), 422).await;
    let somebody = server.register("rotated@example.org").await;
    let tokens = server.login("rotated@example.org", PASSWORD).await;
    let token = tokens["access_token"].as_str();
    let step_up = |password: &str| json!({"password": password});
    ask("/me/step-up", step_up("not this one 1"), token, 403).await;
    ask("/me/step-up", step_up(PASSWORD), token, 200).await;
    for (user, status) in [
        (somebody.as_str(), 200),
        ("00000000-0000-0000-0000-000000000007", 404),
    ] {
        let path = format!("/admin/users/{user}/rotations");
        ask(&path, json!({"reason": "yearly"}), Some(admin), status).await;
    }
    let rotate = async || server.cli(&["rotate", "keys"], "").await.0;
    assert_eq!(rotate().await, Some(0));
    let list = server.data.join("keys/keyring.json");
    let aside = list.with_extension("aside");
    std::fs::rename(&list, &aside).unwrap();
    assert_eq!(rotate().await, Some(74));
    std::fs::rename(&aside, &list).unwrap();
}

async fn webhooks(server: &Server, admin: &str) {
    let refused = json!({"url": "https://10.0.0.1/"});
    let register = async |body| {
        let path = "/admin/webhooks";
        server.api("POST", path, Some(body), Some(admin)).await
    };
    register(refused).await.expect(422);
    let nobody = json!({"url": "http://127.0.0.1:9/", "events": ["WebhookEndpointDisabled"]});
    let made = register(nobody).await.expect(201).json();
    let path = format!("/admin/webhooks/{}", made["id"].as_str().unwrap());
    let disable = format!("{path}/disable");
    server
        .api("POST", &disable, None, Some(admin))
        .await
        .expect(200);
    server
        .api("DELETE", &path, None, Some(admin))
        .await
        .expect(204);
}

async fn sessions(server: &Server, email: &str) {
    let mut tokens = Value::Null;
    for _ in 0..3 {
        // The third makes room: two are allowed.
        tokens = server.login(email, PASSWORD).await;
    }
    let first = tokens["refresh_token"].clone();
    let second = post(server, "/tokens", json!({"refresh_token": first}))
        .await
        .expect(200)
        .json();
    let wrong = json!({"current_password": "not this one 1", "new_password": format!("{PASSWORD} changed")});
    server
        .api(
            "PUT",
            "/me/password",
            Some(wrong),
            second["access_token"].as_str(),
        )
        .await
        .expect(403);
    let change =
        json!({"current_password": PASSWORD, "new_password": format!("{PASSWORD} changed")});
    let changed = server
        .api(
            "PUT",
            "/me/password",
            Some(change),
            second["access_token"].as_str(),
        )
        .await
        .expect(200)
        .json();
    // Left behind by the user's version.
    post(
        server,
        "/tokens",
        json!({"refresh_token": second["refresh_token"]}),
    )
    .await
    .expect(401);
    let next = post(
        server,
        "/tokens",
        json!({"refresh_token": changed["refresh_token"]}),
    )
    .await
    .expect(200)
    .json();
    // Somebody else's device presents the used one.
    let mut thief = Client::with_agent(server.address, "thief/1");
    let body = json!({"refresh_token": changed["refresh_token"]});
    thief
        .api("POST", "/tokens", Some(body), None)
        .await
        .unwrap()
        .expect(401);
    post(
        server,
        "/tokens",
        json!({"refresh_token": next["refresh_token"]}),
    )
    .await
    .expect(401);
    post(server, "/tokens", json!({"refresh_token": "nonsense"}))
        .await
        .expect(401);
    let tokens = server.login(email, &format!("{PASSWORD} changed")).await;
    let body = json!({"refresh_token": tokens["refresh_token"]});
    for token in [tokens["access_token"].as_str(), None] {
        server
            .api("DELETE", "/sessions/current", Some(body.clone()), token)
            .await
            .expect(204);
    }
}

async fn ended_sessions(server: &Server, admin: &str, email: &str) {
    let other = server.login(email, &format!("{PASSWORD} changed")).await;
    let tokens = server.login(email, &format!("{PASSWORD} changed")).await;
    let end = async |path: &str, token: Option<&str>, status| {
        let answer = server.api("DELETE", path, None, token).await;
        answer.expect(status);
    };
    let token = tokens["access_token"].as_str();
    let path = format!("/sessions/{}", other["session_id"].as_str().unwrap());
    end(&path, token, 204).await;
    end(&path, token, 404).await;
    end("/sessions?keep_current=false", token, 200).await;
    let nobody = format!("/admin/users/{}/sessions", uuid::Uuid::nil());
    end(&nobody, Some(admin), 404).await;
    let password = format!("{PASSWORD} changed");
    let tokens = server.login(email, &password).await;
    let me = server.api("GET", "/me", None, tokens["access_token"].as_str());
    let me = me.await.expect(200).json();
    let because = Some(json!({"reason": "driven"}));
    for act in ["lock", "unlock", "deactivate", "reactivate"] {
        let path = format!("/admin/users/{}/{act}", me["user_id"].as_str().unwrap());
        let body = because.clone().filter(|_| act.ends_with("activate"));
        for status in [204, 409] {
            let answer = server.api("POST", &path, body.clone(), Some(admin));
            answer.await.expect(status);
        }
    }
    moved(server, admin, email, &password).await;
}

/// To another address and back; and somebody goes.
async fn moved(server: &Server, admin: &str, email: &str, password: &str) {
    let tokens = server.login(email, password).await;
    for new_email in ["root@example.org", "moved@example.org"] {
        let body = Some(json!({"new_email": new_email}));
        let token = tokens["access_token"].as_str();
        let asked = server.api("POST", "/me/email-changes", body, token);
        asked.await.expect(202);
    }
    let confirm = server.token("moved@example.org", "email_change_confirm");
    let confirm = json!({"token": confirm.await});
    for status in [200, 400] {
        let path = "/me/email-change-confirmations";
        post(server, path, confirm.clone()).await.expect(status);
    }
    let revert = json!({"token": server.token(email, "email_changed").await});
    for status in [200, 400] {
        let path = "/me/email-change-reversals";
        post(server, path, revert.clone()).await.expect(status);
    }
    // The last administrator stays, who is nobody in particular goes.
    server.register("gone@example.org").await;
    let gone = server.login("gone@example.org", PASSWORD).await;
    let export = server.api("GET", "/me/export", None, gone["access_token"].as_str());
    export.await.expect(200);
    for (token, status) in [(gone["access_token"].as_str(), 204), (Some(admin), 409)] {
        let answer = server.api("DELETE", "/me", None, token).await;
        answer.expect(status);
    }
}

async fn lock_and_reset(server: &Server, email: &str) {
    for _ in 0..5 {
        post(
            server,
            "/sessions",
            json!({"email": email, "password": "not this one 1"}),
        )
        .await
        .expect(401);
    }
    post(
        server,
        "/password-reset-requests",
        json!({"email": "nobody@example.org"}),
    )
    .await
    .expect(202);
    post(server, "/password-reset-requests", json!({"email": email}))
        .await
        .expect(202);
    let token = server.token(email, "reset_password").await;
    let body = json!({"token": token, "new_password": format!("{PASSWORD} reset")});
    post(server, "/password-resets", body.clone())
        .await
        .expect(200);
    post(server, "/password-resets", body).await.expect(400);
}

/// People come from another system; a file that breaks off is refused.
async fn imported(server: &Server) {
    let file = server.data.join("people.json");
    let path = file.to_str().unwrap();
    for (text, code) in [
        ("{\"email\": \"imported@example.org\"}", 0),
        ("[{\"email\": ", 1),
    ] {
        std::fs::write(&file, text).unwrap();
        let (exit, _, err) = server.cli(&["users", "import", path], "").await;
        assert_eq!(exit, Some(code), "{err}");
    }
}

/// A backup is made, and one that has no place.
async fn backed_up(server: &Server) {
    if !in_a_file("the events of backups") {
        return;
    }
    let to = server.data.join("backup");
    for (to, code) in [(to.to_str().unwrap(), 0), ("/dev/null/backup", 74)] {
        let (exit, _, err) = server.cli(&["backup", to], "").await;
        assert_eq!(exit, Some(code), "{err}");
    }
}

/// An operator gives keys and registers schemas. What services append with them is of no type that the program has.
async fn services(server: &Server, admin: &str) {
    let ask = async |method, path: &str, body, status| {
        let reply = server.api(method, path, body, Some(admin)).await;
        reply.expect(status).json()
    };
    let key = |scope: &str| Some(json!({"name": "driven", "scopes": [scope]}));
    ask("POST", "/admin/api-keys", key("everything"), 422).await;
    let made = ask("POST", "/admin/api-keys", key("events.read"), 201).await;
    let path = format!("/admin/api-keys/{}", made["id"].as_str().unwrap());
    ask("DELETE", &path, None, 204).await;
    ask("DELETE", &path, None, 404).await;
    let schema = |version: u32| {
        let schema = json!({"type": "object"});
        Some(json!({"type": "custom.driven", "version": version, "schema": schema}))
    };
    ask("POST", "/admin/schemas", schema(1), 201).await;
    ask("POST", "/admin/schemas", schema(3), 409).await;
}
