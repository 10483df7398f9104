//! Erasure: nothing on the disk says who it was, and an older copy of the database does not bring them back.

use std::path::Path;
use std::time::Duration;

use quivive_testkit::{PASSWORD, Server};
use serde_json::json;

use crate::support::{post, server};

/// In no other file of the machine that is.
const ADDRESS: &str = "ada.of.the.erasure@example.org";

/// Which files of the database hold the address.
fn holds(data: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(data).expect("its directory").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(bytes) = std::fs::read(entry.path()) else {
            continue;
        };
        if bytes
            .windows(ADDRESS.len())
            .any(|part| part == ADDRESS.as_bytes())
        {
            files.push(name);
        }
    }
    files
}

async fn is_gone(server: &Server) {
    let began = std::time::Instant::now();
    while !holds(&server.data).is_empty() {
        assert!(began.elapsed().as_secs() < 30, "{:?}", holds(&server.data));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sign_in = json!({"email": ADDRESS, "password": PASSWORD});
    post(server, "/sessions", sign_in).await.expect(401);
    assert_eq!(server.verify().await["ok"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_is_gone_from_the_disk_and_does_not_come_back() {
    let mut server = server().await;
    server.register(ADDRESS).await;
    let session = server.login(ADDRESS, PASSWORD).await;
    let token = session["access_token"].as_str();
    assert!(!holds(&server.data).is_empty());
    assert_eq!(server.stop().await, Some(0));
    let database = server.data.join("quivive.db");
    let older = std::fs::read(&database).expect("the database");
    server.restart().await;

    server.api("DELETE", "/me", None, token).await.expect(204);
    is_gone(&server).await;
    server.api("GET", "/me", None, token).await.expect(401);

    assert_eq!(server.stop().await, Some(0));
    std::fs::write(&database, older).expect("restored");
    assert!(!holds(&server.data).is_empty());
    server.restart().await;
    is_gone(&server).await;
    server.api("GET", "/me", None, token).await.expect(401);
}
