//! Which events an endpoint asks for.

/// Patterns of one endpoint. More is said shorter with a `*`.
pub const MAX_PATTERNS: usize = 64;

/// A type by any of its names, or all types that begin or end so: `user.*`, `*.failed`, `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// In bytes. The longest name of an event has half of it.
const MAX_BYTES: usize = 128;

impl Pattern {
    /// `None` for what can be neither a name nor a pattern.
    pub fn parse(text: &str) -> Option<Self> {
        let family = |rest: &str| rest.is_empty() || rest.starts_with('.') || rest.ends_with('.');
        let stem = match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(stem), _) | (None, Some(stem)) => Some(stem).filter(|stem| family(stem))?,
            (None, None) => text,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
        let whole = !text.is_empty() && text.len() <= MAX_BYTES && stem.bytes().all(plain);
        whole.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a name, which a catalogue must know.
    pub fn is_name(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether a type is meant, where it is no name.
    pub fn fits(&self, kind: &str) -> bool {
        match (self.0.strip_prefix('*'), self.0.strip_suffix('*')) {
            (Some(tail), _) => kind.ends_with(tail),
            (None, Some(head)) => kind.starts_with(head),
            (None, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_families() {
        for (text, kind, fits) in [
            ("user.*", "user.login.failed", true),
            ("user.*", "username.changed", false),
            ("*.failed", "user.login.failed", true),
            ("*.failed", "user.login.succeeded", false),
            ("*", "anything.at_all", true),
            (
                "UserRegistrationSucceeded",
                "user.registration.succeeded",
                false,
            ),
        ] {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!(pattern.fits(kind), fits, "{text} {kind}");
            assert_eq!(pattern.is_name(), !text.contains('*'), "{text}");
            assert_eq!(pattern.as_str(), text);
        }
    }

    #[test]
    fn what_is_neither() {
        let long = "x".repeat(129);
        for text in [
            "",
            "user*",
            "*failed",
            "user.*.failed",
            "*.x.*",
            "**",
            "a b",
            "é",
            &long,
        ] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
    }
}
