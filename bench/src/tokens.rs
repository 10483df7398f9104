//! The check of an access token: `/me` for somebody who is signed in, without its work for the body being left out, against
//! a bare axum route that verifies the same JWT. Once with each signature checked, and once with a cache of them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use quivive_app::ports::AccessClaims;
use quivive_testkit::client::Call;
use quivive_testkit::{Client, Options, PASSWORD, Server};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::{LOAD, Measure, cores, logins};

const CONNECTIONS: usize = 64;

pub(crate) async fn measure(binary: &Path) -> Vec<Measure> {
    let mut measures = Vec::new();
    for (name, cached) in [("token-check", "0"), ("token-check-cached", "16384")] {
        let options = Options::unlimited()
            .env("QUIVIVE__LOG__LEVEL", "warn")
            .env("QUIVIVE__TOKENS__VERIFIED", cached);
        let mut server = Server::start(binary, options).await;
        logins::prepare(&server, CONNECTIONS).await;
        let mut tokens = Vec::new();
        for i in 0..CONNECTIONS {
            let answer = server.login(&logins::email(i), PASSWORD).await;
            tokens.push(answer["access_token"].as_str().unwrap().to_owned());
        }
        let bare = Bare::start(&server.get("/.well-known/jwks.json").await.json());
        let before = load(bare.address, "/me", &tokens, LOAD / 2).await;
        let rate = load(server.address, "/api/v1/me", &tokens, LOAD).await;
        let after = load(bare.address, "/me", &tokens, LOAD / 2).await;
        bare.stop();
        server.stop().await;
        let limit = f64::midpoint(before, after);
        measures.push(Measure::rate(name, rate, "requests/s", limit));
    }
    measures
}

/// Requests a second, each connection with a token of its own.
async fn load(address: SocketAddr, path: &'static str, tokens: &[String], time: Duration) -> f64 {
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for token in tokens {
        let (mut client, token) = (Client::new(address), token.clone());
        tasks.spawn(async move {
            let call = Call {
                method: "GET",
                path,
                token: Some(&token),
                ..Call::default()
            };
            let mut count = 0_u64;
            while began.elapsed() < time {
                client.call(&call).await.unwrap().expect(200);
                count += 1;
            }
            count
        });
    }
    let total: u64 = tasks.join_all().await.into_iter().sum();
    total as f64 / began.elapsed().as_secs_f64()
}

/// One route on a runtime of its own, as the server has one: the signature, and no more.
struct Bare {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

impl Bare {
    fn start(jwks: &Value) -> Self {
        let key = jwks["keys"][0]["x"].as_str().unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.validate_aud = false;
        let verifier = Arc::new(Verifier {
            key: DecodingKey::from_ed_components(key).unwrap(),
            validation,
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(cores())
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let router = Router::new().route("/me", get(me)).with_state(verifier);
                let served = axum::serve(listener, router);
                tokio::select! {
                    _ = served => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            stop,
            thread,
        }
    }

    fn stop(self) {
        let _ = self.stop.send(());
        self.thread.join().unwrap();
    }
}

async fn me(
    State(verifier): State<Arc<Verifier>>,
    headers: HeaderMap,
) -> Result<String, StatusCode> {
    let header = headers
        .get(AUTHORIZATION)
        .and_then(|line| line.to_str().ok());
    let token = header.and_then(|line| line.strip_prefix("Bearer "));
    let token = token.ok_or(StatusCode::UNAUTHORIZED)?;
    let claims = decode::<AccessClaims>(token, &verifier.key, &verifier.validation);
    let claims = claims.map_err(|_| StatusCode::UNAUTHORIZED)?.claims;
    Ok(claims.sub.to_string())
}
