//! Why a command ended without doing what it was asked, and what to do about it.

use std::io::{IsTerminal as _, Write as _};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use quivive::config::{Problem, Problems};
use quivive::{Class, StartError};

use super::exit::Exit;

/// For people: what is wrong, and the remedy.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
pub(super) struct Failure {
    message: String,
    #[help]
    remedy: Option<String>,
    #[related]
    parts: Vec<Failure>,
    exit: Exit,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            remedy: Some(remedy.into()),
            parts: Vec::new(),
            exit,
        }
    }

    /// Prints it to stderr.
    pub(super) fn report(self) -> Exit {
        let stderr = std::io::stderr();
        let theme = match (stderr.is_terminal(), quivive::config::no_color()) {
            (true, false) => GraphicalTheme::unicode(),
            (true, true) => GraphicalTheme::unicode_nocolor(),
            (false, _) => GraphicalTheme::none(),
        };
        // A path or a command that is broken over two lines can be neither copied nor searched.
        let handler = GraphicalReportHandler::new_themed(theme).with_wrap_lines(false);
        let mut text = String::new();
        if handler.render_report(&mut text, &self).is_err() {
            text = format!("{}\n", self.message);
        }
        // Nobody is left to tell when this fails.
        let _ = stderr.lock().write_all(text.as_bytes());
        self.exit
    }
}

impl From<quivive::Failure> for Failure {
    fn from(failure: quivive::Failure) -> Self {
        let exit = match failure.class {
            Class::Refused => Exit::Refused,
            Class::Unavailable => Exit::Unavailable,
            Class::Io => Exit::Io,
            Class::Busy => Exit::Busy,
            Class::Denied => Exit::Denied,
            Class::Config => Exit::Config,
        };
        Self::new(exit, failure.message, failure.remedy)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        quivive::Failure::from(error).into()
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::new(Exit::Config, problem.to_string(), problem.remedy())
    }
}

impl From<Problems> for Failure {
    fn from(Problems(mut problems): Problems) -> Self {
        if problems.len() == 1 {
            return problems.remove(0).into();
        }
        Self {
            message: format!("the configuration has {} problems", problems.len()),
            remedy: None,
            parts: problems.into_iter().map(Self::from).collect(),
            exit: Exit::Config,
        }
    }
}
