//! Tokens that a service asks about: the same judgement as of whoever comes with one. Whatever is not good is nothing, and
//! why is not told.

use std::sync::Arc;

use quivive_delivery::Fault;
use quivive_domain::refresh::{Presented, RefreshToken};
use quivive_domain::{Role, SessionId, TokenId, UserId};

use super::Access;
use crate::ports::AccessClaims;
use crate::sessions;

/// A token that is good now.
#[derive(Debug, Clone)]
pub enum Good {
    Access {
        claims: Arc<AccessClaims>,
        /// As they are now; the token has them as they were.
        roles: Vec<Role>,
    },
    Refresh(Box<RefreshToken>),
}

impl Good {
    pub fn user(&self) -> UserId {
        match self {
            Self::Access { claims, .. } => claims.sub,
            Self::Refresh(token) => token.account.id,
        }
    }

    pub fn session(&self) -> SessionId {
        match self {
            Self::Access { claims, .. } => claims.sid,
            Self::Refresh(token) => token.session.id,
        }
    }

    /// Its id, and what events call its kind.
    pub fn name(&self) -> (TokenId, &'static str) {
        match self {
            Self::Access { claims, .. } => (TokenId(claims.jti), "access"),
            Self::Refresh(token) => (token.id, "refresh"),
        }
    }
}

impl Access {
    /// What an access token is good for, if it is.
    pub async fn introspect(&self, token: &str) -> Result<Option<Good>, Fault> {
        let judged = self.judge(token).await?;
        Ok(judged.map(|(claims, roles)| Good::Access { claims, roles }))
    }

    /// What a refresh token is good for, if it is.
    pub async fn introspect_refresh(&self, token: &str) -> Result<Option<Good>, Fault> {
        let families = &self.families;
        let found = match Presented::parse(token) {
            Some(presented) => sessions::find(families, &presented).await?,
            None => None,
        };
        let good = found.filter(|token| token.is_good(families.clock.now()));
        Ok(good.map(|token| Good::Refresh(Box::new(token))))
    }

    /// The same of a token of either kind.
    pub async fn introspect_any(&self, token: &str) -> Result<Option<Good>, Fault> {
        match self.introspect(token).await? {
            None => self.introspect_refresh(token).await,
            good => Ok(good),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quivive_domain::AccountState;
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::sessions::Tokens;
    use crate::testing::{Scene, State, account, given};
    use crate::workflows::sessions::refresh_tokens::RefreshTokens;

    async fn asked() -> (Scene, Access, Tokens) {
        let scene = given(account().verified().role(Role::Support));
        let tokens = scene.signed_in().await;
        let access = Access::new(Arc::clone(scene.kernel.families()));
        (scene, access, tokens)
    }

    /// Of the access token and of the refresh token.
    async fn good(access: &Access, tokens: &Tokens) -> (Option<Good>, Option<Good>) {
        let ask = async |token: &str| access.introspect_any(token).await.expect("no fault");
        (
            ask(tokens.access_token.expose_secret()).await,
            ask(tokens.refresh_token.expose_secret()).await,
        )
    }

    #[tokio::test]
    async fn both_kinds_of_one_session_are_good() {
        let (scene, access, tokens) = asked().await;
        let (one, two) = good(&access, &tokens).await;
        let Some(Good::Access { roles, .. }) = &one else {
            panic!("{one:?}");
        };
        assert_eq!(*roles, [Role::User, Role::Support]);
        let two = two.expect("good");
        for it in [&one.expect("good"), &two] {
            assert_eq!((it.user(), it.session()), (scene.user, tokens.session_id));
        }
    }

    #[tokio::test]
    async fn what_ends_them_is_felt_by_both_at_once() {
        type Change = fn(&mut State);
        let changes: [(&str, Change); 4] = [
            ("the session ended", |s| {
                s.sessions
                    .values_mut()
                    .for_each(|session| session.ended_at = Some(session.created_at));
            }),
            ("the account is locked", |s| {
                s.accounts
                    .values_mut()
                    .for_each(|account| account.state = AccountState::Locked);
            }),
            ("the user's tokens were rotated", |s| {
                s.accounts
                    .values_mut()
                    .for_each(|account| account.token_version += 1);
            }),
            ("the account is gone", |s| s.accounts.clear()),
        ];
        for (why, change) in changes {
            let (scene, access, tokens) = asked().await;
            scene.world.change(change);
            let (one, two) = good(&access, &tokens).await;
            assert!(one.is_none() && two.is_none(), "{why}");
        }
        let (scene, access, tokens) = asked().await;
        scene.world.pass(Duration::from_hours(24 * 40));
        let (one, two) = good(&access, &tokens).await;
        assert!(one.is_none() && two.is_none(), "their time is over");
    }

    /// Who asks only whether a caller may come in must not take what the caller keeps at home.
    #[tokio::test]
    async fn a_token_of_the_other_kind_is_none() {
        let (_, access, tokens) = asked().await;
        let refresh = tokens.refresh_token.expose_secret();
        assert!(
            access
                .introspect(refresh)
                .await
                .expect("no fault")
                .is_none()
        );
        let token = tokens.access_token.expose_secret();
        let found = access.introspect_refresh(token).await.expect("no fault");
        assert!(found.is_none());
    }

    #[tokio::test]
    async fn a_refresh_token_that_was_used_is_not_good_any_more() {
        let (scene, access, tokens) = asked().await;
        let presented = Presented::parse(tokens.refresh_token.expose_secret());
        let refresh = RefreshTokens {
            token: presented,
            device_token: None,
        };
        scene.when(refresh).await.succeeded();
        let (one, two) = good(&access, &tokens).await;
        assert!(one.is_some() && two.is_none());
    }

    #[tokio::test]
    async fn nothing_that_only_looks_like_a_token_is_one() {
        let (_, access, tokens) = asked().await;
        let refresh = tokens.refresh_token.expose_secret();
        for wrong in [
            "",
            "x",
            "qk_nonsense",
            &refresh[1..],
            &format!("{refresh}A"),
        ] {
            let found = access.introspect_any(wrong).await.expect("no fault");
            assert!(found.is_none(), "{wrong}");
        }
        for place in [0, 20, 30, 63] {
            let mut other = refresh.as_bytes().to_vec();
            other[place] = if other[place] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).expect("ASCII");
            let found = access.introspect_any(&other).await.expect("no fault");
            assert!(found.is_none());
        }
    }
}
