//! What the program says of itself, on stderr: text for people, JSON lines for collectors. Nothing personal, no secret.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::config::{Format, Log, no_color};

/// How the lines look, once it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    Text,
    Json,
}

/// Begins logging as configured. A program that has a subscriber already keeps it.
pub fn init(log: &Log) -> Lines {
    let terminal = std::io::stderr().is_terminal();
    let lines = match log.format {
        Format::Auto if terminal => Lines::Text,
        Format::Text => Lines::Text,
        Format::Auto | Format::Json => Lines::Json,
    };
    let layer = match lines {
        Lines::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .boxed(),
        Lines::Text => fmt::layer()
            .with_ansi(terminal && !no_color())
            .with_writer(std::io::stderr)
            .boxed(),
    };
    // What the library says of a broker that is away, the relay says once, and in our words.
    let level = log.level.clone().with_target("lapin", LevelFilter::OFF);
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(level))
        .try_init();
    lines
}

/// For a command that asks one thing: warnings alone, and no times.
pub fn init_for_command() {
    let ansi = std::io::stderr().is_terminal() && !no_color();
    let layer = fmt::layer()
        .without_time()
        .with_target(false)
        .with_ansi(ansi)
        .with_writer(std::io::stderr);
    let quiet = Targets::new().with_default(LevelFilter::WARN);
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(quiet))
        .try_init();
}
