//! `quivive rotate tokens | keys`

use clap::{Args, Subcommand};
use quivive::app::ports::OldKeys;
use quivive::control::{Call, Operator, RotateTokens};
use serde_json::Value;

use super::exit::Exit;
use super::failure::Failure;
use super::prompt::confirm;
use super::{Everywhere, block_on, output};

#[derive(Debug, Subcommand)]
pub(super) enum Rotate {
    /// What was issued before is good for nothing: people sign in again
    Tokens(Tokens),
    /// A new key signs access tokens. What the older ones signed is good as long as it would have been
    Keys(Keys),
}

#[derive(Debug, Args)]
pub(super) struct Tokens {
    /// Of this person alone: everybody's unless it is given
    #[arg(long, value_name = "EMAIL", conflicts_with = "grace_seconds")]
    user: Option<String>,
    /// For the trail; with `breach` there is no grace period
    #[arg(long, value_name = "TEXT", default_value = "by command")]
    reason: String,
    /// How long tokens that were issued before are still good; as configured unless it is given
    #[arg(long, value_name = "SECONDS")]
    grace_seconds: Option<u64>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct Keys {
    /// Somebody else may have the older ones: what they signed is good for nothing. Clients refresh, nobody signs in again
    #[arg(long)]
    compromised: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Rotate {
    pub(super) fn run(self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        match self {
            Self::Tokens(tokens) => tokens.run(everywhere),
            Self::Keys(keys) => keys.run(everywhere),
        }
    }
}

impl Keys {
    fn run(self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let old = if self.compromised {
            OldKeys::Revoked
        } else {
            OldKeys::ServeOn
        };
        if self.compromised && !self.yes {
            let question = "All access tokens are to be good for nothing. Go on?";
            confirm(question, "add --yes")?;
        }
        ask(everywhere, Call::RotateKeys { old }, |answer| {
            let (new, retired) = (&answer["new_key_id"], &answer["retired_key_id"]);
            let (new, retired) = (text(new), text(retired));
            match old {
                OldKeys::ServeOn => {
                    format!("key {new} signs; tokens of {retired} are good until they end")
                }
                OldKeys::Revoked => format!(
                    "key {new} signs; tokens of {retired} and of every key before it are good for nothing. Services that \
                     keep the key set learn that when they ask for it again, within five minutes or at the next new key"
                ),
            }
        })
    }
}

/// Asks for one thing, and shows the answer.
fn ask(
    everywhere: &Everywhere,
    call: Call,
    told: impl FnOnce(&Value) -> String,
) -> Result<Exit, Failure> {
    let loaded = everywhere.load()?;
    block_on(async {
        let mut operator = Operator::open_existing(&loaded).await?;
        let answered = operator.call(call).await;
        operator.close().await;
        let answer = answered?;
        output::value(everywhere.output, &answer, || told(&answer))
    })?;
    Ok(Exit::Done)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl Tokens {
    fn run(self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let whose = self.user.clone().unwrap_or_else(|| "everybody".to_owned());
        if !self.yes {
            let question = format!("The tokens of {whose} are to be good for nothing. Go on?");
            confirm(&question, "add --yes")?;
        }
        let call = Call::RotateTokens(RotateTokens {
            user: self.user,
            reason: self.reason,
            grace_seconds: self.grace_seconds,
        });
        ask(everywhere, call, |answer| {
            let version = &answer["new_version"];
            match answer["grace_period_seconds"].as_u64() {
                Some(grace) if grace > 0 => {
                    format!("version {version}: older tokens are good for {grace} seconds more")
                }
                _ => format!("version {version}: older tokens of {whose} are good for nothing"),
            }
        })
    }
}
