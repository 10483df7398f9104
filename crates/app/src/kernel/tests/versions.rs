//! An attempt that the version before left open.

use quivive_delivery::event::Past;
use quivive_delivery::{Body, Event, Fault, seal};
use quivive_domain::Email;

use super::super::{Commit, Cx, Failure, Reason, Run, Subject, Workflow, succeed};
use super::toys::{EMAIL, Failed, Refusal, Succeeded, Toy, event, reason, scene};
use crate::switchboard::Workflows;

/// The toy of the next release, whose attempt says `address` where it said `email`.
struct Renewed;

const V1: Past = Past {
    schema: r#"{"type": "object", "properties": {"email": {"type": "string", "x-personal": true}}}"#,
    upcast: |fields| {
        if let Some(email) = fields.remove("email") {
            fields.insert("address".to_owned(), email);
        }
    },
};

#[derive(Event)]
#[event(
    type = "toy.attempted",
    version = 2,
    name = "ToyAttempted",
    audit = "TOY_ATTEMPTED",
    past = [V1]
)]
struct Attempted {
    #[event(personal)]
    address: Email,
}

impl Workflow for Renewed {
    const NAME: &'static str = "toy";
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
            address: Email::typed(EMAIL),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            email: attempted.address.clone(),
            reason,
        }
    }

    async fn run(&self, _: &Cx) -> Run<Self> {
        succeed(Commit::default(), Succeeded { done: true }, ())
    }
}

#[tokio::test]
async fn it_is_closed_by_the_release_that_has_another() {
    for erased in [false, true] {
        let scene = scene();
        scene
            .world
            .fail("toy.succeeded", 1, Fault::Stopped("upgraded".to_owned()));
        let told = scene
            .when(Toy::commits(&scene, |_, _| Commit::default()))
            .await;
        assert!(matches!(told.answer, Err(Failure::Fault(_))));
        if erased {
            scene.world.erase(&format!("s:{}", scene.user));
        }

        let next = Workflows::default().workflow::<Renewed>().unwrap();
        let recovered = scene.world.kernel(next).recover().await.unwrap();
        assert_eq!(recovered.interrupted, 1);
        assert_eq!(reason(&scene.world), "interrupted");
        let failed = event(&scene.world, "toy.failed");
        let personal = seal::personal(&scene.world, &failed);
        let body = Body {
            open: failed.body.clone(),
            personal: personal.await.unwrap(),
        };
        let email = Failed::decode(&body).unwrap().email;
        assert_eq!(email.as_str(), if erased { "" } else { EMAIL });
    }
}
