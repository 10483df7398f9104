//! [`Sessions`] over a [`World`].

use std::net::IpAddr;

use quivive_delivery::{Time, Write};
use quivive_domain::refresh::{GlobalVersion, RefreshToken, Use};
use quivive_domain::session::Session;
use quivive_domain::{DeviceId, SessionId, TokenId, UserId};

use super::commits::{any, none, row};
use super::{DeviceRow, RefreshRow, State, World};
use crate::ports::{
    Device, ListedSession, NewDevice, NewRefreshToken, Read, SessionView, Sessions,
};

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

pub(super) fn devices_of(state: &State, account: UserId) -> impl Iterator<Item = &DeviceRow> {
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

    fn list(&self, account: UserId) -> Read<'_, Vec<ListedSession>> {
        self.read(|s| {
            let open = s.sessions.values().filter(|x| is_open_of(x, account));
            let listed = open.map(|session| ListedSession {
                session: session.clone(),
                device: devices_of(s, account)
                    .find(|row| Some(row.new.id) == session.device)
                    .map(|row| row.new.name.clone()),
                ip: s.session_ips.get(&session.id).copied(),
            });
            let mut listed: Vec<_> = listed.collect();
            listed.sort_by_key(|entry| (entry.session.created_at, entry.session.id));
            listed
        })
    }

    fn due(&self, now: Time, limit: u32) -> Read<'_, Vec<Session>> {
        self.read(|s| {
            let due = |x: &&Session| x.ended_at.is_none() && x.ends_at() <= now;
            let due = s.sessions.values().filter(due);
            due.take(limit as usize).cloned().collect()
        })
    }

    fn with_access(&self, limit: u32) -> Read<'_, Vec<UserId>> {
        self.read(|s| {
            let open = s.sessions.values().filter(|x| x.ended_at.is_none());
            let open = open.map(|session| session.account).take(limit as usize);
            let known = s.devices.iter().map(|device| device.new.account);
            open.chain(known.take(limit as usize)).collect()
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

    fn insert_session(&self, session: &Session, ip: Option<IpAddr>, max: u32) -> Write {
        let session = session.clone();
        self.write("session insert", &[session.id.0], move |s| {
            let open = |x: &&Session| is_open_of(x, session.account);
            if s.sessions.values().filter(open).count() >= max as usize {
                return 0;
            }
            s.session_ips.extend(ip.map(|ip| (session.id, ip)));
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

    fn touch(&self, session: SessionId, ip: Option<IpAddr>, idle_until: Time, now: Time) -> Write {
        self.write("session touch", &[session.0], move |s| {
            s.session_ips.extend(ip.map(|ip| (session, ip)));
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

    fn expire(&self, session: SessionId, now: Time) -> Write {
        self.write("session expire", &[session.0], move |s| {
            row(
                s.sessions.get_mut(&session),
                |x| x.ended_at.is_none() && x.ends_at() <= now,
                |x| x.ended_at = Some(now),
            )
        })
    }

    /// It always looks when the time is over.
    fn look_again(&self, _: SessionId) -> Write {
        any(self.write("session look_again", &[], |_| 0))
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
