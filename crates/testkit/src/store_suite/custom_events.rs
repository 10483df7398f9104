use std::time::Duration;

use quivive_app::ports::{EventSchema, EventSchemas, Receipt, Receipts};
use serde_json::json;

use super::fixture::{Fixture, at};

pub(super) async fn a_schema_is_registered_once(f: Fixture) {
    let schema = |kind: &str, version, order_key: Option<&str>| EventSchema {
        kind: kind.to_owned(),
        version,
        schema: json!({"type": "object", "title": format!("{kind} {version}")}),
        order_key: order_key.map(str::to_owned),
        created_at: at(1),
    };
    let (order, next) = (
        schema("custom.order", 1, Some("/id")),
        schema("custom.order", 2, Some("/id")),
    );
    let other = schema("custom.bill", 1, None);
    let insert = |schema: &EventSchema| EventSchemas::insert(&f.db, schema);
    f.must([insert(&order), insert(&next), insert(&other)])
        .await;
    f.misses(insert(&next)).await;
    let all = EventSchemas::all(&f.db).await.expect("a read");
    assert_eq!(all, [other, order.clone(), next.clone()]);
    let of_type = f.db.of_type("custom.order").await.expect("a read");
    assert_eq!(of_type, [order, next]);
}

pub(super) async fn a_receipt_is_kept_once_and_for_seven_days(f: Fixture) {
    let receipt = |token| Receipt {
        token: [token; 32],
        content: [9; 32],
        event_id: f.id(),
    };
    let (first, second) = (receipt(1), receipt(2));
    let insert = |receipt: &Receipt, now| Receipts::insert(&f.db, receipt, at(now));
    let racing = (0..50).map(|_| insert(&first, 10)).collect();
    assert_eq!(f.race(racing).await, 1);
    f.must([insert(&second, 11)]).await;
    let found = Receipts::find(&f.db, [1; 32]).await.expect("a read");
    assert_eq!(found.as_ref(), Some(&first));
    let week = Duration::from_hours(7 * 24);
    let forgettable = async |now| Receipts::has_forgettable(&f.db, now).await.expect("a read");
    assert!(!forgettable(at(9) + week).await);
    assert!(forgettable(at(10) + week).await);
    f.must([Receipts::forget(&f.db, at(10) + week)]).await;
    assert!(!forgettable(at(10) + week).await);
    let gone = Receipts::find(&f.db, [1; 32]).await.expect("a read");
    let kept = Receipts::find(&f.db, [2; 32]).await.expect("a read");
    assert_eq!((gone, kept), (None, Some(second)));
}
