//! A newtype for each identifier, so that one cannot be given where another is meant.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )*};
}

id! {
    /// A person's account.
    UserId
    /// One sign-in, from its first token to its end.
    SessionId
    /// A chain of refresh tokens, each the successor of the one before.
    FamilyId
    /// A refresh token or a one-time token: names it, opens nothing.
    TokenId
    /// A browser or an app that signed in. It proves nothing; the device token does.
    DeviceId
    /// A webhook endpoint.
    EndpointId
    /// What a service signs its requests with: names it, opens nothing.
    ApiKeyId
}
