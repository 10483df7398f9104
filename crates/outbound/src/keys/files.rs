//! The files of the key ring: read, or made at the first start.
//!
//! `keyring.json` is written last. Until it is there, a start takes up what an earlier one left and makes the rest; once
//! it is there, a key it names must be there too.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::Ed25519KeyPair;
use quivive_app::ports::OldKeys;
use quivive_delivery::{Ids, Time};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{KeyError, KeyState, SigningKey, TokenKey};
use crate::derivation::{Secret, hex};
use crate::private_file;
use crate::vault;

const MASTER: &str = "master.key";
const LIST: &str = "keyring.json";
const LIST_VERSION: u32 = 1;

/// Random bytes in the id of a key: two keys of one server never share it.
const KID_BYTES: usize = 6;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Use {
    Tokens,
    Signing,
    Audit,
}

impl Use {
    const ALL: [Self; 3] = [Self::Tokens, Self::Signing, Self::Audit];

    fn word(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Signing => "signing",
            Self::Audit => "audit",
        }
    }
}

/// The list of keys, as it lies on the disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    version: u32,
    keys: Vec<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kid: String,
    #[serde(rename = "use")]
    usage: Use,
    state: KeyState,
    created_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired_at: Option<Time>,
}

impl Entry {
    fn path(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{}-{}.key", self.usage.word(), self.kid))
    }
}

/// Everything that was read or made.
pub(super) struct Found {
    pub(super) created: bool,
    pub(super) master: Secret,
    /// The current one first, and at least that one; no revoked ones.
    pub(super) tokens: Vec<TokenKey>,
    /// The same.
    pub(super) signing: Vec<SigningKey>,
    /// The same.
    pub(super) audit: Vec<SigningKey>,
}

pub(super) fn open(directory: &Path, ids: &dyn Ids, now: Time) -> Result<Found, KeyError> {
    private_file::directory(directory)?;
    let list_path = directory.join(LIST);
    let (list, created) = match private_file::read(&list_path)? {
        Some(bytes) => (parse(&list_path, &bytes)?, false),
        None => make(directory, ids, now)?,
    };
    let master_path = directory.join(MASTER);
    let master = read_secret(&master_path)?.ok_or(KeyError::Missing { path: master_path })?;
    let mut found = Found {
        created,
        master,
        tokens: Vec::new(),
        signing: Vec::new(),
        audit: Vec::new(),
    };
    for entry in by_service(&list.keys) {
        read_key(directory, entry, &mut found)?;
    }
    let complete = |current: Option<KeyState>| current == Some(KeyState::Current);
    if complete(found.tokens.first().map(|key| key.state))
        && complete(found.signing.first().map(|key| key.state))
        && complete(found.audit.first().map(|key| key.state))
    {
        Ok(found)
    } else {
        Err(KeyError::malformed(
            &list_path,
            "it names no current key for each use",
        ))
    }
}

/// Copies the list and the files of the keys that it names, the list last.
pub(super) fn copy(from: &Path, to: &Path) -> Result<u64, KeyError> {
    private_file::directory(to)?;
    let list_path = from.join(LIST);
    let missing = |path: &Path| KeyError::Missing {
        path: path.to_owned(),
    };
    let bytes = private_file::read(&list_path)?.ok_or_else(|| missing(&list_path))?;
    let list = parse(&list_path, &bytes)?;
    let serving = by_service(&list.keys).into_iter();
    let files = serving.map(|entry| entry.path(from));
    let mut copied = bytes.len() as u64;
    for path in std::iter::once(from.join(MASTER)).chain(files) {
        let name = path.file_name().ok_or_else(|| missing(&path))?;
        let bytes = private_file::read(&path)?.ok_or_else(|| missing(&path))?;
        private_file::write(&to.join(name), &bytes)?;
        copied += bytes.len() as u64;
    }
    private_file::write(&to.join(LIST), &bytes)?;
    Ok(copied)
}

/// Those of the list that is there; nothing is made.
pub(super) fn existing_audit_keys(directory: &Path) -> Result<Vec<SigningKey>, KeyError> {
    let path = directory.join(LIST);
    let Some(bytes) = private_file::read(&path)? else {
        return Ok(Vec::new());
    };
    let list = parse(&path, &bytes)?;
    let audit = by_service(&list.keys).into_iter();
    audit
        .filter(|entry| entry.usage == Use::Audit)
        .map(|entry| read_signing_key(directory, entry))
        .collect()
}

/// Current keys first, then the newest; revoked ones not at all.
fn by_service(keys: &[Entry]) -> Vec<&Entry> {
    let mut serving: Vec<&Entry> = keys
        .iter()
        .filter(|key| key.state != KeyState::Revoked)
        .collect();
    serving.sort_by(|a, b| {
        let rank = |key: &Entry| key.state != KeyState::Current;
        (rank(a), b.created_at).cmp(&(rank(b), a.created_at))
    });
    serving
}

fn read_key(directory: &Path, entry: &Entry, found: &mut Found) -> Result<(), KeyError> {
    let path = entry.path(directory);
    let missing = || KeyError::Missing { path: path.clone() };
    match entry.usage {
        Use::Tokens => found.tokens.push(TokenKey {
            kid: entry.kid.clone(),
            state: entry.state,
            root: read_secret(&path)?.ok_or_else(missing)?,
        }),
        Use::Signing => found.signing.push(read_signing_key(directory, entry)?),
        Use::Audit => found.audit.push(read_signing_key(directory, entry)?),
    }
    Ok(())
}

fn read_signing_key(directory: &Path, entry: &Entry) -> Result<SigningKey, KeyError> {
    let path = entry.path(directory);
    let missing = || KeyError::Missing { path: path.clone() };
    let pkcs8 = private_file::read(&path)?.ok_or_else(missing)?;
    SigningKey::read(&entry.kid, entry.state, entry.retired_at, pkcs8)
        .ok_or_else(|| KeyError::malformed(&path, "it is not an Ed25519 key in PKCS#8"))
}

fn read_secret(path: &Path) -> Result<Option<Secret>, KeyError> {
    let Some(bytes) = private_file::read(path)? else {
        return Ok(None);
    };
    let mut secret = Secret::default();
    if bytes.len() != secret.len() {
        return Err(KeyError::malformed(
            path,
            format!("it has {} bytes, not 32", bytes.len()),
        ));
    }
    secret.copy_from_slice(&bytes);
    Ok(Some(secret))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<List, KeyError> {
    let list: List = serde_json::from_slice(bytes)
        .map_err(|error| KeyError::malformed(path, error.to_string()))?;
    if list.version != LIST_VERSION {
        let what = format!(
            "it is of version {}, and this program knows {LIST_VERSION}",
            list.version
        );
        return Err(KeyError::malformed(path, what));
    }
    // The id becomes part of a path.
    match list.keys.iter().find(|key| !is_kid(&key.kid)) {
        Some(_) => Err(KeyError::malformed(
            path,
            "the id of a key is not in hexadecimal digits",
        )),
        None => Ok(list),
    }
}

fn is_kid(text: &str) -> bool {
    text.len() == 2 * KID_BYTES && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The first start, or one after a first start that did not come to its end. True when it made the master key.
fn make(directory: &Path, ids: &dyn Ids, now: Time) -> Result<(List, bool), KeyError> {
    let left = left_over(directory, now)?;
    let master = directory.join(MASTER);
    let subjects = directory.join(vault::FILE);
    let first = private_file::read(&master)?.is_none();
    if first {
        // The master key is the first to be made. What is there without it belonged to one that is lost.
        if !left.is_empty() || subjects.exists() {
            return Err(KeyError::Missing { path: master });
        }
        private_file::write(&master, random_secret(ids).as_slice())?;
    }
    let mut list = List {
        version: LIST_VERSION,
        keys: left,
    };
    for usage in Use::ALL {
        if !list.keys.iter().any(|key| key.usage == usage) {
            list.keys.push(make_key(directory, usage, ids, now)?);
        }
    }
    if !subjects.exists() {
        let master = read_secret(&master)?.ok_or(KeyError::Missing { path: master })?;
        vault::create(&subjects, &super::wrapping_key(&master))?;
    }
    write_list(directory, &list)?;
    Ok((list, first))
}

/// Those that sign access tokens after a new one was made. Keys that were retired before `gone` are forgotten; the list
/// remembers those that are revoked, and their files go, too.
pub(super) fn rotate_signing(
    directory: &Path,
    old: OldKeys,
    gone: Time,
    ids: &dyn Ids,
    now: Time,
) -> Result<Vec<SigningKey>, KeyError> {
    let path = directory.join(LIST);
    let bytes = private_file::read(&path)?;
    let bytes = bytes.ok_or_else(|| KeyError::Missing { path: path.clone() })?;
    let mut list = parse(&path, &bytes)?;
    let new = make_key(directory, Use::Signing, ids, now)?;
    let mut removed = Vec::new();
    list.keys.retain_mut(|key| {
        if key.usage != Use::Signing || key.state == KeyState::Revoked {
            return true;
        }
        let retired_at = *key.retired_at.get_or_insert(now);
        key.state = match old {
            OldKeys::ServeOn => KeyState::Previous,
            OldKeys::Revoked => KeyState::Revoked,
        };
        let over = retired_at <= gone;
        if over || key.state == KeyState::Revoked {
            removed.push(key.path(directory));
        }
        !over
    });
    list.keys.push(new);
    write_list(directory, &list)?;
    // The list is what counts: a file that it does not name any more opens nothing.
    for path in removed {
        if let Err(error) = private_file::remove(&path) {
            tracing::warn!(%error, "the file of a key that is not used any more could not be removed");
        }
    }
    let serving = by_service(&list.keys).into_iter();
    serving
        .filter(|entry| entry.usage == Use::Signing)
        .map(|entry| read_signing_key(directory, entry))
        .collect()
}

fn write_list(directory: &Path, list: &List) -> Result<(), KeyError> {
    let path = directory.join(LIST);
    let text = serde_json::to_vec_pretty(list)
        .map_err(|error| KeyError::malformed(&path, error.to_string()))?;
    private_file::write(&path, &text)
}

/// Keys that lie there without a list, for each use the newest as current.
fn left_over(directory: &Path, now: Time) -> Result<Vec<Entry>, KeyError> {
    let mut keys = Vec::new();
    for file in fs::read_dir(directory).map_err(private_file::at(directory))? {
        let file = file.map_err(private_file::at(directory))?;
        let Some((usage, kid)) = key_name(&file.file_name()) else {
            continue;
        };
        let changed = file.metadata().and_then(|metadata| metadata.modified());
        keys.push(Entry {
            kid,
            usage,
            state: KeyState::Previous,
            created_at: changed
                .ok()
                .and_then(|time| Time::try_from(time).ok())
                .unwrap_or(now),
            retired_at: None,
        });
    }
    keys.sort_by_key(|key| std::cmp::Reverse(key.created_at));
    for usage in Use::ALL {
        if let Some(newest) = keys.iter_mut().find(|key| key.usage == usage) {
            newest.state = KeyState::Current;
        }
    }
    if !keys.is_empty() {
        tracing::warn!(
            keys = keys.len(),
            "keyring.json was missing: the keys that are there are used again"
        );
    }
    Ok(keys)
}

/// From `tokens-0123456789ab.key`.
fn key_name(file: &OsStr) -> Option<(Use, String)> {
    let stem = file.to_str()?.strip_suffix(".key")?;
    let (word, kid) = stem.split_once('-')?;
    let usage = Use::ALL.into_iter().find(|usage| usage.word() == word)?;
    is_kid(kid).then(|| (usage, kid.to_owned()))
}

fn make_key(directory: &Path, usage: Use, ids: &dyn Ids, now: Time) -> Result<Entry, KeyError> {
    let mut kid = [0; KID_BYTES];
    ids.random(&mut kid);
    let entry = Entry {
        kid: hex(&kid),
        usage,
        state: KeyState::Current,
        created_at: now,
        retired_at: None,
    };
    let path = entry.path(directory);
    let secret = random_secret(ids);
    match usage {
        Use::Tokens => private_file::write(&path, secret.as_slice())?,
        Use::Signing | Use::Audit => {
            let pkcs8 = Ed25519KeyPair::from_seed_unchecked(secret.as_slice())
                .map_err(|error| KeyError::malformed(&path, error.to_string()))?
                .to_pkcs8v1()
                .map_err(|_| KeyError::malformed(&path, "no PKCS#8 could be written"))?;
            private_file::write(&path, &Zeroizing::new(pkcs8.as_ref().to_vec()))?;
        }
    }
    Ok(entry)
}

fn random_secret(ids: &dyn Ids) -> Secret {
    let mut secret = Secret::default();
    ids.random(secret.as_mut_slice());
    secret
}
