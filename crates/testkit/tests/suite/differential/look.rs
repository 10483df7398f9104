//! What people and operators are shown: lists, pages and what is found, each in its order.

use std::sync::Arc;

use quivive_app::Request;
use quivive_app::access::Access;
use quivive_app::ports::{
    Accounts as _, EventIndex as _, EventSchemas as _, Related, Sessions as _,
    SignInStatistics as _, SignIns,
};
use quivive_app::search::Question;
use quivive_delivery::{Log as _, Stored};
use quivive_domain::{AccountState, Address, UserId};
use serde_json::Value as Json;

use super::driver::Driver;

/// Of a page: few, so that there are several.
const PAGE: u32 = 3;

/// Of a search, several times that.
const FOUND: u32 = 7;

impl Driver {
    pub(super) async fn look(&mut self) {
        for state in [
            None,
            Some(AccountState::Active),
            Some(AccountState::Locked),
            Some(AccountState::Inactive),
        ] {
            self.look_at_accounts(state).await;
        }
        let at = self.random.below(self.people.len());
        let user = self.people[at].id;
        self.look_at(user).await;
        self.look_for(user).await;
        let (db, far) = (
            self.machine.db.clone(),
            self.now() + std::time::Duration::from_hours(500),
        );
        let keys = quivive_app::ports::ApiKeys::list(&db, 20).await;
        self.tell(format!("keys {keys:?}"));
        let schemas = db.all().await;
        self.tell(format!("schemas {schemas:?}"));
        let due = db.due(far, 5).await;
        self.tell(format!("due {due:?}"));
        let unverified = db.never_verified(far, 3).await;
        self.tell(format!("never verified {unverified:?}"));
        let administrators = db.administrators().await;
        self.tell(format!("administrators {administrators:?}"));
        let days = db.sign_ins("statistics", 0, i64::from(u32::MAX)).await;
        self.tell(format!("sign-ins {days:?}"));
        if let Some(held) = self.held.last() {
            // Of somebody who remembers nothing.
            let access = Access::new(Arc::clone(self.machine.kernel.families()));
            let caller = access.authenticate(&held.access).await.expect("no fault");
            self.tell(format!("let in: {:?}", caller.map(|caller| caller.user)));
        }
    }

    async fn look_at_accounts(&mut self, state: Option<AccountState>) {
        let mut after = None;
        loop {
            let page = self.machine.db.page(after, state, PAGE).await;
            let page = page.expect("a read");
            self.tell(format!("accounts {state:?} after {after:?}: {page:?}"));
            let Some(last) = page.last() else { break };
            after = Some(last.id);
        }
    }

    async fn look_at(&mut self, user: UserId) {
        let db = self.machine.db.clone();
        let account = db.by_id(user).await;
        self.tell(format!("{account:?}"));
        let sessions = quivive_app::ports::Sessions::list(&db, user).await;
        self.tell(format!("sessions {sessions:?}"));
        let open = db.open_of(user).await;
        self.tell(format!("open {open:?}"));
        let history = db.password_history(user, 5).await;
        self.tell(format!("passwords {history:?}"));
        let changes = db.open_email_changes(user).await;
        self.tell(format!("changes {changes:?}"));
        let devices = db.devices(user).await;
        self.tell(format!("devices {devices:?}"));
    }

    async fn look_for(&mut self, user: UserId) {
        let head = self.machine.db.head().borrow().position;
        let below = 1 + self.random.next() % (head + 1);
        let mut newest = self.machine.db.read(below.saturating_sub(2), 1).await;
        let Some(event) = newest.as_mut().ok().and_then(Vec::pop) else {
            return;
        };
        let address = format!("Ada{}@example.org", self.random.below(9));
        let questions = [
            Question::Type(event.envelope.kind.clone()),
            Question::Subject(user.to_string()),
            Question::Workflow(event.envelope.workflow_id),
            Question::Correlation(event.envelope.correlation_id),
            Question::Address(Address::parse(&address).expect("an address")),
            Question::Ip(quivive_app::search::Source::parse("192.0.2.1").expect("an address")),
        ];
        for question in questions {
            let mut below = u64::MAX;
            for _ in 0..3 {
                let search = self.machine.search.clone();
                let found = search
                    .find(&question, below, FOUND, Request::system())
                    .await;
                let found = found.expect("no fault");
                let reached = found.indexed_up_to;
                let places = places(&found.events);
                self.tell(format!(
                    "{question:?} up to {reached}: {places:?}, {}",
                    found.has_more
                ));
                match places.last() {
                    Some(last) if found.has_more => below = *last,
                    _ => break,
                }
            }
        }
        let db = self.machine.db.clone();
        for id in [
            Related::Workflow(event.envelope.workflow_id),
            Related::Correlation(event.envelope.correlation_id),
        ] {
            let related = db.related(id, 20).await.expect("a read");
            self.tell(format!("{id:?}: {:?}", places(&related)));
        }
        let place = db.position_of(event.envelope.id).await;
        self.tell(format!("{} is at {place:?}", event.envelope.id));
    }

    /// As the subscription of the statistics does.
    pub(super) async fn count(&mut self, kind: &str, fields: &Json) {
        let what = match kind {
            "user.login.attempted" => SignIns::Attempted,
            "user.login.succeeded" => SignIns::Succeeded,
            "user.login.failed" => SignIns::Failed,
            _ => return,
        };
        let day = self.now().as_second() / 86_400;
        let reason = fields["reason"].as_str().unwrap_or_default();
        let write = self.machine.db.count_sign_in(1, day, what, reason);
        self.machine.commit(vec![write]).await;
    }
}

fn places(events: &[Stored]) -> Vec<u64> {
    events.iter().map(|event| event.position).collect()
}
