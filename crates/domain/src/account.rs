//! An account and what its state allows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Address, Time, UserId};

/// Whether an account may be used. An automatic lock after wrong passwords is not a state: it closes the password path
/// alone (see [`crate::guess`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    Active,
    /// Deactivated.
    Inactive,
    /// Locked by an administrator.
    Locked,
}

impl AccountState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Locked => "locked",
        }
    }

    /// From its stored word; anything unknown is treated as inactive, which allows nothing.
    pub fn stored(word: &str) -> Self {
        match word {
            "active" => Self::Active,
            "locked" => Self::Locked,
            _ => Self::Inactive,
        }
    }
}

/// A role that the product itself knows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Admin,
    Support,
    User,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Admin, Self::Support, Self::User];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Support => "support",
            Self::User => "user",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// A password hash: a PHC string, or what another system made. Debug shows its algorithm alone.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// Its text, for the hasher and the store.
    pub fn phc(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = self.0.contains('$').then(|| self.0.split('$'));
        let algorithm = parts.and_then(|mut parts| parts.find(|part| !part.is_empty()));
        write!(f, "PasswordHash({})", algorithm.unwrap_or("?"))
    }
}

/// A person's account, as read.
#[derive(Debug, Clone)]
pub struct Account {
    pub id: UserId,
    pub email: Address,
    pub display_name: Option<String>,
    pub locale: String,
    pub state: AccountState,
    /// When the address was shown to be theirs.
    pub verified_at: Option<Time>,
    pub password: Option<PasswordHash>,
    /// Raised by a change of password or address and by deactivation; every one-time token is bound to it.
    pub credential_epoch: u32,
    /// Raised by everything that must stop a grant under way; every grant is fenced by it.
    pub security_version: u32,
    /// The lowest version a token of this user may carry.
    pub token_version: u32,
    pub roles: Vec<Role>,
    pub created_at: Time,
}

impl Account {
    /// A fresh, unverified account.
    pub fn new(id: UserId, email: Address, password: PasswordHash, now: Time) -> Self {
        Self {
            id,
            email,
            display_name: None,
            locale: "en".to_owned(),
            state: AccountState::Active,
            verified_at: None,
            password: Some(password),
            credential_epoch: 1,
            security_version: 1,
            token_version: 1,
            roles: vec![Role::User],
            created_at: now,
        }
    }

    /// Whether a reset may be asked for and confirmed. Unverified accounts may: the letter proves the address.
    pub fn may_recover(&self) -> bool {
        self.state == AccountState::Active
    }

    pub fn is_admin(&self) -> bool {
        self.roles.contains(&Role::Admin)
    }
}

#[cfg(test)]
mod tests {
    use super::PasswordHash;

    #[test]
    fn of_a_hash_its_algorithm_alone_is_shown() {
        for (text, shown) in [
            ("$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA", "argon2id"),
            ("pbkdf2_sha256$1000$salt$hash", "pbkdf2_sha256"),
            ("bcrypt_sha256$$2b$12$salt", "bcrypt_sha256"),
            ("hunter2", "?"),
            ("", "?"),
        ] {
            let hash = PasswordHash::new(text.to_owned());
            assert_eq!(format!("{hash:?}"), format!("PasswordHash({shown})"));
        }
    }
}
