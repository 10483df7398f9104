//! Searching over HTTP.

use std::sync::Arc;

use quivive_app::search::{Indexer, Tags};

use super::*;

/// As the server's own reader does it.
async fn index(server: &Server) {
    let world = Arc::new(server.scene.world.clone());
    let tags = Tags {
        log: world.clone(),
        vault: world.clone(),
        catalogue: Arc::clone(server.scene.kernel.catalogue()),
        clock: world.clone(),
    };
    Indexer::new(world, tags).catch_up().await.unwrap();
}

async fn search(server: &Server, token: &str, query: &str) -> Answer {
    feed(server, token, &format!("/search{query}")).await
}

#[tokio::test]
async fn a_search_finds_newest_first_page_by_page() {
    let (server, token) = server().await;
    index(&server).await;
    let log = server.scene.world.log();
    let root = server.scene.account().id.to_string();
    let want: Vec<_> = log
        .iter()
        .rev()
        .filter(|event| event.envelope.subject.as_deref() == Some(&root))
        .map(|event| json!(event.position))
        .collect();
    assert!(want.len() > 3, "{want:?}");
    let (mut before, mut found) = (String::new(), Vec::new());
    loop {
        let page = search(&server, &token, &format!("?subject={root}&limit=2{before}")).await;
        let page = page.json();
        assert_eq!(page["indexed_up_to"], log.len());
        assert_eq!(page["epoch"], 1);
        found.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|e| e["position"].clone()),
        );
        if page["has_more"] == false {
            assert!(page["next_cursor"].is_null());
            break;
        }
        before = format!("&before=1-{}", page["next_cursor"]);
    }
    assert_eq!(found, want);
    let other = search(&server, &token, &format!("?subject={root}&before=2-9")).await;
    assert_eq!(other.problem(), (410, "cursor_expired".to_owned()));
}

#[tokio::test]
async fn a_search_by_address_is_on_record_with_who_asked() {
    let (server, token) = server().await;
    index(&server).await;
    let before = server.scene.world.log().len();
    let page = search(&server, &token, "?address=EVE%40example.org").await;
    assert_eq!(types(&page.json())[0], "user.registration.succeeded");
    assert!(
        !page.body.contains("example.org"),
        "what is found stays sealed"
    );
    let page = search(&server, &token, "?ip=192.0.2.9").await.json();
    assert!(types(&page).contains(&"user.login.failed"));
    let log = server.scene.world.log();
    let root = server.scene.account().id.0;
    assert_eq!(log.len(), before + 2);
    for event in &log[before..] {
        assert_eq!(event.envelope.kind, "audit.log_created");
        assert_eq!(
            (event.envelope.actor.kind.as_ref(), event.envelope.actor.id),
            ("admin", Some(root))
        );
        assert!(event.envelope.request_id.is_some());
    }
    let open = search(&server, "", "?address=eve%40example.org").await;
    assert_eq!(open.problem().0, 401);
    assert_eq!(server.scene.world.log().len(), before + 2);
}

#[tokio::test]
async fn a_search_is_by_one_thing_that_there_is() {
    let (server, token) = server().await;
    for (query, code) in [
        ("", "missing"),
        ("?limit=3", "missing"),
        ("?subject=a&type=UserLoginFailed", "too_many"),
        ("?subject=a&subject=b", "duplicate_parameter"),
        ("?subject=a&limit=251", "out_of_range"),
        ("?subject=a&limit=0", "out_of_range"),
        ("?type=user.*", "unknown_type"),
        ("?workflow_id=7", "wrong_type"),
        ("?address=ada", "wrong_type"),
        ("?ip=ada", "wrong_type"),
        ("?after=1", "unknown_parameter"),
    ] {
        let answer = search(&server, &token, query).await;
        assert_eq!(
            answer.problem(),
            (400, "invalid_query".to_owned()),
            "{query}"
        );
        assert_eq!(answer.json()["errors"][0]["code"], code, "{query}");
    }
    let answer = search(&server, &token, "?subject=a&before=x").await;
    assert_eq!(answer.problem(), (400, "invalid_cursor".to_owned()));
}
