//! Every event type there is, once: its fields, schema, class and other names.

use std::collections::HashMap;

use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::json;

use crate::envelope::Priority;
use crate::event::{Event, EventMeta, Phase};
use crate::schema::{self, Incompatible};

/// How a product classes a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    pub priority: Priority,
    pub category: &'static str,
}

/// One field, as the catalogue tells it.
#[derive(Debug, Clone, Serialize)]
pub struct Field {
    pub name: &'static str,
    /// `uuid`, `text`, `email`, `code`, `digest`, `int`, `bool`, `instant`, `list` …
    #[serde(rename = "type")]
    pub kind: String,
    pub optional: bool,
    pub personal: bool,
}

/// One event type, as the catalogue tells it.
#[derive(Debug, Clone, Serialize)]
pub struct EventSpec {
    pub name: &'static str,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub version: u32,
    pub phase: Phase,
    pub workflow: Option<&'static str>,
    pub fields: Vec<Field>,
    pub aliases: &'static [&'static str],
    pub audit_action: &'static str,
    pub category: &'static str,
    pub priority: Priority,
    /// JSON Schema (draft 2020-12) of the `data` object.
    pub schema: serde_json::Value,
}

/// A type was registered twice, or two types share a name.
#[derive(Debug, thiserror::Error)]
#[error("the event name {0:?} is registered twice")]
pub struct Duplicate(pub String);

/// All event types of a program.
#[derive(Debug, Clone)]
pub struct Catalogue {
    classify: fn(&EventMeta) -> Class,
    specs: Vec<EventSpec>,
    names: HashMap<&'static str, usize>,
}

impl Catalogue {
    pub fn new(classify: fn(&EventMeta) -> Class) -> Self {
        Self {
            classify,
            specs: Vec::new(),
            names: HashMap::new(),
        }
    }

    /// Adds a type; `codes` are the values its `reason` field may have, when it has one.
    pub fn add<E: Event>(
        &mut self,
        workflow: Option<&'static str>,
        codes: &[&'static str],
    ) -> Result<(), Duplicate> {
        let meta = E::META;
        let index = self.specs.len();
        for name in [meta.kind, meta.name].iter().chain(meta.aliases) {
            if self.names.insert(name, index).is_some() {
                return Err(Duplicate((*name).to_owned()));
            }
        }
        let class = (self.classify)(&meta);
        let (fields, schema) = describe::<E>(codes);
        self.specs.push(EventSpec {
            name: meta.name,
            kind: meta.kind,
            version: meta.version,
            phase: meta.phase(),
            workflow,
            fields,
            aliases: meta.aliases,
            audit_action: meta.audit,
            category: class.category,
            priority: class.priority,
            schema,
        });
        Ok(())
    }

    /// In the order of registration.
    pub fn all(&self) -> &[EventSpec] {
        &self.specs
    }

    /// By type, name or any other name it has in a document.
    pub fn find(&self, name: &str) -> Option<&EventSpec> {
        self.names.get(name).map(|index| &self.specs[*index])
    }

    /// The JSON Schema of a version of a type.
    pub fn schema(&self, kind: &str, version: u32) -> Option<&serde_json::Value> {
        let spec = self.find(kind).filter(|spec| spec.kind == kind)?;
        (spec.version == version).then_some(&spec.schema)
    }

    /// Whether a schema that was published for a version of a type still stands, so that what is stored with it can be read
    /// and whoever was told of it understands what is raised now.
    pub fn keeps(
        &self,
        kind: &str,
        version: u32,
        published: &serde_json::Value,
    ) -> Result<(), Incompatible> {
        let kind_of = || kind.to_owned();
        if self.find(kind).is_none_or(|spec| spec.kind != kind) {
            return Err(Incompatible::Type { kind: kind_of() });
        }
        let Some(schema) = self.schema(kind, version) else {
            return Err(Incompatible::Version {
                kind: kind_of(),
                version,
            });
        };
        let breaks = schema::breaks(published, schema);
        if breaks.is_empty() {
            return Ok(());
        }
        Err(Incompatible::Breaks {
            kind: kind_of(),
            version,
            breaks,
        })
    }

    pub fn class(&self, meta: &EventMeta) -> Class {
        (self.classify)(meta)
    }
}

fn describe<E: Event>(codes: &[&'static str]) -> (Vec<Field>, serde_json::Value) {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|s| s.inline_subschemas = true)
        .into_generator();
    let (mut fields, mut properties, mut required) =
        (Vec::new(), serde_json::Map::new(), Vec::new());
    for field in E::fields(&mut generator) {
        let mut schema = field.schema.to_value();
        let kind = kind_of(&schema);
        if field.name.ends_with("reason") && kind == "code" && !codes.is_empty() {
            schema["enum"] = json!(codes);
        }
        if field.personal {
            schema["x-personal"] = json!(true);
        }
        if !field.optional {
            required.push(field.name);
        }
        properties.insert(field.name.to_owned(), schema);
        fields.push(Field {
            name: field.name,
            kind,
            optional: field.optional,
            personal: field.personal,
        });
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": E::META.name,
        "type": "object",
        "properties": properties,
        "required": required,
    });
    (fields, schema)
}

/// The catalogue's word for a field's schema.
fn kind_of(schema: &serde_json::Value) -> String {
    let first = match &schema["type"] {
        serde_json::Value::Array(types) => types.first().cloned().unwrap_or_default(),
        other => other.clone(),
    };
    match (first.as_str(), schema["format"].as_str()) {
        (Some("string"), Some("date-time")) => "instant",
        (Some("string"), Some(format)) => format,
        (Some("string"), None) if schema.get("enum").is_some() => "code",
        (Some("string"), None) => "text",
        (Some("integer"), _) => "int",
        (Some("boolean"), _) => "bool",
        (Some("array"), _) => "list",
        _ => "json",
    }
    .to_owned()
}
