//! The command's side: through a server's socket, or alone.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::call::{Call, Line};
use super::socket::Address;
use crate::audit;
use crate::builder::{Builder, Opened};
use crate::config::{Loaded, Location};
use crate::failure::{Class, Failure, chain, class_of};

/// Items between the desk and the terminal.
const ITEMS: usize = 64;

/// How long a command waits for whoever has the data without listening, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

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
        let began = Instant::now();
        loop {
            match Self::try_open(loaded).await {
                // A server that starts or stops, or another command: it is over in a moment.
                Err(failure) if failure.class == Class::Busy && began.elapsed() < PATIENCE => {
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    async fn try_open(loaded: &Loaded) -> Result<Self, Failure> {
        let directories = loaded.directories().map_err(told)?;
        if let Some(stream) = connect(&directories.data).await? {
            return Ok(Self(Side::Beside(stream)));
        }
        let plan = loaded.plan().map_err(told)?;
        crate::serve::check_keys(&plan)?;
        let opened = Builder::of_plan(&plan).open().await?;
        Ok(Self(Side::Alone(Box::new(opened))))
    }

    /// As [`Operator::open`], for commands that only look: what is not there is not made.
    pub async fn open_existing(loaded: &Loaded) -> Result<Self, Failure> {
        let directories = loaded.directories().map_err(told)?;
        // A server may have it elsewhere than this command would look.
        if connect(&directories.data).await?.is_none()
            && let Location::Sqlite(directory) = directories.database
        {
            audit::existing(&directory)?;
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
    pub async fn stream(
        &mut self,
        call: Call,
        take: impl FnMut(Value) -> bool,
    ) -> Result<(), Failure> {
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

/// The server of a data directory; `None` when there is none.
async fn connect(data: &Path) -> Result<Option<UnixStream>, Failure> {
    let connected = match Address::of(data) {
        Ok(address) => UnixStream::connect(&address.path).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(stream) => Ok(Some(stream)),
        // The second: a run without an end left its socket behind.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(error) => {
            let message = format!("cannot reach the server of {}: {error}", data.display());
            Err(Failure::new(
                class_of(&error),
                message,
                "run the command as the server's user",
            ))
        }
    }
}

async fn beside(
    stream: &mut UnixStream,
    call: &Call,
    mut take: impl FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let lost = |error: &dyn std::error::Error| {
        Failure::new(
            Class::Unavailable,
            format!("the server went away: {}", chain(error)),
            "see its output, and ask again",
        )
    };
    let mut line = Zeroizing::new(serde_json::to_string(call).map_err(|error| lost(&error))?);
    line.push('\n');
    stream
        .write_all(line.as_bytes())
        .await
        .map_err(|error| lost(&error))?;
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
    Err(lost(&io::Error::from(ErrorKind::UnexpectedEof)))
}

async fn alone(
    opened: &Opened,
    call: Call,
    mut take: impl FnMut(Value) -> bool,
) -> Result<(), Failure> {
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
pub(crate) fn told(problems: crate::config::Problems) -> Failure {
    let problems = problems.0;
    let remedy = problems
        .first()
        .map(crate::config::Problem::remedy)
        .unwrap_or_default();
    let message = problems
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    Failure::new(Class::Config, message, remedy)
}
