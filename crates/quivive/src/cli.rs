//! The command line, a file a command. Data on stdout, all else on stderr; the exit code says how it went ([`exit::Exit`]).

mod admin;
mod asyncapi;
mod audit;
mod backup;
mod completions;
mod config;
mod dead_letters;
mod events;
mod exit;
mod failure;
mod healthcheck;
mod keys;
mod openapi;
mod output;
mod prompt;
mod rotate;
mod serve;
mod subscriptions;
mod users;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use quivive::config::{Flags, Loaded, Problems, Sources};

use exit::Exit;
use failure::Failure;

/// An identity server whose every step is an event you can rely on.
///
/// Without a command it serves.
#[derive(Debug, Parser)]
#[command(
    name = "quivive",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    everywhere: Everywhere,
}

/// Options of every command.
#[derive(Debug, Args)]
struct Everywhere {
    /// Database, keys and control socket
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How data are printed
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How data are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop
    Serve(serve::Serve),
    /// Create administrators, and let them in again
    #[command(subcommand)]
    Admin(admin::Admin),
    /// Take over accounts from another system
    #[command(subcommand)]
    Users(users::Users),
    /// Look at the log of events
    #[command(subcommand)]
    Events(events::Events),
    /// Events that could not be delivered
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    /// Who reads the log, and how far each has come
    #[command(subcommand)]
    Subscriptions(subscriptions::Subscriptions),
    /// Leave behind what was issued before
    #[command(subcommand)]
    Rotate(rotate::Rotate),
    /// Copy database, archives and keys while the server runs
    Backup(backup::Backup),
    /// Make a server's data from a backup
    ///
    /// Nothing that was given before is good afterwards: sessions, tokens, links in letters, known devices, API keys.
    Restore(backup::Restore),
    /// Prove that the log is whole
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Check, show or generate the configuration
    #[command(subcommand)]
    Config(config::Config),
    /// The server's keys
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Ask a running server whether it is ready
    Healthcheck(healthcheck::Healthcheck),
    /// Print a script that completes commands in a shell
    Completions(completions::Completions),
    /// Print the `OpenAPI` document of the HTTP API
    Openapi,
    /// Print the `AsyncAPI` document of all events
    Asyncapi,
}

/// Runs the command that the process was given.
pub(crate) fn run() -> ExitCode {
    let exit = match Cli::try_parse_from(arguments()) {
        Ok(cli) => cli.run().unwrap_or_else(Failure::report),
        Err(asked) => {
            // Help and version are errors to clap, printed to stdout.
            let exit = if asked.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            let _ = asked.print();
            exit
        }
    };
    exit.into()
}

fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os()
}

impl Cli {
    fn run(self) -> Result<Exit, Failure> {
        let everywhere = &self.everywhere;
        match self.command {
            None => serve::Serve::default().run(everywhere),
            Some(Command::Serve(command)) => command.run(everywhere),
            Some(Command::Admin(command)) => command.run(everywhere),
            Some(Command::Users(command)) => command.run(everywhere),
            Some(Command::Events(command)) => command.run(everywhere),
            Some(Command::DeadLetters(command)) => command.run(everywhere),
            Some(Command::Subscriptions(command)) => command.run(everywhere),
            Some(Command::Rotate(command)) => command.run(everywhere),
            Some(Command::Backup(command)) => command.run(everywhere),
            Some(Command::Restore(command)) => command.run(everywhere),
            Some(Command::Audit(command)) => command.run(everywhere),
            Some(Command::Config(command)) => command.run(everywhere),
            Some(Command::Keys(command)) => command.run(everywhere),
            Some(Command::Healthcheck(command)) => command.run(everywhere),
            Some(Command::Completions(command)) => command.run(),
            Some(Command::Openapi) => openapi::run(),
            Some(Command::Asyncapi) => asyncapi::run(),
        }
    }
}

impl Everywhere {
    /// The configuration for a command that has no flags of its own.
    fn load(&self) -> Result<Loaded, Problems> {
        self.load_with(Flags::default())
    }

    fn load_with(&self, flags: Flags) -> Result<Loaded, Problems> {
        let flags = Flags {
            data_dir: self.data_dir.clone(),
            ..flags
        };
        quivive::config::load(&Sources::of_process(flags, self.config.clone()))
    }
}

/// A path as the server finds it, which has another working directory.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        let message = format!("cannot find {}: {error}", path.display());
        Failure::new(Exit::Unavailable, message, "name it by its whole path")
    })
}

/// A runtime for a command that asks one thing and ends.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    quivive::logging::init_for_command();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        Failure::new(
            Exit::Unavailable,
            format!("cannot start: {error}"),
            "free some memory or raise the limit of open files",
        )
    })?;
    runtime.block_on(future)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_and_after_a_command() {
        for line in [
            "quivive --data-dir /d --output json events catalogue",
            "quivive events catalogue --output json --data-dir /d",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(
                cli.everywhere.data_dir.as_deref(),
                Some(std::path::Path::new("/d"))
            );
            assert_eq!(cli.everywhere.output, Output::Json);
        }
        assert!(Cli::try_parse_from(["quivive"]).unwrap().command.is_none());
    }
}
