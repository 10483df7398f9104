//! Forms in: what browsers send of a page, and services as OAuth has it.

use axum::Form;
use axum::body::Body;
use axum::extract::{FromRequest as _, Request};
use serde::de::DeserializeOwned;

use crate::body;
use crate::problem::{Code, Problem};

/// Reads a form whole. Fields it does not know are ignored; those that are missing or come twice are refused, but for those
/// with a default.
pub(crate) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    if !body::is_plain(request.headers(), "application/x-www-form-urlencoded") {
        let detail = "Send `Content-Type: application/x-www-form-urlencoded`, not compressed.";
        return Err(Problem::with_detail(Code::UnsupportedMediaType, detail));
    }
    let (parts, body) = request.into_parts();
    let bytes = body::read(&parts.headers, body).await?;
    let whole = Request::from_parts(parts, Body::from(bytes));
    match Form::<T>::from_request(whole, &()).await {
        Ok(Form(form)) => Ok(form),
        Err(_) => Err(Problem::new(Code::InvalidFields)),
    }
}
