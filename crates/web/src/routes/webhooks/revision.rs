//! The entity tag of an endpoint: how often it was changed. What an edit was made of is named by it (RFC 9110, 13.1.1).

use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderName};
use quivive_app::ports::Endpoint;

pub(super) fn tag(endpoint: &Endpoint) -> [(HeaderName, String); 1] {
    [(ETAG, format!("\"{}\"", endpoint.revision))]
}

/// The revisions that `If-Match` names; `None` where any will do. A tag that is none of ours matches nothing.
pub(super) fn wanted(headers: &HeaderMap) -> Option<Vec<u32>> {
    let lines = headers.get_all(IF_MATCH);
    let mut revisions = None;
    for line in lines {
        let tags = line.to_str().unwrap_or_default().split(',').map(str::trim);
        for tag in tags {
            if tag == "*" {
                return None;
            }
            let inside = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            let revision = inside.and_then(|text| text.parse::<u32>().ok());
            revisions.get_or_insert_with(Vec::new).extend(revision);
        }
    }
    revisions
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn what_an_edit_was_made_of() {
        let named = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(IF_MATCH, HeaderValue::from_static(line));
            }
            wanted(&headers)
        };
        assert_eq!(named(&[]), None);
        assert_eq!(named(&["*"]), None);
        assert_eq!(named(&["\"3\""]), Some(vec![3]));
        assert_eq!(named(&["\"3\", \"4\"", "\"5\""]), Some(vec![3, 4, 5]));
        // A weak tag never matches strongly.
        for strange in ["", "3", "W/\"3\"", "\"other\"", "\"-1\""] {
            assert_eq!(named(&[strange]), Some(Vec::new()), "{strange}");
        }
    }
}
