//! What reacts inside a commit, before it is submitted: synchronous, and with a say in whether it comes to be. Whoever makes
//! commits asks [`InCommit`].
//!
//! **Guarantees.** What a handler adds is committed with the event or not at all. One that refuses, with a code, keeps the
//! commit from happening, and no handler after it is asked.
//!
//! **Not guaranteed.** That a handler is called once for an event: whoever decides again, because a guard missed, asks again.
//! So it has no effect but through [`Effects`]. Nothing is awaited, for no transaction is open meanwhile. What a handler adds
//! is not asked about: so no two of them can call each other for ever.

use std::collections::{HashMap, HashSet};

use super::outcome::Effects;
use crate::code::Code;
use crate::event::{Body, Event, EventMeta, Phase};

type Handler = Box<dyn Fn(&Body, &mut Effects) -> Result<(), Code> + Send + Sync>;

/// The reason of a handler that could not read its event: what has a say must not be passed by.
const UNREADABLE: &str = "unreadable";

/// A handler refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subscription} refused: {reason}")]
pub struct Veto {
    pub subscription: &'static str,
    pub reason: Code,
}

/// Why a handler cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotInCommit {
    #[error("two handlers in the commit are registered as {0:?}: give one of them another name")]
    NameTaken(&'static str),
    /// An attempt is in the log before anything is decided.
    #[error(
        "the handler {name:?} asks for {kind}, which nothing in a commit can keep from happening: let it ask for the outcome"
    )]
    Attempt {
        name: &'static str,
        kind: &'static str,
    },
}

/// Every handler of this phase, by the type of its event. Whoever makes commits asks it: it is not the engine's to call.
#[derive(Default)]
pub struct InCommit {
    names: HashSet<&'static str>,
    handlers: HashMap<&'static str, Vec<(&'static str, Handler)>>,
}

impl InCommit {
    /// Adds a handler. Those of one type are asked in the order in which they were added.
    pub fn on<E: Event>(
        mut self,
        name: &'static str,
        handler: impl Fn(&E, &mut Effects) -> Result<(), Code> + Send + Sync + 'static,
    ) -> Result<Self, NotInCommit> {
        if E::META.phase() == Phase::Attempted {
            let kind = E::META.kind;
            return Err(NotInCommit::Attempt { name, kind });
        }
        if !self.names.insert(name) {
            return Err(NotInCommit::NameTaken(name));
        }
        let handler: Handler = Box::new(move |body, effects| match E::decode(body) {
            Ok(event) => handler(&event, effects),
            Err(_) => Err(Code::new(UNREADABLE)),
        });
        let of_type = self.handlers.entry(E::META.kind).or_default();
        of_type.push((name, handler));
        Ok(self)
    }

    /// Asks every handler of the event's type; what they add is to be committed with it.
    pub fn ask(&self, meta: &EventMeta, body: &Body) -> Result<Effects, Veto> {
        let mut effects = Effects::default();
        for (subscription, handler) in self.handlers.get(meta.kind).into_iter().flatten() {
            handler(body, &mut effects).map_err(|reason| Veto {
                subscription,
                reason,
            })?;
        }
        Ok(effects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Write;

    #[derive(crate::Event)]
    #[event(
        type = "order.placed",
        version = 1,
        name = "OrderPlaced",
        audit = "ORDER_PLACED"
    )]
    struct OrderPlaced {
        total: u32,
    }

    fn handlers() -> InCommit {
        InCommit::default()
            .on("count", |_: &OrderPlaced, effects| {
                effects.writes.push(Write::one("count", vec![]));
                Ok(())
            })
            .and_then(|all| {
                all.on("limit", |order: &OrderPlaced, _| match order.total {
                    0..100 => Ok(()),
                    _ => Err(Code::new("too_much")),
                })
            })
            .and_then(|all| {
                all.on("last", |_: &OrderPlaced, effects| {
                    effects.writes.push(Write::one("last", vec![]));
                    Ok(())
                })
            })
            .unwrap()
    }

    #[derive(crate::Event)]
    #[event(
        type = "order.attempted",
        version = 1,
        name = "OrderAttempted",
        audit = "ORDER_ATTEMPTED"
    )]
    struct OrderAttempted {}

    fn asked(total: u32) -> Result<Effects, Veto> {
        let body = OrderPlaced { total }.encode().unwrap();
        handlers().ask(&OrderPlaced::META, &body)
    }

    #[test]
    fn all_add_to_the_commit_in_their_order() {
        let effects = asked(1).unwrap();
        let added: Vec<_> = effects.writes.iter().map(|write| write.sql).collect();
        assert_eq!(added, ["count", "last"]);
    }

    #[test]
    fn one_that_refuses_keeps_it_from_happening() {
        let veto = asked(100).unwrap_err();
        assert_eq!(veto.to_string(), "limit refused: too_much");
    }

    #[test]
    fn a_name_is_registered_once() {
        let twice = handlers().on("limit", |_: &OrderPlaced, _| Ok(()));
        assert_eq!(twice.err(), Some(NotInCommit::NameTaken("limit")));
    }

    #[test]
    fn what_cannot_read_its_event_does_not_let_it_pass() {
        let body = Body {
            open: b"{}".to_vec(),
            personal: None,
        };
        let veto = handlers().ask(&OrderPlaced::META, &body).unwrap_err();
        assert_eq!(veto.to_string(), "count refused: unreadable");
    }

    #[test]
    fn an_attempt_cannot_be_kept_from_happening() {
        let refused = InCommit::default().on("early", |_: &OrderAttempted, _| Ok(()));
        let why = NotInCommit::Attempt {
            name: "early",
            kind: "order.attempted",
        };
        assert_eq!(refused.err(), Some(why));
    }
}
