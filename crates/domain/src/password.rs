//! Passwords as presented, and the policy for new ones (NIST SP 800-63B-4, 3.1.1.2: length and a list, no composition rules).
//!
//! A [`Password`] is what a person typed, in NFC, so that two keyboards that spell é differently open the same account. It is
//! wiped from memory when dropped, and so are the copies made here. [`PasswordPolicy::check`] hands the text to zxcvbn, whose
//! own copies are freed without being wiped.

use std::fmt;
use std::panic::catch_unwind;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use unicode_normalization::UnicodeNormalization as _;
use zxcvbn::zxcvbn;

use crate::address::Address;

/// Of a password as it arrives, in bytes: far above any policy, and low enough to normalise and hash without a thought.
pub const MAX_INPUT_BYTES: usize = 4_096;

/// How much of a password is judged, in characters; zxcvbn reads no more than this either.
const MAX_JUDGED_CHARS: usize = 100;

/// The work one judgement may cost, in dictionary look-ups for each dictionary: some 10 ms, about one password hash. zxcvbn
/// tries all substrings in every combination of the letters that digits and signs may stand for, so that 100 characters made
/// for it would take half a second.
const JUDGEMENT_BUDGET: usize = 40_000;

/// Below this a name says nothing: "an ada" is in "canada".
const MIN_NAME_CHARS: usize = 4;

/// Lower case, one a line. zxcvbn knows 30,000 more; these are the ones refused for being themselves.
const COMMON: &str = include_str!("password/common.txt");

/// Labels under which countries sell names, so that the label before them is the one that names somebody.
const SECOND_LEVELS: [&str; 10] = [
    "ac", "co", "com", "edu", "go", "gov", "ne", "net", "or", "org",
];

/// A password in NFC. Debug is redacted; there is no Serialize, no Display and no comparison. A clone is wiped like
/// the first.
#[derive(Clone)]
pub struct Password(SecretString);

/// The input is over [`MAX_INPUT_BYTES`]. Nothing was done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The password is too long: at most 4,096 bytes are read.")]
pub struct TooLong;

impl TooLong {
    /// Stable, for programs; the same as of [`Weakness::TooLong`].
    pub const CODE: &str = "too_long";
}

impl Password {
    /// Takes what was typed, of any strength; the policy is for new ones only.
    pub fn new(typed: String) -> Result<Self, TooLong> {
        let typed = Zeroizing::new(typed);
        if typed.len() > MAX_INPUT_BYTES {
            return Err(TooLong);
        }
        // Of exact size, so that boxing it does not leave a copy behind.
        let mut nfc = wiped(typed.nfc());
        Ok(Self(SecretString::from(std::mem::take(&mut *nfc))))
    }

    /// The text in NFC, for the hasher and the policy.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Why a new password is refused. Display says what to do instead; it never repeats the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// In characters.
    #[error(
        "The password is too short: use at least {min} characters. Several words with spaces are fine."
    )]
    TooShort { min: usize },
    /// In characters.
    #[error("The password is too long: use at most {max} characters.")]
    TooLong { max: usize },
    #[error(
        "This is one of the passwords that are tried first: choose one that nobody else would think of."
    )]
    Common,
    #[error("The password is easy to guess: add another unrelated word or two.")]
    Guessable,
    #[error("The password holds your address or a part of it: leave that out.")]
    HoldsAddress,
    #[error("The password holds the name of this service: leave that out.")]
    HoldsProductName,
}

impl Weakness {
    /// Stable, for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooShort { .. } => "too_short",
            Self::TooLong { .. } => "too_long",
            Self::Common => "common",
            Self::Guessable => "guessable",
            Self::HoldsAddress => "holds_address",
            Self::HoldsProductName => "holds_product_name",
        }
    }
}

/// What a new password must be. Lengths in Unicode scalar values after NFC; any characters, no composition rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordPolicy {
    pub min_chars: usize,
    pub max_chars: usize,
    /// Of zxcvbn, 0 to 4; 3 means more than 10^8 guesses.
    pub min_score: u8,
    /// May not be part of a password. Ignored when shorter than four characters.
    pub product_name: String,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self {
            min_chars: 12,
            max_chars: 128,
            min_score: 3,
            product_name: "quivive".to_owned(),
        }
    }
}

impl PasswordPolicy {
    /// Judges a new password, cheapest rule first. Half a millisecond, at worst some 20. The first call in a process takes
    /// 15 ms and 8 MB more, for zxcvbn's dictionaries, which stay.
    pub fn check(&self, password: &Password, address: Option<&Address>) -> Result<(), Weakness> {
        let text = password.expose();
        let chars = text.chars().count();
        if chars < self.min_chars {
            return Err(Weakness::TooShort {
                min: self.min_chars,
            });
        }
        if chars > self.max_chars {
            return Err(Weakness::TooLong {
                max: self.max_chars,
            });
        }
        let lower = wiped(text.chars().flat_map(char::to_lowercase));
        if is_common(&lower) {
            return Err(Weakness::Common);
        }
        let holds = |name: &str| name.chars().count() >= MIN_NAME_CHARS && lower.contains(name);
        if address.is_some_and(|address| names(address).iter().any(|name| holds(name))) {
            return Err(Weakness::HoldsAddress);
        }
        let product_name = self.product_name.to_lowercase();
        if holds(&product_name) {
            return Err(Weakness::HoldsProductName);
        }
        if score(text, address, &product_name) < self.min_score {
            return Err(Weakness::Guessable);
        }
        Ok(())
    }
}

/// Collects into a string that is wiped when dropped. Its size is counted first: a string that grows leaves pieces behind.
fn wiped(chars: impl Iterator<Item = char> + Clone) -> Zeroizing<String> {
    let bytes = chars.clone().map(char::len_utf8).sum();
    let mut text = Zeroizing::new(String::with_capacity(bytes));
    for c in chars {
        text.push(c);
    }
    text
}

/// Whether it is on the list, or would be without the digits and signs at its end: zxcvbn takes `P@ssw0rd12345!` for strong,
/// because it is in three pieces.
fn is_common(lower: &str) -> bool {
    let stem = stem(lower);
    COMMON.lines().any(|word| word == lower || word == stem)
}

fn stem(word: &str) -> &str {
    word.trim_end_matches(|c: char| c.is_ascii_digit() || c.is_ascii_punctuation())
}

/// What of an address may not be part of a password: all of it, its local part, the label that names its domain; in lower
/// case.
fn names(address: &Address) -> [String; 4] {
    let typed = address.typed().to_lowercase();
    let shown = typed.rsplit('@').next().unwrap_or_default();
    [
        address.canonical().to_owned(),
        address.local().to_owned(),
        main_label(address.domain()).to_owned(),
        main_label(shown).to_owned(),
    ]
}

/// `example` of `mail.example.org` and of `example.co.uk`. A guess without the public suffix list, good enough to look for.
fn main_label(domain: &str) -> &str {
    let mut labels = domain.rsplit('.');
    let top = labels.next().unwrap_or_default();
    let main = labels.next().unwrap_or(top);
    if SECOND_LEVELS.contains(&main) {
        labels.next().unwrap_or(main)
    } else {
        main
    }
}

/// zxcvbn's score, 0 to 4, with what an attacker knows about the person: the names in their address, the product's.
fn score(text: &str, address: Option<&Address>, product_name: &str) -> u8 {
    let names = address.map(names).unwrap_or_default();
    let words = names[1].split(|c: char| !c.is_alphanumeric());
    let known: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .chain(words)
        .chain([product_name])
        .filter(|word| !word.is_empty())
        .collect();
    let judged = within_budget(text);
    // zxcvbn multiplies unchecked: with overflow checks a keyboard walk of some thirty keys makes it panic. Whatever it cannot
    // judge is refused, and the panic's message holds no input.
    catch_unwind(|| u8::from(zxcvbn(&judged, &known).score())).unwrap_or(0)
}

/// zxcvbn's table of stand-ins: each entry the digits and signs that may stand for one letter.
const STAND_INS: [&str; 12] = [
    "4@", "8", "({[<", "3", "69", "1!|", "1|7", "0", "$5", "+7", "%", "2",
];

/// Stand-ins for which their letter can be put in when there are too many combinations, the rarest first.
const REPLACED: [(char, char); 10] = [
    ('{', 'c'),
    ('[', 'c'),
    ('<', 'c'),
    ('|', 'l'),
    ('!', 'i'),
    ('+', 't'),
    ('@', 'a'),
    ('$', 's'),
    ('9', 'g'),
    ('7', 't'),
];

/// The part that is judged, with as many stand-ins replaced by their letter as the budget demands. That only ever makes a
/// password look weaker, and matters for long ones with many different signs, which are strong enough to bear it.
fn within_budget(text: &str) -> Zeroizing<String> {
    let judged = text.chars().take(MAX_JUDGED_CHARS);
    let length = judged.clone().count();
    let substrings = length * (length + 1) / 2;
    let mut replaced = &REPLACED[..0];
    while replaced.len() < REPLACED.len()
        && substrings * combinations(text, replaced) > JUDGEMENT_BUDGET
    {
        replaced = &REPLACED[..=replaced.len()];
    }
    let letter_of = |c| replaced.iter().find(|(sign, _)| *sign == c);
    wiped(judged.map(|c| letter_of(c).map_or(c, |(_, letter)| *letter)))
}

/// An upper bound of the ways in which zxcvbn reads the stand-ins: one of each letter's, and for those that stand for two
/// letters either.
fn combinations(text: &str, replaced: &[(char, char)]) -> usize {
    let present = |sign: &char| text.contains(*sign) && replaced.iter().all(|(r, _)| r != sign);
    let ways = |sign| {
        if matches!(sign, '1' | '|' | '7') {
            2
        } else {
            1
        }
    };
    STAND_INS
        .iter()
        .map(|signs| {
            signs
                .chars()
                .filter(present)
                .map(ways)
                .sum::<usize>()
                .max(1)
        })
        .product()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "Ada.Lovelace@mail.difference.co.uk";

    fn check(password: &str, address: &str) -> Result<(), Weakness> {
        let password = Password::new(password.to_owned()).expect("short enough");
        let address = Address::parse(address).expect("an address");
        PasswordPolicy::default().check(&password, Some(&address))
    }

    #[test]
    fn strong_passwords_pass_whatever_they_are_made_of() {
        for text in [
            "correct horse battery staple 42",
            "correct horse battery staple 42 changed",
            "correct horse battery staple 42 again",
            "correct horse battery staple 42 reset",
            "correct horse battery staple 42 17",
            "an administrators long passphrase 7",
            "wrong wrong wrong 1x plinth",
            "vK9#mq2!Lr7$",
            "lantern oyster gravel",
            "пять зелёных слонов",
            "四匹の緑の象が歩いている朝",
            "🐘🦆🌵🚲🪁🧭🎻🥨🧶🪐🐙🌋",
            "tab\tand\0nul and more",
            "4@8({[<369 1!|7 0$5+%2 4@8({[<369 1!|7 0$5+%2 mnbvc plokm ijnuh bygvt fcrdx eszaw",
        ] {
            for address in [
                ADA,
                "ada.lovelace@example.org",
                "root@example.org",
                "u@example.org",
            ] {
                assert_eq!(check(text, address), Ok(()), "{text:?} {address}");
            }
        }
    }

    #[test]
    fn weak_passwords_are_refused_for_their_reason() {
        use Weakness::*;
        let min = TooShort { min: 12 };
        let long = TooLong { max: 128 };
        for (text, want) in [
            ("", min),
            ("vK9#mq2!Lr7", min),
            ("🐘🦆🌵🚲🪁🧭🎻🥨🧶🪐🐙", min),
            // Twelve as typed, eleven in NFC.
            ("vK9#mqe\u{301}Lr7$", min),
            (&"lantern oyster ".repeat(9), long),
            ("Password1234", Common),
            ("QwertyUiop2024", Common),
            ("1qaz2wsx3edc", Common),
            ("123456789012", Common),
            ("correct horse battery staple", Common),
            ("xx ada.lovelace plinth 77", HoldsAddress),
            ("plinth ADA.LOVELACE@MAIL.difference.co.uk", HoldsAddress),
            ("my Difference engine oyster", HoldsAddress),
            ("my QuiVive oyster plinth", HoldsProductName),
            ("aaaaaaaaaaaaaaaaaaaa", Guessable),
            ("abcabcabcabcabcabc", Guessable),
            ("lovelacelovelace1", Guessable),
            ("P@ssw0rd12345!", Common),
            ("dragonmonkeys", Guessable),
            ("19900101199001011990", Guessable),
        ] {
            assert_eq!(check(text, ADA), Err(want), "{text:?}");
        }
    }

    #[test]
    fn short_names_of_an_address_are_no_reason() {
        assert_eq!(check("canada oyster plinth abc", "ada@abc.org"), Ok(()));
    }

    /// With overflow checks these make zxcvbn panic; without, it may judge as it likes.
    #[test]
    fn endless_keyboard_walks_do_no_harm() {
        for walk in ["qw".repeat(20), "qQwWeE".repeat(16), "4565".repeat(25)] {
            assert_eq!(check(&walk, ADA), Err(Weakness::Guessable), "{walk}");
        }
    }

    #[test]
    fn both_normal_forms_are_one_password_and_nothing_shows_it() {
        let composed = Password::new("caf\u{e9}".to_owned()).expect("short");
        let decomposed = Password::new("cafe\u{301}".to_owned()).expect("short");
        assert_eq!(composed.expose(), decomposed.expose());
        assert_eq!(format!("{composed:?}"), "Password(…)");
        assert!(Password::new("x".repeat(MAX_INPUT_BYTES)).is_ok());
        assert_eq!(
            Password::new("x".repeat(MAX_INPUT_BYTES + 1)).err(),
            Some(TooLong)
        );
    }

    #[test]
    fn the_budget_holds_for_any_mixture_and_leaves_ordinary_passwords_alone() {
        let ordinary = "Tr0ub4dor&3 {plinth} [2024]!";
        assert_eq!(*within_budget(ordinary), ordinary);
        let signs: String = STAND_INS.concat();
        for length in 1..=200 {
            let text: String = signs.chars().cycle().take(length).collect();
            let judged = within_budget(&text);
            let length = judged.chars().count();
            assert!(length <= MAX_JUDGED_CHARS);
            assert!(length * (length + 1) / 2 * combinations(&judged, &[]) <= JUDGEMENT_BUDGET);
        }
    }

    #[test]
    fn the_common_list_is_lower_case_sorted_and_worth_its_lines() {
        let words: Vec<&str> = COMMON.lines().collect();
        assert!(words.is_sorted_by(|a, b| a < b));
        for word in words {
            assert!(
                word.chars().count() >= 8 && word == word.to_lowercase(),
                "{word:?}"
            );
            let stem = stem(word);
            let is_redundant = stem != word && COMMON.lines().any(|other| other == stem);
            assert!(!is_redundant, "{word:?} is refused as {stem:?} already");
        }
    }

    #[test]
    fn the_label_that_names_a_domain() {
        for (domain, want) in [
            ("example.org", "example"),
            ("a.b.example.org", "example"),
            ("example.co.uk", "example"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(main_label(domain), want);
        }
    }
}
