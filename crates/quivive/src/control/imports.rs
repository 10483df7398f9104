//! Accounts from a file, beside a server or without one. The file is read where the data are.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use quivive_app::Request;
use quivive_app::imports;
use quivive_app::workflows::operators::import_users::{Counts, ImportUsers, Refusal, Told};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use super::desk::{Desk, refused, told};
use crate::failure::{Class, Failure, class_of};

/// Groups that were read and wait. With those under way, some thousand accounts are in memory.
const READ_AHEAD: usize = 2;

/// What waits to be told.
const TOLD: usize = 64;

const AGAIN: &str = "mend it, and give the same file again: who is there already is passed over";

impl Desk {
    pub(super) async fn import_users(
        &self,
        file: &Path,
        items: &mpsc::Sender<Value>,
    ) -> Result<(), Failure> {
        let unreadable = |error: std::io::Error| {
            let message = format!("cannot read {}: {error}", file.display());
            Failure::new(
                class_of(&error),
                message,
                "name a file that the server's user may read",
            )
        };
        let about = file.metadata().map_err(unreadable)?;
        // To open a pipe would wait for who writes into it.
        if !about.is_file() {
            return Err(refused(
                &format!("{} is no file", file.display()),
                "name one file",
            ));
        }
        let opened = File::open(file).map_err(unreadable)?;
        let (sent, groups) = mpsc::channel(READ_AHEAD);
        let families = Arc::clone(self.kernel.families());
        // It ends when the file does, or when nobody takes what it reads.
        drop(tokio::task::spawn_blocking(move || {
            let (hasher, now) = (families.hasher.as_ref(), families.clock.now());
            imports::read(opened, hasher, now, |group| {
                sent.blocking_send(group).is_ok()
            });
        }));
        let (said, mut heard) = mpsc::channel(TOLD);
        let name = file.file_name().unwrap_or(file.as_os_str());
        let import = ImportUsers {
            file_name: name.to_string_lossy().chars().take(255).collect(),
            groups: Mutex::new(groups),
            told: said,
            kernel: Arc::clone(&self.kernel),
        };
        let run = self.kernel.execute(import, Request::system());
        let mut why = None;
        let pass_on = async {
            while let Some(told) = heard.recv().await {
                if let Told::Unreadable(unreadable) = &told {
                    why = Some(unreadable.to_string());
                }
                if let Some(item) = item(&told, about.len())
                    && items.send(item).await.is_err()
                {
                    // Whoever asked has gone; so the import hears it.
                    heard.close();
                }
            }
        };
        let (outcome, ()) = tokio::join!(run, pass_on);
        let counts = outcome.map_err(|outcome| {
            told(outcome, |refusal| match refusal {
                Refusal::Unreadable => refused(&why.unwrap_or_default(), AGAIN),
                Refusal::Interrupted | Refusal::Forbidden => Failure::new(
                    Class::Busy,
                    "the import was interrupted; what it took over is there",
                    "give the same file again: who is there already is passed over",
                ),
            })
        })?;
        let _ = items.send(json!({ "done": counts })).await;
        Ok(())
    }
}

/// What the command is told; why a file cannot be read on, it is told at the end.
fn item(told: &Told, total_bytes: u64) -> Option<Value> {
    Some(match told {
        Told::Flaw(flaw) => json!({"flaw": {
            "at": flaw.at.to_string(),
            "line": flaw.at.line,
            "entry": flaw.at.entry,
            "field": flaw.field,
            "message": flaw.message,
        }}),
        Told::Skipped { from, to, count } => json!({"skipped": {
            "from": from.to_string(),
            "to": to.to_string(),
            "count": count,
        }}),
        Told::Reached {
            read_bytes,
            so_far:
                Counts {
                    imported,
                    skipped,
                    failed,
                },
        } => json!({"reached": {
            "read_bytes": read_bytes,
            "total_bytes": total_bytes,
            "imported": imported,
            "skipped": skipped,
            "failed": failed,
        }}),
        Told::Unreadable(_) => return None,
    })
}
