//! `quivive rotate tokens`

use clap::{Args, Subcommand};
use quivive::control::{Call, Operator, RotateTokens};

use super::exit::Exit;
use super::failure::Failure;
use super::prompt::confirm;
use super::{Everywhere, block_on, output};

#[derive(Debug, Subcommand)]
pub(super) enum Rotate {
    /// What was issued before is good for nothing: people sign in again
    Tokens(Tokens),
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

impl Rotate {
    pub(super) fn run(self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let Self::Tokens(tokens) = self;
        let whose = tokens
            .user
            .clone()
            .unwrap_or_else(|| "everybody".to_owned());
        if !tokens.yes {
            let question = format!("The tokens of {whose} are to be good for nothing. Go on?");
            confirm(&question, "add --yes")?;
        }
        let loaded = everywhere.load()?;
        let call = Call::RotateTokens(RotateTokens {
            user: tokens.user,
            reason: tokens.reason,
            grace_seconds: tokens.grace_seconds,
        });
        block_on(async {
            let mut operator = Operator::open_existing(&loaded).await?;
            let answered = operator.call(call).await;
            operator.close().await;
            let answer = answered?;
            output::value(everywhere.output, &answer, || {
                let version = &answer["new_version"];
                match answer["grace_period_seconds"].as_u64() {
                    Some(grace) if grace > 0 => {
                        format!("version {version}: older tokens are good for {grace} seconds more")
                    }
                    _ => format!("version {version}: older tokens of {whose} are good for nothing"),
                }
            })
        })?;
        Ok(Exit::Done)
    }
}
