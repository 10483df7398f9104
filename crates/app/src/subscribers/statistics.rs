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

pub fn subscription(
    statistics: Arc<dyn SignInStatistics>,
    read_model: Arc<dyn ReadModel>,
) -> Subscription {
    count(statistics).read_model(read_model)
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
