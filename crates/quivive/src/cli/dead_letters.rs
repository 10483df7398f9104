//! `quivive dead-letters list|show|redrive|discard`

use std::num::NonZeroU32;

use clap::{Args, Subcommand};
use quivive::config::Loaded;
use quivive::control::{Call, Chosen, Decide, Fate, Operator};
use serde_json::Value;
use uuid::Uuid;

use super::exit::Exit;
use super::failure::Failure;
use super::prompt::confirm;
use super::{Everywhere, block_on, output};

#[derive(Debug, Subcommand)]
pub(super) enum DeadLetters {
    /// Print events that could not be delivered; later events with the same key wait behind each
    List(List),
    /// Print one of them: its event, how it failed, and how many events wait behind it
    Show(Show),
    /// Deliver them again, each followed by what waits behind it
    Redrive(Redrive),
    /// Pass over them, for good; what waits behind each is next
    Discard(Discard),
}

/// Which of them: those that fit all that is given.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Only with this ordering key
    #[arg(long)]
    key: Option<String>,
    /// Only this event
    #[arg(long, value_name = "UUID")]
    event_id: Option<Uuid>,
    /// Only events of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only those that failed so: transient, `rate_limited`, permanent or poison
    #[arg(long, value_name = "CLASS")]
    error_class: Option<String>,
    /// Only those parked at this time or later
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those parked before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only of this subscription
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The subscription's name
    subscription: String,
    event_id: Uuid,
}

#[derive(Debug, Args)]
pub(super) struct Redrive {
    /// The subscription's name
    subscription: String,
    #[command(flatten)]
    which: Which,
    /// So many in a second at most
    #[arg(long, value_name = "NUMBER")]
    rate: Option<NonZeroU32>,
    #[command(flatten)]
    sure: Sure,
}

#[derive(Debug, Args)]
pub(super) struct Discard {
    /// The subscription's name
    subscription: String,
    #[command(flatten)]
    which: Which,
    /// Why; told in the event
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    sure: Sure,
}

#[derive(Debug, Args)]
pub(super) struct Sure {
    /// Only count them
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Which {
    fn of(self, subscription: Option<String>) -> Chosen {
        Chosen {
            subscription,
            key: self.key,
            event_id: self.event_id,
            event_type: self.kind,
            error_class: self.error_class,
            since: self.since,
            until: self.until,
        }
    }
}

impl DeadLetters {
    pub(super) fn run(self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let loaded = everywhere.load()?;
        match self {
            Self::List(List {
                subscription,
                which,
            }) => list(everywhere, &loaded, which.of(subscription)),
            Self::Show(Show {
                subscription,
                event_id,
            }) => show(everywhere, &loaded, subscription, event_id),
            Self::Redrive(redrive) => {
                let chosen = redrive.which.of(Some(redrive.subscription));
                let fate = Fate::Redrive { rate: redrive.rate };
                decide(everywhere, &loaded, chosen, fate, &redrive.sure)
            }
            Self::Discard(discard) => {
                let chosen = discard.which.of(Some(discard.subscription));
                let fate = Fate::Discard {
                    reason: discard.reason,
                };
                decide(everywhere, &loaded, chosen, fate, &discard.sure)
            }
        }
    }
}

fn list(everywhere: &Everywhere, loaded: &Loaded, chosen: Chosen) -> Result<Exit, Failure> {
    block_on(async {
        let mut operator = Operator::open_existing(loaded).await?;
        let mut written = Ok(true);
        let print = |letter: Value| {
            written = output::value(everywhere.output, &letter, || line(&letter));
            matches!(written, Ok(true))
        };
        let ended = operator.stream(Call::DeadLetters(chosen), print).await;
        operator.close().await;
        ended?;
        written
    })?;
    Ok(Exit::Done)
}

fn show(
    everywhere: &Everywhere,
    loaded: &Loaded,
    subscription: String,
    event_id: Uuid,
) -> Result<Exit, Failure> {
    block_on(async {
        let mut operator = Operator::open_existing(loaded).await?;
        let call = Call::DeadLetter {
            subscription,
            event_id,
        };
        let answered = operator.call(call).await;
        operator.close().await;
        let answer = answered?;
        output::value(everywhere.output, &answer, || {
            serde_json::to_string_pretty(&answer).unwrap_or_else(|_| answer.to_string())
        })
    })?;
    Ok(Exit::Done)
}

fn decide(
    everywhere: &Everywhere,
    loaded: &Loaded,
    chosen: Chosen,
    fate: Fate,
    sure: &Sure,
) -> Result<Exit, Failure> {
    let verb = match fate {
        Fate::Redrive { .. } => "redriven",
        Fate::Discard { .. } => "discarded",
    };
    let mut decide = Decide {
        chosen,
        fate,
        dry_run: true,
    };
    block_on(async {
        let ask = async |decide: Decide| -> Result<Value, Failure> {
            let mut operator = Operator::open_existing(loaded).await?;
            let answered = operator.call(Call::Decide(decide)).await;
            operator.close().await;
            Ok(answered?)
        };
        // A connection carries one call: what is counted may have changed when it is decided about.
        if !sure.dry_run && !sure.yes {
            let count = count(&ask(decide.clone()).await?);
            let question = format!("{count} dead letters are to be {verb}. Go on?");
            let without = "add --yes, or see with --dry-run how many there are";
            confirm(&question, without)?;
        }
        decide.dry_run = sure.dry_run;
        let answer = ask(decide).await?;
        output::value(everywhere.output, &answer, || {
            let would = if sure.dry_run { "would be" } else { "are" };
            format!("{} dead letters {would} {verb}", count(&answer))
        })
    })?;
    Ok(Exit::Done)
}

fn count(answer: &Value) -> u64 {
    answer["count"].as_u64().unwrap_or_default()
}

/// Subscription, event, type, how it failed and when it was parked.
fn line(letter: &Value) -> String {
    let text = |name: &str| letter[name].as_str().unwrap_or("-").to_owned();
    format!(
        "{:<16}  {}  {:<40}  {:<12}  {}  {}",
        text("subscription"),
        text("event_id"),
        text("event_type"),
        text("error_class"),
        text("parked_at"),
        text("error")
    )
}
