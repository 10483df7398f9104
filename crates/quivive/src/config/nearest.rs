//! The known name that a mistyped one probably means.

/// Below this likeness a suggestion confuses more than it helps.
const ALIKE: f64 = 0.75;

pub(super) fn nearest<'k>(unknown: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let key_alone = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |key: &str| {
        // The right key under another section is as near as a misspelt one.
        let moved = f64::from(u8::from(key_alone(key) == key_alone(unknown))) * 0.9;
        strsim::jaro_winkler(unknown, key).max(moved)
    };
    known
        .map(|key| (likeness(key), key))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_finger_and_a_wrong_section_are_both_understood() {
        let known = ["server.listen", "server.public_url", "mail.host"];
        let near = |unknown| nearest(unknown, known.into_iter());
        assert_eq!(near("server.lisen"), Some("server.listen"));
        assert_eq!(near("web.public_url"), Some("server.public_url"));
        assert_eq!(near("colour"), None);
    }
}
