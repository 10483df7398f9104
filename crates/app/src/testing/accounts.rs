//! [`Accounts`] over a [`World`].

use quivive_delivery::{Time, Write};
use quivive_domain::{Account, AccountState, Address, PasswordHash, Role, TokenId, UserId};

use super::commits::row;
use super::{State, World};
use crate::ports::{Accounts, EmailChange, Guesses as _, Path, Read};

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
        hash: Option<&PasswordHash>,
        keep: u32,
        _: Time,
    ) -> Vec<Write> {
        let (old, id, hash) = (account.password.clone(), account.id, hash.cloned());
        let history = self.write("password_history keep", &[id.0], move |s| {
            let earlier = s.history.entry(id).or_default();
            if let Some(old) = &old {
                earlier.insert(0, old.clone());
            }
            earlier.truncate(keep as usize);
            1
        });
        let set = self.seen("account set_password", account, move |a| {
            a.password.clone_from(&hash);
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

    fn set_email(&self, account: &Account, address: &Address, now: Time) -> Write {
        let (id, version, address) = (account.id, account.security_version, address.clone());
        self.write("account set_email", &[id.0], move |s| {
            let mut others = s.accounts.values().filter(|a| a.id != id);
            if others.any(|a| a.email.canonical() == address.canonical()) {
                return 0;
            }
            row(
                s.accounts.get_mut(&id),
                |a| a.security_version == version,
                |a| {
                    a.email = address.clone();
                    a.verified_at = a.verified_at.or(Some(now));
                    a.credential_epoch += 1;
                    a.security_version += 1;
                },
            )
        })
    }

    fn email_change(&self, token: TokenId) -> Read<'_, Option<EmailChange>> {
        self.read(|s| s.email_changes.get(&token).cloned())
    }

    fn open_email_changes(&self, account: UserId) -> Read<'_, Vec<EmailChange>> {
        let open = move |c: &&EmailChange| c.account == account && c.attempt.is_some();
        self.read(|s| s.email_changes.values().filter(open).cloned().collect())
    }

    fn insert_email_change(&self, change: &EmailChange) -> Write {
        let change = change.clone();
        self.write("email_change insert", &[change.token.0], move |s| {
            u64::from(
                s.email_changes
                    .insert(change.token, change.clone())
                    .is_none(),
            )
        })
    }

    fn end_email_change(&self, token: TokenId) -> Write {
        self.write("email_change end", &[token.0], move |s| {
            u64::from(s.email_changes.remove(&token).is_some())
        })
    }

    fn set_state(&self, account: &Account, state: AccountState, _: Time) -> Write {
        self.seen("account set_state", account, move |a| {
            a.state = state;
            a.security_version += 1;
            a.credential_epoch += u32::from(state == AccountState::Inactive);
        })
    }

    fn another_administrator(&self, but: UserId, _: Time) -> Write {
        self.write("account another_administrator", &[but.0], move |s| {
            let others = s.accounts.values().filter(|a| a.id != but);
            let mut active = others.filter(|a| a.is_admin() && a.state == AccountState::Active);
            u64::from(active.next().is_some())
        })
    }

    fn page(
        &self,
        after: Option<UserId>,
        state: Option<AccountState>,
        limit: u32,
    ) -> Read<'_, Vec<Account>> {
        self.read(|s| {
            let follow = s.accounts.values().filter(|a| Some(a.id) > after);
            let meant = follow.filter(|a| state.is_none_or(|state| a.state == state));
            meant.take(limit as usize).cloned().collect()
        })
    }

    fn never_verified(&self, before: Time, limit: u32) -> Read<'_, Vec<UserId>> {
        self.read(|s| {
            let due = |a: &&Account| {
                a.verified_at.is_none() && a.created_at <= before && a.roles == [Role::User]
            };
            let mut due: Vec<_> = s.accounts.values().filter(due).collect();
            due.sort_by_key(|account| account.created_at);
            due.iter().take(limit as usize).map(|a| a.id).collect()
        })
    }

    fn those_there(&self, ids: &[UserId]) -> Read<'_, Vec<UserId>> {
        let mut there = ids.to_vec();
        self.read(move |s| {
            there.retain(|id| s.accounts.contains_key(id));
            there.sort();
            there
        })
    }

    fn taken(&self, addresses: &[String]) -> Read<'_, Vec<String>> {
        let mut taken = addresses.to_vec();
        self.read(move |s| {
            taken.retain(|address| s.accounts.values().any(|a| a.email.canonical() == address));
            taken
        })
    }

    fn erase(&self, account: &Account) -> Vec<Write> {
        let (id, version) = (account.id, account.security_version);
        let verified = account.verified_at.is_some();
        vec![self.write("account erase", &[id.0], move |s| {
            let seen = s.accounts.get(&id);
            if seen.is_none_or(|a| {
                a.security_version != version || a.verified_at.is_some() != verified
            }) {
                return 0;
            }
            s.accounts.remove(&id);
            s.history.remove(&id);
            s.guesses.remove(&id.0);
            s.one_time.retain(|_, (token, _)| token.account != id);
            s.email_changes.retain(|_, change| change.account != id);
            s.letters.retain(|(account, _), _| *account != id);
            s.devices.retain(|row| row.new.account != id);
            1
        })]
    }

    fn scrub(&self) -> Read<'_, ()> {
        self.change(|s| s.scrubbed += 1);
        self.read(|_| ())
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
