//! Accounts from other systems: whoever had a password there signs in here, whatever made its hash; what cannot be taken over
//! is told by its line; and no kill makes anybody be there twice, or not at all.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use quivive_testkit::Server;
use quivive_testkit::experiments::check;
use quivive_testkit::experiments::ground::Ground;
use serde_json::{Value, json};

use crate::support::{BINARY, in_a_file, post, server};

/// What `manage.py dumpdata auth.user` of Django 5.2 printed, of people who all had this password, hashed by each of its
/// hashers.
const DJANGO: &str = include_str!("imports/django.json");
const THEIR_PASSWORD: &str = "lantern oyster plinth 77";

/// bcrypt of that, cheap enough to be verified often.
const BCRYPT: &str = "$2b$04$g5p6iPrRAcCbyRiLQd/whuwt/OTEsQfnVBOM0XymvEO1pJZ8.crI.";

/// Beside the database, so that it goes with it.
fn file(server: &Server, name: &str, text: &str) -> PathBuf {
    let path = server.data.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// The exit code, the counts and what was said on stderr.
async fn import(server: &Server, file: &Path) -> (Option<i32>, Value, String) {
    let args = [
        "users",
        "import",
        file.to_str().unwrap(),
        "--output",
        "json",
    ];
    let (code, out, err) = server.cli(&args, "").await;
    let counts = serde_json::from_str(&out).unwrap_or_default();
    (code, counts, err)
}

async fn signs_in(server: &Server, email: &str, status: u16) {
    let body = json!({"email": email, "password": THEIR_PASSWORD});
    post(server, "/sessions", body).await.expect(status);
}

fn lines(all: impl Iterator<Item = String>) -> String {
    all.collect::<Vec<_>>().join("\n")
}

fn is_in_database(server: &Server, text: &str) -> bool {
    let bytes = Ground::of(&server.data).contents();
    let text = text.as_bytes();
    bytes.windows(text.len()).any(|part| part == text)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_had_a_password_in_django_signs_in_and_has_our_hash_from_then_on() {
    let mut server = server().await;
    let admin = server.administrator().await;
    let (code, counts, err) = import(&server, &file(&server, "users.json", DJANGO)).await;
    assert_eq!(counts, json!({"imported": 9, "skipped": 0, "failed": 1}));
    assert_eq!(
        (code, err.trim()),
        (
            Some(1),
            "entry 10 (line 1): email: the user has none, and people sign in with their address: give them one first"
        )
    );
    let people = ["ada", "bob", "cleo", "dora", "emil", "finn"];
    let address = |name: &str| format!("{name}@example.org");
    for name in people {
        let body = json!({"email": address(name), "password": "lantern oyster plinth 78"});
        post(&server, "/sessions", body).await.expect(401);
        signs_in(&server, &address(name), 200).await;
        signs_in(&server, &address(name), 200).await;
    }
    let ada = server.login("ada@example.org", THEIR_PASSWORD).await;
    let me = server.api("GET", "/me", None, ada["access_token"].as_str());
    let me = me.await.expect(200).json();
    assert_eq!(me["display_name"], "Ada Lovelace");
    assert_eq!(me["email_verified"], true);
    // Staff there are nobody's administrators here; who was deactivated is; who had no password gets one by a reset.
    let emil = server.login("emil@example.org", THEIR_PASSWORD).await;
    let events = server.api("GET", "/events", None, emil["access_token"].as_str());
    events.await.expect(403);
    signs_in(&server, "gone@example.org", 403).await;
    // His address is the name that he chose: he is to verify it.
    signs_in(&server, "ivan@example.org", 403).await;
    signs_in(&server, "heidi@example.org", 401).await;
    let body = json!({"email": "heidi@example.org"});
    post(&server, "/password-reset-requests", body)
        .await
        .expect(202);
    let token = server.token("heidi@example.org", "reset_password").await;
    let body = json!({"token": token, "new_password": THEIR_PASSWORD});
    post(&server, "/password-resets", body).await.expect(200);
    signs_in(&server, "heidi@example.org", 200).await;

    let events = server.events(&admin).await;
    check::whole(&events);
    let imported: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "user.imported")
        .collect();
    assert_eq!(imported.len(), 9);
    assert!(
        imported
            .iter()
            .all(|event| event["subject"] == event["data"]["user_id"])
    );
    assert_eq!(server.stop().await, Some(0));
    assert!(is_in_database(&server, "$argon2id$v=19$m=19456"));
    for old in ["$2b$12$", "pbkdf2_sha1$", "scrypt$16384$", "m=102400"] {
        assert!(!is_in_database(&server, old), "{old} was replaced");
    }
    // Who was deactivated did not sign in: with the right password the hash stays as it was.
    assert!(is_in_database(&server, "pbkdf2_sha256$1000000$"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_hash_is_refused_by_its_line_and_the_others_come() {
    let server = server().await;
    let tail = "sKXyfC2OPxTMiaKuQ3WAw.8GR6xNxVCMPh8NU1gVTRVPMT1WjKZBG";
    let salted = "TmFDbE5hQ2xOYUNsTmFDbA$qUEtkhBN1ueMJwibf5BaqESTM7GqsCMfB6xFssGjARI";
    let hashes = [
        BCRYPT.to_owned(),
        format!("$2b$31${tail}"),
        format!("$scrypt$ln=22,r=8,p=1${salted}"),
        "pbkdf2_sha256$1000000000$salt$AAAAAAAAAAAAAAAAAAAAAA==".to_owned(),
        format!("$argon2id$v=19$m=4194304,t=1,p=1${salted}"),
        "5f4dcc3b5aa765d61d8327deb882cf99".to_owned(),
    ];
    let people = hashes.iter().enumerate();
    let ndjson = lines(people.clone().map(|(n, hash)| {
        json!({"email": format!("n{n}@example.org"), "password_hash": hash}).to_string()
    }));
    let csv = lines(people.map(|(n, hash)| format!("c{n}@example.org,\"{hash}\"")));
    for (name, text, first_line) in [
        ("people.ndjson", ndjson, 1),
        ("people.csv", format!("email,password_hash\n{csv}"), 2),
    ] {
        let (code, counts, err) = import(&server, &file(&server, name, &text)).await;
        assert_eq!(code, Some(1));
        assert_eq!(counts, json!({"imported": 1, "skipped": 0, "failed": 5}));
        let most = "is the most that is computed: leave the hash out, and let its owner reset the password";
        let want = [
            format!("bcrypt cost is 31, and 14 {most}"),
            format!("scrypt memory (KiB) is 4194304, and 131072 {most}"),
            format!("PBKDF2 iterations is 1000000000, and 4000000 {most}"),
            format!("Argon2 m (KiB) is 4194304, and 131072 {most}"),
            "no password hash of a known form: give bcrypt, Argon2, scrypt, or PBKDF2 as Django writes it".to_owned(),
        ];
        let want: Vec<_> = want
            .iter()
            .zip(first_line + 1..)
            .map(|(why, line)| format!("line {line}: password_hash: {why}"))
            .collect();
        assert_eq!(err.lines().collect::<Vec<_>>(), want);
    }
    for email in ["n0@example.org", "c0@example.org"] {
        signs_in(&server, email, 200).await;
    }
    signs_in(&server, "n1@example.org", 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_says_so() {
    let server = server().await;
    let (code, _, err) = import(&server, Path::new("/nowhere/at/all.csv")).await;
    assert_eq!(code, Some(69), "{err}");
    let (code, _, err) = import(&server, &server.data).await;
    assert_eq!(code, Some(1), "{err}");
    // Nobody writes into it: to open it would be to wait for ever.
    let pipe = server.data.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let (code, _, err) = import(&server, &pipe).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("is no file"), "{err}");
    let broken = file(&server, "broken.json", "[{\"email\":\"ada@example.org\"},");
    let (code, _, err) = import(&server, &broken).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("the file ends in the middle"), "{err}");
    assert!(err.contains("give the same file again"), "{err}");
    let (code, _, err) = server.cli(&["users", "import"], "").await;
    assert_eq!(code, Some(2), "{err}");
}

/// How many there are in a file that takes a while, and the file.
const MANY: usize = 16_000;

fn many(server: &Server) -> PathBuf {
    let text = lines((0..MANY).map(|n| {
        let filler = "x".repeat(60);
        json!({"email": format!("p{n}@example.org"), "password_hash": BCRYPT, "display_name": filler})
            .to_string()
    }));
    file(server, "many.ndjson", &text)
}

/// Everybody of the file is there once, with one event each, and can sign in; every attempt has its outcome.
async fn everybody_is_there_once(server: &Server, admin: &str, imports: usize) {
    let events = server.events(admin).await;
    check::whole(&events);
    let imported = events.iter().filter(|e| e["type"] == "user.imported");
    let subjects: Vec<_> = imported.map(|e| e["subject"].to_string()).collect();
    assert_eq!(subjects.len(), MANY);
    let once: BTreeSet<_> = subjects.iter().collect();
    assert_eq!(once.len(), MANY);
    let attempts = events
        .iter()
        .filter(|e| e["type"] == "operator.users_import.attempted");
    assert_eq!(attempts.count(), imports);
    let ends: Vec<_> = events
        .iter()
        .filter(|e| e["type"] == "operator.users_import.failed")
        .map(|e| e["data"]["reason"].clone())
        .collect();
    assert_eq!(ends, vec!["interrupted"; imports - 1]);
    for n in [0, MANY / 3, MANY - 1] {
        signs_in(server, &format!("p{n}@example.org"), 200).await;
    }
    assert_eq!(server.verify().await["ok"], true);
}

/// The command, until it says that so much is done.
fn half_an_import(server: &Server, file: &Path) -> std::process::Child {
    let mut child = Command::new(BINARY)
        .args(["users", "import"])
        .arg(file)
        .arg("--data-dir")
        .arg(&server.data)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let reached = lines.find(|line| line.as_ref().unwrap().starts_with("30 %"));
    reached.expect("it says how far it is").unwrap();
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_killed_without_a_server_is_finished_by_the_next() {
    if !in_a_file("a command without a server") {
        return;
    }
    let mut server = server().await;
    let many = many(&server);
    assert_eq!(server.stop().await, Some(0));
    let mut child = half_an_import(&server, &many);
    child.kill().unwrap();
    child.wait().unwrap();
    let (code, counts, err) = import(&server, &many).await;
    assert_eq!(code, Some(0), "{err}");
    let (imported, skipped) = (&counts["imported"], &counts["skipped"]);
    let (imported, skipped) = (imported.as_u64().unwrap(), skipped.as_u64().unwrap());
    assert_eq!(imported + skipped, MANY as u64);
    assert!(
        imported > 0 && skipped > 0,
        "it was killed in the middle: {counts}"
    );
    // Several groups are under way at once: the kill may have left one out.
    let told = err.lines().filter_map(|line| {
        let (_, told) = line.split_once(": there are accounts with these ")?;
        told.split(' ').next()?.parse::<u64>().ok()
    });
    assert_eq!(told.sum::<u64>(), skipped, "{err}");
    server.restart().await;
    let admin = server.administrator().await;
    everybody_is_there_once(&server, &admin, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_is_finished_by_the_next_and_one_that_is_stopped_does_not_wait() {
    let mut server = server().await;
    let many = many(&server);
    let admin = server.administrator().await;
    let mut child = half_an_import(&server, &many);
    server.kill().await;
    let ended = child.wait().unwrap();
    assert_eq!(ended.code(), Some(69), "the server went away");
    server.restart().await;

    let mut child = half_an_import(&server, &many);
    // Others are served meanwhile.
    signs_in(&server, "p0@example.org", 200).await;
    let began = std::time::Instant::now();
    assert_eq!(server.stop().await, Some(0));
    assert!(began.elapsed().as_secs() < 15, "{:?}", began.elapsed());
    assert!(!child.wait().unwrap().success());
    server.restart().await;

    // Who asked is killed: the server ends what nobody waits for.
    let mut child = half_an_import(&server, &many);
    child.kill().unwrap();
    child.wait().unwrap();
    let (code, counts, err) = import(&server, &many).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(counts["imported"].as_u64().unwrap() > 0, "{counts}");
    everybody_is_there_once(&server, &admin, 4).await;
}
