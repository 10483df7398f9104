//! An event as a `CloudEvents` 1.0 message, in the JSON event format.
//!
//! Beside the attributes of the specification there are those of its documented extensions where one says what we mean
//! (`partitionkey`, `recordedtime`, `correlationid`, `causationid`, `traceparent`), and our own for the rest. Positions
//! are texts: an integer of the specification has 32 bits. What is personal is not opened: such fields are null, and
//! address and agent of the request are not in it at all.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::Time;
use crate::catalogue::{Catalogue, EventSpec};
use crate::envelope::{Key, Priority, Stored};
use crate::relay::Link;

/// The media type of one, and of several in an array.
pub const MEDIA_TYPE: &str = "application/cloudevents+json";
pub const BATCH_MEDIA_TYPE: &str = "application/cloudevents-batch+json";

/// Who raises the events, and where their schemas are.
#[derive(Debug, Clone)]
pub struct Origin {
    /// An absolute URI; with an event's id it makes the event unique in the world.
    pub source: String,
    /// What a type and a version follow, `…/schemas` of `…/schemas/order.placed/1`.
    pub schemas: String,
}

/// The message of an event, to be serialised.
#[derive(Debug, Serialize)]
pub struct Message<'a> {
    specversion: &'static str,
    id: Uuid,
    source: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: Time,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataschema: Option<DataSchema<'a>>,
    partitionkey: &'a Key,
    recordedtime: Time,
    correlationid: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    /// Of a broker's message alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<u32>,
    #[serde(serialize_with = "text")]
    pos: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prevpos: Option<Text>,
    #[serde(serialize_with = "text")]
    epoch: u64,
    workflowid: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    requestid: Option<&'a str>,
    actorkind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    actorid: Option<Uuid>,
    priority: Priority,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'static str>,
    dataversion: u32,
    data: Data<'a>,
}

/// The fields of the event.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Data<'a> {
    /// As they are stored.
    Stored(&'a RawValue),
    Shown(Map<String, Value>),
}

/// Where the schema of the data is.
#[derive(Debug)]
struct DataSchema<'a> {
    schemas: &'a str,
    kind: &'a str,
    version: u32,
}

impl Display for DataSchema<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.schemas, self.kind, self.version)
    }
}

impl Serialize for DataSchema<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// A number as a text.
#[derive(Debug)]
struct Text(u64);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Message<'_> {
    /// As a broker gets it. The epoch is that of the log by now, in which all positions are.
    pub(crate) fn relayed(self, epoch: u64, link: Link) -> Self {
        Self {
            shard: Some(link.shard),
            prevpos: Some(Text(link.previous)),
            epoch,
            ..self
        }
    }
}

/// The message of an event. The version of its data is that of `dataschema`: the current one of its type, where the
/// catalogue knows it.
pub fn message<'a>(
    event: &'a Stored,
    catalogue: &Catalogue,
    origin: &'a Origin,
) -> Result<Message<'a>, serde_json::Error> {
    let (version, data) = if let Some((version, data)) = catalogue.unchanged(event) {
        (version, Data::Stored(data))
    } else {
        let (version, data) = catalogue.shown(event)?;
        (version, Data::Shown(data))
    };
    Ok(compose(event, catalogue, origin, version, data))
}

/// The same for who was promised a version of the data. `None` where the event cannot be told in it any more.
pub fn message_as<'a>(
    event: &'a Stored,
    catalogue: &Catalogue,
    origin: &'a Origin,
    version: u32,
) -> Result<Option<Message<'a>>, serde_json::Error> {
    let data = match catalogue.unchanged(event) {
        Some((current, data)) if current == version => Some(Data::Stored(data)),
        _ => catalogue.shown_as(event, version)?.map(Data::Shown),
    };
    Ok(data.map(|data| compose(event, catalogue, origin, version, data)))
}

/// An attribute that has no value is left out.
fn compose<'a>(
    event: &'a Stored,
    catalogue: &Catalogue,
    origin: &'a Origin,
    version: u32,
    data: Data<'a>,
) -> Message<'a> {
    let envelope = &event.envelope;
    let spec = catalogue.spec(&envelope.kind);
    let schema = spec
        .filter(|spec| spec.versions().any(|known| known == version))
        .map(|_| DataSchema {
            schemas: &origin.schemas,
            kind: &envelope.kind,
            version,
        });
    Message {
        specversion: "1.0",
        id: envelope.id,
        source: &origin.source,
        r#type: &envelope.kind,
        subject: envelope.subject.as_deref(),
        time: envelope.time,
        datacontenttype: "application/json",
        dataschema: schema,
        partitionkey: &envelope.key,
        recordedtime: event.recorded_at,
        correlationid: envelope.correlation_id,
        causationid: envelope.causation_id,
        traceparent: envelope.traceparent.as_deref(),
        shard: None,
        pos: event.position,
        prevpos: None,
        epoch: event.epoch,
        workflowid: envelope.workflow_id,
        requestid: envelope.request_id.as_deref(),
        actorkind: &envelope.actor.kind,
        actorid: envelope.actor.id,
        priority: envelope.priority,
        category: spec.map(|spec| spec.category),
        dataversion: version,
        data,
    }
}

/// The JSON Schema of every message: its attributes, without what follows from the type.
pub fn schema() -> Value {
    let text = |about: &str| json!({"type": "string", "description": about});
    let uuid = |about: &str| json!({"type": "string", "format": "uuid", "description": about});
    let time = |about: &str| json!({"type": "string", "format": "date-time", "description": about});
    let uri = |about: &str| json!({"type": "string", "format": "uri", "description": about});
    json!({
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": uuid("The same in every delivery, by whatever way."),
            "source": uri("The server."),
            "type": text("What happened."),
            "subject": text("Whom it is about."),
            "time": time("When it happened."),
            "datacontenttype": {"const": "application/json"},
            "dataschema": uri("The schema of the data, of this type and version."),
            "partitionkey": text("Events with one key are in order."),
            "recordedtime": time("When its commit was written."),
            "correlationid": uuid("The same for all that one cause led to."),
            "causationid": uuid("The event that caused it."),
            "traceparent": text("W3C Trace Context."),
            "pos": text("Its position in the log, a decimal number: dense, from 1."),
            "shard": {"type": "integer", "description": "From a broker: the stream it came in."},
            "prevpos": text("From a broker: the position before it in that stream, a decimal number."),
            "epoch": text("Of the log, a decimal number; a restore raises it."),
            "workflowid": uuid("The same for all events of one command."),
            "requestid": text("The request that led to it."),
            "actorkind": text("Who did it."),
            "actorid": uuid("Which of them."),
            "priority": {"enum": Priority::ALL},
            "category": text("The class of its type."),
            "dataversion": {"type": "integer", "description": "Of the data."},
            "data": {"type": "object", "description": "The fields of the event."},
        },
        "required": [
            "specversion", "id", "source", "type", "time", "datacontenttype", "partitionkey", "recordedtime",
            "correlationid", "pos", "epoch", "workflowid", "actorkind", "priority", "dataversion", "data"
        ],
    })
}

/// The JSON Schema of the data of a type in a message: personal fields may be null there.
pub fn data_schema(spec: &EventSpec) -> Value {
    let mut schema = spec.schema.clone();
    for field in spec.fields.iter().filter(|field| field.personal) {
        let kind = &mut schema["properties"][field.name]["type"];
        if kind.is_string() {
            *kind = json!([kind, "null"]);
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Class;
    use crate::event::Past;
    use crate::fakes::envelope;
    use crate::{Actor, Event};

    #[derive(Debug, Event)]
    #[event(
        type = "order.placed",
        version = 1,
        name = "OrderPlaced",
        audit = "ORDER_PLACED"
    )]
    struct OrderPlaced {
        lines: u32,
        #[event(personal)]
        buyer: String,
    }

    /// Nothing of it is personal.
    #[derive(Debug, Event)]
    #[event(
        type = "order.packed",
        version = 2,
        name = "OrderPacked",
        audit = "ORDER_PACKED",
        past = [PACKED_1]
    )]
    struct OrderPacked {
        lines: u32,
        boxes: u32,
    }

    const PACKED_1: Past = Past {
        schema: r#"{"properties": {"lines": {"type": "integer"}}}"#,
        upcast: |fields| {
            fields.insert("boxes".to_owned(), json!(1));
        },
    };

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::new(|_| Class {
            priority: Priority::High,
            category: "business",
        });
        catalogue.add::<OrderPlaced>(None, &[]).unwrap();
        catalogue.add::<OrderPacked>(None, &[]).unwrap();
        catalogue
    }

    fn stored(kind: &str, version: u32) -> Stored {
        let id = |number: u128| Uuid::from_u128(0x0195_d4a0_0000_7000_8000_0000_0000_0000 + number);
        let time = |text: &str| text.parse::<Time>().unwrap();
        let mut envelope = envelope(id(1), kind, "", time("2026-01-02T03:04:05.678901Z"));
        envelope.key = Key::new("account", "ada");
        envelope.version = version;
        envelope.priority = Priority::High;
        envelope.subject = Some("ada".to_owned());
        envelope.workflow_id = id(2);
        envelope.correlation_id = id(3);
        envelope.causation_id = Some(id(4));
        envelope.actor = Actor {
            kind: "user".into(),
            id: Some(id(5)),
        };
        envelope.traceparent =
            Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
        Stored {
            position: 4_294_967_296,
            epoch: 1,
            recorded_at: time("2026-01-02T03:04:05.7Z"),
            envelope,
            context: None,
            body: br#"{"lines":3}"#.to_vec(),
            personal: None,
            chain: [0; 32],
        }
    }

    fn origin() -> Origin {
        Origin {
            source: "https://shop.example".to_owned(),
            schemas: "https://shop.example/schemas".to_owned(),
        }
    }

    fn told(event: &Stored) -> Value {
        serde_json::to_value(message(event, &catalogue(), &origin()).unwrap()).unwrap()
    }

    #[test]
    fn a_message_is_a_cloud_event() {
        let golden = json!({
            "specversion": "1.0",
            "id": "0195d4a0-0000-7000-8000-000000000001",
            "source": "https://shop.example",
            "type": "order.placed",
            "subject": "ada",
            "time": "2026-01-02T03:04:05.678901Z",
            "datacontenttype": "application/json",
            "dataschema": "https://shop.example/schemas/order.placed/1",
            "partitionkey": "account:ada",
            "recordedtime": "2026-01-02T03:04:05.7Z",
            "correlationid": "0195d4a0-0000-7000-8000-000000000003",
            "causationid": "0195d4a0-0000-7000-8000-000000000004",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "pos": "4294967296",
            "epoch": "1",
            "workflowid": "0195d4a0-0000-7000-8000-000000000002",
            "actorkind": "user",
            "actorid": "0195d4a0-0000-7000-8000-000000000005",
            "priority": "high",
            "category": "business",
            "dataversion": 1,
            "data": {"lines": 3, "buyer": null},
        });
        assert_eq!(told(&stored("order.placed", 1)), golden);
    }

    #[test]
    fn an_event_that_is_not_known_is_told_without_a_schema() {
        for event in [stored("order.placed", 2), stored("order.gone", 1)] {
            let message = told(&event);
            assert!(message.get("dataschema").is_none(), "{message}");
            assert_eq!(message["data"]["lines"], 3);
            assert_eq!(message["dataversion"], event.envelope.version);
        }
    }

    fn told_as(event: &Stored, version: u32) -> Option<Value> {
        let origin = origin();
        let message = message_as(event, &catalogue(), &origin, version).unwrap();
        message.map(|message| serde_json::to_value(message).unwrap())
    }

    #[test]
    fn what_is_not_personal_is_told_as_it_is_stored_or_in_the_version_asked_for() {
        let (mut older, newer) = (stored("order.packed", 1), stored("order.packed", 2));
        assert_eq!(told(&newer)["data"], json!({"lines": 3}));
        assert_eq!(told(&older)["data"], json!({"lines": 3, "boxes": 1}));
        assert_eq!(told(&older)["dataversion"], 2);
        assert_eq!(told_as(&older, 2), Some(told(&older)));
        assert_eq!(told_as(&newer, 2), Some(told(&newer)));
        assert_eq!(told_as(&newer, 1), None);
        older.body = b"no JSON".to_vec();
        assert!(message(&older, &catalogue(), &origin()).is_err());
    }

    #[test]
    fn a_message_in_a_version_that_was_promised() {
        let event = stored("order.placed", 1);
        let told_as = |version| told_as(&event, version);
        assert_eq!(told_as(1), Some(told(&event)));
        assert_eq!(told_as(2), None);
    }

    #[test]
    fn names_are_those_that_the_specification_allows_and_the_schema_has_them_all() {
        let (message, schema) = (told(&stored("order.placed", 1)), schema());
        let names = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        let described = names(&schema["properties"]);
        for name in names(&message) {
            let fits = name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            assert!(fits && name.len() <= 20, "{name}");
            assert!(described.contains(&name), "{name}");
        }
        for name in schema["required"].as_array().unwrap() {
            assert!(message.get(name.as_str().unwrap()).is_some(), "{name}");
        }
        let data = data_schema(catalogue().spec("order.placed").unwrap());
        assert_eq!(
            data["properties"]["buyer"]["type"],
            json!(["string", "null"])
        );
        assert_eq!(data["properties"]["lines"]["type"], "integer");
    }
}
