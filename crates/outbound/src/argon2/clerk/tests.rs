use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::mpsc::sync_channel;

use quivive_domain::{Password, PasswordHash};
use tokio::sync::oneshot;

use super::*;
use crate::argon2::phc;
use crate::argon2::target::Target;

/// One thread of each share, and what is spare is taken first.
fn clerk() -> (Clerk, Receiver<Event>) {
    let (events, heard) = sync_channel(8);
    let told = Told {
        last_hash_us: AtomicU64::new(0),
        core_time: AtomicU32::new(0),
        alive: AtomicUsize::new(0),
        queued: AtomicUsize::new(0),
    };
    let terms = Terms {
        most: 1,
        usual_blocks: 8,
        rhythm: Rhythm::default(),
    };
    let mut clerk = Clerk::new(terms, events, Arc::new(told));
    clerk.balance = Balance::new(Share::Spare);
    (clerk, heard)
}

/// Long enough to say something.
const LONG: Duration = Duration::from_secs(3);

/// It has had no core for so long, as if it had run for an hour when it was looked at first.
fn stuck() -> Doing {
    Doing::ForNobody {
        since: Instant::now().checked_sub(LONG).expect("the machine is up"),
        ran: Duration::from_hours(1),
    }
}

/// Somebody waits for a hash.
fn ask(clerk: &mut Clerk) -> oneshot::Receiver<PasswordHash> {
    let (answer, answered) = oneshot::channel();
    let params = phc::params(8, 1, 1).expect("parameters that serve");
    let target = Target::fresh(&params, [7; 16]);
    clerk.queue.push_back(Box::new(Job {
        answer: Answer::Hash(target.clone(), answer),
        work: Work::Hash {
            password: Password::new("x".to_owned()).expect("short enough"),
            target,
        },
        held: Box::new(()),
    }));
    answered
}

/// Hears of the next hash that is done.
fn hear(clerk: &mut Clerk, heard: &Receiver<Event>) {
    let event = heard.recv_timeout(Duration::from_secs(10)).expect("a hash");
    let Event::Done(number, computed) = event else {
        panic!("it is over");
    };
    clerk.done(number, computed);
}

#[test]
fn what_was_taken_back_is_done_by_another() {
    let (mut clerk, heard) = clerk();
    let mut answered = ask(&mut clerk);
    clerk.hand_out();
    assert!(clerk.balance.starves(Duration::ZERO, LONG, Instant::now()));
    clerk.take_back(Instant::now());
    assert!(matches!(clerk.crew[0].doing, Doing::ForNobody { .. }));
    clerk.hand_out();
    let shares: Vec<Share> = clerk.crew.iter().map(|hand| hand.worker.share).collect();
    assert_eq!(shares, [Share::Spare, Share::Equal]);
    // In which order is up to the cores; what the first comes to is for nobody.
    hear(&mut clerk, &heard);
    hear(&mut clerk, &heard);
    answered.try_recv().expect("hashed");
    assert!(clerk.crew.iter().all(Hand::is_free));
}

#[test]
fn who_waits_is_not_forgotten_while_all_that_may_compute_are_stuck() {
    let (mut clerk, heard) = clerk();
    clerk.hire(Share::Spare).expect("a thread");
    clerk.crew[0].doing = stuck();
    let mut answered = ask(&mut clerk);
    clerk.hand_out();
    assert_eq!(clerk.queue.len(), 1);
    // It gets a core at last.
    clerk.done(1, Computed::Nothing);
    clerk.hand_out();
    hear(&mut clerk, &heard);
    answered.try_recv().expect("hashed");
}

#[test]
fn one_that_is_stuck_when_something_is_spare_again_has_as_long_as_any() {
    let (mut clerk, _heard) = clerk();
    clerk.hire(Share::Spare).expect("a thread");
    clerk.crew[0].doing = stuck();
    assert!(clerk.balance.starves(Duration::ZERO, LONG, Instant::now()));
    clerk.had(LONG, LONG, Instant::now());
    assert_eq!(clerk.balance.share(), Share::Spare);
    // Nobody waits.
    clerk.look();
    assert!(clerk.alarm().is_none());
    let _answered = ask(&mut clerk);
    clerk.look();
    assert_eq!(clerk.balance.share(), Share::Spare);
    assert!(clerk.alarm().is_some());
    // It got no core.
    clerk.crew[0].doing = stuck();
    clerk.look();
    assert_eq!(clerk.balance.share(), Share::Equal);
}

#[test]
fn what_they_ran_is_told() {
    let (mut clerk, _heard) = clerk();
    clerk.hire(Share::Spare).expect("a thread");
    clerk.lately = (LOOK / 4, LOOK / 2);
    clerk.tell_core_time();
    assert_eq!(
        clerk.told.core_time.load(Ordering::Relaxed),
        0,
        "not long enough"
    );
    clerk.lately = (LOOK / 4, LOOK);
    clerk.tell_core_time();
    assert_eq!(clerk.told.core_time.load(Ordering::Relaxed), 250);
}
