use quivive_app::ports::Profiles as _;
use quivive_delivery::process::{Case, Direction, Place, Processes as _};
use quivive_delivery::{Key, Time};
use quivive_domain::UserId;

use super::fixture::{Fixture, at};

fn doing(step: u32) -> Place {
    Place {
        direction: Direction::Doing,
        step,
    }
}

fn undoing(step: u32) -> Place {
    Place {
        direction: Direction::Undoing,
        step,
    }
}

async fn begun(f: &Fixture, deadline: Time, place: Place) -> Case {
    let case = Case {
        id: f.id(),
        kind: "account_provisioning".to_owned(),
        place,
        deadline,
        begun_by: "user.email_verification.succeeded".to_owned(),
        key: Key::new("account", f.id()),
        workflow_id: f.id(),
        correlation_id: f.id(),
        subject: Some(f.id().to_string()),
    };
    f.must([f.db.begin(&case)]).await;
    case
}

pub(super) async fn a_process_moves_from_where_it_is_alone(f: Fixture) {
    let case = begun(&f, at(60), doing(1)).await;
    let found = async || f.db.find(case.id).await.expect("a read");
    assert_eq!(found().await, Some(case.clone()));
    f.misses(f.db.begin(&case)).await;
    f.misses(f.db.advance(case.id, doing(2), doing(3))).await;
    f.misses(f.db.advance(case.id, undoing(1), undoing(0)))
        .await;
    let turns = (0..50).map(|_| f.db.advance(case.id, doing(1), undoing(1)));
    assert_eq!(f.race(turns.collect()).await, 1);
    let moved = found().await.expect("still there");
    assert_eq!(moved.place, undoing(1));
    f.misses(f.db.end(case.id, doing(1))).await;
    f.must([f.db.end(case.id, undoing(1))]).await;
    assert_eq!(found().await, None);
    f.misses(f.db.end(case.id, undoing(1))).await;
}

pub(super) async fn those_past_their_deadline_are_found_the_oldest_first(f: Fixture) {
    let later = begun(&f, at(60), doing(1)).await;
    let sooner = begun(&f, at(50), doing(2)).await;
    begun(&f, at(50), undoing(2)).await;
    begun(&f, at(61), doing(0)).await;
    let overdue = f.db.overdue(at(60), 9).await.expect("a read");
    assert_eq!(overdue, [sooner.clone(), later]);
    let overdue = f.db.overdue(at(60), 1).await.expect("a read");
    assert_eq!(overdue, [sooner]);
}

pub(super) async fn a_profile_is_removed_by_the_process_that_made_it(f: Fixture) {
    let (user, first, second) = (UserId(f.id()), f.id(), f.id());
    let one = |mut write: quivive_delivery::Write| {
        write.expect = quivive_delivery::Expect::Rows(1);
        write
    };
    f.must([one(f.db.create(user, first, at(1)))]).await;
    f.misses(one(f.db.create(user, second, at(2)))).await;
    f.misses(one(f.db.remove(user, second))).await;
    f.must([one(f.db.remove(user, first))]).await;
    f.misses(one(f.db.remove(user, first))).await;
}
