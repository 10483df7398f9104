//! Statistics, for administrators.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use quivive_app::ports::{SignInCount, SignIns};
use quivive_app::subscribers::statistics::{NAME, day};
use quivive_delivery::Time;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Authority, Routes};
use crate::Web;
use crate::auth::SignedIn;
use crate::limits::Family;
use crate::problem::{Code, Problem};

/// Days in one answer: a year and a day.
const MAX_DAYS: i64 = 367;
/// Days in it where nothing else is asked for.
const DAYS: i64 = 30;

const DAY_SECS: i64 = 24 * 60 * 60;

pub(super) fn router() -> Routes {
    Routes::new().counted(Authority::Admin, Family::Read, || routes!(read_sign_ins))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: Option<String>,
    to: Option<String>,
}

/// Sign-ins, by day.
#[derive(Serialize, ToSchema)]
struct SignInDays {
    /// Days with none are left out.
    days: Vec<SignInDay>,
}

/// The sign-ins of a day.
#[derive(Serialize, ToSchema)]
struct SignInDay {
    /// UTC.
    #[schema(format = "date", example = "2026-11-25")]
    day: String,
    attempts: u64,
    successes: u64,
    /// By reason, as the events have it.
    failures: BTreeMap<String, u64>,
}

/// How many sign-ins there were.
///
/// Attempts, successes and failures by reason, by the day (UTC) on which each happened; behind the log by as much as the
/// subscription `statistics` is. An attempt of before midnight may fail after it.
#[utoipa::path(get, path = "/api/v1/admin/statistics/sign-ins", tag = "statistics", params(
    ("from" = Option<String>, Query, description = "The first day, `2026-11-25`; 30 days before the last unless said otherwise."),
    ("to" = Option<String>, Query, description = "The last day; today unless said otherwise. At most 367 days."),
), responses(
    (status = 200, description = "The days, oldest first.", body = SignInDays),
    (status = 400, description = "`invalid_query`"),
))]
async fn read_sign_ins(
    State(web): State<Arc<Web>>,
    _admin: SignedIn,
    uri: Uri,
) -> Result<axum::Json<SignInDays>, Problem> {
    let families = web.kernel.families();
    let wrong = |detail| Problem::with_detail(Code::InvalidQuery, detail);
    let axum::extract::Query(range) = axum::extract::Query::<Range>::try_from_uri(&uri)
        .map_err(|_| wrong("`from` and `to`, each once, are all there is to ask for."))?;
    let read = |date: Option<String>| date.map(|date| day_of(&date)).transpose();
    let date = || wrong("A day is written like 2026-11-25.");
    let to = read(range.to).map_err(|()| date())?;
    let to = to.unwrap_or_else(|| day(families.clock.now()));
    let from = read(range.from).map_err(|()| date())?;
    let from = from.unwrap_or(to - DAYS);
    if !(0..MAX_DAYS).contains(&(to - from)) {
        return Err(wrong(
            "From the first day to the last there are 1 to 367 days.",
        ));
    }
    let counts = families.statistics.sign_ins(NAME, from, to).await?;
    Ok(axum::Json(SignInDays { days: days(counts) }))
}

fn days(counts: Vec<SignInCount>) -> Vec<SignInDay> {
    let mut days: Vec<SignInDay> = Vec::new();
    for SignInCount {
        day,
        what,
        reason,
        count,
    } in counts
    {
        let day = date_of(day);
        if days.last().is_none_or(|last| last.day != day) {
            days.push(SignInDay {
                day,
                attempts: 0,
                successes: 0,
                failures: BTreeMap::new(),
            });
        }
        let Some(last) = days.last_mut() else {
            continue;
        };
        match what {
            SignIns::Attempted => last.attempts = count,
            SignIns::Succeeded => last.successes = count,
            SignIns::Failed => {
                last.failures.insert(reason, count);
            }
        }
    }
    days
}

fn day_of(date: &str) -> Result<i64, ()> {
    let is_date = date.len() == 10;
    let midnight = format!("{date}T00:00:00Z").parse::<Time>();
    midnight.ok().filter(|_| is_date).map(day).ok_or(())
}

fn date_of(day: i64) -> String {
    let midnight = Time::from_second(day * DAY_SECS).unwrap_or_default();
    midnight.to_string().chars().take(10).collect()
}
