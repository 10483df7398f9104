use std::sync::atomic::{AtomicU64, AtomicUsize};
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
    assert!(clerk.balance.starves(Duration::ZERO, LOOK));
    clerk.take_back();
    assert!(matches!(clerk.crew[0].doing, Doing::ForNobody));
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
    clerk.crew[0].doing = Doing::ForNobody;
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
fn nothing_is_spare_while_one_that_takes_it_is_stuck() {
    let second = Duration::from_secs(1);
    let (mut clerk, _heard) = clerk();
    clerk.hire(Share::Spare).expect("a thread");
    clerk.crew[0].doing = Doing::ForNobody;
    assert!(clerk.balance.starves(Duration::ZERO, LOOK));
    clerk.had(second, second);
    assert_eq!(clerk.balance.share(), Share::Equal);
    clerk.done(1, Computed::Nothing);
    clerk.had(second, second);
    assert_eq!(clerk.balance.share(), Share::Spare);
}
