//! An API key ends before its time: the next request with it is refused. Source: the specification.

use quivive_domain::ApiKeyId;

use crate::step_up::{Denied, Proven, operated};
use crate::workflows::prelude::*;

pub struct RevokeApiKey {
    pub key: ApiKeyId,
    /// The administrator who asks.
    /// `None`: the system.
    pub by: Option<Proven>,
}

#[derive(Event)]
#[event(
    type = "api_key.revocation.attempted",
    version = 1,
    name = "ApiKeyRevocationAttempted",
    audit = "API_KEY_REVOCATION_ATTEMPTED"
)]
pub struct Attempted {
    pub api_key_id: ApiKeyId,
}

#[derive(Event)]
#[event(
    type = "api_key.revocation.succeeded",
    version = 1,
    name = "ApiKeyRevocationSucceeded",
    audit = "API_KEY_REVOCATION_SUCCEEDED"
)]
pub struct Succeeded {
    pub api_key_id: ApiKeyId,
    pub owner_id: UserId,
}

#[derive(Event)]
#[event(
    type = "api_key.revocation.failed",
    version = 1,
    name = "ApiKeyRevocationFailed",
    audit = "API_KEY_REVOCATION_FAILED"
)]
pub struct Failed {
    pub api_key_id: ApiKeyId,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    /// Or it was revoked before.
    NotFound,
    /// Who asks is no administrator any more.
    Forbidden,
    StepUpRequired,
}

also_refuses!(Denied: Forbidden, StepUpRequired);

impl Workflow for RevokeApiKey {
    const NAME: &'static str = "api_key_revocation";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = ();

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::System)
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            api_key_id: self.key,
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            api_key_id: attempted.api_key_id,
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let mut commit = match operated(cx, self.by).await? {
            Ok(commit) => commit,
            Err(denied) => return refuse(denied.into()),
        };
        let view = cx.api_keys.view(self.key).await?;
        let Some(view) = view.filter(|view| view.key.revoked_at.is_none()) else {
            return refuse(Refusal::NotFound);
        };
        commit.write(cx.api_keys.revoke(self.key, cx.now()));
        let succeeded = Succeeded {
            api_key_id: self.key,
            owner_id: view.key.owner,
        };
        succeed(commit, succeeded, ())
    }
}

#[cfg(test)]
mod tests {
    use quivive_delivery::Ids as _;
    use quivive_domain::Role;
    use quivive_domain::api_key::{ApiKey, DEFAULT_LIFETIME};

    use super::*;
    use crate::testing::{Scene, account, account_of, given};

    fn with_key() -> (Scene, RevokeApiKey) {
        let scene = given(account().verified().role(Role::Admin)).by_owner();
        let (id, now) = (ApiKeyId(scene.world.next()), scene.world.now());
        let key = ApiKey {
            id,
            owner: scene.user,
            name: "billing".to_owned(),
            scopes: Vec::new(),
            created_at: now,
            expires_at: now + DEFAULT_LIFETIME,
            revoked_at: None,
            used_at: None,
        };
        scene
            .world
            .change(|s| s.api_keys.insert(id, (key, [0; 32])));
        let command = revoke(&scene, id);
        (scene, command)
    }

    fn revoke(scene: &Scene, key: ApiKeyId) -> RevokeApiKey {
        RevokeApiKey {
            key,
            by: Some(scene.proven()),
        }
    }

    #[tokio::test]
    async fn of_two_at_once_one_ends_it() {
        let (scene, command) = with_key();
        let id = command.key;
        let (one, two) = tokio::join!(scene.when(command), scene.when(revoke(&scene, id)));
        let (won, lost) = if one.answer.is_ok() {
            (one, two)
        } else {
            (two, one)
        };
        let told = won.succeeded().raised(&[]);
        let succeeded = told.open("api_key.revocation.succeeded");
        assert_eq!(succeeded["owner_id"], scene.user.to_string());
        lost.refused(Refusal::NotFound).raised(&[]);
        assert!(scene.world.see(|s| s.api_keys[&id].0.revoked_at.is_some()));
        assert_eq!(scene.world.missed(), ["api_key revoke"]);
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let (scene, command) = with_key();
        let other = revoke(&scene, ApiKeyId(scene.world.next()));
        scene
            .when(other)
            .await
            .refused(Refusal::NotFound)
            .raised(&[]);
        let late = revoke(&scene, command.key);
        let late = scene.after(600).when(late).await;
        late.refused(Refusal::StepUpRequired).raised(&[]);
        let eve = scene
            .and(account_of("eve@example.org").verified())
            .by_owner();
        let command = revoke(&eve, command.key);
        eve.when(command)
            .await
            .refused(Refusal::Forbidden)
            .raised(&[]);
    }

    #[tokio::test]
    async fn who_loses_the_role_meanwhile_ends_no_key() {
        let (scene, command) = with_key();
        let (user, id) = (scene.user, command.key);
        scene
            .world
            .meanwhile("api_key.revocation.succeeded", 1, move |s| {
                let administrator = s.accounts.get_mut(&user).expect("there");
                administrator.roles = vec![Role::User];
                administrator.security_version += 1;
            });
        let told = scene.when(command).await;
        told.refused(Refusal::Forbidden).raised(&[]);
        assert!(scene.world.see(|s| s.api_keys[&id].0.revoked_at.is_none()));
    }
}
