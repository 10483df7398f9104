//! Every ended session has exactly one of `SessionTerminated`, `SessionExpired`, `SessionInvalidated` and `SessionEvicted`: over
//! random histories, in each of which several things happen at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use quivive_domain::SessionId;
use quivive_domain::one_time::Purpose;
use quivive_domain::refresh::Presented;
use secrecy::ExposeSecret as _;

use super::{Tokens, expiry};
use crate::step_up::By;
use crate::testing::{PASSWORD, Scene, account, given, password};
use crate::workflows::passwords::confirm_password_reset::ConfirmPasswordReset;
use crate::workflows::passwords::request_password_reset::RequestPasswordReset;
use crate::workflows::sessions::log_in::LogIn;
use crate::workflows::sessions::log_out::LogOut;
use crate::workflows::sessions::refresh_tokens::RefreshTokens;
use crate::workflows::sessions::revoke_all_sessions::RevokeAllSessions;
use crate::workflows::sessions::revoke_session::RevokeSession;

const HISTORIES: u64 = 40;
const STEPS: u32 = 40;

const ENDINGS: [&str; 4] = [
    "session.terminated",
    "session.expired",
    "session.invalidated",
    "session.evicted",
];

/// xorshift64*: the seed is the history.
struct Chance(u64);

impl Chance {
    fn of(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let n = u64::try_from(from.len()).unwrap();
        let at = (n > 0).then(|| self.of(n))?;
        from.get(usize::try_from(at).unwrap())
    }
}

/// What somebody does.
#[derive(Debug, Clone)]
enum Step {
    SignIn,
    Refresh(String),
    LogOut(String),
    Revoke(SessionId),
    RevokeAll(Option<SessionId>),
    Reset,
    Sweep,
}

struct History {
    scene: Scene,
    chance: Chance,
    password: String,
    /// Refresh tokens that were ever given, the used ones among them.
    refresh: Vec<String>,
    sessions: Vec<SessionId>,
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            scene: given(account().verified()).by_owner(),
            chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            password: PASSWORD.to_owned(),
            refresh: Vec::new(),
            sessions: Vec::new(),
        }
    }

    fn step(&mut self) -> Step {
        let token = self.chance.pick(&self.refresh).cloned();
        let session = self.chance.pick(&self.sessions).copied();
        match (self.chance.of(40), token, session) {
            (0..16, _, _) | (_, None, _) | (_, _, None) => Step::SignIn,
            (16..24, _, _) => Step::Refresh(self.refresh[self.refresh.len() - 1].clone()),
            (24..27, Some(token), _) => Step::Refresh(token),
            (27..31, Some(token), _) => Step::LogOut(token),
            (31..34, _, Some(session)) => Step::Revoke(session),
            (34, _, session) => Step::RevokeAll(session),
            (35, _, _) => Step::RevokeAll(None),
            (36, _, _) => Step::Reset,
            _ => Step::Sweep,
        }
    }

    /// Whatever its answer is, the log must be right.
    async fn take(&self, step: Step) -> Option<Tokens> {
        let scene = &self.scene;
        let (kernel, request) = (&scene.kernel, scene.request.clone());
        let user = scene.user;
        match step {
            Step::SignIn => {
                let log_in = LogIn {
                    email: "ada@example.org".to_owned(),
                    password: password(&self.password),
                    device_token: None,
                };
                return kernel.execute(log_in, request).await.ok();
            }
            Step::Refresh(token) => {
                let refresh = RefreshTokens {
                    token: Presented::parse(&token),
                    device_token: None,
                };
                return kernel.execute(refresh, request).await.ok();
            }
            Step::LogOut(token) => {
                let log_out = LogOut::resolve(kernel.families(), None, Some(&token)).await;
                if let Some(log_out) = log_out.unwrap() {
                    let _ = kernel.execute(log_out, request).await;
                }
            }
            Step::Revoke(session) => {
                let _ = kernel
                    .execute(RevokeSession::of(user, session), request)
                    .await;
            }
            Step::RevokeAll(except) => {
                let by = By::Owner;
                let all = RevokeAllSessions { user, by, except };
                let _ = kernel.execute(all, request).await;
            }
            Step::Sweep => expiry::expire(kernel).await.unwrap(),
            Step::Reset => unreachable!("it is done alone"),
        }
        None
    }

    /// Done alone, because what follows must know the new password.
    async fn reset(&mut self, number: u32) {
        let email = "ada@example.org".to_owned();
        self.scene.when(RequestPasswordReset { email }).await;
        let new = format!("violet anvil canyon spoon {number}");
        let reset = ConfirmPasswordReset {
            token: self.scene.token(Purpose::ResetPassword),
            new_password: password(&new),
        };
        if self.scene.when(reset).await.answer.is_ok() {
            self.password = new;
        }
    }

    async fn all_at_once(&mut self, steps: Vec<Step>) {
        let given = join_all(steps.into_iter().map(|step| self.take(step))).await;
        for tokens in given.into_iter().flatten() {
            self.refresh
                .push(tokens.refresh_token.expose_secret().to_owned());
            self.sessions.push(tokens.session_id);
        }
    }

    /// Checks the invariant, and says how sessions ended.
    fn check(&self, seed: u64) -> BTreeSet<String> {
        let mut endings: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in self.scene.world.log() {
            let kind = event.envelope.kind;
            if ENDINGS.contains(&kind.as_str()) {
                let body: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
                let session = body["session_id"].as_str().unwrap().to_owned();
                endings.entry(session).or_default().push(kind);
            }
        }
        let max = self.scene.kernel.families().settings.lifetimes.max_sessions;
        assert!(self.scene.open_sessions() <= max as usize, "seed {seed}");
        self.scene.world.see(|state| {
            for session in state.sessions.values() {
                let of_it = endings.remove(&session.id.to_string()).unwrap_or_default();
                let expected = usize::from(session.ended_at.is_some());
                assert_eq!(of_it.len(), expected, "seed {seed}: {session:?} {of_it:?}");
                if of_it == ["session.expired"] {
                    assert!(session.ends_at() <= session.ended_at.unwrap());
                }
            }
        });
        assert!(endings.is_empty(), "seed {seed}: {endings:?}");
        let kinds = self.scene.world.kinds();
        kinds
            .into_iter()
            .filter(|kind| ENDINGS.contains(&kind.as_str()))
            .collect()
    }
}

#[tokio::test]
async fn every_ended_session_has_exactly_one_ending() {
    let mut seen = BTreeSet::new();
    for seed in 1..=HISTORIES {
        let mut history = History::new(seed);
        for number in 0..STEPS {
            let steps: Vec<_> = (0..=history.chance.of(5)).map(|_| history.step()).collect();
            if steps.iter().any(|step| matches!(step, Step::Reset)) {
                history.reset(number).await;
            } else {
                history.all_at_once(steps).await;
            }
            let hours = history.chance.of(48);
            history.scene.world.pass(Duration::from_hours(hours));
        }
        seen.extend(history.check(seed));
    }
    assert_eq!(seen.len(), ENDINGS.len(), "all happen: {seen:?}");
}

#[tokio::test]
async fn of_fifty_that_end_it_at_once_one_does() {
    for seed in 1..=20 {
        let mut history = History::new(seed);
        history.all_at_once(vec![Step::SignIn; 3]).await;
        // In half of the histories its time is over too.
        let days = 13 + seed % 2;
        history.scene.world.pass(Duration::from_hours(24 * days));
        let mut steps = Vec::new();
        for _ in 0..50 {
            let token = history.chance.pick(&history.refresh).unwrap().clone();
            let session = *history.chance.pick(&history.sessions).unwrap();
            steps.push(match history.chance.of(6) {
                0 => Step::LogOut(token),
                1 => Step::Refresh(token),
                2 => Step::Revoke(session),
                3 => Step::RevokeAll(None),
                4 => Step::SignIn,
                _ => Step::Sweep,
            });
        }
        history.all_at_once(steps).await;
        let first = history.sessions[0];
        let ended = |s: &crate::testing::State| s.sessions[&first].ended_at.is_some();
        assert!(history.scene.world.see(ended), "seed {seed}");
        history.check(seed);
    }
}

/// A person who comes back within two weeks stays signed in for thirty days.
#[tokio::test]
async fn time_ends_a_session_once_and_says_which() {
    let scene = given(account().verified());
    let idle = scene.signed_in().await;
    let used = scene.signed_in().await;
    let days = |n: u64| scene.world.pass(Duration::from_hours(24 * n));
    days(13);
    let refresh = |tokens: &Tokens| RefreshTokens {
        token: Presented::parse(tokens.refresh_token.expose_secret()),
        device_token: None,
    };
    let used = scene.when(refresh(&used)).await.succeeded().reply();
    let swept = async || {
        let before = scene.world.log().len();
        expiry::expire(&scene.kernel).await.unwrap();
        let events = scene.world.log().split_off(before);
        let told = events.into_iter().map(|event| {
            assert_eq!(event.envelope.actor.kind, "system");
            assert_eq!(event.envelope.kind, "session.expired");
            let body: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
            let text = |name: &str| body[name].as_str().unwrap().to_owned();
            (text("session_id"), text("reason"))
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(swept().await, []);
    days(1);
    let of = |tokens: &Tokens, reason: &str| (tokens.session_id.to_string(), reason.to_owned());
    assert_eq!(swept().await, [of(&idle, "idle")]);
    assert_eq!(swept().await, []);
    days(12);
    let used = scene.when(refresh(&used)).await.succeeded().reply();
    days(4);
    assert_eq!(swept().await, [of(&used, "absolute")]);
    assert_eq!(scene.open_sessions(), 0);
}
