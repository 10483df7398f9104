//! One record becomes an account, or is refused with the field that is wrong.

use quivive_delivery::Time;
use quivive_domain::{Account, AccountState, Address, Role, UserId};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::Flaw;
use super::records::{MAX_BYTES, Record, Text, csv};
use crate::ports::PasswordHasher;

/// As at registration.
const MAX_NAME_CHARS: usize = 100;
const MAX_LOCALE_CHARS: usize = 35;

/// What a record may have, with what it is in JSON.
const FIELDS: [&str; 7] = [
    "email",
    "password_hash",
    "email_verified",
    "display_name",
    "locale",
    "active",
    "created_at",
];

/// The language of letters where a record names none.
const LOCALE: &str = "en";

/// What is wrong, and with which field.
struct Wrong {
    field: Option<String>,
    message: String,
}

impl Wrong {
    fn of(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: Some(field.to_owned()),
            message: message.into(),
        }
    }

    fn all(message: impl Into<String>) -> Self {
        Self {
            field: None,
            message: message.into(),
        }
    }
}

/// A record's fields as texts and truths.
#[derive(Debug, Default)]
struct Given {
    email: String,
    password_hash: Option<String>,
    email_verified: Option<bool>,
    display_name: Option<String>,
    locale: Option<String>,
    active: Option<bool>,
    created_at: Option<String>,
}

pub(super) fn read(
    record: &Record<'_>,
    hasher: &dyn PasswordHasher,
    now: Time,
) -> Result<Account, Flaw> {
    let account = given(&record.text).and_then(|given| given.account(hasher, now));
    account.map_err(|Wrong { field, message }| Flaw {
        at: record.at,
        field,
        message,
    })
}

fn given(text: &Text<'_>) -> Result<Given, Wrong> {
    match text {
        Text::TooLong => Err(Wrong::all(format!(
            "a record has at most {MAX_BYTES} bytes: look for a quote or a brace that is not closed"
        ))),
        Text::Json(bytes) => {
            let value = serde_json::from_slice(bytes.trim_ascii_end()).map_err(|error| {
                // Its message may repeat what it read.
                Wrong::all(format!("no JSON: look at column {}", error.column()))
            })?;
            let Json::Object(object) = value else {
                return Err(Wrong::all("no JSON object"));
            };
            match object.get("fields") {
                Some(Json::Object(fields)) => of_django(&object, fields),
                _ => of_fields(object),
            }
        }
        Text::Csv { names, row } => {
            let row = csv(row)
                .ok_or_else(|| Wrong::all("no line of CSV in UTF-8: look at its quotes"))?;
            if row.len() != names.len() {
                return Err(Wrong::all(format!(
                    "{} fields, and the first line names {}: quote what holds a comma",
                    row.len(),
                    names.len()
                )));
            }
            let filled = names.iter().cloned().zip(row);
            let filled = filled.filter(|(_, text)| !text.is_empty());
            of_fields(filled.map(|(name, text)| (name, Json::String(text))))
        }
    }
}

fn of_fields(fields: impl IntoIterator<Item = (String, Json)>) -> Result<Given, Wrong> {
    let mut given = Given::default();
    for (name, value) in fields {
        if value.is_null() {
            continue;
        }
        match name.as_str() {
            "email" => given.email = text(&name, value)?,
            "password_hash" => given.password_hash = Some(text(&name, value)?),
            "email_verified" => given.email_verified = Some(truth(&name, &value)?),
            "display_name" => given.display_name = Some(text(&name, value)?),
            "locale" => given.locale = Some(text(&name, value)?),
            "active" => given.active = Some(truth(&name, &value)?),
            "created_at" => given.created_at = Some(text(&name, value)?),
            "password" => {
                return Err(Wrong::of(
                    &name,
                    "passwords are not imported: give what the other system stored, as `password_hash`",
                ));
            }
            _ => {
                let name: String = name.chars().take(64).collect();
                let known = FIELDS.join(", ");
                return Err(Wrong::of(
                    &name,
                    format!("no such field: leave it out. There are {known}"),
                ));
            }
        }
    }
    Ok(given)
}

fn text(name: &str, value: Json) -> Result<String, Wrong> {
    match value {
        Json::String(text) => Ok(text),
        _ => Err(Wrong::of(name, "a text is wanted, in quotes")),
    }
}

fn truth(name: &str, value: &Json) -> Result<bool, Wrong> {
    match value {
        Json::Bool(truth) => Ok(*truth),
        Json::String(text) if matches!(text.as_str(), "true" | "t" | "1") => Ok(true),
        Json::String(text) if matches!(text.as_str(), "false" | "f" | "0") => Ok(false),
        _ => Err(Wrong::of(name, "true or false is wanted")),
    }
}

/// An object of `manage.py dumpdata auth.user`, or of a user model of one's own. Staff get no role here.
fn of_django(object: &Map<String, Json>, fields: &Map<String, Json>) -> Result<Given, Wrong> {
    let text = |name: &str| fields.get(name).and_then(Json::as_str).map(str::trim);
    let Some(password) = text("password") else {
        let model = object.get("model").and_then(Json::as_str).unwrap_or("?");
        let model: String = model.chars().take(64).collect();
        return Err(Wrong::all(format!(
            "a {model} is no user: export users alone, with `manage.py dumpdata auth.user`"
        )));
    };
    let email = text("email").filter(|email| !email.is_empty());
    let username = || text("username").filter(|name| name.contains('@'));
    // People choose their user names, so one that is an address may be somebody else's: nobody has vouched for it.
    let email_verified = email.is_none().then_some(false);
    let email = email.or_else(username).ok_or_else(|| {
        Wrong::of(
            "email",
            "the user has none, and people sign in with their address: give them one first",
        )
    })?;
    let name = format!(
        "{} {}",
        text("first_name").unwrap_or_default(),
        text("last_name").unwrap_or_default()
    );
    let name: String = name.trim().chars().take(MAX_NAME_CHARS).collect();
    Ok(Given {
        email: email.to_owned(),
        // Django writes an exclamation mark where no password is to fit.
        password_hash: Some(password.to_owned())
            .filter(|hash| !hash.is_empty() && !hash.starts_with('!')),
        email_verified,
        display_name: Some(name).filter(|name| !name.is_empty()),
        locale: None,
        active: fields.get("is_active").and_then(Json::as_bool),
        created_at: text("date_joined").map(str::to_owned),
    })
}

impl Given {
    fn account(self, hasher: &dyn PasswordHasher, now: Time) -> Result<Account, Wrong> {
        if self.email.is_empty() {
            return Err(Wrong::of("email", "an address is wanted"));
        }
        let email =
            Address::parse(&self.email).map_err(|error| Wrong::of("email", error.to_string()))?;
        let hash = self.password_hash.as_deref();
        let password = hash.map(|hash| hasher.read(hash)).transpose();
        let password = password.map_err(|error| Wrong::of("password_hash", error.to_string()))?;
        let name = line("display_name", self.display_name, MAX_NAME_CHARS)?;
        let locale = line("locale", self.locale, MAX_LOCALE_CHARS)?;
        let created_at = created(self.created_at.as_deref(), now)?;
        let verified = self.email_verified.unwrap_or(true);
        let active = self.active.unwrap_or(true);
        Ok(Account {
            id: UserId(Uuid::nil()),
            email,
            display_name: name,
            locale: locale.unwrap_or_else(|| LOCALE.to_owned()),
            state: if active {
                AccountState::Active
            } else {
                AccountState::Inactive
            },
            verified_at: verified.then_some(now),
            password,
            credential_epoch: 1,
            security_version: 1,
            token_version: 1,
            roles: vec![Role::User],
            // Who has yet to verify has as long for it as who registers now.
            created_at: if verified { created_at } else { now },
        })
    }
}

fn line(name: &str, text: Option<String>, max_chars: usize) -> Result<Option<String>, Wrong> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.chars().count() > max_chars || text.chars().any(char::is_control) {
        let message = format!("one line of at most {max_chars} characters is wanted");
        return Err(Wrong::of(name, message));
    }
    Ok(Some(text))
}

fn created(text: Option<&str>, now: Time) -> Result<Time, Wrong> {
    let Some(text) = text else { return Ok(now) };
    let time: Time = text.parse().map_err(|_| {
        let message = "a time of RFC 3339 is wanted, like 2021-03-04T05:06:07Z";
        Wrong::of("created_at", message)
    })?;
    if time > now {
        return Err(Wrong::of("created_at", "it is in the future"));
    }
    Ok(time)
}
