use quivive_delivery::{Event as _, Ids as _};
use quivive_domain::Role;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::*;
use crate::testing::{FakeSubscription, Scene, account, account_of, given};

fn draft(scene: &Scene, url: &str) -> Draft {
    let catalogue = scene.kernel.catalogue();
    Draft {
        url: url.to_owned(),
        description: "the shop".to_owned(),
        wanted: Wanted::parse(catalogue, &["session.*"]).expect("known"),
        order: Order::Key,
        signatures: Signatures::All,
    }
}

fn create(scene: &Scene, url: &str) -> ChangeEndpoint {
    ChangeEndpoint {
        endpoint: EndpointId(scene.world.next()),
        change: Change::Create(draft(scene, url)),
        by: Some(scene.proven()),
    }
}

/// By the server itself.
fn change(endpoint: EndpointId, change: Change) -> ChangeEndpoint {
    ChangeEndpoint {
        endpoint,
        change,
        by: None,
    }
}

fn administrator() -> Scene {
    given(account().verified().role(Role::Admin)).by_administrator()
}

/// A world with an endpoint, asked by an administrator.
async fn registered() -> (Scene, Endpoint) {
    let scene = administrator();
    let command = create(&scene, "https://hooks.example.org/in");
    let reply = scene.when(command).await.succeeded().reply();
    let endpoint = reply.endpoint.expect("it was made");
    (scene, endpoint)
}

fn stored(scene: &Scene, id: EndpointId) -> Option<Endpoint> {
    scene.world.see(|s| s.endpoints.get(&id).cloned())
}

#[tokio::test]
async fn an_endpoint_is_registered_and_its_secret_is_shown_once() {
    let scene = administrator();
    let command = create(&scene, "https://hooks.example.org/in");
    let id = command.endpoint;
    let told = scene.when(command).await.succeeded().raised(&[]);
    assert_eq!(
        told.open(Succeeded::META.kind),
        json!({"endpoint_id": id, "action": "create"})
    );
    let reply = told.reply();
    let endpoint = reply.endpoint.expect("it was made");
    assert_eq!(Some(&endpoint), stored(&scene, id).as_ref());
    assert_eq!(endpoint.created_by, Some(scene.user));
    assert_eq!(endpoint.versions["session.created"], 1);
    let shown = reply.shown.expect("this once");
    let text = shown.secret.expose_secret();
    assert!(text.starts_with("whsec_") && shown.public_key.starts_with("whpk_"));

    let keys = SigningKeys::new([0; 32], [0; 32]);
    assert_ne!(text, keys.secret().expose_secret(), "it is random");
    let secret = scene.world.see(|s| s.secrets[0].clone());
    assert_eq!((secret.endpoint, secret.expires_at), (id, None));
    assert_eq!(
        shown.public_key,
        SigningKeys::public_key(&secret.public_key)
    );
}

#[tokio::test]
async fn one_line_for_each_refusal() {
    let scene = administrator();
    let refused = |host: &str, error| scene.world.refuses(host, error);
    refused("inside.example", CallError::Refused(Refused::Private));
    refused("plain.example", CallError::Refused(Refused::Plain));
    refused("port.example", CallError::Refused(Refused::Port));
    refused("nowhere.example", CallError::Unresolved);
    for (url, refusal) in [
        ("ftp://a.example", Refusal::InvalidUrl),
        ("https://user@a.example", Refusal::InvalidUrl),
        ("http://plain.example", Refusal::InvalidUrl),
        ("https://port.example:22", Refusal::InvalidUrl),
        ("https://inside.example", Refusal::PrivateAddress),
        ("https://nowhere.example", Refusal::Unresolved),
    ] {
        scene
            .when(create(&scene, url))
            .await
            .refused(refusal)
            .raised(&[]);
    }
    assert!(
        scene
            .world
            .see(|s| s.endpoints.is_empty() && s.secrets.is_empty())
    );

    let nobody = change(EndpointId(scene.world.next()), Change::Enable);
    scene.when(nobody).await.refused(Refusal::NotFound);
    let command = create(&scene, "https://a.example");
    let late = scene.after(600).when(command).await;
    late.refused(Refusal::StepUpRequired).raised(&[]);
    let eve = scene.and(account_of("eve@example.org").verified());
    let command = create(&eve, "https://a.example");
    eve.when(command).await.refused(Refusal::Forbidden);

    let (scene, endpoint) = registered().await;
    let edit = Edit {
        url: Some("https://inside.example".to_owned()),
        ..Edit::default()
    };
    scene
        .world
        .refuses("inside.example", CallError::Refused(Refused::Private));
    let told = scene.when(change(endpoint.id, Change::Update(edit))).await;
    told.refused(Refusal::PrivateAddress);
    let edit = Edit {
        description: Some("of another revision".to_owned()),
        revisions: Some(vec![endpoint.revision + 1]),
        ..Edit::default()
    };
    let told = scene.when(change(endpoint.id, Change::Update(edit))).await;
    told.refused(Refusal::Changed);
    assert_eq!(stored(&scene, endpoint.id), Some(endpoint.clone()));
    scene.world.change(|s| {
        for number in 1..u128::from(MAX_ENDPOINTS) {
            let id = EndpointId(uuid::Uuid::from_u128(number));
            s.endpoints.insert(id, endpoint.clone());
        }
    });
    let command = create(&scene, "https://a.example");
    scene.when(command).await.refused(Refusal::TooMany);
}

#[tokio::test]
async fn an_edit_changes_what_it_names() {
    let (scene, endpoint) = registered().await;
    let wanted = Wanted::parse(scene.kernel.catalogue(), &["user.*"]).expect("known");
    let edit = Edit {
        wanted: Some(wanted.clone()),
        ..Edit::default()
    };
    let told = scene.when(change(endpoint.id, Change::Update(edit))).await;
    let changed = told.succeeded().raised(&[]).reply().endpoint;
    let want = Endpoint {
        events: wanted.events,
        versions: wanted.versions,
        revision: 2,
        updated_at: scene.world.now(),
        ..endpoint
    };
    assert_eq!(
        (changed.as_ref(), stored(&scene, want.id).as_ref()),
        (Some(&want), Some(&want))
    );
}

#[tokio::test]
async fn it_is_disabled_once_and_enabled_again() {
    let (scene, endpoint) = registered().await;
    let id = endpoint.id;
    let since = scene.world.now();
    scene.world.change(|s| {
        s.endpoints.get_mut(&id).expect("there").failing_since = Some(since);
    });
    let disable = |reason| change(id, Change::Disable(reason));
    let told = scene.when(disable(Disabled::Gone)).await.succeeded();
    let told = told.raised(&["webhook.endpoint_disabled"]);
    let fact = told.open("webhook.endpoint_disabled");
    assert_eq!(fact, json!({"endpoint_id": id, "reason": "gone"}));
    // Several messages at once may find out.
    scene
        .when(disable(Disabled::Failing))
        .await
        .succeeded()
        .raised(&[]);
    assert_eq!(
        stored(&scene, id).and_then(|e| e.disabled),
        Some(Disabled::Gone)
    );
    let told = scene.when(change(id, Change::Enable)).await.succeeded();
    let enabled = told.raised(&[]).reply().endpoint.expect("there");
    assert_eq!((enabled.disabled, enabled.failing_since), (None, None));
    assert_eq!(stored(&scene, id), Some(enabled));
}

#[tokio::test]
async fn a_rotation_leaves_the_secret_before_for_a_day() {
    let (scene, endpoint) = registered().await;
    let rotate = || change(endpoint.id, Change::RotateSecret);
    let first = scene.world.see(|s| s.secrets[0].id);
    let shown = scene.when(rotate()).await.succeeded().reply().shown;
    assert!(shown.is_some());
    let kept = || scene.world.see(|s| s.secrets.clone());
    assert_eq!(kept().len(), 2);
    let until = Some(scene.world.now() + OVERLAP);
    assert_eq!((kept()[0].id, kept()[0].expires_at), (first, until));
    assert_eq!(kept()[1].expires_at, None);
    scene.when(rotate()).await.succeeded();
    assert!(kept().len() == 2 && kept().iter().all(|secret| secret.id != first));
}

#[tokio::test]
async fn it_goes_with_its_secrets() {
    let (scene, endpoint) = registered().await;
    let told = scene.when(change(endpoint.id, Change::Delete)).await;
    assert!(told.succeeded().raised(&[]).reply().endpoint.is_none());
    assert!(
        scene
            .world
            .see(|s| s.endpoints.is_empty() && s.secrets.is_empty())
    );
    for asked in [
        Change::Delete,
        Change::Test,
        Change::Recover(RANGE),
        Change::RotateSecret,
    ] {
        let told = scene.when(change(endpoint.id, asked)).await;
        told.refused(Refusal::NotFound);
    }
}

#[tokio::test]
async fn of_two_changes_at_once_the_second_decides_again() {
    let (scene, endpoint) = registered().await;
    let id = endpoint.id;
    scene.world.meanwhile(Succeeded::META.kind, 1, move |s| {
        let known = s.endpoints.get_mut(&id).expect("there");
        known.revision += 1;
        known.description = "changed".to_owned();
    });
    let told = scene.when(change(id, Change::Enable)).await.succeeded();
    let enabled = told.reply().endpoint.expect("there");
    assert_eq!(
        (enabled.description.as_str(), enabled.revision),
        ("changed", 3)
    );
    assert_eq!(scene.world.missed(), ["webhook_endpoint update"]);
}

const RANGE: Positions = Positions {
    from: Some(2),
    to: Some(7),
};

#[tokio::test]
async fn one_recovery_at_a_time_is_begun_and_told() {
    let (scene, endpoint) = registered().await;
    let name = webhooks::name_of(endpoint.id);
    let known = FakeSubscription::default();
    scene
        .world
        .change(|s| s.subscriptions.insert(name.clone(), known));
    let nothing = Positions {
        from: Some(8),
        ..RANGE
    };
    for (range, begun) in [(nothing, None), (RANGE, Some(RANGE))] {
        let told = scene
            .when(change(endpoint.id, Change::Recover(range)))
            .await;
        assert_eq!(
            told.succeeded().open(Succeeded::META.kind),
            json!({"endpoint_id": endpoint.id, "action": "recover"})
        );
        let replaying = scene.world.see(|s| s.subscriptions[&name].replaying);
        assert_eq!(replaying, begun);
        let noted = scene.world.see(|s| s.recoveries.get(&endpoint.id).copied());
        let range = noted.map(|noted| (noted.after, noted.upto));
        assert_eq!(range, begun.map(|_| (1, 7)));
    }
    let by = scene.world.see(|s| s.decided[0].by);
    assert_eq!(by, scene.user.0);
    let told = scene
        .when(change(endpoint.id, Change::Recover(RANGE)))
        .await;
    told.refused(Refusal::RecoveryRunning).raised(&[]);
}
