use quivive_app::ports::{Accounts as _, Guesses as _, Path};
use quivive_domain::{Account, AccountState, Address, Role, UserId};

use super::fixture::{Fixture, at, new_account, password};

pub(super) async fn what_is_inserted_is_read_back(f: Fixture) {
    let mut given = new_account(UserId(f.id()), "Ada.Lovelace");
    given.display_name = Some("Ada".to_owned());
    given.locale = String::from("pt");
    given.state = AccountState::Locked;
    given.verified_at = Some(at(7));
    given.credential_epoch = 2;
    given.security_version = 3;
    given.token_version = 4;
    given.roles = vec![Role::User, Role::Admin];
    f.must(f.db.insert(&given)).await;

    let other_spelling = Address::parse(" ada.lovelace@EXAMPLE.org").expect("an address");
    let by_address = f.db.by_address(&other_spelling).await.expect("a read");
    for found in [by_address.expect("stored"), f.reread(&given).await] {
        assert_eq!(found.id, given.id);
        assert_eq!(found.email.typed(), "Ada.Lovelace@example.org");
        assert_eq!(found.email.canonical(), "ada.lovelace@example.org");
        assert_eq!(found.display_name.as_deref(), Some("Ada"));
        assert_eq!(found.locale, "pt");
        assert_eq!(found.state, AccountState::Locked);
        assert_eq!(found.verified_at, Some(at(7)));
        assert_eq!(found.password, Some(password("first")));
        assert_eq!(versions(&found), (2, 3, 4));
        assert_eq!(found.roles, [Role::Admin, Role::User]);
        assert_eq!(found.created_at, at(0));
    }

    let mut bare = new_account(UserId(f.id()), "bare");
    bare.password = None;
    f.must(f.db.insert(&bare)).await;
    let found = f.reread(&bare).await;
    assert_eq!(
        (found.display_name, found.verified_at, found.password),
        (None, None, None)
    );

    let path =
        f.db.counters(Path::Account(given.id))
            .await
            .expect("a read");
    assert!(path.is_some(), "its password path is open");
    let nobody = Address::parse("nobody@example.org").expect("an address");
    assert!(f.db.by_address(&nobody).await.expect("a read").is_none());
    assert!(f.db.by_id(UserId(f.id())).await.expect("a read").is_none());
}

pub(super) async fn a_taken_address_or_id_misses(f: Fixture) {
    let first = f.account("ada").await;
    let same_address = new_account(UserId(f.id()), "ADA");
    let done = f.commit(f.db.insert(&same_address)).await;
    assert!(done.is_err(), "{done:?}");
    let same_id = new_account(first.id, "bob");
    let done = f.commit(f.db.insert(&same_id)).await;
    assert!(done.is_err(), "{done:?}");
    assert_eq!(f.reread(&first).await.email.typed(), "ada@example.org");

    let inserts = |n: usize| {
        let account = new_account(
            UserId(f.id()),
            if n.is_multiple_of(2) { "Eve" } else { "eve" },
        );
        f.db.insert(&account).swap_remove(0)
    };
    assert_eq!(f.race((0..50).map(inserts).collect()).await, 1);
}

pub(super) async fn a_fence_misses_once_the_security_version_rose(f: Fixture) {
    let account = f.account("ada").await;
    f.must([f.db.fence(&account, at(1))]).await;
    f.must([f.db.fence(&account, at(1))]).await;
    f.must([f.db.grant_role(&account, Role::Support)]).await;
    f.misses(f.db.fence(&account, at(2))).await;
    let now = f.reread(&account).await;
    f.must([f.db.fence(&now, at(2))]).await;
    f.misses(f.db.fence(&new_account(UserId(f.id()), "nobody"), at(2)))
        .await;
}

pub(super) async fn a_new_password_raises_all_versions_and_keeps_the_newest_old_ones(f: Fixture) {
    let mut account = f.account("ada").await;
    for name in ["second", "third", "fourth"] {
        let fence = f.db.fence(&account, at(1));
        let set = f.db.set_password(&account, &password(name), 2, at(1));
        f.must([fence].into_iter().chain(set)).await;
        account = f.reread(&account).await;
    }
    assert_eq!(account.password, Some(password("fourth")));
    assert_eq!(versions(&account), (4, 4, 4));
    let history = f.db.password_history(account.id, 5).await.expect("a read");
    assert_eq!(history, [password("third"), password("second")]);
    let newest = f.db.password_history(account.id, 1).await.expect("a read");
    assert_eq!(newest, [password("third")]);

    let mut bare = new_account(UserId(f.id()), "bare");
    bare.password = None;
    f.must(f.db.insert(&bare)).await;
    f.must(f.db.set_password(&bare, &password("first"), 2, at(1)))
        .await;
    assert_eq!(f.db.password_history(bare.id, 5).await.expect("a read"), []);
    let stale = f.commit(f.db.set_password(&bare, &password("late"), 2, at(1)));
    assert!(stale.await.is_err(), "also where there is nothing to keep");
    let bare = f.reread(&bare).await;
    f.must(f.db.set_password(&bare, &password("second"), 0, at(1)))
        .await;
    assert_eq!(
        f.db.password_history(bare.id, 5).await.expect("a read"),
        [],
        "none is kept"
    );
}

pub(super) async fn a_stale_password_change_or_rehash_misses(f: Fixture) {
    let seen = f.account("ada").await;
    f.must([f.db.rehash(&seen, &password("rehashed"))]).await;
    let rehashed = f.reread(&seen).await;
    assert_eq!(rehashed.password, Some(password("rehashed")));
    assert_eq!(versions(&rehashed), (1, 1, 1));

    f.must(f.db.set_password(&seen, &password("new"), 5, at(1)))
        .await;
    f.misses(f.db.rehash(&seen, &password("old again"))).await;
    let stale = f
        .commit(f.db.set_password(&seen, &password("late"), 5, at(2)))
        .await;
    assert!(stale.is_err(), "{stale:?}");
    assert_eq!(f.reread(&seen).await.password, Some(password("new")));
    let history = f.db.password_history(seen.id, 5).await.expect("a read");
    assert_eq!(history, [password("rehashed")]);
}

pub(super) async fn a_rotation_raises_the_two_versions_it_is_about(f: Fixture) {
    let seen = f.account("ada").await;
    f.must([f.db.rotate(&seen, at(1))]).await;
    let rotated = f.reread(&seen).await;
    assert_eq!(versions(&rotated), (1, 2, 2));
    f.misses(f.db.rotate(&seen, at(2))).await;
    f.misses(f.db.fence(&seen, at(2))).await;
    f.must([f.db.rotate(&rotated, at(3))]).await;
    assert_eq!(versions(&f.reread(&seen).await), (1, 3, 3));
}

pub(super) async fn an_address_is_verified_once(f: Fixture) {
    let account = f.account("ada").await;
    f.must([f.db.verify_address(account.id, at(5))]).await;
    f.must([f.db.verify_address(account.id, at(6))]).await;
    assert_eq!(f.reread(&account).await.verified_at, Some(at(5)));
    f.misses(f.db.verify_address(UserId(f.id()), at(5))).await;
}

pub(super) async fn administrators_are_counted_when_active(f: Fixture) {
    assert_eq!(f.db.administrators().await.expect("a read"), 0);
    for (name, state, roles) in [
        ("ada", AccountState::Active, vec![Role::User, Role::Admin]),
        ("bob", AccountState::Active, vec![Role::Admin]),
        (
            "cid",
            AccountState::Active,
            vec![Role::Admin, Role::Support, Role::User],
        ),
        ("dan", AccountState::Locked, vec![Role::Admin]),
        ("eve", AccountState::Inactive, vec![Role::Admin, Role::User]),
        ("fay", AccountState::Active, vec![Role::Support, Role::User]),
        ("gus", AccountState::Active, vec![]),
    ] {
        let mut account = new_account(UserId(f.id()), name);
        account.state = state;
        account.roles = roles;
        f.must(f.db.insert(&account)).await;
    }
    assert_eq!(f.db.administrators().await.expect("a read"), 3);
    let hal = f.account("hal").await;
    f.must([f.db.grant_role(&hal, Role::Admin)]).await;
    assert_eq!(f.db.administrators().await.expect("a read"), 4);
    let granted = f.reread(&hal).await;
    assert_eq!(granted.roles, [Role::Admin, Role::User]);
    assert_eq!(versions(&granted), (1, 2, 1));
    f.misses(f.db.grant_role(&hal, Role::Support)).await;
}

pub(super) async fn the_first_administrator_is_claimed_once(f: Fixture) {
    f.account("ada").await;
    let claims = (0..20)
        .map(|n| f.db.claim_first_administrator(at(n)))
        .collect();
    assert_eq!(f.race(claims).await, 1);
    f.misses(f.db.claim_first_administrator(at(30))).await;
}

pub(super) async fn an_administrator_leaves_nothing_to_claim(f: Fixture) {
    let mut account = new_account(UserId(f.id()), "ada");
    account.roles = vec![Role::User, Role::Admin];
    account.state = AccountState::Inactive;
    f.must(f.db.insert(&account)).await;
    f.misses(f.db.claim_first_administrator(at(1))).await;
}

/// Credential epoch, security version, token version.
fn versions(account: &Account) -> (u32, u32, u32) {
    (
        account.credential_epoch,
        account.security_version,
        account.token_version,
    )
}
