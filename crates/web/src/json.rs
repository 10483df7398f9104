//! Bodies in: one extractor, strict. What it lets through has the right fields, each a string of bounded length; anything
//! else never reaches a workflow.

mod fields;
mod given;
mod shaped;

use std::time::Duration;

use axum::body::Body as Stream;
use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use futures_util::StreamExt as _;
use quivive_domain::Rationale;

pub(crate) use fields::{
    Body, DEVICE_TOKEN, EMAIL, Field, Fields, PASSWORD, REFRESH_TOKEN, TOKEN, Text, schema,
};

pub(crate) use shaped::{Shaped, Strict};

use crate::problem::{Code, Problem};

/// Of a body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of a body that is too large, how much is read and dropped before the answer: a client that is still sending when the
/// connection closes would lose the answer.
const MAX_DRAINED_BYTES: usize = 16 * 1024 * 1024;
const DRAIN_PATIENCE: Duration = Duration::from_millis(500);

/// A JSON body of a known shape. As `Option<Json<T>>`: `None` when there is no body at all.
pub(crate) struct Json<T>(pub T);

impl<S: Sync, T: Body> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        is_json(&parts.headers)?;
        let bytes = read(&parts.headers, body).await?;
        Ok(Self(parse(&bytes)?))
    }
}

impl<S: Sync, T: Body> OptionalFromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Option<Self>, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read(&parts.headers, body).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        is_json(&parts.headers)?;
        Ok(Some(Self(parse(&bytes)?)))
    }
}

/// Requires `application/json` by name: a form on another site cannot send that without asking first.
fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    let plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if essence.trim().eq_ignore_ascii_case("application/json") && plain {
        Ok(())
    } else {
        Err(Problem::new(Code::UnsupportedMediaType))
    }
}

/// Reads a whole body, or refuses it as soon as it is known to be too large.
async fn read(headers: &HeaderMap, body: Stream) -> Result<Vec<u8>, Problem> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
        .unwrap_or(0);
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut fits = announced <= MAX_BODY_BYTES as u64;
    let all = async {
        while fits && let Some(chunk) = stream.next().await {
            let chunk =
                chunk.map_err(|_| Problem::with_detail(Code::BadRequest, "The body broke off."))?;
            fits = bytes.len() + chunk.len() <= MAX_BODY_BYTES;
            if fits {
                bytes.extend_from_slice(&chunk);
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .unwrap_or_else(|_| Err(Problem::new(Code::RequestTimeout)))?;
    if fits {
        return Ok(bytes);
    }
    if !headers.contains_key(EXPECT) {
        drain(stream).await;
    }
    Err(Problem::new(Code::PayloadTooLarge))
}

async fn drain(mut stream: axum::body::BodyDataStream) {
    let mut left = MAX_DRAINED_BYTES;
    let rest = async {
        while let Some(Ok(chunk)) = stream.next().await
            && left > chunk.len()
        {
            left -= chunk.len();
        }
    };
    let _ = tokio::time::timeout(DRAIN_PATIENCE, rest).await;
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
