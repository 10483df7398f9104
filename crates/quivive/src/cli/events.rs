//! `quivive events tail|search|show|catalogue|schema`

mod schema;

use clap::{Args, Subcommand};
use quivive::control::{Call, Operator, Search as SearchCall, Tail as TailCall};
use serde_json::Value;
use uuid::Uuid;

use super::exit::Exit;
use super::failure::Failure;
use super::{Everywhere, Output, block_on, output};

#[derive(Debug, Subcommand)]
pub(super) enum Events {
    /// Print events as they lie in the log, oldest first; without --after the newest 20
    Tail(Tail),
    /// Print the events that have one thing in common, newest first
    Search(Search),
    /// Print one event and what became of it at each subscription
    Show(Show),
    /// Print every event type there is, with its fields
    Catalogue,
    /// The schemas of event types
    #[command(subcommand)]
    Schema(schema::Schema),
}

#[derive(Debug, Args)]
pub(super) struct Tail {
    /// Go on with what is to come
    #[arg(long, short)]
    follow: bool,
    /// Begin after this position; 0 is the start of the log
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    /// Only this type: `user.login.failed`, `UserLoginFailed`, `user.*`, `*.failed`
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only events of this workflow
    #[arg(long, value_name = "UUID")]
    workflow_id: Option<Uuid>,
    /// Only events of this chain of causes
    #[arg(long, value_name = "UUID")]
    correlation_id: Option<Uuid>,
    /// Only events about this user, or this keyed digest
    #[arg(long)]
    subject: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Search {
    #[command(flatten)]
    by: By,
    /// Only events below this position
    #[arg(long, value_name = "POSITION")]
    before: Option<u64>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

/// One of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct By {
    /// About this user, or this keyed digest
    #[arg(long)]
    subject: Option<String>,
    /// Of this workflow
    #[arg(long, value_name = "UUID")]
    workflow_id: Option<Uuid>,
    /// Of this chain of causes
    #[arg(long, value_name = "UUID")]
    correlation_id: Option<Uuid>,
    /// Of this type: `user.login.failed`, `UserLoginFailed`
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// With this e-mail address among their personal fields; that somebody asked is recorded
    #[arg(long)]
    address: Option<String>,
    /// Whose request came from this IP address; that somebody asked is recorded
    #[arg(long)]
    ip: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    id: Uuid,
}

impl Events {
    pub(super) fn run(&self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        match self {
            Self::Tail(tail) => tail.run(everywhere),
            Self::Search(search) => search.run(everywhere),
            Self::Show(show) => show.run(everywhere),
            Self::Catalogue => catalogue(everywhere.output),
            Self::Schema(schema) => schema.run(everywhere.output),
        }
    }
}

impl Tail {
    /// By the names of the feed's parameters.
    fn criteria(&self) -> Vec<(String, String)> {
        [
            ("type", self.kind.clone()),
            ("workflow_id", self.workflow_id.map(|id| id.to_string())),
            (
                "correlation_id",
                self.correlation_id.map(|id| id.to_string()),
            ),
            ("subject", self.subject.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }

    fn run(&self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let loaded = everywhere.load()?;
        let call = Call::Tail(TailCall {
            follow: self.follow,
            after: self.after,
            criteria: self.criteria(),
        });
        block_on(async {
            let mut operator = Operator::open_existing(&loaded).await?;
            if self.follow && !operator.is_beside_a_server() {
                operator.close().await;
                let remedy = "start the server, or leave out --follow";
                return Err(Failure::new(
                    Exit::Unavailable,
                    "no server is running, so nothing is to come",
                    remedy,
                ));
            }
            let mut written = Ok(true);
            let print = |event: Value| {
                written = output::value(everywhere.output, &event, || line(&event));
                matches!(written, Ok(true))
            };
            let ended = tokio::select! {
                ended = operator.stream(call, print) => ended,
                // The usual end of --follow.
                _ = tokio::signal::ctrl_c() => Ok(()),
            };
            operator.close().await;
            ended?;
            written
        })?;
        Ok(Exit::Done)
    }
}

impl By {
    /// By the name of the API's parameter.
    fn named(&self) -> Option<(String, String)> {
        [
            ("subject", self.subject.clone()),
            ("workflow_id", self.workflow_id.map(|id| id.to_string())),
            (
                "correlation_id",
                self.correlation_id.map(|id| id.to_string()),
            ),
            ("type", self.kind.clone()),
            ("address", self.address.clone()),
            ("ip", self.ip.clone()),
        ]
        .into_iter()
        .find_map(|(name, value)| Some((name.to_owned(), value?)))
    }
}

impl Search {
    fn run(&self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let loaded = everywhere.load()?;
        let call = Call::Search(SearchCall {
            by: self.by.named().unwrap_or_default(),
            before: self.before,
            limit: self.limit,
        });
        block_on(async {
            let mut operator = Operator::open_existing(&loaded).await?;
            let mut written = Ok(true);
            let print = |event: Value| {
                written = output::value(everywhere.output, &event, || line(&event));
                matches!(written, Ok(true))
            };
            let ended = operator.stream(call, print).await;
            operator.close().await;
            ended?;
            written
        })?;
        Ok(Exit::Done)
    }
}

impl Show {
    fn run(&self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let loaded = everywhere.load()?;
        block_on(async {
            let mut operator = Operator::open_existing(&loaded).await?;
            let answered = operator.call(Call::Show { id: self.id }).await;
            operator.close().await;
            let answer = answered?;
            output::value(everywhere.output, &answer, || {
                serde_json::to_string_pretty(&answer).unwrap_or_else(|_| answer.to_string())
            })
        })?;
        Ok(Exit::Done)
    }
}

/// Position, time, type, whom it is about, and for a failure its reason.
fn line(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
    let reason = event["data"]["reason"]
        .as_str()
        .map(|reason| format!("  {reason}"))
        .unwrap_or_default();
    let position = event["position"].as_u64().unwrap_or_default();
    format!(
        "{position:>8}  {}  {:<44}  {}{reason}",
        text("time"),
        text("type"),
        text("subject")
    )
}

fn catalogue(output: Output) -> Result<Exit, Failure> {
    let catalogue = quivive::catalogue()?;
    let types = catalogue.all();
    if output == Output::Json {
        output::json(&types)?;
        return Ok(Exit::Done);
    }
    for spec in types {
        let field = |field: &quivive::delivery::catalogue::Field| {
            let optional = if field.optional { "?" } else { "" };
            let personal = if field.personal { " (personal)" } else { "" };
            format!("{}: {}{optional}{personal}", field.name, field.kind)
        };
        let fields: Vec<_> = spec.fields.iter().map(field).collect();
        let more = output::line(&format!(
            "{} v{}  {}\n    {}",
            spec.kind,
            spec.version,
            spec.name,
            fields.join(", ")
        ))?;
        if !more {
            break;
        }
    }
    Ok(Exit::Done)
}
