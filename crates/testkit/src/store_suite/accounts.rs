use quivive_app::ports::{Accounts as _, EmailChange, Guesses as _, Path, Waiting};
use quivive_domain::{Account, AccountState, Address, Role, TokenId, UserId};
use uuid::Uuid;

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
    let (mut account, other) = (f.account("ada").await, f.account("eve").await);
    for name in ["second", "third", "fourth"] {
        let fence = f.db.fence(&account, at(1));
        let set = f.db.set_password(&account, Some(&password(name)), 2, at(1));
        f.must([fence].into_iter().chain(set)).await;
        account = f.reread(&account).await;
    }
    assert_eq!(account.password, Some(password("fourth")));
    assert_eq!(versions(&account), (4, 4, 4));
    assert_eq!(versions(&f.reread(&other).await), (1, 1, 1));
    let history = f.db.password_history(account.id, 5).await.expect("a read");
    assert_eq!(history, [password("third"), password("second")]);
    let newest = f.db.password_history(account.id, 1).await.expect("a read");
    assert_eq!(newest, [password("third")]);

    let mut bare = new_account(UserId(f.id()), "bare");
    bare.password = None;
    f.must(f.db.insert(&bare)).await;
    f.must(f.db.set_password(&bare, Some(&password("first")), 2, at(1)))
        .await;
    assert_eq!(f.db.password_history(bare.id, 5).await.expect("a read"), []);
    let stale = f.commit(f.db.set_password(&bare, Some(&password("late")), 2, at(1)));
    assert!(stale.await.is_err(), "also where there is nothing to keep");
    let bare = f.reread(&bare).await;
    f.must(f.db.set_password(&bare, Some(&password("second")), 0, at(1)))
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

    f.must(f.db.set_password(&seen, Some(&password("new")), 5, at(1)))
        .await;
    f.misses(f.db.rehash(&seen, &password("old again"))).await;
    let stale = f
        .commit(f.db.set_password(&seen, Some(&password("late")), 5, at(2)))
        .await;
    assert!(stale.is_err(), "{stale:?}");
    assert_eq!(f.reread(&seen).await.password, Some(password("new")));
    let history = f.db.password_history(seen.id, 5).await.expect("a read");
    assert_eq!(history, [password("rehashed")]);

    let now = f.reread(&seen).await;
    f.must(f.db.set_password(&now, None, 5, at(3))).await;
    assert_eq!(f.reread(&seen).await.password, None);
    let history = f.db.password_history(seen.id, 5).await.expect("a read");
    assert_eq!(history, [password("new"), password("rehashed")]);
}

pub(super) async fn a_rotation_raises_the_two_versions_it_is_about(f: Fixture) {
    let (seen, other) = (f.account("ada").await, f.account("eve").await);
    f.must([f.db.rotate(&seen, at(1))]).await;
    let rotated = f.reread(&seen).await;
    assert_eq!(versions(&rotated), (1, 2, 2));
    f.misses(f.db.rotate(&seen, at(2))).await;
    f.misses(f.db.fence(&seen, at(2))).await;
    f.must([f.db.rotate(&rotated, at(3))]).await;
    assert_eq!(versions(&f.reread(&seen).await), (1, 3, 3));
    assert_eq!(
        versions(&f.reread(&other).await),
        (1, 1, 1),
        "nobody else's"
    );
    // Of those who read the same version one rotates; each who reads again raises it once more.
    let again = || f.db.rotate(&other, at(4));
    assert_eq!(f.race((0..50).map(|_| again()).collect()).await, 1);
    assert_eq!(versions(&f.reread(&other).await), (1, 2, 2));
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

pub(super) async fn a_state_is_set_once_and_raises_versions(f: Fixture) {
    let seen = f.account("ada").await;
    let locks = (0..20).map(|n| f.db.set_state(&seen, AccountState::Locked, at(n)));
    assert_eq!(f.race(locks.collect()).await, 1);
    let locked = f.reread(&seen).await;
    assert_eq!(locked.state, AccountState::Locked);
    assert_eq!(versions(&locked), (1, 2, 1));
    f.misses(f.db.fence(&seen, at(30))).await;
    f.must([f.db.set_state(&locked, AccountState::Inactive, at(31))])
        .await;
    let inactive = f.reread(&seen).await;
    assert_eq!(inactive.state, AccountState::Inactive);
    assert_eq!(versions(&inactive), (2, 3, 1), "links are worth nothing");
}

pub(super) async fn another_administrator_is_an_active_one(f: Fixture) {
    let make = async |name, state, roles: &[Role]| {
        let mut account = new_account(UserId(f.id()), name);
        (account.state, account.roles) = (state, roles.to_vec());
        f.must(f.db.insert(&account)).await;
        account
    };
    let active = AccountState::Active;
    let ada = make("ada", active, &[Role::Admin, Role::User]).await;
    make("bob", AccountState::Locked, &[Role::Admin]).await;
    make("cid", AccountState::Inactive, &[Role::Admin]).await;
    make("dan", active, &[Role::Support, Role::User]).await;
    f.misses(f.db.another_administrator(ada.id, at(1))).await;
    f.must([f.db.another_administrator(UserId(f.id()), at(1))])
        .await;
    let eve = make("eve", active, &[Role::Admin]).await;
    f.must([
        f.db.another_administrator(ada.id, at(1)),
        f.db.another_administrator(eve.id, at(1)),
    ])
    .await;
    let mut done = 0;
    for target in [&eve, &ada] {
        let lock = f.db.set_state(target, AccountState::Locked, at(2));
        let guard = f.db.another_administrator(target.id, at(2));
        done += u32::from(f.commit(vec![lock, guard]).await.is_ok());
    }
    assert_eq!(done, 1, "one is left");
    assert_eq!(f.db.administrators().await.expect("a read"), 1);
}

pub(super) async fn an_address_is_changed_once_and_never_to_a_taken_one(f: Fixture) {
    let seen = f.account("ada").await;
    f.account("bob").await;
    let to = |name: &str| Address::parse(&format!("{name}@example.org")).expect("an address");
    f.misses(f.db.set_email(&seen, &to("Bob"), at(5))).await;
    let changes = (0..20).map(|n| f.db.set_email(&seen, &to(&format!("Ada{n}")), at(5)));
    assert_eq!(f.race(changes.collect()).await, 1);
    let moved = f.reread(&seen).await;
    assert!(moved.email.typed().starts_with("Ada"));
    assert!(moved.email.canonical().starts_with("ada"));
    assert_eq!(moved.verified_at, Some(at(5)));
    assert_eq!(versions(&moved), (2, 2, 1));
    // The same address in another spelling is their own.
    f.must([f.db.set_email(&moved, &to("ADA"), at(6))]).await;
    let again = f.reread(&seen).await;
    assert_eq!(again.email.typed(), "ADA@example.org");
    assert_eq!(again.verified_at, Some(at(5)));
}

pub(super) async fn an_email_change_is_kept_until_it_ends(f: Fixture) {
    let (ada, bob) = (UserId(f.id()), UserId(f.id()));
    let change = |account, waits: bool| EmailChange {
        token: TokenId(f.id()),
        account,
        address: Address::parse("Ada@new.example").expect("an address"),
        attempt: waits.then(|| Waiting {
            workflow_id: f.id(),
            attempted_id: f.id(),
        }),
    };
    let (open, back) = (change(ada, true), change(ada, false));
    for given in [&open, &back, &change(bob, true)] {
        f.must([f.db.insert_email_change(given)]).await;
    }
    f.misses(f.db.insert_email_change(&open)).await;
    let find = async |token| f.db.email_change(token).await.expect("a read");
    for given in [&open, &back] {
        let found = find(given.token).await.expect("stored");
        assert_eq!((found.token, found.account), (given.token, ada));
        assert_eq!(found.address.typed(), "Ada@new.example");
        assert_eq!(found.attempt, given.attempt);
    }
    let of_ada = f.db.open_email_changes(ada).await.expect("a read");
    let tokens: Vec<_> = of_ada.iter().map(|change| change.token).collect();
    assert_eq!(tokens, [open.token]);
    let ends = (0..20).map(|_| f.db.end_email_change(open.token)).collect();
    assert_eq!(f.race(ends).await, 1);
    assert!(find(open.token).await.is_none());
    assert!(find(back.token).await.is_some());
}

pub(super) async fn who_is_erased_leaves_nothing_beside(f: Fixture) {
    let (ada, bob) = (f.account("ada").await, f.account("bob").await);
    let change = EmailChange {
        token: TokenId(f.id()),
        account: ada.id,
        address: Address::parse("ada@new.example").expect("an address"),
        attempt: None,
    };
    f.must([f.db.insert_email_change(&change)]).await;
    let mut seen = Vec::new();
    for account in [&ada, &bob] {
        f.must(f.db.set_password(account, Some(&password("second")), 5, at(1)))
            .await;
        seen.push(f.reread(account).await);
    }
    let done = f.commit(f.db.erase(&ada)).await;
    assert!(done.is_err(), "it was changed since it was read");
    f.must(f.db.erase(&seen[0])).await;
    f.db.scrub().await.expect("done");
    for (account, left) in [(&ada, false), (&bob, true)] {
        let id = account.id;
        assert_eq!(f.db.by_id(id).await.expect("a read").is_some(), left);
        let history = f.db.password_history(id, 5).await.expect("a read");
        assert_eq!(history.len(), usize::from(left));
        let path = f.db.counters(Path::Account(id)).await.expect("a read");
        assert_eq!(path.is_some(), left);
    }
    let change = f.db.email_change(change.token).await.expect("a read");
    assert!(change.is_none());
    let done = f.commit(f.db.erase(&seen[0])).await;
    assert!(done.is_err(), "it is gone");
    // Its address is free.
    f.account("ada").await;
}

pub(super) async fn those_never_verified_are_found_the_oldest_first(f: Fixture) {
    let mut all = Vec::new();
    for name in ["ada", "bob", "cid", "dan"] {
        all.push(f.account(name).await);
    }
    let [ada, bob, cid, dan] = &all[..] else {
        panic!("four");
    };
    f.must([f.db.verify_address(bob.id, at(1))]).await;
    f.must([f.db.grant_role(dan, Role::Admin)]).await;
    let end = ada.created_at.max(cid.created_at);
    let found = async |before, limit| f.db.never_verified(before, limit).await.expect("a read");
    assert_eq!(found(end, 9).await, [ada.id, cid.id]);
    assert_eq!(found(end, 1).await, [ada.id]);
    let early = ada.created_at - std::time::Duration::from_secs(1);
    assert!(found(early, 9).await.is_empty());

    f.must([f.db.verify_address(ada.id, at(2))]).await;
    let done = f.commit(f.db.erase(ada)).await;
    assert!(done.is_err(), "it was verified since it was read");
}

pub(super) async fn of_many_those_are_told_that_are_there(f: Fixture) {
    let (ada, bob) = (f.account("ada").await, f.account("bob").await);
    let gone = f.account("cid").await;
    f.must(f.db.erase(&gone)).await;
    let there = async |ids: &[UserId]| f.db.those_there(ids).await.expect("a read");
    let mut asked: Vec<_> = (0..2_000).map(|n| UserId(Uuid::from_u128(n))).collect();
    assert!(there(&asked).await.is_empty());
    asked.extend([bob.id, gone.id, ada.id]);
    let mut both = [ada.id, bob.id];
    both.sort();
    assert_eq!(there(&asked).await, both);
    assert!(there(&[]).await.is_empty());
}

pub(super) async fn taken_addresses_are_told_from_free_ones(f: Fixture) {
    let (ada, _) = (f.account("ada").await, f.account("bob").await);
    let taken = async |asked: &[String]| f.db.taken(asked).await.expect("a read");
    let mut asked: Vec<_> = (0..2_000).map(|n| format!("{n}@example.org")).collect();
    assert!(taken(&asked).await.is_empty());
    asked.push(ada.email.canonical().to_owned());
    assert_eq!(taken(&asked).await, [ada.email.canonical()]);
    assert!(taken(&[]).await.is_empty());
}

pub(super) async fn accounts_come_in_pages_by_id(f: Fixture) {
    let mut all = Vec::new();
    for name in ["ada", "bob", "cid", "dan"] {
        all.push(f.account(name).await);
    }
    f.must([f.db.set_state(&all[1], AccountState::Locked, at(1))])
        .await;
    f.must([f.db.set_state(&all[3], AccountState::Inactive, at(1))])
        .await;
    let page = async |after: Option<&Account>, state, limit| {
        let page = f.db.page(after.map(|a| a.id), state, limit).await;
        let page = page.expect("a read");
        page.into_iter().map(|a| a.id).collect::<Vec<_>>()
    };
    let ids = |of: &[usize]| of.iter().map(|n| all[*n].id).collect::<Vec<_>>();
    assert_eq!(page(None, None, 9).await, ids(&[0, 1, 2, 3]));
    assert_eq!(page(None, None, 2).await, ids(&[0, 1]));
    assert_eq!(page(Some(&all[1]), None, 9).await, ids(&[2, 3]));
    let (active, locked) = (Some(AccountState::Active), Some(AccountState::Locked));
    assert_eq!(page(None, active, 9).await, ids(&[0, 2]));
    assert_eq!(page(Some(&all[0]), active, 9).await, ids(&[2]));
    assert_eq!(page(None, locked, 9).await, ids(&[1]));
    assert!(page(Some(&all[1]), locked, 9).await.is_empty());
    assert_eq!(page(None, Some(AccountState::Inactive), 9).await, ids(&[3]));
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
