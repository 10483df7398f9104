//! `[admin]`: the first administrator by configuration.

use secrecy::SecretString;
use serde::Deserialize;

use super::report::Report;
use super::secret::Secret;

#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    email: Option<String>,
    password: Option<Secret>,
}

/// Who becomes administrator when there is none.
#[derive(Debug, Clone)]
pub struct FirstAdmin {
    pub email: String,
    pub password: SecretString,
}

impl Admin {
    pub(super) fn check(&self, report: &mut Report<'_>) -> Option<FirstAdmin> {
        match (&self.email, &self.password) {
            (Some(email), Some(password)) => Some(FirstAdmin {
                email: email.clone(),
                password: password.0.clone(),
            }),
            (None, None) => None,
            (Some(_), None) => {
                report.bad(
                    "admin.password",
                    "is missing beside admin.email",
                    "name its file: QUIVIVE__ADMIN__PASSWORD_FILE=/run/secrets/…",
                );
                None
            }
            (None, Some(_)) => {
                report.bad(
                    "admin.email",
                    "is missing beside admin.password",
                    "write QUIVIVE__ADMIN__EMAIL=you@example.org",
                );
                None
            }
        }
    }
}
