//! Quivive inside an axum app: its pages and its API beside routes of one's own, and a reaction to its events in code.
//!
//! ```text
//! cargo run --example embed
//! ```
//! Then register at <http://localhost:3000/register>, and look at this program's output.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use quivive::app::workflows::accounts::register_user;
use quivive::app::workflows::sessions::log_in;
use quivive::delivery::Code;

use quivive::{Builder, Cx, Outcome, Received, Settings, on, subscriber};
use tokio::net::TcpListener;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Greets everybody who registers: in order, after the commit, and again if it says `Retry`. The event's fields hold an
/// address; it is opened for whoever asks for this type.
#[subscriber(name = "greeting", on = register_user::Succeeded)]
async fn greeting(registered: &Received<register_user::Succeeded>, cx: &mut Cx) -> Outcome {
    tracing::info!(user_id = %registered.user_id, attempt = cx.attempt(), "somebody new");
    Outcome::Done
}

/// Any name of the documents will do, and `"*.failed"` or `any` for more than one type.
#[subscriber(name = "watch", on = "*.failed")]
async fn watch(event: &Received) {
    tracing::warn!(kind = event.envelope().kind, "refused");
}

async fn welcome_back(session: &Received<log_in::Succeeded>, _: &mut Cx) {
    tracing::info!(user_id = %session.user_id, "welcome back");
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().init();
    let server = Builder::new()
        .sqlite("embed-data")
        .settings(Settings::for_url("http://localhost:3000"))
        .subscribe(greeting)
        .subscribe(watch)
        .subscribe(
            on::<log_in::Succeeded>("welcome-back", welcome_back)
                .when(|session| session.device_id.is_some()),
        )
        // Before the commit and with a say in it: who is refused was never registered.
        .in_commit("guests", |new: &register_user::Succeeded, _| {
            if new.email.as_str().ends_with(".invalid") {
                return Err(Code::new("no_such_place"));
            }
            Ok(())
        })
        .build()
        .await?;

    // Routes of one's own come first; what they do not answer is Quivive's.
    let app = Router::new()
        .route("/hello", get(async || "Hello from the embedding program"))
        .fallback_service(server.router());
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    let streams = server.streams();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async move {
            let _ = tokio::signal::ctrl_c().await;
            // They do not end by themselves, and would be waited for.
            streams.stop();
        })
        .await?;
    server.shut_down().await;
    Ok(())
}
