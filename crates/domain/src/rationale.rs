//! Why somebody does something that others will want to know of: a sentence or two, for the trail.

/// From 1 to 500 characters on one line, without space around them. It is in events: nothing personal belongs in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rationale(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("From 1 to 500 characters, none of them a control character.")]
pub struct RationaleError;

impl Rationale {
    pub const MAX_CHARS: usize = 500;

    pub fn parse(given: &str) -> Result<Self, RationaleError> {
        let text = given.trim();
        let fits = (1..=Self::MAX_CHARS).contains(&text.chars().count());
        if fits && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RationaleError)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Rationale> for String {
    fn from(rationale: Rationale) -> Self {
        rationale.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_line_of_a_sentence_or_two() {
        let parsed = Rationale::parse(" a lost telephone\n").map(String::from);
        assert_eq!(parsed.as_deref(), Ok("a lost telephone"));
        let (most, too_much) = ("ä".repeat(500), "ä".repeat(501));
        assert_eq!(Rationale::parse(&most).map(String::from), Ok(most));
        for unfit in ["", " \t", "two\nlines", too_much.as_str()] {
            assert_eq!(Rationale::parse(unfit), Err(RationaleError), "{unfit:?}");
        }
    }
}
