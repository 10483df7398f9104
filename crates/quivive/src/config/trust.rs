//! The files of certificates that are trusted besides the public ones: `….ca_file`.

use std::path::Path;

use super::report::Report;

/// What is in the file that `key` names. `None` where it names none, or one that cannot be read, which is told.
pub(super) fn certificates(
    key: &str,
    file: Option<&Path>,
    report: &mut Report<'_>,
) -> Option<Vec<u8>> {
    let path = file?;
    std::fs::read(path)
        .map_err(|error| {
            let what = format!("names {}, which cannot be read: {error}", path.display());
            report.bad(key, &what, "name a file of certificates in PEM");
        })
        .ok()
}
