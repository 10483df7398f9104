//! Processes: done step by step, or undone in reverse.

use super::*;
use crate::events::{EventDeadLettered, StepDone, StepUndone, UndoRequested};
use crate::process::{Deadlines, For, Process, Processes, Step};
use crate::subscriber::Retry;
use crate::{Clock, Code, Write};

/// What a step is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ask {
    Do,
    Undo,
}
use Ask::{Do, Undo};

type Say = Box<dyn Fn(Ask, usize) -> Act + Send + Sync>;

/// A step that says what a plan says, and keeps what it was asked, with the key that came with it.
#[derive(Clone)]
struct Scripted {
    name: &'static str,
    plan: Arc<Say>,
    asked: Arc<Mutex<Vec<(Ask, String)>>>,
}

impl Scripted {
    /// Each time it does what it is asked, it leaves a mark in the database.
    fn new(name: &'static str, plan: impl Fn(Ask, usize) -> Act + Send + Sync + 'static) -> Self {
        Self {
            name,
            plan: Arc::new(Box::new(plan)),
            asked: Arc::default(),
        }
    }

    fn willing(name: &'static str) -> Self {
        Self::new(name, |_, _| done())
    }

    fn times(&self, ask: Ask) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(one, _)| *one == ask).count()
    }

    fn answer<'a>(&'a self, ask: Ask, asked: &'a For, cx: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        self.asked
            .lock()
            .unwrap()
            .push((ask, asked.idempotency_key.clone()));
        let act = (self.plan)(ask, self.times(ask));
        cx.write(Write::one(self.name, vec![i64::from(ask == Do).into()]));
        async move {
            match act {
                Act::Say(outcome) => outcome,
                Act::After(wait, outcome) => {
                    sleep(wait).await;
                    outcome
                }
                Act::Hang => std::future::pending().await,
                Act::Panic => panic!("as planned"),
            }
        }
        .boxed()
    }
}

impl Step for Scripted {
    fn perform<'a>(&'a self, asked: &'a For, cx: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        self.answer(Do, asked, cx)
    }

    fn undo<'a>(&'a self, asked: &'a For, cx: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        self.answer(Undo, asked, cx)
    }
}

const HOUR: Duration = Duration::from_hours(1);

impl Trial {
    async fn start_process(&self, steps: &[Scripted]) -> Running {
        let retry = Retry {
            max_attempts: 3,
            ..Retry::DEFAULT
        };
        let mut process = Process::beginning_with::<OrderPlaced>("fulfilment", HOUR).retry(retry);
        for step in steps {
            process = process.step(step.name, step.clone());
        }
        let processes: Arc<dyn Processes> = self.connection.clone();
        let clock: Arc<dyn Clock> = self.clock.clone();
        self.start(process.subscriptions(&processes, &clock)).await
    }

    /// What the steps left behind in the database, in order: the name, and whether it was done or undone.
    fn left(&self) -> Vec<(&'static str, Ask)> {
        let writes = self.memory.writes().into_iter();
        let ask = |write: &Write| match write.params[0] {
            crate::Value::Int(0) => Undo,
            _ => Do,
        };
        writes.map(|write| (write.sql, ask(&write))).collect()
    }

    /// What the log says of the steps, in order.
    fn told(&self) -> (Vec<String>, Vec<String>) {
        let done = self.memory.events_of::<StepDone>().into_iter();
        let undone = self.memory.events_of::<StepUndone>().into_iter();
        (
            done.map(|event| event.step).collect(),
            undone.map(|event| event.step).collect(),
        )
    }

    fn reasons(&self) -> Vec<(String, String)> {
        let requested = self.memory.events_of::<UndoRequested>().into_iter();
        requested
            .map(|event| (event.subscription, event.reason.as_str().to_owned()))
            .collect()
    }

    fn deadlines(&self) -> Deadlines {
        let parts = parts(&self.connection, catalogue(), self.tasks.clone());
        Deadlines {
            processes: self.connection.clone(),
            log: parts.log,
            appender: parts.appender,
            catalogue: parts.catalogue,
            clock: parts.clock,
            ids: parts.ids,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn steps_are_done_in_order_and_the_row_goes_with_the_last() {
    let trial = Trial::new();
    let steps = ["pick", "pack", "ship"].map(Scripted::willing);
    let running = trial.start_process(&steps).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    assert_eq!(trial.left(), [("pick", Do), ("pack", Do), ("ship", Do)]);
    let (done, undone) = trial.told();
    assert_eq!(
        (done, undone.len()),
        (vec!["pick".into(), "pack".into(), "ship".into()], 0)
    );
    assert!(trial.memory.processes().is_empty());
    let first = trial.memory.event(1).unwrap().envelope;
    for event in &trial.memory.events()[1..] {
        assert_eq!(event.envelope.key, first.key);
        assert_eq!(event.envelope.workflow_id, first.workflow_id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_spends_its_attempts_is_undone_once_and_so_are_those_before_it() {
    let fails: [fn() -> Act; 4] = [
        fail,
        || Act::Panic,
        || Act::Hang,
        || {
            Act::Say(Outcome::RetryAfter(
                Duration::from_secs(9),
                "busy".to_owned(),
            ))
        },
    ];
    for act in fails {
        let trial = Trial::new();
        let steps = [
            Scripted::willing("pick"),
            Scripted::willing("pack"),
            Scripted::new("ship", move |ask, _| if ask == Do { act() } else { done() }),
        ];
        let running = trial.start_process(&steps).await;
        trial.memory.append(PLACED, "a");
        until(|| trial.told().1.len() == 3).await;
        running.drain().await;
        assert_eq!(steps[2].times(Do), 3);
        assert_eq!(steps.each_ref().map(|step| step.times(Undo)), [1, 1, 1]);
        assert_eq!(
            trial.left(),
            [
                ("pick", Do),
                ("pack", Do),
                ("ship", Undo),
                ("pack", Undo),
                ("pick", Undo)
            ]
        );
        assert_eq!(trial.told().1, ["ship", "pack", "pick"]);
        let spent = ("ship".to_owned(), "attempts_spent".to_owned());
        assert_eq!(trial.reasons(), [spent]);
        assert!(trial.memory.processes().is_empty());
        assert_eq!(trial.count("delivery.dead_lettered"), 0);
        let asked = steps[2].asked.lock().unwrap().clone();
        assert!(
            asked[..3].iter().all(|one| *one == asked[0]),
            "one key for all tries"
        );
        assert_ne!(asked[0].1, asked[3].1, "and another for the undoing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_may_say_at_once_that_all_is_to_be_undone() {
    for (outcome, reason) in [
        (Outcome::Undo(Code::new("no_stock")), "no_stock"),
        (Outcome::GiveUp("never".to_owned()), "gave_up"),
    ] {
        for failing in ["pick", "pack"] {
            let trial = Trial::new();
            let steps = ["pick", "pack"].map(|name| {
                let outcome = outcome.clone();
                Scripted::new(name, move |ask, _| {
                    if ask == Do && name == failing {
                        Act::Say(outcome.clone())
                    } else {
                        done()
                    }
                })
            });
            let running = trial.start_process(&steps).await;
            trial.memory.append(PLACED, "a");
            running.drain().await;
            let want: &[_] = if failing == "pick" {
                &[("pick", Undo)]
            } else {
                &[("pick", Do), ("pack", Undo), ("pick", Undo)]
            };
            assert_eq!(trial.left(), want);
            assert_eq!(trial.reasons(), [(failing.to_owned(), reason.to_owned())]);
            assert!(trial.memory.processes().is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_fails_is_parked_and_alerts_and_the_steps_before_it_wait() {
    let trial = Trial::new();
    let steps = [
        Scripted::willing("pick"),
        Scripted::new("pack", |ask, _| match ask {
            Do => Act::Say(Outcome::Undo(Code::new("no_box"))),
            Undo => fail(),
        }),
    ];
    let running = trial.start_process(&steps).await;
    trial.memory.append(PLACED, "a");
    trial.memory.append(PLACED, "b");
    until(|| trial.count("delivery.dead_lettered") == 2).await;
    running.drain().await;
    let letters = trial.memory.events_of::<EventDeadLettered>();
    assert_eq!(letters[0].subscription, "pack");
    assert_eq!(letters[0].event_type, "delivery.undo_requested");
    assert_eq!(steps[0].times(Undo), 0);
    assert_eq!(trial.memory.processes().len(), 2, "both still to be undone");
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_undone_once_whatever_its_step_does_meanwhile() {
    // The second step is away for hours: it fails, or hangs and then succeeds.
    for hangs in [false, true] {
        let trial = Trial::new();
        let steps = [
            Scripted::willing("pick"),
            Scripted::new("pack", move |ask, _| match ask {
                Do if hangs => Act::After(Duration::from_secs(20), Outcome::Done),
                Do => Act::Say(Outcome::RetryAfter(3 * HOUR, "away".to_owned())),
                Undo => done(),
            }),
        ];
        let running = trial.start_process(&steps).await;
        trial.memory.append(PLACED, "a");
        until(|| steps[1].times(Do) == 1).await;
        let deadlines = trial.deadlines();
        assert_eq!(deadlines.look().await.unwrap(), 0, "it has time yet");
        trial.clock.jump(HOUR);
        assert_eq!(deadlines.look().await.unwrap(), 1);
        assert_eq!(deadlines.look().await.unwrap(), 0, "it is asked for once");
        until(|| trial.memory.processes().is_empty()).await;
        running.drain().await;
        assert_eq!(trial.left(), [("pick", Do), ("pack", Undo), ("pick", Undo)]);
        let late = ("fulfilment".to_owned(), "deadline_passed".to_owned());
        assert_eq!(trial.reasons(), [late]);
        let requested = trial
            .memory
            .events()
            .into_iter()
            .find(|event| event.envelope.kind == "delivery.undo_requested")
            .unwrap();
        let first = trial.memory.event(1).unwrap().envelope;
        assert_eq!(requested.envelope.causation_id, Some(first.id));
        assert_eq!(requested.envelope.key, first.key);
    }
}

/// Whatever was committed when the process was killed: each step is done once and, where it comes to that, undone once.
#[tokio::test(start_paused = true)]
async fn a_kill_between_any_two_commits_changes_nothing() {
    for fails in [false, true] {
        let mut crashes = 0;
        for survive in 0.. {
            let mut trial = Trial::new();
            trial.memory.answer_after(Duration::from_millis(10));
            let steps = || {
                [
                    Scripted::willing("pick"),
                    Scripted::new("pack", move |ask, _| {
                        if ask == Do && fails {
                            Act::Say(Outcome::Undo(Code::new("no_box")))
                        } else {
                            done()
                        }
                    }),
                ]
            };
            trial.start_process(&steps()).await;
            trial.memory.append(PLACED, "a");
            let before = trial.memory.commits();
            let over = |trial: &Trial| {
                let (done, undone) = trial.told();
                (if fails { undone.len() } else { done.len() }) == 2
            };
            until(|| trial.memory.commits() >= before + survive || over(&trial)).await;
            let ended = over(&trial);
            trial.kill();
            let running = trial.start_process(&steps()).await;
            until(|| over(&trial) && trial.memory.processes().is_empty()).await;
            running.drain().await;
            let want: &[_] = if fails {
                &[("pick", Do), ("pack", Undo), ("pick", Undo)]
            } else {
                &[("pick", Do), ("pack", Do)]
            };
            assert_eq!(trial.left(), want, "killed after {survive} commits");
            crashes += 1;
            if ended {
                break;
            }
        }
        assert!(crashes >= 2, "{crashes} crashes");
    }
}
