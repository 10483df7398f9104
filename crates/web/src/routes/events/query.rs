//! What the feed is asked for.

use axum::http::Uri;
use quivive_delivery::{Catalogue, Criteria, Head, Unfit};

use super::cursor::Cursor;
use crate::problem::{Code, Problem};
use crate::routes::query::{DEFAULT_LIMIT, limit, number, pairs, unknown, wrong};

/// What was asked for, but for the place, which the head decides on.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub criteria: Criteria,
    limit: Option<u32>,
    /// Personal fields, too.
    pub personal: bool,
    pub(super) after: Option<Cursor>,
    epoch: Option<u64>,
}

impl Query {
    pub(super) fn read(uri: &Uri, catalogue: &Catalogue) -> Result<Self, Problem> {
        let mut query = Self::default();
        for (name, value) in &pairs(uri)? {
            query.set(name, value, catalogue)?;
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str, catalogue: &Catalogue) -> Result<(), Problem> {
        match name {
            "after" => {
                let cursor = Cursor::read(value);
                self.after = Some(cursor.ok_or_else(|| Problem::new(Code::InvalidCursor))?);
            }
            "epoch" => {
                let epoch = number(value).filter(|epoch| i64::try_from(*epoch).is_ok());
                self.epoch = Some(epoch.ok_or_else(|| wrong(name, "wrong_type", "A number."))?);
            }
            "limit" => self.limit = Some(limit(name, value)?),
            "personal" => {
                self.personal = value
                    .parse()
                    .map_err(|_| wrong(name, "wrong_type", "`true` or `false`."))?;
            }
            _ => {
                let set = self.criteria.set(name, value, catalogue);
                set.map_err(|unfit| unusable(name, unfit))?;
            }
        }
        Ok(())
    }

    /// How many events a page has at most.
    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT) as usize
    }

    /// For what has no pages.
    pub(super) fn without_limit(self) -> Result<Self, Problem> {
        match self.limit {
            None => Ok(self),
            Some(_) => Err(unknown("limit")),
        }
    }

    /// Where to begin, if that was said.
    pub(super) fn after(&self, head: Head) -> Result<Option<u64>, Problem> {
        // Of another epoch, though the cursor may not say so.
        for epoch in [self.epoch, self.after.and_then(|cursor| cursor.epoch)] {
            Cursor { epoch, position: 0 }.place(head)?;
        }
        self.after.map(|cursor| cursor.place(head)).transpose()
    }
}

/// Why a criterion is of no use, as a problem.
pub(super) fn unusable(name: &str, unfit: Unfit) -> Problem {
    match unfit {
        Unfit::Unknown => unknown(name),
        Unfit::NoSuchType => wrong(
            name,
            "unknown_type",
            "No type in the catalogue has this name, or is of this family.",
        ),
        Unfit::NoUuid => wrong(name, "wrong_type", "A UUID."),
        Unfit::Length => wrong(name, "out_of_range", "From 1 to 128 bytes."),
    }
}
