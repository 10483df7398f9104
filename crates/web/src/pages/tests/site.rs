//! A whole server over an in-memory world, and a small browser.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;
use axum::http::header::{AsHeaderName, CONTENT_TYPE, HOST};
use quivive_app::Settings;
use quivive_app::access::Access;
use quivive_app::admission::Rejections;
use quivive_app::one_time;
use quivive_app::testing::Scene;
use quivive_delivery::{BoxFuture, Stored};
use quivive_domain::one_time::Purpose;
use secrecy::SecretString;
use tower::ServiceExt as _;

use crate::headers::X_REQUEST_ID;
use crate::{KeptLetter, Mailbox, Operation, Options, Setup, Web};

pub(super) const URL: &str = "https://id.example.org";
pub(super) const KEY: &str = "the-key-of-the-mailbox";
pub(super) const SETUP_TOKEN: &str = "the-token-of-the-link";

/// A server's pages.
pub(super) struct Site {
    pub(super) scene: Scene,
    pub(super) setup: Arc<Link>,
    router: Router,
}

/// An answer, read. Two are equal when nobody could tell them apart but by their number.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) id: String,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        (self.status, &self.headers, &self.body) == (other.status, &other.headers, &other.body)
    }
}

impl Answer {
    /// Empty when it is absent.
    pub(super) fn header(&self, name: impl AsHeaderName) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

impl Site {
    /// In development, with a mailbox that holds two letters.
    pub(super) fn new(scene: Scene) -> Self {
        Self::with(scene, |_| {})
    }

    pub(super) fn with(scene: Scene, change: impl FnOnce(&mut Web)) -> Self {
        let setup = Arc::new(Link(AtomicBool::new(false)));
        let mut web = Web {
            options: Options {
                public_url: URL.to_owned(),
                development: true,
                proxies: crate::request::Proxies::default(),
                cors_origins: Vec::new(),
                rate_limits: false,
                mailbox_key: Some(SecretString::from(KEY)),
            },
            settings: Settings::for_url(URL),
            kernel: Arc::clone(&scene.kernel),
            access: Arc::new(Access::new(Arc::clone(scene.kernel.families()))),
            rejections: Arc::new(Rejections::new(Arc::new(scene.world.clone()))),
            log: Arc::new(scene.world.clone()),
            index: Arc::new(scene.world.clone()),
            dead_letters: Arc::new(crate::testing::FirstIsDead(scene.world.clone())),
            vault: Arc::new(scene.world.clone()),
            mailbox: Some(Arc::new(TwoLetters)),
            operation: Arc::new(Nothing),
            streams: Arc::default(),
            setup: Arc::clone(&setup) as Arc<dyn Setup>,
            endpoints: Arc::new(crate::testing::endpoints(&scene)),
        };
        change(&mut web);
        let router = crate::router(Arc::new(web));
        Self {
            scene,
            setup,
            router,
        }
    }

    /// The person's newest token, as the letter carries it.
    pub(super) fn token(&self, purpose: Purpose) -> String {
        let user = self.scene.user;
        let row = self.scene.world.see(|state| {
            let mut tokens = state.one_time.values().map(|(token, _)| token);
            tokens
                .rfind(|token| token.account == user && token.purpose == purpose)
                .cloned()
        });
        one_time::derive(self.scene.kernel.families(), &row.unwrap()).unwrap()
    }

    pub(super) fn setup_is_done(&self) -> bool {
        self.setup.0.load(Ordering::Relaxed)
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub(super) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, "").await
    }

    /// As one of our own pages sends it.
    pub(super) async fn post(&self, path: &str, form: &str) -> Answer {
        let headers = [
            (CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded"),
            ("sec-fetch-site", "same-origin"),
        ];
        self.send("POST", path, &headers, form).await
    }

    /// The header `peer` stands for the socket.
    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "id.example.org");
        let mut peer = "127.0.0.1";
        for (name, value) in headers {
            match *name {
                "peer" => peer = value,
                name => request = request.header(name, *value),
            }
        }
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        let peer = SocketAddr::new(peer.parse().unwrap(), 4_711);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (mut parts, body) = answer.into_parts();
        let body = to_bytes(body, 1_000_000).await.unwrap();
        let id = parts.headers.remove(X_REQUEST_ID).unwrap();
        Answer {
            id: id.to_str().unwrap().to_owned(),
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}

/// The link of the first minute.
pub(super) struct Link(AtomicBool);

impl Setup for Link {
    fn admits(&self, token: &str) -> bool {
        token == SETUP_TOKEN && !self.0.load(Ordering::Relaxed)
    }

    fn done(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct TwoLetters;

impl Mailbox for TwoLetters {
    fn letters(&self) -> Vec<KeptLetter> {
        ["2", "1"]
            .map(|id| KeptLetter {
                id: id.to_owned(),
                to: "ada@example.org".to_owned(),
                subject: "Confirm <your> address".to_owned(),
                template: "verify_email".to_owned(),
                text: format!("Hello,\n\n{URL}/verify?token=abc&x={id}\n\njavascript:no"),
                html: "<p>Hello</p>".to_owned(),
                sent_at: "2026-11-21T03:09:27Z".to_owned(),
            })
            .into()
    }
}

/// No page looks at it.
struct Nothing;

impl Operation for Nothing {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn subscriptions(&self) -> Vec<serde_json::Value> {
        Vec::new()
    }

    fn deliveries(&self, _: &Stored) -> BoxFuture<'_, Vec<serde_json::Value>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn metrics(&self) -> String {
        String::new()
    }
}
