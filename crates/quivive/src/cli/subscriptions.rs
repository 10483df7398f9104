//! `quivive subscriptions list|pause|resume`

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
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// As in the list
    name: String,
}

impl Subscriptions {
    pub(super) fn run(self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let (name, paused) = match self {
            Self::List => return list(everywhere),
            Self::Pause(one) => (one.name, true),
            Self::Resume(one) => (one.name, false),
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
            line += &format!("  {word} {}", number(name));
        }
    }
    line
}
