//! Webhooks in a [`World`]: their state, and an outside that answers as it is told.

use std::collections::{HashMap, VecDeque};

use quivive_delivery::{BoxFuture, Time, Write};
use quivive_domain::EndpointId;
use quivive_domain::webhook::{SigningKeys, Target};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::World;
use super::commits::any;
use crate::ports::{
    Answer, Attempt, CallError, Endpoint, Outlet, Positions, Post, Read, ReadyKeys, Signer,
    StoredRecovery, StoredSecret, Webhooks,
};

/// What is behind the way out.
#[derive(Default)]
pub(super) struct Outside {
    posted: Vec<Post>,
    /// For the next messages; then all is well.
    answers: VecDeque<Result<Answer, CallError>>,
    refused: HashMap<String, CallError>,
}

impl World {
    /// What was posted so far.
    pub fn posted(&self) -> Vec<Post> {
        self.inside().outlet.posted.clone()
    }

    /// What the next message is answered with; after those that were told before.
    pub fn answers(&self, answer: Result<Answer, CallError>) {
        self.inside().outlet.answers.push_back(answer);
    }

    /// A host may not be called.
    pub fn refuses(&self, host: &str, error: CallError) {
        self.inside().outlet.refused.insert(host.to_owned(), error);
    }
}

impl Outlet for World {
    fn admits<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), CallError>> {
        let refused = self.inside().outlet.refused.get(target.host()).cloned();
        Box::pin(std::future::ready(refused.map_or(Ok(()), Err)))
    }

    fn post(&self, post: Post) -> BoxFuture<'_, Result<Answer, CallError>> {
        let mut inside = self.inside();
        inside.outlet.posted.push(post);
        let well = Ok(Answer {
            status: 204,
            retry_after: None,
        });
        let answer = inside.outlet.answers.pop_front().unwrap_or(well);
        Box::pin(std::future::ready(answer))
    }
}

fn sha(parts: [&[u8]; 3]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

impl Signer for World {
    fn with(&self, keys: &SigningKeys) -> Box<dyn ReadyKeys> {
        Box::new(Stamp {
            key: *keys.hmac_key(),
            seed: *keys.seed(),
        })
    }

    fn ed25519_public_key(&self, seed: &[u8; 32]) -> [u8; 32] {
        sha([b"public", seed, b""])
    }
}

struct Stamp {
    key: [u8; 32],
    seed: [u8; 32],
}

impl ReadyKeys for Stamp {
    fn hmac_sha256(&self, content: &[u8]) -> [u8; 32] {
        sha([b"hmac", &self.key, content])
    }

    fn ed25519(&self, content: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&sha([b"ed25519", &self.seed, content]));
        bytes
    }
}

impl Webhooks for World {
    fn endpoints(&self) -> Read<'_, Vec<Endpoint>> {
        self.read(|s| s.endpoints.values().cloned().collect())
    }

    fn endpoint(&self, id: EndpointId) -> Read<'_, Option<Endpoint>> {
        self.read(|s| s.endpoints.get(&id).cloned())
    }

    fn secrets(&self, id: EndpointId) -> Read<'_, Vec<StoredSecret>> {
        self.read(|s| {
            let of_it = s.secrets.iter().filter(|secret| secret.endpoint == id);
            of_it.rev().cloned().collect()
        })
    }

    fn attempts(&self, id: EndpointId) -> Read<'_, Vec<Attempt>> {
        self.read(|s| {
            let of_it = s.messages.iter().filter(|attempt| attempt.endpoint == id);
            of_it.rev().cloned().collect()
        })
    }

    fn recovery<'a>(
        &'a self,
        id: EndpointId,
        subscription: &str,
    ) -> Read<'a, Option<StoredRecovery>> {
        let subscription = subscription.to_owned();
        self.read(move |s| {
            let known = s.subscriptions.get(&subscription);
            let under_way = known.is_some_and(|known| known.replaying.is_some());
            let found = s.recoveries.get(&id).copied();
            found.map(|found| StoredRecovery { under_way, ..found })
        })
    }

    fn insert_endpoint(&self, endpoint: &Endpoint, max: u32) -> Vec<Write> {
        let new = endpoint.clone();
        let insert = self.write("webhook_endpoint insert", &[new.id.0], move |s| {
            if s.endpoints.len() >= max as usize || s.endpoints.contains_key(&new.id) {
                return 0;
            }
            s.endpoints.insert(new.id, new.clone());
            1
        });
        vec![insert]
    }

    fn update_endpoint(&self, endpoint: &Endpoint) -> Write {
        let new = endpoint.clone();
        self.write("webhook_endpoint update", &[new.id.0], move |s| {
            let Some(known) = s.endpoints.get_mut(&new.id) else {
                return 0;
            };
            if known.revision != new.revision {
                return 0;
            }
            *known = Endpoint {
                revision: new.revision + 1,
                failing_since: known.failing_since,
                ..new.clone()
            };
            1
        })
    }

    fn delete_endpoint(&self, id: EndpointId) -> Vec<Write> {
        vec![self.write("webhook_endpoint delete", &[id.0], move |s| {
            s.secrets.retain(|secret| secret.endpoint != id);
            s.messages.retain(|attempt| attempt.endpoint != id);
            s.recoveries.remove(&id);
            u64::from(s.endpoints.remove(&id).is_some())
        })]
    }

    fn insert_secret(&self, secret: &StoredSecret) -> Write {
        let secret = secret.clone();
        self.write("webhook_secret insert", &[secret.id], move |s| {
            s.secrets.push(secret.clone());
            1
        })
    }

    fn retire_secrets(&self, id: EndpointId, until: Time) -> Vec<Write> {
        vec![self.write("webhook_secret retire", &[id.0], move |s| {
            s.secrets
                .retain(|secret| secret.endpoint != id || secret.expires_at.is_none());
            let of_it = s.secrets.iter_mut().filter(|secret| secret.endpoint == id);
            of_it.map(|secret| secret.expires_at = Some(until)).count() as u64
        })]
    }

    fn note_failing(&self, id: EndpointId, since: Option<Time>) -> Write {
        any(self.write("webhook_endpoint failing", &[id.0], move |s| {
            let known = s.endpoints.get_mut(&id);
            known
                .map(|known| known.failing_since = since)
                .is_some()
                .into()
        }))
    }

    fn insert_attempt(&self, id: Uuid, attempt: &Attempt) -> Write {
        let attempt = attempt.clone();
        any(self.write("webhook_attempt insert", &[id], move |s| {
            s.messages.push(attempt.clone());
            1
        }))
    }

    fn trim_attempts(&self, id: EndpointId, keep: u32) -> Write {
        any(self.write("webhook_attempt trim", &[id.0], move |s| {
            let of_it = s.messages.iter().filter(|attempt| attempt.endpoint == id);
            let mut surplus = of_it.count().saturating_sub(keep as usize);
            s.messages.retain(|attempt| {
                let goes = attempt.endpoint == id && surplus > 0;
                surplus -= usize::from(goes);
                !goes
            });
            1
        }))
    }

    fn begin_recovery(&self, id: EndpointId, subscription: &str) -> Write {
        let subscription = subscription.to_owned();
        self.write("webhook_recovery begin", &[id.0], move |s| {
            let known = s.subscriptions.get(&subscription);
            let Some(Positions {
                from: Some(from),
                to: Some(upto),
            }) = known.and_then(|known| known.replaying)
            else {
                return 0;
            };
            let begun = StoredRecovery {
                generation: 2,
                after: from - 1,
                upto,
                sent: 0,
                under_way: true,
            };
            s.recoveries.insert(id, begun);
            1
        })
    }

    fn count_recovered(&self, id: EndpointId, generation: u32) -> Write {
        any(self.write("webhook_recovery count", &[id.0], move |s| {
            let known = s.recoveries.get_mut(&id);
            let Some(known) = known.filter(|known| known.generation == generation) else {
                return 0;
            };
            known.sent += 1;
            1
        }))
    }
}
