//! Every event type there is, once: its fields, schema, class and other names.

mod registered;

use std::borrow::Cow;
use std::collections::HashMap;

use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::envelope::{Priority, Stored};
use crate::event::{self, Body, DecodeError, Event, EventMeta, Past, Phase};
use crate::schema::{self, Incompatible};

use registered::RegisteredTypes;
pub use registered::{CUSTOM, is_custom_name};

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
    pub schema: Value,
    /// The versions before, from 1.
    #[serde(skip)]
    past: &'static [Past],
    #[serde(skip)]
    rewrite: fn(u32, &Body) -> Result<Body, DecodeError>,
}

impl EventSpec {
    /// What an event that was stored with a version would be stored as now.
    pub fn rewrite(&self, version: u32, body: &Body) -> Result<Body, DecodeError> {
        (self.rewrite)(version, body)
    }

    /// The JSON Schema of a version; `None` where there is no such version.
    pub fn schema_of(&self, version: u32) -> Option<Cow<'_, Value>> {
        if version == self.version {
            return Some(Cow::Borrowed(&self.schema));
        }
        let past = self.past.get((version as usize).checked_sub(1)?)?;
        // A schema that is no JSON fails the test of golden schemas.
        serde_json::from_str(past.schema).ok().map(Cow::Owned)
    }

    /// Its versions, from 1.
    pub fn versions(&self) -> impl Iterator<Item = u32> + use<> {
        1..=self.version
    }
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
    registered: RegisteredTypes,
}

impl Catalogue {
    pub fn new(classify: fn(&EventMeta) -> Class) -> Self {
        Self {
            classify,
            specs: Vec::new(),
            names: HashMap::new(),
            registered: RegisteredTypes::default(),
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
        const {
            assert!(
                E::META.version as usize == E::PAST.len() + 1,
                "each version before the current one has its `Past`"
            );
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
            past: E::PAST,
            rewrite: |version, body| Ok(E::read(version, body)?.encode()?),
        });
        Ok(())
    }

    /// Those of the program, in the order in which it names them; [`Catalogue::registered`] are the others.
    pub fn all(&self) -> &[EventSpec] {
        &self.specs
    }

    /// By type, name or any other name it has in a document.
    pub fn find(&self, name: &str) -> Option<&EventSpec> {
        match self.names.get(name) {
            Some(index) => Some(&self.specs[*index]),
            None if name.starts_with(CUSTOM) => self.registered_type(name),
            None => None,
        }
    }

    /// By type alone.
    pub fn spec(&self, kind: &str) -> Option<&EventSpec> {
        self.find(kind).filter(|spec| spec.kind == kind)
    }

    /// The fields of a stored event as others may see them: of the current version of its type, which is the first of the
    /// answer, with the personal ones as null. An event that is not known, or of a newer version, is as it is.
    pub fn shown(&self, event: &Stored) -> Result<(u32, Map<String, Value>), serde_json::Error> {
        let fields = serde_json::from_slice(&event.body)?;
        let (version, mut fields) = self.current(event, fields);
        for name in self.personal_fields(event) {
            fields.insert(name.to_owned(), Value::Null);
        }
        Ok((version, fields))
    }

    /// The fields of a stored event where others may see them as they are, without a change: nothing in them is personal, and
    /// their version is the current one of its type, which comes first.
    pub(crate) fn unchanged<'a>(&self, event: &'a Stored) -> Option<(u32, &'a RawValue)> {
        let spec = self.spec(&event.envelope.kind)?;
        let version = event.envelope.version;
        let as_they_are =
            version == spec.version && !spec.fields.iter().any(|field| field.personal);
        let fields = as_they_are.then(|| serde_json::from_slice(&event.body));
        Some((version, fields?.ok()?))
    }

    /// As [`Catalogue::shown`], for who may see the personal fields: `personal` is what was opened of them. Those that could
    /// not be opened are null.
    pub fn shown_whole(
        &self,
        event: &Stored,
        personal: Option<&[u8]>,
    ) -> Result<(u32, Map<String, Value>), serde_json::Error> {
        let mut fields: Map<String, Value> = serde_json::from_slice(&event.body)?;
        if let Some(personal) = personal {
            fields.extend(serde_json::from_slice::<Map<String, Value>>(personal)?);
        }
        let (version, mut fields) = self.current(event, fields);
        for name in self.personal_fields(event) {
            fields.entry(name).or_insert(Value::Null);
        }
        Ok((version, fields))
    }

    /// The fields of a stored event in the current version of its type, which comes first, as far as both are known.
    fn current(&self, event: &Stored, mut fields: Map<String, Value>) -> (u32, Map<String, Value>) {
        let stored = event.envelope.version;
        let Some(spec) = self.spec(&event.envelope.kind) else {
            return (stored, fields);
        };
        let known = stored == spec.version || event::upcast(spec.past, stored, &mut fields);
        (if known { spec.version } else { stored }, fields)
    }

    /// By the current version of its type.
    fn personal_fields(&self, event: &Stored) -> impl Iterator<Item = &'static str> {
        let fields = self.spec(&event.envelope.kind).map(|spec| &spec.fields);
        let personal = fields.into_iter().flatten().filter(|field| field.personal);
        personal.map(|field| field.name)
    }

    /// As [`Catalogue::shown`], in a version of its type that somebody was promised. `None` where it was stored with a newer
    /// one, of which an older cannot be made.
    pub fn shown_as(
        &self,
        event: &Stored,
        version: u32,
    ) -> Result<Option<Map<String, Value>>, serde_json::Error> {
        let Some(spec) = self.spec(&event.envelope.kind) else {
            return Ok(None);
        };
        let mut fields: Map<String, Value> = serde_json::from_slice(&event.body)?;
        let stored = event.envelope.version;
        let schema = spec.schema_of(version);
        let Some(properties) = schema.as_ref().and_then(|s| s["properties"].as_object()) else {
            return Ok(None);
        };
        if !event::upcast_to(spec.past, stored, version as usize, &mut fields) {
            return Ok(None);
        }
        // What is personal by now is told to nobody, also where it was not then.
        let now = |name: &str| {
            spec.fields
                .iter()
                .any(|field| field.personal && field.name == name)
        };
        for (name, field) in properties {
            if field["x-personal"] == true || now(name) {
                fields.insert(name.clone(), Value::Null);
            }
        }
        Ok(Some(fields))
    }

    /// Whether a schema that was published for a version of a type still stands, so that what is stored with it can be read
    /// and whoever was told of it understands what is raised now.
    pub fn keeps(&self, kind: &str, version: u32, published: &Value) -> Result<(), Incompatible> {
        let spec = self.spec(kind).ok_or_else(|| Incompatible::Type {
            kind: kind.to_owned(),
        })?;
        let schema = spec
            .schema_of(version)
            .ok_or_else(|| Incompatible::Version {
                kind: kind.to_owned(),
                version,
            })?;
        let breaks = schema::breaks(published, &schema);
        if breaks.is_empty() {
            return Ok(());
        }
        Err(Incompatible::Breaks {
            kind: kind.to_owned(),
            version,
            breaks,
        })
    }

    pub fn class(&self, meta: &EventMeta) -> Class {
        (self.classify)(meta)
    }
}

fn describe<E: Event>(codes: &[&'static str]) -> (Vec<Field>, Value) {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|s| s.inline_subschemas = true)
        .into_generator();
    let (mut fields, mut properties, mut required) = (Vec::new(), Map::new(), Vec::new());
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
fn kind_of(schema: &Value) -> String {
    let first = match &schema["type"] {
        Value::Array(types) => types.first().cloned().unwrap_or_default(),
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
