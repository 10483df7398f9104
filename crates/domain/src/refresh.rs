//! Refresh tokens: one use each, in families, and the judgement of a used one.
//!
//! A token is `base64url(id ‖ secret)`: 16 bytes that name its row (time-ordered, so that rows append) and 32 secret bytes,
//! stored as their SHA-256. Presenting a used token is theft until shown otherwise; within ten seconds, from the same
//! device and with the successor still unused, it is a parallel tab or a lost answer, and gets the same successor.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::session::Session;
use crate::{Account, AccountState, FamilyId, Time, TokenId};

/// A refresh token as presented. Debug shows the id alone.
#[derive(Clone)]
pub struct Presented {
    pub id: TokenId,
    secret: [u8; 32],
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Presented({})", self.id)
    }
}

impl Presented {
    /// `None` for anything that is not exactly one token.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 48] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (id, secret) = bytes.split_at(16);
        Some(Self {
            id: TokenId(Uuid::from_slice(id).ok()?),
            secret: secret.try_into().ok()?,
        })
    }

    pub fn new(id: TokenId, secret: [u8; 32]) -> Self {
        Self { id, secret }
    }

    /// The secret half, to be hashed or to derive the successor from.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The text a client holds.
    pub fn text(&self) -> String {
        let mut bytes = [0; 48];
        bytes[..16].copy_from_slice(self.id.0.as_bytes());
        bytes[16..].copy_from_slice(&self.secret);
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// How a used token was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub at: Time,
    /// A keyed digest of the device that used it.
    pub by: [u8; 32],
    pub successor: TokenId,
    /// The id of the key that the successor is derived under: keys rotate, and it must be derived again.
    pub successor_key: String,
    /// Whether the successor was used in its turn.
    pub successor_used: bool,
}

/// A refresh token's row with what it hangs on, read at once.
#[derive(Debug, Clone)]
pub struct RefreshToken {
    pub id: TokenId,
    /// SHA-256 of the secret half.
    pub hash: [u8; 32],
    pub family: FamilyId,
    pub generation: u32,
    /// The versions it was issued under.
    pub user_version: u32,
    pub global_version: u32,
    /// When the person proved a factor, for this token's family: what is proved later is not for who holds this one.
    pub proved_at: Time,
    pub expires_at: Time,
    pub used: Option<Use>,
    pub session: Session,
    pub account: Account,
    pub global: GlobalVersion,
}

/// The version all tokens share, as of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlobalVersion {
    /// What new tokens carry.
    pub current: u32,
    /// The lowest that is still accepted: the highest whose grace is over. It never falls, whatever follows.
    pub floor: u32,
}

/// Which version rule a token breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outdated {
    pub carried: u32,
    pub required: u32,
    /// By the global version; else by the user's.
    pub global: bool,
}

impl RefreshToken {
    /// Whether it would get a successor now, from whoever holds it.
    pub fn is_good(&self, now: Time) -> bool {
        now < self.expires_at
            && self.session.is_live(now)
            && self.account.state == AccountState::Active
            && self.used.is_none()
            && self.outdated().is_none()
    }

    /// Whether a rotation has left this token behind.
    pub fn outdated(&self) -> Option<Outdated> {
        if self.user_version < self.account.token_version {
            Some(Outdated {
                carried: self.user_version,
                required: self.account.token_version,
                global: false,
            })
        } else if self.global_version < self.global.floor {
            Some(Outdated {
                carried: self.global_version,
                required: self.global.floor,
                global: true,
            })
        } else {
            None
        }
    }
}

/// What a used token means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// The same device again, at once: give the same successor.
    HonestRetry,
    /// Somebody else holds it.
    Theft,
}

impl Use {
    /// `by` is the device that presents it now.
    pub fn judge(&self, by: &[u8; 32], now: Time, honest_retry: std::time::Duration) -> Reuse {
        let recent = now <= self.at + honest_retry;
        if recent && self.by == *by && !self.successor_used {
            Reuse::HonestRetry
        } else {
            Reuse::Theft
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_token_is_theft_unless_recent_same_device_and_successor_unused() {
        let at = Time::from_second(1_000).expect("in range");
        let successor = TokenId(Uuid::from_u128(2));
        let used = |successor_used| Use {
            at,
            by: [1; 32],
            successor,
            successor_key: "k1".to_owned(),
            successor_used,
        };
        let ten = std::time::Duration::from_secs(10);
        for (used, by, after, want) in [
            (used(false), [1; 32], 10, Reuse::HonestRetry),
            (used(false), [1; 32], 11, Reuse::Theft),
            (used(false), [2; 32], 1, Reuse::Theft),
            (used(true), [1; 32], 1, Reuse::Theft),
        ] {
            let now = at + std::time::Duration::from_secs(after);
            assert_eq!(used.judge(&by, now, ten), want);
        }
    }
}
