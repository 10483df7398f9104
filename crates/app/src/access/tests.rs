use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use quivive_domain::Rationale;
use secrecy::ExposeSecret as _;

use super::*;
use crate::ports::{AccessTokens, OldKeys, Read, RotatedKeys};
use crate::sessions::Tokens;
use crate::step_up::By;
use crate::testing::{
    NEW_PASSWORD, PASSWORD, Scene, State, World, account, account_of, given, password, refresh,
};
use crate::workflows::operators::bootstrap_administrator::{BootstrapAdministrator, Method};
use crate::workflows::passwords::change_password::{self, ChangePassword};
use crate::workflows::passwords::confirm_password_reset::ConfirmPasswordReset;
use crate::workflows::rotations::rotate_all_tokens::RotateAllTokens;
use crate::workflows::rotations::rotate_user_tokens::RotateUserTokens;
use crate::workflows::sessions::log_out::LogOut;

async fn signed_in() -> (Scene, Access, Tokens) {
    let scene = given(account().verified());
    let tokens = scene.signed_in().await;
    let access = Access::new(Arc::clone(scene.kernel.families()));
    (scene, access, tokens)
}

/// As [`signed_in`], a second after the start of a server that follows the log.
async fn followed() -> (Scene, Access, Tokens) {
    let scene = given(account().verified().with_reset_token());
    let families = Arc::clone(scene.kernel.families());
    families.revocations.begin(1, scene.world.now());
    families.revocations.followed(Instant::now());
    scene.world.pass(Duration::from_secs(1));
    let tokens = scene.signed_in().await;
    (scene, Access::new(families), tokens)
}

async fn caller(access: &Access, tokens: &Tokens) -> Option<Caller> {
    access
        .authenticate(tokens.access_token.expose_secret())
        .await
        .expect("no fault")
}

#[tokio::test]
async fn a_good_token_says_who_calls() {
    for (scene, access, tokens) in [signed_in().await, followed().await] {
        let who = caller(&access, &tokens).await.expect("good");
        assert_eq!((who.user, who.session), (scene.user, tokens.session_id));
        assert_eq!(who.proved_at, scene.world.now());
        let account = access.account(&who).await.expect("no fault");
        assert_eq!(account.expect("there").id, scene.user);
        assert_eq!(
            (who.is_admin(), who.actor()),
            (false, Actor::User(scene.user))
        );
    }
    let scene = given(account().verified().role(Role::Admin));
    let tokens = scene.signed_in().await;
    let access = Access::new(Arc::clone(scene.kernel.families()));
    assert_eq!(
        caller(&access, &tokens).await.expect("good").actor(),
        Actor::Admin(scene.user)
    );
}

/// It is remembered for a second, unless something was said of it.
#[tokio::test(start_paused = true)]
async fn the_account_is_as_it_was_when_something_was_said_of_it_last() {
    let (scene, access, tokens) = followed().await;
    let who = caller(&access, &tokens).await.expect("good");
    let locale = async || {
        access
            .account(&who)
            .await
            .expect("no fault")
            .expect("there")
            .locale
    };
    let before = locale().await;
    scene.world.change(|s| {
        s.accounts
            .values_mut()
            .for_each(|account| "eo".clone_into(&mut account.locale));
    });
    assert_eq!(locale().await, before);
    scene.kernel.families().note(Said::Changed(scene.user));
    assert_eq!(locale().await, "eo");
}

type Change = fn(&mut State);

const CHANGES: [(&str, Change); 7] = [
    ("the session is gone", |s| s.sessions.clear()),
    ("the session was ended", |s| {
        s.sessions
            .values_mut()
            .for_each(|session| session.ended_at = Some(session.created_at));
    }),
    ("the session was idle", |s| {
        s.sessions
            .values_mut()
            .for_each(|session| session.idle_until = session.created_at);
    }),
    ("the account is inactive", |s| {
        s.accounts
            .values_mut()
            .for_each(|account| account.state = AccountState::Inactive);
    }),
    ("the account is locked", |s| {
        s.accounts
            .values_mut()
            .for_each(|account| account.state = AccountState::Locked);
    }),
    ("the user's version was raised", |s| {
        s.accounts
            .values_mut()
            .for_each(|account| account.token_version = 2);
    }),
    ("the global floor was raised", |s| {
        s.rotations.insert(2, Time::UNIX_EPOCH);
    }),
];

#[tokio::test]
async fn one_line_for_each_refusal() {
    for (why, change) in CHANGES {
        let (scene, access, tokens) = signed_in().await;
        scene.world.change(change);
        assert!(caller(&access, &tokens).await.is_none(), "{why}");
        // Whatever it was, something was said of the account.
        let (scene, access, tokens) = followed().await;
        assert!(caller(&access, &tokens).await.is_some());
        scene.world.change(change);
        let families = scene.kernel.families();
        families.note(Said::Changed(scene.user));
        assert!(caller(&access, &tokens).await.is_none(), "{why}");
    }
    for (scene, access, tokens) in [signed_in().await, followed().await] {
        assert!(access.authenticate("nonsense").await.unwrap().is_none());
        assert!(caller(&access, &tokens).await.is_some());
        scene.world.pass(Duration::from_mins(15));
        assert!(caller(&access, &tokens).await.is_none(), "its time is over");
    }
}

#[tokio::test]
async fn a_token_ends_with_its_session() {
    let (scene, _, tokens) = signed_in().await;
    scene.world.change(|s| {
        let session = s.sessions.get_mut(&tokens.session_id).expect("there");
        session.expires_at = session.created_at + Duration::from_mins(1);
    });
    let tokens = scene.when(refresh(&tokens)).await.succeeded().reply();
    assert_eq!(tokens.expires_in, 60);
    let access = Access::new(Arc::clone(scene.kernel.families()));
    scene.world.pass(Duration::from_secs(59));
    assert!(caller(&access, &tokens).await.is_some());
    scene.world.pass(Duration::from_secs(1));
    let families = scene.kernel.families();
    let token = tokens.access_token.expose_secret();
    assert!(
        families
            .access_tokens
            .verify(token, scene.world.now())
            .is_none()
    );
}

#[tokio::test]
async fn a_token_serves_its_own_account_alone() {
    let (scene, access, tokens) = signed_in().await;
    let scene = scene.and(account_of("eve@example.org").verified());
    let tokens_of = &scene.kernel.families().access_tokens;
    let token = tokens.access_token.expose_secret();
    let mut claims = tokens_of.verify(token, scene.world.now()).unwrap();
    claims.sub = scene.user;
    let token = tokens_of.sign(&claims).unwrap();
    assert!(access.authenticate(&token).await.unwrap().is_none());
}

/// What nobody said is not looked for; what cannot be looked up lets nobody in.
#[tokio::test(start_paused = true)]
async fn memory_spares_the_database_and_without_both_nobody_gets_in() {
    let (scene, access, tokens) = followed().await;
    scene.world.fail_reads(true);
    assert!(caller(&access, &tokens).await.is_some(), "nothing is read");
    tokio::time::advance(FRESH).await;
    let stale = access
        .authenticate(tokens.access_token.expose_secret())
        .await;
    assert!(stale.is_err(), "nobody follows, and nothing can be read");
    scene.world.fail_reads(false);
    assert!(caller(&access, &tokens).await.is_some());

    let (scene, access, tokens) = followed().await;
    let families = scene.kernel.families();
    families.note(Said::Changed(scene.user));
    scene.world.fail_reads(true);
    let unknown = access
        .authenticate(tokens.access_token.expose_secret())
        .await;
    assert!(unknown.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_looked_up_is_remembered_for_a_second() {
    let (scene, access, tokens) = signed_in().await;
    assert!(caller(&access, &tokens).await.is_some());
    scene.world.change(CHANGES[1].1);
    tokio::time::advance(Duration::from_millis(999)).await;
    assert!(caller(&access, &tokens).await.is_some(), "it is remembered");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(caller(&access, &tokens).await.is_none());

    // Unless something was said since.
    let (scene, access, tokens) = signed_in().await;
    assert!(caller(&access, &tokens).await.is_some());
    scene.world.change(CHANGES[5].1);
    let families = scene.kernel.families();
    families.note(Said::Changed(scene.user));
    assert!(caller(&access, &tokens).await.is_none());
}

fn rationale(text: &str) -> Rationale {
    Rationale::parse(text).expect("it fits")
}

async fn revoke(scene: &Scene, tokens: &Tokens, how: &str) {
    match how {
        "logout" => {
            let token = Some(tokens.refresh_token.expose_secret());
            let log_out = LogOut::resolve(scene.kernel.families(), None, token);
            scene
                .when(log_out.await.unwrap().unwrap())
                .await
                .succeeded();
        }
        "password change" => {
            let other = scene.signed_in().await;
            let change = ChangePassword {
                user: scene.user,
                change: change_password::Change::Own {
                    session: other.session_id,
                    current: password(PASSWORD),
                    new: password(NEW_PASSWORD),
                },
            };
            scene.when(change).await.succeeded();
        }
        "reset" => {
            let reset = ConfirmPasswordReset {
                token: scene.token(quivive_domain::one_time::Purpose::ResetPassword),
                new_password: password(NEW_PASSWORD),
            };
            scene.when(reset).await.succeeded();
        }
        "rotation" => {
            let rotate = RotateAllTokens {
                by: None,
                reason: rationale("breach"),
                grace: None,
            };
            scene.when(rotate).await.succeeded();
        }
        "user rotation" => {
            let rotate = RotateUserTokens {
                user: scene.user,
                by: By::System,
                reason: rationale("lost"),
                devices: crate::workflows::rotations::rotate_user_tokens::Devices::Kept,
            };
            scene.when(rotate).await.succeeded();
        }
        _ => {
            let bootstrap = BootstrapAdministrator {
                email: "ada@example.org".to_owned(),
                password: password(NEW_PASSWORD),
                method: Method::Command,
            };
            scene.when(bootstrap).await.succeeded();
        }
    }
}

/// Before the subscriber hears of it, and whether or not anybody follows the log.
#[tokio::test]
async fn what_a_workflow_revokes_is_refused_as_soon_as_it_answers() {
    for how in [
        "logout",
        "password change",
        "reset",
        "rotation",
        "user rotation",
        "bootstrap",
    ] {
        for (scene, access, tokens) in [followed().await, {
            let scene = given(account().verified().with_reset_token());
            let tokens = scene.signed_in().await;
            let access = Access::new(Arc::clone(scene.kernel.families()));
            (scene, access, tokens)
        }] {
            assert!(caller(&access, &tokens).await.is_some(), "{how}");
            revoke(&scene, &tokens, how).await;
            assert!(caller(&access, &tokens).await.is_none(), "{how}");
        }
    }
}

#[tokio::test]
async fn of_fifty_requests_beside_a_sign_out_none_that_begins_after_it_gets_in() {
    let (scene, access, tokens) = followed().await;
    let over = std::sync::atomic::AtomicBool::new(false);
    let ask = async || {
        for _ in 0..20 {
            let after = over.load(std::sync::atomic::Ordering::SeqCst);
            let got_in = caller(&access, &tokens).await.is_some();
            assert!(!(after && got_in));
            tokio::task::yield_now().await;
        }
    };
    let asking = join_all((0..50).map(|_| ask()));
    let leaving = async {
        revoke(&scene, &tokens, "logout").await;
        over.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    futures_util::future::join(asking, leaving).await;
    assert!(caller(&access, &tokens).await.is_none());
}

/// Whatever of the account a refresh had read when the role was taken.
#[tokio::test]
async fn a_token_that_was_decided_before_a_role_was_taken_does_not_have_it() {
    for turns in 0..12 {
        let scene = given(account().verified().role(Role::Admin));
        let families = Arc::clone(scene.kernel.families());
        families.revocations.begin(1, scene.world.now());
        families.revocations.followed(Instant::now());
        let tokens = scene.signed_in().await;
        let access = Access::new(Arc::clone(&families));
        let taken = async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            scene.world.change(|s| {
                s.accounts
                    .values_mut()
                    .for_each(|account| account.roles.clear());
            });
            families.note(Said::Changed(scene.user));
            scene.world.pass(Duration::from_secs(1));
        };
        let (told, ()) = futures_util::future::join(scene.when(refresh(&tokens)), taken).await;
        let tokens = told.succeeded().reply();
        let who = caller(&access, &tokens).await.expect("good");
        assert!(!who.is_admin(), "after {turns} turns");
    }
}

/// Of what the log says now, who was at its head a while ago knows nothing.
#[tokio::test(start_paused = true)]
async fn it_counts_as_followed_as_of_when_everything_up_to_the_head_was_noted() {
    use std::sync::atomic::{AtomicU64, Ordering};

    use quivive_delivery::Log as _;

    let (scene, access, _) = followed().await;
    tokio::time::advance(FRESH).await;
    let families = scene.kernel.families();
    let head = || scene.world.head().borrow().position;
    let (before, reached) = (head(), AtomicU64::new(0));
    let follow = access.follow(&scene.world, || reached.load(Ordering::SeqCst));
    let watch = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        scene.world.pass(Duration::from_secs(1));
        let tokens = scene.signed_in().await;
        let now = scene.world.now();
        let token = tokens.access_token.expose_secret();
        let claims = families.access_tokens.verify(token, now);
        let claims = claims.expect("good");
        let from_memory = || families.revocations.judge(&claims, now) == Verdict::Good;
        reached.store(before, Ordering::SeqCst);
        for _ in 0..30 {
            tokio::time::sleep(LOOK_EVERY).await;
            assert!(!from_memory(), "the head has moved on");
        }
        reached.store(head(), Ordering::SeqCst);
        tokio::time::sleep(3 * LOOK_EVERY).await;
        assert!(from_memory());
    };
    tokio::select! {
        () = follow => unreachable!("it goes on"),
        () = watch => {}
    }
}

/// A signature that was found good says nothing once its key is not.
#[tokio::test]
async fn a_token_of_a_revoked_key_is_not_remembered() {
    for (scene, access, tokens) in [signed_in().await, followed().await] {
        assert!(caller(&access, &tokens).await.is_some());
        let (keys, now) = (&scene.kernel.families().access_tokens, scene.world.now());
        keys.rotate(OldKeys::ServeOn, now).await.expect("rotated");
        assert!(caller(&access, &tokens).await.is_some());
        keys.rotate(OldKeys::Revoked, now).await.expect("rotated");
        assert!(caller(&access, &tokens).await.is_none());
    }
}

/// Tokens whose key is revoked while their signature is looked at.
struct Late {
    world: World,
    revoked: AtomicBool,
}

impl AccessTokens for Late {
    fn sign(&self, claims: &AccessClaims) -> Result<String, Fault> {
        self.world.sign(claims)
    }

    fn verify(&self, token: &str, now: Time) -> Option<AccessClaims> {
        let claims = self.world.verify(token, now);
        if !self.revoked.swap(true, Ordering::Relaxed) {
            // It is done at once in there.
            drop(self.world.rotate(OldKeys::Revoked, now));
        }
        claims
    }

    fn generation(&self) -> u64 {
        self.world.generation()
    }

    fn jwks(&self, now: Time) -> serde_json::Value {
        self.world.jwks(now)
    }

    fn rotate(&self, old: OldKeys, now: Time) -> Read<'_, RotatedKeys> {
        self.world.rotate(old, now)
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_while_a_signature_is_looked_at_is_felt_the_next_time() {
    let (scene, _, tokens) = signed_in().await;
    let late = Late {
        world: scene.world.clone(),
        revoked: AtomicBool::new(false),
    };
    let verified = Verified::new(16);
    let (token, now) = (tokens.access_token.expose_secret(), scene.world.now());
    assert!(verified.claims(&late, token, now).is_some());
    assert!(verified.claims(&late, token, now).is_none());
}
