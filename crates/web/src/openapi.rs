//! The OpenAPI 3.1 document: made from the handlers' descriptions and their declarations, committed as `openapi.json`.

use axum::http::Method;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, Content, ContentBuilder, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApi,
    OpenApiBuilder, Ref, RefOr, Response, ResponseBuilder, Type,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::edge::idempotency::MAX_KEY_BYTES;
use crate::problem::{Document, FieldError};
use crate::routes::{self, Authority, Repetition, Route};

const ABOUT: &str = "An identity server whose every step is an event.\n\n\
    Bodies are JSON objects in UTF-8 of at most 64 KiB; unknown fields are refused. Every refusal is an \
    `application/problem+json` (RFC 9457) with a `code`; its `type` is the address of a page that explains it. Every answer \
    has an `X-Request-Id`, which the events of the request hold, too. Requests are counted for each source and family of \
    routes: `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` say how many are left, and 429 comes with \
    `Retry-After`. A backend that calls for its users says for whom: `Quivive-Client-IP` has the user's address, and \
    `Quivive-Api-Key` an API key with the scope `client.forward`. Limits and events then go by that address; without such a \
    key it is ignored.";

/// Describes a body's shape by its fields.
macro_rules! described {
    ($type:ident) => {
        described!($type as $type);
    };
    ($type:ident as $name:ident) => {
        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $crate::json::schema(<$type as $crate::json::Body>::FIELDS)
            }
        }

        impl utoipa::ToSchema for $type {
            fn name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed(stringify!($name))
            }
        }
    };
}
pub(crate) use described;

/// The document without its paths.
pub(crate) fn frame() -> OpenApi {
    let mut license = LicenseBuilder::new()
        .name(env!("CARGO_PKG_LICENSE"))
        .build();
    license.identifier = Some(env!("CARGO_PKG_LICENSE").to_owned());
    let info = InfoBuilder::new()
        .title("Quivive")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license))
        .build();
    OpenApiBuilder::new().info(info).build()
}

/// The whole document, as it is served and committed.
pub fn openapi() -> OpenApi {
    let mut api = routes::api().document();
    let components = api.components.get_or_insert_with(Components::new);
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.bearer_format = Some("JWT".to_owned());
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let mut key = Http::new(HttpAuthScheme::Bearer);
    key.bearer_format = Some("qk_<id>_<secret>".to_owned());
    components.add_security_scheme("api_key", SecurityScheme::Http(key));
    components
        .schemas
        .insert(Document::name().into_owned(), Document::schema());
    components
        .schemas
        .insert(FieldError::name().into_owned(), FieldError::schema());
    api
}

/// What is described of a path, by method.
pub(crate) fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
        (Method::HEAD, &mut item.head),
        (Method::OPTIONS, &mut item.options),
        (Method::TRACE, &mut item.trace),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Adds what follows from a route's declaration and from the shape of every refusal.
pub(crate) fn complete(operation: &mut Operation, route: &Route) {
    match route.authority {
        Authority::Bearer | Authority::Admin | Authority::May(_) => guard(operation, &["bearer"]),
        Authority::AdminOr(_) => guard(operation, &["bearer", "api_key"]),
        Authority::Service(_) => guard(operation, &["api_key"]),
        Authority::Open | Authority::Probe | Authority::Loopback => {}
    }
    if let Some(needed) = route.authority.needs() {
        add(
            operation,
            "403",
            &format!("`forbidden`: this needs {needed}"),
        );
    }
    if let Some(body) = &operation.request_body {
        let is_json =
            matches!(body, RefOr::T(body) if body.content.contains_key("application/json"));
        if is_json {
            add(operation, "400", "`malformed_json`");
        }
        add(operation, "413", "`payload_too_large`");
        add(operation, "415", "`unsupported_media_type`");
        add(operation, "422", "`invalid_fields`");
    }
    match route.repetition {
        Repetition::Answered => repeatable(operation),
        Repetition::Refused => add(operation, "400", "`idempotency_key_refused`"),
        Repetition::Own | Repetition::Harmless => {}
    }
    if let Some(family) = route.family {
        add(
            operation,
            "429",
            &format!(
                "`rate_limited`: {} a minute from one source",
                family.limit()
            ),
        );
        add(
            operation,
            "503",
            "`busy`, `conflict`, `unavailable`: nothing was done; try again after `Retry-After` seconds",
        );
        for (status, response) in &mut operation.responses.responses {
            if let (true, RefOr::T(response)) = (status.starts_with(['4', '5']), response) {
                response
                    .content
                    .entry("application/problem+json".to_owned())
                    .or_insert_with(problem);
            }
        }
    }
}

/// Its caller may send it again.
fn repeatable(operation: &mut Operation) {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(MAX_KEY_BYTES))
        .pattern(Some("^[ -~]*$"));
    let about = "Up to 255 visible characters, of your choice: sent again within a day by the same caller, with the same body, \
        it gets the same answer, and nothing is done twice. Refusals are not kept.";
    let header = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .description(Some(about))
        .schema(Some(text))
        .build();
    operation
        .parameters
        .get_or_insert_default()
        .push(RefOr::T(header));
    add(operation, "400", "`bad_request`");
    add(
        operation,
        "409",
        "`idempotency_in_progress`, `idempotency_answer_lost`",
    );
    add(operation, "422", "`idempotency_mismatch`");
}

/// One of these will do.
fn guard(operation: &mut Operation, schemes: &[&str]) {
    let one = |scheme: &&str| SecurityRequirement::new(*scheme, Vec::<String>::new());
    operation.security = Some(schemes.iter().map(one).collect());
    add(operation, "401", "`unauthenticated`");
}

fn add(operation: &mut Operation, status: &str, description: &str) {
    let responses = &mut operation.responses.responses;
    responses
        .entry(status.to_owned())
        .or_insert_with(|| RefOr::T(answer(description)));
}

fn answer(description: &str) -> Response {
    ResponseBuilder::new().description(description).build()
}

fn problem() -> RefOr<Content> {
    RefOr::T(
        ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(Document::name())))
            .build(),
    )
}

#[cfg(test)]
mod tests;
