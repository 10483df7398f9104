//! What can be asked, and the lines that answer.

use std::num::NonZeroU32;
use std::path::PathBuf;

use quivive_app::ports::OldKeys;
use quivive_domain::Password;
use quivive_domain::password::TooLong;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// One request of an operator.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case", deny_unknown_fields)]
pub enum Call {
    /// Answers {`user_id`, `sign_in`}.
    CreateAdministrator { email: String, password: Passphrase },
    /// Answers {`link`, `expires_in`}.
    RecoverAdministrator { email: String },
    /// Answers with one item for each event.
    Tail(Tail),
    /// Answers with one item for each event, newest first.
    Search(Search),
    /// Answers with the event and its `deliveries`.
    Show { id: Uuid },
    /// Answers with one item for each subscription.
    Subscriptions,
    /// Pauses a subscription, or resumes it.
    SetPaused { subscription: String, paused: bool },
    /// Answers {`count`, `dry_run`}.
    Replay {
        subscription: String,
        from: Option<u64>,
        to: Option<u64>,
        dry_run: bool,
    },
    /// Answers with one item for each dead letter.
    DeadLetters(Chosen),
    /// Answers with the dead letter, its `event` and what is `behind` it.
    DeadLetter {
        subscription: String,
        event_id: Uuid,
    },
    /// Answers {`count`, `dry_run`}.
    Decide(Decide),
    /// Answers {`previous_version`, `new_version`} with the `user_id` or the `grace_period_seconds`.
    RotateTokens(RotateTokens),
    /// Answers {`new_key_id`, `retired_key_id`, `revoked`}.
    RotateKeys { old: OldKeys },
    /// Answers {`directory`, `keys`, `position`, `epoch`, `bytes`}.
    BackUp { directory: PathBuf, keys: PathBuf },
    /// Answers with an item for each flaw, for what was passed over and for how far it has come, and `done` at last.
    ImportUsers {
        /// Where the server finds it.
        file: PathBuf,
    },
}

/// Whose tokens are to be good for nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RotateTokens {
    /// The address of one person; `None`: everybody's.
    pub user: Option<String>,
    pub reason: String,
    /// Of a rotation of everybody's; `None`: as configured.
    pub grace_seconds: Option<u64>,
}

/// Which dead letters.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Chosen {
    /// `None`: of all subscriptions.
    pub subscription: Option<String>,
    pub key: Option<String>,
    pub event_id: Option<Uuid>,
    /// A type, or any other name it has.
    pub event_type: Option<String>,
    pub error_class: Option<String>,
    /// Times of RFC 3339.
    pub since: Option<String>,
    pub until: Option<String>,
}

/// What is to become of dead letters of one subscription.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decide {
    pub chosen: Chosen,
    pub fate: Fate,
    pub dry_run: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Delivered again, so many in a second at most.
    Redrive { rate: Option<NonZeroU32> },
    /// Passed over.
    Discard { reason: String },
}

/// Which events to print.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tail {
    /// Go on with what is to come.
    pub follow: bool,
    /// Begin after this position; `None`: with the newest 20.
    pub after: Option<u64>,
    /// What the events have in common, by the names of the feed's parameters.
    #[serde(default)]
    pub criteria: Vec<(String, String)>,
}

/// Which events to look for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Search {
    /// The name of the one thing they have in common, as the API's parameter, and its value.
    pub by: (String, String),
    /// Only what lies below this position.
    pub before: Option<u64>,
    pub limit: u32,
}

/// A password on its way through the socket. Debug does not show it; it is wiped when dropped.
pub struct Passphrase(Zeroizing<String>);

impl Serialize for Passphrase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Passphrase {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl Passphrase {
    pub(crate) fn into_password(mut self) -> Result<Password, TooLong> {
        Password::new(std::mem::take(&mut *self.0))
    }
}

impl From<Password> for Passphrase {
    fn from(password: Password) -> Self {
        Self(Zeroizing::new(password.expose().to_owned()))
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// One line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Item(Value),
    Done,
    Failed(Failure),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_survives_the_wire_and_its_password_is_not_shown() {
        let call = Call::CreateAdministrator {
            email: "ada@example.org".to_owned(),
            password: Password::new("hunter2".to_owned()).unwrap().into(),
        };
        assert!(!format!("{call:?}").contains("hunter2"));
        let wire = serde_json::to_string(&call).unwrap();
        let Call::CreateAdministrator { password, .. } = serde_json::from_str(&wire).unwrap()
        else {
            panic!("another call came back: {wire}");
        };
        assert_eq!(password.into_password().unwrap().expose(), "hunter2");
        assert!(serde_json::from_str::<Call>(r#"{"call":"show","id":"x"}"#).is_err());
    }
}
