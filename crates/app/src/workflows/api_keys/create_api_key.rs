//! A new API key for a service: an administrator names it and says what it may do. Its text is told once and kept by
//! nobody here. Source: the specification.

use quivive_domain::ApiKeyId;
use quivive_domain::api_key::{ApiKey, Scope};
use secrecy::SecretString;

use crate::access;
use crate::step_up::{Denied, Proven};
use crate::workflows::prelude::*;

pub struct CreateApiKey {
    /// The administrator who asks, and whose key it will be.
    pub owner: Proven,
    pub name: String,
    /// As given.
    pub scopes: Vec<String>,
    pub expires_at: quivive_delivery::Time,
}

#[derive(Event)]
#[event(
    type = "api_key.creation.attempted",
    version = 1,
    name = "ApiKeyCreationAttempted",
    audit = "API_KEY_CREATION_ATTEMPTED"
)]
pub struct Attempted {
    pub owner_id: UserId,
    pub scopes: Vec<String>,
}

#[derive(Event)]
#[event(
    type = "api_key.creation.succeeded",
    version = 1,
    name = "ApiKeyCreationSucceeded",
    audit = "API_KEY_CREATION_SUCCEEDED"
)]
pub struct Succeeded {
    pub api_key_id: ApiKeyId,
    pub owner_id: UserId,
    pub scopes: Vec<String>,
    pub expires_at: quivive_delivery::Time,
}

#[derive(Event)]
#[event(
    type = "api_key.creation.failed",
    version = 1,
    name = "ApiKeyCreationFailed",
    audit = "API_KEY_CREATION_FAILED"
)]
pub struct Failed {
    pub owner_id: UserId,
    pub scopes: Vec<String>,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    UnknownScope,
    /// Who asks is no administrator any more.
    Forbidden,
    StepUpRequired,
}

also_refuses!(Denied: Forbidden, StepUpRequired);

pub struct Reply {
    pub key: ApiKey,
    /// What the service holds from now on.
    pub text: SecretString,
}

impl Workflow for CreateApiKey {
    const NAME: &'static str = "api_key_creation";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Reply;

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::System)
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            owner_id: self.owner.user,
            scopes: self.scopes.clone(),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            owner_id: attempted.owner_id,
            scopes: attempted.scopes.clone(),
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let scopes = self.scopes.iter().map(|word| Scope::parse(word));
        let Some(mut scopes) = scopes.collect::<Option<Vec<_>>>() else {
            return refuse(Refusal::UnknownScope);
        };
        scopes.sort_unstable();
        scopes.dedup();
        let owner = match self.owner.administrator(cx).await? {
            Ok(owner) => owner,
            Err(denied) => return refuse(denied.into()),
        };
        let (presented, hash) = access::mint(cx);
        let key = ApiKey {
            id: presented.id,
            owner: owner.id,
            name: self.name.clone(),
            scopes,
            created_at: cx.now(),
            expires_at: self.expires_at,
            revoked_at: None,
            used_at: None,
        };

        let mut commit = cx.fenced(&owner);
        commit.write(cx.api_keys.insert(&key, hash));
        let succeeded = Succeeded {
            api_key_id: key.id,
            owner_id: owner.id,
            scopes: key
                .scopes
                .iter()
                .map(|scope| scope.as_str().to_owned())
                .collect(),
            expires_at: key.expires_at,
        };
        let text = presented.text();
        succeed(commit, succeeded, Reply { key, text })
    }
}

#[cfg(test)]
mod tests {
    use quivive_domain::Role;
    use quivive_domain::api_key::{DEFAULT_LIFETIME, Presented};
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::access::Access;
    use crate::testing::{Scene, account, given};

    fn administrator() -> Scene {
        given(account().verified().role(Role::Admin)).by_owner()
    }

    fn create(scene: &Scene, scopes: &[&str]) -> CreateApiKey {
        CreateApiKey {
            owner: scene.proven(),
            name: "billing".to_owned(),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            expires_at: scene.world.now() + DEFAULT_LIFETIME,
        }
    }

    #[tokio::test]
    async fn a_key_opens_what_it_was_made_for_and_its_secret_is_nowhere() {
        let scene = administrator();
        let command = create(&scene, &["events.write", "events.read", "events.read"]);
        let told = scene.when(command).await.succeeded().raised(&[]);
        let succeeded = told.open("api_key.creation.succeeded");
        assert_eq!(
            succeeded["scopes"],
            serde_json::json!(["events.read", "events.write"])
        );
        assert_eq!(succeeded["owner_id"], scene.user.to_string());
        let bodies: Vec<_> = told.events.iter().map(|event| event.body.clone()).collect();
        let reply = told.reply();
        let access = Access::new(std::sync::Arc::clone(scene.kernel.families()));
        let text = reply.text.expose_secret();
        let service = access.service(text, &scene.world).await.expect("no fault");
        let service = service.expect("a good key");
        assert_eq!(service.key, reply.key.id);
        assert_eq!(service.scopes, [Scope::EventsRead, Scope::EventsWrite]);
        let secret = &text[text.len() - 43..];
        for body in bodies {
            assert!(!String::from_utf8_lossy(&body).contains(secret));
        }
        let presented = Presented::parse(text).expect("a key");
        let hash = scene.world.see(|s| s.api_keys[&presented.id].1);
        assert_ne!(&hash, presented.secret());
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let scene = administrator();
        let command = create(&scene, &["events.read", "everything"]);
        scene
            .when(command)
            .await
            .refused(Refusal::UnknownScope)
            .raised(&[]);
        let command = create(&scene, &["events.read"]);
        let late = scene.after(600).when(command).await;
        late.refused(Refusal::StepUpRequired).raised(&[]);
        let scene = given(account().verified()).by_owner();
        let command = create(&scene, &["events.read"]);
        scene
            .when(command)
            .await
            .refused(Refusal::Forbidden)
            .raised(&[]);
        assert!(scene.world.see(|s| s.api_keys.is_empty()));
    }

    #[tokio::test]
    async fn who_loses_the_role_meanwhile_gets_no_key() {
        let scene = administrator();
        let user = scene.user;
        scene
            .world
            .meanwhile("api_key.creation.succeeded", 1, move |s| {
                let owner = s.accounts.get_mut(&user).expect("there");
                owner.roles = vec![Role::User];
                owner.security_version += 1;
            });
        let command = create(&scene, &["events.read"]);
        scene
            .when(command)
            .await
            .refused(Refusal::Forbidden)
            .raised(&[]);
    }
}
