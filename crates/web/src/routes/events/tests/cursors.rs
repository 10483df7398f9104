//! How far a page looks, and cursors that lead nowhere any more.

use super::made::{Made, RARE, USUAL};
use super::*;

async fn over(log: &Made) -> (Server, String) {
    let log = log.clone();
    let scene = given(account().verified().role(Role::Admin));
    let server = Server::with(scene, |web| web.log = Arc::new(log));
    let token = server.access_token().await;
    (server, token)
}

#[tokio::test]
async fn a_filtered_page_looks_at_so_many_events_and_its_cursor_is_behind_them() {
    let log = Made::of_epoch(1);
    log.append(USUAL, 11_999);
    log.append(RARE, 1);
    let (server, token) = over(&log).await;
    let (mut after, mut pages) = (0, Vec::new());
    loop {
        log.reads();
        let page = feed(&server, &token, &format!("?after={after}&type={RARE}"))
            .await
            .json();
        let scanned: usize = log.reads().iter().map(|(_, limit)| limit).sum();
        assert!(scanned <= 5_000, "{scanned} were looked at");
        after = page["next_cursor"].as_u64().unwrap();
        pages.push((after, types(&page).len(), page["has_more"].clone()));
        if page["has_more"] == false {
            break;
        }
    }
    let want = [
        (5_000, 0, json!(true)),
        (10_000, 0, json!(true)),
        (12_000, 1, json!(false)),
    ];
    assert_eq!(pages, want);
}

#[tokio::test]
async fn each_filter_is_of_the_envelope() {
    let log = Made::of_epoch(1);
    log.append(USUAL, 5);
    log.append(RARE, 5);
    let (server, token) = over(&log).await;
    for (query, want) in [
        ("?subject=of%20email.delivered", vec![6, 7, 8, 9, 10]),
        ("?subject=of%20email", vec![]),
        (
            "?correlation_id=00000000-0000-0000-0000-000000000003",
            vec![6, 7],
        ),
        ("?workflow_id=00000000-0000-0000-0000-000000000003", vec![3]),
        (
            "?correlation_id=00000000-0000-0000-0000-000000000003&workflow_id=00000000-0000-0000-0000-000000000007&type=EmailDelivered",
            vec![7],
        ),
        ("?type=*.delivered&after=8", vec![9, 10]),
    ] {
        let page = feed(&server, &token, query).await.json();
        let found: Vec<_> = page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["position"].as_u64().unwrap())
            .collect();
        assert_eq!(found, want, "{query}");
        assert_eq!(page["next_cursor"], 10, "{query}");
    }
}

#[tokio::test]
async fn a_cursor_of_another_epoch_says_where_to_begin_again() {
    let log = Made::of_epoch(3);
    log.append(USUAL, 5);
    let (server, token) = over(&log).await;
    for same in [
        "?after=2",
        "?after=2&epoch=3",
        "?after=3-2",
        "?epoch=3&after=3-2",
    ] {
        let page = feed(&server, &token, same).await.json();
        assert_eq!(
            (&page["data"][0]["position"], &page["epoch"]),
            (&json!(3), &json!(3))
        );
    }
    // Also where there is no such position any more.
    for other in [
        "?after=2&epoch=2",
        "?epoch=2",
        "?after=2-900",
        "?after=3-2&epoch=2",
        "?after=2-2&epoch=3",
    ] {
        let answer = feed(&server, &token, other).await;
        assert_eq!(
            answer.problem(),
            (410, "cursor_expired".to_owned()),
            "{other}"
        );
        let detail = answer.json()["detail"].to_string();
        assert!(
            detail.contains("epoch 2") && detail.contains("`after=0` with `epoch=3`"),
            "{detail}"
        );
    }
    let unknown = feed(&server, &token, "?after=3-900").await;
    assert_eq!(unknown.problem(), (400, "invalid_cursor".to_owned()));
    let wrong = feed(&server, &token, "?epoch=x").await;
    assert_eq!(wrong.problem(), (400, "invalid_query".to_owned()));
}

#[tokio::test]
async fn a_cursor_that_another_node_gave_is_asked_for_before_it_is_refused() {
    let log = Made::of_epoch(1);
    log.append(USUAL, 5);
    let (server, token) = over(&log).await;
    log.append_elsewhere(USUAL, 5);
    let page = feed(&server, &token, "?after=8").await.json();
    assert_eq!(
        (&page["data"][0]["position"], &page["next_cursor"]),
        (&json!(9), &json!(10))
    );
    let unknown = feed(&server, &token, "?after=12").await;
    assert_eq!(unknown.problem(), (400, "invalid_cursor".to_owned()));
}

#[tokio::test]
async fn a_cursor_older_than_the_log_says_where_the_log_begins() {
    let log = Made::of_epoch(1);
    log.append(USUAL, 600);
    log.cut(100);
    let (server, token) = over(&log).await;
    for query in ["?after=1", "?after=99", "?after=99&type=email.delivered"] {
        let answer = feed(&server, &token, query).await;
        assert_eq!(
            answer.problem(),
            (410, "cursor_expired".to_owned()),
            "{query}"
        );
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("to 100 are held no more"), "{detail}");
        assert!(
            detail.contains("go on with `after=100` and `epoch=1`"),
            "{detail}"
        );
    }
    for query in ["?after=100", "?after=0", "", "?type=user.*"] {
        let page = feed(&server, &token, query).await.json();
        assert_eq!(page["data"][0]["position"], 101, "{query}");
    }
    // Nothing is left, and the log goes on all the same.
    log.cut(600);
    let answer = feed(&server, &token, "?after=599").await;
    assert_eq!(answer.problem(), (410, "cursor_expired".to_owned()));
    let end = feed(&server, &token, "?after=600").await.json();
    assert_eq!(
        (&end["next_cursor"], &end["has_more"]),
        (&json!(600), &json!(false))
    );
    let start = feed(&server, &token, "?after=0").await.json();
    assert_eq!(
        (&start["next_cursor"], &start["has_more"]),
        (&json!(600), &json!(false))
    );
}
