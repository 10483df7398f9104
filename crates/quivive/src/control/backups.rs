//! Backups, beside a server or without one. They are written where the data are, by the server's user.

use std::path::PathBuf;
use std::sync::Arc;

use quivive_app::Request;
use quivive_app::workflows::operators::back_up::{BackUp, Copier, NotCopied};
use serde_json::{Value, json};

use super::desk::{Desk, refused, told};
use crate::backup::{FileSet, Place};
use crate::failure::{Class, Failure};

impl Desk {
    pub(super) async fn back_up(
        &self,
        directory: PathBuf,
        keys: PathBuf,
    ) -> Result<Value, Failure> {
        self.data.directories.database.directory("backup")?;
        let place = Place { directory, keys };
        if let Some(why) = place.unfit() {
            return Err(refused(&why, "name a directory that is not there yet"));
        }
        let files = Arc::new(FileSet::new(self.data.clone(), place.clone()));
        let command = BackUp {
            copier: Arc::clone(&files) as Arc<dyn Copier>,
        };
        let copied = self.kernel.execute(command, Request::system()).await;
        let copied = copied.map_err(|outcome| {
            told(outcome, |refusal| match refusal {
                NotCopied::NoSpace | NotCopied::IoError => {
                    let why = files.why().unwrap_or_default();
                    Failure::new(
                        Class::Io,
                        format!("no backup was made: {why}"),
                        "make room, or name a directory that the server's user may write",
                    )
                }
            })
        })?;
        Ok(json!({
            "directory": place.directory.display().to_string(),
            "keys": place.keys.display().to_string(),
            "position": copied.position,
            "epoch": copied.epoch,
            "bytes": copied.bytes,
        }))
    }
}
