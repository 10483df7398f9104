//! `quivive subscriptions list|pause|resume|replay`

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use quivive::control::{Call, Operator};
use serde_json::Value;

use super::exit::Exit;
use super::failure::Failure;
use super::{Everywhere, block_on, output};

#[derive(Debug, Subcommand)]
pub(super) enum Subscriptions {
    /// Print each subscription: how far it has come, and what is wrong
    List,
    /// Deliver nothing to a subscription until it is resumed
    Pause(One),
    /// Go on with a subscription, whoever paused it
    Resume(One),
    /// Deliver events to a subscription again, beside those that go on
    Replay(Range),
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// As in the list
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct Range {
    /// As in the list
    name: String,
    /// The first position; of a read model all are replayed
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,
    /// The last position
    #[arg(long, value_name = "POSITION")]
    to: Option<u64>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
}

impl Subscriptions {
    pub(super) fn run(self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let (name, paused) = match self {
            Self::List => return list(everywhere),
            Self::Pause(one) => (one.name, true),
            Self::Resume(one) => (one.name, false),
            Self::Replay(range) => return replay(range, everywhere),
        };
        let loaded = everywhere.load()?;
        let call = Call::SetPaused {
            subscription: name.clone(),
            paused,
        };
        block_on(async {
            let mut operator = Operator::open_existing(&loaded).await?;
            let answered = operator.call(call).await;
            operator.close().await;
            output::value(everywhere.output, &answered?, || {
                format!("{name} is {}", if paused { "paused" } else { "resumed" })
            })
        })?;
        Ok(Exit::Done)
    }
}

fn replay(range: Range, everywhere: &Everywhere) -> Result<Exit, Failure> {
    let Range {
        name,
        from,
        to,
        dry_run,
    } = range;
    let loaded = everywhere.load()?;
    let call = Call::Replay {
        subscription: name.clone(),
        from,
        to,
        dry_run,
    };
    block_on(async {
        let mut operator = Operator::open_existing(&loaded).await?;
        let answered = operator.call(call).await;
        operator.close().await;
        let answer = answered?;
        let count = answer["count"].as_u64().unwrap_or_default();
        let verb = if dry_run { "would be" } else { "is being" };
        output::value(everywhere.output, &answer, || {
            format!("{name} {verb} replayed: {count} positions to go through")
        })
    })?;
    Ok(Exit::Done)
}

fn list(everywhere: &Everywhere) -> Result<Exit, Failure> {
    let loaded = everywhere.load()?;
    block_on(async {
        let mut operator = Operator::open_existing(&loaded).await?;
        let mut written = Ok(true);
        let print = |one: Value| {
            written = output::value(everywhere.output, &one, || line(&one));
            matches!(written, Ok(true))
        };
        let ended = operator.stream(Call::Subscriptions, print).await;
        operator.close().await;
        ended?;
        written
    })?;
    Ok(Exit::Done)
}

/// Name, state, position, how far behind, and the keys in trouble where a server tells them.
fn line(one: &Value) -> String {
    let number = |name: &str| one[name].as_u64().unwrap_or_default();
    let text = |name: &str| one[name].as_str().unwrap_or("-").to_owned();
    let mut line = format!(
        "{:<24}  {:<9}  at {:>9}  behind {:>7}",
        text("name"),
        text("state"),
        number("position"),
        number("lag")
    );
    for (name, word) in [("lanes_retrying", "retrying"), ("lanes_parked", "parked")] {
        if number(name) > 0 {
            let _ = write!(line, "  {word} {}", number(name));
        }
    }
    line
}
