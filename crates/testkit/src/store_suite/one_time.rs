use quivive_app::ports::OneTimeTokens as _;
use quivive_delivery::Time;
use quivive_domain::one_time::{OneTimeToken, Purpose};
use quivive_domain::{TokenId, UserId};

use super::fixture::{Fixture, at};

async fn issue(f: &Fixture, account: UserId, purpose: Purpose, now: Time) -> OneTimeToken {
    let token = OneTimeToken {
        id: TokenId(f.id()),
        purpose,
        account,
        key: "k1".to_owned(),
        credential_epoch: 3,
        log_epoch: 9,
        expires_at: at(900),
        used_at: None,
        ended_at: None,
    };
    f.must([f.db.insert(&token, now)]).await;
    token
}

async fn reread(f: &Fixture, token: &OneTimeToken) -> OneTimeToken {
    let found = f.db.by_id(token.id).await.expect("a read");
    found.expect("the token is stored")
}

pub(super) async fn what_is_inserted_is_read_back(f: Fixture) {
    for purpose in Purpose::ALL {
        let token = issue(&f, UserId(f.id()), purpose, at(1)).await;
        let found = reread(&f, &token).await;
        assert_eq!(format!("{found:?}"), format!("{token:?}"));
        f.misses(f.db.insert(&token, at(1))).await;
    }
    assert!(f.db.by_id(TokenId(f.id())).await.expect("a read").is_none());
}

pub(super) async fn of_fifty_parallel_uses_one_succeeds(f: Fixture) {
    let token = issue(&f, UserId(f.id()), Purpose::ResetPassword, at(1)).await;
    let uses = (0..50).map(|_| f.db.redeem(token.id, at(2))).collect();
    assert_eq!(f.race(uses).await, 1);
    f.misses(f.db.redeem(token.id, at(3))).await;
    assert_eq!(reread(&f, &token).await.used_at, Some(at(2)));
    f.misses(f.db.redeem(TokenId(f.id()), at(3))).await;
}

pub(super) async fn an_ended_token_is_not_redeemed(f: Fixture) {
    let token = issue(&f, UserId(f.id()), Purpose::VerifyEmail, at(1)).await;
    f.must([f.db.end_open(token.account, token.purpose, at(2))])
        .await;
    f.misses(f.db.redeem(token.id, at(3))).await;
    let ended = reread(&f, &token).await;
    assert_eq!((ended.used_at, ended.ended_at), (None, Some(at(2))));
}

pub(super) async fn a_newer_token_ends_the_open_ones_of_its_purpose(f: Fixture) {
    let (ada, bob) = (UserId(f.id()), UserId(f.id()));
    let used = issue(&f, ada, Purpose::ResetPassword, at(1)).await;
    f.must([f.db.redeem(used.id, at(2))]).await;
    let open = issue(&f, ada, Purpose::ResetPassword, at(3)).await;
    let other_purpose = issue(&f, ada, Purpose::VerifyEmail, at(3)).await;
    let other_account = issue(&f, bob, Purpose::ResetPassword, at(3)).await;
    f.must([f.db.end_open(ada, Purpose::ResetPassword, at(4))])
        .await;
    f.must([f.db.end_open(ada, Purpose::ResetPassword, at(5))])
        .await;
    for (token, ended_at) in [
        (&used, None),
        (&open, Some(at(4))),
        (&other_purpose, None),
        (&other_account, None),
    ] {
        assert_eq!(reread(&f, token).await.ended_at, ended_at, "{token:?}");
    }
}

pub(super) async fn those_after_a_token_end_and_those_before_stay(f: Fixture) {
    let (ada, bob) = (UserId(f.id()), UserId(f.id()));
    let before = issue(&f, ada, Purpose::RevertEmail, at(1)).await;
    let token = issue(&f, ada, Purpose::RevertEmail, at(2)).await;
    let after = issue(&f, ada, Purpose::RevertEmail, at(3)).await;
    let other_purpose = issue(&f, ada, Purpose::VerifyEmail, at(3)).await;
    let other_account = issue(&f, bob, Purpose::RevertEmail, at(3)).await;
    let end = f.db.end_newer(token.id, ada, Purpose::RevertEmail, at(4));
    f.must([end]).await;
    for (token, ended_at) in [
        (&before, None),
        (&token, None),
        (&after, Some(at(4))),
        (&other_purpose, None),
        (&other_account, None),
    ] {
        assert_eq!(reread(&f, token).await.ended_at, ended_at, "{token:?}");
    }
}

pub(super) async fn letters_are_counted_within_the_hour_up_to_the_limit(f: Fixture) {
    let (ada, bob) = (UserId(f.id()), UserId(f.id()));
    let count = |account, kind, now| f.db.count_letter(account, kind, 3, now);
    for second in [0, 1, 3599] {
        f.must([count(ada, "reset", at(second))]).await;
    }
    f.misses(count(ada, "reset", at(3599))).await;
    f.must([
        count(ada, "welcome", at(3599)),
        count(bob, "reset", at(3599)),
    ])
    .await;
    for (account, kind, now, expected) in [
        (ada, "reset", at(3599), 3),
        (ada, "reset", at(3600), 0),
        (ada, "welcome", at(0), 1),
        (bob, "reset", at(0), 1),
        (bob, "welcome", at(0), 0),
    ] {
        let letters = f.db.letters(account, kind, now).await.expect("a read");
        assert_eq!(letters, expected, "{kind} at {now}");
    }
    f.must([count(ada, "reset", at(3600))]).await;
    assert_eq!(
        f.db.letters(ada, "reset", at(3600)).await.expect("a read"),
        1
    );
    f.misses(f.db.count_letter(bob, "none", 0, at(0))).await;
    f.misses(f.db.count_letter(ada, "reset", 1, at(3601))).await;
}

pub(super) async fn of_two_hundred_parallel_letters_the_limit_is_counted(f: Fixture) {
    let account = UserId(f.id());
    let letters = (0..200)
        .map(|_| f.db.count_letter(account, "reset", 3, at(5)))
        .collect();
    assert_eq!(f.race(letters).await, 3);
    assert_eq!(
        f.db.letters(account, "reset", at(5)).await.expect("a read"),
        3
    );
}
