//! What is done, step by step: chosen by chance, told as text.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quivive_app::kernel::{Actor, Workflow};
use quivive_app::ports::{Accounts as _, EventIndex as _, Sessions as _};
use quivive_app::sessions::Tokens;
use quivive_app::step_up::Proven;
use quivive_app::testing::password;
use quivive_app::workflows::operators::bootstrap_administrator::{BootstrapAdministrator, Method};
use quivive_app::{Failure, Request, one_time};
use quivive_delivery::subscriber::Subscriptions as _;
use quivive_delivery::{Stored, Time};
use quivive_domain::one_time::Purpose;
use quivive_domain::session::Session;
use quivive_domain::{Account, ApiKeyId, SessionId, TokenId, UserId};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value as Json;

use super::machine::{Machine, Random};

/// Good ones, and one that the policy refuses.
pub(super) const PASSWORDS: [&str; 6] = [
    "correct zebra lamp orbit",
    "violet anvil canyon spoon",
    "copper lantern meadow flute",
    "quartz ribbon harbor maple",
    "saddle timber glacier onion",
    "password",
];

/// As many people as there may be; few, so that they meet.
pub(super) const NAMES: usize = 9;

pub(super) struct Person {
    pub(super) id: UserId,
    pub(super) address: String,
    pub(super) password: usize,
}

/// What somebody who signed in has.
pub(super) struct Held {
    pub(super) user: UserId,
    pub(super) session: SessionId,
    pub(super) refresh: String,
    pub(super) access: String,
    pub(super) device: Option<String>,
}

pub(super) struct Driver {
    pub(super) machine: Machine,
    pub(super) random: Random,
    pub(super) people: Vec<Person>,
    pub(super) held: Vec<Held>,
    letters: Vec<TokenId>,
    pub(super) keys: Vec<ApiKeyId>,
    /// Up to here the log was told.
    position: u64,
    kept_since: Option<String>,
    /// What the step under way has told.
    lines: Vec<String>,
    /// The types of all events.
    pub(super) met: BTreeSet<String>,
}

impl Driver {
    pub(super) async fn new(machine: Machine, seed: u64) -> Self {
        let mut driver = Self {
            machine,
            random: Random::seeded(seed),
            people: Vec::new(),
            held: Vec::new(),
            letters: Vec::new(),
            keys: Vec::new(),
            position: 0,
            kept_since: None,
            lines: Vec::new(),
            met: BTreeSet::new(),
        };
        // What is counted has a generation, and nothing of it is held up.
        let statistics = driver.machine.db.create("statistics", 0);
        driver.machine.commit(vec![statistics]).await;
        let root = BootstrapAdministrator {
            email: "root@example.org".to_owned(),
            password: password(PASSWORDS[0]),
            method: Method::Command,
        };
        let made = driver.run(root, Actor::System, |r| r.user_id.to_string());
        let made = made.await.expect("nobody was there");
        driver.people.push(Person {
            id: made.user_id,
            address: "root@example.org".to_owned(),
            password: 0,
        });
        driver.rest().await;
        driver
    }

    /// Does the next thing and tells of it.
    pub(super) async fn step(&mut self) -> Vec<String> {
        let pause = Duration::from_millis(1_000 + self.random.next() % 60_000);
        self.pass(pause).await;
        match self.random.below(34) {
            0..=2 => self.register().await,
            3 | 4 => self.verify().await,
            5 => self.ask_for_letters().await,
            6..=9 => self.sign_in(true).await,
            10..=12 => self.sign_in(false).await,
            13..=15 => self.refresh().await,
            16 | 17 => self.reset().await,
            18 | 19 => self.change_address().await,
            20 => self.change_password().await,
            21 => self.step_up().await,
            22 | 23 => self.end_sessions().await,
            24 => self.guess_until_locked().await,
            25 | 26 => self.govern().await,
            27 => self.rotate().await,
            28 => self.api_keys().await,
            29 => self.custom_events().await,
            30 => self.erase().await,
            31 => {
                let hours = [1, 26, 24 * 8, 24 * 40][self.random.below(4)];
                self.pass(Duration::from_hours(hours)).await;
            }
            _ => {
                self.look().await;
            }
        }
        self.rest().await;
        std::mem::take(&mut self.lines)
    }

    pub(super) fn tell(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    pub(super) fn now(&self) -> Time {
        self.machine.clock.now()
    }

    /// Lets time pass, with a sweep whenever something is over: one at a time, for of what is over at once the order is
    /// not promised.
    pub(super) async fn pass(&mut self, time: Duration) {
        let target = self.now() + time;
        let lifetimes = self.machine.kernel.families().settings.lifetimes;
        let due = self.machine.db.due(target, 10_000).await.expect("a read");
        let mut ends: Vec<_> = due.iter().map(Session::ends_at).collect();
        let all = self.machine.db.page(None, None, 1_000).await;
        let fresh = all.expect("a read").into_iter();
        let fresh = fresh.filter(|account| account.verified_at.is_none());
        ends.extend(fresh.map(|account| account.created_at + lifetimes.unverified));
        ends.retain(|end| *end <= target);
        ends.push(target);
        ends.sort_unstable();
        ends.dedup();
        for end in ends {
            // What was over before was over together with something else.
            let wait = Duration::try_from(end.duration_since(self.now()));
            self.machine.clock.pass(wait.unwrap_or_default());
            self.machine.kernel.tidy(&mut self.kept_since).await;
            self.rest().await;
        }
    }

    /// Waits until all is in the log, and tells of it.
    pub(super) async fn rest(&mut self) {
        let events = self.machine.at_rest(self.position).await;
        for event in &events {
            self.position = event.position;
            self.met.insert(event.envelope.kind.clone());
            self.tell(told(event));
            self.react(event).await;
        }
    }

    /// What subscribers would do that is seen later.
    async fn react(&mut self, event: &Stored) {
        let fields: Json = serde_json::from_slice(&event.body).expect("JSON");
        for (name, value) in fields.as_object().into_iter().flatten() {
            let is_letters = name.ends_with("token_id") && event.envelope.kind.starts_with("user.");
            if (is_letters || event.envelope.kind == "user.email_change.requested")
                && let Some(id) = value.as_str().and_then(|text| text.parse().ok())
                && !self.letters.contains(&TokenId(id))
            {
                self.letters.push(TokenId(id));
            }
        }
        if event.envelope.kind == "user.erasure.succeeded"
            && let Some(user) = fields["user_id"].as_str()
        {
            let vault = &self.machine.kernel.families().vault;
            let gone = vault.destroy(&format!("s:{user}")).await;
            gone.expect("a key in memory");
            let forget = self.machine.db.forget(user);
            self.machine.commit(vec![forget]).await;
        }
        self.count(&event.envelope.kind, &fields).await;
    }

    pub(super) fn request(&mut self, actor: Actor) -> Request {
        let ip = [
            192,
            0,
            2,
            u8::try_from(self.random.below(3)).expect("small"),
        ];
        let agent = ["Mozilla/5.0 Firefox/140.0", "curl/8.5"][self.random.below(2)];
        Request {
            actor,
            ip: Some(ip.into()),
            agent: Some(agent.to_owned()),
            request_id: Some(format!("request-{}", self.random.next())),
            ..Request::system()
        }
    }

    pub(super) async fn run<W: Workflow>(
        &mut self,
        workflow: W,
        actor: Actor,
        show: impl FnOnce(&W::Reply) -> String,
    ) -> Option<W::Reply> {
        let request = self.request(actor);
        self.ask(workflow, request, show).await
    }

    pub(super) async fn ask<W: Workflow>(
        &mut self,
        workflow: W,
        request: Request,
        show: impl FnOnce(&W::Reply) -> String,
    ) -> Option<W::Reply> {
        let answer = self.machine.kernel.execute(workflow, request).await;
        let shown = match &answer {
            Ok(reply) => format!("answered {}", show(reply)),
            Err(failure @ (Failure::Refused(_) | Failure::Conflict)) => failure.to_string(),
            Err(failure) => panic!("{}: {failure}", W::NAME),
        };
        self.tell(format!("{}: {shown}", W::NAME));
        answer.ok()
    }

    /// Somebody there may be, with what is stored of them.
    pub(super) async fn somebody(&mut self) -> (usize, Option<Account>) {
        let at = self.random.below(self.people.len());
        let found = self.machine.db.by_id(self.people[at].id).await;
        let found = found.expect("a read");
        if let Some(account) = &found {
            account
                .email
                .typed()
                .clone_into(&mut self.people[at].address);
        }
        (at, found)
    }

    pub(super) fn session(&mut self) -> Option<usize> {
        let all = self.held.len();
        // The last ones are the more likely to be good.
        (all > 0).then(|| all - 1 - self.random.below(all.min(12)))
    }

    /// Root, or now and then anybody; the proof may be too old.
    pub(super) fn operator(&mut self) -> Proven {
        let anybody = self.random.one_in(5);
        let at = if anybody {
            self.random.below(self.people.len())
        } else {
            0
        };
        let age = if self.random.one_in(8) { 1_200 } else { 60 };
        Proven {
            user: self.people[at].id,
            at: self.now() - Duration::from_secs(age),
        }
    }

    /// A letter's link, followed now or later, once or again.
    pub(super) async fn link(&mut self, purpose: Purpose) -> Option<String> {
        let mut fits = Vec::new();
        let one_time = Arc::clone(&self.machine.kernel.families().one_time);
        for id in self.letters.iter().rev().take(60) {
            let found = one_time.by_id(*id).await.expect("a read");
            fits.extend(found.filter(|token| token.purpose == purpose));
        }
        if fits.is_empty() {
            return None;
        }
        let newest = self.random.below(fits.len().min(3));
        one_time::derive(self.machine.kernel.families(), &fits[newest])
    }

    pub(super) fn keep(&mut self, user: UserId, tokens: &Tokens) {
        let text = |secret: &SecretString| secret.expose_secret().to_owned();
        self.held.push(Held {
            user,
            session: tokens.session_id,
            refresh: text(&tokens.refresh_token),
            access: text(&tokens.access_token),
            device: tokens.device_token.as_ref().map(text),
        });
    }

    pub(super) fn has_password(&mut self, user: UserId, chosen: usize) {
        for person in self.people.iter_mut().filter(|person| person.id == user) {
            person.password = chosen;
        }
    }
}

pub(super) fn shown(tokens: &Tokens) -> String {
    let device = tokens
        .device_token
        .as_ref()
        .map(ExposeSecret::expose_secret);
    format!(
        "{} {} {} {device:?}",
        tokens.session_id,
        tokens.access_token.expose_secret(),
        tokens.refresh_token.expose_secret(),
    )
}

/// All of an event.
fn told(event: &Stored) -> String {
    format!(
        "{} in {} at {}: {:?} {} {:?} {:?} {:?}",
        event.position,
        event.epoch,
        event.recorded_at,
        event.envelope,
        String::from_utf8_lossy(&event.body),
        event.personal,
        event.context,
        event.chain,
    )
}
