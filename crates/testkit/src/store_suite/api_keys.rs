use quivive_app::ports::{Accounts as _, ApiKeys};
use quivive_domain::api_key::{ApiKey, Scope};
use quivive_domain::{AccountState, ApiKeyId, Role, UserId};

use super::fixture::{Fixture, at};

fn key(f: &Fixture, owner: UserId) -> ApiKey {
    ApiKey {
        id: ApiKeyId(f.id()),
        owner,
        name: "billing".to_owned(),
        scopes: vec![Scope::EventsRead, Scope::EventsWrite],
        created_at: at(1),
        expires_at: at(100),
        revoked_at: None,
        used_at: None,
    }
}

pub(super) async fn a_key_comes_with_its_owners_standing(f: Fixture) {
    let owner = f.account("ada").await;
    let key = key(&f, owner.id);
    f.must([
        ApiKeys::insert(&f.db, &key, [7; 32]),
        f.db.grant_role(&owner, Role::Admin),
    ])
    .await;
    f.misses(ApiKeys::insert(&f.db, &key, [8; 32])).await;
    let view = f.db.view(key.id).await.expect("a read").expect("a key");
    assert_eq!((&view.key, view.hash), (&key, [7; 32]));
    assert_eq!(view.owner_state, AccountState::Active);
    assert_eq!(view.owner_roles, [Role::Admin, Role::User]);
    let none = f.db.view(ApiKeyId(f.id())).await.expect("a read");
    assert!(none.is_none());
}

pub(super) async fn a_key_is_revoked_once_and_its_use_is_noted(f: Fixture) {
    let owner = f.account("ada").await;
    let (older, newer) = (key(&f, owner.id), key(&f, owner.id));
    f.must([
        ApiKeys::insert(&f.db, &older, [7; 32]),
        ApiKeys::insert(&f.db, &newer, [8; 32]),
    ])
    .await;
    let revocations = (0..50).map(|_| f.db.revoke(older.id, at(2))).collect();
    assert_eq!(f.race(revocations).await, 1);
    f.misses(f.db.revoke(ApiKeyId(f.id()), at(3))).await;
    f.must([f.db.note_use(newer.id, at(4))]).await;
    let listed = f.db.list(10).await.expect("a read");
    let want = [
        ApiKey {
            used_at: Some(at(4)),
            ..newer.clone()
        },
        ApiKey {
            revoked_at: Some(at(2)),
            ..older
        },
    ];
    assert_eq!(listed, want);
    assert_eq!(f.db.list(1).await.expect("a read")[0].id, newer.id);
}
