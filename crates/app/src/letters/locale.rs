//! The languages of letters and pages.

/// A language that letters and pages are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Locale {
    /// English, and the answer when nothing else fits.
    #[default]
    En,
    /// Portuguese, as written in Brazil.
    Pt,
}

impl Locale {
    /// Every locale.
    pub const ALL: &[Locale] = &[Locale::En, Locale::Pt];

    /// The locale for a language tag (`pt-BR`) or an `Accept-Language` header (`de, pt;q=0.8, en;q=0.5`); English when
    /// none fits.
    pub fn best(wanted: &str) -> Locale {
        let mut best = (Locale::En, 0.0_f32);
        for range in wanted.split(',') {
            let mut parts = range.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let locale = match tag.split(['-', '_']).next().unwrap_or_default() {
                language if language.eq_ignore_ascii_case("pt") => Locale::Pt,
                language if language.eq_ignore_ascii_case("en") => Locale::En,
                _ => continue,
            };
            let weight = parts
                .find_map(|part| part.trim().strip_prefix("q="))
                .map_or(1.0, |q| q.parse().unwrap_or(0.0));
            if weight > best.1 {
                best = (locale, weight);
            }
        }
        best.0
    }

    /// The code in file names and in an account's `locale`.
    pub fn code(self) -> &'static str {
        match self {
            Locale::En => "en",
            Locale::Pt => "pt",
        }
    }

    /// The BCP 47 tag for `lang` attributes and `Content-Language`.
    pub fn language_tag(self) -> &'static str {
        match self {
            Locale::En => "en",
            Locale::Pt => "pt-BR",
        }
    }
}
