//! Several statements in one round trip: all are sent before the first is answered.
//!
//! tokio-postgres puts a request on its way when its future is polled for the first time. So all are polled once in order,
//! then each is waited for.

use std::pin::Pin;
use std::task::Poll;

use tokio_postgres::Error;

/// One statement on its way.
pub(crate) type Step<'s> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 's>>;

/// Sends all at once, and answers when the last is answered: with the first that failed and its error.
pub(crate) async fn run(steps: Vec<Step<'_>>) -> Result<(), (usize, Error)> {
    let mut steps: Vec<_> = steps.into_iter().map(Sending::New).collect();
    std::future::poll_fn(|cx| {
        for sending in &mut steps {
            if let Sending::New(step) = sending
                && let Poll::Ready(done) = step.as_mut().poll(cx)
            {
                *sending = Sending::Done(done);
            }
        }
        Poll::Ready(())
    })
    .await;
    let mut failed = Ok(());
    for (index, sending) in steps.into_iter().enumerate() {
        let done = match sending {
            Sending::New(step) => step.await,
            Sending::Done(done) => done,
        };
        if let (Err(error), true) = (done, failed.is_ok()) {
            failed = Err((index, error));
        }
    }
    failed
}

enum Sending<'s> {
    New(Step<'s>),
    Done(Result<(), Error>),
}
