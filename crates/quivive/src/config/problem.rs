//! What is wrong with a configuration: which setting, where it stands, what to write instead. Never a secret.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// No such setting.
    Unknown {
        key: String,
        place: String,
        nearest: Option<String>,
    },
    /// A setting with a value that it cannot have.
    Bad {
        key: String,
        /// Empty when the setting is nowhere.
        place: String,
        /// Goes on after the key: `is not an address`.
        what: String,
        remedy: String,
    },
    /// The file is not TOML.
    Syntax {
        place: String,
        message: String,
    },
    Unreadable {
        path: PathBuf,
        error: String,
    },
}

impl Problem {
    pub(super) fn bad(key: &str, place: &str, what: &str, remedy: &str) -> Self {
        Self::Bad {
            key: key.to_owned(),
            place: place.to_owned(),
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unknown {
                nearest: Some(nearest),
                ..
            } => format!("did you mean {nearest}?"),
            Self::Unknown { nearest: None, .. } => {
                "remove it; `quivive config generate` prints every setting there is".to_owned()
            }
            Self::Bad { remedy, .. } => remedy.clone(),
            Self::Syntax { .. } => {
                "write it as TOML: key = \"text\", key = 5, key = true".to_owned()
            }
            Self::Unreadable { path, .. } => {
                format!(
                    "make {} a file that this user can read, or name another with --config",
                    path.display()
                )
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { key, place, .. } => write!(f, "{key} in {place} is not a setting"),
            Self::Bad {
                key, place, what, ..
            } if place.is_empty() => write!(f, "{key} {what}"),
            Self::Bad {
                key, place, what, ..
            } => write!(f, "{key} ({place}) {what}"),
            Self::Syntax { place, message } => write!(f, "{place}: {message}"),
            Self::Unreadable { path, error } => {
                write!(f, "cannot read {}: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for Problem {}

/// Everything that is wrong, so that it can be put right in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}: {}", problem.remedy())?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
