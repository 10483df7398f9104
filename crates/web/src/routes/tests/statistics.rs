//! Sign-ins by day, as an administrator asks for them.

use std::sync::Arc;

use quivive_app::ports::SignInStatistics;
use quivive_app::subscribers::statistics;
use quivive_domain::Role;

use super::*;

const PATH: &str = "/api/v1/admin/statistics/sign-ins";

#[tokio::test]
async fn sign_ins_are_told_by_day_to_administrators() {
    let server = Server::new(given(account().verified().role(Role::Admin)));
    let token = server.access_token().await;
    server.send(sign_in("ada@example.org", NEW_PASSWORD)).await;
    let counts: Arc<dyn SignInStatistics> = Arc::new(server.scene.world.clone());
    let subscription = statistics::subscription(&counts);
    server.scene.deliver(&subscription).await;
    let today = server.scene.world.now().to_string()[..10].to_owned();
    let want = json!({"days": [
        {"day": today, "attempts": 2, "successes": 1, "failures": {"invalid_credentials": 1}},
    ]});
    for path in [PATH.to_owned(), format!("{PATH}?from={today}&to={today}")] {
        let answer = server.send(get(&path).token(&token)).await;
        assert_eq!(
            (answer.status, answer.json()),
            (200, want.clone()),
            "{path}"
        );
    }
    let before = get(&format!("{PATH}?to=2001-01-01")).token(&token);
    assert_eq!(server.send(before).await.json(), json!({"days": []}));
    for query in [
        "from=today",
        "to=2026-11-25T00:00:00Z",
        "since=2026-11-25",
        "from=2001-01-01",
        "from=2001-01-02&to=2001-01-01",
    ] {
        let path = format!("{PATH}?{query}");
        let answer = server.send(get(&path).token(&token)).await;
        assert_eq!(
            answer.problem(),
            (400, "invalid_query".to_owned()),
            "{query}"
        );
    }
}
