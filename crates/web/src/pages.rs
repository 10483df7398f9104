//! The hosted pages: what people see who have no application in front of them.
//!
//! Pages are written on the server and work without JavaScript. They hold no session and set no cookie: what a page may do
//! comes with the token in a letter's link. A GET changes nothing, whoever opens it; a form does, and only if one of our
//! own pages sent it (`pages/form.rs`). A form that was accepted answers with a redirect, so that a reload sends nothing twice.
//!
//! Not here: any decision about identity. A page parses, calls [`quivive_app::Kernel::execute`], and shows what came of it.

mod assets;
mod dev_mail;
pub(crate) mod email_change;
mod forgot;
mod form;
mod frame;
mod home;
mod reset;
mod setup;
mod texts;
mod verify;
mod views;
mod visit;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;

use crate::Web;

/// The state of every page's route.
type Shared = Arc<Web>;

/// All pages, without a fallback. They expect the edge around them, which knows where a request came from.
pub fn router(web: Arc<Web>) -> Router {
    Router::new()
        .merge(home::routes())
        .merge(assets::routes())
        .merge(verify::routes())
        .merge(email_change::routes())
        .merge(reset::routes())
        .merge(forgot::routes())
        .merge(setup::routes())
        .merge(dev_mail::routes())
        .layer(from_fn_with_state(Arc::clone(&web), frame::around))
        .with_state(web)
}
