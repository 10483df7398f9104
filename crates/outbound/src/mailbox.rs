//! Letters kept instead of sent, for development: in memory only, because they hold links that open accounts.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quivive_app::ports::{Letter, MailError, Mailer};
use quivive_delivery::{BoxFuture, Clock, Time};
use serde::Serialize;

use crate::derivation::{hex, sha256};

/// The newest letters that are kept. Some 10 MB at most.
const MAX_LETTERS: usize = 1_000;

/// A letter that was kept.
#[derive(Clone, Serialize)]
pub struct Kept {
    /// The same for every try of one letter.
    pub id: String,
    pub to: String,
    pub subject: String,
    /// The template's code.
    pub template: &'static str,
    pub text: String,
    pub html: String,
    pub sent_at: Time,
}

/// Shows neither whom it was for nor what it says.
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({}, {})", self.id, self.template)
    }
}

/// The built-in mailbox.
pub struct Mailbox {
    clock: Arc<dyn Clock>,
    /// The newest last.
    letters: Mutex<VecDeque<Arc<Kept>>>,
}

impl Mailbox {
    /// An empty one. `clock` says when letters were sent.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            letters: Mutex::default(),
        }
    }

    /// The letters, the newest first.
    pub fn list(&self) -> Vec<Arc<Kept>> {
        self.letters().iter().rev().cloned().collect()
    }

    /// One letter by its id.
    pub fn get(&self, id: &str) -> Option<Arc<Kept>> {
        self.letters().iter().find(|kept| kept.id == id).cloned()
    }

    fn letters(&self) -> MutexGuard<'_, VecDeque<Arc<Kept>>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, letter: Letter, idempotency_key: &str) -> String {
        let id = hex(&sha256(idempotency_key.as_bytes())[..16]);
        let mut letters = self.letters();
        if letters.iter().any(|kept| kept.id == id) {
            return id;
        }
        if letters.len() >= MAX_LETTERS {
            letters.pop_front();
        }
        letters.push_back(Arc::new(Kept {
            id: id.clone(),
            to: letter.to,
            subject: letter.subject,
            template: letter.template,
            text: letter.text,
            html: letter.html,
            sent_at: self.clock.now(),
        }));
        id
    }
}

impl Mailer for Mailbox {
    fn send(
        &self,
        letter: Letter,
        idempotency_key: &str,
    ) -> BoxFuture<'_, Result<String, MailError>> {
        let id = self.keep(letter, idempotency_key);
        Box::pin(std::future::ready(Ok(id)))
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({} letters)", self.letters().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn letter(n: usize) -> Letter {
        Letter {
            to: format!("ann{n}@example.com"),
            template: "welcome",
            subject: format!("Letter {n}"),
            text: "text".to_owned(),
            html: "<p>html</p>".to_owned(),
        }
    }

    #[tokio::test]
    async fn keeps_the_newest_and_each_letter_once() {
        let mailbox = Mailbox::new(Arc::new(SystemClock));
        for n in 0..=MAX_LETTERS {
            let first = mailbox.send(letter(n), &n.to_string()).await.expect("kept");
            let again = mailbox.send(letter(n), &n.to_string()).await.expect("kept");
            assert_eq!(first, again);
        }
        let kept = mailbox.list();
        assert_eq!(kept.len(), MAX_LETTERS);
        assert_eq!(kept[0].subject, format!("Letter {MAX_LETTERS}"));
        assert_eq!(kept[MAX_LETTERS - 1].subject, "Letter 1");
        assert_eq!(
            mailbox.get(&kept[3].id).expect("there").subject,
            kept[3].subject
        );
        assert!(mailbox.get("nothing").is_none());
    }

    #[tokio::test]
    async fn debug_shows_nobody() {
        let mailbox = Mailbox::new(Arc::new(SystemClock));
        mailbox.send(letter(1), "1").await.expect("kept");
        assert!(!format!("{:?} {mailbox:?}", mailbox.list()).contains("ann"));
    }
}
