//! Not a test but a measure: `cargo test --release -p quivive-delivery speed -- --ignored --nocapture`.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::log::Log as _;

const EVENTS: u64 = 300_000;

/// Counts.
#[derive(Default)]
struct Count(AtomicU64);

impl Handler for Count {
    fn handle<'a>(&'a self, _: &'a Received, _: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Outcome::Done).boxed()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measure"]
#[expect(clippy::cast_precision_loss, reason = "a measure")]
async fn deliveries_per_second_against_the_bare_log() {
    for keys in [1, 10, 10_000] {
        let trial = Trial::new();
        let names: Vec<_> = (0..keys).map(|n| format!("account:{n:036}")).collect();
        let key = |n: u64| names[usize::try_from(n).unwrap() % names.len()].as_str();
        trial
            .memory
            .append_all((0..EVENTS).map(|n| (PLACED, key(n))));

        let began = std::time::Instant::now();
        let mut position = 0;
        while position < EVENTS {
            position = trial
                .connection
                .read(position, 1024)
                .await
                .unwrap()
                .last()
                .unwrap()
                .position;
        }
        let bare = began.elapsed();

        let count = Arc::new(Count::default());
        let subscription = Subscription::durable("mail", Filter::All, count.clone());
        let began = std::time::Instant::now();
        let running = trial.start(vec![subscription]).await;
        running.drain().await;
        let delivered = began.elapsed();
        assert_eq!(count.0.load(Ordering::Relaxed), EVENTS);
        let ns = |took: Duration| took.as_nanos() as f64 / EVENTS as f64;
        println!(
            "{keys} keys: {:.0} ns an event, the bare log {:.0} ns: {:.2}",
            ns(delivered),
            ns(bare),
            bare.as_secs_f64() / delivered.as_secs_f64()
        );
        trial.tasks.shut_down().await;
    }
}
