use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::cloudevents::Origin;
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{Context, Log as _, Stored, Subscription, Transaction};
use quivive_domain::EndpointId;
use quivive_domain::webhook::{OVERLAP, Order, Signatures, Target};
use serde_json::{Value, json};

use super::*;
use crate::ports::{CallError, Endpoint, Positions, Post};
use crate::testing::{FakeSubscription, Scene, account, given};
use crate::webhooks::{Endpoints, Recovery, RecoveryState, Since, Wanted, name_of};
use crate::workflows::webhooks::change_endpoint::{Draft, Edit};

struct Bed {
    scene: Scene,
    endpoints: Endpoints,
    id: EndpointId,
}

/// A person who signed in, and an endpoint that wants to hear of that.
async fn bed(events: &[&str]) -> Bed {
    let scene = given(account().verified()).by_administrator();
    scene.signed_in().await;
    let wanted = Wanted::parse(scene.kernel.catalogue(), events).expect("known");
    let id = EndpointId(quivive_delivery::Ids::next(&scene.world));
    let change = Change::Create(Draft {
        url: "https://hooks.example.org/in".to_owned(),
        description: String::new(),
        wanted,
        order: Order::None,
        signatures: Signatures::All,
    });
    let command = ChangeEndpoint {
        endpoint: id,
        change,
        by: None,
    };
    scene.when(command).await.succeeded();
    let origin = Origin {
        source: "https://id.example.org".to_owned(),
        schemas: "https://id.example.org/schemas".to_owned(),
    };
    let log = Arc::new(scene.world.clone());
    let kernel = Arc::clone(&scene.kernel);
    Bed {
        endpoints: Endpoints::new(kernel, log, Tasks::new(), origin),
        scene,
        id,
    }
}

impl Bed {
    async fn subscription(&self) -> Subscription {
        let mut all = self.endpoints.subscriptions().await.expect("no fault");
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    fn event(&self, kind: &str) -> Stored {
        let log = self.scene.world.log();
        let found = log.into_iter().find(|event| event.envelope.kind == kind);
        found.unwrap_or_else(|| panic!("no {kind}"))
    }

    /// Delivers one event, with the endpoint as it is now.
    async fn deliver(&self, event: Stored) -> Outcome {
        let subscription = self.subscription().await;
        self.deliver_to(&subscription, event).await
    }

    async fn deliver_to(&self, subscription: &Subscription, event: Stored) -> Outcome {
        let name = Arc::from(name_of(self.id));
        let event = Received::new(Arc::new(event), None, Context::default(), name);
        subscription.react(&event).await
    }

    async fn sign_in(&self) -> Outcome {
        self.deliver(self.event("session.created")).await
    }

    fn answers(&self, status: u16, retry_after: Option<&str>) {
        self.scene.world.answers(Ok(Answer {
            status,
            retry_after: retry_after.map(str::to_owned),
        }));
    }

    fn endpoint(&self) -> Endpoint {
        self.scene.world.see(|s| s.endpoints[&self.id].clone())
    }

    async fn change(&self, change: Change) {
        let endpoint = self.id;
        self.scene
            .when(ChangeEndpoint {
                endpoint,
                change,
                by: None,
            })
            .await
            .succeeded();
    }
}

fn header<'a>(post: &'a Post, name: &str) -> &'a str {
    let found = post.headers.iter().find(|(known, _)| *known == name);
    found.map_or("", |(_, value)| value)
}

fn json_of(post: &Post) -> Value {
    serde_json::from_slice(&post.body).expect("JSON")
}

#[tokio::test]
async fn a_message_is_a_signed_cloud_event_under_one_id() {
    let bed = bed(&["session.*"]).await;
    let event = bed.event("session.created");
    bed.answers(500, None);
    assert!(matches!(bed.sign_in().await, Outcome::Retry(why) if why == "answered 500"));
    bed.scene.world.pass(Duration::from_mins(10));
    assert!(matches!(bed.sign_in().await, Outcome::Done));
    let posted = bed.scene.world.posted();
    let (first, second) = (&posted[0], &posted[1]);
    assert_eq!(
        *first.target,
        Target::parse("https://hooks.example.org/in").unwrap()
    );
    assert_eq!(
        header(first, "content-type"),
        "application/cloudevents+json"
    );
    assert_eq!(header(first, "webhook-id"), event.envelope.id.to_string());
    assert_eq!(header(first, "webhook-id"), header(second, "webhook-id"));
    assert_eq!(first.body, second.body);
    let seconds = |post| header(post, "webhook-timestamp").parse::<i64>().unwrap();
    assert_eq!(seconds(second) - seconds(first), 600);
    assert_ne!(
        header(first, "webhook-signature"),
        header(second, "webhook-signature")
    );
    let body = json_of(first);
    assert_eq!(
        (&body["type"], &body["source"]),
        (&json!("session.created"), &json!("https://id.example.org"))
    );
    assert_eq!(body["data"]["user_id"], json!(bed.scene.user));
}

#[tokio::test]
async fn more_messages_are_under_way_to_who_keeps_up() {
    let subscription = bed(&[]).await.subscription().await;
    assert_eq!((subscription.concurrency, subscription.growing_to), (4, 64));
}

#[tokio::test]
async fn nothing_personal_is_sent() {
    let bed = bed(&[]).await;
    let outcome = bed.deliver(bed.event("user.login.succeeded")).await;
    assert!(matches!(outcome, Outcome::Done));
    let subscription = bed.subscription().await;
    assert!(!subscription.personal);
    let text = String::from_utf8(bed.scene.world.posted()[0].body.to_vec()).unwrap();
    assert!(
        text.contains("user.login.succeeded") && !text.contains("ada@example.org"),
        "{text}"
    );
}

#[tokio::test]
async fn a_receiver_that_verifies_one_signature_is_sent_that_one() {
    let bed = bed(&["session.*"]).await;
    for (wanted, schemes) in [
        (Signatures::V1, &["v1"][..]),
        (Signatures::V1a, &["v1a"]),
        (Signatures::All, &["v1", "v1a"]),
    ] {
        let edit = Edit {
            signatures: Some(wanted),
            ..Edit::default()
        };
        bed.change(Change::Update(edit)).await;
        bed.sign_in().await;
        let posted = bed.scene.world.posted();
        let line = header(posted.last().unwrap(), "webhook-signature");
        let sent = line.split(' ').map(|one| one.split(',').next().unwrap());
        assert_eq!(sent.collect::<Vec<_>>(), schemes);
    }
}

#[tokio::test]
async fn after_a_rotation_both_secrets_sign_for_a_day() {
    let bed = bed(&["session.*"]).await;
    let signatures = |index: usize| {
        let posted = bed.scene.world.posted();
        let line = header(&posted[index], "webhook-signature").to_owned();
        line.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    bed.sign_in().await;
    bed.change(Change::RotateSecret).await;
    bed.sign_in().await;
    let (before, during) = (signatures(0), signatures(1));
    assert_eq!((before.len(), during.len()), (2, 4));
    assert_eq!(during[2..], before, "at the same second with the same keys");
    assert!(during[0].starts_with("v1,") && during[1].starts_with("v1a,"));
    // It ends by itself, without a change that anybody would follow.
    let subscription = bed.subscription().await;
    bed.scene.world.pass(OVERLAP);
    bed.deliver_to(&subscription, bed.event("session.created"))
        .await;
    assert_eq!(signatures(2).len(), 2);
}

#[tokio::test]
async fn what_an_answer_means() {
    let bed = bed(&["session.*"]).await;
    for (status, retry_after, want) in [
        (200, None, "Done"),
        (299, None, "Done"),
        (
            301,
            None,
            r#"Retry("answered 301; redirects are not followed")"#,
        ),
        (404, None, r#"Retry("answered 404")"#),
        (429, None, r#"Retry("answered 429")"#),
        (429, Some("7"), r#"RetryAfter(7s, "answered 429")"#),
        (503, Some("999999"), r#"RetryAfter(86400s, "answered 503")"#),
        (500, Some("7"), r#"Retry("answered 500")"#),
        (429, Some("soon"), r#"Retry("answered 429")"#),
    ] {
        bed.answers(status, retry_after);
        let outcome = bed.sign_in().await;
        assert_eq!(format!("{outcome:?}"), want, "{status} {retry_after:?}");
    }
    bed.scene.world.answers(Err(CallError::Unresolved));
    let outcome = format!("{:?}", bed.sign_in().await);
    assert_eq!(outcome, r#"Retry("its name does not resolve")"#);
}

#[tokio::test]
async fn who_is_gone_gets_nothing_until_it_is_enabled() {
    let bed = bed(&["session.*"]).await;
    let before_it = bed.subscription().await;
    bed.answers(410, None);
    let event = bed.event("session.created");
    let outcome = bed.deliver_to(&before_it, event.clone()).await;
    assert!(matches!(outcome, Outcome::Pause(_)), "{outcome:?}");
    assert_eq!(bed.endpoint().disabled, Some(Disabled::Gone));
    let fact = bed.event("webhook.endpoint_disabled");
    assert_eq!(fact.envelope.actor.kind, "system");
    let outcome = bed.sign_in().await;
    assert!(matches!(outcome, Outcome::Pause(_)), "{outcome:?}");
    assert_eq!(bed.scene.world.posted().len(), 1);
    bed.change(Change::Enable).await;
    assert!(matches!(bed.sign_in().await, Outcome::Done));
    assert_eq!(bed.scene.world.posted().len(), 2);
}

#[tokio::test]
async fn who_only_fails_for_five_days_is_disabled() {
    let bed = bed(&["session.*"]).await;
    let subscription = bed.subscription().await;
    let day = Duration::from_hours(24);
    let fail = async || {
        bed.answers(500, None);
        let event = bed.event("session.created");
        format!("{:?}", bed.deliver_to(&subscription, event).await)
    };
    assert_eq!(fail().await, r#"Retry("answered 500")"#);
    bed.scene.world.pass(4 * day);
    assert_eq!(fail().await, r#"Retry("answered 500")"#);
    // One that was taken begins the count anew.
    let event = bed.event("session.created");
    bed.deliver_to(&subscription, event).await;
    bed.scene.world.pass(day);
    assert_eq!(fail().await, r#"Retry("answered 500")"#);
    bed.scene
        .world
        .pass(Duration::from_secs(5 * 24 * 3_600 - 1));
    assert_eq!(fail().await, r#"Retry("answered 500")"#);
    bed.scene.world.pass(Duration::from_secs(1));
    assert_eq!(fail().await, r#"Pause("disabled: failing")"#);
    assert_eq!(bed.endpoint().disabled, Some(Disabled::Failing));
}

#[tokio::test]
async fn since_when_it_fails_outlives_the_process() {
    let bed = bed(&["session.*"]).await;
    bed.answers(500, None);
    bed.sign_in().await;
    let began = bed.scene.world.now();
    assert_eq!(bed.endpoint().failing_since, None, "not at once");
    assert_eq!(bed.endpoints.attempts(bed.id).await.unwrap().len(), 1);
    assert_eq!(bed.endpoint().failing_since, Some(began));
    let Bed {
        scene,
        endpoints,
        id,
    } = bed;
    let origin = endpoints.tools.origin.clone();
    let (kernel, log) = (Arc::clone(&scene.kernel), Arc::new(scene.world.clone()));
    let bed = Bed {
        endpoints: Endpoints::new(kernel, log, Tasks::new(), origin),
        scene,
        id,
    };
    bed.scene.world.pass(Duration::from_hours(5 * 24));
    bed.answers(500, None);
    let outcome = bed.sign_in().await;
    assert!(matches!(outcome, Outcome::Pause(_)), "{outcome:?}");
}

#[tokio::test]
async fn what_another_server_saw_it_take_counts() {
    let bed = bed(&["session.*"]).await;
    bed.answers(500, None);
    bed.sign_in().await;
    // Written down; then another server delivers for some days.
    bed.endpoints.attempts(bed.id).await.unwrap();
    bed.scene.world.pass(Duration::from_hours(6 * 24));
    bed.scene.world.change(|s| {
        s.endpoints.get_mut(&bed.id).expect("there").failing_since = None;
    });
    bed.answers(500, None);
    let outcome = bed.sign_in().await;
    assert!(matches!(outcome, Outcome::Retry(_)), "{outcome:?}");
    assert_eq!(bed.endpoint().disabled, None);
}

#[tokio::test]
async fn an_endpoint_reads_the_versions_that_it_was_promised() {
    let bed = bed(&["session.*"]).await;
    let promised = |version: Option<u32>| {
        let kind = "session.created".to_owned();
        let versions = version.map(|version| (kind, version));
        bed.scene.world.change(|s| {
            let endpoint = s.endpoints.get_mut(&bed.id).expect("there");
            endpoint.versions = versions.into_iter().collect::<BTreeMap<_, _>>();
        });
    };
    promised(Some(1));
    assert!(matches!(bed.sign_in().await, Outcome::Done));
    let newer = || {
        let mut event = bed.event("session.created");
        event.envelope.version = 2;
        event
    };
    let outcome = bed.deliver(newer()).await;
    assert!(matches!(outcome, Outcome::GiveUp(_)), "{outcome:?}");
    promised(None);
    assert!(matches!(bed.deliver(newer()).await, Outcome::Done));
    let posted = bed.scene.world.posted();
    assert_eq!(posted.len(), 2);
    assert_eq!(json_of(&posted[1])["dataversion"], 2);
}

#[tokio::test]
async fn no_endpoint_is_told_of_deliveries_to_endpoints() {
    let bed = bed(&[]).await;
    let mut event = bed.event("session.created");
    event.envelope.kind = "delivery.dead_lettered".to_owned();
    for (subscription, posts) in [("webhook:1", 0), ("email", 1)] {
        event.body = json!({"subscription": subscription})
            .to_string()
            .into_bytes();
        assert!(matches!(bed.deliver(event.clone()).await, Outcome::Done));
        assert_eq!(bed.scene.world.posted().len(), posts, "{subscription}");
    }
}

#[tokio::test]
async fn what_it_does_not_want_passes_by() {
    let bed = bed(&["session.*"]).await;
    let outcome = bed.deliver(bed.event("user.login.succeeded")).await;
    assert!(matches!(outcome, Outcome::Done));
    assert!(bed.scene.world.posted().is_empty());
}

#[tokio::test]
async fn the_last_hundred_attempts_are_kept() {
    let bed = bed(&["session.*"]).await;
    bed.answers(500, None);
    for _ in 0..150 {
        bed.sign_in().await;
    }
    let attempts = bed.endpoints.attempts(bed.id).await.unwrap();
    assert_eq!(attempts.len(), 100);
    bed.answers(301, None);
    bed.sign_in().await;
    let attempts = bed.endpoints.attempts(bed.id).await.unwrap();
    assert_eq!((attempts.len(), attempts[0].status), (100, Some(301)));
    assert_eq!(
        attempts[0].event_id,
        bed.event("session.created").envelope.id
    );
    assert_eq!(attempts[0].event_type, "session.created");
    assert!(attempts[0].error.is_some() && attempts[1].error.is_none());
}

#[tokio::test]
async fn a_test_is_posted_at_once_also_to_who_is_disabled() {
    let bed = bed(&["session.*"]).await;
    bed.change(Change::Disable(Disabled::Operator)).await;
    bed.answers(500, None);
    let attempt = bed.endpoints.test(bed.id).await.unwrap().expect("there");
    assert_eq!((attempt.status, attempt.number), (Some(500), 0));
    let posted = bed.scene.world.posted();
    assert_eq!(json_of(&posted[0])["type"], "webhook.test");
    assert_eq!(
        header(&posted[0], "webhook-id"),
        attempt.event_id.to_string()
    );
    let nobody = EndpointId(uuid::Uuid::nil());
    assert_eq!(bed.endpoints.test(nobody).await.unwrap(), None);
}

#[tokio::test]
async fn the_log_is_searched_for_a_time() {
    let scene = given(account().verified());
    let mut times = vec![scene.world.now()];
    for _ in 0..5 {
        scene.world.pass(Duration::from_mins(1));
        times.push(scene.world.now());
        scene.signed_in().await;
    }
    let log = scene.world.log();
    for time in times {
        let want = log
            .iter()
            .take_while(|event| event.recorded_at < time)
            .count() as u64;
        let found = crate::webhooks::recovery::after(&scene.world, Since::Time(time)).await;
        assert_eq!(found.unwrap(), want, "{time}");
    }
    let head = scene.world.head().borrow().position;
    let later = Since::Time(scene.world.now() + Duration::from_mins(1));
    let found = crate::webhooks::recovery::after(&scene.world, later).await;
    assert_eq!(found.unwrap(), head);
}

/// The engine's part, and a restart, are in the end-to-end tests.
#[tokio::test]
async fn a_recovery_is_a_replay_that_counts_what_was_taken() {
    let bed = bed(&["session.*"]).await;
    let name = name_of(bed.id);
    let known = FakeSubscription::default();
    bed.scene
        .world
        .change(|s| s.subscriptions.insert(name.clone(), known));
    // As `Endpoints::recover` has it done.
    bed.change(Change::Recover(Positions {
        from: Some(3),
        to: Some(9),
    }))
    .await;
    let begun = bed.endpoints.recovery(bed.id).await.unwrap().unwrap();
    let want = Recovery {
        state: RecoveryState::Running,
        after: 2,
        upto: 9,
        position: 2,
        sent: 0,
        retrying: 0,
        parked: 0,
    };
    assert_eq!(begun, want);
    let again = async |kind| {
        let event = Arc::new(bed.event(kind));
        let event = Received::new(event, None, Context::default(), name.as_str().into());
        let outcome = bed.subscription().await.react_again(&event, 2).await;
        if let Outcome::DoneWith(effects) = &outcome {
            let transaction = Transaction {
                writes: effects.writes.clone(),
                records: Vec::new(),
            };
            bed.scene.world.commit(transaction).await.unwrap();
        }
        outcome
    };
    bed.answers(500, None);
    assert!(matches!(again("session.created").await, Outcome::Retry(_)));
    assert!(matches!(
        again("session.created").await,
        Outcome::DoneWith(_)
    ));
    let unwanted = again("webhook.endpoint_change.succeeded").await;
    assert!(matches!(unwanted, Outcome::Done), "{unwanted:?}");
    assert!(
        matches!(bed.sign_in().await, Outcome::Done),
        "a live one is not counted"
    );
    let posted = bed.scene.world.posted();
    let ids: Vec<_> = posted
        .iter()
        .map(|post| header(post, "webhook-id"))
        .collect();
    let id = bed.event("session.created").envelope.id.to_string();
    assert_eq!(ids, [&id, &id, &id], "under the id it had");
    bed.scene.world.change(|s| {
        let known = s.subscriptions.get_mut(&name);
        known.expect("it was added").replaying = None;
    });
    let done = bed.endpoints.recovery(bed.id).await.unwrap().unwrap();
    let want = Recovery {
        state: RecoveryState::Done,
        position: 9,
        sent: 1,
        ..want
    };
    assert_eq!(done, want);
}
