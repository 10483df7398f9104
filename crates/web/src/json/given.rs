//! JSON as it was given, before anything is known of its shape. Strings are wiped when dropped: one may be a password.

use std::collections::HashSet;
use std::fmt;

use secrecy::zeroize::Zeroizing;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// One value. Reading it recurses, so that `serde_json`'s limit on depth holds for what is skipped, too.
pub(super) enum Given {
    Text(Zeroizing<String>),
    Object(Members),
    /// Anything else, by a word for it.
    Other(&'static str),
}

impl Given {
    /// For a sentence: "must be a string, not …".
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Object(_) => "an object",
            Self::Other(word) => word,
        }
    }
}

/// The members of an object, in order, each name once.
pub(super) struct Members {
    pub(super) list: Vec<(String, Given)>,
    /// A name that came twice. JSON leaves open which of the two counts, so neither does.
    pub(super) twice: Option<String>,
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Given, E> {
        Ok(Given::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Given, E> {
        Ok(Given::Other("a boolean"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Given, E> {
        Ok(Given::Other("a number"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Given, E> {
        Ok(Given::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Given, E> {
        Ok(Given::Other("a number"))
    }

    fn visit_unit<E>(self) -> Result<Given, E> {
        Ok(Given::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Given, A::Error> {
        while items.next_element::<Given>()?.is_some() {}
        Ok(Given::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        let (mut list, mut twice) = (Vec::new(), None);
        let mut seen = HashSet::new();
        while let Some((name, value)) = map.next_entry::<String, Given>()? {
            if seen.insert(name.clone()) {
                list.push((name, value));
            } else {
                twice.get_or_insert(name);
            }
        }
        Ok(Given::Object(Members { list, twice }))
    }
}
