//! Which types a filter means, by the catalogue.

use std::collections::HashSet;

use super::machine::Selection;
use crate::catalogue::Catalogue;
use crate::subscriber::Filter;

/// Resolves names, types, other names and patterns. The error is the first entry that matches no type.
pub(super) fn resolve(filter: &Filter, catalogue: &Catalogue) -> Result<Selection, &'static str> {
    let Filter::Matching(entries) = filter else {
        return Ok(Selection::All);
    };
    let mut kinds = HashSet::new();
    for &entry in entries {
        let exact = catalogue.find(entry).map(|spec| spec.kind);
        let mut found: Vec<_> = exact.into_iter().collect();
        if exact.is_none() {
            found.extend(
                catalogue
                    .all()
                    .iter()
                    .map(|spec| spec.kind)
                    .filter(|kind| matches(entry, kind)),
            );
        }
        if found.is_empty() {
            return Err(entry);
        }
        kinds.extend(found);
    }
    if kinds.is_empty() {
        Err("nothing")
    } else {
        Ok(Selection::Kinds(kinds))
    }
}

/// A leading or a trailing `*`, or both.
fn matches(pattern: &str, kind: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(rest), Some(_)) => kind.contains(&rest[..rest.len() - 1]),
        (Some(tail), None) => kind.ends_with(tail),
        (None, Some(head)) => kind.starts_with(head),
        (None, None) => false,
    }
}
