//! Forms in: what browsers send of a page, and services as OAuth has it.

use std::time::Duration;

use axum::Form;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest as _, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use crate::problem::{Code, Problem};

/// Of a form, in bytes: as much as the API takes. The longest honest one holds a password of 4,096 bytes, each as `%XX`.
const MAX_FORM_BYTES: usize = 64 * 1024;

/// How long a form may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads a form whole. Fields it does not know are ignored; those that are missing or come twice are refused, but for those
/// with a default.
pub(crate) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    if !is_form(request.headers()) {
        let detail = "Send `Content-Type: application/x-www-form-urlencoded`, not compressed.";
        return Err(Problem::with_detail(Code::UnsupportedMediaType, detail));
    }
    let (parts, body) = request.into_parts();
    let bytes = tokio::time::timeout(PATIENCE, to_bytes(body, MAX_FORM_BYTES))
        .await
        .map_err(|_| Problem::new(Code::RequestTimeout))?
        .map_err(|_| Problem::new(Code::PayloadTooLarge))?;
    let whole = Request::from_parts(parts, Body::from(bytes));
    match Form::<T>::from_request(whole, &()).await {
        Ok(Form(form)) => Ok(form),
        Err(_) => Err(Problem::new(Code::InvalidFields)),
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    essence
        .trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
