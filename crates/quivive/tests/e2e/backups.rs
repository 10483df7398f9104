//! Backups of a server that runs, and what a restore of one leaves of what was given before: nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quivive_testkit::client::Call;
use quivive_testkit::experiments::check;
use quivive_testkit::{Options, PASSWORD, Server};
use serde_json::{Value, json};

use crate::support::{BINARY, in_a_file, post, server};

/// A directory that is not there, beside the server's.
fn beside(server: &Server, name: &str) -> PathBuf {
    let mut path = server.data.clone().into_os_string();
    path.push(format!("-{name}"));
    PathBuf::from(path)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The command on its own data directory: its exit code, what it printed as JSON, and stderr.
fn quivive(args: &[&str], data: &Path) -> (Option<i32>, Value, String) {
    let output = Command::new(BINARY)
        .args(args)
        .args(["--output", "json", "--data-dir"])
        .arg(data)
        .output()
        .unwrap();
    let printed = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), printed, said)
}

async fn back_up(server: &Server, name: &str) -> PathBuf {
    let to = beside(server, name);
    let args = ["backup", text(&to), "--output", "json"];
    let (code, out, err) = server.cli(&args, "").await;
    assert_eq!(code, Some(0), "{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    assert!(
        told["position"].as_u64().unwrap() > 0 && told["epoch"] == 1,
        "{told}"
    );
    to
}

fn remove(paths: &[&Path]) {
    for path in paths {
        let _ = std::fs::remove_dir_all(path);
        let _ = std::fs::remove_dir_all(format!("{}.keys", text(path)));
        let _ = std::fs::remove_file(path.with_extension("log"));
    }
}

/// What people and services held when the backup was made.
struct Held {
    tokens: Value,
    api_key: String,
    cursor: u64,
    reset: String,
}

impl Held {
    async fn by(server: &Server, admin: &str, email: &str) -> Self {
        let body = json!({"name": "billing", "scopes": ["events.read"]});
        let key = server.api("POST", "/admin/api-keys", Some(body), Some(admin));
        let key = key.await.expect(201).json();
        let api_key = key["key"].as_str().unwrap().to_owned();
        let page = server.api("GET", "/events?after=0&limit=5", None, Some(&api_key));
        let page = page.await.expect(200).json();
        assert_eq!(page["epoch"], 1);
        let tokens = server.login(email, PASSWORD).await;
        post(server, "/password-reset-requests", json!({"email": email}))
            .await
            .expect(202);
        Self {
            tokens,
            api_key,
            cursor: page["next_cursor"].as_u64().unwrap(),
            reset: server.token(email, "reset_password").await,
        }
    }

    async fn is_worthless(&self, server: &Server) {
        let access = self.tokens["access_token"].as_str();
        server.api("GET", "/me", None, access).await.expect(401);
        let body = json!({"refresh_token": self.tokens["refresh_token"]});
        post(server, "/tokens", body).await.expect(401);
        let key = Some(self.api_key.as_str());
        let events = server.api("GET", "/events?after=0", None, key).await;
        events.expect(401);
        let body = json!({"token": self.reset, "new_password": format!("{PASSWORD} new")});
        let reset = post(server, "/password-resets", body).await.expect(400);
        assert_eq!(reset.code(), "invalid_token");
    }

    /// Readers of the feed are told that it is another log now, however they follow it.
    async fn cursor_is_refused(&self, server: &Server, admin: &str) {
        let cursor = self.cursor;
        for path in [
            format!("/events?after={cursor}&epoch=1"),
            format!("/events?after=1-{cursor}"),
            format!("/events/stream?after=1-{cursor}"),
        ] {
            let answer = server
                .api("GET", &path, None, Some(admin))
                .await
                .expect(410);
            assert_eq!(answer.code(), "cursor_expired");
            let detail = answer.json()["detail"].to_string();
            assert!(detail.contains("since a restore"), "{detail}");
        }
        let stream = Call {
            method: "GET",
            path: "/api/v1/events/stream",
            token: Some(admin),
            headers: vec![("last-event-id", format!("1-{cursor}"))],
            ..Call::default()
        };
        let answer = server.client().call(&stream).await.unwrap();
        assert_eq!(answer.status, 410);
    }
}

/// Waits until the keys know who was erased: the account goes at once, its key when the event of that is delivered.
async fn erased_for_good(server: &Server, admin: &str) {
    let event = crate::support::events_until(server, admin, |events| {
        !of(events, "user.erasure.succeeded").is_empty()
    });
    let events = event.await;
    let id = of(&events, "user.erasure.succeeded")[0]["id"].clone();
    let path = format!("/events/{}", id.as_str().unwrap());
    let began = Instant::now();
    loop {
        let shown = server.api("GET", &path, None, Some(admin)).await;
        let shown = shown.expect(200).json();
        let deliveries = shown["deliveries"].as_array().unwrap();
        if deliveries
            .iter()
            .any(|it| it["subscription"] == "erasure" && it["state"] == "done")
        {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn of<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events
        .iter()
        .filter(|event| event["type"] == kind)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_is_backed_up_and_nothing_that_it_gave_is_good_in_the_restored_one() {
    if !in_a_file("backups") {
        return;
    }
    let mut server = server().await;
    let admin = server.administrator().await;
    for name in ["ada", "cleo"] {
        server.register(&format!("{name}@example.org")).await;
    }
    let held = Held::by(&server, &admin, "ada@example.org").await;
    let cleo = server.login("cleo@example.org", PASSWORD).await;
    let busy = AtomicBool::new(true);
    let register = async |n: usize| {
        let mut count = 0;
        while busy.load(Ordering::Relaxed) {
            let body =
                json!({"email": format!("busy{n}-{count}@example.org"), "password": PASSWORD});
            post(&server, "/users", body).await.expect(202);
            count += 1;
        }
        count
    };
    let copy = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        back_up(&server, "backup").await;
        busy.store(false, Ordering::Relaxed);
    };
    let (one, two, three, ()) = tokio::join!(register(1), register(2), register(3), copy);
    assert!(one > 0 && two > 0 && three > 0, "it was busy");
    let backup = beside(&server, "backup");
    // What comes after it is not in it; who goes after it does not come back.
    server.register("late@example.org").await;
    let gone = server.api("DELETE", "/me", None, cleo["access_token"].as_str());
    gone.await.expect(204);
    erased_for_good(&server, &admin).await;
    server.kill().await;

    let elsewhere = beside(&server, "elsewhere");
    let keys = server.data.join("keys");
    let args = ["restore", text(&backup), "--keys", text(&keys)];
    let (code, told, err) = quivive(&args, &elsewhere);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(told["audit"]["ok"], true, "{told}");
    let epoch = told["epoch"].as_u64().unwrap();
    assert!(epoch > 1);
    let options = Options {
        data: Some(elsewhere.clone()),
        ..Options::unlimited()
    };
    let mut restored = Server::start(BINARY, options).await;
    held.is_worthless(&restored).await;
    for (email, status) in [
        ("ada@example.org", 200),
        ("cleo@example.org", 401),
        ("late@example.org", 401),
    ] {
        let body = json!({"email": email, "password": PASSWORD});
        post(&restored, "/sessions", body).await.expect(status);
    }
    let root =
        json!({"email": "root@example.org", "password": "an administrators long passphrase 7"});
    let root = post(&restored, "/sessions", root).await.expect(200).json();
    let admin = root["access_token"].as_str().unwrap();
    held.cursor_is_refused(&restored, admin).await;
    let events = restored.events(admin).await;
    check::whole(&events);
    let position = told["position"].as_u64().unwrap();
    let told_of = of(&events, "operator.restore.succeeded");
    assert_eq!(told_of.len(), 1);
    assert_eq!(
        told_of[0]["data"],
        json!({"position": position, "epoch": epoch})
    );
    let newer = events
        .iter()
        .filter(|e| e["position"].as_u64() > Some(position));
    assert!(newer.clone().count() > 5 && newer.clone().all(|e| e["epoch"] == epoch));
    assert_eq!(of(&events, "user.erasure.succeeded").len(), 1);
    assert_eq!(of(&events, "api_key.revocation.succeeded").len(), 1);
    let rotation = of(&events, "token.global_rotation.succeeded");
    assert_eq!(rotation[0]["data"]["grace_period_seconds"], 0);
    assert_eq!(restored.verify().await["ok"], true);
    // And it is a server like any other.
    restored.register("new@example.org").await;
    restored.restart().await;
    assert_eq!(
        of(&restored.events(admin).await, "operator.restore.succeeded").len(),
        1
    );
    remove(&[&backup, &elsewhere]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_erased_since_stays_erased_in_place_and_the_keys_there_stay() {
    if !in_a_file("backups") {
        return;
    }
    let mut server = server().await;
    let admin = server.administrator().await;
    server.register("cleo@example.org").await;
    let backup = back_up(&server, "backup").await;
    let cleo = server.login("cleo@example.org", PASSWORD).await;
    let gone = server.api("DELETE", "/me", None, cleo["access_token"].as_str());
    gone.await.expect(204);
    erased_for_good(&server, &admin).await;

    let args = ["restore", text(&backup), "--replace", "--yes"];
    let (code, _, err) = quivive(&args, &server.data);
    assert_eq!((code, err.contains("in use")), (Some(75), true), "{err}");
    assert_eq!(server.stop().await, Some(0));
    let (code, _, err) = quivive(&["restore", text(&backup)], &server.data);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("there is a database at"), "{err}");
    let (code, _, err) = quivive(&["restore", text(&backup), "--replace"], &server.data);
    assert_eq!(code, Some(2), "nobody is there to ask: {err}");
    let (code, told, err) = quivive(&args, &server.data);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(told["audit"]["ok"], true);
    server.restart().await;
    let body = json!({"email": "cleo@example.org", "password": PASSWORD});
    post(&server, "/sessions", body).await.expect(401);
    server
        .api("GET", "/me", None, Some(&admin))
        .await
        .expect(401);
    let admin = server.administrator().await;
    let found = server.api(
        "GET",
        "/admin/users?email=cleo@example.org",
        None,
        Some(&admin),
    );
    let found = found.await.expect(200).json();
    assert_eq!(found["data"], json!([]));
    // A second restore of the same is another log than the first.
    assert_eq!(server.stop().await, Some(0));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (code, again, err) = quivive(&args, &server.data);
    assert_eq!(code, Some(0), "{err}");
    assert!(again["epoch"].as_u64() > told["epoch"].as_u64());
    remove(&[&backup]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_was_changed_or_cut_short_is_refused_and_leaves_nothing() {
    if !in_a_file("backups") {
        return;
    }
    let server = server().await;
    server.register("ada@example.org").await;
    let backup = back_up(&server, "backup").await;
    let other = crate::support::server().await;
    let elsewhere = beside(&server, "elsewhere");
    let (database, list) = (backup.join("quivive.db"), backup.join("backup.json"));
    let (whole, listed) = (
        std::fs::read(&database).unwrap(),
        std::fs::read(&list).unwrap(),
    );
    let restore = |keys: Option<&Path>| {
        let mut args = vec!["restore", text(&backup)];
        args.extend(keys.iter().flat_map(|keys| ["--keys", text(keys)]));
        let (code, _, err) = quivive(&args, &elsewhere);
        assert!(
            !elsewhere.join("quivive.db").exists(),
            "nothing to start on"
        );
        (code, err)
    };
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for bytes in [&changed[..], &whole[..whole.len() / 2], &[]] {
        std::fs::write(&database, bytes).unwrap();
        let (code, err) = restore(None);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains("quivive.db was changed or cut short"), "{err}");
    }
    std::fs::remove_file(&database).unwrap();
    let (code, err) = restore(None);
    assert_eq!(
        (code, err.contains("quivive.db is missing")),
        (Some(1), true),
        "{err}"
    );
    std::fs::write(&database, &whole).unwrap();

    // Whoever changes the list, too, has no key to sign it with.
    let forged = String::from_utf8(listed.clone()).unwrap();
    std::fs::write(&list, forged.replace("\"epoch\":1", "\"epoch\":2")).unwrap();
    let (code, err) = restore(None);
    assert_eq!(code, Some(1));
    assert!(err.contains("the signature does not fit"), "{err}");
    std::fs::write(&list, &listed).unwrap();
    let (code, err) = restore(Some(&other.data.join("keys")));
    assert_eq!(code, Some(1));
    assert!(err.contains("keys of another server"), "{err}");
    std::fs::remove_file(&list).unwrap();
    let (code, err) = restore(None);
    assert_eq!(
        (code, err.contains("there is no backup.json")),
        (Some(1), true),
        "{err}"
    );
    std::fs::write(&list, &listed).unwrap();
    let (code, err) = restore(Some(Path::new("/nowhere/keys")));
    assert_eq!(
        (code, err.contains("there are no keys")),
        (Some(1), true),
        "{err}"
    );

    let (code, _, err) = quivive(&["restore", text(&backup)], &elsewhere);
    assert_eq!(code, Some(0), "the same, whole: {err}");
    remove(&[&backup, &elsewhere]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_where_nothing_is_and_its_keys_elsewhere() {
    if !in_a_file("backups") {
        return;
    }
    let server = server().await;
    let admin = server.administrator().await;
    let backup = back_up(&server, "backup").await;
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(
        (mode(&backup), mode(&backup.join("quivive.db"))),
        (0o700, 0o600)
    );
    assert!(!backup.join("keys").exists() && !backup.join("subject-keys.dat").exists());
    let again = server.cli(&["backup", text(&backup)], "").await;
    assert_eq!(again.0, Some(1), "{}", again.2);
    let (other, inside) = (beside(&server, "other"), beside(&server, "other/keys"));
    let args = ["backup", text(&other), "--keys", text(&inside)];
    let within = server.cli(&args, "").await;
    assert_eq!(within.0, Some(1), "{}", within.2);
    let nowhere = server.cli(&["backup", "/dev/null/backup"], "").await;
    assert_eq!(nowhere.0, Some(74), "{}", nowhere.2);
    assert!(!other.exists());
    let events = server.events(&admin).await;
    check::whole(&events);
    assert_eq!(of(&events, "operator.backup.succeeded").len(), 1);
    let failed = of(&events, "operator.backup.failed");
    assert_eq!(failed[0]["data"]["reason"], "io_error");
    assert_eq!(failed.len(), 1);
    remove(&[&backup]);
}

/// Killed as soon as there is a database: it is one that nobody is served from before it was dealt with.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_is_finished_by_the_next_start() {
    if !in_a_file("backups") {
        return;
    }
    let mut server = server().await;
    let admin = server.administrator().await;
    server.register("ada@example.org").await;
    for _ in 0..20 {
        server.login("ada@example.org", PASSWORD).await;
    }
    let held = Held::by(&server, &admin, "ada@example.org").await;
    let backup = back_up(&server, "backup").await;
    server.kill().await;
    let elsewhere = beside(&server, "elsewhere");
    let mut child = Command::new(BINARY)
        .args(["restore", text(&backup), "--data-dir", text(&elsewhere)])
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !elsewhere.join("quivive.db").exists() {
        assert!(began.elapsed() < Duration::from_secs(30));
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let options = Options {
        data: Some(elsewhere.clone()),
        ..Options::unlimited()
    };
    let restored = Server::start(BINARY, options).await;
    held.is_worthless(&restored).await;
    let admin = restored.administrator().await;
    held.cursor_is_refused(&restored, &admin).await;
    let events = restored.events(&admin).await;
    check::whole(&events);
    assert_eq!(of(&events, "operator.restore.succeeded").len(), 1);
    assert_eq!(restored.verify().await["ok"], true);
    drop(restored);
    remove(&[&backup, &elsewhere]);
}
