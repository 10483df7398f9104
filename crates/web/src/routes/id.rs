//! Ids in paths. What is none names nothing, and is answered as an id that nothing has.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use quivive_domain::{ApiKeyId, EndpointId, SessionId, UserId};
use uuid::Uuid;

use crate::problem::{Code, Problem};

/// The one parameter of a path.
pub(super) struct Id<T>(pub T);

/// What a path names by a UUID.
pub(super) trait Named {
    /// What is said where there is none.
    const ABSENT: &'static str;

    fn of(id: Uuid) -> Self;
}

impl Named for UserId {
    const ABSENT: &'static str = "There is no such user.";

    fn of(id: Uuid) -> Self {
        Self(id)
    }
}

impl Named for SessionId {
    const ABSENT: &'static str = "You have no such session.";

    fn of(id: Uuid) -> Self {
        Self(id)
    }
}

impl Named for EndpointId {
    const ABSENT: &'static str = "There is no endpoint with this id.";

    fn of(id: Uuid) -> Self {
        Self(id)
    }
}

impl Named for ApiKeyId {
    const ABSENT: &'static str = "There is no such key, or it was revoked before.";

    fn of(id: Uuid) -> Self {
        Self(id)
    }
}

/// There is no such thing.
pub(super) fn absent<T: Named>() -> Problem {
    Problem::with_detail(Code::NotFound, T::ABSENT)
}

impl<S: Send + Sync, T: Named> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let id = text.ok().and_then(|Path(text)| Uuid::try_parse(&text).ok());
        id.map(|id| Self(T::of(id))).ok_or_else(absent::<T>)
    }
}
