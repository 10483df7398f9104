//! The fields that a body may have: checked here, and described from here in the OpenAPI document.

use quivive_domain::Password;
use quivive_domain::password::MAX_INPUT_BYTES;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use utoipa::openapi::schema::{AdditionalProperties, KnownFormat, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};

use super::given::{Given, Members};
use super::shaped::escaped;
use crate::problem::FieldError;

/// Errors that one answer names. A body may hold thousands of unknown fields.
const MAX_ERRORS: usize = 16;

/// Of an unknown field's name, in characters, when it is named.
const MAX_NAMED_CHARS: usize = 64;

/// A shape: what routes take.
pub(crate) trait Body: Sized + Send + 'static {
    /// All it may have; anything else is refused.
    const FIELDS: &'static [Field];

    /// Takes the fields, which were checked. An error is that of a domain type.
    fn from_fields(fields: Fields) -> Result<Self, FieldError>;
}

/// A field: a string, always.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub name: &'static str,
    pub text: Text,
    pub required: bool,
    /// For the document.
    pub about: &'static str,
}

/// What a string may be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text {
    /// An address as somebody types it; the workflow judges it.
    Email,
    Password,
    /// One-time, refresh and device tokens.
    Token,
    /// A line for people: so many characters, none of them a control character.
    Line {
        max_chars: usize,
    },
}

/// In bytes. An address that can receive letters has at most 254; a little more is let through to be called invalid.
const MAX_EMAIL_BYTES: usize = 320;
/// In bytes. Ours have 64.
const MAX_TOKEN_BYTES: usize = 512;

pub(crate) const EMAIL: Field = Field {
    name: "email",
    text: Text::Email,
    required: true,
    about: "The address of the account.",
};

pub(crate) const PASSWORD: Field = Field {
    name: "password",
    text: Text::Password,
    required: true,
    about: "Any characters; compared after Unicode normalisation (NFC).",
};

pub(crate) const TOKEN: Field = Field {
    name: "token",
    text: Text::Token,
    required: true,
    about: "From the link in the letter.",
};

pub(crate) const REFRESH_TOKEN: Field = Field {
    name: "refresh_token",
    text: Text::Token,
    required: true,
    about: "The newest one of the session.",
};

pub(crate) const DEVICE_TOKEN: Field = Field {
    name: "device_token",
    text: Text::Token,
    required: false,
    about: "What an earlier sign-in on this device answered: it is recognised by it.",
};

impl Field {
    /// The same under another name.
    pub(crate) const fn named(self, name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            ..self
        }
    }

    fn limit(&self) -> usize {
        match self.text {
            Text::Email => MAX_EMAIL_BYTES,
            Text::Password => MAX_INPUT_BYTES,
            Text::Token => MAX_TOKEN_BYTES,
            Text::Line { max_chars } => max_chars,
        }
    }

    fn check(&self, text: &str) -> Option<FieldError> {
        let (length, unit) = match self.text {
            Text::Line { .. } => (text.chars().count(), "characters"),
            Text::Email | Text::Password | Text::Token => (text.len(), "bytes"),
        };
        let limit = self.limit();
        if length > limit {
            return Some(error(
                self.name,
                "too_long",
                format!("At most {limit} {unit}."),
            ));
        }
        let broken = matches!(self.text, Text::Line { .. }) && text.chars().any(char::is_control);
        broken.then(|| {
            error(
                self.name,
                "control_character",
                "No line breaks or other control characters.",
            )
        })
    }

    fn schema(&self) -> Schema {
        let format = match self.text {
            Text::Email => Some(SchemaFormat::KnownFormat(KnownFormat::Email)),
            Text::Password => Some(SchemaFormat::KnownFormat(KnownFormat::Password)),
            Text::Token | Text::Line { .. } => None,
        };
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(format)
            .max_length(Some(self.limit()))
            .description(Some(self.about))
            .into()
    }
}

/// Describes a shape. Lengths are those of the check, in characters as JSON Schema counts: the bytes may end sooner.
pub(crate) fn schema(fields: &[Field]) -> RefOr<Schema> {
    let closed = AdditionalProperties::FreeForm(false);
    let mut object = ObjectBuilder::new().additional_properties(Some(closed));
    for field in fields {
        object = object.property(field.name, field.schema());
        if field.required {
            object = object.required(field.name);
        }
    }
    RefOr::T(object.into())
}

/// Fields that were checked, to be taken by name.
pub(crate) struct Fields(Vec<(&'static str, Zeroizing<String>)>);

impl Fields {
    /// One that may be missing.
    pub(crate) fn optional(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(known, _)| *known == name)?;
        Some(std::mem::take(&mut *self.0.swap_remove(index).1))
    }

    /// A required one; the check has made sure that it is there.
    pub(crate) fn text(&mut self, name: &str) -> String {
        self.optional(name).unwrap_or_default()
    }

    /// A required token or password, not to be shown.
    pub(crate) fn secret(&mut self, name: &str) -> SecretString {
        self.text(name).into()
    }

    pub(crate) fn optional_secret(&mut self, name: &str) -> Option<SecretString> {
        self.optional(name).map(Into::into)
    }

    pub(crate) fn password(&mut self, name: &'static str) -> Result<Password, FieldError> {
        Password::new(self.text(name)).map_err(|long| error(name, "too_long", long.to_string()))
    }
}

/// Fits what was given to a shape, or says all that does not fit.
pub(super) fn fit<T: Body>(given: Given) -> Result<T, Vec<FieldError>> {
    let Members { list, twice } = match given {
        Given::Object(members) => members,
        other => {
            let message = format!("The body must be an object, not {}.", other.word());
            return Err(vec![FieldError::new("", "wrong_type", message)]);
        }
    };
    let mut errors = Vec::new();
    let mut fields = Vec::with_capacity(T::FIELDS.len());
    if let Some(name) = twice {
        errors.push(error(&name, "duplicate_field", "Given more than once."));
    }
    for (name, value) in list {
        let wrong = match (T::FIELDS.iter().find(|field| field.name == name), value) {
            (None, _) => Some(error(
                &name,
                "unknown_field",
                "There is no such field here.",
            )),
            (Some(field), Given::Text(text)) => {
                let wrong = field.check(&text);
                fields.push((field.name, text));
                wrong
            }
            (Some(field), other) => {
                fields.push((field.name, Zeroizing::default()));
                let message = format!("Must be a string, not {}.", other.word());
                Some(error(field.name, "wrong_type", message))
            }
        };
        if errors.len() < MAX_ERRORS {
            errors.extend(wrong);
        }
    }
    for field in T::FIELDS.iter().filter(|field| field.required) {
        if !fields.iter().any(|(name, _)| *name == field.name) {
            errors.push(error(field.name, "missing_field", "Required."));
        }
    }
    if errors.is_empty() {
        T::from_fields(Fields(fields)).map_err(|error| vec![error])
    } else {
        Err(errors)
    }
}

fn error(name: &str, code: &'static str, message: impl Into<String>) -> FieldError {
    let name: String = name.chars().take(MAX_NAMED_CHARS).collect();
    FieldError::new(format!("/{}", escaped(&name)), code, message)
}
