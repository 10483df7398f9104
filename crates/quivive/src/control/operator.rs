//! The command's side: through a server's socket, or alone.

use std::io;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::call::{Call, Line};
use super::socket::Address;
use crate::audit::DATABASE;
use crate::builder::{Builder, Opened};
use crate::config::Loaded;
use crate::failure::{Class, Failure, chain, class_of};

/// Items between the desk and the terminal.
const ITEMS: usize = 64;

/// Whoever answers a command's calls.
pub struct Operator(Side);

enum Side {
    /// Beside a running server.
    Beside(UnixStream),
    /// No server: the data are open here, under their lock.
    Alone(Box<Opened>),
}

impl Operator {
    /// Finds the server of the configured data directory, or opens the data.
    pub async fn open(loaded: &Loaded) -> Result<Self, Failure> {
        let directories = loaded.directories().map_err(told)?;
        let unreachable = |error: &io::Error| {
            let message = format!("cannot reach the server of {}: {error}", directories.data.display());
            Failure::new(class_of(error), message, "run the command as the server's user")
        };
        let address = Address::of(&directories.data);
        match address {
            Ok(address) => match UnixStream::connect(&address.path).await {
                Ok(stream) => return Ok(Self(Side::Beside(stream))),
                // None, or one that a run without an end left behind.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
                Err(error) => return Err(unreachable(&error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreachable(&error)),
        }
        let plan = loaded.plan().map_err(told)?;
        crate::serve::check_keys(&plan)?;
        let opened = Builder::of_plan(&plan).open().await?;
        Ok(Self(Side::Alone(Box::new(opened))))
    }

    /// Whether there is anything to look at, for commands that only look.
    pub async fn open_existing(loaded: &Loaded) -> Result<Self, Failure> {
        let directories = loaded.directories().map_err(told)?;
        let path = directories.database.join(DATABASE);
        if !path.is_file() {
            let message = format!("there is no database at {}", path.display());
            return Err(Failure::new(Class::Unavailable, message, "name the server's data directory with --data-dir"));
        }
        Self::open(loaded).await
    }

    /// Whether a server answers, so that there is something to come.
    pub fn is_beside_a_server(&self) -> bool {
        matches!(self.0, Side::Beside(_))
    }

    /// Asks for one thing.
    pub async fn call(&mut self, call: Call) -> Result<Value, Failure> {
        let mut answer = Value::Null;
        self.stream(call, |item| {
            answer = item;
            true
        })
        .await?;
        Ok(answer)
    }

    /// Asks for many; ends when `take` says false.
    pub async fn stream(&mut self, call: Call, take: impl FnMut(Value) -> bool) -> Result<(), Failure> {
        match &mut self.0 {
            Side::Beside(stream) => beside(stream, &call, take).await,
            Side::Alone(opened) => alone(opened, call, take).await,
        }
    }

    /// Lets go of the data, if they were open here.
    pub async fn close(self) {
        match self.0 {
            Side::Beside(_) => {}
            Side::Alone(opened) => opened.close().await,
        }
    }
}

async fn beside(stream: &mut UnixStream, call: &Call, mut take: impl FnMut(Value) -> bool) -> Result<(), Failure> {
    let lost = |error: &dyn std::error::Error| {
        Failure::new(Class::Unavailable, format!("the server went away: {}", chain(error)), "see its output, and ask again")
    };
    let mut line = Zeroizing::new(serde_json::to_string(call).map_err(|error| lost(&error))?);
    line.push('\n');
    stream.write_all(line.as_bytes()).await.map_err(|error| lost(&error))?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await.map_err(|error| lost(&error))? {
        match serde_json::from_str(&line).map_err(|error| lost(&error))? {
            Line::Item(item) => {
                if !take(item) {
                    return Ok(());
                }
            }
            Line::Done => return Ok(()),
            Line::Failed(failure) => return Err(failure),
        }
    }
    Err(lost(&io::Error::from(io::ErrorKind::UnexpectedEof)))
}

async fn alone(opened: &Opened, call: Call, mut take: impl FnMut(Value) -> bool) -> Result<(), Failure> {
    let (items, mut taken) = mpsc::channel(ITEMS);
    let desk = opened.desk();
    let mut answering = std::pin::pin!(desk.answer(call, items));
    let answered = loop {
        tokio::select! {
            answered = &mut answering => break answered,
            Some(item) = taken.recv() => if !take(item) {
                return Ok(());
            },
        }
    };
    while let Ok(item) = taken.try_recv() {
        if !take(item) {
            break;
        }
    }
    answered
}

/// The command shows the first problem; `config check` shows them all.
fn told(problems: crate::config::Problems) -> Failure {
    let problems = problems.0;
    let remedy = problems.first().map(crate::config::Problem::remedy).unwrap_or_default();
    let message = problems.first().map(ToString::to_string).unwrap_or_default();
    Failure::new(Class::Config, message, remedy)
}
