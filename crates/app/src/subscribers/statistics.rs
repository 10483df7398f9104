//! Counts sign-ins a day: attempts, successes, and failures by reason. A read model: a replay rebuilds it from the log.

use std::sync::Arc;

use quivive_delivery::subscriber::ReadModel;
use quivive_delivery::{Cx, DecodeError, Event, Outcome, Received, Subscription, Time, subscriber};
use serde::Deserialize;

use crate::ports::{SignInStatistics, SignIns};
use crate::workflows::sessions::log_in;

/// The subscription, whose generation is that of the counts.
pub const NAME: &str = "statistics";

const DAY_SECS: i64 = 24 * 60 * 60;

/// The day that a time is in, since 1970, UTC.
pub fn day(time: Time) -> i64 {
    time.as_second().div_euclid(DAY_SECS)
}

pub fn subscription(statistics: &Arc<dyn SignInStatistics>) -> Subscription {
    let read_model = Arc::clone(statistics) as Arc<dyn ReadModel>;
    count(Arc::clone(statistics)).read_model(read_model)
}

#[subscriber(name = "statistics", on = [log_in::Attempted, log_in::Succeeded, log_in::Failed])]
async fn count(
    statistics: &Arc<dyn SignInStatistics>,
    event: &Received,
    cx: &mut Cx,
) -> Result<Outcome, DecodeError> {
    let (what, reason) = if event.is::<log_in::Attempted>() {
        (SignIns::Attempted, String::new())
    } else if event.is::<log_in::Succeeded>() {
        (SignIns::Succeeded, String::new())
    } else {
        (SignIns::Failed, reason(event)?)
    };
    let day = day(event.envelope().time);
    cx.write(statistics.count_sign_in(cx.generation(), day, what, &reason));
    Ok(Outcome::Done)
}

/// Read from the open fields alone: who it was need not be opened.
fn reason(event: &Received) -> Result<String, DecodeError> {
    #[derive(Deserialize)]
    struct Open {
        reason: String,
    }
    let body = event.stored.fields(None);
    let body = log_in::Failed::upcast(event.envelope().version, &body)?;
    let open: Open = serde_json::from_slice(&body.open)?;
    Ok(open.reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NEW_PASSWORD, PASSWORD, account, given, password};
    use crate::workflows::sessions::log_in::LogIn;

    #[tokio::test]
    async fn attempts_successes_and_failures_by_reason_are_counted_by_the_day() {
        let scene = given(account().verified());
        let log_in = |email: &str, text: &str| LogIn {
            email: email.to_owned(),
            password: password(text),
            device_token: None,
        };
        scene.when(log_in("ada@example.org", PASSWORD)).await;
        scene.when(log_in("ada@example.org", NEW_PASSWORD)).await;
        let today = day(scene.world.now());
        let _ = scene.after(24 * 60 * 60);
        scene.when(log_in("ada@example.org", PASSWORD)).await;
        scene.when(log_in("bob@example.org", PASSWORD)).await;
        let statistics: Arc<dyn SignInStatistics> = Arc::new(scene.world.clone());
        scene.deliver(&subscription(&statistics)).await;
        let counts = statistics.sign_ins(NAME, today, today + 1).await.unwrap();
        let counts: Vec<_> = counts
            .iter()
            .map(|c| (c.day - today, c.what.word(), c.reason.as_str(), c.count))
            .collect();
        let want = [
            (0, "attempted", "", 2),
            (0, "failed", "invalid_credentials", 1),
            (0, "succeeded", "", 1),
            (1, "attempted", "", 2),
            (1, "failed", "user_not_found", 1),
            (1, "succeeded", "", 1),
        ];
        assert_eq!(counts, want);
    }

    #[test]
    fn a_day_begins_at_midnight_utc() {
        let at = |text: &str| day(text.parse().unwrap());
        assert_eq!(at("1970-01-01T23:59:59.999999Z"), 0);
        assert_eq!(at("1970-01-02T00:00:00Z"), 1);
        assert_eq!(at("1969-12-31T23:59:59Z"), -1);
    }
}
