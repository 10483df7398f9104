//! Bodies in, whole and of bounded size, whatever is in them.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use futures_util::StreamExt as _;

use crate::problem::{Code, Problem};

/// Of a body, in bytes. The longest honest form holds a password of 4,096 bytes, each as `%XX`.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of a body that is too large, how much is read and dropped before the answer: a client that is still sending when the
/// connection closes would lose the answer.
const MAX_DRAINED_BYTES: usize = 16 * 1024 * 1024;
const DRAIN_PATIENCE: Duration = Duration::from_millis(500);

/// Whether a body is of that type, and not compressed.
pub(crate) fn is_plain(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(wanted)
        && headers
            .get(CONTENT_ENCODING)
            .is_none_or(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Reads a whole body, or refuses it as soon as it is known to be too large.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
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
