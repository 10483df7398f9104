//! Pages that belong to the API: its documentation, what its codes mean, and problems for those who come with a browser.
//! No script, nothing from elsewhere. The hosted pages have a frame of their own.

use std::fmt::Write as _;

use axum::http::header::{CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use crate::problem::Problem;

const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, HeaderValue); 2] = [
    (
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    ),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
];

/// A page. `title` is text, `main` is HTML.
pub(crate) fn page(title: &str, main: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{0}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"robots\" content=\"noindex\">\n\
         <link rel=\"stylesheet\" href=\"/assets/style.css\">\n</head>\n<body class=\"wide\">\n\
         <a class=\"skip\" href=\"#main\">Skip to content</a>\n<main id=\"main\" tabindex=\"-1\">\n\
         <h1>{0}</h1>\n{main}</main>\n</body>\n</html>\n",
        escape(title)
    )
}

/// A page as an answer.
pub(crate) fn show(html: String) -> Response {
    (HEADERS, html).into_response()
}

/// A problem for a person, keeping the answer's headers.
pub(crate) fn problem(problem: &Problem, answer: Response, request_id: &Uuid) -> Response {
    let mut main = String::new();
    let detail = escape(&problem.detail);
    let _ = writeln!(
        main,
        "<p>{detail}</p>\n<p><a href=\"/\">To the start page</a></p>"
    );
    let _ = writeln!(main, "<p class=\"hint\"><code>{request_id}</code></p>");
    let html = page(problem.code.meaning().title, &main);
    let (mut parts, _) = answer.into_parts();
    parts.status = problem.status;
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.extend(HEADERS);
    Response::from_parts(parts, html.into())
}

/// Text for HTML, between tags and in attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// Text in which `…` marks code, as in the comments that the documentation is made of.
pub(crate) fn marked(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + 32);
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            let _ = write!(html, "<code>{}</code>", escape(part));
        } else {
            html.push_str(&escape(part));
        }
    }
    html
}
