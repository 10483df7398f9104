//! Accounts that come from elsewhere: many in one commit, each with its own event under its own key.
//!
//! **Guarantee.** An account and its event are there together or not at all, and no address is taken twice. What was
//! enrolled before is found taken, so that the same accounts may be handed over again.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::seal::SealKey;
use quivive_delivery::subscriber::Veto;
use quivive_delivery::{CommitError, Context, Fault, Transaction};
use quivive_domain::{Account, Email, UserId};

use super::commit::Commit;
use super::cx::Request;
use super::execute::{Failure, Kernel};
use super::records::{Place, SealKeys, Trail};
use super::workflow::{Subject, account_vault_key};
use crate::facts::UserImported;
use crate::ports::Waiting;

/// How often a group is tried while somebody else takes its addresses, or the store or the vault is busy.
const MAX_TRIES: u32 = 20;

/// Keys of a group that are asked for at once: many share a sync or a commit, and others who ask the vault find room in it.
const KEYS_AT_ONCE: usize = 128;

/// The longest wait for what is busy.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// What became of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolled {
    Done,
    /// There is an account with the address, or there is one before it in the group.
    Taken,
    /// What reacts in the commit refused it.
    Vetoed(Veto),
}

/// One that is to be in the commit.
struct Entrant<'a> {
    account: &'a Account,
    /// Its place in the group.
    at: usize,
    key: Arc<dyn SealKey>,
}

impl Kernel {
    /// Adds accounts, whose ids were given, for the workflow of that attempt, all in one commit. Answers in their order.
    pub(crate) async fn enrol(
        &self,
        accounts: &[Account],
        attempt: Waiting,
        request: &Request,
    ) -> Result<Vec<Enrolled>, Fault> {
        for _ in 0..MAX_TRIES {
            match self.try_to_enrol(accounts, attempt, request).await {
                Ok(fates) => return Ok(fates),
                // Somebody took an address meanwhile: look again.
                Err(CommitError::Missed(_)) => {}
                Err(CommitError::Fault(Fault::Busy { retry_after, .. })) if !self.is_stopping() => {
                    tokio::time::sleep(retry_after.min(MAX_PAUSE)).await;
                }
                Err(CommitError::Fault(fault)) => return Err(fault),
            }
        }
        Err(Fault::Busy {
            what: "the adding of accounts",
            retry_after: MAX_PAUSE,
        })
    }

    async fn try_to_enrol(
        &self,
        accounts: &[Account],
        attempt: Waiting,
        request: &Request,
    ) -> Result<Vec<Enrolled>, CommitError> {
        let mut fates = self.fates(accounts).await?;
        let entrants = self.entrants(accounts, &fates).await?;
        let transaction = self.enrolment(&entrants, &mut fates, attempt, request)?;
        if !transaction.records.is_empty() {
            self.log.commit(transaction).await?;
        }
        Ok(fates)
    }

    /// Who is there already.
    async fn fates(&self, accounts: &[Account]) -> Result<Vec<Enrolled>, Fault> {
        let canonical = |account: &Account| account.email.canonical().to_owned();
        let addresses: Vec<_> = accounts.iter().map(canonical).collect();
        let taken = self.families.accounts.taken(&addresses).await?;
        let mut seen: HashSet<String> = taken.into_iter().collect();
        let fate = |address| {
            if seen.insert(address) {
                Enrolled::Done
            } else {
                Enrolled::Taken
            }
        };
        Ok(addresses.into_iter().map(fate).collect())
    }

    /// Those that are not, with their keys.
    async fn entrants<'a>(
        &self,
        accounts: &'a [Account],
        fates: &[Enrolled],
    ) -> Result<Vec<Entrant<'a>>, Fault> {
        let new = accounts.iter().enumerate().zip(fates);
        let new = new.filter(|(_, fate)| **fate == Enrolled::Done);
        let new: Vec<_> = new.map(|(account, _)| account).collect();
        let mut entrants = Vec::with_capacity(new.len());
        for some in new.chunks(KEYS_AT_ONCE) {
            // All are asked for before the first is waited for.
            let asked = some.iter().map(|(at, account)| {
                let key = self.vault.key(&account_vault_key(account.id.0));
                (*at, *account, key)
            });
            for (at, account, key) in asked.collect::<Vec<_>>() {
                let key = key.await?;
                entrants.push(Entrant { account, at, key });
            }
        }
        Ok(entrants)
    }

    fn enrolment(
        &self,
        entrants: &[Entrant<'_>],
        fates: &mut [Enrolled],
        attempt: Waiting,
        request: &Request,
    ) -> Result<Transaction, Fault> {
        let mut transaction = Transaction::default();
        for entrant in entrants {
            let mut commit = Commit::default();
            commit.write_all(self.families.accounts.insert(entrant.account));
            commit.fact(&imported(entrant.account));
            if let Some(fault) = commit.broken.take() {
                return Err(fault);
            }
            match self.hear::<Infallible>("users_import", true, None, &mut commit) {
                Ok(()) => self.append_enrolled(&mut transaction, entrant, commit, attempt, request),
                Err(Failure::Vetoed(veto)) => fates[entrant.at] = Enrolled::Vetoed(veto),
                Err(_) => return Err(Fault::Internal("a handler in the commit broke".to_owned())),
            }
        }
        Ok(transaction)
    }

    fn append_enrolled(
        &self,
        transaction: &mut Transaction,
        entrant: &Entrant<'_>,
        commit: Commit,
        attempt: Waiting,
        request: &Request,
    ) {
        let subject = Subject::Account(entrant.account.id);
        let trail = Trail {
            key: subject.key(),
            subject: subject.shown(),
            request: request.clone(),
            // An operator's command comes from nowhere.
            context: Context::default(),
            sealed: None,
            keys: SealKeys {
                subject: Arc::clone(&entrant.key),
                actor: Arc::clone(&entrant.key),
            },
            workflow_id: attempt.workflow_id,
            attempted_id: attempt.attempted_id,
        };
        let now = self.families.clock.now();
        transaction.writes.extend(commit.writes);
        for event in commit.events {
            let place = Place {
                id: self.families.ids.next(),
                workflow_id: trail.workflow_id,
                correlation_id: trail.workflow_id,
                causation_id: Some(trail.attempted_id),
                actor: trail.request.actor,
                key: event.role.key(),
            };
            let record = self.record(&trail, &place, event.meta, event.body, now);
            transaction.records.push(record);
        }
    }

    /// The id of an account that is to be.
    pub(crate) fn next_user(&self) -> UserId {
        UserId(self.families.ids.next())
    }
}

fn imported(account: &Account) -> UserImported {
    UserImported {
        user_id: account.id,
        email: Email::from(&account.email),
        email_verified: account.verified_at.is_some(),
        has_password: account.password.is_some(),
    }
}
