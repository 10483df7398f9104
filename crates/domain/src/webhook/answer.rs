//! What an endpoint says of when to come back.

use std::time::Duration;

use super::MAX_RETRY_AFTER;
use crate::Time;

/// How long to wait by a `Retry-After` header: seconds, or a date (RFC 9110, 10.2.3). At most [`MAX_RETRY_AFTER`], so that
/// no endpoint is forgotten; `None` where it says nothing that can be used.
pub fn retry_after(header: &str, now: Time) -> Option<Duration> {
    let wait = if let Ok(seconds) = header.trim().parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let at = jiff::fmt::rfc2822::parse(header.trim()).ok()?.timestamp();
        Duration::try_from(at.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_or_a_date_and_never_for_ever() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        for (header, want) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("99999999", Some(86_400)),
            ("Fri, 02 Jan 2026 03:05:05 GMT", Some(60)),
            ("Fri, 02 Jan 2026 03:00:00 GMT", Some(0)),
            ("Fri, 02 Jan 2099 03:00:00 GMT", Some(86_400)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(
                retry_after(header, now),
                want.map(Duration::from_secs),
                "{header:?}"
            );
        }
    }
}
