//! Events of services: registered, appended, read back.

use axum::http::Method;
use quivive_app::testing::{account, given};
use quivive_domain::Role;
use serde_json::{Value, json};

use crate::testing::{Answer, Server, ask, get, post};

const EVENTS: &str = "/api/v1/events";
const SCHEMAS: &str = "/api/v1/admin/schemas";

/// A server with an administrator, a registered type, and a service that may read and write.
struct Shop {
    server: Server,
    admin: String,
    key: String,
}

fn order_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "order": {"type": "string"},
            "lines": {"type": "integer", "minimum": 1},
            "buyer": {"type": "string", "x-personal": true},
        },
        "required": ["order"],
    })
}

fn registration(version: u32, schema: &Value) -> Value {
    json!({"type": "custom.order", "version": version, "schema": schema, "key": "/order"})
}

impl Shop {
    async fn new() -> Self {
        let server = Server::new(given(account().verified().role(Role::Admin)));
        let admin = server.access_token().await;
        let shop = Self {
            key: String::new(),
            server,
            admin,
        };
        let registered = shop
            .admin(post(SCHEMAS, &registration(1, &order_schema())))
            .await;
        assert_eq!(registered.status, 201, "{registered:?}");
        let key = shop.new_key().await;
        Self { key, ..shop }
    }

    async fn new_key(&self) -> String {
        let body = json!({"name": "shop", "scopes": ["events.read", "events.write"]});
        let made = self.admin(post("/api/v1/admin/api-keys", &body)).await;
        made.json()["key"].as_str().unwrap().to_owned()
    }

    async fn admin(&self, ask: crate::testing::Ask) -> Answer {
        self.server.send(ask.token(&self.admin)).await
    }

    async fn append(&self, body: &Value) -> Answer {
        self.server.send(post(EVENTS, body).token(&self.key)).await
    }

    /// What is in the feed of custom events.
    async fn feed(&self) -> Vec<Value> {
        let ask = get("/api/v1/events?type=custom.*").token(&self.key);
        let page = self.server.send(ask).await;
        page.json()["data"]
            .as_array()
            .unwrap_or_else(|| panic!("{page:?}"))
            .clone()
    }
}

fn order(order: &str) -> Value {
    json!({"type": "custom.order", "data": {"order": order}})
}

#[tokio::test]
async fn an_event_of_a_service_is_in_the_feed_with_the_service_as_its_actor() {
    let shop = Shop::new().await;
    let event = json!({
        "type": "custom.order", "subject": "order-7", "time": "2026-01-02T03:04:05Z",
        "data": {"order": "o7", "lines": 2, "buyer": "ada@example.org", "more": [1]},
    });
    let ask = post(EVENTS, &event)
        .token(&shop.key)
        .from("192.0.2.7")
        .header("user-agent", "shop/1");
    let appended = shop.server.send(ask).await;
    assert_eq!(appended.status, 201, "{appended:?}");
    let feed = shop.feed().await;
    let told = &feed[0];
    assert_eq!(
        appended.json()["data"],
        json!([{"id": told["id"], "type": "custom.order", "version": 1}])
    );
    assert_eq!(
        told["data"],
        json!({"order": "o7", "lines": 2, "buyer": null, "more": [1]})
    );
    assert_eq!(
        (&told["subject"], &told["time"]),
        (&json!("order-7"), &json!("2026-01-02T03:04:05Z"))
    );
    assert_eq!(told["actor"]["kind"], "service");
    assert_eq!(
        (&told["ip_address"], &told["user_agent"]),
        (&json!("192.0.2.7"), &json!("shop/1"))
    );
    assert_eq!(
        (&told["priority"], &told["category"]),
        (&json!("normal"), &json!("operation"))
    );
    let stored = shop.server.scene.world.log().pop().unwrap();
    assert_eq!(stored.envelope.key.as_str(), "custom:o7");
    assert!(
        !String::from_utf8_lossy(&stored.body).contains("ada@"),
        "it is sealed"
    );
    assert!(stored.personal.is_some());

    let catalogue = shop.admin(get("/api/v1/events/catalogue")).await.json();
    let last = catalogue.as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["type"], &last["phase"]),
        (&json!("custom.order"), &json!("fact"))
    );
    let schema = shop
        .admin(get("/api/v1/events/schemas/custom.order/1"))
        .await;
    assert_eq!(schema.json(), order_schema());
    let versions = shop.admin(get("/api/v1/events/schemas")).await;
    assert!(versions.body.contains("/schemas/custom.order/1"));
    let ask = get("/api/v1/events?type=custom.order").token(&shop.key);
    let cloud = shop
        .server
        .send(ask.header("accept", "application/cloudevents-batch+json"))
        .await
        .json();
    assert_eq!(
        cloud[0]["dataschema"],
        "http://localhost:8080/api/v1/events/schemas/custom.order/1"
    );
}

#[tokio::test]
async fn a_batch_is_in_the_log_whole_or_not_at_all() {
    let shop = Shop::new().await;
    let bad = json!([order("o1"), {"type": "custom.order", "data": {"order": 7, "lines": 0}}, order("o3")]);
    let refused = shop.append(&bad).await;
    assert_eq!(refused.problem(), (422, "invalid_fields".to_owned()));
    let errors = refused.json()["errors"].clone();
    let pointers: Vec<_> = errors
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/1/data/lines", "/1/data/order"]);
    assert!(shop.feed().await.is_empty());

    let good = shop
        .append(&json!([order("o1"), order("o2"), order("o1")]))
        .await;
    assert_eq!(good.status, 201, "{good:?}");
    let feed = shop.feed().await;
    let orders: Vec<_> = feed
        .iter()
        .map(|event| event["data"]["order"].as_str().unwrap())
        .collect();
    assert_eq!(orders, ["o1", "o2", "o1"]);
    assert_eq!(feed[0]["workflow_id"], feed[2]["workflow_id"]);

    let many: Vec<_> = (0..101).map(|n| order(&n.to_string())).collect();
    for (body, pointer) in [
        (json!([]), ""),
        (json!(many), ""),
        (json!({"type": "custom.order"}), "/data"),
        (json!({"type": "custom.order", "data": []}), "/data"),
        (json!({"type": "user.login.succeeded", "data": {}}), "/type"),
        (json!({"type": "custom.other", "data": {}}), "/type"),
        (
            json!({"type": "custom.order", "version": 2, "data": {"order": "o"}}),
            "/version",
        ),
        (
            json!({"type": "custom.order", "key": "", "data": {"order": "o"}}),
            "/key",
        ),
        (
            json!({"type": "custom.order", "data": {"order": ""}}),
            "/data/order",
        ),
        (
            json!({"type": "custom.order", "subject": "x".repeat(129), "data": {"order": "o"}}),
            "/subject",
        ),
        (
            json!({"type": "custom.order", "time": "2027-01-01T00:00:00Z", "data": {"order": "o"}}),
            "/time",
        ),
        (
            json!({"type": "custom.order", "data": {"order": "o"}, "position": 1}),
            "/position",
        ),
        (
            json!([order("o"), {"type": "custom.order", "data": {"order": "o"}, "actor": 1}]),
            "/1/actor",
        ),
    ] {
        let answer = shop.append(&body).await;
        assert_eq!(
            answer.problem(),
            (422, "invalid_fields".to_owned()),
            "{body}"
        );
        assert_eq!(
            answer.json()["errors"][0]["pointer"],
            pointer,
            "{body} {answer:?}"
        );
    }
    assert_eq!(shop.feed().await.len(), 3);
}

#[tokio::test]
async fn what_is_given_again_is_appended_once_and_answered_the_same() {
    let shop = Shop::new().await;
    let with_id = |number: u32, order: &str| json!({"id": format!("00000000-0000-0000-0000-0000000000{number:02}"), "type": "custom.order", "data": {"order": order}});
    let first = shop
        .append(&json!([with_id(1, "o1"), with_id(2, "o2")]))
        .await;
    assert_eq!(first.status, 201, "{first:?}");
    let again = shop
        .append(&json!([with_id(1, "o1"), with_id(2, "o2")]))
        .await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    // One of them is new.
    let more = shop
        .append(&json!([with_id(2, "o2"), with_id(3, "o3")]))
        .await;
    assert_eq!(more.json()["data"][0], first.json()["data"][1]);
    assert_eq!(shop.feed().await.len(), 3);
    let other = shop.append(&with_id(1, "another")).await;
    assert_eq!(other.problem(), (422, "idempotency_mismatch".to_owned()));
    let twice = shop
        .append(&json!([with_id(4, "o4"), with_id(4, "o4")]))
        .await;
    assert_eq!(twice.json()["errors"][0]["pointer"], "/1/id");

    let by_header = |body: Value| {
        post(EVENTS, &body)
            .token(&shop.key)
            .header("idempotency-key", "import 1")
    };
    let first = shop
        .server
        .send(by_header(json!([order("o5"), order("o6")])))
        .await;
    let again = shop
        .server
        .send(by_header(json!([order("o5"), order("o6")])))
        .await;
    assert_eq!(
        (first.status, again.status, &again.body),
        (201, 201, &first.body)
    );
    for other in [json!([order("o5")]), json!([order("o5"), order("o7")])] {
        let answer = shop.server.send(by_header(other)).await;
        assert_eq!(answer.problem(), (422, "idempotency_mismatch".to_owned()));
    }
    assert_eq!(shop.feed().await.len(), 5);
    let without = shop.append(&order("o5")).await;
    assert_eq!((without.status, shop.feed().await.len()), (201, 6));

    // Another service's ids are its own.
    let other = shop.new_key().await;
    let theirs = shop
        .server
        .send(post(EVENTS, &with_id(1, "theirs")).token(&other))
        .await;
    assert_eq!((theirs.status, shop.feed().await.len()), (201, 7));
}

#[tokio::test]
async fn of_many_at_once_with_one_id_one_is_appended() {
    let shop = Shop::new().await;
    let event = json!({"id": "00000000-0000-0000-0000-000000000001", "type": "custom.order", "data": {"order": "o1"}});
    let (one, two, three) = tokio::join!(
        shop.append(&event),
        shop.append(&event),
        shop.append(&event)
    );
    assert_eq!((one.status, &one.body), (201, &two.body));
    assert_eq!(one.body, three.body);
    assert_eq!(shop.feed().await.len(), 1);
    assert!(shop.server.scene.world.missed().contains(&"receipt insert"));
}

#[tokio::test]
async fn only_a_service_with_the_scope_appends() {
    let shop = Shop::new().await;
    let answer = shop.admin(post(EVENTS, &order("o1"))).await;
    assert_eq!(answer.problem(), (403, "forbidden".to_owned()));
    let body = json!({"name": "reader", "scopes": ["events.read"]});
    let reader = shop
        .admin(post("/api/v1/admin/api-keys", &body))
        .await
        .json();
    let ask = post(EVENTS, &order("o1")).token(reader["key"].as_str().unwrap());
    assert_eq!(
        shop.server.send(ask).await.problem(),
        (403, "forbidden".to_owned())
    );
    assert!(shop.feed().await.is_empty());
}

#[tokio::test]
async fn a_schema_only_grows_and_a_refusal_says_what_to_do() {
    let shop = Shop::new().await;
    let mut narrower = order_schema();
    narrower["properties"]["lines"]["type"] = json!("string");
    let mut wider = order_schema();
    wider["properties"]["note"] = json!({"type": "string"});
    let unsupported = json!({"type": "object", "patternProperties": {}});
    for (body, code, pointer, said) in [
        (
            registration(2, &narrower),
            "schema_conflict",
            "/schema",
            "`lines` has another `type`",
        ),
        (
            registration(1, &wider),
            "schema_conflict",
            "/version",
            "register version 2",
        ),
        (
            registration(3, &wider),
            "schema_conflict",
            "/version",
            "next version is 2",
        ),
        (
            registration(2, &unsupported),
            "unsupported_schema",
            "/schema/patternProperties",
            "`patternProperties`",
        ),
        (
            json!({"type": "user.x", "version": 1, "schema": wider}),
            "invalid_fields",
            "/type",
            "custom.",
        ),
    ] {
        let answer = shop.admin(post(SCHEMAS, &body)).await;
        assert_eq!(answer.problem().1, code, "{body}");
        let error = &answer.json()["errors"][0];
        assert_eq!(error["pointer"], pointer, "{answer:?}");
        assert!(
            error["message"].as_str().unwrap().contains(said),
            "{answer:?}"
        );
    }
    let grown = shop.admin(post(SCHEMAS, &registration(2, &wider))).await;
    assert_eq!(grown.status, 201, "{grown:?}");
    let same = shop.admin(post(SCHEMAS, &registration(2, &wider))).await;
    assert_eq!(same.body, grown.body);
    let mut old = order("o1");
    old["version"] = json!(1);
    let mut new = order("o2");
    new["data"]["note"] = json!("n");
    assert_eq!(shop.append(&json!([old, new])).await.status, 201);
    let feed = shop.feed().await;
    // What was stored as of an old version is shown as of the newest, to which nothing had to be changed.
    assert_eq!(
        (&feed[0]["version"], &feed[1]["version"]),
        (&json!(2), &json!(2))
    );
    let listed = shop.admin(get(SCHEMAS)).await.json();
    let versions: Vec<_> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["version"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, [1, 2]);
    assert_eq!(shop.admin(ask(&Method::DELETE, SCHEMAS)).await.status, 405);
}
