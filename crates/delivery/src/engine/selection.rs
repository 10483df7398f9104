//! Which events a subscription means, by the catalogue.

use std::borrow::Cow;
use std::sync::Arc;

use super::machine::{Kinds, Selection, matches};
use super::start::StartError;
use crate::catalogue::{CUSTOM, Catalogue};
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
        let other = |kinds: &Kinds| {
            let known = kinds.known.iter().map(|kind| Cow::Borrowed(*kind));
            let mut asked = known.chain(kinds.registered.iter().cloned());
            asked.find(|kind| kind != reads)
        };
        let everything = Some(Cow::Borrowed("everything"));
        if let Some(found) = kinds.as_ref().map_or(everything, other) {
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

/// Resolves names, types, other names and patterns. The error is the first entry that matches no type: of the program, or
/// that may be registered while it runs.
fn resolve(
    entries: &[Cow<'static, str>],
    catalogue: &Catalogue,
) -> Result<Kinds, Cow<'static, str>> {
    let mut kinds = Kinds::default();
    for entry in entries {
        if let Some(spec) = catalogue.find(entry) {
            kinds.known.insert(spec.kind);
            continue;
        }
        let may_come = entry.starts_with(CUSTOM);
        if may_come || entry.starts_with('*') || entry.ends_with('*') {
            kinds.registered.push(entry.clone());
        }
        let all = catalogue.all().iter().map(|spec| spec.kind);
        let found: Vec<_> = all.filter(|kind| matches(entry, kind)).collect();
        if found.is_empty() && !may_come {
            return Err(entry.clone());
        }
        kinds.known.extend(found);
    }
    if kinds == Kinds::default() {
        Err("nothing".into())
    } else {
        Ok(kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Class;
    use crate::envelope::Priority;
    use crate::subscriber::on_any;

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::new(|_| Class {
            priority: Priority::Normal,
            category: "operation",
        });
        crate::events::register(&mut catalogue).expect("no name twice");
        catalogue
    }

    /// Which of some types a subscription takes.
    fn taken(entries: &[&'static str]) -> Result<Vec<&'static str>, StartError> {
        let subscription = on_any("it", async |_: &_, _: &mut _| {}).matching(entries.to_vec());
        let selection = select(&subscription, &catalogue())?;
        let kinds = selection.kinds.expect("not everything");
        let all = [
            "delivery.dead_lettered",
            "delivery.circuit_opened",
            "custom.order.placed",
            "custom.order.failed",
            "unknown.placed",
        ];
        Ok(all.into_iter().filter(|kind| kinds.have(kind)).collect())
    }

    #[test]
    fn types_that_may_still_be_registered_are_taken_by_name_and_by_pattern() {
        for (entries, want) in [
            (&["custom.order.placed"][..], &["custom.order.placed"][..]),
            (
                &["custom.*"],
                &["custom.order.placed", "custom.order.failed"],
            ),
            (
                &["custom.order.*", "EventDeadLettered"],
                &[
                    "delivery.dead_lettered",
                    "custom.order.placed",
                    "custom.order.failed",
                ],
            ),
            (
                &["EventDeadLettered", "delivery.dead*"],
                &["delivery.dead_lettered"],
            ),
            (
                &["*e*"],
                &[
                    "delivery.dead_lettered",
                    "delivery.circuit_opened",
                    "custom.order.placed",
                    "custom.order.failed",
                ],
            ),
        ] {
            assert_eq!(taken(entries).expect("it starts"), want, "{entries:?}");
        }
        for entry in ["custo", "order.placed", "*.placed", "unknown.placed"] {
            assert!(
                matches!(taken(&[entry]), Err(StartError::NoSuchEvent { .. })),
                "{entry}"
            );
        }
    }
}
