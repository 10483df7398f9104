//! One place that settings come from: flags, the environment, a file, the defaults.

use config::{ConfigError, Map, Source, Value, ValueKind};

/// Settings from one place, each with where exactly it stands.
pub(super) type Layer = Vec<Entry>;

/// One setting as it was found. Debug does not show its value: it may be a secret.
#[derive(Clone)]
pub(super) struct Entry {
    /// `section.key`
    pub key: String,
    pub value: ValueKind,
    /// For people: `/etc/quivive/config.toml, line 12`.
    pub place: String,
}

impl Entry {
    pub(super) fn new(key: impl Into<String>, value: impl Into<ValueKind>, place: String) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            place,
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.value, ValueKind::Array(_))
    }

    /// The value as one would write it, for people. Not for secrets.
    pub(super) fn shown(&self) -> String {
        shown(&self.value)
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.key, self.place)
    }
}

fn shown(value: &ValueKind) -> String {
    match value {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| shown(&item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// The settings that are in force, one for each key, ready for serde.
#[derive(Debug, Clone)]
pub(super) struct Effective(pub Vec<Entry>);

impl Source for Effective {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let value = |entry: &Entry| Value::new(Some(&entry.place), entry.value.clone());
        Ok(self
            .0
            .iter()
            .map(|entry| (entry.key.clone(), value(entry)))
            .collect())
    }
}
