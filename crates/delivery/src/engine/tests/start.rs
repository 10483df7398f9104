//! What the start refuses, and what it puts in order.

use super::*;
use crate::subscriber::Begin;

fn named(name: &'static str, filter: Filter) -> Subscription {
    Subscription::durable(name, filter, Script::new(|_| done()))
}

async fn error(trial: &Trial, subscriptions: Vec<Subscription>) -> String {
    match trial.try_start(subscriptions).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_is_registered_once() {
    let trial = Trial::new();
    let twice = vec![
        named("mail", Filter::All),
        named("log", Filter::All),
        named("mail", Filter::All),
    ];
    assert!(
        error(&trial, twice)
            .await
            .starts_with("two subscriptions are registered as \"mail\"")
    );
    let mut other = named("post", Filter::All);
    other.alias = Some("mail");
    let former = vec![named("mail", Filter::All), other];
    assert!(
        error(&trial, former)
            .await
            .starts_with("two subscriptions are registered as \"mail\"")
    );
    assert_eq!(trial.memory.commits(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stored_name_is_known_or_somebodys_former_name() {
    let mut trial = Trial::new();
    let script = Script::new(|call| {
        if call.key == "bad" {
            Act::Say(Outcome::GiveUp("no".to_owned()))
        } else {
            done()
        }
    });
    let running = trial.start(vec![mail(&script)]).await;
    trial.memory.append_all([(PLACED, "a"), (PLACED, "bad")]);
    running.drain().await;
    trial.stop().await;

    let told = error(&trial, vec![named("post", Filter::All)]).await;
    assert!(
        told.contains("\"mail\" that this program does not register") && told.contains("`alias`"),
        "{told}"
    );
    assert_eq!(trial.memory.cursor("post"), None);

    let again = Script::new(|_| done());
    let mut post = Subscription::durable("post", Filter::All, again.clone());
    post.alias = Some("mail");
    let running = trial.start(vec![post.clone()]).await;
    trial.memory.append_all([(PLACED, "a"), (PLACED, "bad")]);
    running.drain().await;
    assert_eq!(
        again.positions(),
        [4],
        "the cursor and the lane moved with the name"
    );
    assert_eq!(trial.memory.cursor("mail"), None);
    assert_eq!(running.status()[0].lanes_parked, 1);
    trial.stop().await;

    // The former name may stay in the program.
    trial.start(vec![post]).await;
    trial.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_former_name_that_is_still_there_beside_the_new_one_is_refused() {
    let mut trial = Trial::new();
    trial
        .start(vec![named("mail", Filter::All), named("post", Filter::All)])
        .await;
    trial.stop().await;
    let mut post = named("post", Filter::All);
    post.alias = Some("mail");
    assert!(
        error(&trial, vec![post])
            .await
            .contains("the database has both")
    );
}

#[tokio::test(start_paused = true)]
async fn a_filter_matches_by_type_name_other_name_or_pattern_or_is_refused() {
    let all = [PLACED, "payment.card.failed", "order.noted"];
    for (entries, expected) in [
        (vec!["order.placed"], vec![1]),
        (vec!["OrderPlaced"], vec![1]),
        (vec!["Ordered"], vec![1]),
        (vec!["order.*"], vec![1, 3]),
        (vec!["*.failed"], vec![2]),
        (vec!["CardFailed", "order.p*"], vec![1, 2]),
        (vec!["*.card.*"], vec![2]),
        (vec!["*"], vec![1, 2, 3]),
    ] {
        let trial = Trial::new();
        trial.memory.append_all(all.map(|kind| (kind, "a")));
        let script = Script::new(|_| done());
        let filter = Filter::matching(entries.clone());
        let subscription = Subscription::durable("some", filter, script.clone());
        trial.start(vec![subscription]).await.drain().await;
        assert_eq!(script.positions(), expected, "{entries:?}");
    }
    let trial = Trial::new();
    for entry in [
        "order.place",
        "orders.*",
        "*.fail",
        "",
        "order",
        "ORDER_PLACED",
    ] {
        let filter = Filter::matching([PLACED, entry]);
        let told = error(&trial, vec![named("some", filter)]).await;
        assert!(
            told.contains(&format!("\"some\" asks for {entry:?}")),
            "{told}"
        );
    }
    assert!(
        error(&trial, vec![named("none", Filter::Matching(vec![]))])
            .await
            .contains("\"none\" asks for")
    );
    assert_eq!(trial.memory.commits(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_subscription_begins_where_it_says() {
    let trial = Trial::new();
    trial.memory.append_all([(PLACED, "a"), (PLACED, "a")]);
    let (old, new) = (Script::new(|_| done()), Script::new(|_| done()));
    let mut from_head = Subscription::durable("new", Filter::All, new.clone());
    from_head.begin = Begin::Head;
    let running = trial.start(vec![mail(&old), from_head]).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    assert_eq!((old.positions(), new.positions()), (vec![1, 2, 3], vec![3]));
}

#[tokio::test(start_paused = true)]
async fn at_least_one_delivery_at_once_is_needed() {
    let trial = Trial::new();
    let mut none = named("mail", Filter::All);
    none.concurrency = 0;
    assert!(error(&trial, vec![none]).await.contains("`concurrency`"));
}
