//! Sessions, refresh tokens and devices.
//!
//! [`Sessions::refresh_token`] and [`Sessions::view`] are the hot path: one statement each, every join on a primary key,
//! and values moved out of the row as they are.

use std::net::IpAddr;

use quivive_app::ports::{
    Device, ListedSession, NewDevice, NewRefreshToken, Read, SessionView, Sessions,
};
use quivive_delivery::{Fault, Time, Write};
use quivive_domain::refresh::{GlobalVersion, RefreshToken, Use};
use quivive_domain::session::Session;
use quivive_domain::{DeviceId, SessionId, TokenId, UserId};
use uuid::Uuid;

use crate::Database;
use crate::accounts::{account, account_columns};
use crate::rows::Cells;

/// The versions that all tokens share, as of the time `$1`: [`global_version`] reads them. Both walk the primary key from its
/// end.
macro_rules! global_columns {
    () => {
        "(SELECT max(version) FROM global_rotation), \
         (SELECT version FROM global_rotation WHERE cut_off_at <= $1 ORDER BY version DESC LIMIT 1)"
    };
}

/// What [`session`] reads, in its order; the id is not among it because whoever asks has it.
macro_rules! session_columns {
    () => {
        "session.account, session.device, session.created_at, session.last_seen_at, session.idle_until, \
         session.expires_at, session.ended_at"
    };
}

statements! {
    /// An account or a session that is gone takes its tokens with it: the joins are inner ones.
    REFRESH_TOKEN = concat!(
        "SELECT refresh_token.session, ", session_columns!(), ", ", account_columns!(),
        ", ", global_columns!(), ", refresh_token.hash, refresh_token.family, refresh_token.generation, refresh_token.user_version, \
         refresh_token.global_version, refresh_token.proved_at, refresh_token.expires_at, \
         refresh_token.used_at, refresh_token.used_by, refresh_token.successor, refresh_token.successor_key, \
         follower.used_at \
         FROM refresh_token \
         JOIN session ON session.id = refresh_token.session \
         JOIN account ON account.id = session.account \
         LEFT JOIN refresh_token AS follower ON follower.id = refresh_token.successor \
         WHERE refresh_token.id = $2"
    );

    VIEW = concat!(
        "SELECT ", session_columns!(), ", ", account_columns!(),
        ", ", global_columns!(), " FROM session \
         JOIN account ON account.id = session.account \
         WHERE session.id = $2"
    );

    OPEN_OF = concat!(
        "SELECT session.id, ", session_columns!(), " FROM session \
         WHERE session.account = $1 AND session.ended_at IS NULL ORDER BY session.created_at, session.id"
    );

    LIST = concat!(
        "SELECT session.id, ", session_columns!(), ", session.ip, device.name FROM session \
         LEFT JOIN device ON device.account = session.account AND device.id = session.device \
         WHERE session.account = $1 AND session.ended_at IS NULL ORDER BY session.created_at, session.id"
    );

    WITH_SESSION = "SELECT account FROM session WHERE ended_at IS NULL \
        AND account IN (SELECT id FROM account) ORDER BY account LIMIT $1";

    WITH_DEVICE = "SELECT account FROM device WHERE account IN (SELECT id FROM account) ORDER BY account LIMIT $1";

    DUE = concat!(
        "SELECT session.id, ", session_columns!(), " FROM session \
         WHERE session.ended_at IS NULL AND session.look_at <= $1 ORDER BY session.look_at LIMIT $2"
    );

    /// Walks the successors by primary key: a theft is rare, and an index over families would cost every refresh a third of
    /// what it writes.
    FAMILY_SIZE = "WITH RECURSIVE chain (successor, generation) AS ( \
            SELECT successor, generation FROM refresh_token WHERE id = $1 \
            UNION ALL \
            SELECT t.successor, t.generation FROM chain JOIN refresh_token t ON t.id = chain.successor) \
        SELECT coalesce(max(generation), 0) FROM chain";

    GLOBAL_VERSION = concat!("SELECT ", global_columns!());

    /// The primary key is the compare-and-set: versions are dense, so that who read an older one finds its next taken.
    ROTATE_ALL = "INSERT INTO global_rotation (version, rotated_at, cut_off_at) VALUES ($1, $2, $3) \
        ON CONFLICT DO NOTHING";

    DEVICE = "SELECT id, used_at FROM device WHERE account = $1 AND token_hash = $2";

    DEVICES = "SELECT id, used_at FROM device WHERE account = $1 ORDER BY token_hash";

    /// Counts like [`INSERT_SESSION`].
    INSERT_DEVICE = "INSERT INTO device (account, token_hash, id, name, kind, created_at, used_at) \
        SELECT $1, $2, $3, $4, $5, $6, $6 \
        WHERE (SELECT count(*) FROM device WHERE account = $1) < CAST($7 AS BIGINT) ON CONFLICT DO NOTHING";

    USE_DEVICE = "UPDATE device SET used_at = $1 WHERE account = $2 AND id = $3";

    REMOVE_DEVICE = "DELETE FROM device WHERE account = $1 AND id = $2";

    /// A guard alone: it may touch no row, and writes what is there already.
    NO_DEVICE_BUT = "UPDATE device SET used_at = used_at WHERE account = $1 AND id <> $2";

    /// Counts within the statement, after the fence has locked the account's row: two logins cannot both take the last
    /// place. The cast is because nothing else tells PostgreSQL the parameter's type.
    INSERT_SESSION = "INSERT INTO session \
        (id, account, device, created_at, last_seen_at, idle_until, expires_at, ended_at, ip, look_at) \
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 \
        WHERE (SELECT count(*) FROM session WHERE account = $2 AND ended_at IS NULL) < CAST($11 AS BIGINT) \
        ON CONFLICT DO NOTHING";

    INSERT_REFRESH_TOKEN = "INSERT INTO refresh_token \
        (id, hash, family, session, generation, user_version, global_version, created_at, proved_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";

    USE_REFRESH_TOKEN = "UPDATE refresh_token SET used_at = $1, used_by = $2, successor = $3, successor_key = $4 \
        WHERE id = $5 AND used_at IS NULL";

    TOUCH = "UPDATE session SET last_seen_at = $1, idle_until = $2, ip = $3 WHERE id = $4 AND ended_at IS NULL";

    /// What has ended does not say where it was used from.
    END = "UPDATE session SET ended_at = $1, ip = NULL WHERE id = $2 AND ended_at IS NULL";

    EXPIRE = "UPDATE session SET ended_at = $1, ip = NULL \
        WHERE id = $2 AND ended_at IS NULL AND (idle_until <= $1 OR expires_at <= $1)";

    LOOK_AGAIN = "UPDATE session SET look_at = CASE WHEN idle_until < expires_at THEN idle_until ELSE expires_at END \
        WHERE id = $1 AND ended_at IS NULL";

    /// A guard alone, like [`NO_DEVICE_BUT`].
    NO_SESSION_BUT = "UPDATE session SET ended_at = ended_at WHERE account = $1 AND id <> $2 AND ended_at IS NULL";
}

impl Sessions for Database {
    fn refresh_token(&self, id: TokenId, now: Time) -> Read<'_, Option<RefreshToken>> {
        self.one(REFRESH_TOKEN, vec![now.into(), id.0.into()], move |cells| {
            refresh_token(id, cells)
        })
    }

    fn view(&self, id: SessionId, now: Time) -> Read<'_, Option<SessionView>> {
        let params = vec![now.into(), id.0.into()];
        self.one(VIEW, params, move |cells| view(id, cells))
    }

    fn open_of(&self, account: UserId) -> Read<'_, Vec<Session>> {
        self.all(OPEN_OF, vec![account.0.into()], |cells| {
            session(cells.take("session.id")?, cells)
        })
    }

    fn list(&self, account: UserId) -> Read<'_, Vec<ListedSession>> {
        self.all(LIST, vec![account.0.into()], |cells| {
            Ok(ListedSession {
                session: session(cells.take("session.id")?, cells)?,
                ip: ip(cells)?,
                device: cells.take("device.name")?,
            })
        })
    }

    fn due(&self, now: Time, limit: u32) -> Read<'_, Vec<Session>> {
        self.all(DUE, vec![now.into(), limit.into()], |cells| {
            session(cells.take("session.id")?, cells)
        })
    }

    fn with_access(&self, limit: u32) -> Read<'_, Vec<UserId>> {
        let of = |sql| {
            self.all(sql, vec![limit.into()], |cells| {
                Ok(UserId(cells.take("account")?))
            })
        };
        let (sessions, devices) = (of(WITH_SESSION), of(WITH_DEVICE));
        Box::pin(async move {
            let mut users = sessions.await?;
            users.extend(devices.await?);
            Ok(users)
        })
    }

    fn family_size(&self, token: TokenId) -> Read<'_, u32> {
        self.single(FAMILY_SIZE, vec![token.0.into()], |cells| {
            cells.take("the last generation")
        })
    }

    fn global_version(&self, now: Time) -> Read<'_, GlobalVersion> {
        self.single(GLOBAL_VERSION, vec![now.into()], global_version)
    }

    fn rotate_all(&self, version: u32, cut_off_at: Time, now: Time) -> Write {
        Write::one(
            ROTATE_ALL,
            vec![version.into(), now.into(), cut_off_at.into()],
        )
    }

    fn device(&self, account: UserId, token_hash: [u8; 32]) -> Read<'_, Option<Device>> {
        self.one(
            DEVICE,
            vec![account.0.into(), token_hash.into()],
            move |cells| device(account, cells),
        )
    }

    fn devices(&self, account: UserId) -> Read<'_, Vec<Device>> {
        self.all(DEVICES, vec![account.0.into()], move |cells| {
            device(account, cells)
        })
    }

    fn insert_device(&self, device: &NewDevice, max: u32, now: Time) -> Write {
        Write::one(
            INSERT_DEVICE,
            vec![
                device.account.0.into(),
                device.token_hash.into(),
                device.id.0.into(),
                device.name.clone().into(),
                device.kind.into(),
                now.into(),
                max.into(),
            ],
        )
    }

    fn use_device(&self, device: &Device, now: Time) -> Write {
        let params = vec![now.into(), device.account.0.into(), device.id.0.into()];
        Write::one(USE_DEVICE, params)
    }

    fn remove_device(&self, device: &Device) -> Write {
        let params = vec![device.account.0.into(), device.id.0.into()];
        Write::one(REMOVE_DEVICE, params)
    }

    fn no_device_but(&self, account: UserId, except: Option<DeviceId>) -> Write {
        none_but(NO_DEVICE_BUT, account, except.map(|device| device.0))
    }

    fn insert_session(&self, session: &Session, ip: Option<IpAddr>, max: u32) -> Write {
        Write::one(
            INSERT_SESSION,
            vec![
                session.id.0.into(),
                session.account.0.into(),
                session.device.map(|device| device.0).into(),
                session.created_at.into(),
                session.last_seen_at.into(),
                session.idle_until.into(),
                session.expires_at.into(),
                session.ended_at.into(),
                ip.map(|ip| ip.to_string()).into(),
                session.ends_at().into(),
                max.into(),
            ],
        )
    }

    fn insert_refresh_token(&self, token: &NewRefreshToken, now: Time) -> Write {
        Write::one(
            INSERT_REFRESH_TOKEN,
            vec![
                token.id.0.into(),
                token.hash.into(),
                token.family.0.into(),
                token.session.0.into(),
                token.generation.into(),
                token.user_version.into(),
                token.global_version.into(),
                now.into(),
                token.proved_at.into(),
                token.expires_at.into(),
            ],
        )
    }

    fn use_refresh_token(
        &self,
        id: TokenId,
        successor: TokenId,
        key: &str,
        by: [u8; 32],
        now: Time,
    ) -> Write {
        let key = key.to_owned().into();
        let params = vec![now.into(), by.into(), successor.0.into(), key, id.0.into()];
        Write::one(USE_REFRESH_TOKEN, params)
    }

    fn touch(&self, session: SessionId, ip: Option<IpAddr>, idle_until: Time, now: Time) -> Write {
        let ip = ip.map(|ip| ip.to_string()).into();
        let params = vec![now.into(), idle_until.into(), ip, session.0.into()];
        Write::one(TOUCH, params)
    }

    fn expire(&self, session: SessionId, now: Time) -> Write {
        Write::one(EXPIRE, vec![now.into(), session.0.into()])
    }

    fn look_again(&self, session: SessionId) -> Write {
        Write::any(LOOK_AGAIN, vec![session.0.into()])
    }

    fn end(&self, session: SessionId, now: Time) -> Write {
        Write::one(END, vec![now.into(), session.0.into()])
    }

    fn no_session_but(&self, account: UserId, except: Option<SessionId>) -> Write {
        none_but(NO_SESSION_BUT, account, except.map(|session| session.0))
    }
}

/// Nothing has the nil id, so that excepts none.
fn none_but(sql: &'static str, account: UserId, except: Option<Uuid>) -> Write {
    let params = vec![account.0.into(), except.unwrap_or_default().into()];
    Write::rows(sql, params, 0)
}

fn device(account: UserId, cells: &mut Cells) -> Result<Device, Fault> {
    Ok(Device {
        id: cells.take("device.id")?,
        account,
        used_at: cells.take("device.used_at")?,
    })
}

fn refresh_token(id: TokenId, cells: &mut Cells) -> Result<RefreshToken, Fault> {
    let SessionView {
        session,
        account,
        global,
    } = view(cells.take("refresh_token.session")?, cells)?;
    Ok(RefreshToken {
        id,
        hash: cells.take("refresh_token.hash")?,
        family: cells.take("refresh_token.family")?,
        generation: cells.take("refresh_token.generation")?,
        user_version: cells.take("refresh_token.user_version")?,
        global_version: cells.take("refresh_token.global_version")?,
        proved_at: cells.take("refresh_token.proved_at")?,
        expires_at: cells.take("refresh_token.expires_at")?,
        used: used(cells)?,
        session,
        account,
        global,
    })
}

/// A used token that does not say by whom is an error, never an unused one.
fn used(cells: &mut Cells) -> Result<Option<Use>, Fault> {
    let Some(at) = cells.take("refresh_token.used_at")? else {
        return Ok(None);
    };
    Ok(Some(Use {
        at,
        by: cells.take("refresh_token.used_by")?,
        successor: cells.take("refresh_token.successor")?,
        successor_key: cells.take("refresh_token.successor_key")?,
        successor_used: cells
            .take::<Option<Time>>("refresh_token.used_at")?
            .is_some(),
    }))
}

fn view(id: SessionId, cells: &mut Cells) -> Result<SessionView, Fault> {
    let session = session(id, cells)?;
    Ok(SessionView {
        account: account(session.account, cells)?,
        session,
        global: global_version(cells)?,
    })
}

/// Reads [`session_columns`].
fn session(id: SessionId, cells: &mut Cells) -> Result<Session, Fault> {
    Ok(Session {
        id,
        account: cells.take("session.account")?,
        device: cells.take("session.device")?,
        created_at: cells.take("session.created_at")?,
        last_seen_at: cells.take("session.last_seen_at")?,
        idle_until: cells.take("session.idle_until")?,
        expires_at: cells.take("session.expires_at")?,
        ended_at: cells.take("session.ended_at")?,
    })
}

/// What is no address any more is shown as none.
fn ip(cells: &mut Cells) -> Result<Option<IpAddr>, Fault> {
    let text: Option<String> = cells.take("session.ip")?;
    Ok(text.and_then(|text| text.parse().ok()))
}

fn global_version(cells: &mut Cells) -> Result<GlobalVersion, Fault> {
    Ok(GlobalVersion {
        current: cells.take("the last version")?,
        floor: cells.take("the lowest version that is accepted")?,
    })
}
