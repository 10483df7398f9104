//! [`Accounts`] over a [`World`].

use quivive_delivery::{Time, Write};
use quivive_domain::{Account, AccountState, Address, PasswordHash, Role, UserId};

use super::commits::row;
use super::{State, World};
use crate::ports::{Accounts, Guesses as _, Path, Read};

impl World {
    /// A write on the account as it was read: it misses when the security version was raised since.
    fn seen(
        &self,
        name: &'static str,
        account: &Account,
        change: impl Fn(&mut Account) + Send + Sync + 'static,
    ) -> Write {
        let (id, version) = (account.id, account.security_version);
        self.write(name, &[id.0], move |s| {
            row(
                s.accounts.get_mut(&id),
                |a| a.security_version == version,
                &change,
            )
        })
    }
}

fn administrators(state: &State) -> usize {
    state
        .accounts
        .values()
        .filter(|a| a.is_admin() && a.state == AccountState::Active)
        .count()
}

impl Accounts for World {
    fn by_id(&self, id: UserId) -> Read<'_, Option<Account>> {
        self.read(|s| s.accounts.get(&id).cloned())
    }

    fn by_address(&self, address: &Address) -> Read<'_, Option<Account>> {
        let canonical = address.canonical();
        self.read(|s| {
            s.accounts
                .values()
                .find(|a| a.email.canonical() == canonical)
                .cloned()
        })
    }

    fn administrators(&self) -> Read<'_, u32> {
        self.read(|s| u32::try_from(administrators(s)).unwrap_or(u32::MAX))
    }

    fn password_history(&self, id: UserId, limit: u32) -> Read<'_, Vec<PasswordHash>> {
        self.read(|s| {
            s.history
                .get(&id)
                .into_iter()
                .flatten()
                .take(limit as usize)
                .cloned()
                .collect()
        })
    }

    fn insert(&self, account: &Account) -> Vec<Write> {
        let new = account.clone();
        let insert = self.write("account insert", &[new.id.0], move |s| {
            let taken =
                |a: &Account| a.id == new.id || a.email.canonical() == new.email.canonical();
            if s.accounts.values().any(taken) {
                return 0;
            }
            s.accounts.insert(new.id, new.clone());
            1
        });
        let path = Path::Account(account.id);
        vec![insert, self.open(path, account.created_at)]
    }

    fn fence(&self, account: &Account, _: Time) -> Write {
        self.seen("account fence", account, |_| {})
    }

    fn set_password(
        &self,
        account: &Account,
        hash: &PasswordHash,
        keep: u32,
        _: Time,
    ) -> Vec<Write> {
        let (old, id, hash) = (account.password.clone(), account.id, hash.clone());
        let history = self.write("password_history keep", &[id.0], move |s| {
            let earlier = s.history.entry(id).or_default();
            if let Some(old) = &old {
                earlier.insert(0, old.clone());
            }
            earlier.truncate(keep as usize);
            1
        });
        let set = self.seen("account set_password", account, move |a| {
            a.password = Some(hash.clone());
            a.credential_epoch += 1;
            a.security_version += 1;
            a.token_version += 1;
        });
        vec![history, set]
    }

    fn rotate(&self, account: &Account, _: Time) -> Write {
        self.seen("account rotate", account, |a| {
            a.security_version += 1;
            a.token_version += 1;
        })
    }

    fn rehash(&self, account: &Account, hash: &PasswordHash) -> Write {
        let hash = hash.clone();
        self.seen("account rehash", account, move |a| {
            a.password = Some(hash.clone());
        })
    }

    fn verify_address(&self, id: UserId, now: Time) -> Write {
        self.write("account verify_address", &[id.0], move |s| {
            row(
                s.accounts.get_mut(&id),
                |_| true,
                |a| a.verified_at = a.verified_at.or(Some(now)),
            )
        })
    }

    fn claim_first_administrator(&self, _: Time) -> Write {
        self.write("account claim_first_administrator", &[], |s| {
            let free = !s.first_administrator && administrators(s) == 0;
            s.first_administrator = true;
            u64::from(free)
        })
    }

    fn grant_role(&self, account: &Account, role: Role) -> Write {
        self.seen("account grant_role", account, move |a| {
            if !a.roles.contains(&role) {
                a.roles.push(role);
            }
            a.security_version += 1;
        })
    }
}
