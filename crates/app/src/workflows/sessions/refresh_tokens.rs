//! Refresh: a refresh token in, its successor and a new access token out. Each token serves once.
//!
//! A used token within ten seconds, from the same device and with the successor unused, is a parallel tab or a lost answer:
//! it gets the same successor again. Anything else is theft: the family is revoked, the session ends, the owner is told.
//! Source: documents 000, 004.

use quivive_delivery::Code;
use quivive_domain::AccountState;
use quivive_domain::FamilyId;
use quivive_domain::refresh::{Outdated, Presented, RefreshToken, Reuse, Use};
use quivive_domain::session::InvalidatedBy;
use secrecy::{ExposeSecret, SecretString};

use crate::devices;
use crate::facts::{TokenFamilyRevoked, TokenRejectedDueToRotation, TokenReuseDetected};
use crate::sessions::{self, Ending, Tokens, end, find, holder, replay, rotate};
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
            // What raised the person's version ended it with the others, and is the reason to tell.
            return match token.outdated().filter(|outdated| !outdated.global) {
                Some(outdated) => rejected(&token, outdated),
                None => refuse(Refusal::SessionEnded),
            };
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
            return rejected(&token, outdated);
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
        find(cx, presented).await
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
    commit.write(sessions::touch(
        cx,
        &token.session,
        token.session.idle_until,
    ));
    commit.acted_by(token.account.id);
    succeed(commit, succeeded(token, used.successor, true), tokens)
}

/// A rotation has left it behind.
fn rejected(token: &RefreshToken, outdated: Outdated) -> Run<RefreshTokens> {
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
    refuse_with(Refusal::TokenVersionRejected, commit)
}

async fn theft(cx: &Cx, token: &RefreshToken) -> Run<RefreshTokens> {
    let (user_id, family_id) = (token.account.id, token.family);
    let mut commit = Commit::default();
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
    let how = Ending::Invalidated(InvalidatedBy::TokenReuse);
    end(&mut commit, cx, (token.session.id, user_id), how);
    refuse_with(Refusal::TokenReused, commit)
}

#[cfg(test)]
mod tests;
