//! How servers on one database tell each other that the head has moved: a notification after the commit, some milliseconds'
//! worth at once. In the commit it would cost most of the throughput, for such commits wait for each other. It may be lost:
//! everybody looks by themselves as well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use tokio_postgres::AsyncMessage;
use uuid::Uuid;

use crate::backlog::Backlog;
use crate::failure;
use crate::server::Server;
use crate::session::Session;

/// At most one notification of a server in so long.
const GATHER: Duration = Duration::from_millis(20);

/// Between two tries to listen.
const PAUSE: Duration = Duration::from_secs(1);

const LISTEN: &str = "LISTEN quivive_head";

const NOTIFY: &str = "SELECT pg_notify('quivive_head', $1)";

/// Whether the others were told.
pub(crate) struct Told {
    /// Who tells.
    by: String,
    at: Option<Instant>,
    owed: bool,
}

impl Told {
    pub(crate) fn nobody(by: Uuid) -> Self {
        Self {
            by: by.to_string(),
            at: None,
            owed: false,
        }
    }

    /// There is something to tell.
    pub(crate) fn owe(&mut self) {
        self.owed = true;
    }

    pub(crate) fn is_due(&self) -> bool {
        self.wait() == Some(Duration::ZERO)
    }

    /// How long it is gathered; `None`: there is nothing to tell.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let since = |at: Instant| GATHER.saturating_sub(at.elapsed());
        self.owed.then(|| self.at.map_or(Duration::ZERO, since))
    }

    pub(crate) async fn tell(&mut self, session: &Session) {
        (self.at, self.owed) = (Some(Instant::now()), false);
        if let Err(error) = session.client.query(NOTIFY, &[&self.by]).await {
            tracing::debug!(
                error = failure::describe(&error),
                "other servers were not told"
            );
        }
    }
}

/// Wakes the sequencer whenever another server tells something. Never ends.
pub(crate) async fn hear(server: Arc<Server>, me: Uuid, backlog: Arc<Backlog>) {
    loop {
        if let Err(error) = listen(&server, &me.to_string(), &backlog).await {
            tracing::debug!(
                error = failure::describe(&error),
                "other servers cannot be heard"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Until the connection ends.
async fn listen(server: &Server, me: &str, backlog: &Backlog) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = server.connect().await?;
    let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
    let mut listening = std::pin::pin!(client.batch_execute(LISTEN));
    let mut asked = false;
    loop {
        let message = tokio::select! {
            begun = &mut listening, if !asked => {
                begun?;
                asked = true;
                continue;
            }
            message = messages.next() => message,
        };
        match message {
            Some(Ok(AsyncMessage::Notification(told))) if told.payload() != me => backlog.heard(),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => return Ok(()),
        }
    }
}
