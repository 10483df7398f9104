//! A value of a closed list: a reason, a class, a method; and [`Codes`], the list itself.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A word in `snake_case` from a closed list. It never holds what a user typed.
///
/// The catalogue tells it as a field of type `code`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(Cow<'static, str>);

impl Code {
    pub const fn new(word: &'static str) -> Self {
        Self(Cow::Borrowed(word))
    }

    /// A word that was not known when the program was written: a locale.
    pub fn owned(word: &str) -> Self {
        Self(Cow::Owned(word.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Code {
    fn from(word: &'static str) -> Self {
        Self::new(word)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Code {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "code" })
    }
}

/// A closed list of codes. Derive it for a fieldless enum with `#[derive(Reason)]`: each variant its name in `snake_case`.
pub trait Codes {
    /// All of them, in the order of the variants.
    const CODES: &'static [&'static str];

    fn code(&self) -> &'static str;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    #[derive(Reason)]
    enum Refusal {
        WeakPassword,
        Locked,
    }

    #[test]
    fn a_variant_is_its_name_in_snake_case() {
        assert_eq!(Refusal::CODES, ["weak_password", "locked"]);
        assert_eq!(Refusal::WeakPassword.code(), "weak_password");
        assert_eq!(Refusal::Locked.code(), "locked");
    }

    #[derive(Reason)]
    enum Never {}

    /// As the refusals of a workflow that cannot be refused.
    #[test]
    fn an_enum_without_variants_is_an_empty_list() {
        assert_eq!(Never::CODES, [""; 0]);
    }

    #[test]
    fn a_code_is_a_plain_string_outside() {
        let json = serde_json::to_string(&Code::new("weak_password")).unwrap();
        assert_eq!(json, "\"weak_password\"");
        let code: Code = serde_json::from_str(&json).unwrap();
        assert_eq!(code.as_str(), "weak_password");
    }
}
