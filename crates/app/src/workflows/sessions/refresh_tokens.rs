//! Refresh: a refresh token in, its successor and a new access token out. Each token serves once.
//!
//! A used token within ten seconds, from the same device and with the successor unused, is a parallel tab or a lost answer:
//! it gets the same successor again. Anything else is theft: the family is revoked, the session ends, the owner is told.
//! Source: documents 000, 004.

use quivive_delivery::Code;
use quivive_domain::AccountState;
use quivive_domain::FamilyId;
use quivive_domain::refresh::{Presented, RefreshToken, Reuse, Use};
use quivive_domain::session::InvalidatedBy;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq as _;

use crate::devices;
use crate::facts::{
    SessionInvalidated, TokenFamilyRevoked, TokenRejectedDueToRotation, TokenReuseDetected,
};
use crate::sessions::{Tokens, holder, replay, rotate, secret_hash};
use crate::workflows::prelude::*;

pub struct RefreshTokens {
    /// `None`: what was presented does not even look like a token.
    pub token: Option<Presented>,
    pub device_token: Option<SecretString>,
}

#[derive(Event)]
#[event(
    type = "token.refresh.attempted",
    version = 1,
    name = "AuthTokenRefreshAttempted",
    audit = "AUTH_TOKEN_REFRESH_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: Option<UserId>,
}

#[derive(Event)]
#[event(
    type = "token.refresh.succeeded",
    version = 1,
    name = "AuthTokenRefreshSucceeded",
    audit = "AUTH_TOKEN_REFRESHED",
    also = ["TokenRefreshed", "SessionRefreshed"]
)]
pub struct Succeeded {
    pub user_id: UserId,
    pub session_id: SessionId,
    pub family_id: FamilyId,
    pub token_id: TokenId,
    pub old_token_id: TokenId,
    pub generation: u32,
    /// The same successor was given again.
    pub replayed: bool,
}

#[derive(Event)]
#[event(
    type = "token.refresh.failed",
    version = 1,
    name = "AuthTokenRefreshFailed",
    audit = "AUTH_TOKEN_REFRESH_FAILED"
)]
pub struct Failed {
    pub user_id: Option<UserId>,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    TokenExpired,
    TokenInvalid,
    UserInactive,
    TokenVersionRejected,
    TokenReused,
    SessionEnded,
}

impl Workflow for RefreshTokens {
    const NAME: &'static str = "auth_token_refresh";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Tokens;

    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        match (self.find(cx).await?, &self.token) {
            (Some(token), _) => {
                let subject = Subject::Account(token.account.id);
                // Guarded by the token's and the session's rows: what has changed meanwhile is read again.
                cx.keep(token);
                Ok(subject)
            }
            (None, Some(presented)) => cx.digest("token", presented.id.0.as_bytes()).await,
            (None, None) => cx.source().await,
        }
    }

    fn attempted(&self, subject: &Subject) -> Attempted {
        Attempted {
            user_id: subject.account(),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            user_id: attempted.user_id,
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let (Some(presented), Some(token)) = (&self.token, self.find(cx).await?) else {
            return refuse(Refusal::TokenInvalid);
        };
        if token.expires_at <= cx.now() {
            return refuse(Refusal::TokenExpired);
        }
        if !token.session.is_live(cx.now()) {
            return refuse(Refusal::SessionEnded);
        }
        if token.account.state != AccountState::Active {
            return refuse(Refusal::UserInactive);
        }
        let device_token = self.device_token.as_ref().map(ExposeSecret::expose_secret);
        let device = devices::known(cx, &token.account, device_token).await?;
        let holder = holder(cx, device.map(|device| device.id));
        let honest_retry = cx.settings.lifetimes.honest_retry;
        let reuse = token
            .used
            .as_ref()
            .map(|used| used.judge(&holder, cx.now(), honest_retry));
        // Theft is theft whatever versions it carries: the family may have gone on with newer ones.
        if reuse == Some(Reuse::Theft) {
            return theft(cx, &token).await;
        }
        if let Some(outdated) = token.outdated() {
            let mut commit = Commit::default();
            commit.fact(&TokenRejectedDueToRotation {
                user_id: Some(token.account.id),
                token_version: outdated.carried,
                required_version: outdated.required,
                rejection_reason: Code::new(if outdated.global {
                    "global_rotation"
                } else {
                    "user_rotation"
                }),
            });
            return refuse_with(Refusal::TokenVersionRejected, commit);
        }
        if let Some(used) = &token.used {
            return again(cx, presented, &token, used).await;
        }

        let mut commit = Commit::default();
        let (successor, tokens) = rotate(&mut commit, cx, presented, &token, holder)?;
        commit.acted_by(token.account.id);
        succeed(commit, succeeded(&token, successor, false), tokens)
    }
}

impl RefreshTokens {
    /// The row of the presented token, if its secret is right.
    async fn find(&self, cx: &Cx) -> Result<Option<RefreshToken>, Fault> {
        let Some(presented) = &self.token else {
            return Ok(None);
        };
        if let Some(token) = cx.kept() {
            return Ok(Some(token));
        }
        let hash = secret_hash(presented.secret());
        let found = cx.sessions.refresh_token(presented.id).await?;
        Ok(found.filter(|token| token.hash.ct_eq(&hash).into()))
    }
}

fn succeeded(token: &RefreshToken, successor: TokenId, replayed: bool) -> Succeeded {
    Succeeded {
        user_id: token.account.id,
        session_id: token.session.id,
        family_id: token.family,
        token_id: successor,
        old_token_id: token.id,
        generation: token.generation + 1,
        replayed,
    }
}

/// The honest retry: the same successor, no new leaf. Guarded by the session, so that one that ended meanwhile misses.
async fn again(
    cx: &Cx,
    presented: &Presented,
    token: &RefreshToken,
    used: &Use,
) -> Run<RefreshTokens> {
    // Without its key the successor cannot be given again. That is our doing, not theft.
    let Some(tokens) = replay(cx, presented, token, used).await? else {
        return refuse(Refusal::TokenExpired);
    };
    let mut commit = Commit::default();
    commit.write(
        cx.sessions
            .touch(token.session.id, token.session.idle_until, cx.now()),
    );
    commit.acted_by(token.account.id);
    succeed(commit, succeeded(token, used.successor, true), tokens)
}

async fn theft(cx: &Cx, token: &RefreshToken) -> Run<RefreshTokens> {
    let (user_id, family_id) = (token.account.id, token.family);
    let mut commit = Commit::default();
    commit.write(cx.sessions.end(token.session.id, cx.now()));
    commit.fact(&TokenReuseDetected {
        family_id,
        user_id,
        token_id: token.id,
        generation: token.generation,
    });
    commit.fact(&TokenFamilyRevoked {
        family_id,
        user_id,
        revocation_reason: Code::new("token_reuse"),
        member_count: cx.sessions.family_size(token.id).await?,
    });
    commit.fact(&SessionInvalidated {
        session_id: token.session.id,
        user_id,
        reason: InvalidatedBy::TokenReuse,
    });
    refuse_with(Refusal::TokenReused, commit)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use quivive_delivery::Event as _;

    use super::*;
    use crate::testing::{Scene, account, given};
    use crate::workflows::sessions::log_out::LogOut;

    const THEFT: [&str; 3] = [
        "token.reuse_detected",
        "token.family_revoked",
        "session.invalidated",
    ];
    const DAY: u64 = 24 * 3600;

    fn refresh(tokens: &Tokens) -> RefreshTokens {
        RefreshTokens {
            token: Presented::parse(tokens.refresh_token.expose_secret()),
            device_token: None,
        }
    }

    fn same(one: &Tokens, two: &Tokens) -> bool {
        one.refresh_token.expose_secret() == two.refresh_token.expose_secret()
    }

    async fn signed_in() -> (Scene, Tokens) {
        let scene = given(account().verified().with_sessions(1));
        let tokens = scene.signed_in().await;
        (scene, tokens)
    }

    #[tokio::test]
    async fn a_token_gets_its_successor() {
        let (scene, first) = signed_in().await;
        let told = scene
            .after(3600)
            .when(refresh(&first))
            .await
            .succeeded()
            .raised(&["token.issued"]);
        let said = told.open(Succeeded::META.kind);
        assert_eq!(
            (&said["generation"], &said["replayed"]),
            (&2.into(), &false.into())
        );
        assert_eq!(
            said["old_token_id"],
            Presented::parse(first.refresh_token.expose_secret())
                .unwrap()
                .id
                .to_string()
        );
        assert_eq!(said["token_id"], told.open("token.issued")["token_id"]);
        assert_eq!(told.events[1].envelope.actor.id, Some(scene.user.0));
        let log = format!("{:?}", scene.world.log());
        let second = told.reply();
        assert!(!same(&first, &second) && !log.contains(second.refresh_token.expose_secret()));
        assert_eq!(first.session_id, second.session_id);
        let idle_until = scene
            .world
            .see(|s| s.sessions[&first.session_id].idle_until);
        assert_eq!(
            idle_until,
            scene.world.now() + Duration::from_secs(14 * DAY)
        );
        scene.when(refresh(&second)).await.succeeded();
    }

    #[tokio::test]
    async fn what_is_no_token_of_ours_is_invalid() {
        let (scene, tokens) = signed_in().await;
        let good = Presented::parse(tokens.refresh_token.expose_secret()).unwrap();
        for (token, key) in [
            (None, "source:"),
            (
                Some(Presented::new(
                    TokenId(uuid::Uuid::from_u128(7)),
                    *good.secret(),
                )),
                "token:",
            ),
            (Some(Presented::new(good.id, [7; 32])), "token:"),
        ] {
            let device_token = None;
            let told = scene
                .when(RefreshTokens {
                    token,
                    device_token,
                })
                .await
                .refused(Refusal::TokenInvalid);
            assert!(
                told.events[0].envelope.key.as_str().starts_with(key),
                "{:?}",
                told.events[0].envelope.key
            );
        }
        scene.when(refresh(&tokens)).await.succeeded();
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let (scene, tokens) = signed_in().await;
        scene
            .after(14 * DAY)
            .when(refresh(&tokens))
            .await
            .refused(Refusal::SessionEnded)
            .raised(&[]);
        scene
            .after(16 * DAY)
            .when(refresh(&tokens))
            .await
            .refused(Refusal::TokenExpired)
            .raised(&[]);

        let (scene, tokens) = signed_in().await;
        for state in [AccountState::Inactive, AccountState::Locked] {
            scene
                .world
                .change(|s| s.accounts.get_mut(&scene.user).unwrap().state = state);
            scene
                .when(refresh(&tokens))
                .await
                .refused(Refusal::UserInactive)
                .raised(&[]);
        }

        let (scene, tokens) = signed_in().await;
        let log_out = LogOut::resolve(
            scene.kernel.families(),
            None,
            Some(tokens.refresh_token.expose_secret()),
        );
        scene
            .when(log_out.await.unwrap().unwrap())
            .await
            .succeeded();
        scene
            .when(refresh(&tokens))
            .await
            .refused(Refusal::SessionEnded)
            .raised(&[]);
    }

    #[tokio::test]
    async fn a_token_that_a_rotation_left_behind_is_told_which_versions() {
        for (global, reason) in [(false, "user_rotation"), (true, "global_rotation")] {
            let (scene, tokens) = signed_in().await;
            scene.world.change(|s| {
                if global {
                    (s.global.current, s.global.floor) = (2, 2);
                } else {
                    s.accounts.get_mut(&scene.user).unwrap().token_version = 2;
                }
            });
            let told = scene
                .when(refresh(&tokens))
                .await
                .refused(Refusal::TokenVersionRejected);
            let told = told.raised(&["token.rejected_due_to_rotation"]);
            let said = told.open("token.rejected_due_to_rotation");
            assert_eq!(
                (&said["token_version"], &said["required_version"]),
                (&1.into(), &2.into())
            );
            assert_eq!(said["rejection_reason"], reason);
            assert_eq!(scene.open_sessions(), 2, "nothing is revoked");
            let again = scene.signed_in().await;
            scene.when(refresh(&again)).await.succeeded();
        }
    }

    #[tokio::test]
    async fn a_grace_period_admits_the_version_before() {
        let (scene, tokens) = signed_in().await;
        scene.world.change(|s| s.global.current = 2);
        let tokens = scene.when(refresh(&tokens)).await.succeeded().reply();
        scene.world.change(|s| s.global.floor = 2);
        scene.when(refresh(&tokens)).await.succeeded();
    }

    #[tokio::test]
    async fn an_honest_retry_gets_the_same_successor_again() {
        let (scene, first) = signed_in().await;
        let second = scene.when(refresh(&first)).await.succeeded().reply();
        let rows = scene.world.see(|s| s.refresh.len());
        let told = scene
            .after(10)
            .when(refresh(&first))
            .await
            .succeeded()
            .raised(&[]);
        assert_eq!(told.open(Succeeded::META.kind)["replayed"], true);
        assert!(same(&second, &told.reply()));
        assert_eq!(scene.world.see(|s| s.refresh.len()), rows, "no new leaf");
        scene.when(refresh(&second)).await.succeeded();
    }

    #[tokio::test]
    async fn a_key_that_rotates_meanwhile_makes_no_theft_of_a_retry() {
        let (scene, first) = signed_in().await;
        let second = scene.when(refresh(&first)).await.succeeded().reply();
        scene.world.rotate_key("k2");
        let again = scene.when(refresh(&first)).await.succeeded().raised(&[]);
        assert!(same(&second, &again.reply()));
        let third = scene.when(refresh(&second)).await.succeeded().reply();
        let again = scene.when(refresh(&second)).await.succeeded().reply();
        assert!(same(&third, &again), "derived under the new one");
    }

    /// A token that opens nothing would look like a good one; and nobody stole anything.
    #[tokio::test]
    async fn a_successor_whose_key_is_gone_is_neither_made_up_nor_theft() {
        let (scene, first) = signed_in().await;
        let second = scene.when(refresh(&first)).await.succeeded().reply();
        scene.world.change(|s| {
            for row in s.refresh.values_mut() {
                if let Some((_, _, _, key)) = &mut row.used {
                    "gone".clone_into(key);
                }
            }
        });
        scene
            .when(refresh(&first))
            .await
            .refused(Refusal::TokenExpired)
            .raised(&[]);
        scene.when(refresh(&second)).await.succeeded();
    }

    #[tokio::test]
    async fn a_retry_is_left_behind_by_a_rotation_like_any_other() {
        let (scene, first) = signed_in().await;
        scene.when(refresh(&first)).await.succeeded();
        let user = scene.user;
        scene
            .world
            .change(|s| s.accounts.get_mut(&user).unwrap().token_version = 2);
        scene
            .when(refresh(&first))
            .await
            .refused(Refusal::TokenVersionRejected)
            .raised(&["token.rejected_due_to_rotation"]);
    }

    #[tokio::test]
    async fn a_used_token_of_an_old_version_is_theft_still() {
        let (scene, first) = signed_in().await;
        scene.world.change(|s| s.global.current = 2);
        let second = scene.when(refresh(&first)).await.succeeded().reply();
        scene.world.change(|s| s.global.floor = 2);
        stolen(scene.after(11), &first, &second).await;
    }

    #[tokio::test]
    async fn a_device_token_makes_a_retry_honest_from_anywhere() {
        let (scene, first) = signed_in().await;
        let with_device = || RefreshTokens {
            device_token: first.device_token.clone(),
            ..refresh(&first)
        };
        let second = scene.when(with_device()).await.succeeded().reply();
        let elsewhere = scene.from([198, 51, 100, 9], "another agent");
        assert!(same(
            &second,
            &elsewhere.when(with_device()).await.succeeded().reply()
        ));
        elsewhere
            .when(refresh(&first))
            .await
            .refused(Refusal::TokenReused);
    }

    /// Theft: the family and its session are gone, and the owner's other session is not.
    async fn stolen(scene: &Scene, first: &Tokens, newest: &Tokens) {
        let told = scene
            .when(refresh(first))
            .await
            .refused(Refusal::TokenReused)
            .raised(&THEFT);
        let members = scene.world.see(|s| s.refresh.len());
        assert_eq!(told.open("token.family_revoked")["member_count"], members);
        assert_eq!(told.open("session.invalidated")["reason"], "token_reuse");
        assert_eq!(told.open("token.reuse_detected")["generation"], 1);
        assert_eq!(scene.open_sessions(), 1);
        scene
            .when(refresh(newest))
            .await
            .refused(Refusal::SessionEnded)
            .raised(&[]);
        scene
            .when(refresh(first))
            .await
            .refused(Refusal::SessionEnded)
            .raised(&[]);
    }

    #[tokio::test]
    async fn too_late_is_theft() {
        let (scene, first) = signed_in().await;
        let second = scene.when(refresh(&first)).await.succeeded().reply();
        stolen(scene.after(11), &first, &second).await;
    }

    #[tokio::test]
    async fn another_device_is_theft() {
        for (ip, agent) in [
            ([198, 51, 100, 9], "Mozilla/5.0 Firefox/140.0"),
            ([192, 0, 2, 1], "curl/8"),
        ] {
            let (scene, first) = signed_in().await;
            let second = scene.when(refresh(&first)).await.succeeded().reply();
            stolen(&scene.from(ip, agent), &first, &second).await;
        }
    }

    #[tokio::test]
    async fn a_used_successor_is_theft() {
        let (scene, first) = signed_in().await;
        let second = scene.when(refresh(&first)).await.succeeded().reply();
        let third = scene.when(refresh(&second)).await.succeeded().reply();
        stolen(&scene, &first, &third).await;
    }

    #[tokio::test]
    async fn twenty_tabs_at_once_get_one_successor() {
        let (scene, first) = signed_in().await;
        let told = join_all((0..20).map(|_| scene.when(refresh(&first)))).await;
        let replies: Vec<_> = told.into_iter().map(|t| t.succeeded().reply()).collect();
        assert!(replies.iter().all(|tokens| same(tokens, &replies[0])));
        assert_eq!(scene.world.see(|s| s.refresh.len()), 2, "one leaf");
        let issued = scene
            .world
            .kinds()
            .iter()
            .filter(|kind| *kind == "token.issued")
            .count();
        assert_eq!(issued, 2, "one at the login, one now");
    }

    #[tokio::test]
    async fn of_two_devices_at_once_neither_keeps_the_session() {
        let (scene, first) = signed_in().await;
        let elsewhere = scene.from([198, 51, 100, 9], "curl/8");
        let (one, two) = tokio::join!(scene.when(refresh(&first)), elsewhere.when(refresh(&first)));
        let (won, lost) = if one.answer.is_ok() {
            (one, two)
        } else {
            (two, one)
        };
        let second = won.succeeded().reply();
        lost.refused(Refusal::TokenReused).raised(&THEFT);
        scene
            .when(refresh(&second))
            .await
            .refused(Refusal::SessionEnded);
    }

    #[tokio::test]
    async fn a_session_that_ends_meanwhile_gets_no_token() {
        for retry in [false, true] {
            let (scene, first) = signed_in().await;
            if retry {
                scene.when(refresh(&first)).await.succeeded();
            }
            let rows = scene.world.see(|s| s.refresh.len());
            let (session, now) = (first.session_id, scene.world.now());
            scene.world.meanwhile(Succeeded::META.kind, 1, move |s| {
                s.sessions.get_mut(&session).unwrap().ended_at = Some(now);
            });
            scene
                .when(refresh(&first))
                .await
                .refused(Refusal::SessionEnded)
                .raised(&[]);
            assert_eq!(scene.world.missed(), ["session touch"]);
            assert_eq!(scene.world.see(|s| s.refresh.len()), rows);
        }
    }
}
