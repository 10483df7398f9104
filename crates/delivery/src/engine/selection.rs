//! Which events a subscription means, by the catalogue.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::machine::Selection;
use super::start::StartError;
use crate::catalogue::Catalogue;
use crate::subscriber::{Filter, Subscription};

/// What a subscription wants, if there is such a thing and its handler can read it.
pub(super) fn select(
    subscription: &Subscription,
    catalogue: &Catalogue,
) -> Result<Selection, StartError> {
    let name = || Arc::clone(&subscription.name);
    let kinds = match &subscription.filter {
        Filter::All => None,
        Filter::Matching(entries) => {
            let kinds = resolve(entries, catalogue).map_err(|pattern| StartError::NoSuchEvent {
                subscription: name(),
                pattern,
            })?;
            Some(kinds)
        }
    };
    if let Some(reads) = subscription.reads {
        let other = |kinds: &HashSet<_>| kinds.iter().find(|kind| **kind != reads).copied();
        if let Some(found) = kinds.as_ref().map_or(Some("everything"), other) {
            return Err(StartError::OtherType {
                subscription: name(),
                reads,
                found,
            });
        }
    }
    Ok(Selection {
        kinds,
        priority: subscription.priority,
    })
}

/// Resolves names, types, other names and patterns. The error is the first entry that matches no type.
fn resolve(
    entries: &[Cow<'static, str>],
    catalogue: &Catalogue,
) -> Result<HashSet<&'static str>, Cow<'static, str>> {
    let mut kinds = HashSet::new();
    for entry in entries {
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
            return Err(entry.clone());
        }
        kinds.extend(found);
    }
    if kinds.is_empty() {
        Err("nothing".into())
    } else {
        Ok(kinds)
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
