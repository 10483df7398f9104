use quivive_app::ports::{SignInStatistics as _, SignIns};
use quivive_delivery::subscriber::{ReadModel as _, Subscriptions as _};

use super::fixture::Fixture;

async fn seen(f: &Fixture) -> Vec<(i64, &'static str, String, u64)> {
    let counts = f.db.sign_ins("statistics", 7, 8).await.expect("a read");
    let counts = counts.into_iter();
    counts
        .map(|count| (count.day, count.what.word(), count.reason, count.count))
        .collect()
}

pub(super) async fn sign_ins_are_counted_and_read_in_their_generation(f: Fixture) {
    f.must([f.db.create("statistics", 0)]).await;
    let attempt = |generation, day| f.db.count_sign_in(generation, day, SignIns::Attempted, "");
    let failure = f.db.count_sign_in(1, 8, SignIns::Failed, "user_not_found");
    f.must([
        attempt(1, 6),
        attempt(1, 7),
        attempt(1, 7),
        failure,
        attempt(1, 9),
    ])
    .await;
    f.must([attempt(2, 7), attempt(2, 7), attempt(2, 7)]).await;
    let first = [
        (7, "attempted", String::new(), 2),
        (8, "failed", "user_not_found".to_owned(), 1),
    ];
    assert_eq!(seen(&f).await, first);
    f.must([f.db.set_generation("statistics", 2)]).await;
    assert_eq!(seen(&f).await, [(7, "attempted", String::new(), 3)]);
    assert!(f.db.has_others(2).await.expect("a read"));
    assert!(
        f.db.has_others(1).await.expect("a read"),
        "newer ones count"
    );
    f.must([f.db.delete_others(2)]).await;
    assert!(!f.db.has_others(2).await.expect("a read"));
    assert_eq!(seen(&f).await.len(), 1);
}
