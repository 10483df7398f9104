//! Finding events: by what their envelopes say, and by an address or the source of a request, which are sealed.
//!
//! **Cast.** The [`Indexer`] follows the log and fills the index; nothing that commits waits for it. [`Tags`] makes keyed
//! digests of what is personal. [`Search`] asks the index.
//!
//! **Guarantees.** The index is dense up to the position it says, for its rows and that position are one commit. It takes a
//! third of the writer's time at most, so under a load that leaves nothing over it falls behind and catches up later. A
//! server at rest writes nothing.
//!
//! **Tags.** An address or a source is found by equality alone: the index holds a digest under a key of the month in which
//! the event was recorded. Who has the index and not the keys learns nothing from it; when the month's events are gone,
//! its key is destroyed. Until then the tag of an address outlives the key of the person it was of.

mod indexer;
mod tags;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use quivive_delivery::{Catalogue, Fault, Stored, Unfit, criteria};
use quivive_domain::Address;
use uuid::Uuid;

use crate::audit::{self, Look};
use crate::kernel::{Kernel, Request};
use crate::ports::{Criterion, EventIndex};

pub use indexer::Indexer;
pub use tags::{Source, Tags, tag_key};

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// By its dotted name.
    Type(String),
    /// As the envelope has it: a user's id, or a keyed digest.
    Subject(String),
    Workflow(Uuid),
    Correlation(Uuid),
    /// Among the personal fields of the event.
    Address(Address),
    /// Where the request came from.
    Ip(Source),
}

/// Why a question cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("no type in the catalogue has this name; a family is for the feed")]
    NoSuchType,
    #[error("an e-mail address is wanted")]
    NoAddress,
    #[error("an IP address is wanted")]
    NoIp,
}

impl Question {
    /// By the name of its parameter.
    pub fn read(name: &str, value: &str, catalogue: &Catalogue) -> Result<Self, Unanswerable> {
        match name {
            "type" => catalogue
                .find(value)
                .map(|spec| Self::Type(spec.kind.to_owned()))
                .ok_or(Unanswerable::NoSuchType),
            "subject" => Ok(Self::Subject(criteria::subject(value)?)),
            "workflow_id" => Ok(Self::Workflow(criteria::uuid(value)?)),
            "correlation_id" => Ok(Self::Correlation(criteria::uuid(value)?)),
            "address" => Address::parse(value)
                .map(Self::Address)
                .map_err(|_| Unanswerable::NoAddress),
            "ip" => Source::parse(value).map(Self::Ip).ok_or(Unanswerable::NoIp),
            _ => Err(Unfit::Unknown.into()),
        }
    }

    /// Whether it connects events with what is personal: then asking is for the record.
    pub fn is_personal(&self) -> bool {
        matches!(self, Self::Address(_) | Self::Ip(_))
    }
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Newest first.
    pub events: Vec<Stored>,
    /// There are more, below the last of them.
    pub has_more: bool,
    /// Events above this position were not looked at: they are not in the index yet.
    pub indexed_up_to: u64,
}

/// Asks the index, on behalf of somebody.
#[derive(Clone)]
pub struct Search {
    kernel: Arc<Kernel>,
    index: Arc<dyn EventIndex>,
    tags: Tags,
}

impl Search {
    pub fn new(kernel: &Arc<Kernel>, index: Arc<dyn EventIndex>, tags: Tags) -> Self {
        Self {
            kernel: Arc::clone(kernel),
            index,
            tags,
        }
    }

    /// The events below a position that answer the question, at most `limit`. That somebody asked for what is personal is in
    /// the log before it is answered.
    pub async fn find(
        &self,
        question: &Question,
        below: u64,
        limit: u32,
        request: Request,
    ) -> Result<Found, Fault> {
        if question.is_personal() {
            self.record(question, request).await?;
        }
        // Before the search: what it finds beyond was indexed meanwhile, and is no gap.
        let indexed_up_to = self.index.reaches().await?;
        // One more than wanted says whether there are more.
        let enough = limit.saturating_add(1);
        let mut events = Vec::new();
        for criterion in self.criteria(question).await? {
            events.append(&mut self.index.search(&criterion, below, enough).await?);
        }
        events.sort_unstable_by_key(|event| std::cmp::Reverse(event.position));
        let has_more = events.len() > limit as usize;
        events.truncate(limit as usize);
        Ok(Found {
            events,
            has_more,
            indexed_up_to,
        })
    }

    /// As the index has it: for what is personal, a tag of each month.
    async fn criteria(&self, question: &Question) -> Result<Vec<Criterion>, Fault> {
        Ok(match question {
            Question::Type(kind) => vec![Criterion::Type(kind.clone())],
            Question::Subject(subject) => vec![Criterion::Subject(subject.clone())],
            Question::Workflow(id) => vec![Criterion::Workflow(*id)],
            Question::Correlation(id) => vec![Criterion::Correlation(*id)],
            Question::Address(address) => {
                let tags = self.tags.of_every_month(|key| tags::address(key, address));
                tags.await?.into_iter().map(Criterion::Address).collect()
            }
            Question::Ip(source) => {
                let tags = self.tags.of_every_month(|key| tags::source(key, *source));
                tags.await?.into_iter().map(Criterion::Ip).collect()
            }
        })
    }

    /// Says whom it was about where that is an account, and never the address that was asked for.
    async fn record(&self, question: &Question, request: Request) -> Result<(), Fault> {
        let accounts = &self.kernel.families().accounts;
        let account = match question {
            Question::Address(address) => accounts.by_address(address).await?,
            _ => None,
        };
        let look = Look {
            action: "events_searched",
            which: None,
            about: account.map(|account| account.id),
        };
        audit::record(&self.kernel, look, request).await
    }
}
