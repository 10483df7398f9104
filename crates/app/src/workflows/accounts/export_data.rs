//! Export what is held about somebody, for themselves. What the document looks like is the concern of whoever gives it; that it
//! was asked for, and how much it was, is told here. Source: the specification.

use std::sync::Arc;

use quivive_delivery::BoxFuture;

use crate::step_up::Proven;
use crate::workflows::prelude::*;

/// Writes down what is held about an account.
pub trait Held: Send + Sync {
    fn about(&self, account: Account) -> BoxFuture<'_, Result<Vec<u8>, Fault>>;
}

pub struct ExportData {
    /// The owner.
    pub by: Proven,
    pub held: Arc<dyn Held>,
}

#[derive(Event)]
#[event(
    type = "user.data_export.attempted",
    version = 1,
    name = "DataExportAttempted",
    audit = "DATA_EXPORT_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: UserId,
}

#[derive(Event)]
#[event(
    type = "user.data_export.succeeded",
    version = 1,
    name = "DataExported",
    audit = "DATA_EXPORT_SUCCEEDED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    pub bytes: u64,
}

#[derive(Event)]
#[event(
    type = "user.data_export.failed",
    version = 1,
    name = "DataExportFailed",
    audit = "DATA_EXPORT_FAILED"
)]
pub struct Failed {
    pub user_id: UserId,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    /// Also of who was erased meanwhile, who can show nothing any more.
    StepUpRequired,
}

impl Workflow for ExportData {
    const NAME: &'static str = "data_export";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    /// The document.
    type Reply = Vec<u8>;

    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        cx.subject_of_user(self.by.user).await
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            user_id: self.by.user,
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            user_id: attempted.user_id,
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let account = cx.account_of_subject().await?;
        let Some(account) = account.filter(|_| self.by.is_fresh(cx)) else {
            return refuse(Refusal::StepUpRequired);
        };
        let commit = cx.fenced(&account);
        let user_id = account.id;
        let document = self.held.about(account).await?;
        let succeeded = Succeeded {
            user_id,
            bytes: document.len() as u64,
        };
        succeed(commit, succeeded, document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scene, account, given};

    /// The address alone.
    struct Address;

    impl Held for Address {
        fn about(&self, account: Account) -> BoxFuture<'_, Result<Vec<u8>, Fault>> {
            let address = account.email.typed().as_bytes().to_vec();
            Box::pin(std::future::ready(Ok(address)))
        }
    }

    fn export(scene: &Scene) -> ExportData {
        ExportData {
            by: scene.proven(),
            held: Arc::new(Address),
        }
    }

    #[tokio::test]
    async fn the_owner_is_given_what_is_held() {
        let scene = given(account().verified()).by_owner();
        let told = scene.when(export(&scene)).await.succeeded().raised(&[]);
        let said = told.open("user.data_export.succeeded");
        assert_eq!(said["bytes"], 15);
        assert_eq!(told.reply(), b"ada@example.org");
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let scene = given(account().verified()).by_owner();
        let late = export(&scene);
        let told = scene.after(600).when(late).await;
        told.refused(Refusal::StepUpRequired).raised(&[]);
        let gone = export(&scene);
        scene.world.change(|s| s.accounts.clear());
        let told = scene.when(gone).await;
        told.refused(Refusal::StepUpRequired).raised(&[]);
    }
}
