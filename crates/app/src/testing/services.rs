//! The ports of a [`World`] that are about services: their keys, and the events that they append.

use std::time::Duration;

use quivive_delivery::{Expect, Time, Write};
use quivive_domain::ApiKeyId;
use quivive_domain::api_key::ApiKey;

use super::World;
use crate::ports::{ApiKeyView, ApiKeys, EventSchema, EventSchemas, Read, Receipt, Receipts};

impl ApiKeys for World {
    fn view(&self, id: ApiKeyId) -> Read<'_, Option<ApiKeyView>> {
        self.read(|s| {
            let (key, hash) = s.api_keys.get(&id)?.clone();
            let owner = s.accounts.get(&key.owner)?;
            Some(ApiKeyView {
                key,
                hash,
                owner_state: owner.state,
                owner_roles: owner.roles.clone(),
            })
        })
    }

    fn list(&self, limit: u32) -> Read<'_, Vec<ApiKey>> {
        self.read(|s| {
            let keys = s.api_keys.values().rev().map(|(key, _)| key.clone());
            keys.take(limit as usize).collect()
        })
    }

    fn insert(&self, key: &ApiKey, hash: [u8; 32]) -> Write {
        let key = key.clone();
        self.write("api_key insert", &[key.id.0], move |s| {
            let taken = s.api_keys.contains_key(&key.id);
            if !taken {
                s.api_keys.insert(key.id, (key.clone(), hash));
            }
            u64::from(!taken)
        })
    }

    fn revoke(&self, id: ApiKeyId, now: Time) -> Write {
        self.write("api_key revoke", &[id.0], move |s| {
            match s.api_keys.get_mut(&id) {
                Some((key, _)) if key.revoked_at.is_none() => {
                    key.revoked_at = Some(now);
                    1
                }
                _ => 0,
            }
        })
    }

    fn note_use(&self, id: ApiKeyId, now: Time) -> Write {
        let write = self.write("api_key note_use", &[id.0], move |s| {
            s.api_keys.get_mut(&id).map_or(0, |(key, _)| {
                key.used_at = Some(now);
                1
            })
        });
        Write {
            expect: Expect::Any,
            ..write
        }
    }
}

impl EventSchemas for World {
    fn all(&self) -> Read<'_, Vec<EventSchema>> {
        self.read(|s| s.event_schemas.clone())
    }

    fn of_type(&self, kind: &str) -> Read<'_, Vec<EventSchema>> {
        self.read(|s| {
            let rows = s.event_schemas.iter().filter(|row| row.kind == kind);
            rows.cloned().collect()
        })
    }

    fn insert(&self, schema: &EventSchema) -> Write {
        let schema = schema.clone();
        self.write("event_schema insert", &[], move |s| {
            let same = |row: &EventSchema| (row.kind.clone(), row.version);
            let taken = s.event_schemas.iter().any(|row| same(row) == same(&schema));
            if !taken {
                s.event_schemas.push(schema.clone());
                s.event_schemas.sort_by_key(same);
            }
            u64::from(!taken)
        })
    }
}

/// How long a receipt is kept.
const KEPT: Duration = Duration::from_hours(7 * 24);

impl Receipts for World {
    fn find(&self, token: [u8; 32]) -> Read<'_, Option<Receipt>> {
        self.read(|s| s.receipts.get(&token).map(|(receipt, _)| receipt.clone()))
    }

    fn insert(&self, receipt: &Receipt, now: Time) -> Write {
        let receipt = receipt.clone();
        self.write("receipt insert", &[receipt.event_id], move |s| {
            let taken = s.receipts.contains_key(&receipt.token);
            if !taken {
                s.receipts.insert(receipt.token, (receipt.clone(), now));
            }
            u64::from(!taken)
        })
    }

    fn has_forgettable(&self, now: Time) -> Read<'_, bool> {
        self.read(|s| s.receipts.values().any(|(_, at)| *at + KEPT <= now))
    }

    fn forget(&self, now: Time) -> Write {
        let write = self.write("receipt forget", &[], move |s| {
            let before = s.receipts.len();
            s.receipts.retain(|_, (_, at)| *at + KEPT > now);
            (before - s.receipts.len()) as u64
        });
        Write {
            expect: Expect::Any,
            ..write
        }
    }
}
