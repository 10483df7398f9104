use std::sync::mpsc;
use std::time::Instant;

use super::*;
use crate::scratch::ids;

const TINY: Hashing = Hashing {
    memory_kib: 8,
    iterations: 1,
    lanes: 1,
    threads: NonZeroUsize::new(2),
    places: NonZeroUsize::new(4),
};

const ONE_THREAD: Hashing = Hashing {
    threads: NonZeroUsize::new(1),
    ..TINY
};

fn pool(hashing: Hashing) -> Argon2Pool {
    Argon2Pool::new(hashing, ids()).expect("parameters that serve")
}

fn password(text: &str) -> Password {
    Password::new(text.to_owned()).expect("short enough")
}

async fn verdict(pool: &Argon2Pool, text: &str, phc: &str) -> Verdict {
    let ticket = pool.admit(Entrance::First).expect("a place");
    let hash = PasswordHash::new(phc.to_owned());
    pool.verify(&ticket, &password(text), Some(&hash))
        .await
        .expect("hashed")
}

/// Queues a job that runs `call` on a hashing thread; answers when the job is gone.
fn call<'a>(
    pool: &'a Argon2Pool,
    ticket: &HashTicket,
    call: impl FnOnce() + Send + 'static,
) -> Read<'a, ()> {
    pool.submit(ticket, move |answer| {
        (Work::Call(Box::new(call)), Answer::Call(answer))
    })
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hash_fits_its_password_alone() {
    let pool = pool(TINY);
    let ticket = pool.admit(Entrance::First).expect("a place");
    let hash = pool
        .hash(&ticket, &password("correct horse"))
        .await
        .expect("hashed");
    assert!(
        hash.phc().starts_with("$argon2id$v=19$m=8,t=1,p=1$"),
        "{}",
        hash.phc()
    );
    let other = pool
        .hash(&ticket, &password("correct horse"))
        .await
        .expect("hashed");
    assert_ne!(hash, other, "each has its salt");
    for (text, matches) in [
        ("correct horse", true),
        ("correct horsf", false),
        ("", false),
    ] {
        let verdict = pool
            .verify(&ticket, &password(text), Some(&hash))
            .await
            .expect("hashed");
        assert_eq!(
            verdict,
            Verdict {
                matches,
                outdated: false
            },
            "{text:?}"
        );
    }
    let nobody = pool
        .verify(&ticket, &password("correct horse"), None)
        .await
        .expect("hashed");
    assert_eq!(
        nobody,
        Verdict {
            matches: false,
            outdated: false
        }
    );
}

/// From the reference implementation's test.c.
#[tokio::test]
async fn hashes_of_others_fit_and_are_outdated() {
    let pool = pool(TINY);
    for (text, phc) in [
        (
            "password",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        ),
        (
            "password",
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        ),
        (
            "differentpassword",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$C4TWUs9rDEvq7w3+J4umqA32aWKB1+DSiRuBfYxFj94",
        ),
    ] {
        assert_eq!(
            verdict(&pool, text, phc).await,
            Verdict {
                matches: true,
                outdated: true
            },
            "{phc}"
        );
        assert!(!verdict(&pool, "passwort", phc).await.matches, "{phc}");
    }
}

#[tokio::test]
async fn what_another_system_made_fits_is_outdated_and_replaced_by_ours() {
    let pool = pool(TINY);
    let text = "$2b$04$g5p6iPrRAcCbyRiLQd/whuwt/OTEsQfnVBOM0XymvEO1pJZ8.crI.";
    let hash = pool.read(text).expect("bcrypt is read");
    let fits = verdict(&pool, "lantern oyster plinth 77", hash.phc()).await;
    assert!(fits.matches && fits.outdated);
    assert!(!verdict(&pool, "password", hash.phc()).await.matches);
    let ticket = pool.admit(Entrance::First).expect("a place");
    let renewed = pool.hash(&ticket, &password("lantern oyster plinth 77"));
    let renewed = renewed.await.expect("hashed");
    assert!(renewed.phc().starts_with("$argon2id$"), "{}", renewed.phc());
    assert!(pool.read("hunter2").is_err());
}

#[tokio::test]
async fn unknown_formats_fit_nothing() {
    let pool = pool(TINY);
    for phc in [
        "",
        "!",
        "hunter42",
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "$argon2x$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ",
        "$argon2id$v=19$m=256,t=2,p=1",
        "$argon2id$v=20$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        // Beyond reason: 4 GiB, four thousand million passes.
        "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=256,t=4294967295,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
    ] {
        let verdict = verdict(&pool, "password", phc).await;
        assert_eq!(
            verdict,
            Verdict {
                matches: false,
                outdated: false
            },
            "{phc}"
        );
    }
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let pool = pool(TINY);
    let mut tickets: Vec<HashTicket> = (0..4)
        .map(|_| pool.admit(Entrance::First).expect("a place"))
        .collect();
    let Err(Fault::Busy { what, retry_after }) = pool.admit(Entrance::First) else {
        panic!("there is no fifth place");
    };
    assert_eq!(what, "password hashing");
    assert!((1..=30).contains(&retry_after.as_secs()) && retry_after.subsec_nanos() == 0);
    tickets.pop();
    assert!(pool.admit(Entrance::First).is_ok());
}

#[tokio::test]
async fn a_place_is_taken_until_its_job_is_done() {
    let pool = pool(ONE_THREAD);
    let (release, released) = mpsc::sync_channel::<()>(1);
    let ticket = pool.admit(Entrance::First).expect("a place");
    let mut job = call(&pool, &ticket, move || released.recv().unwrap_or(()));
    drop(ticket);
    tokio::select! {
        biased;
        _ = &mut job => panic!("it waits"),
        () = until("it is begun", || pool.threads.queued() == 0) => {}
    }
    // Whoever asked has gone; the thread is at it all the same.
    drop(job);
    assert_eq!(pool.admitted(), 1);
    release.send(()).expect("it waits");
    until("the place is free", || pool.admitted() == 0).await;
}

#[tokio::test]
async fn a_ticket_has_one_job_at_a_time() {
    let pool = pool(TINY);
    let (release, released) = mpsc::sync_channel::<()>(1);
    let ticket = pool.admit(Entrance::First).expect("a place");
    let first = call(&pool, &ticket, move || released.recv().unwrap_or(()));
    let second = async {
        until("the first is begun", || {
            pool.threads.alive() == 1 && pool.threads.queued() == 0
        })
        .await;
        let hash = pool.hash(&ticket, &password("x"));
        tokio::pin!(hash);
        tokio::select! {
            biased;
            _ = &mut hash => panic!("it is not its turn"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(pool.threads.queued(), 0, "it is not even queued");
        release.send(()).expect("it waits");
        hash.await.expect("hashed");
    };
    let (first, ()) = tokio::join!(first, second);
    first.expect("done");
}

#[tokio::test]
async fn a_panic_fails_its_job_alone() {
    let pool = pool(ONE_THREAD);
    let ticket = pool.admit(Entrance::First).expect("a place");
    let failed = call(&pool, &ticket, || panic!("for the test")).await;
    assert!(matches!(failed, Err(Fault::Internal(_))));
    pool.hash(&ticket, &password("x")).await.expect("hashed");
    // To tell of a panic takes long, and who takes what is spare may seem to starve: then there is one beside it.
    assert!((1..=2).contains(&pool.threads.alive()));
}

#[tokio::test]
async fn idle_threads_end_and_the_next_job_starts_one() {
    let rhythm = Rhythm {
        free_after: Duration::from_millis(5),
        end_after: Duration::from_millis(5),
    };
    let pool = Argon2Pool::with_rhythm(TINY, ids(), rhythm).expect("parameters that serve");
    let ticket = pool.admit(Entrance::First).expect("a place");
    for _ in 0..3 {
        pool.hash(&ticket, &password("x")).await.expect("hashed");
        until("all threads have ended", || pool.threads.alive() == 0).await;
    }
}

#[tokio::test]
async fn a_ticket_of_another_hasher_is_worth_nothing() {
    let ticket: HashTicket = Arc::new("a ticket");
    let answer = pool(TINY).hash(&ticket, &password("x")).await;
    assert!(matches!(answer, Err(Fault::Internal(_))));
}

#[test]
fn impossible_parameters_are_refused() {
    for hashing in [
        Hashing {
            memory_kib: 7,
            ..TINY
        },
        Hashing {
            iterations: 0,
            ..TINY
        },
        Hashing { lanes: 0, ..TINY },
    ] {
        assert!(Argon2Pool::new(hashing, ids()).is_err(), "{hashing:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_workflows_at_once_all_get_their_answer() {
    let hashing = Hashing {
        places: NonZeroUsize::new(64),
        ..TINY
    };
    let pool = Arc::new(pool(hashing));
    let mut all = tokio::task::JoinSet::new();
    for n in 0..64 {
        let pool = Arc::clone(&pool);
        all.spawn(async move {
            let ticket = pool.admit(Entrance::First).expect("a place");
            let password = password(&n.to_string());
            let hash = pool.hash(&ticket, &password).await.expect("hashed");
            pool.verify(&ticket, &password, Some(&hash))
                .await
                .expect("hashed")
                .matches
        });
    }
    assert!(all.join_all().await.into_iter().all(|matches| matches));
    assert_eq!(pool.admitted(), 0);
    // Two of each share, on a machine that is busy with something else.
    assert!(pool.threads.alive() <= 4);
}

#[tokio::test(start_paused = true)]
async fn a_burst_finds_places_and_a_flood_fewer_but_who_comes_back_finds_one() {
    let pool = pool(Hashing {
        places: None,
        ..ONE_THREAD
    });
    let all = |entrance| -> Vec<HashTicket> {
        std::iter::from_fn(|| pool.admit(entrance).ok()).collect()
    };
    let burst = all(Entrance::First);
    assert_eq!(burst.len(), PLACES.get());
    // Others were turned away, and they are late.
    tokio::time::advance(IN_TIME * 30).await;
    drop(burst);
    let flood = all(Entrance::First);
    assert_eq!(flood.len(), LEAST);
    assert_eq!(all(Entrance::Again).len(), PLACES.get() - LEAST);
}

#[cfg(target_os = "linux")]
mod shares {
    use std::sync::atomic::AtomicBool;

    use preempt_rt::sched::{Pid, Scheduler, get_scheduler};

    use super::*;

    /// How the thread that comes next shares its core.
    async fn scheduler(pool: &Argon2Pool) -> Scheduler {
        let ticket = pool.admit(Entrance::First).expect("a place");
        let (tell, told) = oneshot::channel();
        let asked = call(pool, &ticket, move || {
            let _ = tell.send(get_scheduler(Pid::current_thread()));
        });
        asked.await.expect("it ran");
        told.await.expect("it ran").expect("there is one")
    }

    /// To the thread it is as if it did not get a core.
    async fn starve(pool: &Argon2Pool) {
        let ticket = pool.admit(Entrance::First).expect("a place");
        let (release, released) = mpsc::sync_channel::<()>(1);
        let (told, heard) = oneshot::channel();
        let stuck = call(pool, &ticket, move || {
            let _ = told.send(());
            let _ = released.recv();
        });
        let meanwhile = async {
            heard.await.expect("it runs");
            tokio::time::sleep(Duration::from_millis(2_300)).await;
            drop(release);
        };
        let (stuck, ()) = tokio::join!(stuck, meanwhile);
        stuck.expect("it ran");
    }

    #[tokio::test]
    async fn what_is_short_goes_before_hashes_until_they_starve() {
        let pool = pool(ONE_THREAD);
        assert_eq!(scheduler(&pool).await, Scheduler::SCHED_IDLE);
        starve(&pool).await;
        assert_eq!(scheduler(&pool).await, Scheduler::SCHED_NORMAL);
    }

    #[tokio::test]
    async fn under_a_flood_a_hash_is_taken_from_the_thread_that_starves() {
        let pool = pool(Hashing {
            memory_kib: 19_456,
            iterations: 4,
            ..TINY
        });
        let over = AtomicBool::new(false);
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        std::thread::scope(|threads| {
            for _ in 0..cores * 2 {
                threads.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let hashes = threads.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                runtime.expect("a runtime").block_on(async {
                    let ticket = pool.admit(Entrance::First).expect("a place");
                    let hash = pool.hash(&ticket, &password("x")).await.expect("hashed");
                    drop(ticket);
                    let verdict = verdict(&pool, "x", hash.phc()).await;
                    (verdict.matches, scheduler(&pool).await)
                })
            });
            let found = hashes.join();
            over.store(true, Ordering::Relaxed);
            let (matches, scheduler) = found.expect("it ended");
            assert!(matches);
            assert_eq!(scheduler, Scheduler::SCHED_NORMAL);
        });
    }
}
