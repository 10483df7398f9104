//! The `AsyncAPI` 3 document: every event as a message, made from the catalogue, committed as `asyncapi.json`.

use quivive_delivery::cloudevents::{self, MEDIA_TYPE};
use quivive_delivery::{Catalogue, EventSpec};
use serde_json::{Map, Value, json};

const ABOUT: &str = "Every event of Quivive, as a CloudEvents 1.0 message. The messages of one `partitionkey` are in order, \
    by whatever way they come. A version of a type that was published only grows: fields that may be missing, values of \
    codes. Fields with `x-personal` are null.";

const FEED: &str = "The ordered feed, to be read with `GET` and `Accept: application/cloudevents-batch+json` by an administrator: \
    an array of messages, oldest first, and `Link: <?after=…>; rel=\"next\"` to go on with, also at the end. \
    `application/json` is the same feed in the envelope that the OpenAPI document describes, and `/api/v1/events/stream` says \
    that as it happens.";

/// The whole document, as it is served and committed.
pub fn asyncapi(catalogue: &Catalogue) -> Value {
    let types = catalogue.all();
    let messages: Map<_, _> = types
        .iter()
        .map(|spec| (spec.kind.to_owned(), message(spec)))
        .collect();
    let references: Map<_, _> = types
        .iter()
        .map(|spec| {
            (
                spec.kind.to_owned(),
                reference(&format!("components/messages/{}", spec.kind)),
            )
        })
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Quivive: events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": env!("CARGO_PKG_LICENSE")},
        },
        "defaultContentType": MEDIA_TYPE,
        "channels": {
            "events": {
                "address": "/api/v1/events",
                "title": "All events",
                "description": FEED,
                "messages": references,
            },
        },
        "operations": {
            "tellEvents": {
                "action": "send",
                "channel": reference("channels/events"),
                "title": "Tell what happened",
                "security": [reference("components/securitySchemes/bearer")],
                "bindings": {"http": {"method": "GET", "bindingVersion": "0.3.0"}},
            },
        },
        "components": {
            "messages": messages,
            "schemas": {"CloudEvent": cloudevents::schema()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    })
}

fn reference(to: &str) -> Value {
    json!({"$ref": format!("#/{to}")})
}

fn message(spec: &EventSpec) -> Value {
    let mut data = cloudevents::data_schema(spec);
    // The document's own dialect is not another one.
    data.as_object_mut().map(|data| data.remove("$schema"));
    json!({
        "name": spec.kind,
        "title": spec.name,
        "contentType": MEDIA_TYPE,
        "tags": [{"name": spec.category}],
        "payload": {
            "allOf": [
                reference("components/schemas/CloudEvent"),
                {
                    "type": "object",
                    "properties": {
                        "type": {"const": spec.kind},
                        "dataversion": {"const": spec.version},
                        "data": data,
                    },
                },
            ],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/asyncapi.json");

    fn document() -> Value {
        let workflows = quivive_app::switchboard::workflows().unwrap();
        asyncapi(workflows.catalogue())
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "UPDATE_GOLDEN=1 rewrites the golden file; nothing else reads it"
    )]
    fn the_committed_document_is_the_one_that_is_served() {
        let now = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(GOLDEN, &now).unwrap();
        }
        let committed = std::fs::read_to_string(GOLDEN).unwrap_or_default();
        assert!(
            now == committed,
            "crates/web/asyncapi.json differs: UPDATE_GOLDEN=1 writes it; look at git diff"
        );
    }

    #[test]
    fn every_type_is_a_message_and_every_reference_leads_somewhere() {
        let document = document();
        let workflows = quivive_app::switchboard::workflows().unwrap();
        for spec in workflows.catalogue().all() {
            let parts = &document["components"]["messages"][spec.kind]["payload"]["allOf"];
            assert_eq!(parts[1]["properties"]["type"]["const"], spec.kind);
            assert!(document["channels"]["events"]["messages"][spec.kind].is_object());
        }
        let mut references = 0;
        let mut open = vec![&document];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(fields) => {
                    if let Some(to) = fields.get("$ref").and_then(Value::as_str) {
                        references += 1;
                        let pointer = to.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{to}");
                    }
                    open.extend(fields.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
        assert_eq!(references, 2 * workflows.catalogue().all().len() + 2);
    }
}
