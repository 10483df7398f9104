//! A letter as a message (RFC 5322): text and HTML, marked as written by a machine.

use std::time::SystemTime;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, Message};
use quivive_app::ports::{Letter, MailError};
use quivive_delivery::Time;

use crate::derivation::{hex, sha256};

/// RFC 3834, 5: keeps holiday replies away.
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// The same for every try of one letter.
pub(super) fn message_id(idempotency_key: &str, domain: &str) -> String {
    format!(
        "<{}@{domain}>",
        hex(&sha256(idempotency_key.as_bytes())[..16])
    )
}

/// `Permanent` when the letter cannot be a message.
pub(super) fn compose(
    letter: Letter,
    from: &Mailbox,
    to: &Address,
    id: &str,
    now: Time,
) -> Result<Message, MailError> {
    // A line break would begin a header of whoever chose the subject.
    if letter.subject.contains(char::is_control) {
        let text = "the letter's subject has a control character";
        return Err(MailError::Permanent(text.to_owned()));
    }
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to.clone()))
        .subject(letter.subject)
        .date(SystemTime::from(now))
        .message_id(Some(id.to_owned()))
        .raw_header(HeaderValue::new(
            AUTO_SUBMITTED,
            "auto-generated".to_owned(),
        ))
        .multipart(MultiPart::alternative_plain_html(letter.text, letter.html))
        .map_err(|error| MailError::Permanent(format!("the letter cannot be written: {error}")))
}
