//! API keys in: which service calls. Nothing is remembered from one request to the next, so a key that was revoked, or
//! whose owner was, is refused at once.

use std::time::Duration;

use quivive_delivery::{Fault, Log, Transaction};
use quivive_domain::api_key::{Presented, Scope};
use quivive_domain::{AccountState, ApiKeyId, Permission};
use subtle::ConstantTimeEq as _;

use super::Access;
use crate::kernel::{Actor, Families};
use crate::sessions::secret_hash;

/// A use is noted when none was for this long: a write for each request would be one too many.
const NOTED_EVERY: Duration = Duration::from_hours(1);

/// A service with a good API key.
#[derive(Debug, Clone)]
pub struct Service {
    pub key: ApiKeyId,
    pub scopes: Vec<Scope>,
}

impl Service {
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// As events name it.
    pub fn actor(&self) -> Actor {
        Actor::Service(self.key)
    }
}

/// A key that nobody has yet, and the digest that is kept of it.
pub(crate) fn mint(families: &Families) -> (Presented, [u8; 32]) {
    let mut secret = [0; 32];
    families.ids.random(&mut secret);
    let presented = Presented::new(ApiKeyId(families.ids.next()), secret);
    let hash = secret_hash(presented.secret());
    (presented, hash)
}

impl Access {
    /// Who holds this API key. `None`: it is not one of ours, it is over, or its owner is no administrator any more, and
    /// could not give what it has.
    pub async fn service(&self, key: &str, log: &dyn Log) -> Result<Option<Service>, Fault> {
        let Some(presented) = Presented::parse(key) else {
            return Ok(None);
        };
        let families = &self.families;
        let Some(view) = families.api_keys.view(presented.id).await? else {
            return Ok(None);
        };
        let now = families.clock.now();
        let genuine: bool = view.hash.ct_eq(&secret_hash(presented.secret())).into();
        let good = genuine
            && view.key.is_live(now)
            && view.owner_state == AccountState::Active
            && Permission::Administration
                .granted_by(&view.owner_roles)
                .is_some();
        if !good {
            return Ok(None);
        }
        if view.key.used_at.is_none_or(|at| at + NOTED_EVERY <= now) {
            // Nobody waits for it: it is for people who look for keys that nobody uses.
            drop(log.commit(Transaction {
                writes: vec![families.api_keys.note_use(presented.id, now)],
                records: Vec::new(),
            }));
        }
        Ok(Some(Service {
            key: presented.id,
            scopes: view.key.scopes,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quivive_delivery::Ids as _;
    use quivive_domain::Role;
    use quivive_domain::api_key::{ApiKey, DEFAULT_LIFETIME};
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::testing::{Scene, State, account, given};

    fn with_key() -> (Scene, Access, String) {
        let scene = given(account().verified().role(Role::Admin));
        let presented = Presented::new(ApiKeyId(scene.world.next()), [3; 32]);
        let now = scene.world.now();
        let key = ApiKey {
            id: presented.id,
            owner: scene.user,
            name: "billing".to_owned(),
            scopes: vec![Scope::EventsRead],
            created_at: now,
            expires_at: now + DEFAULT_LIFETIME,
            revoked_at: None,
            used_at: None,
        };
        let row = (key, secret_hash(presented.secret()));
        scene.world.change(|s| s.api_keys.insert(presented.id, row));
        let access = Access::new(Arc::clone(scene.kernel.families()));
        (scene, access, presented.text().expose_secret().to_owned())
    }

    async fn service(scene: &Scene, access: &Access, key: &str) -> Option<Service> {
        access.service(key, &scene.world).await.expect("no fault")
    }

    #[tokio::test]
    async fn a_good_key_says_which_service_calls_and_its_use_is_noted_now_and_then() {
        let (scene, access, key) = with_key();
        let used = || {
            scene
                .world
                .see(|s| s.api_keys.values().next().unwrap().0.used_at)
        };
        let who = service(&scene, &access, &key).await.expect("good");
        assert!(who.may(Scope::EventsRead) && !who.may(Scope::EventsWrite));
        assert_eq!(who.actor(), Actor::Service(who.key));
        let first = used();
        assert_eq!(first, Some(scene.world.now()));
        scene.world.pass(Duration::from_mins(59));
        service(&scene, &access, &key).await.expect("good");
        assert_eq!(used(), first);
        scene.world.pass(Duration::from_mins(1));
        service(&scene, &access, &key).await.expect("good");
        assert_eq!(used(), Some(scene.world.now()));
    }

    #[tokio::test]
    async fn one_line_for_each_refusal_and_each_is_felt_at_once() {
        type Change = fn(&mut State);
        let changes: [(&str, Change); 7] = [
            ("it is gone", |s| s.api_keys.clear()),
            ("it was revoked", |s| {
                s.api_keys
                    .values_mut()
                    .for_each(|(key, _)| key.revoked_at = Some(key.created_at));
            }),
            ("its time is over", |s| {
                s.api_keys
                    .values_mut()
                    .for_each(|(key, _)| key.expires_at = key.created_at);
            }),
            ("its secret is another", |s| {
                s.api_keys
                    .values_mut()
                    .for_each(|(_, hash)| *hash = [0; 32]);
            }),
            ("its owner is gone", |s| s.accounts.clear()),
            ("its owner is inactive", |s| {
                s.accounts
                    .values_mut()
                    .for_each(|owner| owner.state = AccountState::Inactive);
            }),
            ("its owner is no administrator any more", |s| {
                s.accounts
                    .values_mut()
                    .for_each(|owner| owner.roles = vec![Role::User]);
            }),
        ];
        for (why, change) in changes {
            let (scene, access, key) = with_key();
            assert!(service(&scene, &access, &key).await.is_some());
            scene.world.change(change);
            assert!(service(&scene, &access, &key).await.is_none(), "{why}");
        }
        let (scene, access, _) = with_key();
        assert!(service(&scene, &access, "qk_nonsense").await.is_none());
    }
}
