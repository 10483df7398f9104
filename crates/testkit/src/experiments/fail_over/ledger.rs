//! What the clients were told, and when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Client, Reply};

/// Before who was told to come again does.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Addresses whose registration was acknowledged.
    pub(super) registered: Vec<String>,
    pub(super) verified: Vec<String>,
    /// With how many resets were acknowledged.
    pub(super) reset: BTreeMap<String, usize>,
    /// Sessions that were acknowledged, with how many refreshes.
    pub(super) sessions: BTreeMap<String, usize>,
    /// Calls with a secret that was used, to be made again.
    pub(super) spent: Vec<(&'static str, Value)>,
    pub(super) tried_again: usize,
    pub(super) acknowledged: usize,
    /// Told to come again, by 503 or 429: whether anything was done is not known.
    pub(super) put_off: usize,
    /// The connection broke, or nothing came.
    pub(super) unanswered: usize,
    /// What must not be: those that say that something acknowledged is gone are apart.
    pub(super) breaches: Vec<String>,
    pub(super) lost: Vec<String>,
    /// When the primary was killed, until somebody was acknowledged who asked after that.
    killed: Option<Instant>,
    /// From each kill until then.
    pub(super) away: Vec<Duration>,
}

/// Everybody's.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Ledger>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn killed(&self) {
        self.lock().killed = Some(Instant::now());
    }

    /// Whether somebody was acknowledged who asked after the last kill.
    pub(super) fn is_back(&self) -> bool {
        self.lock().killed.is_none()
    }

    /// An answer that says what happened; `None`: nobody knows.
    pub(super) async fn ask(&self, client: &mut Client, path: &str, body: &Value) -> Option<Reply> {
        let asked = Instant::now();
        let reply = client.api("POST", path, Some(body.clone()), None).await;
        let told = self.lock().note(asked, path, reply);
        if told.is_none() {
            tokio::time::sleep(PAUSE).await;
        }
        told
    }
}

impl Ledger {
    pub(super) fn refreshed(&mut self, session: &str) {
        *self.sessions.entry(session.to_owned()).or_default() += 1;
    }

    fn note(&mut self, asked: Instant, path: &str, reply: std::io::Result<Reply>) -> Option<Reply> {
        let Ok(reply) = reply else {
            self.unanswered += 1;
            return None;
        };
        let may_come_again = reply.header("retry-after").is_some();
        match reply.status {
            200..300 => {
                self.acknowledged += 1;
                if let Some(killed) = self.killed.filter(|killed| asked >= *killed) {
                    self.away.push(killed.elapsed());
                    self.killed = None;
                }
                Some(reply)
            }
            409 | 429 | 503 if may_come_again => {
                self.put_off += 1;
                None
            }
            409 | 429 | 500.. => {
                let what = format!("{path}: {} {}", reply.status, reply.code());
                self.breaches.push(what);
                None
            }
            _ => Some(reply),
        }
    }
}

/// What registers and signs in.
pub(super) fn credentials(email: &str, password: &str) -> Value {
    json!({"email": email, "password": password})
}
