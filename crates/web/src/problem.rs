//! Problems: every refusal of the API in one shape (RFC 9457), with a code that programs can rely on and a page that
//! explains it.
//!
//! A handler says *what* is wrong, with [`Problem`]; the edge, which every answer passes, adds the address of the page, the
//! instance and the request's id (`Problem::render`).

use std::borrow::Cow;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use quivive_app::Failure;
use quivive_delivery::Fault;
use serde::Serialize;
use uuid::Uuid;

/// What a code means, for programs and for people.
#[derive(Debug)]
pub struct Meaning {
    /// Stable, for programs.
    pub code: &'static str,
    /// The status it usually comes with.
    pub status: StatusCode,
    /// The same for every occurrence.
    pub title: &'static str,
    /// What happened and what to do about it; the detail where there is nothing more particular to say.
    pub about: &'static str,
}

macro_rules! codes {
    ($($name:ident, $status:ident, $code:literal, $title:literal, $meaning:literal;)*) => {
        /// Every problem that the API can answer with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($name),* }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// What it means.
            pub fn meaning(self) -> &'static Meaning {
                match self {
                    $(Self::$name => {
                        const MEANING: &Meaning = &Meaning {
                            code: $code,
                            status: StatusCode::$status,
                            title: $title,
                            about: $meaning,
                        };
                        MEANING
                    })*
                }
            }
        }
    };
}

codes! {
    BadRequest, BAD_REQUEST, "bad_request", "The request could not be read",
        "Something about the request is not as HTTP wants it; the detail says what.";
    MalformedJson, BAD_REQUEST, "malformed_json", "The body is not JSON",
        "The body must be one JSON object in UTF-8, nested at most 127 deep. The detail says where it stops being one.";
    InvalidQuery, BAD_REQUEST, "invalid_query", "A query parameter is wrong",
        "A parameter is unknown, given twice, or has a value it cannot have. The errors name it.";
    InvalidCursor, BAD_REQUEST, "invalid_cursor", "There is no such place in the feed",
        "`after` is a position: 0 for the start, or the `next_cursor` of an earlier answer, with the `epoch` it had. Start again from 0.";
    InvalidToken, BAD_REQUEST, "invalid_token", "The token is not valid",
        "It was used already, is too old, was replaced by a newer one, or never was one. Ask for a new one, or sign in again.";
    RequestTimeout, REQUEST_TIMEOUT, "request_timeout", "The body took too long",
        "The whole body must arrive within ten seconds.";
    Unauthenticated, UNAUTHORIZED, "unauthenticated", "Nobody is signed in",
        "This needs an access token: `Authorization: Bearer …`. The one that was sent, if any, is not valid or not any more; refresh it or sign in again.";
    InvalidCredentials, UNAUTHORIZED, "invalid_credentials", "The address or the password is wrong",
        "Check both and try again, or ask for a new password. After several wrong passwords none is compared for a while.";
    Forbidden, FORBIDDEN, "forbidden", "That is not allowed",
        "You are signed in, but your roles do not permit this.";
    StepUpRequired, FORBIDDEN, "step_up_required", "Show again that it is you",
        "This needs a proof of your password from the last few minutes: send it to `POST /api/v1/me/step-up`, and repeat this with the access token of the answer.";
    InvalidPassword, FORBIDDEN, "invalid_password", "The current password is wrong",
        "Give the password that the account has now. After several wrong ones none is compared for a while.";
    EmailNotVerified, FORBIDDEN, "email_not_verified", "The address is not confirmed",
        "The password is right. Open the link in the letter that was sent, or ask for another one.";
    AccountLocked, FORBIDDEN, "account_locked", "The account is locked",
        "The password is right, but an administrator has locked the account.";
    AccountInactive, FORBIDDEN, "account_inactive", "The account is not active",
        "The password is right, but the account was deactivated.";
    Vetoed, FORBIDDEN, "vetoed", "A rule of this server does not permit it",
        "The request was in order, but the program that this server is part of refused it. Nothing was changed. Ask the people who run it.";
    RegistrationClosed, FORBIDDEN, "registration_closed", "Registration is closed",
        "This server does not take new accounts. Ask the people who run it.";
    NotFound, NOT_FOUND, "not_found", "There is nothing here",
        "Nothing is served at this address, or not to you.";
    MethodNotAllowed, METHOD_NOT_ALLOWED, "method_not_allowed", "This method is not for this address",
        "The `Allow` header says which methods are.";
    WrongState, CONFLICT, "wrong_state", "There is nothing to do",
        "What was asked for is so already, or nothing is left that it could be done to. Nothing was changed.";
    LastAdministrator, CONFLICT, "last_administrator", "This is the last administrator",
        "Without them nobody could administer this server. Make another administrator first.";
    CursorExpired, GONE, "cursor_expired", "The feed does not go on from there",
        "The log was restored from a backup since, or it holds what comes after the cursor no more. The detail says which, and where to begin again.";
    TooManyEndpoints, CONFLICT, "too_many_endpoints", "There are enough webhook endpoints",
        "A server has a thousand at most. Remove one that is not needed.";
    RecoveryRunning, CONFLICT, "recovery_running", "A recovery is under way",
        "The endpoint is being sent earlier events already. Wait until that is done.";
    PreconditionFailed, PRECONDITION_FAILED, "precondition_failed", "It was changed since",
        "It is not what `If-Match` names any more. Nothing was changed: read it again, and decide anew.";
    PayloadTooLarge, PAYLOAD_TOO_LARGE, "payload_too_large", "The body is too large",
        "At most 64 KiB are read.";
    UnsupportedMediaType, UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body is of another type",
        "Send `Content-Type: application/json`, not compressed.";
    MisdirectedRequest, MISDIRECTED_REQUEST, "misdirected_request", "This server does not go by that name",
        "The request names a host that this server is not configured for.";
    InvalidGrace, UNPROCESSABLE_ENTITY, "invalid_grace", "There can be no such grace period",
        "After a breach nothing that was issued before may be good for anything, and no grace period outlasts every token. The errors say what can be.";
    InvalidFields, UNPROCESSABLE_ENTITY, "invalid_fields", "Some fields are wrong",
        "A field is missing, unknown, given twice, too long, or of the wrong type. The errors name each one.";
    SchemaConflict, CONFLICT, "schema_conflict", "The schema does not go with those that are registered",
        "A version of a type stays as it is, and the next one may only add to it. The error says what stands against it and what to do.";
    UnsupportedSchema, UNPROCESSABLE_ENTITY, "unsupported_schema", "The schema cannot be checked",
        "It has a keyword that nothing here checks, or that is not as it should be. The error names it.";
    IdempotencyMismatch, UNPROCESSABLE_ENTITY, "idempotency_mismatch", "That was given before with other content",
        "The `id` of an event, or the `Idempotency-Key` of the request, was used before for something else: an `id` within seven days, a key within a day.";
    IdempotencyKeyRefused, BAD_REQUEST, "idempotency_key_refused", "This cannot be repeated",
        "What is answered here is a secret, or changes: it is not kept. Send the request without `Idempotency-Key`.";
    IdempotencyInProgress, CONFLICT, "idempotency_in_progress", "The first of these requests is under way",
        "A request with the same `Idempotency-Key` is being carried out. Its answer can be had when it has one.";
    IdempotencyAnswerLost, CONFLICT, "idempotency_answer_lost", "It was decided, and the answer is lost",
        "A request with the same `Idempotency-Key` came to its end, and the server stopped before its answer was kept. Look at what there is now.";
    UnknownScope, UNPROCESSABLE_ENTITY, "unknown_scope", "There is no such scope",
        "An API key can be given the scopes that the errors name, and no others.";
    InvalidUrl, UNPROCESSABLE_ENTITY, "invalid_url", "This URL will not be called",
        "It must be https, to a host and a port that may be called, without a user, a password or a fragment. The error says which it is.";
    PrivateAddress, UNPROCESSABLE_ENTITY, "private_address", "The host is not on the public Internet",
        "One of its addresses is of a private, local or special network. The configuration can allow networks by name, `webhooks.allow_networks`.";
    UnresolvedHost, UNPROCESSABLE_ENTITY, "unresolved_host", "The host has no address",
        "Its name does not resolve now, so that nobody can say whether it may be called. Check it, and try again.";
    InvalidEmail, UNPROCESSABLE_ENTITY, "invalid_email", "This is no e-mail address",
        "It should look like name@example.org, in letters that cannot be mistaken for others.";
    WeakPassword, UNPROCESSABLE_ENTITY, "weak_password", "The password is too weak",
        "It is too short, too long, too easy to guess, or holds the address or the name of this service.";
    PasswordReused, UNPROCESSABLE_ENTITY, "password_reused", "The password was used before",
        "It is the current one or one of the last ones. Choose one that is new.";
    RateLimited, TOO_MANY_REQUESTS, "rate_limited", "Too many requests",
        "Too many requests of this kind came from your network within a minute. `Retry-After` says how many seconds to wait.";
    HeadersTooLarge, REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "The headers are too large",
        "At most 16 KiB of header fields are read.";
    Internal, INTERNAL_SERVER_ERROR, "internal", "Something went wrong",
        "That is a fault of the server. Tell the people who run it the request's id.";
    Conflict, SERVICE_UNAVAILABLE, "conflict", "Others were faster",
        "What the request depends on kept changing while it was decided. Nothing was changed by it; try again.";
    Busy, SERVICE_UNAVAILABLE, "busy", "The server is busy",
        "A queue is full. Nothing was done; `Retry-After` says how many seconds to wait.";
    Unavailable, SERVICE_UNAVAILABLE, "unavailable", "The server cannot do that now",
        "It is stopping, has no room left, or did not finish in time. Try again later.";
}

impl Code {
    /// By the word that programs see.
    pub fn find(code: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.meaning().code == code)
    }

    /// Whether a handler that answers so has told no workflow of the request: it could not be read, or nothing was free for it.
    pub(crate) fn is_before_admission(self) -> bool {
        matches!(
            self,
            Self::BadRequest
                | Self::MalformedJson
                | Self::InvalidFields
                | Self::InvalidQuery
                | Self::RequestTimeout
                | Self::PayloadTooLarge
                | Self::UnsupportedMediaType
                | Self::Busy
        )
    }

    /// For an answer that a library gave without one.
    fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::PayloadTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            status if status.is_server_error() => Self::Internal,
            _ => Self::BadRequest,
        }
    }
}

/// What is wrong with one field or parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// A JSON Pointer into the body (RFC 6901), or `?name` for a query parameter.
    #[schema(example = "/email")]
    pub pointer: String,
    /// Stable, for programs.
    #[schema(example = "too_long")]
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            code,
            message: message.into(),
        }
    }
}

/// A refusal under way to its caller.
#[derive(Debug, Clone)]
pub struct Problem {
    pub code: Code,
    pub status: StatusCode,
    pub detail: Cow<'static, str>,
    pub errors: Vec<FieldError>,
    pub retry_after_secs: Option<u64>,
    pub(crate) is_at_once: bool,
}

/// A refusal (RFC 9457).
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document<'a> {
    /// The address of a page that explains the code.
    #[serde(rename = "type")]
    #[schema(format = "uri")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    /// The path that was asked for.
    instance: &'a str,
    /// Stable, for programs.
    #[schema(example = "invalid_fields")]
    code: &'static str,
    /// Present when particular fields are to blame.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [FieldError],
    /// Also in the header `X-Request-Id`, and in the events of the request.
    #[schema(value_type = String, format = "uuid")]
    request_id: Uuid,
}

/// How long a caller waits before it tries again what failed for want of room or quiet.
const SOON_SECS: u64 = 1;
const LATER_SECS: u64 = 30;

impl Problem {
    /// As its code says.
    pub fn new(code: Code) -> Self {
        let Meaning { status, about, .. } = code.meaning();
        Self {
            code,
            status: *status,
            detail: Cow::Borrowed(about),
            errors: Vec::new(),
            retry_after_secs: None,
            is_at_once: false,
        }
    }

    /// With something more particular to say.
    pub fn with_detail(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            detail: detail.into(),
            ..Self::new(code)
        }
    }

    /// Because of one field.
    pub fn of_field(code: Code, error: FieldError) -> Self {
        Self {
            detail: Cow::Owned(error.message.clone()),
            errors: vec![error],
            ..Self::new(code)
        }
    }

    /// Because of one field, in the code's own words.
    pub fn at(code: Code, pointer: &str) -> Self {
        let meaning = code.meaning();
        Self::of_field(code, FieldError::new(pointer, meaning.code, meaning.about))
    }

    /// Because a field of the body cannot be what it is.
    pub fn of_invalid(
        pointer: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self::of_field(Code::InvalidFields, FieldError::new(pointer, code, message))
    }

    /// Because of fields of the body, each of which is named.
    pub fn of_invalid_fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{}: {}", only.pointer, only.message).into(),
            _ => Code::InvalidFields.meaning().about.into(),
        };
        Self {
            detail,
            errors,
            ..Self::new(Code::InvalidFields)
        }
    }

    /// With another status than the code's usual one.
    #[must_use]
    pub fn and_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// With a time to wait.
    #[must_use]
    pub fn and_retry_after(mut self, secs: u64) -> Self {
        self.retry_after_secs = Some(secs.max(1));
        self
    }

    /// It knows nothing of whom the request is about, and need not come as late as others (see [`crate::even`]).
    fn and_at_once(mut self) -> Self {
        self.is_at_once = true;
        self
    }

    /// For what the infrastructure did not do. Its text goes to the operators' log, not to the caller.
    pub fn of_fault(fault: &Fault) -> Self {
        match fault {
            Fault::Busy { retry_after, .. } => {
                let secs = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
                Self::new(Code::Busy).and_retry_after(secs)
            }
            Fault::NoSpace | Fault::Stopped(_) | Fault::Unreachable(_) => {
                tracing::error!(%fault, "a request could not be served");
                Self::new(Code::Unavailable).and_retry_after(LATER_SECS)
            }
            _ => {
                tracing::error!(%fault, "a request could not be served");
                Self::new(Code::Internal)
            }
        }
    }

    /// For a command without a reply; `refused` maps the business refusals.
    pub fn of_failure<R>(failure: Failure<R>, refused: impl FnOnce(R) -> Self) -> Self {
        match failure {
            Failure::Refused(refusal) => refused(refusal),
            Failure::Conflict => Self::new(Code::Conflict).and_retry_after(SOON_SECS),
            Failure::Closed => Self::new(Code::Unavailable).and_retry_after(SOON_SECS),
            Failure::Vetoed(_) => Self::new(Code::Vetoed),
            Failure::Internal => Self::new(Code::Internal),
            Failure::NotAdmitted(fault) => Self::of_fault(&fault).and_at_once(),
            Failure::Fault(fault) => Self::of_fault(&fault),
        }
    }

    /// What a library answered with an empty body.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        Self::new(Code::of_status(status)).and_status(status)
    }

    /// Turns an answer into the document, keeping its headers. `instance` is a path without its query, which may hold a
    /// token.
    pub(crate) fn render(
        &self,
        answer: Response,
        public_url: &str,
        instance: &str,
        request_id: Uuid,
    ) -> Response {
        let Meaning { code, title, .. } = self.code.meaning();
        let document = Document {
            kind: format!("{public_url}/problems/{code}"),
            title,
            status: self.status.as_u16(),
            detail: &self.detail,
            instance,
            code,
            errors: &self.errors,
            request_id,
        };
        // A document of strings and numbers always serialises.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let (mut parts, _) = answer.into_parts();
        parts.status = self.status;
        parts.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        parts.headers.remove(axum::http::header::CONTENT_LENGTH);
        Response::from_parts(parts, body.into())
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::of_fault(&fault)
    }
}

/// The headers and the problem itself; the edge writes the body.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut answer = self.status.into_response();
        if let Some(secs) = self.retry_after_secs {
            answer
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            answer
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer.extensions_mut().insert(self);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_word_and_no_two_share_one() {
        for code in Code::ALL {
            let meaning = code.meaning();
            assert_eq!(Code::find(meaning.code), Some(*code));
            assert!(meaning.status.is_client_error() || meaning.status.is_server_error());
        }
        assert_eq!(Code::find("no_such_code"), None);
    }

    #[tokio::test]
    async fn a_problem_is_the_document_of_rfc_9457() {
        let problem = Problem::of_field(
            Code::InvalidFields,
            FieldError::new("/email", "too_long", "At most 320 bytes."),
        );
        let answer = problem.render(
            problem.clone().into_response(),
            "https://id.example",
            "/api/v1/users",
            Uuid::from_u128(7),
        );
        assert_eq!(answer.status(), 422);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
        let body = axum::body::to_bytes(answer.into_body(), 10_000)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let want = serde_json::json!({
            "type": "https://id.example/problems/invalid_fields",
            "title": "Some fields are wrong",
            "status": 422,
            "detail": "At most 320 bytes.",
            "instance": "/api/v1/users",
            "code": "invalid_fields",
            "errors": [{"pointer": "/email", "code": "too_long", "message": "At most 320 bytes."}],
            "request_id": "00000000-0000-0000-0000-000000000007",
        });
        assert_eq!(body, want);
    }

    #[test]
    fn a_full_queue_says_when_to_come_back_and_a_fault_says_nothing() {
        let busy = Problem::of_fault(&Fault::Busy {
            what: "the hashing queue",
            retry_after: std::time::Duration::from_millis(1_200),
        });
        assert_eq!((busy.code, busy.retry_after_secs), (Code::Busy, Some(2)));
        let fault = Problem::of_fault(&Fault::Internal(
            "the password of the database is hunter2".to_owned(),
        ));
        assert_eq!(fault.code, Code::Internal);
        assert!(!fault.detail.contains("hunter2"));
        let refused = Problem::new(Code::InvalidToken)
            .and_status(StatusCode::UNAUTHORIZED)
            .into_response();
        assert_eq!(refused.headers()[WWW_AUTHENTICATE], "Bearer");
    }
}
