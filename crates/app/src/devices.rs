//! Devices that signed in before. Each has guesses counted on a path of its own, so its token is a way to try passwords for
//! whoever has it: a new password takes it away, and an account has few.

use quivive_delivery::{Code, Fault};
use quivive_domain::refresh::Presented;
use quivive_domain::session::Session;
use quivive_domain::{Account, DeviceId, TokenId};
use secrecy::SecretString;

use crate::facts::{DeviceRegistered, Fingerprint};
use crate::kernel::{Commit, Cx};
use crate::ports::{Device, NewDevice, Path};
use crate::sessions::secret_hash;
use crate::workflows::sessions::revoke_device;

/// Finds the account's device by the token a client sent, if it sent one of its own.
pub async fn known(
    cx: &Cx,
    account: &Account,
    token: Option<&str>,
) -> Result<Option<Device>, Fault> {
    match token.filter(|t| t.len() <= 100) {
        Some(token) => {
            cx.sessions
                .device(account.id, secret_hash(token.as_bytes()))
                .await
        }
        None => Ok(None),
    }
}

/// The device that a session was opened on, unless it was forgotten.
pub async fn of_session(cx: &Cx, session: Option<&Session>) -> Result<Option<Device>, Fault> {
    let Some(session) = session else {
        return Ok(None);
    };
    let devices = cx.sessions.devices(session.account).await?;
    Ok(devices
        .into_iter()
        .find(|device| Some(device.id) == session.device))
}

/// Remembers a new device, with a path of its own; those longest unused make room. `open` are the account's sessions: a
/// device is used as long as one on it is.
pub async fn register(
    commit: &mut Commit,
    cx: &Cx,
    account: &Account,
    open: &[Session],
) -> Result<(DeviceId, SecretString), Fault> {
    let max = cx.settings.lifetimes.max_devices;
    let mut known = cx.sessions.devices(account.id).await?;
    known.sort_by_key(|device| {
        let on_it = open.iter().filter(|s| s.device == Some(device.id));
        let used_at = on_it.map(|s| s.last_seen_at).fold(device.used_at, Ord::max);
        (used_at, device.id)
    });
    let surplus = (known.len() + 1).saturating_sub(max as usize);
    for device in known.iter().take(surplus) {
        forget(commit, cx, device, 0, Code::new("too_many_devices"));
    }

    let mut secret = [0; 32];
    cx.ids.random(&mut secret);
    let token = Presented::new(TokenId(cx.ids.next()), secret).text();
    let agent = cx.request.agent.as_deref().unwrap_or("unknown");
    let device = NewDevice {
        id: DeviceId(cx.ids.next()),
        account: account.id,
        token_hash: secret_hash(token.as_bytes()),
        name: name(agent),
        kind: kind(agent),
    };
    commit.write(cx.sessions.insert_device(&device, max, cx.now()));
    commit.write(cx.guesses.open(Path::Device(device.id), cx.now()));
    let digest = cx.keys.digest("device fingerprint", agent.as_bytes());
    commit.fact(&DeviceRegistered {
        device_id: device.id,
        user_id: account.id,
        device_name: device.name,
        device_type: Code::new(device.kind),
        device_fingerprint: Fingerprint(crate::kernel::hex(&digest)),
        trusted: false,
    });
    Ok((device.id, token.into()))
}

/// Forgets every device of an account but `except`: misses when one was registered or forgotten meanwhile. `ended` are the
/// sessions that the commit ends.
pub async fn forget_all(
    commit: &mut Commit,
    cx: &Cx,
    account: &Account,
    except: Option<DeviceId>,
    ended: &[Session],
    reason: &Code,
) -> Result<(), Fault> {
    let mut known = cx.sessions.devices(account.id).await?;
    known.retain(|device| Some(device.id) != except);
    for device in &known {
        let on_it = ended.iter().filter(|s| s.device == Some(device.id));
        forget(commit, cx, device, on_it.count(), reason.clone());
    }
    commit.write(cx.sessions.no_device_but(account.id, except));
    Ok(())
}

/// Ends a device with its path: misses when another did.
fn forget(commit: &mut Commit, cx: &Cx, device: &Device, sessions_ended: usize, reason: Code) {
    commit.write(cx.guesses.close(Path::Device(device.id)));
    commit.write(cx.sessions.remove_device(device));
    revoke_device::automatically(commit, device, sessions_ended, reason);
}

/// A person's word for a user agent: one that we know, so that nothing a caller wrote stands in the log in clear.
fn name(agent: &str) -> String {
    let known = ["Firefox", "Edg", "Chrome", "Safari", "curl", "okhttp"];
    let found = known.iter().find(|name| agent.contains(**name));
    (*found.unwrap_or(&"other")).to_owned()
}

fn kind(agent: &str) -> &'static str {
    if agent.contains("Mobile") || agent.contains("Android") || agent.contains("iPhone") {
        "mobile"
    } else if agent.starts_with("Mozilla/") {
        "browser"
    } else {
        "api"
    }
}
