//! A connection whose peer takes what is written to it, or loses it: who stops reading in the middle of an answer would
//! otherwise keep the connection for as long as the server runs.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::crowd::Activity;

/// For a peer to take at least something of what waits for it. It has a full buffer of the system's then.
const TAKEN_WITHIN: Duration = Duration::from_mins(2);

pub(super) struct Patient<S> {
    inner: S,
    /// Since when nothing is taken, while something waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Not all was taken when it was last looked at; said to `activity` when that changes.
    leaves_something: bool,
    activity: Arc<Activity>,
}

impl<S> Patient<S> {
    pub(super) fn new(inner: S, activity: Arc<Activity>) -> Self {
        Self {
            inner,
            stalled: None,
            leaves_something: false,
            activity,
        }
    }

    /// What became of a write, or that the peer took nothing for too long.
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        if !self.leaves_something {
            self.leaves_something = true;
            self.activity.leaves_something();
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(TAKEN_WITHIN)));
        stalled
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        // Flushed is what has been written whole, whatever the protocol.
        if flushed.is_ready() && self.leaves_something {
            self.leaves_something = false;
            self.activity.takes_all();
        }
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_loses_the_connection() {
        let (ours, mut theirs) = duplex(16);
        let mut ours = Patient::new(ours, Arc::default());
        ours.write_all(&[1; 16]).await.expect("there is room");
        let began = Instant::now();
        let error = ours.write_all(&[2]).await.expect_err("nobody takes it");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), TAKEN_WITHIN);
        let mut taken = [0; 16];
        theirs.read_exact(&mut taken).await.expect("it was written");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_is_waited_for_and_so_is_who_is_sent_nothing() {
        let (ours, mut theirs) = duplex(1);
        let mut ours = Patient::new(ours, Arc::default());
        let slow = async {
            for _ in 0..9 {
                sleep(TAKEN_WITHIN * 9 / 10).await;
                theirs.read_u8().await.expect("a byte");
            }
        };
        let (written, ()) = tokio::join!(ours.write_all(&[3; 9]), slow);
        written.expect("all of it is taken");
        sleep(TAKEN_WITHIN * 3).await;
        ours.write_all(&[4]).await.expect("it is open");
    }
}
