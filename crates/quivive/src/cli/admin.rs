//! `quivive admin create|recover`

use clap::{Args, Subcommand};
use quivive::control::{Call, Operator};

use super::exit::Exit;
use super::failure::Failure;
use super::{Everywhere, block_on, output, prompt};

#[derive(Debug, Subcommand)]
pub(super) enum Admin {
    /// Create an administrator, or make an existing account one
    Create(Create),
    /// Print a one-time link with which an administrator sets a new password; good for 15 minutes
    Recover(Recover),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    email: String,
    /// Take the password from the first line of stdin, without asking
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Debug, Args)]
pub(super) struct Recover {
    email: String,
}

impl Admin {
    pub(super) fn run(self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let loaded = everywhere.load()?;
        let (call, created) = match self {
            Self::Create(create) => {
                let password = prompt::new_password(create.password_stdin)?;
                let call = Call::CreateAdministrator {
                    email: create.email.clone(),
                    password: password.into(),
                };
                (call, Some(create.email))
            }
            Self::Recover(recover) => (
                Call::RecoverAdministrator {
                    email: recover.email,
                },
                None,
            ),
        };
        block_on(async {
            let mut operator = Operator::open(&loaded).await?;
            let answered = operator.call(call).await;
            operator.close().await;
            let answer = answered?;
            output::value(everywhere.output, &answer, || match created {
                Some(email) => format!(
                    "{email} is an administrator now; sign in at {}",
                    text(&answer["sign_in"])
                ),
                None => text(&answer["link"]).to_owned(),
            })
        })?;
        Ok(Exit::Done)
    }
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}
