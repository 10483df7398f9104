//! Answers calls, through the kernel that it is given.

use std::sync::Arc;

use quivive_app::kernel::{Failure as Outcome, Kernel};
use quivive_app::ports::Positions;
use quivive_app::search::{self as app, Indexer, Question, Tags};
use quivive_app::settings::Links;
use quivive_app::workflows::operators::bootstrap_administrator::{
    self, BootstrapAdministrator, Method,
};
use quivive_app::workflows::passwords::request_password_reset::{self, RequestPasswordReset};
use quivive_app::{Request, one_time};
use quivive_delivery::{Catalogue, Codes as _, Context, Criteria, Fault, Log as _, Stored, Unfit};
use quivive_domain::{Address, Rationale, UserId};
use quivive_store::Database;
use quivive_web::{EventView, Operation, Setup as _, Tree};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::call::{Call, Passphrase, Search, Tail};
use crate::backup::Data;
use crate::failure::{Class, Failure};
use crate::secrets::SetupLink;
use crate::start::class_of_fault;

/// Events read at once.
const BATCH: usize = 500;

/// How many events a tail begins with when it is not said where, and how far back it looks for them.
const NEWEST: usize = 20;
const LOOK_BACK: u64 = 10_000;

/// What answers need.
#[derive(Clone)]
pub(crate) struct Desk {
    pub kernel: Arc<Kernel>,
    pub database: Database,
    /// What a backup copies.
    pub data: Data,
    /// Both are a running server's.
    pub setup: Option<Arc<SetupLink>>,
    pub operation: Option<Arc<dyn Operation>>,
}

impl Desk {
    /// Does what was asked. Items go to `items`; it ends early when nobody takes them any more.
    pub(crate) async fn answer(
        &self,
        call: Call,
        items: mpsc::Sender<Value>,
    ) -> Result<(), Failure> {
        let item = match call {
            Call::CreateAdministrator { email, password } => {
                self.create_administrator(email, password).await?
            }
            Call::RecoverAdministrator { email } => self.recover_administrator(email).await?,
            Call::Show { id } => self.show(id).await?,
            Call::Tail(tail) => return self.tail(&tail, &items).await,
            Call::Search(search) => return self.search(&search, &items).await,
            Call::Subscriptions => return self.subscriptions(&items).await,
            Call::SetPaused {
                subscription,
                paused,
            } => self.set_paused(subscription, paused).await?,
            Call::Replay {
                subscription,
                from,
                to,
                dry_run,
            } => {
                let range = Positions { from, to };
                self.replay(subscription, range, dry_run).await?
            }
            Call::DeadLetters(chosen) => return self.dead_letters(&chosen, &items).await,
            Call::DeadLetter {
                subscription,
                event_id,
            } => self.dead_letter(&subscription, event_id).await?,
            Call::Decide(decide) => self.decide(decide).await?,
            Call::RotateTokens(rotate) => self.rotate_tokens(rotate).await?,
            Call::RotateKeys { old } => self.rotate_keys(old).await?,
            Call::BackUp { directory, keys } => self.back_up(directory, keys).await?,
            Call::ImportUsers { file } => return self.import_users(&file, &items).await,
        };
        // Whoever asked and went away does not want it.
        let _ = items.send(item).await;
        Ok(())
    }

    async fn create_administrator(
        &self,
        email: String,
        password: Passphrase,
    ) -> Result<Value, Failure> {
        let password = password
            .into_password()
            .map_err(|error| refused(&error.to_string(), "choose a shorter one"))?;
        let command = BootstrapAdministrator {
            email,
            password,
            method: Method::Command,
        };
        let reply = self
            .kernel
            .execute(command, Request::system())
            .await
            .map_err(|outcome| {
                use bootstrap_administrator::Refusal;
                told(outcome, |refusal| match refusal {
                    Refusal::InvalidEmail => {
                        refused("this is no e-mail address", "write it as you@example.org")
                    }
                    Refusal::WeakPassword => {
                        let policy = &self.kernel.families().settings.passwords;
                        let remedy = format!(
                            "use at least {} characters: several unrelated words are fine",
                            policy.min_chars
                        );
                        refused("the password is too weak", &remedy)
                    }
                    Refusal::AlreadyDone | Refusal::TokenExpired => {
                        refused(refusal.code(), "use `quivive admin create` again")
                    }
                })
            })?;
        if let Some(setup) = &self.setup {
            setup.done();
        }
        let sign_in = &self.kernel.families().settings.issuer;
        Ok(json!({"user_id": reply.user_id, "sign_in": format!("{sign_in}/")}))
    }

    async fn recover_administrator(&self, email: String) -> Result<Value, Failure> {
        let families = self.kernel.families();
        let no_admin = || {
            refused(
                "no administrator has this address",
                "create one with `quivive admin create`",
            )
        };
        let address = Address::parse(&email).map_err(|_| no_admin())?;
        let account = families
            .accounts
            .by_address(&address)
            .await
            .map_err(fault)?;
        if !account.is_some_and(|account| account.is_admin()) {
            return Err(no_admin());
        }
        let command = RequestPasswordReset { email };
        let reply = self.kernel.execute(command, Request::system()).await.map_err(|outcome| {
            use request_password_reset::Refusal;
            told(outcome, |refusal| match refusal {
                Refusal::UserNotFound => no_admin(),
                Refusal::AccountInactive => refused("this account is locked or deactivated", "create another with `quivive admin create`"),
                Refusal::RateLimited => refused(
                    "as many resets as an hour allows were asked for this address",
                    "use the newest letter, wait an hour, or set a password with `quivive admin create`",
                ),
            })
        })?;
        let lost = || Fault::Internal("the token that was just made is not there".to_owned());
        let row = families
            .one_time
            .by_id(reply.token)
            .await
            .map_err(fault)?
            .ok_or_else(|| fault(lost()))?;
        let token = one_time::derive(families, &row).ok_or_else(|| fault(lost()))?;
        Ok(json!({
            "link": Links::with_token(&families.settings.links.reset, &token),
            "expires_in": families.settings.lifetimes.password_reset.as_secs(),
        }))
    }

    async fn show(&self, id: Uuid) -> Result<Value, Failure> {
        self.database.settled().await;
        let found = self.database.event_by_id(id).await.map_err(fault)?;
        let event = found.ok_or_else(|| {
            refused(
                "there is no event with this id",
                "see `quivive events tail`",
            )
        })?;
        let deliveries = match &self.operation {
            Some(operation) => json!(operation.deliveries(&event).await),
            // Without a server nothing is delivered; the cursors would only say where it stood.
            None => Value::Null,
        };
        let tree = Tree::around(&self.database, &event).await.map_err(fault)?;
        let mut view = view(event, self.kernel.catalogue())?;
        view["deliveries"] = deliveries;
        if let Ok(Value::Object(tree)) = serde_json::to_value(tree)
            && let Some(fields) = view.as_object_mut()
        {
            fields.extend(tree);
        }
        Ok(view)
    }

    async fn tail(&self, tail: &Tail, items: &mpsc::Sender<Value>) -> Result<(), Failure> {
        let criteria = criteria(tail, self.kernel.catalogue())?;
        self.database.settled().await;
        let mut head = self.database.head();
        let now = head.borrow_and_update().position;
        let mut at = match tail.after {
            Some(after) => after,
            None => self.newest(&criteria, now).await?,
        };
        loop {
            let events = self.database.read(at, BATCH).await.map_err(fault)?;
            let Some(last) = events.last() else {
                if !tail.follow {
                    return Ok(());
                }
                tokio::select! {
                    moved = head.changed() => if moved.is_err() {
                        return Ok(());
                    },
                    () = items.closed() => return Ok(()),
                }
                continue;
            };
            at = last.position;
            for event in events.into_iter().filter(|event| criteria.admit(event)) {
                let item = view(event, self.kernel.catalogue())?;
                if items.send(item).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    async fn search(&self, asked: &Search, items: &mpsc::Sender<Value>) -> Result<(), Failure> {
        let (name, value) = &asked.by;
        let question = Question::read(name, value, self.kernel.catalogue()).map_err(|error| {
            let message = format!("{name} {value:?} finds nothing: {error}");
            refused(&message, "copy it from an event: `quivive events show ID`")
        })?;
        self.database.settled().await;
        let index = Arc::new(self.database.clone());
        let tags = tags(&self.kernel, &self.database);
        // Without a server nobody fills the index; the last one may have left the newest events out.
        if self.operation.is_none() {
            let indexer = Indexer::new(index.clone(), tags.clone());
            indexer.catch_up().await.map_err(fault)?;
        }
        let below = asked.before.unwrap_or(u64::MAX);
        let found = app::Search::new(&self.kernel, index, tags)
            .find(&question, below, asked.limit, Request::system())
            .await
            .map_err(fault)?;
        for event in found.events {
            let item = view(event, self.kernel.catalogue())?;
            if items.send(item).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The position after which the newest few that fit begin.
    async fn newest(&self, criteria: &Criteria, head: u64) -> Result<u64, Failure> {
        let mut at = head.saturating_sub(LOOK_BACK);
        let mut fitting = std::collections::VecDeque::with_capacity(NEWEST);
        while at < head {
            let events = self.database.read(at, BATCH).await.map_err(fault)?;
            let Some(last) = events.last() else {
                break;
            };
            at = last.position;
            for event in events.iter().filter(|event| criteria.admit(event)) {
                if fitting.len() == NEWEST {
                    fitting.pop_front();
                }
                fitting.push_back(event.position);
            }
        }
        Ok(fitting.front().map_or(head, |first| first - 1))
    }
}

/// What makes tags of what is personal in the events of a database.
pub(crate) fn tags(kernel: &Kernel, database: &Database) -> Tags {
    let families = kernel.families();
    Tags {
        log: Arc::new(database.clone()),
        vault: Arc::clone(&families.vault),
        catalogue: Arc::clone(kernel.catalogue()),
        clock: Arc::clone(&families.clock),
    }
}

/// The administrator of the configuration, where there is none yet. Answers with who it became.
pub(crate) async fn first_administrator(
    kernel: &Arc<Kernel>,
    admin: &crate::config::FirstAdmin,
) -> Result<UserId, Outcome<bootstrap_administrator::Refusal>> {
    use secrecy::ExposeSecret as _;
    let password = admin.password.expose_secret().to_owned();
    let command = BootstrapAdministrator {
        email: admin.email.clone(),
        password: quivive_domain::Password::new(password)
            .map_err(|_| Outcome::Refused(bootstrap_administrator::Refusal::WeakPassword))?,
        method: Method::Configuration,
    };
    kernel
        .execute(command, Request::system())
        .await
        .map(|reply| reply.user_id)
}

/// An event as the HTTP API shows it, with everything personal still sealed: a terminal is no place for it, and opening it
/// is a permission that a command line does not have.
pub(super) fn view(event: Stored, catalogue: &Catalogue) -> Result<Value, Failure> {
    EventView::new(event, Context::default(), catalogue)
        .and_then(|view| serde_json::to_value(view).map_err(Fault::internal))
        .map_err(fault)
}

/// What a tail's events have in common.
fn criteria(tail: &Tail, catalogue: &Catalogue) -> Result<Criteria, Failure> {
    let mut criteria = Criteria::default();
    for (name, value) in &tail.criteria {
        let remedy = |unfit| match unfit {
            Unfit::NoSuchType => {
                "see `quivive events catalogue`, or name a family: user.* or *.failed"
            }
            Unfit::NoUuid | Unfit::Length => "copy it from an event: `quivive events show ID`",
            Unfit::Unknown => "use the `quivive` of the server's version",
        };
        criteria.set(name, value, catalogue).map_err(|unfit| {
            let message = format!("{name} {value:?} finds nothing: {unfit}");
            refused(&message, remedy(unfit))
        })?;
    }
    Ok(criteria)
}

pub(super) fn refused(message: &str, remedy: &str) -> Failure {
    Failure::new(Class::Refused, message, remedy)
}

/// The reason that an operator gives, for the trail.
pub(super) fn rationale(given: &str) -> Result<Rationale, Failure> {
    Rationale::parse(given).map_err(|error| refused("the reason does not fit", &error.to_string()))
}

/// What became of a workflow that has no reply.
pub(super) fn told<R>(outcome: Outcome<R>, refusal: impl FnOnce(R) -> Failure) -> Failure {
    match outcome {
        Outcome::Refused(reason) => refusal(reason),
        Outcome::NotAdmitted(error) | Outcome::Fault(error) => fault(error),
        Outcome::Conflict | Outcome::Closed => Failure::new(
            Class::Busy,
            "something else was changing the same",
            "try again",
        ),
        Outcome::Vetoed(veto) => refused(
            &format!("a rule of this server does not permit it: {}", veto.reason),
            "ask whoever made the program that the server is part of",
        ),
        Outcome::Internal => Failure::new(
            Class::Io,
            "it broke; the log has the event",
            "see the server's output, and report it",
        ),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn fault(fault: Fault) -> Failure {
    Failure::new(
        class_of_fault(&fault),
        fault.to_string(),
        "try again; if it stays, look at the disk",
    )
}
