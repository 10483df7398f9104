//! What the feed is asked for. Strict: a parameter that is misspelt would otherwise be a filter that is not there.

use axum::http::Uri;
use quivive_delivery::{Catalogue, Criteria, Head, Unfit};

use super::cursor::{Cursor, number};
use crate::problem::{Code, FieldError, Problem};

pub(in crate::routes) const DEFAULT_LIMIT: usize = 50;
pub(in crate::routes) const MAX_LIMIT: usize = 250;

/// What was asked for, but for the place, which the head decides on.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub criteria: Criteria,
    limit: Option<usize>,
    personal: bool,
    after: Option<Cursor>,
    epoch: Option<u64>,
}

impl Query {
    pub(super) fn read(uri: &Uri, catalogue: &Catalogue) -> Result<Self, Problem> {
        let mut query = Self::default();
        for (name, value) in &pairs(uri)? {
            query.set(name, value, catalogue)?;
        }
        if query.personal {
            return Err(Problem::with_detail(
                Code::Forbidden,
                "Personal fields need the permission events.read_personal, which nobody has yet. Leave `personal` out.",
            ));
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
                let epoch = number(value);
                self.epoch = Some(epoch.ok_or_else(|| wrong(name, "wrong_type", "A number."))?);
            }
            "limit" => {
                let limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                    .ok_or_else(|| wrong(name, "out_of_range", "A number from 1 to 250."))?;
                self.limit = Some(limit);
            }
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
        self.limit.unwrap_or(DEFAULT_LIMIT)
    }

    /// For what has no pages.
    pub(super) fn without_limit(self) -> Result<Self, Problem> {
        match self.limit {
            None => Ok(self),
            Some(_) => Err(unusable("limit", Unfit::Unknown)),
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

/// Names and values; each name once.
pub(in crate::routes) fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    let axum::extract::Query(pairs) =
        axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::new(Code::InvalidQuery))?;
    for (at, (name, _)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(wrong(name, "duplicate_parameter", "Given more than once."));
        }
    }
    Ok(pairs)
}

fn unusable(name: &str, unfit: Unfit) -> Problem {
    match unfit {
        Unfit::Unknown => wrong(
            name,
            "unknown_parameter",
            "There is no such parameter here.",
        ),
        Unfit::NoSuchType => wrong(
            name,
            "unknown_type",
            "No type in the catalogue has this name, or is of this family.",
        ),
        Unfit::NoUuid => wrong(name, "wrong_type", "A UUID."),
        Unfit::Length => wrong(name, "out_of_range", "From 1 to 128 bytes."),
    }
}

pub(in crate::routes) fn wrong(name: &str, code: &'static str, message: &str) -> Problem {
    let shown: String = name.chars().take(64).collect();
    Problem::of_field(
        Code::InvalidQuery,
        FieldError {
            pointer: format!("?{shown}"),
            code,
            message: message.to_owned(),
        },
    )
}
