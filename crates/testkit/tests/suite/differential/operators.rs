//! What administrators and services do.

use std::sync::Arc;
use std::time::Duration;

use quivive_app::custom_events;
use quivive_app::kernel::{Actor, CustomEvent};
use quivive_app::ports::Accounts as _;
use quivive_app::step_up::By;
use quivive_app::workflows::{accounts, api_keys, operators, rotations};
use quivive_domain::{ApiKeyId, Rationale, Role};
use secrecy::ExposeSecret as _;
use serde_json::json;
use uuid::Uuid;

use super::driver::Driver;

impl Driver {
    /// What administrators do to somebody.
    pub(super) async fn govern(&mut self) {
        let (at, account) = self.somebody().await;
        let (user, by) = (self.people[at].id, self.operator());
        let (who, reason) = (Actor::Admin(by.user), rationale("seen to"));
        let done = |(): &()| "done".to_owned();
        match self.random.below(7) {
            0 => drop(
                self.run(accounts::lock_user::LockUser { user, by }, who, done)
                    .await,
            ),
            1 | 2 => drop(
                self.run(accounts::unlock_user::UnlockUser { user, by }, who, done)
                    .await,
            ),
            3 => {
                let command = accounts::deactivate_user::DeactivateUser { user, by, reason };
                self.run(command, who, done).await;
            }
            4 | 5 => {
                let command = accounts::reactivate_user::ReactivateUser { user, by, reason };
                self.run(command, who, done).await;
            }
            _ => {
                let role = Role::ALL[self.random.below(Role::ALL.len())];
                if let Some(account) = account {
                    let grant = self.machine.db.grant_role(&account, role);
                    let granted = self.machine.commit(vec![grant]).await;
                    self.tell(format!("{role:?} for {user}: {granted}"));
                }
            }
        }
    }

    pub(super) async fn rotate(&mut self) {
        let (at, _) = self.somebody().await;
        let (user, by) = (self.people[at].id, self.operator());
        match self.random.below(4) {
            0 => {
                let command = rotations::rotate_all_tokens::RotateAllTokens {
                    by: Some(by),
                    reason: rationale("all of them"),
                    grace: None,
                };
                let show = |r: &rotations::rotate_all_tokens::Reply| r.new_version.to_string();
                self.run(command, Actor::Admin(by.user), show).await;
            }
            1 | 2 => {
                let command = rotations::rotate_user_tokens::RotateUserTokens {
                    user,
                    by: By::Administrator(by),
                    reason: rationale("theirs"),
                    devices: rotations::rotate_user_tokens::Devices::Forgotten,
                };
                let show = |r: &rotations::rotate_user_tokens::Reply| r.new_version.to_string();
                self.run(command, Actor::Admin(by.user), show).await;
            }
            _ => {
                let old = quivive_app::ports::OldKeys::ServeOn;
                let command = operators::rotate_signing_key::RotateSigningKey { old };
                self.run(command, Actor::System, |keys| keys.new.clone())
                    .await;
            }
        }
    }

    pub(super) async fn api_keys(&mut self) {
        let owner = self.operator();
        let who = Actor::Admin(owner.user);
        let create = api_keys::create_api_key::CreateApiKey {
            owner,
            name: "a service".to_owned(),
            scopes: vec!["events.write".to_owned(), "introspect".to_owned()],
            expires_at: self.now() + Duration::from_hours(24 * 30),
        };
        let show =
            |r: &api_keys::create_api_key::Reply| format!("{:?} {}", r.key, r.text.expose_secret());
        if let Some(made) = self.run(create, who, show).await {
            self.keys.push(made.key.id);
        }
        if self.random.one_in(2) && !self.keys.is_empty() {
            let key = self.keys[self.random.below(self.keys.len())];
            let by = Some(owner);
            let command = api_keys::revoke_api_key::RevokeApiKey { key, by };
            self.run(command, who, |()| "revoked".to_owned()).await;
        }
    }

    pub(super) async fn custom_events(&mut self) {
        let by = self.operator();
        let catalogue = Arc::clone(self.machine.kernel.catalogue());
        let command = operators::register_event_schema::RegisterEventSchema {
            by,
            kind: "custom.order".to_owned(),
            version: 1,
            schema: json!({"type": "object", "properties": {"order": {"type": "integer"}}}),
            order_key: Some("/order".to_owned()),
            catalogue: Arc::clone(&catalogue),
        };
        let request = self.request(Actor::Admin(by.user));
        let kernel = Arc::clone(&self.machine.kernel);
        let registered = custom_events::register(&kernel, command, request).await;
        self.tell(match registered {
            Ok(version) => format!("registered version {version}"),
            Err(failure) => failure.to_string(),
        });
        let key = self.keys.last().copied().unwrap_or(ApiKeyId(Uuid::nil()));
        let mut fit: Vec<CustomEvent> = Vec::new();
        for _ in 0..=self.random.below(3) {
            let order = self.random.below(4);
            let once = custom_events::once(key, "order", &order.to_string(), "an order");
            let data = json!({ "order": order });
            let given = custom_events::Given {
                kind: "custom.order".to_owned(),
                version: None,
                key: None,
                subject: Some(
                    self.people[self.random.below(self.people.len())]
                        .id
                        .to_string(),
                ),
                time: None,
                data: data.as_object().cloned().unwrap_or_default(),
                once: self.random.one_in(2).then_some(once),
            };
            match custom_events::judge(&catalogue, given, self.now()) {
                Ok(event) => fit.push(event),
                Err(misfits) => self.tell(format!("{misfits:?}")),
            }
        }
        let request = self.request(Actor::Service(key));
        let raised = kernel.raise(fit, request).await;
        self.tell(format!("{raised:?}"));
    }
}

fn rationale(text: &str) -> Rationale {
    Rationale::parse(text).expect("it fits")
}
