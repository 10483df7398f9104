//! One connection, driven by whoever waits for its answer: there is no task behind it, and dropping it closes it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::RETRY_AFTER;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use quivive_app::ports::{Answer, CallError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::{BODY, MAX_BODY_BYTES, MAX_HEADER_BYTES};

/// Moves bytes while it is polled; gone when the connection is over.
type Driver = Option<Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>>;

pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    /// The last answer was read to its end.
    clean: bool,
}

/// What came of a request.
pub(super) enum Exchange {
    Answered(Answer),
    /// Without an answer.
    Broken(String),
}

impl Connection {
    pub(super) async fn over<S>(stream: S) -> Result<Self, CallError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let made = Builder::new()
            .max_buf_size(MAX_HEADER_BYTES)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, driver) = made.map_err(|error| CallError::Broken(error.to_string()))?;
        Ok(Self {
            sender,
            driver: Some(Box::pin(driver)),
            clean: true,
        })
    }

    pub(super) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Exchange {
        self.clean = false;
        let response = drive(&mut self.driver, self.sender.send_request(request)).await;
        let response = match response {
            Ok(response) => response,
            Err(error) => return Exchange::Broken(redacted(&error)),
        };
        let answer = Answer {
            status: response.status().as_u16(),
            retry_after: response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
        };
        self.clean = if response.body().is_end_stream() {
            true
        } else {
            let read = drive(&mut self.driver, read_out(response));
            timeout(BODY, read).await.unwrap_or(false)
        };
        Exchange::Answered(answer)
    }

    /// Whether it can be used again.
    pub(super) async fn is_usable(&mut self) -> bool {
        // Looks once at what has come meanwhile, such as its end.
        poll_fn(|context| {
            advance(&mut self.driver, context);
            Poll::Ready(())
        })
        .await;
        self.clean && self.driver.is_some() && self.sender.is_ready()
    }
}

/// Reads a body and drops it, as far as it may be read. Says whether that was all.
async fn read_out(response: Response<Incoming>) -> bool {
    let mut body = response.into_body();
    let mut left = MAX_BODY_BYTES;
    // One that says that it is too long is not begun.
    if body.size_hint().lower() > left as u64 {
        return false;
    }
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}

/// Waits for work on a connection, and moves its bytes meanwhile: what the work gave it to do, and what the work waits for.
async fn drive<T>(driver: &mut Driver, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let done @ Poll::Ready(_) = work.as_mut().poll(context) {
            return done;
        }
        advance(driver, context);
        // What waits for a connection hears of its end, too.
        work.as_mut().poll(context)
    })
    .await
}

fn advance(driver: &mut Driver, context: &mut Context<'_>) {
    let over = driver
        .as_mut()
        .is_some_and(|driver| driver.as_mut().poll(context).is_ready());
    if over {
        *driver = None;
    }
}

/// hyper's own words, which repeat nothing of what was received.
fn redacted(error: &hyper::Error) -> String {
    if error.is_parse() {
        "the answer is not HTTP, or its headers are too large".to_owned()
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        "the connection ended before the answer".to_owned()
    } else {
        "the connection was lost".to_owned()
    }
}
