//! Types that come while the program runs: somebody registered a schema for them, and no Rust type stands for them.
//!
//! Their names begin with `custom.`, so that none can be taken for one of the program's. A newer version of such a type only
//! adds to the one before ([`crate::schema::breaks`]), so what is stored with an old one is read as it is.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Map, Value};

use super::{Catalogue, EventSpec, Field, kind_of};
use crate::event::{EventMeta, Past, Phase};

/// What the names of all of them begin with.
pub const CUSTOM: &str = "custom.";

/// Of such a name, in bytes.
const MAX_NAME_BYTES: usize = 100;

/// Whether a name may be that of such a type: `custom.order_placed`, `custom.shop.order.placed`.
pub fn is_custom_name(name: &str) -> bool {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    name.len() <= MAX_NAME_BYTES
        && name
            .strip_prefix(CUSTOM)
            .is_some_and(|rest| rest.split('.').all(word))
}

/// A type that was registered.
#[derive(Debug, Clone)]
struct Registered {
    /// A type is never taken away again, so what is told of it lives as long as the program.
    spec: &'static EventSpec,
    order_key: Option<Arc<str>>,
}

/// All of them. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct RegisteredTypes(Arc<RwLock<BTreeMap<&'static str, Registered>>>);

impl RegisteredTypes {
    fn get<T>(&self, kind: &str, tell: impl FnOnce(&Registered) -> T) -> Option<T> {
        let types = self.0.read().unwrap_or_else(PoisonError::into_inner);
        types.get(kind).map(tell)
    }
}

impl Catalogue {
    /// Makes a registered type known, with the schemas of all its versions, from 1, and a JSON Pointer to the field that
    /// is its order key. What is known of more versions than are given stays: of two that come at once the newer counts.
    pub fn register(&self, kind: &str, schemas: &[Value], order_key: Option<&str>) {
        let version = u32::try_from(schemas.len()).unwrap_or(u32::MAX);
        let [past @ .., current] = schemas else {
            return;
        };
        let mut types = self
            .registered
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if self.names.contains_key(kind)
            || types
                .get(kind)
                .is_some_and(|known| known.spec.version >= version)
        {
            return;
        }
        let spec = self.spec_of(kind, version, past, current);
        let registered = Registered {
            spec: Box::leak(Box::new(spec)),
            order_key: order_key.map(Into::into),
        };
        types.insert(registered.spec.kind, registered);
    }

    fn spec_of(&self, kind: &str, version: u32, past: &[Value], current: &Value) -> EventSpec {
        let kind: &'static str = String::leak(kind.to_owned());
        let meta = EventMeta {
            kind,
            version,
            name: kind,
            audit: String::leak(kind.to_ascii_uppercase().replace('.', "_")),
            aliases: &[],
        };
        let past: Vec<_> = past
            .iter()
            .map(|schema| Past {
                schema: String::leak(schema.to_string()),
                upcast: |_| {},
            })
            .collect();
        let class = self.class(&meta);
        EventSpec {
            name: meta.name,
            kind,
            version,
            phase: Phase::Fact,
            workflow: None,
            fields: fields(current),
            aliases: &[],
            audit_action: meta.audit,
            category: class.category,
            priority: class.priority,
            schema: current.clone(),
            past: Vec::leak(past),
            rewrite: |_, body| Ok(body.clone()),
        }
    }

    /// The registered types, by name.
    pub fn registered(&self) -> Vec<&'static EventSpec> {
        let types = self
            .registered
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        types.values().map(|registered| registered.spec).collect()
    }

    /// A registered type by its name.
    pub fn registered_type(&self, kind: &str) -> Option<&'static EventSpec> {
        self.registered.get(kind, |registered| registered.spec)
    }

    /// Where in its data the order key of a registered type is, as a JSON Pointer.
    pub fn order_key(&self, kind: &str) -> Option<Arc<str>> {
        self.registered
            .get(kind, |registered| registered.order_key.clone())?
    }
}

fn fields(schema: &Value) -> Vec<Field> {
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|it| it == name));
    properties
        .iter()
        .map(|(name, schema)| Field {
            name: String::leak(name.clone()),
            kind: kind_of(schema),
            optional: !is_required(name),
            personal: schema["x-personal"] == true,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalogue::Class;
    use crate::envelope::Priority;

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::new(|_| Class {
            priority: Priority::Normal,
            category: "operation",
        });
        crate::events::register(&mut catalogue).unwrap();
        catalogue
    }

    fn schema(fields: &[&str]) -> Value {
        let each = |name: &&str| ((*name).to_owned(), json!({"type": "string"}));
        json!({"type": "object", "properties": fields.iter().map(each).collect::<Map<_, _>>(), "required": ["id"]})
    }

    #[test]
    fn a_registered_type_is_known_as_the_others_are_and_to_every_clone() {
        let catalogue = catalogue();
        let clone = catalogue.clone();
        let (one, two) = (schema(&["id"]), schema(&["id", "note"]));
        catalogue.register(
            "custom.order.placed",
            std::slice::from_ref(&one),
            Some("/id"),
        );
        catalogue.register(
            "custom.order.placed",
            &[one.clone(), two.clone()],
            Some("/id"),
        );
        // Late: what is known already is newer.
        catalogue.register(
            "custom.order.placed",
            std::slice::from_ref(&one),
            Some("/id"),
        );
        let spec = clone.find("custom.order.placed").expect("known");
        assert_eq!(
            (spec.version, spec.phase, spec.audit_action),
            (2, Phase::Fact, "CUSTOM_ORDER_PLACED")
        );
        assert_eq!(spec.schema_of(1).as_deref(), Some(&one));
        assert_eq!(spec.schema_of(2).as_deref(), Some(&two));
        let fields: Vec<_> = spec
            .fields
            .iter()
            .map(|field| (field.name, field.optional))
            .collect();
        assert_eq!(fields, [("id", false), ("note", true)]);
        assert_eq!(
            clone.order_key("custom.order.placed").as_deref(),
            Some("/id")
        );
        assert_eq!(clone.registered().len(), 1);
        assert!(
            clone
                .all()
                .iter()
                .all(|spec| !spec.kind.starts_with(CUSTOM))
        );
        assert!(clone.find("custom.order").is_none());
    }

    #[test]
    fn a_name_is_words_behind_the_prefix() {
        for name in ["custom.order", "custom.shop.order_placed", "custom.a.b.c1"] {
            assert!(is_custom_name(name), "{name}");
        }
        let long = format!("custom.{}", "a".repeat(94));
        for name in [
            "",
            "custom",
            "custom.",
            "custom..a",
            "custom.A",
            "custom.1",
            "custom.a-b",
            "user.login",
            "custom.a.",
            &long,
        ] {
            assert!(!is_custom_name(name), "{name}");
        }
    }
}
