//! Sessions and their tokens: minted here and nowhere else, rotated here, ended here. Each adds to the caller's commit, so
//! that the effect and its events are one.

pub(crate) mod expiry;

#[cfg(test)]
mod tests;

use quivive_delivery::{Code, Fault, Time, Write};
use quivive_domain::refresh::{Presented, RefreshToken, Use};
use quivive_domain::session::{InvalidatedBy, Session, TerminatedBy};
use quivive_domain::{Account, DeviceId, FamilyId, SessionId, TokenId, UserId};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::devices;
use crate::facts::{
    SessionCreated, SessionEvicted, SessionInvalidated, SessionTerminated, TokenIssued,
};
use crate::kernel::{Commit, Cx, Families};
use crate::ports::{AccessClaims, Device, NewRefreshToken};

/// Who gets tokens: there are no clients but the people who sign in here.
const CLIENT: &str = "quivive";

/// What a client gets. The secrets are in no event, log line or row.
#[derive(Debug)]
pub struct Tokens {
    pub access_token: SecretString,
    pub refresh_token: SecretString,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    pub session_id: SessionId,
    /// Present when a device was registered.
    pub device_token: Option<SecretString>,
}

/// SHA-256 of a secret that has 256 random bits: what may be stored of it.
pub fn secret_hash(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// The row of a refresh token as it is now, if the secret half is right.
pub async fn find(
    families: &Families,
    presented: &Presented,
) -> Result<Option<RefreshToken>, Fault> {
    let hash = secret_hash(presented.secret());
    let now = families.clock.now();
    let found = families.sessions.refresh_token(presented.id, now).await?;
    Ok(found.filter(|token| token.hash.ct_eq(&hash).into()))
}

/// A digest of the device that holds a refresh token: the device token's device, or else address and agent together.
pub fn holder(cx: &Cx, device: Option<DeviceId>) -> [u8; 32] {
    let text = match device {
        Some(device) => format!("device:{device}"),
        None => format!("{:?}|{:?}", cx.request.ip, cx.request.agent),
    };
    cx.keys.digest("refresh holder", text.as_bytes())
}

/// Opens a session with its first tokens; the oldest ones make room. The only way to get a session. Logins of one person
/// take turns, so that they do not all try to end the same one; the guards hold without that.
pub async fn mint_session(
    commit: &mut Commit,
    cx: &Cx,
    account: &Account,
    device: Option<Device>,
) -> Result<Tokens, Fault> {
    let (now, lifetimes) = (cx.now(), cx.settings.lifetimes);
    cx.take_turn(commit, account.id.0).await;
    let open = cx.sessions.open_of(account.id).await?;
    evict_oldest(commit, cx, account, &open);
    let (device_id, device_token) = if let Some(device) = device {
        commit.write(cx.sessions.use_device(&device, now));
        (device.id, None)
    } else {
        let (id, token) = devices::register(commit, cx, account, &open).await?;
        (id, Some(token))
    };
    let session = Session {
        id: SessionId(cx.ids.next()),
        account: account.id,
        device: Some(device_id),
        created_at: now,
        last_seen_at: now,
        idle_until: now + lifetimes.session_idle,
        expires_at: now + lifetimes.session_absolute,
        ended_at: None,
    };
    commit.write(cx.sessions.insert_session(
        &session,
        cx.request.ip,
        cx.settings.max_sessions(account),
    ));
    commit.fact(&SessionCreated {
        session_id: session.id,
        user_id: account.id,
        session_type: Code::new("password"),
        requires_mfa: false,
        device_id: session.device,
        expires_at: session.expires_at,
    });
    let mut tokens = first_tokens(commit, cx, account, &session).await?;
    tokens.device_token = device_token;
    Ok(tokens)
}

/// A new family within a session, for who has just proved a factor: after a sign-in, a step-up, and a password change that left
/// the older ones behind.
pub async fn first_tokens(
    commit: &mut Commit,
    cx: &Cx,
    account: &Account,
    session: &Session,
) -> Result<Tokens, Fault> {
    let mut secret = [0; 32];
    cx.ids.random(&mut secret);
    let refresh = Presented::new(TokenId(cx.ids.next()), secret);
    let family = FamilyId(cx.ids.next());
    let global = cx.sessions.global_version(cx.now()).await?;
    let leaf = Leaf {
        family,
        generation: 1,
        user_version: account.token_version,
        global_version: global.current,
        proved_at: cx.now(),
    };
    issue(commit, cx, account, session, &refresh, &leaf)
}

/// Where a token stands in its family, the versions it carries, and since when it is known who holds it.
struct Leaf {
    family: FamilyId,
    generation: u32,
    user_version: u32,
    global_version: u32,
    proved_at: Time,
}

fn issue(
    commit: &mut Commit,
    cx: &Cx,
    account: &Account,
    session: &Session,
    refresh: &Presented,
    leaf: &Leaf,
) -> Result<Tokens, Fault> {
    let expires_at = (cx.now() + cx.settings.lifetimes.refresh_token).min(session.expires_at);
    commit.write(cx.sessions.insert_refresh_token(
        &NewRefreshToken {
            id: refresh.id,
            hash: secret_hash(refresh.secret()),
            family: leaf.family,
            session: session.id,
            generation: leaf.generation,
            user_version: leaf.user_version,
            global_version: leaf.global_version,
            proved_at: leaf.proved_at,
            expires_at,
        },
        cx.now(),
    ));
    commit.fact(&TokenIssued {
        token_id: refresh.id,
        user_id: account.id,
        family_id: leaf.family,
        token_type: Code::new("refresh"),
        scopes: Vec::new(),
        client_id: None,
        expires_at,
    });
    answer(cx, account, session, refresh, leaf)
}

/// Signs an access token beside a refresh token; it does not outlive the session. Writes nothing.
fn answer(
    cx: &Cx,
    account: &Account,
    session: &Session,
    refresh: &Presented,
    leaf: &Leaf,
) -> Result<Tokens, Fault> {
    let expires_at = (cx.now() + cx.settings.lifetimes.access_token).min(session.ends_at());
    let (iat, exp) = (cx.now().as_second(), expires_at.as_second());
    let access_token = cx.access_tokens.sign(&AccessClaims {
        iss: cx.settings.issuer.clone(),
        aud: cx.settings.audience.clone(),
        sub: account.id,
        iat,
        exp,
        jti: cx.ids.next(),
        sid: session.id,
        client_id: CLIENT.to_owned(),
        roles: account.roles.clone(),
        gv: leaf.global_version,
        uv: leaf.user_version,
        amr: vec!["pwd".to_owned()],
        auth_time: leaf.proved_at.as_second(),
    })?;
    Ok(Tokens {
        access_token: access_token.into(),
        refresh_token: refresh.text().into(),
        expires_in: u64::try_from(exp - iat).unwrap_or_default(),
        session_id: session.id,
        device_token: None,
    })
}

/// The secret of a token's successor: only who holds the token can be given it, and given it again (decision 5). `None`
/// when we do not have that key any more.
fn successor(cx: &Cx, key: &str, presented: &Presented, id: TokenId) -> Option<Presented> {
    let mut message = [0; 48];
    message[..32].copy_from_slice(presented.secret());
    message[32..].copy_from_slice(id.0.as_bytes());
    let secret = cx.keys.mac(key, "refresh", &message)?;
    Some(Presented::new(id, secret))
}

/// Uses a refresh token up and issues its successor with the current versions. Misses when it was used or its session ended.
pub fn rotate(
    commit: &mut Commit,
    cx: &Cx,
    presented: &Presented,
    token: &RefreshToken,
    holder: [u8; 32],
) -> Result<(TokenId, Tokens), Fault> {
    let id = TokenId(cx.ids.next());
    let session = Session {
        idle_until: cx.now() + cx.settings.lifetimes.session_idle,
        ..token.session.clone()
    };
    commit.write(touch(cx, &session, session.ends_at()));
    let key = cx.keys.current();
    commit.write(
        cx.sessions
            .use_refresh_token(token.id, id, key, holder, cx.now()),
    );
    let leaf = Leaf {
        family: token.family,
        generation: token.generation + 1,
        user_version: token.account.token_version,
        global_version: token.global.current,
        proved_at: token.proved_at,
    };
    let next = successor(cx, key, presented, id)
        .ok_or_else(|| Fault::Internal("the current key is missing".to_owned()))?;
    let tokens = issue(commit, cx, &token.account, &session, &next, &leaf)?;
    Ok((id, tokens))
}

/// The same successor again, for an honest retry. Writes nothing. `None` when the key it was derived under is gone.
pub async fn replay(
    cx: &Cx,
    presented: &Presented,
    token: &RefreshToken,
    used: &Use,
) -> Result<Option<Tokens>, Fault> {
    let Some(next) = successor(cx, &used.successor_key, presented, used.successor) else {
        return Ok(None);
    };
    let Some(row) = cx.sessions.refresh_token(used.successor, cx.now()).await? else {
        return Ok(None);
    };
    if row.hash != secret_hash(next.secret()) {
        return Ok(None);
    }
    let leaf = Leaf {
        family: row.family,
        generation: row.generation,
        user_version: row.user_version,
        global_version: row.global_version,
        proved_at: row.proved_at,
    };
    answer(cx, &token.account, &token.session, &next, &leaf).map(Some)
}

/// Ends what an old password opened: every open session of an account but `except`, with its tokens, and every device but
/// that session's. Misses when a session or a device came or went meanwhile. Says how many sessions.
pub async fn end_everything(
    commit: &mut Commit,
    cx: &Cx,
    account: &Account,
    except: Option<&Session>,
    reason: InvalidatedBy,
) -> Result<u32, Fault> {
    let (kept, device) = (except.map(|s| s.id), except.and_then(|s| s.device));
    let ended = end_all(commit, cx, account, kept, Ending::Invalidated(reason)).await?;
    let reason = Code::new(reason.as_str());
    devices::forget_all(commit, cx, account, device, &ended, &reason).await?;
    Ok(count(&ended))
}

/// Ends every open session of an account but `except`, with its tokens. Misses when one came or went meanwhile. Says which.
pub async fn end_all(
    commit: &mut Commit,
    cx: &Cx,
    account: &Account,
    except: Option<SessionId>,
    how: Ending,
) -> Result<Vec<Session>, Fault> {
    let mut open = cx.sessions.open_of(account.id).await?;
    open.retain(|session| Some(session.id) != except);
    for session in &open {
        end(commit, cx, (session.id, account.id), how);
    }
    commit.write(cx.sessions.no_session_but(account.id, except));
    Ok(open)
}

/// How many, as events say it.
pub fn count(sessions: &[Session]) -> u32 {
    u32::try_from(sessions.len()).unwrap_or(u32::MAX)
}

/// How a session ends before its time.
#[derive(Debug, Clone, Copy)]
pub enum Ending {
    Terminated(TerminatedBy),
    Invalidated(InvalidatedBy),
    /// There were as many as there may be.
    Evicted {
        max_sessions: u32,
    },
}

/// Ends a session with all its tokens, and says how. Misses when it was ended: so each has one ending, and one event of it.
/// What ends by its time is in `expiry`.
pub fn end(commit: &mut Commit, cx: &Cx, (session_id, user_id): (SessionId, UserId), how: Ending) {
    commit.write(cx.sessions.end(session_id, cx.now()));
    match how {
        Ending::Terminated(reason) => commit.fact(&SessionTerminated {
            session_id,
            user_id,
            reason,
        }),
        Ending::Invalidated(reason) => commit.fact(&SessionInvalidated {
            session_id,
            user_id,
            reason,
        }),
        Ending::Evicted { max_sessions } => commit.fact(&SessionEvicted {
            session_id,
            user_id,
            max_sessions,
        }),
    };
}

/// Notes that a session is used, and where from: misses when it was ended.
pub fn touch(cx: &Cx, session: &Session, idle_until: Time) -> Write {
    cx.sessions
        .touch(session.id, cx.request.ip, idle_until, cx.now())
}

fn evict_oldest(commit: &mut Commit, cx: &Cx, account: &Account, open: &[Session]) {
    let max = cx.settings.max_sessions(account);
    let surplus = (open.len() + 1).saturating_sub(max as usize);
    for session in open.iter().take(surplus) {
        let how = Ending::Evicted { max_sessions: max };
        end(commit, cx, (session.id, account.id), how);
    }
}
