//! The ports of a [`World`] that a database would serve. Each guard is the one that the port's documentation states.

use quivive_delivery::{Expect, Time, Write};
use quivive_domain::guess::{Admission, AfterWrong, GuessPolicy, Guesses as GuessCounters};
use quivive_domain::one_time::{OneTimeToken, Purpose};
use quivive_domain::refresh::{GlobalVersion, RefreshToken, Use};
use quivive_domain::session::Session;
use quivive_domain::{
    Account, AccountState, Address, DeviceId, PasswordHash, Role, SessionId, TokenId, UserId,
};
use uuid::Uuid;

use super::{DeviceRow, RefreshRow, State, World};
use crate::ports::{
    Accounts, Device, Guesses, NewDevice, NewRefreshToken, OneTimeTokens, OpenAttempt,
    OpenAttempts, Path, Read, SessionView, Sessions,
};

/// A guard on one row: touched when it is there and fits.
fn row<T>(row: Option<&mut T>, fits: impl FnOnce(&T) -> bool, change: impl FnOnce(&mut T)) -> u64 {
    match row {
        Some(row) if fits(row) => {
            change(row);
            1
        }
        _ => 0,
    }
}

pub(super) fn any(write: Write) -> Write {
    Write {
        expect: Expect::Any,
        ..write
    }
}

/// A guard that must find nothing.
fn none(write: Write) -> Write {
    Write {
        expect: Expect::Rows(0),
        ..write
    }
}

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
        vec![insert, self.open_path(account.id.0, account.created_at)]
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

/// A path that is open, with nothing counted.
pub(super) fn open_counters(now: Time) -> GuessCounters {
    GuessCounters {
        window_from: now,
        reserved: 0,
        wrong: 0,
        in_a_row: 0,
        locks: 0,
        locked_until: None,
    }
}

impl World {
    fn open_path(&self, id: Uuid, now: Time) -> Write {
        any(self.write("guess open", &[id], move |s| {
            s.guesses.entry(id).or_insert_with(|| open_counters(now));
            1
        }))
    }
}

impl Guesses for World {
    fn counters(&self, path: Path) -> Read<'_, Option<GuessCounters>> {
        self.read(|s| s.guesses.get(&path.id()).copied())
    }

    fn open(&self, path: Path, now: Time) -> Write {
        self.open_path(path.id(), now)
    }

    fn reserve(&self, path: Path, policy: &GuessPolicy, now: Time) -> Write {
        let (id, policy) = (path.id(), *policy);
        self.write("guess reserve", &[id], move |s| {
            let open = |g: &GuessCounters| policy.admission(g, now) == Admission::Open;
            if let Path::Stranger(id) = path {
                s.guesses.entry(id).or_insert_with(|| open_counters(now));
            }
            row(s.guesses.get_mut(&id), open, |g| {
                if g.window_from <= policy.window_cutoff(now) {
                    (g.window_from, g.reserved, g.wrong) = (now, 0, 0);
                }
                g.reserved += 1;
            })
        })
    }

    fn wrong(
        &self,
        path: Path,
        policy: &GuessPolicy,
        lock_until: Option<Time>,
        now: Time,
    ) -> Write {
        let (id, policy) = (path.id(), *policy);
        self.write("guess wrong", &[id], move |s| {
            let locks = |g: &GuessCounters| policy.after_wrong(g, now) != AfterWrong::Open;
            row(
                s.guesses.get_mut(&id),
                |g| locks(g) == lock_until.is_some(),
                |g| {
                    g.wrong += 1;
                    g.in_a_row += 1;
                    g.locks += u32::from(lock_until.is_some());
                    g.locked_until = lock_until.or(g.locked_until);
                },
            )
        })
    }

    fn clear(&self, path: Path, now: Time) -> Write {
        let id = path.id();
        self.write("guess clear", &[id], move |s| {
            let unlocked = |g: &GuessCounters| g.locked_until.is_none_or(|until| until <= now);
            row(s.guesses.get_mut(&id), unlocked, |g| {
                *g = GuessCounters {
                    reserved: g.reserved.saturating_sub(g.wrong + 1),
                    ..open_counters(g.window_from)
                };
            })
        })
    }

    fn give_back(&self, path: Path, reserved_at: Time) -> Write {
        let id = path.id();
        any(self.write("guess give_back", &[id], move |s| {
            let held = |g: &GuessCounters| g.window_from <= reserved_at && g.reserved > g.wrong;
            row(s.guesses.get_mut(&id), held, |g| g.reserved -= 1)
        }))
    }

    fn end_row(&self, account: UserId) -> Write {
        any(self.write("guess end_row", &[account.0], move |s| {
            row(s.guesses.get_mut(&account.0), |_| true, |g| g.in_a_row = 0)
        }))
    }

    fn unlock(&self, account: UserId, now: Time) -> Write {
        any(self.write("guess unlock", &[account.0], move |s| {
            let devices: Vec<_> = devices_of(s, account).map(|d| d.new.id.0).collect();
            for id in devices.into_iter().chain([account.0]) {
                s.guesses.insert(id, open_counters(now));
            }
            1
        }))
    }

    fn close(&self, path: Path) -> Write {
        let id = path.id();
        self.write("guess close", &[id], move |s| {
            u64::from(s.guesses.remove(&id).is_some())
        })
    }

    fn has_forgettable(&self, _: Time) -> Read<'_, bool> {
        self.read(|_| false)
    }

    fn forget(&self, _: Time) -> Write {
        any(self.write("guess forget", &[], |_| 0))
    }
}

fn hour(now: Time) -> i64 {
    now.as_second().div_euclid(3600)
}

fn letters(state: &State, account: UserId, kind: &'static str, now: Time) -> u32 {
    let counted = state.letters.get(&(account, kind)).copied();
    counted
        .filter(|(at, _)| *at == hour(now))
        .map_or(0, |(_, count)| count)
}

impl OneTimeTokens for World {
    fn by_id(&self, id: TokenId) -> Read<'_, Option<OneTimeToken>> {
        self.read(|s| s.one_time.get(&id).map(|(token, _)| token.clone()))
    }

    fn end_open(&self, account: UserId, purpose: Purpose, now: Time) -> Write {
        any(
            self.write("one_time_token end_open", &[account.0], move |s| {
                let tokens = s.one_time.values_mut().map(|(token, _)| token);
                let open = tokens.filter(|t| {
                    t.account == account && t.purpose == purpose && t.used_at.is_none()
                });
                open.map(|t| t.ended_at = t.ended_at.or(Some(now))).count() as u64
            }),
        )
    }

    fn insert(&self, token: &OneTimeToken, now: Time) -> Write {
        let token = token.clone();
        self.write("one_time_token insert", &[token.id.0], move |s| {
            u64::from(s.one_time.insert(token.id, (token.clone(), now)).is_none())
        })
    }

    fn redeem(&self, id: TokenId, now: Time) -> Write {
        self.write("one_time_token redeem", &[id.0], move |s| {
            let token = s.one_time.get_mut(&id).map(|(token, _)| token);
            row(
                token,
                |t| t.used_at.is_none() && t.ended_at.is_none(),
                |t| t.used_at = Some(now),
            )
        })
    }

    fn count_letter(&self, account: UserId, kind: &'static str, limit: u32, now: Time) -> Write {
        self.write("letter_count", &[account.0], move |s| {
            let count = letters(s, account, kind, now);
            if count < limit {
                s.letters.insert((account, kind), (hour(now), count + 1));
            }
            u64::from(count < limit)
        })
    }

    fn letters(&self, account: UserId, kind: &'static str, now: Time) -> Read<'_, u32> {
        self.read(|s| letters(s, account, kind, now))
    }
}

fn refresh_token(state: &State, id: TokenId, now: Time) -> Option<RefreshToken> {
    let row = state.refresh.get(&id)?;
    let session = state.sessions.get(&row.token.session)?.clone();
    let account = state.accounts.get(&session.account)?.clone();
    let successor_used = |id| {
        state
            .refresh
            .get(&id)
            .is_some_and(|next| next.used.is_some())
    };
    Some(RefreshToken {
        id,
        hash: row.token.hash,
        family: row.token.family,
        generation: row.token.generation,
        user_version: row.token.user_version,
        global_version: row.token.global_version,
        proved_at: row.token.proved_at,
        expires_at: row.token.expires_at,
        used: row.used.clone().map(|(at, by, successor, key)| Use {
            at,
            by,
            successor,
            successor_key: key,
            successor_used: successor_used(successor),
        }),
        session,
        account,
        global: state.global(now),
    })
}

fn devices_of(state: &State, account: UserId) -> impl Iterator<Item = &DeviceRow> {
    let mine = move |row: &&DeviceRow| row.new.account == account;
    state.devices.iter().filter(mine)
}

fn device(row: &DeviceRow) -> Device {
    Device {
        id: row.new.id,
        account: row.new.account,
        used_at: row.used_at,
    }
}

fn is_open_of(session: &Session, account: UserId) -> bool {
    session.account == account && session.ended_at.is_none()
}

impl Sessions for World {
    fn refresh_token(&self, id: TokenId, now: Time) -> Read<'_, Option<RefreshToken>> {
        self.read(|s| refresh_token(s, id, now))
    }

    fn view(&self, id: SessionId, now: Time) -> Read<'_, Option<SessionView>> {
        self.read(|s| {
            let session = s.sessions.get(&id)?.clone();
            Some(SessionView {
                account: s.accounts.get(&session.account)?.clone(),
                session,
                global: s.global(now),
            })
        })
    }

    fn open_of(&self, account: UserId) -> Read<'_, Vec<Session>> {
        self.read(|s| {
            let mut open: Vec<_> = s
                .sessions
                .values()
                .filter(|x| is_open_of(x, account))
                .cloned()
                .collect();
            open.sort_by_key(|session| (session.created_at, session.id));
            open
        })
    }

    fn family_size(&self, token: TokenId) -> Read<'_, u32> {
        self.read(|s| {
            let family = s.refresh.get(&token).map(|row| row.token.family);
            let members = s
                .refresh
                .values()
                .filter(|row| Some(row.token.family) == family)
                .count();
            u32::try_from(members).unwrap_or(u32::MAX)
        })
    }

    fn global_version(&self, now: Time) -> Read<'_, GlobalVersion> {
        self.read(|s| s.global(now))
    }

    fn rotate_all(&self, version: u32, cut_off_at: Time, _: Time) -> Write {
        self.write("global_rotation insert", &[], move |s| {
            let free = !s.rotations.contains_key(&version);
            s.rotations.entry(version).or_insert(cut_off_at);
            u64::from(free)
        })
    }

    fn device(&self, account: UserId, token_hash: [u8; 32]) -> Read<'_, Option<Device>> {
        self.read(|s| {
            let mut devices = devices_of(s, account);
            let found = devices.find(|d| d.new.token_hash == token_hash);
            found.map(device)
        })
    }

    fn devices(&self, account: UserId) -> Read<'_, Vec<Device>> {
        self.read(|s| devices_of(s, account).map(device).collect())
    }

    fn insert_device(&self, device: &NewDevice, max: u32, now: Time) -> Write {
        let new = device.clone();
        self.write("device insert", &[device.id.0], move |s| {
            let room = devices_of(s, new.account).count() < max as usize;
            if room {
                let (new, used_at) = (new.clone(), now);
                s.devices.push(DeviceRow { new, used_at });
            }
            u64::from(room)
        })
    }

    fn use_device(&self, device: &Device, now: Time) -> Write {
        let id = device.id;
        self.write("device use", &[id.0], move |s| {
            let found = s.devices.iter_mut().find(|d| d.new.id == id);
            row(found, |_| true, |d| d.used_at = now)
        })
    }

    fn remove_device(&self, device: &Device) -> Write {
        let id = device.id;
        self.write("device remove", &[id.0], move |s| {
            let before = s.devices.len();
            s.devices.retain(|d| d.new.id != id);
            (before - s.devices.len()) as u64
        })
    }

    fn no_device_but(&self, account: UserId, except: Option<DeviceId>) -> Write {
        none(self.write("device no_device_but", &[account.0], move |s| {
            devices_of(s, account)
                .filter(|d| Some(d.new.id) != except)
                .count() as u64
        }))
    }

    fn insert_session(&self, session: &Session, max: u32) -> Write {
        let session = session.clone();
        self.write("session insert", &[session.id.0], move |s| {
            let open = |x: &&Session| is_open_of(x, session.account);
            if s.sessions.values().filter(open).count() >= max as usize {
                return 0;
            }
            u64::from(s.sessions.insert(session.id, session.clone()).is_none())
        })
    }

    fn insert_refresh_token(&self, token: &NewRefreshToken, _: Time) -> Write {
        let row = RefreshRow {
            token: token.clone(),
            used: None,
        };
        self.write("refresh_token insert", &[token.id.0], move |s| {
            u64::from(s.refresh.insert(row.token.id, row.clone()).is_none())
        })
    }

    fn use_refresh_token(
        &self,
        id: TokenId,
        successor: TokenId,
        key: &str,
        by: [u8; 32],
        now: Time,
    ) -> Write {
        let key = key.to_owned();
        self.write("refresh_token use", &[id.0], move |s| {
            row(
                s.refresh.get_mut(&id),
                |t| t.used.is_none(),
                |t| t.used = Some((now, by, successor, key.clone())),
            )
        })
    }

    fn touch(&self, session: SessionId, idle_until: Time, now: Time) -> Write {
        self.write("session touch", &[session.0], move |s| {
            row(
                s.sessions.get_mut(&session),
                |x| x.ended_at.is_none(),
                |x| {
                    (x.last_seen_at, x.idle_until) = (now, idle_until);
                },
            )
        })
    }

    fn end(&self, session: SessionId, now: Time) -> Write {
        self.write("session end", &[session.0], move |s| {
            row(
                s.sessions.get_mut(&session),
                |x| x.ended_at.is_none(),
                |x| x.ended_at = Some(now),
            )
        })
    }

    fn no_session_but(&self, account: UserId, except: Option<SessionId>) -> Write {
        none(
            self.write("session no_session_but", &[account.0], move |s| {
                s.sessions
                    .values()
                    .filter(|x| is_open_of(x, account) && Some(x.id) != except)
                    .count() as u64
            }),
        )
    }
}

impl OpenAttempts for World {
    fn abandoned(&self, node: Uuid, now: Time) -> Read<'_, Vec<OpenAttempt>> {
        let left = move |a: &&OpenAttempt| a.deadline <= now || (!a.waiting && a.node != node);
        self.read(|s| s.attempts.values().filter(left).cloned().collect())
    }

    fn find(&self, workflow_id: Uuid) -> Read<'_, Option<OpenAttempt>> {
        self.read(|s| s.attempts.get(&workflow_id).cloned())
    }

    fn open(&self, attempt: &OpenAttempt) -> Write {
        let attempt = attempt.clone();
        self.write("open_attempt open", &[attempt.workflow_id], move |s| {
            u64::from(
                s.attempts
                    .insert(attempt.workflow_id, attempt.clone())
                    .is_none(),
            )
        })
    }

    fn close(&self, workflow_id: Uuid) -> Write {
        self.write("open_attempt close", &[workflow_id], move |s| {
            u64::from(s.attempts.remove(&workflow_id).is_some())
        })
    }

    fn wait(&self, workflow_id: Uuid, until: Time) -> Write {
        self.write("open_attempt wait", &[workflow_id], move |s| {
            row(
                s.attempts.get_mut(&workflow_id),
                |a| !a.waiting,
                |a| (a.waiting, a.deadline) = (true, until),
            )
        })
    }
}
