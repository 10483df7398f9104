//! A toy of three versions: what is stored with an old one reads as the current one.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::catalogue::{Catalogue, Class};
use crate::envelope::{Context, Priority, Stored};
use crate::fakes::envelope;
use crate::seal::Sealed;
use crate::subscriber::Received;
use crate::{Event, Time};

/// The amount was a text.
const V1: Past = Past {
    schema: r#"{"type": "object",
        "properties": {"amount": {"type": "string"}, "payer": {"type": "string"}},
        "required": ["amount", "payer"]}"#,
    upcast: |fields| {
        let amount = fields["amount"]
            .as_str()
            .and_then(|text| text.parse::<u64>().ok());
        fields.insert("cents".to_owned(), json!(amount.unwrap_or(0) * 100));
    },
};

/// The payer stood in clear, and nobody could pay for another.
const V2: Past = Past {
    schema: r#"{"type": "object",
        "properties": {"cents": {"type": "integer"}, "payer": {"type": "string"}},
        "required": ["cents", "payer"]}"#,
    upcast: |fields| {
        fields.insert("method".to_owned(), json!("cash"));
    },
};

#[derive(Debug, PartialEq, Eq, Event)]
#[event(
    type = "toy.paid",
    version = 3,
    name = "ToyPaid",
    audit = "TOY_PAID",
    past = [V1, V2]
)]
struct Paid {
    cents: u64,
    method: String,
    #[event(personal)]
    payer: String,
}

/// Another type with the same fields.
#[derive(Debug, Event)]
#[event(
    type = "toy.repaid",
    version = 1,
    name = "ToyRepaid",
    audit = "TOY_REPAID"
)]
struct Repaid {
    cents: u64,
}

fn stored(kind: &str, version: u32, open: &Value, sealed: bool) -> Stored {
    let mut envelope = envelope(uuid::Uuid::nil(), kind, "a", Time::UNIX_EPOCH);
    envelope.version = version;
    Stored {
        position: 1,
        epoch: 1,
        recorded_at: Time::UNIX_EPOCH,
        envelope,
        context: None,
        body: open.to_string().into_bytes(),
        personal: sealed.then(|| Sealed {
            key: "a".to_owned(),
            bytes: Vec::new(),
        }),
        chain: [0; 32],
    }
}

fn received(version: u32, open: &Value, sealed: bool, opened: Option<&Value>) -> Received {
    let stored = Arc::new(stored("toy.paid", version, open, sealed));
    let opened = opened.map(|personal| personal.to_string().into_bytes());
    Received::new(stored, opened, Context::default(), "test".into())
}

fn paid(cents: u64, method: &str) -> Paid {
    Paid {
        cents,
        method: method.to_owned(),
        payer: "Ada".to_owned(),
    }
}

#[test]
fn every_stored_version_reads_as_the_current_one() {
    let (v1, v2) = (
        json!({"amount": "7", "payer": "Ada"}),
        json!({"cents": 650, "payer": "Ada"}),
    );
    let v3 = json!({"cents": 5, "method": "card"});
    for (version, open, personal, read) in [
        (1, v1, None, paid(700, "cash")),
        (2, v2, None, paid(650, "cash")),
        (3, v3, Some(json!({"payer": "Ada"})), paid(5, "card")),
    ] {
        let event = received(version, &open, personal.is_some(), personal.as_ref());
        assert_eq!(event.decode::<Paid>().unwrap(), read, "{version}");
        assert_eq!(
            event.stored.body,
            open.to_string().into_bytes(),
            "it stays as it is stored"
        );
    }
}

#[test]
fn what_was_erased_stays_erased_in_every_version() {
    for version in [1, 2, 3] {
        let open = json!({"amount": "7", "cents": 5, "method": "card"});
        let decoded = received(version, &open, true, None).decode::<Paid>();
        assert!(
            matches!(decoded, Err(DecodeError::Erased)),
            "{version} {decoded:?}"
        );
    }
}

#[test]
fn a_version_that_is_not_known_and_another_type_are_never_decoded() {
    let open = json!({"amount": "7", "cents": 5, "method": "card", "payer": "Ada"});
    for version in [0, 4, u32::MAX] {
        let decoded = received(version, &open, false, None).decode::<Paid>();
        assert!(
            matches!(decoded, Err(DecodeError::OtherVersion { found, known: 3, .. }) if found == version),
            "{version} {decoded:?}"
        );
    }
    for version in [1, 3] {
        let decoded = received(version, &open, false, None).decode::<Repaid>();
        assert!(
            matches!(decoded, Err(DecodeError::OtherType { .. })),
            "{version} {decoded:?}"
        );
    }
}

#[test]
fn the_catalogue_knows_every_version() {
    let mut catalogue = Catalogue::new(|_| Class {
        priority: Priority::Normal,
        category: "operation",
    });
    catalogue.add::<Paid>(None, &[]).unwrap();
    let spec = catalogue.spec("toy.paid").unwrap();
    assert!(catalogue.spec("ToyPaid").is_none(), "a name is not a type");
    let fields = |version| {
        let schema = spec.schema_of(version)?;
        let fields = schema["properties"].as_object()?.keys().cloned();
        Some(fields.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(fields(0), None);
    assert_eq!(fields(1).unwrap(), "amount payer");
    assert_eq!(fields(2).unwrap(), "cents payer");
    assert_eq!(fields(3).unwrap(), "cents method payer");
    assert_eq!(fields(4), None);

    let show = |kind, version, open: Value| {
        catalogue
            .shown(&stored(kind, version, &open, false))
            .unwrap()
    };
    let (version, shown) = show("toy.paid", 1, json!({"amount": "7", "payer": "Ada"}));
    assert_eq!(
        (version, &shown["cents"], &shown["method"]),
        (3, &json!(700), &json!("cash"))
    );
    assert!(shown["payer"].is_null(), "it is personal by now");
    let (version, shown) = show("toy.paid", 4, json!({"new": 1, "payer": "Ada"}));
    assert_eq!(
        (version, &shown["new"], &shown["payer"]),
        (4, &json!(1), &Value::Null)
    );
    let (version, shown) = show("toy.gone", 1, json!({"it": 1}));
    assert_eq!(
        (version, Value::from(shown)),
        (1, json!({"it": 1})),
        "as it is"
    );

    let show_as = |kind, stored_with, wanted, open: Value| {
        let stored = stored(kind, stored_with, &open, false);
        let shown = catalogue.shown_as(&stored, wanted).unwrap();
        shown.map(Value::from)
    };
    let v1 = || json!({"amount": "7", "payer": "Ada"});
    let shown = show_as("toy.paid", 1, 1, v1());
    assert_eq!(shown, Some(json!({"amount": "7", "payer": null})));
    let shown = show_as("toy.paid", 1, 2, v1()).unwrap();
    assert_eq!(
        (&shown["cents"], &shown["method"]),
        (&json!(700), &Value::Null)
    );
    assert_eq!(shown["payer"], Value::Null, "it is personal by now");
    let shown = show_as("toy.paid", 2, 3, json!({"cents": 5})).unwrap();
    assert_eq!(shown, json!({"cents": 5, "method": "cash", "payer": null}));
    for (kind, stored_with, wanted) in [
        ("toy.paid", 3, 2),
        ("toy.paid", 4, 4),
        ("toy.paid", 1, 0),
        ("toy.gone", 1, 1),
    ] {
        assert_eq!(show_as(kind, stored_with, wanted, v1()), None, "{kind}");
    }

    let v1: Value = serde_json::from_str(V1.schema).unwrap();
    assert!(catalogue.keeps("toy.paid", 1, &v1).is_ok());
    let said = |kind, version, schema: &Value| {
        catalogue
            .keeps(kind, version, schema)
            .unwrap_err()
            .to_string()
    };
    assert!(said("toy.paid", 2, &v1).contains("its field `amount` was removed"));
    assert!(said("toy.paid", 4, &v1).contains("toy.paid has no version 4"));
    assert!(said("toy.gone", 1, &v1).contains("toy.gone was published and is gone"));
}
