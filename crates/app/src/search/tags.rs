//! Keyed digests of addresses and sources, under a key for each month.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::seal::{self, SealKey, Vault};
use quivive_delivery::{Catalogue, Clock, Fault, Log, Stored, Time};
use quivive_domain::Address;

use crate::kernel::{month, months_before};
use crate::ports::Tag;

/// Where a request came from: an IPv4 address in the clothes of an IPv6 one is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source(IpAddr);

impl Source {
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(|ip: IpAddr| Self(ip.to_canonical()))
    }
}

/// `t:2026-11`: the name of the key of a month's tags.
pub fn tag_key(recorded_at: Time) -> String {
    key_of(&month(recorded_at))
}

fn key_of(month: &str) -> String {
    format!("t:{month}")
}

pub(super) fn address(key: &dyn SealKey, address: &Address) -> Tag {
    Tag::of(&key.digest(format!("address {}", address.canonical()).as_bytes()))
}

pub(super) fn source(key: &dyn SealKey, source: Source) -> Tag {
    Tag::of(&key.digest(format!("source {}", source.0).as_bytes()))
}

/// Makes tags. Cloning shares everything.
#[derive(Clone)]
pub struct Tags {
    pub log: Arc<dyn Log>,
    pub vault: Arc<dyn Vault>,
    pub catalogue: Arc<Catalogue>,
    pub clock: Arc<dyn Clock>,
}

impl Tags {
    /// The tags of an event: of the first address among its fields, and of where its request came from. None of what
    /// cannot be opened any more.
    pub(super) async fn of(&self, event: &Stored) -> Result<(Option<Tag>, Option<Tag>), Fault> {
        let address = self.address_in(event).await?;
        let source = seal::context(&*self.vault, event).await?.ip;
        let source = source.as_deref().and_then(Source::parse);
        if address.is_none() && source.is_none() {
            return Ok((None, None));
        }
        let key = self.vault.key(&tag_key(event.recorded_at)).await?;
        Ok((
            address.map(|found| self::address(&*key, &found)),
            source.map(|found| self::source(&*key, found)),
        ))
    }

    async fn address_in(&self, event: &Stored) -> Result<Option<Address>, Fault> {
        let Some(spec) = self.catalogue.spec(&event.envelope.kind) else {
            return Ok(None);
        };
        let mut named = spec.fields.iter().filter(|field| field.kind == "email");
        let Some(name) = named.next().map(|field| field.name) else {
            return Ok(None);
        };
        let Some(opened) = seal::personal(&*self.vault, event).await? else {
            return Ok(None);
        };
        // A body of another version, or none that fits its type, has no address that could be told.
        let body = event.fields(Some(opened));
        let body = spec.rewrite(event.envelope.version, &body).ok();
        let personal = body.and_then(|body| body.personal).unwrap_or_default();
        let fields: serde_json::Value = serde_json::from_slice(&personal).unwrap_or_default();
        Ok(fields[name]
            .as_str()
            .and_then(|typed| Address::parse(typed).ok()))
    }

    /// The tag under the key of every month that the log may hold an event of.
    pub(super) async fn of_every_month(
        &self,
        tag: impl Fn(&dyn SealKey) -> Tag,
    ) -> Result<Vec<Tag>, Fault> {
        let mut tags = Vec::new();
        for name in self.key_names().await? {
            if let Some(key) = self.vault.existing(&name).await? {
                tags.push(tag(&*key));
            }
        }
        Ok(tags)
    }

    /// Destroys the keys of months of which the log holds no event any more. Says how many.
    pub async fn forget(&self) -> Result<u32, Fault> {
        let oldest = self.log.read(0, 1).await?.pop();
        let oldest = oldest.map_or_else(|| self.clock.now(), |event| event.recorded_at);
        let mut destroyed = 0;
        for month in months_before(oldest) {
            destroyed += u32::from(self.vault.destroy(&key_of(&month)).await?);
        }
        Ok(destroyed)
    }

    /// From the month of the oldest event to that of now, or of the newest event where the clock was set back.
    async fn key_names(&self) -> Result<Vec<String>, Fault> {
        let Some(oldest) = self.log.read(0, 1).await?.pop() else {
            return Ok(Vec::new());
        };
        let before_head = self.log.head().borrow().position.saturating_sub(1);
        let newest = self.log.read(before_head, 1).await?.pop();
        let newest = newest.map_or(oldest.recorded_at, |event| event.recorded_at);
        let end = tag_key(newest.max(self.clock.now()));
        let mut names = vec![tag_key(oldest.recorded_at)];
        let mut at = oldest.recorded_at;
        while names.last().is_some_and(|last| *last < end) {
            at += SHORTEST_MONTH;
            let name = tag_key(at).min(end.clone());
            if names.last() != Some(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// A step that meets each month.
const SHORTEST_MONTH: Duration = Duration::from_hours(28 * 24);
