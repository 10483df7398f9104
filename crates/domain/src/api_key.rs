//! API keys: what a service holds in place of a password, what it may do with it, and for how long.
//!
//! A key is the text `qk_<id>_<secret>`: a prefix that scanners for leaked secrets find, 32 hexadecimal digits that name
//! its row, and 32 random bytes in base64url, stored as their SHA-256.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use uuid::Uuid;

use crate::{ApiKeyId, Time, UserId};

/// How long a key lives unless that is said.
pub const DEFAULT_LIFETIME: Duration = Duration::from_hours(90 * 24);

/// And at most: what nobody has looked at for a year is somebody's forgotten key.
pub const MAX_LIFETIME: Duration = Duration::from_hours(366 * 24);

const PREFIX: &str = "qk_";

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The feed of events, its stream, one event, the catalogue and the schemas.
    EventsRead,
    /// Personal fields of events.
    EventsReadPersonal,
    /// To append events of registered types.
    EventsWrite,
    /// Whether a token is good, and to end the session of one.
    Introspect,
    /// To state the address of the user that a request is made for.
    ClientForward,
}

impl Scope {
    pub const ALL: [Self; 5] = [
        Self::EventsRead,
        Self::EventsReadPersonal,
        Self::EventsWrite,
        Self::Introspect,
        Self::ClientForward,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventsRead => "events.read",
            Self::EventsReadPersonal => "events.read_personal",
            Self::EventsWrite => "events.write",
            Self::Introspect => "introspect",
            Self::ClientForward => "client.forward",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// A key, as read; without what opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    /// Whose it is: it is worth no more than its owner.
    pub owner: UserId,
    /// For people: which service has it.
    pub name: String,
    pub scopes: Vec<Scope>,
    pub created_at: Time,
    pub expires_at: Time,
    pub revoked_at: Option<Time>,
    /// Coarse: an hour may pass before a use is noted.
    pub used_at: Option<Time>,
}

impl ApiKey {
    pub fn is_live(&self, now: Time) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }
}

/// A key as presented. Debug shows its id alone.
#[derive(Clone)]
pub struct Presented {
    pub id: ApiKeyId,
    secret: [u8; 32],
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Presented({})", self.id)
    }
}

impl Presented {
    /// Whether a bearer token is meant to be a key; every other one is an access token.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// `None` for anything that is not exactly one key.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let plain = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if id.len() != 32 || !id.bytes().all(plain) {
            return None;
        }
        Some(Self {
            id: ApiKeyId(Uuid::try_parse(id).ok()?),
            secret: URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?,
        })
    }

    pub fn new(id: ApiKeyId, secret: [u8; 32]) -> Self {
        Self { id, secret }
    }

    /// The secret part, to be hashed.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The text that a service holds.
    pub fn text(&self) -> SecretString {
        let secret = URL_SAFE_NO_PAD.encode(self.secret);
        format!("{PREFIX}{}_{secret}", self.id.0.simple()).into()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_key_is_one_text_and_no_other_is_it() {
        let key = Presented::new(ApiKeyId(Uuid::from_u128(7)), [0xfb; 32]);
        let text = key.text().expose_secret().to_owned();
        assert_eq!(text.len(), 3 + 32 + 1 + 43, "{text}");
        assert!(text.starts_with("qk_00000000000000000000000000000007_"));
        let read = Presented::parse(&text).expect("a key");
        assert_eq!((read.id, read.secret), (key.id, key.secret));
        assert_eq!(format!("{key:?}"), format!("Presented({})", key.id));
        for other in [
            String::new(),
            "qk_".to_owned(),
            text[3..].to_owned(),
            text.to_uppercase(),
            format!("{text}A"),
            format!("{text}="),
            format!(" {text}"),
            text[..text.len() - 1].to_owned(),
            text.replacen("07_", "7_", 1),
            text.replacen("qk_0", "qk_G", 1),
            text.replacen(
                "qk_00000000000000000000000000000007",
                "qk_00000000-0000-0000-0000-000000000007",
                1,
            ),
        ] {
            assert!(Presented::parse(&other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_scope_is_its_word() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        }
        assert_eq!(Scope::parse("events"), None);
    }

    #[test]
    fn a_key_lives_until_it_is_revoked_or_its_time_is_over() {
        let at = |second| Time::from_second(second).expect("a time");
        let key = ApiKey {
            id: ApiKeyId(Uuid::nil()),
            owner: UserId(Uuid::nil()),
            name: "ci".to_owned(),
            scopes: vec![Scope::EventsRead],
            created_at: at(1),
            expires_at: at(10),
            revoked_at: None,
            used_at: None,
        };
        assert!(key.is_live(at(9)) && !key.is_live(at(10)));
        let revoked = ApiKey {
            revoked_at: Some(at(2)),
            ..key
        };
        assert!(!revoked.is_live(at(9)));
    }
}
