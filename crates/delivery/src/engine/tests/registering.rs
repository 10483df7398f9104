//! Functions as subscriptions: by attribute and by hand.

use super::*;
use crate::subscriber::{Order, Replay, Retry, on, on_any, subscriber};
use crate::{Write, fakes};

const DONE: DeliveryState = DeliveryState::Done;
const SKIPPED: DeliveryState = DeliveryState::Skipped;

type Calls = Arc<Mutex<Vec<String>>>;

fn calls(calls: &Calls) -> Vec<String> {
    calls.lock().unwrap().clone()
}

/// Notes the holder of every card, once it is tried a second time.
#[subscriber(name = "cards", on = CardFailed, retry = Retry::AGGRESSIVE, order = Order::None)]
async fn cards(seen: &Calls, card: &Received<CardFailed>, cx: &mut Cx) -> Outcome {
    if cx.attempt() == 1 {
        return Outcome::Retry("not yet".to_owned());
    }
    let line = format!("{} of {}", card.holder, card.idempotency_key());
    seen.lock().unwrap().push(line);
    Outcome::Done
}

#[subscriber(name = "orders", on = "order.*", personal)]
async fn orders(seen: &Calls, event: &Received, _: &mut Cx) {
    seen.lock().unwrap().push(event.envelope().kind.clone());
}

#[subscriber(name = "aliased", on = "Ordered", timeout = Duration::from_secs(5), concurrency = 2)]
async fn aliased(_: &Received<OrderPlaced>) {}

#[subscriber(name = "two", on = [OrderPlaced, "*.failed"], replay = Replay::Deny)]
async fn two(_: &Received) {}

#[subscriber(name = "everything", on = any, begin = crate::subscriber::Begin::Head)]
async fn everything(_: &Received, _: &mut Cx) -> Result<(), crate::Fault> {
    Err(crate::Fault::Internal("away".to_owned()))
}

#[subscriber(name = "wrong", on = "order.*")]
async fn wrong(_: &Received<OrderPlaced>) {}

/// Appends an event with these fields, sealed under the key `ada`.
async fn append<E: Event>(trial: &Trial, event: &E, id: u128) {
    use crate::seal::Vault as _;
    let key = trial.memory.vault.key("ada").await.unwrap();
    let id = uuid::Uuid::from_u128(id);
    let envelope = fakes::envelope(id, E::META.kind, "a", crate::Time::UNIX_EPOCH);
    let body = event.encode().unwrap();
    let appender = crate::log::Appender::new();
    let record = appender.record(envelope, body, None, Some(&*key));
    let transaction = crate::Transaction {
        writes: vec![],
        records: vec![record],
    };
    let log: &dyn crate::Log = &*trial.connection;
    log.commit(transaction).await.unwrap();
}

fn ada() -> CardFailed {
    CardFailed {
        holder: "Ada".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_gets_its_type_with_what_is_personal_opened() {
    let trial = Trial::new();
    let seen = Calls::default();
    let running = trial.start(vec![cards(seen.clone())]).await;
    append(&trial, &ada(), 901).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    let id = trial.memory.event(1).unwrap().envelope.id;
    assert_eq!(calls(&seen), [format!("Ada of cards:{id}")]);
}

#[tokio::test(start_paused = true)]
async fn what_was_erased_is_done_and_what_cannot_be_read_is_poison() {
    let trial = Trial::new();
    let seen = Calls::default();
    append(&trial, &ada(), 901).await;
    trial.memory.vault.destroy("ada");
    let running = trial.start(vec![cards(seen.clone())]).await;
    running.drain().await;
    assert_eq!(trial.state(&running, 1).0, DeliveryState::Done);
    assert!(calls(&seen).is_empty());

    let noted = on::<OrderNoted>("noted", async |_: &Received<OrderNoted>, _: &mut Cx| {});
    let trial = Trial::new();
    let running = trial.start(vec![noted.into()]).await;
    // Without its fields.
    trial.memory.append("order.noted", "a");
    running.drain().await;
    until(|| trial.count("delivery.dead_lettered") == 1).await;
    let letters = trial.memory.events_of::<events::EventDeadLettered>();
    assert_eq!(
        (letters[0].attempts, letters[0].error_class.as_str()),
        (1, "poison")
    );
}

#[test]
fn the_attribute_says_what_the_methods_say() {
    let all = cards(Calls::default());
    assert!(all.personal && all.retry == Retry::AGGRESSIVE && all.order == Order::None);
    let all = aliased();
    assert_eq!((all.timeout, all.concurrency), (Duration::from_secs(5), 2));
    assert!(!all.personal, "the type has nothing personal");
    assert!(orders(Calls::default()).personal);
    assert_eq!(two().replay, Replay::Deny);
    assert!(matches!(everything().filter, Filter::All));
}

#[tokio::test(start_paused = true)]
async fn a_name_of_the_documents_a_list_and_a_pattern_are_resolved() {
    let trial = Trial::new();
    let seen = Calls::default();
    let all = vec![aliased(), two.into(), orders(seen.clone())];
    let running = trial.start(all).await;
    trial
        .memory
        .append_all([(PLACED, "a"), ("payment.card.failed", "a")]);
    running.drain().await;
    let states = |position: u64| {
        let event = trial.memory.event(position).unwrap();
        let states = now(running.delivery_of(&event));
        states
            .into_iter()
            .map(|status| status.state)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (states(1), states(2)),
        (vec![DONE; 3], vec![SKIPPED, DONE, SKIPPED])
    );
    assert_eq!(calls(&seen), [PLACED]);

    let error = trial.try_start(vec![wrong()]).await.err().unwrap();
    let told = error.to_string();
    assert!(
        told.contains("\"wrong\" reads \"order.placed\" alone") && told.contains("order.noted"),
        "{told}"
    );
}

async fn note(order: &Received<OrderPlaced>, cx: &mut Cx) {
    cx.write(Write::one(
        "note",
        vec![order.stored.position.cast_signed().into()],
    ));
    cx.fact(&OrderNoted {
        text: "seen".to_owned(),
        by: String::new(),
    });
}

#[tokio::test(start_paused = true)]
async fn what_a_function_leaves_in_its_context_is_committed_with_the_event() {
    let trial = Trial::new();
    let conditional = on::<OrderPlaced>("note", note).when(|order| order.stored.position == 2);
    let running = trial.start(vec![conditional.into()]).await;
    trial
        .memory
        .append_all([(PLACED, "a"), (PLACED, "a"), (PLACED, "a")]);
    running.drain().await;
    let writes = trial.memory.writes();
    assert_eq!(writes.len(), 1, "the others do not meet the condition");
    assert_eq!(writes[0].params, [crate::Value::Int(2)]);
    let noted = trial.memory.events_of::<OrderNoted>();
    assert!(
        noted.is_empty() && trial.count("order.noted") == 1,
        "there is no key for its personal field"
    );
    let fact = trial.memory.event(4).unwrap().envelope;
    assert_eq!(
        fact.causation_id,
        Some(trial.memory.event(2).unwrap().envelope.id)
    );
}

#[tokio::test(start_paused = true)]
async fn a_closure_may_hold_state_and_return_a_fault() {
    let trial = Trial::new();
    let seen = Calls::default();
    let away = {
        let seen = seen.clone();
        on_any("away", move |event: &Received, cx: &mut Cx| {
            let (seen, kind, attempt) = (seen.clone(), event.envelope().kind.clone(), cx.attempt());
            async move {
                seen.lock().unwrap().push(format!("{kind} {attempt}"));
                if attempt < 3 {
                    return Err(crate::Fault::Internal("away".to_owned()));
                }
                Ok(())
            }
        })
    };
    let running = trial.start(vec![away]).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    assert_eq!(
        calls(&seen),
        ["order.placed 1", "order.placed 2", "order.placed 3"]
    );
}

#[tokio::test(start_paused = true)]
async fn only_what_is_important_enough_is_wanted() {
    let trial = Trial::new();
    let script = Script::new(|_| done());
    // What a test appends has normal priority.
    let urgent = mail(&script).priority(Priority::High);
    let running = trial.start(vec![urgent]).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    assert_eq!(
        (script.count(), trial.state(&running, 1).0),
        (0, DeliveryState::Skipped)
    );
}

#[tokio::test(start_paused = true)]
async fn without_retries_the_first_failure_parks() {
    let trial = Trial::new();
    let script = Script::new(|_| fail());
    let running = trial.start(vec![mail(&script).retry(Retry::NONE)]).await;
    trial.memory.append(PLACED, "a");
    until(|| running.status()[0].lanes_parked == 1).await;
    assert_eq!(script.count(), 1);
}
