//! What the feed is asked for. Strict: a parameter that is misspelt would otherwise be a filter that is not there.

use axum::http::Uri;
use quivive_delivery::{Catalogue, Head, Stored};
use uuid::Uuid;

use crate::problem::{Code, FieldError, Problem};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 250;

/// A checked query.
#[derive(Debug)]
pub(super) struct Query {
    pub after: u64,
    pub limit: usize,
    pub personal: bool,
    kind: Option<KindFilter>,
    workflow_id: Option<Uuid>,
}

/// Which types.
#[derive(Debug)]
enum KindFilter {
    Is(&'static str),
    Begins(String),
    Ends(String),
}

impl Query {
    pub(super) fn read(uri: &Uri, catalogue: &Catalogue, head: Head) -> Result<Self, Problem> {
        let axum::extract::Query(pairs) =
            axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
                .map_err(|_| Problem::new(Code::InvalidQuery))?;
        let mut query = Self {
            after: 0,
            limit: DEFAULT_LIMIT,
            personal: false,
            kind: None,
            workflow_id: None,
        };
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in &pairs {
            if seen.contains(&name.as_str()) {
                return Err(wrong(name, "duplicate_parameter", "Given more than once."));
            }
            query.set(name, value, catalogue, head)?;
            seen.push(name);
        }
        Ok(query)
    }

    fn set(
        &mut self,
        name: &str,
        value: &str,
        catalogue: &Catalogue,
        head: Head,
    ) -> Result<(), Problem> {
        match name {
            "after" => self.after = cursor(value, head)?,
            "limit" => {
                self.limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                    .ok_or_else(|| wrong(name, "out_of_range", "A number from 1 to 250."))?;
            }
            "type" => self.kind = Some(KindFilter::read(value, catalogue)?),
            "workflow_id" => {
                let id =
                    Uuid::try_parse(value).map_err(|_| wrong(name, "wrong_type", "A UUID."))?;
                self.workflow_id = Some(id);
            }
            "personal" => {
                self.personal = value
                    .parse()
                    .map_err(|_| wrong(name, "wrong_type", "`true` or `false`."))?;
            }
            _ => {
                return Err(wrong(
                    name,
                    "unknown_parameter",
                    "There is no such parameter here.",
                ));
            }
        }
        Ok(())
    }

    /// Whether it asks for some of the events alone.
    pub(super) fn is_filtered(&self) -> bool {
        self.kind.is_some() || self.workflow_id.is_some()
    }

    pub(super) fn matches(&self, event: &Stored) -> bool {
        let kind = event.envelope.kind.as_str();
        let kind_fits = match &self.kind {
            None => true,
            Some(KindFilter::Is(wanted)) => kind == *wanted,
            Some(KindFilter::Begins(head)) => kind.starts_with(head.as_str()),
            Some(KindFilter::Ends(tail)) => kind.ends_with(tail.as_str()),
        };
        kind_fits
            && self
                .workflow_id
                .is_none_or(|id| event.envelope.workflow_id == id)
    }
}

impl KindFilter {
    fn read(value: &str, catalogue: &Catalogue) -> Result<Self, Problem> {
        if let Some(head) = value.strip_suffix('*').filter(|head| head.ends_with('.')) {
            return Ok(Self::Begins(head.to_owned()));
        }
        if let Some(tail) = value.strip_prefix('*').filter(|tail| tail.starts_with('.')) {
            return Ok(Self::Ends(tail.to_owned()));
        }
        match catalogue.find(value) {
            Some(spec) => Ok(Self::Is(spec.kind)),
            None => Err(wrong(
                "type",
                "unknown_type",
                "No type in the catalogue has this name.",
            )),
        }
    }
}

/// One position after the head is let through: a reader may have heard of an event before we have.
fn cursor(value: &str, head: Head) -> Result<u64, Problem> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    value
        .parse()
        .ok()
        .filter(|after| digits && *after <= head.position + 1)
        .ok_or_else(|| Problem::new(Code::InvalidCursor))
}

fn wrong(name: &str, code: &'static str, message: &str) -> Problem {
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
