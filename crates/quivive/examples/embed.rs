//! Quivive inside an axum app: its pages and its API beside routes of one's own, and a reaction to its events in code.
//!
//! ```text
//! cargo run --example embed
//! ```
//! Then register at <http://localhost:3000/register>, and look at this program's output.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use quivive::app::workflows::accounts::register_user;
use quivive::{BoxFuture, Builder, Filter, Handler, Outcome, Received, Settings, Subscription};
use tokio::net::TcpListener;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Greets everybody who registers: in order, after the commit, and again if it says `Retry`.
struct Greet;

impl Handler for Greet {
    fn handle<'a>(&'a self, event: &'a Received) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match event.decode::<register_user::Succeeded>() {
                Ok(registered) => {
                    tracing::info!(user_id = %registered.user_id, "somebody new");
                    Outcome::Done
                }
                Err(error) => Outcome::GiveUp(error.to_string()),
            }
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().init();
    // Its fields hold an address, so it asks for personal ones; they are opened for it.
    let wanted = Filter::Matching(vec!["UserRegistrationSucceeded"]);
    let greeting =
        Subscription::durable("greeting", wanted, Arc::new(Greet)).with_personal_fields();
    let server = Builder::new()
        .sqlite("embed-data")
        .settings(Settings::for_url("http://localhost:3000"))
        .subscribe(greeting)
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
