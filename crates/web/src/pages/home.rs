//! `/`: where a person without a link begins.

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;

use super::visit::Visit;
use super::{Shared, views};

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/", get(home))
}

async fn home(visit: Visit) -> Response {
    let view = views::Home {
        t: visit.t,
        product: visit.product(),
    };
    visit.show(StatusCode::OK, &view)
}
