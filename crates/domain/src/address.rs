//! The address of an account: as typed, and in the one form in which addresses are compared.
//!
//! This is the only canonicaliser of the project. Everything that looks an address up, counts guesses for it or keeps it
//! unique uses [`Address::canonical`]; letters go to [`Address::typed`] of the *stored* address, never to one from a request.
//!
//! Canonical means: blanks trimmed, NFC, local part in lower case, domain as lower-case A-labels (UTS #46, strict). Nothing
//! else is folded: `a+tag@x` is an address of its own, and so is `a.b@gmail.com`, because only the receiving host knows
//! what a tag or a dot means there (RFC 5321, 2.3.11). Lower-casing the local part is the one liberty: no host worth
//! serving gives `Ada@` and `ada@` to two people, and two accounts for them would be a trap.
//!
//! What could be mistaken for another address is refused, not folded: folding would hand one person's letters to another.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::UnicodeNormalization as _;
use unicode_security::{RestrictionLevel, RestrictionLevelDetection as _, skeleton};

/// Of a whole address, in bytes: what fits a `RCPT TO` path (RFC 3696, erratum 1690).
pub const MAX_BYTES: usize = 254;
/// Of a local part, in bytes (RFC 5321, 4.5.3.1.1).
pub const MAX_LOCAL_BYTES: usize = 64;

/// Refused where it is left over after NFC: on i and j it cannot be seen, elsewhere NFC composes it or no language has it.
const DOT_ABOVE: char = '\u{307}';

/// An e-mail address that passed the rules. Equal when canonically equal. Personal: Debug does not show it, and there is no
/// Display.
#[derive(Clone)]
pub struct Address {
    typed: String,
    canonical: String,
}

/// Why a text is no address here. Display says what is wrong and what to do; it never repeats the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("The address is too long: use one of at most 254 bytes.")]
    TooLong,
    #[error(
        "The address holds a control character or a line break: type it anew instead of pasting it."
    )]
    ControlCharacter,
    #[error("An address has exactly one @, as in name@example.org.")]
    NotOneAt,
    #[error("The part before the @ is too long: at most 64 bytes.")]
    LocalTooLong,
    #[error(
        "Before the @ are letters, digits, single dots inside and !#$%&'*+-/=?^_`{{|}}~; no blanks, quotes or comments."
    )]
    LocalMalformed,
    #[error("The part after the @ is no domain name, as in name@example.org.")]
    DomainMalformed,
    #[error("The part after the @ must be a domain name, not an IP address.")]
    IpAddress,
    #[error(
        "The address holds characters that can be mistaken for others: type it with the letters of one script, or use another."
    )]
    Confusable,
}

impl AddressError {
    /// Stable, for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::ControlCharacter => "control_character",
            Self::NotOneAt => "not_one_at",
            Self::LocalTooLong => "local_too_long",
            Self::LocalMalformed => "local_malformed",
            Self::DomainMalformed => "domain_malformed",
            Self::IpAddress => "ip_address",
            Self::Confusable => "confusable",
        }
    }
}

impl Address {
    /// Reads what a person typed. Costs a few microseconds, and no more for a hostile text: its length is looked at first.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim_matches(is_blank);
        if text.len() > MAX_BYTES {
            return Err(AddressError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(AddressError::ControlCharacter);
        }
        // Each character by itself, because the NFC below would turn a Kelvin sign into a K before anybody could see it.
        if text.chars().any(|c| !c.is_ascii() && !c.nfkc().eq([c])) {
            return Err(AddressError::Confusable);
        }
        let typed: String = text.nfc().collect();
        let (local, domain) = typed.split_once('@').ok_or(AddressError::NotOneAt)?;
        if domain.contains('@') {
            return Err(AddressError::NotOneAt);
        }
        let canonical = format!("{}@{}", canonical_local(local)?, canonical_domain(domain)?);
        if canonical.len() > MAX_BYTES {
            return Err(AddressError::TooLong);
        }
        Ok(Self { typed, canonical })
    }

    /// The two texts of an address that [`Address::parse`] made, read back from where they were kept. Not judged again: rules
    /// may have become stricter since, and its owner must still get in. `None` when the canonical form cannot be one.
    pub fn stored(typed: String, canonical: String) -> Option<Self> {
        canonical.contains('@').then_some(Self { typed, canonical })
    }

    /// As typed, without blanks around it and in NFC (RFC 6532, 3.1): where letters are sent.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// The form for look-ups and uniqueness. Parsing it again gives it again.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// What stands before the @ in the canonical form.
    pub fn local(&self) -> &str {
        self.halves().0
    }

    /// What stands after the @ in the canonical form: lower-case ASCII.
    pub fn domain(&self) -> &str {
        self.halves().1
    }

    fn halves(&self) -> (&str, &str) {
        self.canonical
            .split_once('@')
            .expect("parse and stored let no canonical form pass without an @")
    }
}

/// Space, tab and the other spaces that keyboards and copying leave around a word. Line breaks are not among them.
fn is_blank(c: char) -> bool {
    c == '\t' || (c.is_whitespace() && !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}'))
}

/// Character by character: `str::to_lowercase` looks at the neighbours of a Σ, and a canonical form must not.
fn lower_case(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).nfc().collect()
}

/// A dot-atom (RFC 5322, 3.2.3), of which the characters beyond ASCII (RFC 6531, 3.3) resemble no other address's.
fn canonical_local(local: &str) -> Result<String, AddressError> {
    if local.len() > MAX_LOCAL_BYTES {
        return Err(AddressError::LocalTooLong);
    }
    let is_atom = |atom: &str| !atom.is_empty() && atom.chars().all(is_atext);
    if !local.split('.').all(is_atom) {
        return Err(AddressError::LocalMalformed);
    }
    let lower = lower_case(local);
    if local_resembles_another(local) || local_resembles_another(&lower) {
        return Err(AddressError::Confusable);
    }
    Ok(lower)
}

fn is_atext(c: char) -> bool {
    let is_space = c.is_whitespace() && !c.is_ascii();
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && !is_space)
}

/// Strict on purpose. Beyond ASCII a local part must be of a single script (UTS #39, 5.2) and free of every character that
/// alone looks like ASCII: the ı of `mıke`, `æ`, an invisible joiner (its skeleton is empty). That also refuses most words in
/// Cyrillic, Greek, Hebrew and Arabic, whose o and l look like ours; such addresses are still rare, and a look-alike of
/// somebody's address is worth more to a thief than they are.
fn local_resembles_another(local: &str) -> bool {
    if local.is_ascii() {
        return false;
    }
    // The punctuation of an atom is no identifier character, which would make any script "unrestricted".
    let letters: String = local
        .chars()
        .filter(|c| !c.is_ascii_punctuation())
        .collect();
    let looks_ascii = |c: char| skeleton(c.encode_utf8(&mut [0; 4])).all(|c| c.is_ascii());
    !letters
        .as_str()
        .check_restriction_level(RestrictionLevel::SingleScript)
        || letters.contains(DOT_ABOVE)
        || letters.chars().any(|c| !c.is_ascii() && looks_ascii(c))
}

/// UTS #46 to ASCII: STD3 rules, hyphens and lengths checked, bidi and joiner rules as always. No mapping but that of case is
/// let through, so that a domain is the one it shows.
fn canonical_domain(domain: &str) -> Result<String, AddressError> {
    if domain.starts_with('[') {
        return Err(AddressError::IpAddress);
    }
    let uts46 = Uts46::new();
    let ascii = uts46
        .to_ascii(
            domain.as_bytes(),
            AsciiDenyList::STD3,
            Hyphens::Check,
            DnsLength::Verify,
        )
        .map_err(|_| AddressError::DomainMalformed)?;
    // A name beginning with a digit is no top-level domain, so this is 127.0.0.1, 0x7f.1 or their like (RFC 3696, 2).
    let top = ascii.rsplit('.').next().unwrap_or_default();
    if top.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(AddressError::IpAddress);
    }
    if !ascii.contains('.') && ascii != "localhost" {
        return Err(AddressError::DomainMalformed);
    }
    let (shown, _) = uts46.to_unicode(ascii.as_bytes(), AsciiDenyList::STD3, Hyphens::Check);
    let typed = lower_case(domain);
    let as_typed = typed.split('.').count() == shown.split('.').count()
        && typed
            .split('.')
            .zip(ascii.split('.').zip(shown.split('.')))
            .all(|(typed, (ascii, shown))| typed == ascii || typed == shown);
    if !as_typed || shown.split('.').any(label_resembles_another) {
        return Err(AddressError::Confusable);
    }
    Ok(ascii.into_owned())
}

/// Milder than for a local part, since registries have rules of their own and the canonical form shows the A-label: scripts
/// mixed at most as Chinese, Japanese and Korean do (UTS #39, "highly restrictive"), and not the image of an ASCII label.
fn label_resembles_another(label: &str) -> bool {
    !label.is_ascii()
        && (!label.check_restriction_level(RestrictionLevel::HighlyRestrictive)
            || label.contains(DOT_ABOVE)
            || skeleton(label).all(|c| c.is_ascii()))
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical.hash(state);
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(…)")
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.typed)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "email"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Result<String, AddressError> {
        Address::parse(text).map(|address| address.canonical)
    }

    /// T02.
    #[test]
    fn spellings_of_one_address_have_one_canonical_form() {
        for (text, want) in [
            ("ada@example.org", "ada@example.org"),
            (
                " \tAda.LOVELACE@EXAMPLE.org\u{a0} ",
                "ada.lovelace@example.org",
            ),
            ("ada+tag@example.org", "ada+tag@example.org"),
            ("a@localhost", "a@localhost"),
            (
                "!#$%&'*+-/=?^_`{|}~@a.b.example",
                "!#$%&'*+-/=?^_`{|}~@a.b.example",
            ),
            ("ada@B\u{fc}cher.example", "ada@xn--bcher-kva.example"),
            ("ada@Bu\u{308}cher.example", "ada@xn--bcher-kva.example"),
            ("ada@XN--BCHER-KVA.example", "ada@xn--bcher-kva.example"),
            ("ada@stra\u{df}e.example", "ada@xn--strae-oqa.example"),
            ("ada@почта.рф", "ada@xn--80a1acny.xn--p1ai"),
            ("ada@日本語.example", "ada@xn--wgv71a119e.example"),
            ("J\u{d6}RG+tag@example.org", "j\u{f6}rg+tag@example.org"),
            ("JO\u{308}rg+tag@example.org", "j\u{f6}rg+tag@example.org"),
            ("山田@example.org", "山田@example.org"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_for_its_reason() {
        use AddressError::*;
        let label = "d".repeat(63);
        let whole = format!("a@{label}.{label}.{label}.{label}.org");
        let local = format!("{}@example.org", "a".repeat(65));
        let puny = format!("{}@{}example.org", "a".repeat(64), "\u{fc}.".repeat(25));
        for (text, want) in [
            ("", NotOneAt),
            ("ada", NotOneAt),
            ("ada@b@example.org", NotOneAt),
            ("ada\u{ff20}example.org", Confusable),
            ("@example.org", LocalMalformed),
            (".ada@example.org", LocalMalformed),
            ("ada.@example.org", LocalMalformed),
            ("a..da@example.org", LocalMalformed),
            ("a da@example.org", LocalMalformed),
            ("a\u{3000}da@example.org", Confusable),
            ("\"ada\"@example.org", LocalMalformed),
            ("ada<ada@example.org>", LocalMalformed),
            ("ada,b@example.org", LocalMalformed),
            ("ada(b)@example.org", LocalMalformed),
            ("ada\\@example.org", LocalMalformed),
            ("ada@example.org\r\nBcc: b@example.org", ControlCharacter),
            ("ada@example.org\n", ControlCharacter),
            ("ada\0@example.org", ControlCharacter),
            ("ada@", DomainMalformed),
            ("ada@example", DomainMalformed),
            ("ada@.example.org", DomainMalformed),
            ("ada@example.org.", DomainMalformed),
            ("ada@example..org", DomainMalformed),
            ("ada@-example.org", DomainMalformed),
            ("ada@exa_mple.org", DomainMalformed),
            ("ada@exa mple.org", DomainMalformed),
            ("ada@xn--a.org", DomainMalformed),
            ("ada@xn--example-.org", DomainMalformed),
            ("ada@[127.0.0.1]", IpAddress),
            ("ada@[IPv6:::1]", IpAddress),
            ("ada@127.0.0.1", IpAddress),
            ("ada@0x7f.1", IpAddress),
            (&whole, TooLong),
            (&local, LocalTooLong),
            (&puny, TooLong),
        ] {
            assert_eq!(canonical(text), Err(want), "{text:?}");
        }
    }

    /// T03.
    #[test]
    fn look_alikes_are_refused() {
        for text in [
            "m\u{131}ke@example.org",                       // dotless i
            "m\u{130}ke@example.org", // I with a dot, which lower-cases to an i with an unseen one
            "mi\u{307}ke@example.org", // the same, typed
            "\u{fb01}ona@example.org", // ligature fi
            "mi\u{212a}e@example.org", // Kelvin sign
            "mike\u{17f}@example.org", // long s
            "m\u{456}ke@example.org", // Ukrainian i among Latin letters
            "\u{441}\u{43e}\u{440}@example.org", // a Cyrillic word that reads "cop"
            "\u{ff4d}ike@example.org", // full width
            "mi\u{200d}ke@example.org", // zero width joiner
            "mi\u{ad}ke@example.org", // soft hyphen
            "\u{202e}mike@example.org", // right-to-left override
            "mike@ex\u{430}mple.org", // Cyrillic a
            "mike@\u{430}\u{440}\u{440}\u{4cf}\u{435}.com", // the famous image of apple.com
            "mike@xn--80ak6aa92e.com", // the same as an A-label
            "mike@example\u{3002}org", // ideographic full stop
            "mike@\u{17f}ite.org",
            "mike@\u{212a}.org",
            "mike@\u{130}stanbul.org",
            "mike@m\u{131}ke.org",
        ] {
            assert_eq!(canonical(text), Err(AddressError::Confusable), "{text:?}");
        }
    }

    /// Whatever is accepted is stable, and no character of another alphabet ends up as an ASCII address.
    #[test]
    fn any_character_gives_a_stable_address_or_none() {
        for c in ('\u{1}'..'\u{3100}')
            .chain('\u{a000}'..'\u{ac00}')
            .chain('\u{f900}'..'\u{1f000}')
        {
            for text in [format!("x{c}y@example.org"), format!("x@y{c}z.org")] {
                let Ok(address) = Address::parse(&text) else {
                    continue;
                };
                let again = Address::parse(address.canonical()).map(|a| a.canonical);
                assert_eq!(again.as_deref(), Ok(address.canonical()), "{text:?}");
                assert!(address.domain().is_ascii(), "{text:?}");
                if !c.is_ascii() {
                    assert!(
                        !address.canonical().is_ascii() || address.domain().contains("xn--"),
                        "{text:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn letters_go_to_the_typed_form_and_equality_is_canonical() {
        let a = Address::parse(" Ada@Example.ORG ").expect("good");
        let b = Address::parse("ada@example.org").expect("good");
        assert_eq!(a.typed(), "Ada@Example.ORG");
        assert_eq!((a.local(), a.domain()), ("ada", "example.org"));
        assert_eq!(a, b);
        let all: std::collections::HashSet<_> = [a.clone(), b].into();
        assert_eq!(all.len(), 1);
        assert_eq!(format!("{a:?}"), "Address(…)");
        let stored = |canonical: &str| Address::stored(a.typed.clone(), canonical.to_owned());
        assert_eq!(stored(a.canonical()), Some(a.clone()));
        assert_eq!(stored("ada"), None);
    }
}
