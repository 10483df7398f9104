//! What reacts inside a commit, before it is submitted: synchronous, and with a say in whether it comes to be. Whoever makes
//! commits asks [`InCommit`]; the product's kernel does not yet.
//!
//! **Guarantees.** What a handler adds is committed with the event or not at all. One that refuses, with a code, keeps the
//! commit from happening, and no handler after it is asked.
//!
//! **Not guaranteed.** That a handler is called once for an event: whoever decides again, because a guard missed, asks again.
//! So it has no effect but through [`Effects`]. Nothing is awaited, for no transaction is open meanwhile.

use std::any::Any;
use std::collections::{HashMap, HashSet};

use super::outcome::Effects;
use crate::code::Code;
use crate::event::Event;

type Handler = Box<dyn Fn(&dyn Any, &mut Effects) -> Result<(), Code> + Send + Sync>;

/// A handler refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subscription} refused: {reason}")]
pub struct Veto {
    pub subscription: &'static str,
    pub reason: Code,
}

/// Two handlers have the same name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two handlers in the commit are registered as {0:?}: give one of them another name")]
pub struct NameTaken(pub &'static str);

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
    ) -> Result<Self, NameTaken> {
        if !self.names.insert(name) {
            return Err(NameTaken(name));
        }
        let handler: Handler = Box::new(move |event, effects| match event.downcast_ref::<E>() {
            Some(event) => handler(event, effects),
            None => Ok(()),
        });
        let of_type = self.handlers.entry(E::META.kind).or_default();
        of_type.push((name, handler));
        Ok(self)
    }

    /// Asks every handler of this type; what they add is to be committed with the event.
    pub fn ask<E: Event>(&self, event: &E) -> Result<Effects, Veto> {
        let mut effects = Effects::default();
        for (subscription, handler) in self.handlers.get(E::META.kind).into_iter().flatten() {
            handler(event, &mut effects).map_err(|reason| Veto {
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

    #[test]
    fn all_add_to_the_commit_in_their_order() {
        let effects = handlers().ask(&OrderPlaced { total: 1 }).unwrap();
        let added: Vec<_> = effects.writes.iter().map(|write| write.sql).collect();
        assert_eq!(added, ["count", "last"]);
    }

    #[test]
    fn one_that_refuses_keeps_it_from_happening() {
        let veto = handlers().ask(&OrderPlaced { total: 100 }).unwrap_err();
        assert_eq!(veto.to_string(), "limit refused: too_much");
    }

    #[test]
    fn a_name_is_registered_once() {
        let twice = handlers().on("limit", |_: &OrderPlaced, _| Ok(()));
        assert_eq!(twice.err(), Some(NameTaken("limit")));
    }
}
