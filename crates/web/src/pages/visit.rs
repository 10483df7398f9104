//! One request for a page: the server's parts, and the words in the reader's language.

use std::convert::Infallible;
use std::sync::Arc;

use askama::Template;
use axum::extract::{FromRequestParts, Query};
use axum::http::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_LANGUAGE, CONTENT_TYPE, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use quivive_app::letters::Locale;
use serde::Deserialize;

use super::texts::{self, Texts};
use super::views;
use crate::Web;
use crate::problem::{Code, Problem};

/// What every page works with.
pub(super) struct Visit {
    pub(super) web: Arc<Web>,
    pub(super) t: &'static Texts,
}

impl FromRequestParts<Arc<Web>> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web>) -> Result<Self, Infallible> {
        Ok(Self::of(web, &parts.headers))
    }
}

impl Visit {
    pub(super) fn of(web: &Arc<Web>, headers: &HeaderMap) -> Self {
        let wanted = headers
            .get(ACCEPT_LANGUAGE)
            .and_then(|value| value.to_str().ok());
        Self {
            web: Arc::clone(web),
            t: Texts::of(Locale::best(wanted.unwrap_or_default())),
        }
    }

    /// The configured name of the product.
    pub(super) fn product(&self) -> &str {
        &self.web.settings.product
    }

    /// The shortest new password, for the hint beside its field.
    pub(super) fn password_chars_min(&self) -> usize {
        self.web.settings.passwords.min_chars
    }

    /// The page, or the plain fault when it cannot be written.
    pub(super) fn show(&self, status: StatusCode, view: &impl Template) -> Response {
        match view.render() {
            Ok(html) => (status, self.spoken(), html).into_response(),
            Err(error) => {
                tracing::error!(%error, "a page could not be written");
                Problem::new(Code::Internal).into_response()
            }
        }
    }

    /// A page that says what cannot be done. `back`: a path and what its link says; else the start page.
    pub(super) fn refuse(
        &self,
        status: StatusCode,
        problem: &texts::Problem,
        back: Option<(&str, &str)>,
    ) -> Response {
        let view = views::Problem {
            t: self.t,
            product: self.product(),
            title: problem.title,
            detail: problem.detail,
            back: back.map(|(path, _)| path),
            back_text: back.map(|(_, text)| text),
            request_id: None,
        };
        self.show(status, &view)
    }

    fn spoken(&self) -> [(axum::http::HeaderName, HeaderValue); 3] {
        [
            (
                CONTENT_TYPE,
                HeaderValue::from_static("text/html; charset=utf-8"),
            ),
            (CONTENT_LANGUAGE, HeaderValue::from_static(self.t.lang)),
            (VARY, HeaderValue::from_static("accept-language")),
        ]
    }
}

/// The token in a link. What is missing, given twice or no text is empty: no token.
pub(super) struct LinkToken(pub(super) String);

impl<S: Sync> FromRequestParts<S> for LinkToken {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        #[derive(Deserialize)]
        struct Link {
            token: String,
        }
        let link = Query::<Link>::try_from_uri(&parts.uri);
        Ok(Self(link.map(|Query(link)| link.token).unwrap_or_default()))
    }
}

/// Whether a program asks: programs name JSON, browsers name HTML first.
pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    accepted
        .split(',')
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .find_map(|essence| match essence {
            "application/json" => Some(true),
            "text/html" => Some(false),
            _ => None,
        })
        .unwrap_or(false)
}
