//! A schema for events that services will append: an administrator registers a version of a type. A version is never
//! changed, and the next one may only add to it, so that whoever reads the one can read the other. Source: the
//! specification, "Custom events".

use std::sync::Arc;

use quivive_delivery::Catalogue;
use quivive_delivery::catalogue::is_custom_name;
use quivive_delivery::schema::{breaks, unsupported};
use serde_json::Value;

use crate::custom_events::Misfit;
use crate::ports::EventSchema;
use crate::step_up::{Denied, Proven, operated};
use crate::workflows::prelude::*;

/// Versions of all types together: each is kept in memory.
const MAX_SCHEMAS: usize = 1_000;

/// Of one schema, in bytes.
const MAX_SCHEMA_BYTES: usize = 16 * 1024;

/// Of the pointer to the order key, in bytes.
const MAX_POINTER_BYTES: usize = 200;

pub struct RegisterEventSchema {
    /// The administrator who asks.
    pub by: Proven,
    pub kind: String,
    pub version: u32,
    /// JSON Schema of the data.
    pub schema: Value,
    /// A JSON Pointer to what events are ordered by: the same in every version.
    pub order_key: Option<String>,
    /// What the program itself has.
    pub catalogue: Arc<Catalogue>,
}

#[derive(Event)]
#[event(
    type = "operator.event_schema_registration.attempted",
    version = 1,
    name = "EventSchemaRegistrationAttempted",
    audit = "EVENT_SCHEMA_REGISTRATION_ATTEMPTED"
)]
pub struct Attempted {
    pub event_type: String,
    pub event_version: u32,
}

#[derive(Event)]
#[event(
    type = "operator.event_schema_registration.succeeded",
    version = 1,
    name = "EventSchemaRegistrationSucceeded",
    audit = "EVENT_SCHEMA_REGISTRATION_SUCCEEDED"
)]
pub struct Succeeded {
    pub event_type: String,
    pub event_version: u32,
}

#[derive(Event)]
#[event(
    type = "operator.event_schema_registration.failed",
    version = 1,
    name = "EventSchemaRegistrationFailed",
    audit = "EVENT_SCHEMA_REGISTRATION_FAILED"
)]
pub struct Failed {
    pub event_type: String,
    pub event_version: u32,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    /// Not `custom.…`, or a type of the program.
    InvalidType,
    /// It has what nobody here checks.
    UnsupportedSchema,
    /// That version is registered with another schema.
    VersionFrozen,
    /// It is not the next one.
    VersionSkipped,
    /// It does more than add to the version before.
    IncompatibleSchema,
    TooManySchemas,
    /// Who asks is no administrator any more.
    Forbidden,
    StepUpRequired,
}

also_refuses!(Denied: Forbidden, StepUpRequired);

impl RegisterEventSchema {
    /// What stands against it, but for the rights of who asks; `known` are the versions of the type, `all` how many
    /// schemas there are. With the schema that is registered already it is fine, and nothing is to be done.
    pub fn judge(&self, known: &[EventSchema], all: usize) -> Result<(), (Refusal, Misfit)> {
        let no = |refusal, pointer: &str, message: String| {
            let misfit = Misfit {
                pointer: pointer.to_owned(),
                code: quivive_delivery::Codes::code(&refusal),
                message,
            };
            Err((refusal, misfit))
        };
        let taken = self
            .catalogue
            .all()
            .iter()
            .any(|spec| spec.kind == self.kind);
        if taken || !is_custom_name(&self.kind) {
            let message = "`custom.` and words in lower case with dots between them; not one that the program has.";
            return no(Refusal::InvalidType, "/type", message.to_owned());
        }
        if let Some(found) = unsupported(&self.schema) {
            let pointer = format!("/schema{}", found.pointer);
            return no(Refusal::UnsupportedSchema, &pointer, found.message);
        }
        if self.schema.to_string().len() > MAX_SCHEMA_BYTES {
            let message = format!("At most {MAX_SCHEMA_BYTES} bytes.");
            return no(Refusal::UnsupportedSchema, "/schema", message);
        }
        let usable =
            |pointer: &String| pointer.starts_with('/') && pointer.len() <= MAX_POINTER_BYTES;
        if !self.order_key.as_ref().is_none_or(usable) {
            let message =
                format!("A JSON Pointer into the data, of at most {MAX_POINTER_BYTES} bytes.");
            return no(Refusal::UnsupportedSchema, "/key", message);
        }
        if let Some(first) = known
            .first()
            .filter(|first| first.order_key != self.order_key)
        {
            let was = first.order_key.as_deref().unwrap_or("none");
            let message = format!(
                "The order key of a type stays: it is {was}. Events of both versions are in one order."
            );
            return no(Refusal::IncompatibleSchema, "/key", message);
        }
        if let Some(same) = known.iter().find(|row| row.version == self.version) {
            if same.schema == self.schema {
                return Ok(());
            }
            let message = format!(
                "Version {} of {} is frozen with another schema. Leave it as it is, and register version {}.",
                self.version,
                self.kind,
                known.len() + 1
            );
            return no(Refusal::VersionFrozen, "/version", message);
        }
        if self.version as usize != known.len() + 1 {
            let message = format!("The next version is {}.", known.len() + 1);
            return no(Refusal::VersionSkipped, "/version", message);
        }
        let broken = known.last().map(|last| breaks(&last.schema, &self.schema));
        if let Some(first) = broken.as_ref().and_then(|broken| broken.first()) {
            let message = format!(
                "Version {} may only add to version {}, and {first}. Keep the field as it was and add another that may be \
                 missing, or register another type.",
                self.version,
                known.len()
            );
            return no(Refusal::IncompatibleSchema, "/schema", message);
        }
        if all >= MAX_SCHEMAS {
            let message = format!("There are {MAX_SCHEMAS} schemas.");
            return no(Refusal::TooManySchemas, "/type", message);
        }
        Ok(())
    }
}

impl Workflow for RegisterEventSchema {
    const NAME: &'static str = "event_schema_registration";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = u32;

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::System)
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            event_type: self.kind.clone(),
            event_version: self.version,
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            event_type: attempted.event_type.clone(),
            event_version: attempted.event_version,
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let mut commit = match operated(cx, Some(self.by)).await? {
            Ok(commit) => commit,
            Err(denied) => return refuse(denied.into()),
        };
        let all = cx.event_schemas.all().await?;
        let mut known = all.clone();
        known.retain(|row| row.kind == self.kind);
        if let Err((refusal, _)) = self.judge(&known, all.len()) {
            return refuse(refusal);
        }
        if known.iter().all(|row| row.version != self.version) {
            commit.write(cx.event_schemas.insert(&EventSchema {
                kind: self.kind.clone(),
                version: self.version,
                schema: self.schema.clone(),
                order_key: self.order_key.clone(),
                created_at: cx.now(),
            }));
        }
        let succeeded = Succeeded {
            event_type: self.kind.clone(),
            event_version: self.version,
        };
        succeed(commit, succeeded, self.version)
    }
}

#[cfg(test)]
mod tests {
    use quivive_domain::Role;
    use serde_json::json;

    use super::*;
    use crate::custom_events;
    use crate::testing::{Scene, account, given};

    fn administrator() -> Scene {
        given(account().verified().role(Role::Admin)).by_owner()
    }

    fn one() -> Value {
        json!({"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]})
    }

    fn two() -> Value {
        let mut two = one();
        two["properties"]["note"] = json!({"type": "string"});
        two
    }

    fn order(scene: &Scene, version: u32, schema: Value) -> RegisterEventSchema {
        RegisterEventSchema {
            by: scene.proven(),
            kind: "custom.order".to_owned(),
            version,
            schema,
            order_key: Some("/id".to_owned()),
            catalogue: Arc::clone(scene.kernel.catalogue()),
        }
    }

    #[tokio::test]
    async fn versions_come_one_after_the_other_and_are_known_at_once() {
        let scene = administrator();
        for (version, schema) in [(1, one()), (2, two()), (2, two()), (1, one())] {
            let command = order(&scene, version, schema);
            let request = scene.request.clone();
            let registered = custom_events::register(&scene.kernel, command, request).await;
            assert_eq!(registered.ok(), Some(version));
        }
        let catalogue = scene.kernel.catalogue();
        let spec = catalogue.find("custom.order").expect("known");
        assert_eq!(
            (spec.version, spec.schema_of(1).as_deref()),
            (2, Some(&one()))
        );
        assert_eq!(catalogue.order_key("custom.order").as_deref(), Some("/id"));
        // Another start reads them back.
        let again = scene
            .world
            .kernel(crate::switchboard::workflows().expect("no name twice"));
        let schemas = &again.families().event_schemas;
        custom_events::load(schemas.as_ref(), again.catalogue())
            .await
            .expect("a read");
        assert_eq!(
            again
                .catalogue()
                .find("custom.order")
                .map(|spec| spec.version),
            Some(2)
        );
    }

    #[tokio::test]
    async fn one_line_for_each_refusal_and_each_says_where() {
        let scene = administrator();
        scene
            .when(order(&scene, 1, one()))
            .await
            .succeeded()
            .raised(&[]);
        let fresh = || order(&scene, 2, two());
        let mut retyped = two();
        retyped["properties"]["id"] = json!({"type": "integer"});
        let cases = [
            (
                RegisterEventSchema {
                    kind: "user.login".to_owned(),
                    ..fresh()
                },
                Refusal::InvalidType,
                "/type",
                "",
            ),
            (
                order(&scene, 2, json!({"type": "object", "oneOf": []})),
                Refusal::UnsupportedSchema,
                "/schema/oneOf",
                "`oneOf`",
            ),
            (
                RegisterEventSchema {
                    order_key: Some("id".to_owned()),
                    ..fresh()
                },
                Refusal::UnsupportedSchema,
                "/key",
                "",
            ),
            (
                RegisterEventSchema {
                    order_key: None,
                    ..fresh()
                },
                Refusal::IncompatibleSchema,
                "/key",
                "/id",
            ),
            (
                order(&scene, 1, two()),
                Refusal::VersionFrozen,
                "/version",
                "register version 2",
            ),
            (
                order(&scene, 3, two()),
                Refusal::VersionSkipped,
                "/version",
                "2",
            ),
            (
                order(&scene, 2, retyped),
                Refusal::IncompatibleSchema,
                "/schema",
                "`id` has another `type`",
            ),
            (
                order(&scene, 2, json!({"type": "object"})),
                Refusal::IncompatibleSchema,
                "/schema",
                "register another type",
            ),
        ];
        for (command, refusal, pointer, said) in cases {
            let known = scene.world.see(|s| s.event_schemas.clone());
            let (_, misfit) = command.judge(&known, 1).expect_err(pointer);
            assert_eq!(misfit.pointer, pointer);
            assert!(misfit.message.contains(said), "{}", misfit.message);
            scene.when(command).await.refused(refusal).raised(&[]);
        }
        let (_, misfit) = fresh()
            .judge(&scene.world.see(|s| s.event_schemas.clone()), MAX_SCHEMAS)
            .expect_err("full");
        assert_eq!(misfit.code, "too_many_schemas");
        let late = fresh();
        let told = scene.after(600).when(late).await;
        told.refused(Refusal::StepUpRequired).raised(&[]);
        let scene = given(account().verified()).by_owner();
        let told = scene.when(order(&scene, 1, one())).await;
        told.refused(Refusal::Forbidden).raised(&[]);
    }

    #[tokio::test]
    async fn of_two_at_once_one_version_is_registered() {
        let scene = administrator();
        let (one, two) = tokio::join!(
            scene.when(order(&scene, 1, one())),
            scene.when(order(&scene, 1, two()))
        );
        let (won, lost) = if one.answer.is_ok() {
            (one, two)
        } else {
            (two, one)
        };
        won.succeeded();
        lost.refused(Refusal::VersionFrozen).raised(&[]);
        assert_eq!(scene.world.missed(), ["event_schema insert"]);
    }

    #[tokio::test]
    async fn who_loses_the_role_meanwhile_registers_nothing() {
        let scene = administrator();
        let user = scene.user;
        scene.world.meanwhile(Succeeded::META.kind, 1, move |s| {
            let administrator = s.accounts.get_mut(&user).expect("there");
            administrator.roles = vec![Role::User];
            administrator.security_version += 1;
        });
        let told = scene.when(order(&scene, 1, one())).await;
        told.refused(Refusal::Forbidden).raised(&[]);
    }
}
