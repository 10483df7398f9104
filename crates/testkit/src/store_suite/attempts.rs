use quivive_app::ports::{OpenAttempt, OpenAttempts as _};
use quivive_delivery::Time;
use uuid::Uuid;

use super::fixture::{Fixture, TICK, at};

async fn attempt(f: &Fixture, node: Uuid, deadline: Time, waiting: bool) -> OpenAttempt {
    let attempt = OpenAttempt {
        workflow_id: f.id(),
        kind: "user.login.attempted".to_owned(),
        attempted_id: f.id(),
        after: 41,
        deadline,
        waiting,
        node,
    };
    f.must([f.db.open(&attempt)]).await;
    attempt
}

async fn found(f: &Fixture, id: Uuid) -> Option<String> {
    let found = f.db.find(id).await.expect("a read");
    found.map(|attempt| format!("{attempt:?}"))
}

pub(super) async fn an_attempt_is_closed_once(f: Fixture) {
    let attempt = attempt(&f, f.id(), at(60), false).await;
    let id = attempt.workflow_id;
    assert_eq!(found(&f, id).await, Some(format!("{attempt:?}")));
    f.misses(f.db.open(&attempt)).await;
    assert_eq!(f.race((0..50).map(|_| f.db.close(id)).collect()).await, 1);
    assert_eq!(found(&f, id).await, None);
    f.misses(f.db.close(id)).await;
    f.misses(f.db.wait(id, at(90))).await;
}

pub(super) async fn a_running_attempt_becomes_a_waiting_one_once(f: Fixture) {
    let running = attempt(&f, f.id(), at(60), false).await;
    let id = running.workflow_id;
    f.must([f.db.wait(id, at(300))]).await;
    let waiting = OpenAttempt {
        waiting: true,
        deadline: at(300),
        ..running
    };
    assert_eq!(found(&f, id).await, Some(format!("{waiting:?}")));
    f.misses(f.db.wait(id, at(400))).await;
    f.must([f.db.close(id)]).await;
}

pub(super) async fn abandoned_are_those_of_others_and_those_past_their_deadline(f: Fixture) {
    let (here, there) = (f.id(), f.id());
    let now = at(100);
    let mut expected = Vec::new();
    for (node, deadline, waiting, abandoned) in [
        (here, now + TICK, false, false),
        (here, now, false, true),
        (here, now + TICK, true, false),
        (here, now, true, true),
        (there, now + TICK, false, true),
        (there, now, false, true),
        (there, now + TICK, true, false),
        (there, now, true, true),
    ] {
        let attempt = attempt(&f, node, deadline, waiting).await;
        if abandoned {
            expected.push(attempt.workflow_id);
        }
    }
    let abandoned = f.db.abandoned(here, now).await.expect("a read");
    let ids: Vec<_> = abandoned
        .iter()
        .map(|attempt| attempt.workflow_id)
        .collect();
    assert_eq!(ids, expected);
}
