//! Bodies in: one extractor, strict. What it lets through has the right fields, each a string of bounded length; anything
//! else never reaches a workflow.

mod fields;
mod given;
mod shaped;

use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::http::HeaderMap;
use quivive_domain::Rationale;

pub(crate) use fields::{
    Body, DEVICE_TOKEN, EMAIL, Field, Fields, PASSWORD, REFRESH_TOKEN, TOKEN, Text, schema,
};

pub(crate) use shaped::{Shaped, Strict};

use crate::body;
use crate::problem::{Code, Problem};

/// A JSON body of a known shape. As `Option<Json<T>>`: `None` when there is no body at all.
pub(crate) struct Json<T>(pub T);

impl<S: Sync, T: Body> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        is_json(&parts.headers)?;
        let bytes = body::read(&parts.headers, body).await?;
        Ok(Self(parse(&bytes)?))
    }
}

impl<S: Sync, T: Body> OptionalFromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Option<Self>, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = body::read(&parts.headers, body).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        is_json(&parts.headers)?;
        Ok(Some(Self(parse(&bytes)?)))
    }
}

/// Requires `application/json` by name: a form on another site cannot send that without asking first.
fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    if body::is_plain(headers, "application/json") {
        Ok(())
    } else {
        Err(Problem::new(Code::UnsupportedMediaType))
    }
}

/// From bytes to a shape: 400 when it is not JSON, 422 when it is not the shape.
fn parse<T: Body>(bytes: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Problem::with_detail(Code::MalformedJson, "The body is not UTF-8."))?;
    let given = serde_json::from_str(text).map_err(|error| {
        Problem::with_detail(
            Code::MalformedJson,
            format!("The body is not JSON: {error}."),
        )
    })?;
    fields::fit::<T>(given).map_err(Problem::of_invalid_fields)
}

/// The field `reason` of a body, where it is for the trail.
pub(crate) fn rationale(given: &str) -> Result<Rationale, Problem> {
    Rationale::parse(given)
        .map_err(|error| Problem::of_invalid("/reason", "out_of_range", error.to_string()))
}

#[cfg(test)]
mod tests;
