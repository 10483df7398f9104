//! What an endpoint asks for, by the catalogue.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use quivive_delivery::catalogue::CUSTOM;
use quivive_delivery::{Catalogue, EventSpec, subscriber};
use quivive_domain::webhook::Pattern;

/// Patterns, and the versions in which the types that they mean are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub events: Vec<Pattern>,
    pub versions: BTreeMap<String, u32>,
}

/// The pattern with this index means no type of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown(pub usize);

impl Wanted {
    /// None of them means all types.
    pub fn parse<S: AsRef<str>>(catalogue: &Catalogue, texts: &[S]) -> Result<Self, Unknown> {
        let mut events = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let pattern = Pattern::parse(text.as_ref()).ok_or(Unknown(index))?;
            let known = catalogue.all().iter();
            let mut meant = known.filter(|spec| is_meant(catalogue, &pattern, spec));
            if meant.next().is_none() && !may_come(&pattern) {
                return Err(Unknown(index));
            }
            events.push(pattern);
        }
        Ok(Self::now(catalogue, events))
    }

    /// The same patterns, with the versions that are current now.
    pub fn now(catalogue: &Catalogue, events: Vec<Pattern>) -> Self {
        let filter = Filter::of(catalogue, &events);
        let wanted = |spec: &&EventSpec| filter.admits(spec.kind);
        let versions = catalogue.all().iter().filter(wanted);
        Self {
            versions: versions
                .map(|spec| (spec.kind.to_owned(), spec.version))
                .collect(),
            events,
        }
    }
}

/// What passes an endpoint's filter. A pattern means also types that come later.
pub(super) struct Filter {
    /// `None`: all.
    meant: Option<Meant>,
}

struct Meant {
    names: HashSet<String>,
    patterns: Vec<Pattern>,
}

impl Filter {
    /// What the catalogue does not know any more is left out.
    pub(super) fn of(catalogue: &Catalogue, events: &[Pattern]) -> Self {
        let meant = (!events.is_empty()).then(|| {
            let (names, patterns): (Vec<_>, Vec<_>) = events.iter().partition(|e| e.is_name());
            let known = |name: &Pattern| match catalogue.find(name.as_str()) {
                Some(spec) => Some(spec.kind.to_owned()),
                None => may_come(name).then(|| name.as_str().to_owned()),
            };
            let fits_any = |pattern: &&Pattern| {
                may_come(pattern) || catalogue.all().iter().any(|spec| pattern.fits(spec.kind))
            };
            Meant {
                names: names.into_iter().filter_map(known).collect(),
                patterns: patterns.into_iter().filter(fits_any).cloned().collect(),
            }
        });
        Self { meant }
    }

    pub(super) fn admits(&self, kind: &str) -> bool {
        self.meant.as_ref().is_none_or(|meant| {
            meant.names.contains(kind) || meant.patterns.iter().any(|pattern| pattern.fits(kind))
        })
    }

    /// As the engine takes it. An endpoint whose types are all gone is given everything, and lets it pass by.
    pub(super) fn subscription(&self) -> subscriber::Filter {
        let Some(meant) = &self.meant else {
            return subscriber::Filter::All;
        };
        let patterns = meant.patterns.iter().map(Pattern::as_str);
        let entries = meant.names.iter().map(String::as_str).chain(patterns);
        let entries: Vec<_> = entries.map(|entry| Cow::Owned(entry.to_owned())).collect();
        if entries.is_empty() {
            subscriber::Filter::All
        } else {
            subscriber::Filter::Matching(entries)
        }
    }
}

/// Whether it means types of services, which may be registered at any time.
fn may_come(pattern: &Pattern) -> bool {
    pattern.as_str().starts_with(CUSTOM)
}

fn is_meant(catalogue: &Catalogue, pattern: &Pattern, spec: &EventSpec) -> bool {
    if pattern.is_name() {
        catalogue
            .find(pattern.as_str())
            .is_some_and(|found| found.kind == spec.kind)
    } else {
        pattern.fits(spec.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switchboard::workflows;

    #[test]
    fn names_patterns_and_nothing_at_all() {
        let workflows = workflows().unwrap();
        let catalogue = workflows.catalogue();
        let wanted = Wanted::parse(catalogue, &["session.*", "UserLoginFailed"]).unwrap();
        let filter = Filter::of(catalogue, &wanted.events);
        for (kind, meant) in [
            ("user.login.failed", true),
            ("session.created", true),
            ("session.that_comes_later", true),
            ("user.login.succeeded", false),
        ] {
            assert_eq!(filter.admits(kind), meant, "{kind}");
        }
        let subscriber::Filter::Matching(mut entries) = filter.subscription() else {
            panic!("not all")
        };
        entries.sort();
        assert_eq!(entries, ["session.*", "user.login.failed"]);
        assert!(wanted.versions.len() >= 5);
        assert_eq!(wanted.versions["session.created"], 1);
        assert_eq!(Wanted::now(catalogue, wanted.events.clone()), wanted);

        let wanted = Wanted::parse(catalogue, &["custom.order_placed", "custom.stock.*"]).unwrap();
        let filter = Filter::of(catalogue, &wanted.events);
        assert!(filter.admits("custom.order_placed") && filter.admits("custom.stock.low"));
        assert!(!filter.admits("custom.other") && wanted.versions.is_empty());

        let all = Wanted::parse::<&str>(catalogue, &[]).unwrap();
        let filter = Filter::of(catalogue, &all.events);
        assert!(
            filter.admits("anything") && matches!(filter.subscription(), subscriber::Filter::All)
        );
        assert_eq!(all.versions.len(), catalogue.all().len());
        for (texts, index) in [
            (&["session.*", "no.such"][..], 1),
            (&["nothing.*"], 0),
            (&["user*"], 0),
            (&[""], 0),
        ] {
            assert_eq!(
                Wanted::parse(catalogue, texts),
                Err(Unknown(index)),
                "{texts:?}"
            );
        }
    }

    #[test]
    fn a_type_that_is_gone_is_left_out() {
        let workflows = workflows().unwrap();
        let gone = [Pattern::parse("order.placed").unwrap()];
        let filter = Filter::of(workflows.catalogue(), &gone);
        assert!(!filter.admits("order.placed") && !filter.admits("session.created"));
        assert!(matches!(filter.subscription(), subscriber::Filter::All));
    }
}
