//! Erasure: nothing on the disk says who it was, nothing that they held is good, and an older copy of the database does not
//! bring them back.

use std::path::Path;
use std::time::{Duration, Instant};

use quivive_testkit::experiments::check;
use quivive_testkit::{Options, PASSWORD, Server};
use serde_json::{Value, json};

use crate::support::{BINARY, events_until, in_a_file, post, server};

/// In no other file of the machine that is. An address is kept as typed and as canonical.
const ADDRESS: &str = "Ada.of.the.Erasure@example.org";
const NAME: &str = "Augusta Ada of the Erasure";

/// Which files of the data directory hold one of these, however it is spelt.
fn holds(data: &Path) -> Vec<String> {
    let wanted = [ADDRESS, NAME].map(str::to_lowercase);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(data).expect("its directory").flatten() {
        let Ok(mut bytes) = std::fs::read(entry.path()) else {
            continue;
        };
        bytes.make_ascii_lowercase();
        let has = |text: &String| {
            let text = text.as_bytes();
            bytes.windows(text.len()).any(|part| part == text)
        };
        if wanted.iter().any(has) {
            files.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    files
}

/// Waits for it: the account goes at once, what the files hold of it when the event of that was delivered.
async fn is_gone_from(data: &Path) {
    let began = Instant::now();
    while !holds(data).is_empty() {
        assert!(began.elapsed().as_secs() < 30, "{:?}", holds(data));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn register(server: &Server) -> String {
    let body = json!({"email": ADDRESS, "password": PASSWORD, "display_name": NAME});
    post(server, "/users", body).await.expect(202);
    let token = server.token(ADDRESS, "verify_email").await;
    let verified = post(server, "/email-verifications", json!({"token": token})).await;
    verified.expect(200).json()["user_id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

/// What somebody held when they went.
struct Held(Value);

impl Held {
    fn access(&self) -> Option<&str> {
        self.0["access_token"].as_str()
    }

    async fn is_worthless(&self, server: &Server) {
        let me = server.api("GET", "/me", None, self.access()).await;
        me.expect(401);
        let body = json!({"refresh_token": self.0["refresh_token"]});
        post(server, "/tokens", body).await.expect(401);
        let body = json!({"email": ADDRESS, "password": PASSWORD});
        let refused = post(server, "/sessions", body).await.expect(401);
        assert_eq!(refused.code(), "invalid_credentials");
    }
}

/// The events about an account, with what of them is personal and can be read.
async fn personal(server: &Server, admin: &str, user: &str) -> (usize, Vec<Value>) {
    let path = "/events?after=0&limit=250&personal=true";
    let page = server.api("GET", path, None, Some(admin)).await.expect(200);
    let page = page.json();
    assert_eq!(page["has_more"], false);
    let all = page["data"].as_array().expect("events");
    let of_them: Vec<_> = all
        .iter()
        .filter(|event| event["subject"] == user)
        .collect();
    let fields = |event: &Value| {
        let named = ["email", "display_name"].map(|name| event["data"][name].clone());
        let context = ["ip_address", "user_agent"].map(|name| event[name].clone());
        named.into_iter().chain(context)
    };
    let read = of_them.iter().flat_map(|event| fields(event));
    (
        of_them.len(),
        read.filter(|field| !field.is_null()).collect(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_is_gone_from_the_disk_and_does_not_come_back() {
    if !in_a_file("what a file holds") {
        return;
    }
    let mut server = server().await;
    let user = register(&server).await;
    let admin = server.administrator().await;
    let held = Held(server.login(ADDRESS, PASSWORD).await);
    let (count, read) = personal(&server, &admin, &user).await;
    assert!(count >= 6 && read.contains(&ADDRESS.into()), "{read:?}");
    assert!(!holds(&server.data).is_empty());
    assert_eq!(server.stop().await, Some(0));
    let database = server.data.join("quivive.db");
    let older = std::fs::read(&database).expect("the database");
    server.restart().await;

    let gone = server.api("DELETE", "/me", None, held.access()).await;
    gone.expect(204);
    held.is_worthless(&server).await;
    is_gone_from(&server.data).await;
    let (after, read) = personal(&server, &admin, &user).await;
    assert!(after > count, "the log keeps what happened");
    assert_eq!(read, Vec::<Value>::new());
    let path = format!("/events/search?address={ADDRESS}");
    let found = server.api("GET", &path, None, Some(&admin)).await;
    let found = found.expect(200).json();
    let found = found["data"].as_array().expect("events");
    assert!(
        found.iter().all(|event| event["subject"] != *user),
        "{found:?}"
    );
    check::whole(&server.events(&admin).await);
    assert_eq!(server.verify().await["ok"], true);
    assert_eq!(server.stop().await, Some(0));
    assert_eq!(holds(&server.data), Vec::<String>::new());

    server.restart().await;
    assert_ne!(register(&server).await, user, "it is somebody else");
    server.login(ADDRESS, PASSWORD).await;

    assert_eq!(server.stop().await, Some(0));
    std::fs::write(&database, older).expect("restored");
    assert!(!holds(&server.data).is_empty());
    server.restart().await;
    held.is_worthless(&server).await;
    is_gone_from(&server.data).await;
    let again = events_until(&server, &admin, |events| {
        events
            .iter()
            .any(|event| event["type"] == "user.erasure.succeeded")
    });
    let again = again.await;
    check::whole(&again);
    let erased = again
        .iter()
        .find(|event| event["type"] == "user.erasure.succeeded");
    let erased = erased.expect("they are erased again");
    assert_eq!(
        (&erased["subject"], &erased["actor"]["kind"]),
        (&json!(user), &json!("system"))
    );
    assert_eq!(
        personal(&server, &admin, &user).await.1,
        Vec::<Value>::new()
    );
    assert_eq!(server.verify().await["ok"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_verifies_the_address_goes_by_themselves() {
    let options = Options::unlimited()
        .env("QUIVIVE__LETTERS__EMAIL_VERIFICATION_SECONDS", "1")
        .env("QUIVIVE__REGISTRATION__UNVERIFIED_SECONDS", "1");
    let server = Server::start(BINARY, options).await;
    let admin = server.administrator().await;
    let body = json!({"email": ADDRESS, "password": PASSWORD, "display_name": NAME});
    post(&server, "/users", body).await.expect(202);
    let erased = |event: &Value| event["type"] == "user.erasure.succeeded";
    let events = events_until(&server, &admin, |events| events.iter().any(erased)).await;
    check::whole(&events);
    let event = events.iter().find(|event| erased(event));
    let event = event.expect("they are erased");
    assert_eq!(event["actor"]["kind"], "system");
    let registered = events
        .iter()
        .find(|event| event["type"] == "user.registration.succeeded");
    let registered = registered.expect("they were registered");
    assert_eq!(event["subject"], registered["subject"]);
    is_gone_from(&server.data).await;
}

/// T37: revocation.rs has what else they held.
#[tokio::test(flavor = "multi_thread")]
async fn who_an_administrator_erases_is_gone() {
    let server = server().await;
    let user = register(&server).await;
    let admin = server.administrator().await;
    let held = Held(server.login(ADDRESS, PASSWORD).await);
    let path = format!("/admin/users/{user}");
    let refused = server.api("DELETE", &path, None, held.access()).await;
    refused.expect(403);
    let gone = server.api("DELETE", &path, None, Some(&admin)).await;
    gone.expect(204);
    held.is_worthless(&server).await;
    is_gone_from(&server.data).await;
    // Where the administrator was when they did it stays.
    let (_, read) = personal(&server, &admin, &user).await;
    assert!(!read.contains(&json!(ADDRESS)) && !read.contains(&json!(NAME)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_stays() {
    let server = server().await;
    let admin = server.administrator().await;
    let refused = server.api("DELETE", "/me", None, Some(&admin)).await;
    assert_eq!(refused.expect(409).code(), "last_administrator");
    server
        .api("GET", "/me", None, Some(&admin))
        .await
        .expect(200);
}
