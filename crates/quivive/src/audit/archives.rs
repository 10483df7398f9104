//! Whether what was cut is accounted for: a signature for where the log begins, and archives that meet there.

use std::path::Path;

use quivive_delivery::Fault;
use quivive_delivery::Log as _;
use quivive_delivery::chain::GENESIS;
use quivive_delivery::retention::{Anchor, Filed, Shelf as _};
use quivive_outbound::Verifier;
use quivive_store::Database;

/// Archives noted in the database that are looked at in one read.
const ARCHIVES: u32 = 100;

/// What was found of the part of the log that is gone.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Archives that are whole, signed, and meet.
    pub(super) archives: u64,
    /// What is wrong first.
    pub(super) flaw: Option<String>,
}

/// Checks the anchor and every archive.
pub(super) async fn check(
    log: &Database,
    verifier: &Verifier,
    directory: &Path,
    anchor: &Anchor,
) -> Result<Past, Fault> {
    let mut past = Past::default();
    if !verifier.anchor(anchor) {
        let position = anchor.position;
        past.flaw = Some(format!(
            "the log begins after position {position}, and no key of this server vouches for that"
        ));
        return Ok(past);
    }
    let mut last: Option<Filed> = None;
    loop {
        let above = last.as_ref().map_or(0, |filed| filed.from);
        let archives = log.archives(above, ARCHIVES).await?;
        let full = archives.len() == ARCHIVES as usize;
        for filed in archives {
            match verifier.archive(directory, &filed) {
                Err(flaw) => past.flaw = Some(format!("the archive {} {flaw}", filed.file)),
                Ok(before) if !meets(last.as_ref(), &filed, before) => {
                    let file = &filed.file;
                    past.flaw = Some(format!("an archive is missing before {file}"));
                }
                Ok(_) => past.archives += 1,
            }
            if past.flaw.is_some() {
                return Ok(past);
            }
            last = Some(filed);
        }
        if !full {
            break;
        }
    }
    if !ends_at(log, last.as_ref(), anchor).await? {
        past.flaw = Some(format!(
            "the archives do not meet the log at position {}",
            anchor.position
        ));
    }
    Ok(past)
}

/// Whether an archive goes on where the one before it ends. Archives that were kept for long enough are gone.
fn meets(last: Option<&Filed>, next: &Filed, chain_before: [u8; 32]) -> bool {
    match last {
        Some(last) => last.to + 1 == next.from && last.chain == chain_before,
        None => next.from > 1 || chain_before == GENESIS,
    }
}

/// Whether the archives end where the log begins; or within it, where a cut is under way.
async fn ends_at(log: &Database, last: Option<&Filed>, anchor: &Anchor) -> Result<bool, Fault> {
    let Some(last) = last else {
        return Ok(anchor.position == 0);
    };
    if last.to <= anchor.position {
        return Ok((last.to, last.chain) == (anchor.position, anchor.chain));
    }
    let found = log.read(last.to - 1, 1).await?;
    Ok(found.first().is_some_and(|event| event.chain == last.chain))
}
