//! What a [`World`] has instead of a machine: hashing, keys, mail, a clock, ids.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quivive_delivery::seal::{SealKey, Vault};
use quivive_delivery::{BoxFuture, Clock, Fault, Ids, Time};
use quivive_domain::{Password, PasswordHash};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::World;
use crate::ports::{
    AccessClaims, AccessTokens, Entrance, HashTicket, KeyRing, Letter, MailError, Mailer, OldKeys,
    PasswordHasher, Read, RotatedKeys, UnusableHash, Verdict,
};

fn sha(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// What the hasher makes of a password; `parameters` below 1 are outdated.
pub fn fake_hash(password: &str, parameters: u32) -> PasswordHash {
    let digest = crate::kernel::hex(&sha(&[password.as_bytes()]));
    PasswordHash::new(format!("$fake$v={parameters}${digest}"))
}

/// A place in the hashing queue, free again when it is dropped.
struct Place(World);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.hashing_places.fetch_add(1, Ordering::Relaxed);
    }
}

impl PasswordHasher for World {
    fn read(&self, text: &str) -> Result<PasswordHash, UnusableHash> {
        if text.starts_with("$fake$") {
            return Ok(PasswordHash::new(text.to_owned()));
        }
        Err(UnusableHash::Unknown)
    }

    fn core_time(&self) -> f64 {
        if self.0.hashing_starves.load(Ordering::Relaxed) {
            0.0
        } else {
            1.0
        }
    }

    fn admit(&self, entrance: Entrance) -> Result<HashTicket, Fault> {
        if entrance == Entrance::Again {
            self.0.came_back.fetch_add(1, Ordering::Relaxed);
        }
        let take = |places: u64| places.checked_sub(1);
        match self
            .0
            .hashing_places
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        {
            Ok(_) => Ok(Arc::new(Place(self.clone()))),
            Err(_) => Err(Fault::Busy {
                what: "hashing",
                retry_after: Duration::from_secs(1),
            }),
        }
    }

    fn hash(&self, _: &HashTicket, password: &Password) -> Read<'_, PasswordHash> {
        self.0.hashed.fetch_add(1, Ordering::Relaxed);
        let hash = fake_hash(password.expose(), 1);
        self.read(|_| hash)
    }

    fn verify(
        &self,
        _: &HashTicket,
        password: &Password,
        hash: Option<&PasswordHash>,
    ) -> Read<'_, Verdict> {
        self.0.verified.fetch_add(1, Ordering::Relaxed);
        self.0
            .evaluated
            .fetch_add(u64::from(hash.is_some()), Ordering::Relaxed);
        let fits = |parameters| hash == Some(&fake_hash(password.expose(), parameters));
        let verdict = Verdict {
            matches: fits(0) || fits(1),
            outdated: fits(0),
        };
        self.read(|_| verdict)
    }
}

impl KeyRing for World {
    fn current(&self) -> &str {
        self.inside().key
    }

    fn mac(&self, key: &str, purpose: &'static str, message: &[u8]) -> Option<[u8; 32]> {
        (key != "gone").then(|| sha(&[b"mac", key.as_bytes(), purpose.as_bytes(), message]))
    }

    fn digest(&self, purpose: &'static str, bytes: &[u8]) -> [u8; 32] {
        sha(&[b"digest", purpose.as_bytes(), bytes])
    }
}

impl AccessTokens for World {
    fn sign(&self, claims: &AccessClaims) -> Result<String, Fault> {
        let claims = serde_json::to_string(claims).map_err(Fault::internal)?;
        Ok(format!("key-{} {claims}", self.inside().signing.len()))
    }

    fn verify(&self, token: &str, now: Time) -> Option<AccessClaims> {
        let (kid, claims) = token.split_once(' ')?;
        let number: usize = kid.strip_prefix("key-")?.parse().ok()?;
        let serves = *self.inside().signing.get(number.checked_sub(1)?)?;
        let claims: AccessClaims = serde_json::from_str(claims).ok()?;
        (serves && claims.exp > now.as_second()).then_some(claims)
    }

    fn generation(&self) -> u64 {
        self.inside().signing.len() as u64
    }

    fn jwks(&self, _: Time) -> serde_json::Value {
        serde_json::json!({ "keys": [] })
    }

    fn rotate(&self, old: OldKeys, _: Time) -> Read<'_, RotatedKeys> {
        let failed = self.inside().reads_fail;
        let rotated = || {
            let signing = &mut self.inside().signing;
            if old == OldKeys::Revoked {
                signing.fill(false);
            }
            signing.push(true);
            RotatedKeys {
                new: format!("key-{}", signing.len()),
                retired: format!("key-{}", signing.len() - 1),
            }
        };
        let rotated = (!failed).then(rotated);
        Box::pin(async move { rotated.ok_or_else(|| Fault::Internal("no disk".to_owned())) })
    }
}

impl Mailer for World {
    fn send(
        &self,
        letter: Letter,
        idempotency_key: &str,
    ) -> BoxFuture<'_, Result<String, MailError>> {
        let mut inside = self.inside();
        let answer = if let Some(error) = inside.mail_error.clone() {
            Err(error)
        } else {
            inside.sent.push((letter, idempotency_key.to_owned()));
            Ok(format!("message {}", inside.sent.len()))
        };
        Box::pin(std::future::ready(answer))
    }
}

impl Clock for World {
    fn now(&self) -> Time {
        self.inside().now
    }
}

impl Ids for World {
    fn next(&self) -> Uuid {
        let serial = self.0.serial.fetch_add(1, Ordering::Relaxed);
        Uuid::from_u64_pair(0x019a_0000_0000_7000, 0x8000_0000_0000_0000 | serial)
    }

    fn random(&self, bytes: &mut [u8]) {
        let serial = self.0.serial.fetch_add(1, Ordering::Relaxed);
        let noise = sha(&[b"seed", &serial.to_be_bytes()]);
        for (byte, noise) in bytes.iter_mut().zip(noise.iter().cycle()) {
            *byte = *noise;
        }
    }
}

/// A key that seals by turning bits over.
struct FakeKey(String);

impl SealKey for FakeKey {
    fn name(&self) -> &str {
        &self.0
    }

    fn seal(&self, bound_to: &[u8], plain: &[u8]) -> Vec<u8> {
        bound_to.iter().chain(plain).map(|byte| !byte).collect()
    }

    fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let opened: Vec<u8> = sealed.iter().map(|byte| !byte).collect();
        opened.strip_prefix(bound_to).map(<[u8]>::to_vec)
    }

    fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        sha(&[b"seal", self.0.as_bytes(), bytes])
    }
}

impl Vault for World {
    fn key(&self, name: &str) -> BoxFuture<'_, Result<Arc<dyn SealKey>, Fault>> {
        let mut inside = self.inside();
        let is_limited = inside.vault_places.is_some();
        if let Some(places) = &mut inside.vault_places {
            let Some(left) = places.checked_sub(1) else {
                return Box::pin(std::future::ready(Err(Fault::Busy {
                    what: "the vault",
                    retry_after: Duration::from_secs(1),
                })));
            };
            *places = left;
        }
        // Of what seals under another name, the one of this name opens nothing.
        let kept = if inside.destroyed.contains(name) {
            format!("{name}, lost")
        } else {
            inside.vault.insert(name.to_owned());
            name.to_owned()
        };
        let key: Arc<dyn SealKey> = Arc::new(FakeKey(kept));
        Box::pin(async move {
            if is_limited {
                tokio::task::yield_now().await;
                if let Some(places) = &mut self.inside().vault_places {
                    *places += 1;
                }
            }
            Ok(key)
        })
    }

    fn existing(&self, name: &str) -> BoxFuture<'_, Result<Option<Arc<dyn SealKey>>, Fault>> {
        let there = self.inside().vault.contains(name);
        let key = there.then(|| Arc::new(FakeKey(name.to_owned())) as Arc<dyn SealKey>);
        Box::pin(std::future::ready(Ok(key)))
    }

    fn destroy(&self, name: &str) -> BoxFuture<'_, Result<bool, Fault>> {
        let mut inside = self.inside();
        let there = inside.vault.remove(name);
        if there {
            inside.destroyed.insert(name.to_owned());
        }
        Box::pin(std::future::ready(Ok(there)))
    }

    fn destroyed(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        let names = self.inside().destroyed.iter().cloned().collect();
        Box::pin(std::future::ready(Ok(names)))
    }
}
