//! One-time tokens: letters carry them, the database holds only whether they were used.
//!
//! A token is `base64url(id ‖ MAC)`: 16 bytes that name its row and 32 that only the holder of the key can make. The MAC
//! binds purpose, id, the account's credential epoch and the log's epoch, so a token dies with any of them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Time, TokenId, UserId};

/// What a one-time token is for. One made for one purpose is worth nothing for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    VerifyEmail,
    ResetPassword,
    ChangeEmail,
    /// Takes a change of address back.
    RevertEmail,
}

impl Purpose {
    pub const ALL: [Self; 4] = [
        Self::VerifyEmail,
        Self::ResetPassword,
        Self::ChangeEmail,
        Self::RevertEmail,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ResetPassword => "reset_password",
            Self::ChangeEmail => "change_email",
            Self::RevertEmail => "revert_email",
        }
    }

    pub fn stored(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == word)
    }

    /// How long a token of this purpose serves by default.
    pub fn default_lifetime(self) -> Duration {
        match self {
            Self::VerifyEmail => Duration::from_hours(24),
            Self::ResetPassword => Duration::from_mins(15),
            Self::ChangeEmail => Duration::from_hours(1),
            Self::RevertEmail => Duration::from_hours(7 * 24),
        }
    }
}

/// A token as presented: its shape is right, nothing else is known yet. Debug shows the id alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Presented {
    pub id: TokenId,
    mac: [u8; 32],
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Presented({})", self.id)
    }
}

impl Presented {
    /// Takes a token apart; `None` for anything that is not exactly one (length, alphabet, no padding, no spare bits).
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 48] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (id, mac) = bytes.split_at(16);
        Some(Self {
            id: TokenId(Uuid::from_slice(id).ok()?),
            mac: mac.try_into().ok()?,
        })
    }

    /// Puts a token together, for the letter.
    pub fn assemble(id: TokenId, mac: &[u8; 32]) -> String {
        let mut bytes = [0; 48];
        bytes[..16].copy_from_slice(id.0.as_bytes());
        bytes[16..].copy_from_slice(mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Compares in constant time.
    pub fn has_mac(&self, expected: &[u8; 32]) -> bool {
        use subtle::ConstantTimeEq as _;
        self.mac.ct_eq(expected).into()
    }
}

/// A token's row.
#[derive(Debug, Clone)]
pub struct OneTimeToken {
    pub id: TokenId,
    pub purpose: Purpose,
    pub account: UserId,
    /// Which key made its MAC.
    pub key: String,
    pub credential_epoch: u32,
    pub log_epoch: u64,
    pub expires_at: Time,
    pub used_at: Option<Time>,
    /// Ended by a newer one of its purpose.
    pub ended_at: Option<Time>,
}

/// What a token is good for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemable {
    Yes,
    Used,
    /// Too late, or a newer one was asked for, or the credential it was bound to has changed. What takes a change back
    /// outlives further changes: they may be whoever's it is taken back from.
    Expired,
}

impl OneTimeToken {
    /// `credential_epoch` is the account's now.
    pub fn redeemable(&self, credential_epoch: u32, now: Time) -> Redeemable {
        if self.used_at.is_some() {
            Redeemable::Used
        } else if self.ended_at.is_some()
            || self.expires_at <= now
            || (self.credential_epoch != credential_epoch && self.purpose != Purpose::RevertEmail)
        {
            Redeemable::Expired
        } else {
            Redeemable::Yes
        }
    }

    /// What the MAC is computed over: fixed-width fields, so that no two tokens share a message.
    pub fn message(&self) -> [u8; 28] {
        let mut message = [0; 28];
        message[..16].copy_from_slice(self.id.0.as_bytes());
        message[16..20].copy_from_slice(&self.credential_epoch.to_be_bytes());
        message[20..].copy_from_slice(&self.log_epoch.to_be_bytes());
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_exact_token_parses() {
        let id = TokenId(Uuid::from_u128(7));
        let token = Presented::assemble(id, &[9; 32]);
        let parsed = Presented::parse(&token).expect("its own");
        assert!(parsed.id == id && parsed.has_mac(&[9; 32]) && !parsed.has_mac(&[8; 32]));
        for bad in [
            "",
            " ",
            "null",
            "0",
            &token[1..],
            &token[..63],
            &format!("{token}A"),
            &format!("{token}="),
            &format!(" {token}"),
        ] {
            assert_eq!(Presented::parse(bad), None, "{bad:?}");
        }
    }
}
