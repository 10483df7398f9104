//! Who asks while the primary is killed: newcomers, who register, prove their address, sign in, refresh and reset; and chains,
//! who refresh without end. Each uses both nodes in turn, and a link of a letter on both at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ledger::{Shared, credentials};
use crate::server::token_in;
use crate::{Client, PASSWORD, Reply};

/// How long a letter may take, a fail-over included.
const PATIENCE: Duration = Duration::from_secs(40);

/// Refreshes of a newcomer.
const REFRESHES: usize = 3;

/// The tokens in letters, by address and template.
pub(super) type Letters = Arc<Mutex<HashMap<(String, String), String>>>;

/// What all of them share.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) ledger: Shared,
    pub(super) letters: Letters,
    pub(super) stopping: Arc<AtomicBool>,
}

impl Scene {
    pub(super) fn goes_on(&self) -> bool {
        !self.stopping.load(Ordering::Relaxed)
    }

    fn noted(&self, wanted: &(String, String)) -> Option<String> {
        let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.get(wanted).cloned()
    }

    async fn token(&self, email: &str, template: &str) -> Option<String> {
        let wanted = (email.to_owned(), template.to_owned());
        let began = Instant::now();
        while self.goes_on() {
            if let Some(token) = self.noted(&wanted) {
                return Some(token);
            }
            if began.elapsed() > PATIENCE {
                let what = format!("no letter for {email} ({template})");
                self.ledger.lock().breaches.push(what);
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }
}

/// Notes the tokens of letters in a mailbox that were not noted yet.
pub(super) fn note_letters(letters: &Letters, mailbox: &[Value]) {
    let mut letters = letters.lock().unwrap_or_else(PoisonError::into_inner);
    for letter in mailbox {
        let text = |name: &str| letter[name].as_str().unwrap_or_default();
        if !text("text").contains("token=") {
            continue;
        }
        // One address, or a list of one.
        let to = letter["to"].to_string();
        let to = to.trim_matches(|c| matches!(c, '"' | '[' | ']')).to_owned();
        let key = (to, text("template").to_owned());
        letters.entry(key).or_insert_with(|| token_in(text("text")));
    }
}

/// Who was there before, and refreshes for as long as it lasts.
pub(super) async fn chain(scene: Scene, mut clients: [Client; 2], email: String) {
    let mut turn = 0;
    while scene.goes_on() {
        let mut person = Person {
            scene: &scene,
            clients: &mut clients,
            turn,
        };
        if let Some(tokens) = person.sign_in(&email, PASSWORD).await {
            person.refresh(tokens, usize::MAX).await;
        }
        turn = person.turn;
    }
}

/// One after the other, each with another address.
pub(super) async fn newcomers(scene: Scene, mut clients: [Client; 2], name: String) {
    for number in 0.. {
        if !scene.goes_on() {
            return;
        }
        let email = format!("{name}-{number}@example.org");
        let mut person = Person {
            scene: &scene,
            clients: &mut clients,
            turn: number,
        };
        let _ = person.live(&email, number % 2 == 0).await;
    }
}

struct Person<'a> {
    scene: &'a Scene,
    clients: &'a mut [Client; 2],
    turn: usize,
}

impl Person<'_> {
    async fn ask(&mut self, path: &str, body: &Value) -> Option<Reply> {
        self.turn += 1;
        let client = &mut self.clients[self.turn % 2];
        self.scene.ledger.ask(client, path, body).await
    }

    /// Ends early where nobody knows what became of a step.
    async fn live(&mut self, email: &str, forgets: bool) -> Option<()> {
        let ledger = &self.scene.ledger.clone();
        let reply = self.ask("/users", &credentials(email, PASSWORD)).await?;
        if reply.status != 202 {
            return None;
        }
        ledger.lock().registered.push(email.to_owned());
        let token = self.scene.token(email, "verify_email").await?;
        let body = json!({"token": token});
        if self.use_once("/email-verifications", &body).await? {
            ledger.lock().verified.push(email.to_owned());
        }
        let tokens = self.sign_in(email, PASSWORD).await?;
        self.refresh(tokens, REFRESHES).await;
        if !forgets {
            return Some(());
        }
        let asked = json!({"email": email});
        self.ask("/password-reset-requests", &asked).await?;
        let token = self.scene.token(email, "reset_password").await?;
        let changed = format!("{PASSWORD} anew");
        let body = json!({"token": token, "new_password": changed});
        let acknowledged = self.use_once("/password-resets", &body).await?;
        if acknowledged {
            *ledger.lock().reset.entry(email.to_owned()).or_default() += 1;
        }
        let reply = self.ask("/sessions", &credentials(email, &changed)).await?;
        if acknowledged && reply.status != 200 {
            let what = format!("the reset of {email}: {} {}", reply.status, reply.code());
            ledger.lock().lost.push(what);
        }
        Some(())
    }

    /// On both nodes at once, until one of them says what became of it. Whether that was a success; `None`: nobody knows.
    async fn use_once(&mut self, path: &'static str, body: &Value) -> Option<bool> {
        let ledger = self.scene.ledger.clone();
        let mut was_put_off = false;
        while self.scene.goes_on() {
            let [one, two] = &mut *self.clients;
            let (one, two) = tokio::join!(ledger.ask(one, path, body), ledger.ask(two, path, body));
            let good = |reply: &Option<Reply>| reply.as_ref().is_some_and(|it| it.status == 200);
            let successes = usize::from(good(&one)) + usize::from(good(&two));
            let mut ledger = ledger.lock();
            match successes {
                0 if one.is_none() || two.is_none() => {
                    was_put_off = true;
                    continue;
                }
                0 if !was_put_off => {
                    let what = format!("{path}: a fresh secret was refused to both");
                    ledger.lost.push(what);
                }
                2 => ledger.breaches.push(format!("{path}: used twice")),
                _ => {}
            }
            ledger.spent.push((path, body.clone()));
            return Some(successes > 0);
        }
        None
    }

    async fn sign_in(&mut self, email: &str, password: &str) -> Option<Value> {
        let reply = self.ask("/sessions", &credentials(email, password)).await?;
        let tokens = reply.json();
        if reply.status != 200 {
            let what = format!("the account {email}: {} {}", reply.status, reply.code());
            self.scene.ledger.lock().lost.push(what);
            tokio::time::sleep(Duration::from_secs(1)).await;
            return None;
        }
        let session = session_in(&tokens);
        self.scene
            .ledger
            .lock()
            .sessions
            .entry(session)
            .or_default();
        Some(tokens)
    }

    /// Ends where a refresh is refused, which must not be before its own answer got lost: then its token may be too old.
    async fn refresh(&mut self, mut tokens: Value, times: usize) {
        let (session, mut in_doubt, mut done) = (session_in(&tokens), false, 0);
        while self.scene.goes_on() && done < times {
            let body = json!({
                "refresh_token": tokens["refresh_token"],
                "device_token": tokens["device_token"],
            });
            let Some(reply) = self.ask("/tokens", &body).await else {
                in_doubt = true;
                continue;
            };
            if reply.status != 200 {
                if !in_doubt {
                    let what = format!("session {session}: {} {}", reply.status, reply.code());
                    self.scene.ledger.lock().lost.push(what);
                }
                return;
            }
            self.scene.ledger.lock().refreshed(&session);
            tokens["refresh_token"] = reply.json()["refresh_token"].clone();
            (in_doubt, done) = (false, done + 1);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn session_in(tokens: &Value) -> String {
    tokens["session_id"].as_str().unwrap_or_default().to_owned()
}
