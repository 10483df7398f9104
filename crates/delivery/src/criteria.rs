//! Which events a reader of the log asks for: read and judged here for all who ask, over HTTP or at a terminal.

use std::fmt;

use uuid::Uuid;

use crate::catalogue::{CUSTOM, Catalogue};
use crate::envelope::Stored;

/// Of a subject, in bytes: a user's id and a keyed digest are shorter.
const MAX_SUBJECT_BYTES: usize = 128;

/// What all the wanted events have in common; without any criterion that is nothing, and all are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Criteria {
    kind: Option<Kind>,
    workflow_id: Option<Uuid>,
    correlation_id: Option<Uuid>,
    subject: Option<String>,
}

/// Which types.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Is(String),
    Begins(String),
    Ends(String),
}

/// Why a criterion cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("there is no such criterion")]
    Unknown,
    #[error("no type in the catalogue has this name or is of this family")]
    NoSuchType,
    #[error("a UUID is wanted")]
    NoUuid,
    #[error("from 1 to 128 bytes are wanted")]
    Length,
}

impl Criteria {
    /// Sets one by the name that the envelope has for it. A criterion that nothing can meet is refused: it is a mistake,
    /// and whoever made it would wait for ever.
    pub fn set(&mut self, name: &str, value: &str, catalogue: &Catalogue) -> Result<(), Unfit> {
        match name {
            "type" => self.kind = Some(Kind::read(value, catalogue).ok_or(Unfit::NoSuchType)?),
            "workflow_id" => self.workflow_id = Some(uuid(value)?),
            "correlation_id" => self.correlation_id = Some(uuid(value)?),
            "subject" => self.subject = Some(subject(value)?),
            _ => return Err(Unfit::Unknown),
        }
        Ok(())
    }

    /// Whom all of them are about, where that is asked for.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Whether every event is wanted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this event is wanted.
    pub fn admit(&self, event: &Stored) -> bool {
        let Self {
            kind,
            workflow_id,
            correlation_id,
            subject,
        } = self;
        let envelope = &event.envelope;
        kind.as_ref().is_none_or(|kind| kind.fits(&envelope.kind))
            && workflow_id.is_none_or(|id| id == envelope.workflow_id)
            && correlation_id.is_none_or(|id| id == envelope.correlation_id)
            && (subject.is_none() || *subject == envelope.subject)
    }
}

/// As they are set, joined as in a query string.
impl fmt::Display for Criteria {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: [(&str, Option<&dyn fmt::Display>); 4] = [
            ("type", self.kind.as_ref().map(|it| it as _)),
            ("workflow_id", self.workflow_id.as_ref().map(|it| it as _)),
            (
                "correlation_id",
                self.correlation_id.as_ref().map(|it| it as _),
            ),
            ("subject", self.subject.as_ref().map(|it| it as _)),
        ];
        let set = all
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        for (at, (name, value)) in set.enumerate() {
            let and = if at == 0 { "" } else { "&" };
            write!(f, "{and}{name}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(kind) => f.write_str(kind),
            Self::Begins(head) => write!(f, "{head}*"),
            Self::Ends(tail) => write!(f, "*{tail}"),
        }
    }
}

/// An id of an envelope.
pub fn uuid(value: &str) -> Result<Uuid, Unfit> {
    Uuid::try_parse(value).map_err(|_| Unfit::NoUuid)
}

/// The subject of an envelope.
pub fn subject(value: &str) -> Result<String, Unfit> {
    let fits = (1..=MAX_SUBJECT_BYTES).contains(&value.len());
    fits.then(|| value.to_owned()).ok_or(Unfit::Length)
}

/// Whether registered types are of a family: types of `custom.*` may still come, but whoever names their last word means
/// one that is there.
fn may_come(family: &Kind, catalogue: &Catalogue) -> bool {
    matches!(family, Kind::Begins(head) if head.starts_with(CUSTOM))
        || catalogue
            .registered()
            .iter()
            .any(|spec| family.fits(spec.kind))
}

impl Kind {
    /// A type, any other name it has, or a family that has a type: `user.*`, `*.failed`.
    fn read(value: &str, catalogue: &Catalogue) -> Option<Self> {
        if let Some(spec) = catalogue.find(value) {
            return Some(Self::Is(spec.kind.to_owned()));
        }
        let family = match (value.strip_suffix('*'), value.strip_prefix('*')) {
            (Some(head), None) if head.ends_with('.') => Self::Begins(head.to_owned()),
            (None, Some(tail)) if tail.starts_with('.') => Self::Ends(tail.to_owned()),
            _ => return None,
        };
        let known = catalogue.all().iter().any(|spec| family.fits(spec.kind));
        (known || may_come(&family, catalogue)).then_some(family)
    }

    fn fits(&self, kind: &str) -> bool {
        match self {
            Self::Is(wanted) => kind == wanted,
            Self::Begins(head) => kind.starts_with(head.as_str()),
            Self::Ends(tail) => kind.ends_with(tail.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Class;
    use crate::chain::GENESIS;
    use crate::envelope::{Envelope, Key, Priority};
    use crate::events;

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::new(|_| Class {
            priority: Priority::Normal,
            category: "operation",
        });
        events::register(&mut catalogue).unwrap();
        catalogue
    }

    fn event(kind: &str) -> Stored {
        let time = crate::Time::UNIX_EPOCH;
        Stored {
            position: 1,
            epoch: 1,
            recorded_at: time,
            envelope: Envelope {
                workflow_id: Uuid::from_u128(2),
                correlation_id: Uuid::from_u128(3),
                subject: Some("ada".to_owned()),
                ..Envelope::first(Uuid::from_u128(1), kind, Key::new("user", 7), time)
            },
            context: None,
            body: b"{}".to_vec(),
            personal: None,
            chain: GENESIS,
        }
    }

    fn only(name: &str, value: &str) -> Result<Criteria, Unfit> {
        let mut criteria = Criteria::default();
        criteria.set(name, value, &catalogue())?;
        Ok(criteria)
    }

    #[test]
    fn a_type_goes_by_any_of_its_names_and_by_its_families() {
        let dead = event("delivery.dead_lettered");
        for name in [
            "delivery.dead_lettered",
            "EventDeadLettered",
            "delivery.*",
            "*.dead_lettered",
        ] {
            let criteria = only("type", name).unwrap();
            assert!(criteria.admit(&dead) && !criteria.is_empty(), "{name}");
            assert!(!criteria.admit(&event("user.login.failed")), "{name}");
        }
        for name in [
            "",
            "*",
            "delivery",
            "delivery*",
            "deliver.*",
            "*.failed",
            "*.*",
        ] {
            assert_eq!(only("type", name), Err(Unfit::NoSuchType), "{name}");
        }
    }

    #[test]
    fn a_registered_type_goes_by_its_name_and_its_families() {
        let catalogue = catalogue();
        let set = |value: &str| {
            let mut criteria = Criteria::default();
            criteria.set("type", value, &catalogue).map(|()| criteria)
        };
        assert!(
            set("custom.*").is_ok() && set("custom.order.*").is_ok(),
            "they may come"
        );
        assert_eq!(set("custom.order.placed"), Err(Unfit::NoSuchType));
        assert_eq!(set("*.placed"), Err(Unfit::NoSuchType));
        catalogue.register(
            "custom.order.placed",
            &[serde_json::json!({"type": "object"})],
            None,
        );
        let placed = event("custom.order.placed");
        for name in ["custom.order.placed", "custom.*", "*.placed"] {
            assert!(set(name).unwrap().admit(&placed), "{name}");
        }
        assert!(
            !set("custom.*")
                .unwrap()
                .admit(&event("delivery.dead_lettered"))
        );
    }

    #[test]
    fn each_criterion_must_be_met() {
        let (first, second) = (
            Uuid::from_u128(2).to_string(),
            Uuid::from_u128(3).to_string(),
        );
        let met = [
            ("workflow_id", first.as_str()),
            ("correlation_id", &second),
            ("subject", "ada"),
        ];
        let unmet = [
            ("workflow_id", second.as_str()),
            ("correlation_id", &first),
            ("subject", "eve"),
        ];
        let mut all = Criteria::default();
        assert!(all.is_empty() && all.admit(&event("x")));
        for ((name, value), (_, other)) in met.into_iter().zip(unmet) {
            assert!(only(name, value).unwrap().admit(&event("x")), "{name}");
            assert!(!only(name, other).unwrap().admit(&event("x")), "{name}");
            all.set(name, value, &catalogue()).unwrap();
        }
        assert!(all.admit(&event("x")));
        all.set("subject", "eve", &catalogue()).unwrap();
        assert!(!all.admit(&event("x")), "all the others are met");
        let nobody = Stored {
            envelope: Envelope {
                subject: None,
                ..event("x").envelope
            },
            ..event("x")
        };
        assert!(!only("subject", "ada").unwrap().admit(&nobody));
    }

    #[test]
    fn criteria_are_written_as_they_are_set() {
        let id = Uuid::from_u128(7).to_string();
        let set = [
            ("type", "delivery.*"),
            ("workflow_id", &id),
            ("correlation_id", &id),
            ("subject", "ada"),
        ];
        let mut criteria = Criteria::default();
        assert_eq!(criteria.to_string(), "");
        for (name, value) in set.into_iter().rev() {
            criteria.set(name, value, &catalogue()).unwrap();
        }
        let want = format!("type=delivery.*&workflow_id={id}&correlation_id={id}&subject=ada");
        assert_eq!(criteria.to_string(), want);
        for (value, want) in [
            ("EventDeadLettered", "type=delivery.dead_lettered"),
            ("*.redriven", "type=*.redriven"),
        ] {
            assert_eq!(only("type", value).unwrap().to_string(), want);
        }
    }

    #[test]
    fn what_nothing_can_meet_is_refused() {
        assert_eq!(only("workflow_id", "1"), Err(Unfit::NoUuid));
        assert_eq!(only("correlation_id", ""), Err(Unfit::NoUuid));
        assert_eq!(only("subject", ""), Err(Unfit::Length));
        assert_eq!(only("subject", &"x".repeat(129)), Err(Unfit::Length));
        assert_eq!(only("kind", "x"), Err(Unfit::Unknown));
    }
}
