//! Words that are made rather than written: spans of time, moments, devices, and the inline styles of HTML letters.

use super::Locale;

const MINUTES_PER_HOUR: u32 = 60;
const MINUTES_PER_DAY: u32 = 24 * MINUTES_PER_HOUR;

/// `15 minutes`, `24 hours`, `7 days`: in the largest unit that is exact, days from two on.
pub(super) fn duration(minutes: u32, locale: Locale) -> String {
    let (count, [one, many]) =
        if minutes >= 2 * MINUTES_PER_DAY && minutes.is_multiple_of(MINUTES_PER_DAY) {
            (
                minutes / MINUTES_PER_DAY,
                match locale {
                    Locale::En => ["day", "days"],
                    Locale::Pt => ["dia", "dias"],
                },
            )
        } else if minutes >= MINUTES_PER_HOUR && minutes.is_multiple_of(MINUTES_PER_HOUR) {
            (
                minutes / MINUTES_PER_HOUR,
                match locale {
                    Locale::En => ["hour", "hours"],
                    Locale::Pt => ["hora", "horas"],
                },
            )
        } else {
            (
                minutes,
                match locale {
                    Locale::En => ["minute", "minutes"],
                    Locale::Pt => ["minuto", "minutos"],
                },
            )
        };
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `21 November 2025, 03:09 UTC`, `21 de novembro de 2025, 03:09 UTC`.
pub(super) fn moment(unix_ms: i64, locale: Locale) -> String {
    const EN: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const PT: [&str; 12] = [
        "janeiro",
        "fevereiro",
        "março",
        "abril",
        "maio",
        "junho",
        "julho",
        "agosto",
        "setembro",
        "outubro",
        "novembro",
        "dezembro",
    ];
    let minutes = unix_ms.div_euclid(60_000);
    let (days, minute) = (minutes.div_euclid(1_440), minutes.rem_euclid(1_440));
    let (year, month, day) = date(days);
    let clock = format!("{:02}:{:02} UTC", minute / 60, minute % 60);
    match locale {
        Locale::En => format!("{day} {} {year}, {clock}", EN[month]),
        Locale::Pt => format!("{day} de {} de {year}, {clock}", PT[month]),
    }
}

/// Year, month (0 = January) and day of the month of a day counted from 1970-01-01, in the Gregorian calendar.
/// After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn date(days: i64) -> (i64, usize, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = year_of_era + era * 400 + i64::from(month < 2);
    (
        year,
        usize::try_from(month).expect("a remainder of 12 is not negative"),
        day,
    )
}

/// `Firefox on Linux`: the program and the system that a user agent claims, in our words, or nothing when it names
/// none that we know. The order matters, since most programs also claim to be another.
pub(super) fn device(agent: &str, locale: Locale) -> Option<String> {
    const PROGRAMS: [(&str, &str); 10] = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung Internet"),
        ("Vivaldi/", "Vivaldi"),
        ("FxiOS/", "Firefox"),
        ("Firefox/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ];
    const SYSTEMS: [(&str, &str); 8] = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("CrOS", "ChromeOS"),
        ("Macintosh", "macOS"),
        ("Darwin", "macOS"),
        ("Linux", "Linux"),
    ];
    let find = |list: &[(&str, &'static str)]| {
        list.iter()
            .find(|(sign, _)| agent.contains(sign))
            .map(|(_, word)| *word)
    };
    match (find(&PROGRAMS), find(&SYSTEMS), locale) {
        (Some(program), Some(system), Locale::En) => Some(format!("{program} on {system}")),
        (Some(program), Some(system), Locale::Pt) => Some(format!("{program} no {system}")),
        (program, system, _) => program.or(system).map(str::to_owned),
    }
}

/// Inline styles of HTML letters, as `{{ css.p }}`: mail programs drop style sheets. Colours have AA contrast.
#[derive(Clone, Copy, serde::Serialize)]
pub(super) struct Css {
    body: &'static str,
    card: &'static str,
    brand: &'static str,
    h1: &'static str,
    p: &'static str,
    button: &'static str,
    link: &'static str,
    small: &'static str,
    details: &'static str,
    term: &'static str,
    value: &'static str,
}

/// The styles of the built-in letters.
pub(super) const CSS: Css = Css {
    body: "margin:0;padding:24px 12px;background:#f4f2ed;color:#1d2433;font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;font-size:16px;line-height:1.5",
    card: "max-width:560px;margin:0 auto;padding:32px;background:#ffffff;border:1px solid #dfdbd2;border-radius:12px",
    brand: "max-width:560px;margin:0 auto;padding:0 4px 12px;font-weight:700;color:#1f4a82",
    h1: "margin:0 0 16px;font-size:22px;line-height:1.3;color:#1d2433",
    p: "margin:0 0 16px",
    button: "display:inline-block;padding:12px 20px;border-radius:8px;background:#1f4a82;color:#ffffff;font-weight:600;text-decoration:none",
    link: "color:#1f4a82;word-break:break-all",
    small: "max-width:560px;margin:0 auto;padding:16px 4px 0;font-size:13px;color:#5a6272",
    details: "margin:0 0 16px;border-collapse:collapse",
    term: "padding:2px 16px 2px 0;text-align:left;vertical-align:top;font-weight:400;color:#5a6272",
    value: "padding:2px 0;text-align:left;vertical-align:top",
};
