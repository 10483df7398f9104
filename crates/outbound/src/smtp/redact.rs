//! What a mail server says, without whom it says it about: error texts go into logs and the database.

/// As much of a server's answer as is of use.
const MAX_CHARS: usize = 300;
/// Below this the part of an address is everywhere: it is looked for as a whole word only.
const MIN_PART_CHARS: usize = 3;

const GONE: &str = "<…>";

/// The text in one line, every word gone that has an `@`, or a part of one of the `addresses` in whatever spelling.
pub(super) fn redact(text: &str, addresses: &[&str]) -> String {
    let parts: Vec<String> = addresses
        .iter()
        .flat_map(|address| address.split(|c: char| c == '@' || c.is_whitespace()))
        .map(str::to_lowercase)
        .filter(|part| !part.is_empty())
        .collect();
    let names_somebody = |word: &str| {
        let word = word.to_lowercase();
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        word.contains('@')
            || parts.iter().any(|part| {
                bare == part
                    || (part.chars().count() >= MIN_PART_CHARS && word.contains(part.as_str()))
            })
    };
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .map(|word| if names_somebody(word) { GONE } else { word })
        .collect();
    words.join(" ").chars().take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_the_address_is_left() {
        let to = ["Ann.Lee@Example.com", "Ann.Lee@example.com"];
        for said in [
            "550 5.1.1 <ann.lee@example.com>: Recipient address rejected",
            "550 ANN.LEE@EXAMPLE.COM unknown",
            "550 user ann.lee unknown",
            "550 bounce+ann.lee=example.com@relay.test",
            "550 see https://example.com/why?u=ann.lee%40example.com",
            "550 \"ann.lee\"@example.com\r\n550 again <ann.lee@\texample.com>",
        ] {
            let text = redact(said, &to).to_lowercase();
            assert!(!text.contains("ann") && !text.contains("example"), "{text}");
            assert!(text.starts_with("550 "), "{text}");
        }
    }

    #[test]
    fn the_rest_stays_readable() {
        assert_eq!(
            redact(
                "550 5.1.1 a@b.example: a mailbox (a) is unavailable\r\n",
                &["a@b.example"]
            ),
            "550 5.1.1 <…> <…> mailbox <…> is unavailable"
        );
        assert_eq!(
            redact("permanent error (550): no", &[]),
            "permanent error (550): no"
        );
        assert_eq!(redact(&"x ".repeat(1_000), &[]).chars().count(), MAX_CHARS);
    }
}
