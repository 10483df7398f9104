//! The words in which a test of a workflow is written: given a person, when something is asked for, then what.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::subscriber::{Filter, InCommit, Subscription};
use quivive_delivery::{Body, Codes, Context, Event, Ids as _, Outcome, Received, Stored, seal};
use quivive_domain::one_time::{self, OneTimeToken, Purpose};
use quivive_domain::refresh;
use quivive_domain::session::Session;
use quivive_domain::{Account, AccountState, Address, Password, Role, SessionId, TokenId, UserId};
use secrecy::ExposeSecret as _;
use serde_json::Value as Json;

use super::guesses::open_counters;
use super::machine::fake_hash;
use super::{EPOCH, World};
use crate::access::Access;
use crate::kernel::{Actor, Failure, Kernel, Parts, Request, Workflow};
use crate::sessions::Tokens;
use crate::step_up::Proven;
use crate::switchboard;
use crate::workflows::sessions::log_in::LogIn;
use crate::workflows::sessions::refresh_tokens::RefreshTokens;

/// Everybody's password, until it is changed.
pub const PASSWORD: &str = "correct zebra lamp orbit";
/// One that the policy accepts.
pub const NEW_PASSWORD: &str = "violet anvil canyon spoon";

/// A password as somebody types it.
pub fn password(text: &str) -> Password {
    Password::new(text.to_owned()).expect("short enough")
}

/// A one-time token as a letter's link carries it.
pub fn presented(text: &str) -> Option<one_time::Presented> {
    one_time::Presented::parse(text)
}

/// A person, and an administrator who asks.
pub fn given_to_administrators(person: Person) -> (Scene, Scene) {
    let root = given(account_of("root@example.org").verified().role(Role::Admin));
    (root.clone().and(person), root.by_administrator())
}

/// The refresh token of these is handed in, without a device.
pub fn refresh(tokens: &Tokens) -> RefreshTokens {
    RefreshTokens {
        token: refresh::Presented::parse(tokens.refresh_token.expose_secret()),
        device_token: None,
    }
}

/// A person's account, before the test begins.
pub struct Person {
    account: Account,
    sessions: u32,
    tokens: Vec<Purpose>,
}

/// Ada, whose address is not verified yet.
pub fn account() -> Person {
    account_of("ada@example.org")
}

pub fn account_of(address: &str) -> Person {
    let address = Address::parse(address).expect("an address");
    let id = UserId(uuid::Uuid::nil());
    let created_at = quivive_delivery::Time::UNIX_EPOCH;
    Person {
        account: Account::new(id, address, fake_hash(PASSWORD, 1), created_at),
        sessions: 0,
        tokens: Vec::new(),
    }
}

impl Person {
    #[must_use]
    pub fn verified(mut self) -> Self {
        self.account.verified_at = Some(quivive_delivery::Time::UNIX_EPOCH);
        self
    }

    #[must_use]
    pub fn state(mut self, state: AccountState) -> Self {
        self.account.state = state;
        self
    }

    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.account.roles.push(role);
        self
    }

    /// The password was hashed with parameters of long ago.
    #[must_use]
    pub fn with_old_hash(mut self) -> Self {
        self.account.password = Some(fake_hash(PASSWORD, 0));
        self
    }

    #[must_use]
    pub fn without_password(mut self) -> Self {
        self.account.password = None;
        self
    }

    #[must_use]
    pub fn with_sessions(mut self, count: u32) -> Self {
        self.sessions = count;
        self
    }

    #[must_use]
    pub fn with_reset_token(mut self) -> Self {
        self.tokens.push(Purpose::ResetPassword);
        self
    }

    #[must_use]
    pub fn with_verification_token(mut self) -> Self {
        self.tokens.push(Purpose::VerifyEmail);
        self
    }
}

/// A world with one person in it, and where requests come from.
#[derive(Clone)]
pub struct Scene {
    pub world: World,
    pub kernel: Arc<Kernel>,
    /// The person.
    pub user: UserId,
    pub request: Request,
}

/// A world in which nobody has an account.
pub fn nobody() -> Scene {
    let world = World::new();
    let workflows = switchboard::workflows().expect("no name twice");
    Scene {
        kernel: world.kernel(workflows),
        user: UserId(world.next()),
        request: Request {
            actor: Actor::Anonymous,
            ip: Some([192, 0, 2, 1].into()),
            agent: Some("Mozilla/5.0 Firefox/140.0".to_owned()),
            ..Request::system()
        },
        world,
    }
}

/// A world in which this person has an account.
pub fn given(person: Person) -> Scene {
    nobody().and(person)
}

impl Scene {
    /// Adds a person, whom the scene is about from now on.
    #[must_use]
    pub fn and(mut self, person: Person) -> Self {
        let (world, now) = (self.world.clone(), self.world.now());
        self.user = UserId(world.next());
        let account = Account {
            id: self.user,
            ..person.account
        };
        world.change(|s| s.guesses.insert(self.user.0, open_counters(now)));
        for _ in 0..person.sessions {
            let session = session(SessionId(world.next()), self.user, now);
            world.change(|s| s.sessions.insert(session.id, session));
        }
        for purpose in person.tokens {
            let token = OneTimeToken {
                id: TokenId(world.next()),
                purpose,
                account: self.user,
                key: "k1".to_owned(),
                credential_epoch: account.credential_epoch,
                log_epoch: EPOCH,
                expires_at: now + purpose.default_lifetime(),
                used_at: None,
                ended_at: None,
            };
            world.change(|s| s.one_time.insert(token.id, (token, now)));
        }
        world.change(|s| s.accounts.insert(self.user, account));
        self
    }

    /// The same world, in which these react in every commit.
    #[must_use]
    pub fn reacting(&self, in_commit: InCommit) -> Self {
        let workflows = switchboard::workflows().expect("no name twice");
        let kernel = Kernel::new(Parts {
            in_commit,
            ..self.world.parts(workflows)
        });
        Self {
            kernel,
            ..self.clone()
        }
    }

    /// The same world, asked from another address with another agent.
    #[must_use]
    pub fn from(&self, ip: [u8; 4], agent: &str) -> Self {
        let mut scene = self.clone();
        scene.request.ip = Some(ip.into());
        scene.request.agent = Some(agent.to_owned());
        scene
    }

    /// The same, asked by the person, who is an administrator.
    #[must_use]
    pub fn by_administrator(&self) -> Self {
        let mut scene = self.clone();
        scene.request.actor = Actor::Admin(self.user);
        scene
    }

    /// The same, asked by the person.
    #[must_use]
    pub fn by_owner(&self) -> Self {
        let mut scene = self.clone();
        scene.request.actor = Actor::User(self.user);
        scene
    }

    /// The person, who has proved a factor right now.
    pub fn proven(&self) -> Proven {
        Proven {
            user: self.user,
            at: self.world.now(),
        }
    }

    /// Lets time pass.
    #[must_use]
    pub fn after(&self, seconds: u64) -> &Self {
        self.world.pass(Duration::from_secs(seconds));
        self
    }

    /// The person's account, as it is now.
    pub fn account(&self) -> Account {
        self.world.see(|s| s.accounts[&self.user].clone())
    }

    /// How many of the person's sessions were not ended.
    pub fn open_sessions(&self) -> usize {
        let mine = |x: &&Session| x.account == self.user && x.ended_at.is_none();
        self.world.see(|s| s.sessions.values().filter(mine).count())
    }

    /// The person's newest one-time token of a purpose, as its letter carries it.
    pub fn token(&self, purpose: Purpose) -> Option<one_time::Presented> {
        let mine = |t: &&OneTimeToken| t.account == self.user && t.purpose == purpose;
        let newest = |s: &super::State| s.one_time.values().map(|(t, _)| t).rfind(mine).cloned();
        let text = crate::one_time::derive(self.kernel.families(), &self.world.see(newest)?)?;
        one_time::Presented::parse(&text)
    }

    /// Signs the person in with the password everybody has.
    pub async fn signed_in(&self) -> Tokens {
        let log_in = LogIn {
            email: self.account().email.typed().to_owned(),
            password: password(PASSWORD),
            device_token: None,
        };
        self.when(log_in).await.succeeded().reply()
    }

    /// Whether an access token is good, asked of somebody who remembers nothing.
    pub async fn opens(&self, tokens: &Tokens) -> bool {
        let access = Access::new(Arc::clone(self.kernel.families()));
        let caller = access.authenticate(tokens.access_token.expose_secret());
        caller.await.expect("no fault").is_some()
    }

    /// Asks for something, to its end.
    pub async fn when<W: Workflow>(&self, workflow: W) -> Told<W> {
        let request_id = Some(format!("request {}", self.world.next()));
        let request = Request {
            request_id: request_id.clone(),
            ..self.request.clone()
        };
        let answer = self.kernel.execute(workflow, request).await;
        let mut events = self.world.log();
        events.retain(|event| event.envelope.request_id == request_id);
        Told {
            scene: self.clone(),
            answer,
            events,
        }
    }

    /// Delivers every event that the subscription wants and commits what its handler leaves behind; what the handler said.
    pub async fn deliver(&self, subscription: &Subscription) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for event in self.world.log() {
            if self.wants(subscription, &event.envelope.kind) {
                let outcome = self.react(subscription, event).await;
                if let Outcome::DoneWith(effects) = &outcome {
                    let transaction = quivive_delivery::Transaction {
                        writes: effects.writes.clone(),
                        records: Vec::new(),
                    };
                    quivive_delivery::Log::commit(&self.world, transaction)
                        .await
                        .expect("its guards hold");
                }
                outcomes.push(outcome);
            }
        }
        outcomes
    }

    /// What the handler says to one event.
    pub async fn react(&self, subscription: &Subscription, event: Stored) -> Outcome {
        let received = self.received(subscription, event).await;
        subscription.react(&received).await
    }

    fn wants(&self, subscription: &Subscription, kind: &str) -> bool {
        match &subscription.filter {
            Filter::All => true,
            Filter::Matching(names) => names.iter().any(|name| {
                let spec = self.kernel.catalogue().find(name);
                spec.unwrap_or_else(|| panic!("{name} is no event")).kind == kind
            }),
        }
    }

    async fn received(&self, subscription: &Subscription, event: Stored) -> Received {
        let (personal, context) = opened(&self.world, &event).await;
        let (personal, context) = if subscription.personal {
            (personal, context)
        } else {
            Default::default()
        };
        Received::new(
            Arc::new(event),
            personal,
            context,
            Arc::clone(&subscription.name),
        )
    }
}

async fn opened(world: &World, event: &Stored) -> (Option<Vec<u8>>, Context) {
    let personal = seal::personal(world, event).await;
    let context = seal::context(world, event).await;
    (
        personal.expect("the vault is there"),
        context.expect("the vault is there"),
    )
}

fn session(id: SessionId, account: UserId, now: quivive_delivery::Time) -> Session {
    let day = Duration::from_hours(24);
    Session {
        id,
        account,
        device: None,
        created_at: now,
        last_seen_at: now,
        idle_until: now + 14 * day,
        expires_at: now + 30 * day,
        ended_at: None,
    }
}

/// What became of a workflow: its answer and its events.
pub struct Told<W: Workflow> {
    pub scene: Scene,
    pub answer: Result<W::Reply, Failure<W::Refusal>>,
    /// All events of the request, oldest first.
    pub events: Vec<Stored>,
}

impl<W: Workflow> Told<W> {
    fn said(&self) -> String {
        let answer = match &self.answer {
            Ok(_) => "a reply".to_owned(),
            Err(failure) => failure.to_string(),
        };
        format!(
            "{answer}; {:?}; missed: {:?}",
            self.kinds(),
            self.scene.world.missed()
        )
    }

    /// The types of its events.
    pub fn kinds(&self) -> Vec<&str> {
        self.events
            .iter()
            .map(|e| e.envelope.kind.as_str())
            .collect()
    }

    fn count<E: Event>(&self) -> usize {
        self.events
            .iter()
            .filter(|e| e.envelope.kind == E::META.kind)
            .count()
    }

    /// Attempted first, then one Succeeded and no Failed; the attempt is closed.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert!(self.answer.is_ok(), "{}", self.said());
        self.outcome::<W::Succeeded, W::Failed>()
    }

    /// Attempted first, then one Failed with that reason and no Succeeded; the attempt is closed.
    #[track_caller]
    pub fn refused(self, refusal: W::Refusal) -> Self
    where
        W::Refusal: PartialEq + Debug,
    {
        assert!(
            matches!(&self.answer, Err(Failure::Refused(r)) if *r == refusal),
            "{}",
            self.said()
        );
        let told = self.outcome::<W::Failed, W::Succeeded>();
        let failed = told.open(W::Failed::META.kind);
        let reason = failed.get("failure_reason").unwrap_or(&failed["reason"]);
        assert_eq!(*reason, refusal.code());
        told
    }

    #[track_caller]
    fn outcome<Is: Event, IsNot: Event>(self) -> Self {
        let counts = (
            self.count::<W::Attempted>(),
            self.count::<Is>(),
            self.count::<IsNot>(),
        );
        assert_eq!(counts, (1, 1, 0), "{}", self.said());
        let outcome = &self.events[1].envelope;
        assert_eq!(outcome.kind, Is::META.kind, "{}", self.said());
        assert_eq!(outcome.causation_id, Some(self.events[0].envelope.id));
        let open = self
            .scene
            .world
            .see(|s| s.attempts.contains_key(&outcome.workflow_id));
        assert!(!open, "the attempt is still open");
        self
    }

    /// Exactly these besides Attempted and the outcome.
    #[track_caller]
    pub fn raised(self, kinds: &[&str]) -> Self {
        assert_eq!(self.kinds()[2..], *kinds, "{}", self.said());
        self
    }

    /// So many sessions were invalidated, and its outcome says so.
    #[track_caller]
    pub fn ends_sessions(self, count: usize) -> Self {
        assert_eq!(
            self.count::<crate::facts::SessionInvalidated>(),
            count,
            "{}",
            self.said()
        );
        assert_eq!(self.open(W::Succeeded::META.kind)["sessions_ended"], count);
        self
    }

    /// The open fields of its event of a type.
    #[track_caller]
    pub fn open(&self, kind: &str) -> Json {
        let event = self.events.iter().find(|e| e.envelope.kind == kind);
        let event = event.unwrap_or_else(|| panic!("no {kind}: {}", self.said()));
        serde_json::from_slice(&event.body).expect("JSON")
    }

    /// Its event of a type, with what was sealed.
    pub async fn event<E: Event>(&self) -> E {
        let event = self.events.iter().find(|e| e.envelope.kind == E::META.kind);
        let event = event.unwrap_or_else(|| panic!("no {}: {}", E::META.kind, self.said()));
        let (personal, _) = opened(&self.scene.world, event).await;
        let open = event.body.clone();
        E::decode(&Body { open, personal }).expect("its fields")
    }

    #[track_caller]
    pub fn reply(self) -> W::Reply {
        let said = self.said();
        self.answer.unwrap_or_else(|_| panic!("{said}"))
    }
}
