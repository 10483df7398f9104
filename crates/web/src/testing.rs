//! A whole server over the in-memory world, and a client that speaks to its router.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::header::{AsHeaderName, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use quivive_app::Settings;
use quivive_app::access::Access;
use quivive_app::admission::Rejections;
use quivive_app::one_time;
use quivive_app::testing::{PASSWORD, Scene, World};
use quivive_app::webhooks::Endpoints;
use quivive_delivery::cloudevents::Origin;
use quivive_delivery::subscriber::{
    Choice, DeadLetter, DeadLetterGroup, DeadLetters, ErrorClass, LaneState, StoredLane,
};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{BoxFuture, Fault, Key, Stored};
use quivive_domain::one_time::Purpose;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::edge::{self, Behind, Edge};
use crate::{Operation, Options, Setup, Web};

pub(crate) const URL: &str = "http://localhost:8080";

/// A server.
pub(crate) struct Server {
    pub(crate) scene: Scene,
    router: Router,
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// Empty when it is absent.
    pub(crate) fn header(&self, name: impl AsHeaderName) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Status and code of a problem.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(
            self.header(CONTENT_TYPE),
            "application/problem+json",
            "{self:?}"
        );
        (
            self.status,
            self.json()["code"].as_str().unwrap_or_default().to_owned(),
        )
    }
}

/// A request to make.
pub(crate) struct Ask {
    request: Request,
    peer: String,
}

pub(crate) fn ask(method: &Method, path: &str) -> Ask {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method.clone();
    *request.uri_mut() = path.parse().unwrap();
    Ask {
        request,
        peer: "127.0.0.1".to_owned(),
    }
}

pub(crate) fn get(path: &str) -> Ask {
    ask(&Method::GET, path)
}

pub(crate) fn post(path: &str, body: &Value) -> Ask {
    ask(&Method::POST, path).body(body)
}

impl Ask {
    pub(crate) fn body(mut self, body: &Value) -> Self {
        *self.request.body_mut() = Body::from(body.to_string());
        self.header("content-type", "application/json")
    }

    /// As OAuth has it.
    pub(crate) fn form(mut self, body: &str) -> Self {
        *self.request.body_mut() = Body::from(body.to_owned());
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name: axum::http::HeaderName = name.parse().unwrap();
        self.request
            .headers_mut()
            .append(name, value.parse().unwrap());
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn from(mut self, peer: &str) -> Self {
        self.peer = peer.to_owned();
        self
    }
}

impl Server {
    /// In development, without limits.
    pub(crate) fn new(scene: Scene) -> Self {
        Self::with(scene, |_| {})
    }

    pub(crate) fn with(scene: Scene, change: impl FnOnce(&mut Web)) -> Self {
        let router = crate::router(Self::web(&scene, change));
        Self { scene, router }
    }

    /// Another router behind the same edge.
    pub(crate) fn around(scene: Scene, behind: Behind, inside: Router) -> Self {
        let edge = Arc::new(Edge::new(Self::web(&scene, |_| {})));
        let router = inside.layer(axum::middleware::from_fn_with_state(
            (edge, behind),
            edge::edge,
        ));
        Self { scene, router }
    }

    /// The whole server under a prefix of somebody else's application.
    pub(crate) fn nested(scene: Scene, prefix: &str) -> Self {
        let router = Router::new().nest(prefix, crate::router(Self::web(&scene, |_| {})));
        Self { scene, router }
    }

    fn web(scene: &Scene, change: impl FnOnce(&mut Web)) -> Arc<Web> {
        let mut web = Web {
            options: Options {
                public_url: URL.to_owned(),
                development: true,
                proxies: crate::request::Proxies::default(),
                cors_origins: Vec::new(),
                rate_limits: false,
                mailbox_key: None,
            },
            settings: Settings::for_url(URL),
            kernel: Arc::clone(&scene.kernel),
            access: Arc::new(Access::new(Arc::clone(scene.kernel.families()))),
            rejections: Arc::new(Rejections::new(Arc::new(scene.world.clone()))),
            log: Arc::new(scene.world.clone()),
            index: Arc::new(scene.world.clone()),
            dead_letters: Arc::new(FirstIsDead(scene.world.clone())),
            vault: Arc::new(scene.world.clone()),
            mailbox: None,
            operation: Arc::new(Well),
            streams: Arc::default(),
            setup: Arc::new(Closed),
            endpoints: Arc::new(endpoints(scene)),
        };
        change(&mut web);
        Arc::new(web)
    }

    /// Sends a request to the configured host, unless it names one.
    pub(crate) async fn send(&self, ask: Ask) -> Answer {
        let answer = self.begin(ask).await;
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, 10_000_000).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// Sends a request whose answer does not end.
    pub(crate) async fn begin(&self, mut ask: Ask) -> Response {
        if !ask.request.headers().contains_key(HOST) {
            ask = ask.header("host", "localhost:8080");
        }
        let peer = SocketAddr::new(ask.peer.parse().unwrap(), 4_711);
        ask.request.extensions_mut().insert(ConnectInfo(peer));
        self.router.clone().oneshot(ask.request).await.unwrap()
    }

    /// Signs in the person the scene is about.
    pub(crate) async fn tokens(&self) -> Value {
        let email = self.scene.account().email.typed().to_owned();
        let answer = self
            .send(post(
                "/api/v1/sessions",
                &json!({"email": email, "password": PASSWORD}),
            ))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    pub(crate) async fn access_token(&self) -> String {
        self.tokens().await["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The person's newest token, as a letter carries it.
    pub(crate) fn letter(&self, purpose: Purpose) -> String {
        let user = self.scene.user;
        let row = self.scene.world.see(|state| {
            let mut tokens = state.one_time.values().map(|(token, _)| token);
            tokens
                .rfind(|token| token.account == user && token.purpose == purpose)
                .cloned()
        });
        one_time::derive(self.scene.kernel.families(), &row.unwrap()).unwrap()
    }
}

/// Without an engine: what they are told to do is done, and no event is posted.
pub(crate) fn endpoints(scene: &Scene) -> Endpoints {
    let origin = Origin {
        source: URL.to_owned(),
        schemas: format!("{URL}/api/v1/events/schemas"),
    };
    let (kernel, log) = (Arc::clone(&scene.kernel), Arc::new(scene.world.clone()));
    Endpoints::new(kernel, log, Tasks::new(), origin)
}

/// The log's first event is parked for `email`.
pub(crate) struct FirstIsDead(pub(crate) World);

impl FirstIsDead {
    fn letter(&self, subscription: Option<&str>, choice: &Choice) -> Option<DeadLetter> {
        let event = self.0.log().into_iter().next()?;
        let meant = subscription.is_none_or(|name| name == "email")
            && choice.event_id.is_none_or(|id| id == event.envelope.id);
        let lane = StoredLane {
            key: event.envelope.key,
            done: 0,
            state: LaneState::Parked,
            attempts: 2,
            due: event.recorded_at,
            since: event.recorded_at,
            event_id: event.envelope.id,
            position: event.position,
            event_type: event.envelope.kind,
            error_class: Some(ErrorClass::Poison),
            error: "panicked".to_owned(),
        };
        meant.then(|| DeadLetter {
            subscription: "email".to_owned(),
            lane,
        })
    }
}

impl DeadLetters for FirstIsDead {
    fn dead_letters(
        &self,
        subscription: Option<&str>,
        choice: &Choice,
        _: Option<&(String, Key)>,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, Fault>> {
        let letters = self.letter(subscription, choice).into_iter().collect();
        Box::pin(std::future::ready(Ok(letters)))
    }

    fn dead_letter_groups(
        &self,
        subscription: Option<&str>,
        choice: &Choice,
    ) -> BoxFuture<'_, Result<Vec<DeadLetterGroup>, Fault>> {
        let letter = self.letter(subscription, choice);
        let groups = letter.map(|DeadLetter { subscription, lane }| DeadLetterGroup {
            subscription,
            error_class: ErrorClass::Poison,
            event_type: lane.event_type,
            count: 1,
            oldest: lane.due,
        });
        Box::pin(std::future::ready(Ok(groups.into_iter().collect())))
    }
}

struct Closed;

impl Setup for Closed {
    fn admits(&self, _: &str) -> bool {
        false
    }

    fn done(&self) {}
}

struct Well;

impl Operation for Well {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn subscriptions(&self) -> Vec<Value> {
        vec![json!({"name": "email", "lag": 0})]
    }

    fn deliveries(&self, event: &Stored) -> BoxFuture<'_, Vec<Value>> {
        let position = event.position;
        Box::pin(async move { vec![json!({"subscription": "email", "position": position})] })
    }

    fn metrics(&self) -> String {
        "quivive_up 1\n".to_owned()
    }
}
