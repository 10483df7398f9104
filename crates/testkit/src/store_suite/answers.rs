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
    let racing = (0..50).map(|_| f.db.decided(&once(1), true, at(10)));
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
    // What was carried out stays so.
    for done in [true, false] {
        f.misses(f.db.decided(&once(1), done, at(12))).await;
    }
    assert_eq!(find(1).await, answered(Some(b"done")));
    // Refused: it may be tried again, with something else.
    for _ in 0..2 {
        f.must([f.db.decided(&once(2), false, at(11))]).await;
        assert_eq!(find(2).await, None);
    }
    let other = Once {
        content: [8; 32],
        ..once(2)
    };
    f.must([f.db.decided(&other, true, at(11))]).await;
    let content = find(2).await.expect("it was carried out").content;
    assert_eq!(content, [8; 32]);
    f.misses(f.db.decided(&once(2), true, at(12))).await;
    // A refusal that is answered like a success is kept.
    f.must([f.db.decided(&once(4), false, at(11))]).await;
    f.must([f.db.keep(&once(4), b"sent".to_vec(), at(11))])
        .await;
    assert_eq!(find(4).await, answered(Some(b"sent")));
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
