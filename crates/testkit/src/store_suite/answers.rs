use std::time::Duration;

use quivive_app::kernel::Once;
use quivive_app::ports::{Answered, Answers};

use super::fixture::{Fixture, at};

pub(super) async fn a_request_is_carried_out_once_and_its_answer_kept_for_a_day(f: Fixture) {
    let once = |token| Once {
        token: [token; 32],
        content: [9; 32],
    };
    let find = async |token: u8| Answers::find(&f.db, [token; 32]).await.expect("a read");
    let racing = (0..50).map(|_| f.db.carried_out(&once(1), at(10)));
    assert_eq!(f.race(racing.collect()).await, 1);
    let answered = |answer: Option<&[u8]>| {
        Some(Answered {
            content: [9; 32],
            answer: answer.map(<[u8]>::to_vec),
        })
    };
    assert_eq!(find(1).await, answered(None));
    f.must([f.db.keep(&once(1), b"done".to_vec(), at(11))])
        .await;
    // What was answered stays so.
    f.must([f.db.drop_refused(&once(1))]).await;
    assert_eq!(find(1).await, answered(Some(b"done")));
    f.misses(f.db.carried_out(&once(1), at(12))).await;
    // Refused: it may be tried again.
    f.must([f.db.carried_out(&once(2), at(11))]).await;
    f.must([f.db.drop_refused(&once(2))]).await;
    assert_eq!(find(2).await, None);
    // No commit told of it.
    f.must([f.db.keep(&once(3), b"well".to_vec(), at(11))])
        .await;
    assert_eq!(find(3).await, answered(Some(b"well")));
    let day = Duration::from_hours(24);
    let forgettable = async |now| Answers::has_forgettable(&f.db, now).await.expect("a read");
    assert!(!forgettable(at(9) + day).await);
    assert!(forgettable(at(10) + day).await);
    f.must([Answers::forget(&f.db, at(10) + day)]).await;
    assert!(!forgettable(at(10) + day).await);
    assert_eq!(find(1).await, None);
    assert_eq!(find(3).await, answered(Some(b"well")));
}
