//! Which types of event a name means.

use quivive_delivery::Catalogue;

use crate::failure::{Class, Failure};

/// A type by any of its names, or a family.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kinds {
    All,
    One(&'static str),
    Begins(String),
    Ends(String),
}

impl Kinds {
    pub(super) fn read(name: Option<&str>, catalogue: &Catalogue) -> Result<Self, Failure> {
        let Some(name) = name else {
            return Ok(Self::All);
        };
        if let Some(head) = name.strip_suffix('*').filter(|head| head.ends_with('.')) {
            return Ok(Self::Begins(head.to_owned()));
        }
        if let Some(tail) = name.strip_prefix('*').filter(|tail| tail.starts_with('.')) {
            return Ok(Self::Ends(tail.to_owned()));
        }
        match catalogue.find(name) {
            Some(spec) => Ok(Self::One(spec.kind)),
            None => Err(Failure::new(
                Class::Refused,
                format!("there is no event type {name:?}"),
                "see `quivive events catalogue`, or name a family: user.* or *.failed",
            )),
        }
    }

    pub(super) fn fits(&self, kind: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => kind == *one,
            Self::Begins(head) => kind.starts_with(head.as_str()),
            Self::Ends(tail) => kind.ends_with(tail.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_goes_by_any_of_its_names_and_by_its_families() {
        let catalogue = crate::catalogue().unwrap();
        let fits = |name, kind| Kinds::read(Some(name), &catalogue).unwrap().fits(kind);
        assert!(fits("user.login.failed", "user.login.failed"));
        assert!(fits("UserLoginFailed", "user.login.failed"));
        assert!(fits("user.*", "user.login.failed") && !fits("user.*", "token.issued"));
        assert!(fits("*.failed", "user.login.failed") && !fits("*.failed", "token.issued"));
        assert!(Kinds::read(Some("user.logni"), &catalogue).is_err());
        assert!(Kinds::All.fits("anything"));
    }
}
