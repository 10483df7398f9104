//! The feed as a batch of CloudEvents, for who asks for that media type.

use axum::http::header::{ACCEPT, CONTENT_TYPE, LINK};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use quivive_delivery::Fault;
use quivive_delivery::cloudevents::{self, BATCH_MEDIA_TYPE, Origin};

use super::feed::Page;
use crate::Web;

/// Whether the answer is to be a batch.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(BATCH_MEDIA_TYPE))
}

/// Where a server's events come from.
fn origin(web: &Web) -> Origin {
    let source = web.options.public_url.clone();
    Origin {
        schemas: format!("{source}/api/v1/events/schemas"),
        source,
    }
}

/// The page, with a link to the next one: relative, so that it holds under any prefix.
pub(super) fn answer(web: &Web, uri: &Uri, page: &Page, epoch: u64) -> Result<Response, Fault> {
    let origin = origin(web);
    let messages = page
        .events
        .iter()
        .map(|event| cloudevents::message(event, web.kernel.catalogue(), &origin));
    let messages: Vec<_> = messages
        .collect::<Result<_, _>>()
        .map_err(Fault::internal)?;
    let mut next = format!("<?after={}&epoch={epoch}", page.next_cursor);
    let asked = uri.query().unwrap_or_default().split('&');
    let stays = |part: &&str| {
        let name = part.split('=').next().unwrap_or_default();
        !matches!(name, "" | "after" | "epoch")
    };
    for part in asked.filter(stays) {
        next.push('&');
        next.push_str(part);
    }
    next.push_str(">; rel=\"next\"");
    let next = HeaderValue::try_from(next).map_err(Fault::internal)?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(BATCH_MEDIA_TYPE)),
        (LINK, next),
    ];
    Ok((headers, axum::Json(messages)).into_response())
}
