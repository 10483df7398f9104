//! One delivery of several events: a batch that fails whole is halved once, to find out whose fault it is.
//!
//! **Guarantees.** An event whose half is well is done. Of a half that fails, each event is tried again alone; nothing is
//! parked, and no panic counted, for the fault of another. When both halves fail as a target fails that is away, each event
//! failed by itself: then it is the target.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::delivery::Target;
use super::machine::Verdict;
use crate::envelope::Stored;
use crate::subscriber::{BatchHandler, BatchOutcome, Order, Outcome, Received};

/// How one call ended.
enum Called {
    /// In each event's own way; as many as there are events.
    Each(Vec<Verdict>),
    Whole(Verdict),
}

impl Target {
    /// Delivers several events. The verdicts are in their order.
    pub(super) async fn deliver_together(
        &self,
        events: Vec<(Arc<Stored>, u32)>,
    ) -> Vec<(Arc<Stored>, Verdict)> {
        let mut ended = Vec::with_capacity(events.len());
        let mut opened = Vec::with_capacity(events.len());
        for (event, _) in events {
            match self.received(&event).await {
                Ok(received) => opened.push(received),
                Err(fault) => {
                    ended.push((event, Verdict::Retry(format!("cannot open it: {fault}"))));
                }
            }
        }
        let verdicts = match &self.together {
            Some(handler) if !opened.is_empty() && !self.is_muted() => {
                self.halving(&**handler, &opened).await
            }
            _ => opened.iter().map(|_| Verdict::Done).collect(),
        };
        let stored = opened.into_iter().map(|received| received.stored);
        ended.extend(stored.zip(verdicts));
        ended
    }

    async fn halving(&self, handler: &dyn BatchHandler, events: &[Received]) -> Vec<Verdict> {
        let whole = match self.call(handler, events).await {
            Called::Each(verdicts) => return verdicts,
            Called::Whole(verdict) => verdict,
        };
        if events.len() == 1 {
            return vec![whole];
        }
        if self.order == Order::Log {
            return of_all(&whole, events.len());
        }
        let (left, right) = events.split_at(events.len() / 2);
        let (first, second) = (
            self.call(handler, left).await,
            self.call(handler, right).await,
        );
        let away = is_away(&first) && is_away(&second);
        let mut verdicts = spread(first, left.len(), away);
        verdicts.extend(spread(second, right.len(), away));
        verdicts
    }

    /// Calls the handler once. A panic of the handler ends here.
    async fn call(&self, handler: &dyn BatchHandler, events: &[Received]) -> Called {
        let call = AssertUnwindSafe(handler.handle(events)).catch_unwind();
        let said = match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(said)) => said,
            Ok(Err(_)) => return Called::Whole(Verdict::Panicked),
            Err(_) => return Called::Whole(Verdict::TimedOut),
        };
        let verdict =
            |outcome, event: &Received| Verdict::of(outcome, &self.name, event.envelope());
        match said {
            BatchOutcome::All(Outcome::Done) => {
                Called::Each(events.iter().map(|_| Verdict::Done).collect())
            }
            BatchOutcome::All(outcome @ (Outcome::DoneWith(_) | Outcome::Undo(_))) => {
                let each = events.iter().map(|event| verdict(outcome.clone(), event));
                Called::Each(each.collect())
            }
            BatchOutcome::All(failed) => Called::Whole(verdict(failed, &events[0])),
            BatchOutcome::Each(outcomes) if outcomes.len() == events.len() => {
                let each = outcomes.into_iter().zip(events);
                Called::Each(
                    each.map(|(outcome, event)| verdict(outcome, event))
                        .collect(),
                )
            }
            BatchOutcome::Each(outcomes) => {
                let (said, given) = (outcomes.len(), events.len());
                let text = format!("it said {said} outcomes of {given} events");
                Called::Whole(Verdict::Retry(text))
            }
        }
    }
}

/// What a batch whose events wait for each other says of each of them. Those behind the first are not begun.
fn of_all(whole: &Verdict, count: usize) -> Vec<Verdict> {
    let text = || whole.text().to_owned();
    let same = || match whole {
        Verdict::Pause(_) | Verdict::GiveUp(_) | Verdict::Poison(_) => Verdict::Pause(text()),
        Verdict::RetryAfter(wait, _) => Verdict::RetryAfter(*wait, text()),
        _ => Verdict::Retry(text()),
    };
    std::iter::repeat_with(same).take(count).collect()
}

/// Whether a call failed as calls of a target fail that is away.
fn is_away(called: &Called) -> bool {
    match called {
        Called::Whole(Verdict::Retry(_) | Verdict::RetryAfter(..) | Verdict::TimedOut) => true,
        Called::Whole(_) | Called::Each(_) => false,
    }
}

/// What a half says of each of its events.
fn spread(called: Called, count: usize, away: bool) -> Vec<Verdict> {
    match called {
        Called::Each(verdicts) => verdicts,
        Called::Whole(verdict) if count == 1 => vec![verdict],
        Called::Whole(verdict) => std::iter::repeat_with(|| match &verdict {
            Verdict::RetryAfter(wait, text) if away => Verdict::RetryAfter(*wait, text.clone()),
            Verdict::TimedOut if away => Verdict::TimedOut,
            failed if away => Verdict::Retry(failed.text().to_owned()),
            failed => Verdict::Alone(failed.text().to_owned()),
        })
        .take(count)
        .collect(),
    }
}
