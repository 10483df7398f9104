//! The index of a [`World`]'s log. It is filled by whoever tests the filling, and reaches no further than that.

use quivive_delivery::{Stored, Write};
use uuid::Uuid;

use super::World;
use crate::ports::{Criterion, EventIndex, IndexEntry, Read, Related, Tag};

/// The tags of one event: of an address, and of where the request came from.
pub type Tags = (Option<Tag>, Option<Tag>);

impl World {
    /// The tags of each event that is in the index.
    pub fn tags(&self) -> Vec<Tags> {
        self.see(|state| state.index.clone())
    }
}

impl EventIndex for World {
    fn reaches(&self) -> Read<'_, u64> {
        self.read(|s| s.index.len() as u64)
    }

    fn position_of(&self, id: Uuid) -> Read<'_, Option<u64>> {
        let log = self.log();
        let found = log.iter().find(|event| event.envelope.id == id);
        let found = found.map(|event| event.position);
        Box::pin(std::future::ready(Ok(found)))
    }

    fn related(&self, id: Related, limit: u32) -> Read<'_, Vec<Stored>> {
        let mut events = self.log();
        events.retain(|event| match id {
            Related::Workflow(id) => event.envelope.workflow_id == id,
            Related::Correlation(id) => event.envelope.correlation_id == id,
        });
        events.truncate(limit as usize);
        Box::pin(std::future::ready(Ok(events)))
    }

    fn search(&self, criterion: &Criterion, below: u64, limit: u32) -> Read<'_, Vec<Stored>> {
        let tags = self.tags();
        let indexed = self.log().into_iter().zip(tags);
        let mut found: Vec<_> = indexed
            .filter(|(event, tags)| event.position < below && fits(criterion, event, *tags))
            .map(|(event, _)| event)
            .collect();
        found.reverse();
        found.truncate(limit as usize);
        Box::pin(std::future::ready(Ok(found)))
    }

    fn fill(&self, after: u64, entries: &[IndexEntry<'_>]) -> Vec<Write> {
        let tags: Vec<Tags> = entries.iter().map(|e| (e.address, e.ip)).collect();
        let fill = self.write("search fill", &[], move |s| {
            let ends_there = s.index.len() as u64 == after;
            if ends_there {
                s.index.extend(&tags);
            }
            u64::from(ends_there)
        });
        vec![fill]
    }

    fn forget(&self, subject: &str) -> Write {
        let about = |event: &Stored| event.envelope.subject.as_deref() == Some(subject);
        let log = self.log();
        let theirs: Vec<_> = log.iter().map(about).collect();
        self.write("search forget", &[], move |s| {
            for (tags, theirs) in s.index.iter_mut().zip(&theirs) {
                if *theirs {
                    *tags = (None, None);
                }
            }
            1
        })
    }
}

fn fits(criterion: &Criterion, event: &Stored, (address, ip): Tags) -> bool {
    let envelope = &event.envelope;
    match criterion {
        Criterion::Type(kind) => envelope.kind == *kind,
        Criterion::Subject(subject) => envelope.subject.as_ref() == Some(subject),
        Criterion::Workflow(id) => envelope.workflow_id == *id,
        Criterion::Correlation(id) => envelope.correlation_id == *id,
        Criterion::Address(tag) => address == Some(*tag),
        Criterion::Ip(tag) => ip == Some(*tag),
    }
}
