//! What handlers leave behind in our database.

use super::*;
use crate::fault::Fault;
use crate::log::{Appender, CommitError, Log as _};
use crate::seal::Vault as _;
use crate::{Body, Context, Expect, Key, Transaction, Write};

const NOTE: &str = "INSERT INTO note";

/// One write and one fact.
fn noted() -> Outcome {
    let fact = OrderNoted {
        text: "placed".to_owned(),
        by: "Ada".to_owned(),
    };
    Outcome::DoneWith(Effects {
        writes: vec![Write::one(NOTE, vec![])],
        facts: vec![Fact::of(&fact).unwrap()],
    })
}

fn once(call: &Call) -> Act {
    if call.position == 1 {
        Act::Say(noted())
    } else {
        done()
    }
}

#[tokio::test(start_paused = true)]
async fn writes_and_facts_are_in_one_commit_with_what_they_are_caused_by() {
    let trial = Trial::new();
    let script = Script::new(once);
    let running = trial.start_one(&script).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    assert_eq!(trial.memory.writes().len(), 1);
    let (cause, fact) = (
        trial.memory.event(1).unwrap(),
        trial.memory.event(2).unwrap(),
    );
    assert_eq!(fact.envelope.kind, "order.noted");
    assert_eq!(fact.envelope.key, cause.envelope.key);
    assert_eq!(fact.envelope.causation_id, Some(cause.envelope.id));
    assert_eq!(fact.envelope.correlation_id, cause.envelope.correlation_id);
    assert_eq!(fact.envelope.workflow_id, cause.envelope.workflow_id);
    assert_eq!(
        (fact.envelope.actor.kind.as_ref(), fact.envelope.actor.id),
        ("system", None)
    );
    assert_eq!(fact.body, br#"{"text":"placed"}"#);
    assert!(fact.context.is_none());
    assert!(
        fact.personal.is_none(),
        "no key, so nothing personal is kept"
    );
    assert_eq!(
        script.positions(),
        [1, 2],
        "a fact is an event like any other"
    );
}

/// Keeps the holder of each card and the address of each request, and notes it.
#[derive(Default)]
struct Cards(Mutex<Vec<(Option<String>, Option<String>)>>);

impl Handler for Cards {
    fn handle<'a>(&'a self, event: &'a Received, _: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        let outcome = if event.is::<CardFailed>() {
            let card = event.decode::<CardFailed>().map(|card| card.holder);
            self.0
                .lock()
                .unwrap()
                .push((card.ok(), event.context.ip.clone()));
            noted()
        } else {
            Outcome::Done
        };
        std::future::ready(outcome).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn personal_fields_are_opened_and_sealed_under_the_key_of_the_cause() {
    let trial = Trial::new();
    let cards = Arc::new(Cards::default());
    let subscription =
        Subscription::durable("cards", Filter::All, cards.clone()).with_personal_fields();
    let running = trial.start(vec![subscription]).await;
    let key = trial.memory.vault.key("ada").await.unwrap();
    let append = |id: u128| {
        let mut envelope = crate::fakes::envelope(
            uuid::Uuid::from_u128(id),
            "payment.card.failed",
            "a",
            crate::Time::UNIX_EPOCH,
        );
        envelope.subject = Some("user:ada".to_owned());
        let body = Body {
            open: b"{}".to_vec(),
            personal: Some(br#"{"holder":"Ada"}"#.to_vec()),
        };
        let context = Context {
            ip: Some("192.0.2.1".to_owned()),
            agent: None,
        };
        let appender = Appender::new();
        let context = appender.context(&context, envelope.workflow_id, &*key);
        let record = appender.record(envelope, body, context, Some(&*key));
        let transaction = Transaction {
            writes: vec![],
            records: vec![record],
        };
        trial.connection.commit(transaction)
    };
    append(901).await.unwrap();
    running.drain().await;
    let sealed = trial.memory.event(2).unwrap().personal.unwrap();
    assert_eq!(sealed.key, "ada");
    let subject = trial.memory.event(2).unwrap().envelope.subject;
    assert_eq!(subject.as_deref(), Some("user:ada"));

    trial.memory.vault.destroy("ada");
    append(902).await.unwrap();
    running.drain().await;
    assert!(
        trial.memory.event(4).unwrap().personal.is_none(),
        "an erased key is not made again"
    );
    let ada = (Some("Ada".to_owned()), Some("192.0.2.1".to_owned()));
    assert_eq!(*cards.0.lock().unwrap(), [ada, (None, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_or_misses_is_a_failed_attempt() {
    let trial = Trial::new();
    let script = Script::new(once);
    let running = trial.start_one(&script).await;
    trial
        .memory
        .fail_commits([CommitError::Missed(0), CommitError::Fault(Fault::NoSpace)]);
    trial.memory.append(PLACED, "a");
    running.drain().await;
    assert_eq!(script.calls_of(1).len(), 3);
    assert_eq!(trial.count("order.noted"), 1);
    assert_eq!(trial.memory.writes().len(), 1);
    assert_eq!(trial.memory.writes()[0].expect, Expect::Rows(1));
}

#[tokio::test(start_paused = true)]
async fn a_handled_event_is_not_handled_again_whenever_the_process_is_killed() {
    // The event is done, in the window or in a lane, while an older one of another key still runs.
    for (failures, kill_after) in [
        (0, 0),
        (0, 5),
        (0, 300),
        (0, 2000),
        (4, 0),
        (4, 5),
        (4, 2000),
    ] {
        let mut trial = Trial::new();
        trial.memory.answer_after(Duration::from_millis(10));
        let script = Script::new(move |call| match call.position {
            1 => Act::Hang,
            2 if call.attempt <= failures => fail(),
            2 => Act::Say(noted()),
            _ => done(),
        });
        trial.start_one(&script).await;
        trial
            .memory
            .append_all([(PLACED, "slow"), (PLACED, "a"), (PLACED, "a")]);
        until(|| trial.memory.writes().len() == 1).await;
        millis(kill_after).await;
        trial.kill();

        let again = Script::new(|call| {
            if call.position == 2 {
                Act::Say(noted())
            } else {
                done()
            }
        });
        let running = trial.start_one(&again).await;
        running.drain().await;
        until(|| running.status()[0].lanes_retrying == 0).await;
        assert_eq!(again.calls_of(1).len(), 1);
        assert!(
            again.calls_of(2).is_empty(),
            "{failures} failures, killed after {kill_after} ms"
        );
        assert_eq!(trial.count("order.noted"), 1);
        until(|| trial.memory.lanes_of("mail").is_empty()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fact_may_have_a_key_of_its_own() {
    let trial = Trial::new();
    let script = Script::new(|call| {
        let Outcome::DoneWith(mut effects) = noted() else {
            unreachable!()
        };
        effects.facts[0].key = Some(Key::new("stock", 7));
        if call.position == 1 {
            Act::Say(Outcome::DoneWith(effects))
        } else {
            done()
        }
    });
    let running = trial.start_one(&script).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    assert_eq!(
        trial.memory.event(2).unwrap().envelope.key.as_str(),
        "stock:7"
    );
}
