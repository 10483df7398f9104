//! `/dev/mail`: the letters that development mode keeps instead of sending.
//!
//! They hold links that open accounts, so the mailbox is shown on this machine alone, without a proxy between, and to who
//! has the key from the data directory. To anybody else there is no such page.

use axum::Router;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::visit::{Visit, wants_json};
use super::{Shared, views};
use crate::problem::{Code, Problem};
use crate::request::RequestContext;
use crate::{KeptLetter, Web};

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/dev/mail", get(mailbox))
}

/// Letters newest first: as a page, or as JSON for programs.
async fn mailbox(
    visit: Visit,
    context: RequestContext,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let letters =
        letters(&visit.web, &context, &uri).ok_or_else(|| Problem::new(Code::NotFound))?;
    if wants_json(&headers) {
        return Ok(axum::Json(letters).into_response());
    }
    let view = views::DevMail {
        t: visit.t,
        product: visit.product(),
        letters: &letters,
    };
    Ok(visit.show(StatusCode::OK, &view))
}

/// `None` unless all of it is so: development, a mailbox, no proxy, the right key.
fn letters(web: &Web, context: &RequestContext, uri: &Uri) -> Option<Vec<KeptLetter>> {
    #[derive(Deserialize)]
    struct Given {
        key: String,
    }
    let mailbox = web.mailbox.as_ref().filter(|_| web.options.development)?;
    let key = web.options.mailbox_key.as_ref()?.expose_secret();
    let Query(given) = Query::<Given>::try_from_uri(uri).ok()?;
    let opens = !key.is_empty() && bool::from(key.as_bytes().ct_eq(given.key.as_bytes()));
    (opens && context.is_local()).then(|| mailbox.letters())
}
