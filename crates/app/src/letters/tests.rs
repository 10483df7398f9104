//! The letters as people get them, and what must never get through. `UPDATE_GOLDEN=1` writes the golden files anew.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

const LINK: &str = "http://localhost:8080/verify?token=AZqcOzIqfQmD8GN-q1xXbA_FRmNhZ3o7L2u9v0yKp4w";

/// Every slot filled, as in the golden files.
fn full(template: Template) -> Slots {
    let (link, minutes) = match template {
        Template::VerifyEmail => (LINK.to_owned(), 1_440),
        Template::AlreadyRegistered | Template::ResetPassword => {
            (LINK.replace("/verify", "/reset"), 15)
        }
        Template::Welcome => ("http://localhost:8080/".to_owned(), 15),
        _ => ("http://localhost:8080/forgot".to_owned(), 15),
    };
    Slots {
        link: Some(link),
        link_minutes: Some(minutes),
        lock_minutes: Some(15),
        display_name: Some("Ada Lovelace".to_owned()),
        ip: Some("203.0.113.7".to_owned()),
        agent: Some(
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0".to_owned(),
        ),
        ..Slots::new("Quivive", 1_763_694_567_000)
    }
}

fn built_in() -> Letters {
    Letters::new(None).expect("the built-in letters compile")
}

/// An empty folder for overrides, removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn with(test: &str, name: &str, content: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("quivive-letters-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(name), content).unwrap();
        Folder(path)
    }

    fn error(&self) -> String {
        let error = Letters::new(Some(&self.0)).expect_err("the override must be refused");
        format!(
            "{error}: {}",
            std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default()
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_letter_is_as_in_its_golden_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/letters/golden");
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch for whoever runs the test, no configuration of the product"
    )]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let letters = built_in();
    let mut differing = Vec::new();
    let mut check = |name: String, letter: Rendered| {
        let parts = [
            (
                "txt",
                format!("Subject: {}\n\n{}", letter.subject, letter.text),
            ),
            ("html", letter.html),
        ];
        for (kind, now) in parts {
            let path = folder.join(format!("{name}.{kind}"));
            if update {
                fs::write(&path, &now).unwrap();
            } else if fs::read_to_string(&path).unwrap_or_default() != now {
                differing.push(path);
            }
        }
    };
    for &template in Template::ALL {
        for &locale in Locale::ALL {
            let name = format!("{}.{}", template.code(), locale.code());
            check(
                name.clone(),
                letters.render(template, locale, &full(template)).unwrap(),
            );
            if matches!(
                template,
                Template::ResetPassword | Template::AccountLocked | Template::SessionsEnded
            ) {
                let slots = Slots {
                    by: By::Administrator,
                    ..full(template)
                };
                check(
                    format!("{name}.by_administrator"),
                    letters.render(template, locale, &slots).unwrap(),
                );
            }
        }
    }
    assert!(
        differing.is_empty(),
        "UPDATE_GOLDEN=1 cargo test -p quivive-app letters, then read the difference: {differing:?}"
    );
}

#[test]
fn every_template_has_its_six_files_and_nothing_else_is_built_in() {
    let mut expected: Vec<String> = ["layout.txt", "layout.html", "details.txt", "details.html"]
        .map(str::to_owned)
        .into();
    for template in Template::ALL {
        for locale in Locale::ALL {
            expected.extend(
                ["subject", "txt", "html"]
                    .map(|kind| format!("{}.{}.{kind}", template.code(), locale.code())),
            );
        }
    }
    let mut found: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    expected.sort();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn built_in_letters_stand_the_rehearsal_and_mention_no_empty_slot() {
    let letters = built_in();
    letters
        .rehearse()
        .expect("built-in letters cope with every mixture of slots");
    for &template in Template::ALL {
        for &locale in Locale::ALL {
            for slots in Slots::samples(template) {
                let letter = letters.render(template, locale, &slots).unwrap();
                for part in [&letter.subject, &letter.text, &letter.html] {
                    assert!(
                        !part.contains("{{") && !part.contains("undefined"),
                        "{part}"
                    );
                }
                assert!(
                    !letter.subject.contains("none") && !letter.text.contains("none"),
                    "{}",
                    letter.text
                );
                assert!(
                    !letter.html.contains("<script")
                        && !letter.html.contains("src=")
                        && !letter.html.contains("@import")
                );
                assert!(
                    letter.html.matches("<a ").count() <= 1,
                    "one clear link: {}",
                    letter.html
                );
            }
        }
    }
}

#[test]
fn the_link_stands_alone_in_text_and_unescaped_in_both() {
    let letters = built_in();
    for template in Template::ALL
        .iter()
        .copied()
        .filter(|template| template.needs_link())
    {
        for &locale in Locale::ALL {
            let slots = full(template);
            let link = slots.link.as_deref().unwrap();
            let letter = letters.render(template, locale, &slots).unwrap();
            let alone = letter.text.lines().filter(|line| *line == link).count();
            assert_eq!(alone, 1, "{}", letter.text);
            assert_eq!(letter.text.matches("http").count(), 1, "{}", letter.text);
            assert!(
                letter.html.contains(&format!("href=\"{link}\"")),
                "{}",
                letter.html
            );
        }
    }
}

#[test]
fn an_administrator_is_not_placed() {
    let slots = Slots {
        by: By::Administrator,
        ..full(Template::SessionsEnded)
    };
    let letter = built_in()
        .render(Template::SessionsEnded, Locale::En, &slots)
        .unwrap();
    assert!(
        !letter.text.contains("203.0.113.7") && !letter.text.contains("Firefox"),
        "{}",
        letter.text
    );
    assert!(
        !letter.html.contains("203.0.113.7") && !letter.html.contains("Firefox"),
        "{}",
        letter.html
    );
}

#[test]
fn line_breaks_in_slots_never_reach_the_subject() {
    let letters = built_in();
    let nasty = "Evil\r\nBcc: everyone@example.org\n\u{0}\u{85}\u{7f}\tX";
    for &template in Template::ALL {
        for &locale in Locale::ALL {
            let slots = Slots {
                product: nasty.to_owned(),
                display_name: Some(nasty.to_owned()),
                ip: Some(nasty.to_owned()),
                agent: Some(nasty.to_owned()),
                ..full(template)
            };
            let letter = letters.render(template, locale, &slots).unwrap();
            assert!(
                letter.subject.contains("Evil Bcc: everyone@example.org X"),
                "{}",
                letter.subject
            );
            assert!(
                !letter.subject.chars().any(char::is_control),
                "{:?}",
                letter.subject
            );
            assert!(!letter.text.contains("\nBcc:"), "{}", letter.text);
        }
    }
    let folder = Folder::with(
        "header",
        "welcome.en.subject",
        "Hi{% if name %} {{ name }}{% endif %}\r\nBcc: x@example.org\n",
    );
    let letter = Letters::new(Some(&folder.0)).unwrap().render(
        Template::Welcome,
        Locale::En,
        &full(Template::Welcome),
    );
    assert_eq!(
        letter.unwrap().subject,
        "Hi Ada Lovelace Bcc: x@example.org"
    );
}

#[test]
fn strangers_cannot_write_through_our_letters() {
    let letters = built_in();
    let named = |template, name: &str| {
        let slots = Slots {
            display_name: Some(name.to_owned()),
            ..full(template)
        };
        letters.render(template, Locale::En, &slots).unwrap()
    };
    for template in [
        Template::VerifyEmail,
        Template::AlreadyRegistered,
        Template::ResetPassword,
    ] {
        assert!(
            !named(template, "Ada").text.contains("Ada"),
            "nobody is greeted before the address is proved"
        );
    }
    for name in [
        "www.evil.example",
        "Win at evil.example",
        "http://evil",
        "a@evil",
        "Call (555)",
        &"long ".repeat(20),
        "\u{202e}",
        " ",
    ] {
        assert!(
            named(Template::Welcome, name).text.starts_with("Hello,\n"),
            "{name}"
        );
    }
    for name in [
        "Ada",
        "J. R. R. Tolkien",
        "Seán O’Brien-Núñez",
        "सीता",
        "Sammy Davis Jr.",
    ] {
        assert!(
            named(Template::Welcome, name)
                .text
                .starts_with(&format!("Hello {name},\n")),
            "{name}"
        );
    }
    let html = named(Template::Welcome, "Ada & \"Co\"").html;
    assert!(html.contains("Hello Ada &amp; &quot;Co&quot;,"), "{html}");

    let slots = Slots {
        agent: Some("Buy at http://evil.example".into()),
        ip: Some("evil.example".into()),
        ..full(Template::NewDevice)
    };
    let letter = letters
        .render(Template::NewDevice, Locale::En, &slots)
        .unwrap();
    assert!(
        !letter.text.contains("evil") && !letter.html.contains("evil"),
        "{}",
        letter.text
    );
}

#[test]
fn a_link_must_be_there_and_be_a_link() {
    let letters = built_in();
    let with = |link: Option<&str>| {
        let slots = Slots {
            link: link.map(str::to_owned),
            ..full(Template::VerifyEmail)
        };
        letters.render(Template::VerifyEmail, Locale::En, &slots)
    };
    assert!(matches!(
        with(None),
        Err(LetterError::LinkMissing {
            template: "verify_email"
        })
    ));
    for link in [
        "javascript:alert(1)",
        "/verify?token=x",
        "http://a/ b",
        "http://a/\nBcc: x",
        "http://a/\"><b>",
        "http://a/é",
        "",
    ] {
        let error = with(Some(link)).expect_err(link);
        assert!(matches!(error, LetterError::LinkUnusable { .. }), "{link}");
    }
    let two = with(Some("https://id.example.org/verify?a=1&token=x")).unwrap();
    assert!(
        two.text
            .contains("\nhttps://id.example.org/verify?a=1&token=x\n")
    );
    assert!(
        two.html
            .contains("href=\"https://id.example.org/verify?a=1&amp;token=x\"")
    );
}

#[test]
fn debug_output_holds_no_link() {
    let slots = full(Template::VerifyEmail);
    let letter = built_in()
        .render(Template::VerifyEmail, Locale::En, &slots)
        .unwrap();
    assert!(!format!("{slots:?} {letter:?}").contains("token="));
}

#[test]
fn an_override_replaces_one_file() {
    let folder = Folder::with(
        "one",
        "welcome.pt.txt",
        "Oi{% if name %}, {{ name }}{% endif %}!\n",
    );
    fs::create_dir(folder.0.join("..data")).unwrap();
    let letters = Letters::new(Some(&folder.0)).unwrap();
    let letter = letters
        .render(Template::Welcome, Locale::Pt, &full(Template::Welcome))
        .unwrap();
    assert!(
        letter
            .text
            .starts_with("Oi, Ada Lovelace!\n\nEste e-mail foi enviado por Quivive."),
        "{}",
        letter.text
    );
    assert!(letter.html.contains("Boas-vindas"));
}

#[test]
fn a_bad_override_is_an_error_that_names_the_file() {
    for (test, name, content, says) in [
        ("unknown", "welcome.de.txt", "Hallo", "replaces no letter"),
        ("syntax", "welcome.en.html", "{% if name %}", "not usable"),
        ("typo", "welcome.en.txt", "Hello {{ nmae }}", "not usable"),
        (
            "unasked",
            "new_device.en.txt",
            "From {{ ip }}",
            "not usable",
        ),
        ("layout", "layout.html", "{{ bdoy }}", "not usable"),
        (
            "no-link",
            "verify_email.en.txt",
            "Hello",
            "on a line of its own",
        ),
        (
            "glued",
            "reset_password.pt.txt",
            "Abra {{ link }}.",
            "on a line of its own",
        ),
        (
            "no-href",
            "verify_email.en.html",
            "<p>Hello</p>",
            "must hold {{ link }}",
        ),
        ("no-body", "layout.txt", "Hello", "must hold {{ link }}"),
        ("subject", "welcome.en.subject", " \n", "empty subject"),
        (
            "large",
            "welcome.en.txt",
            &"x".repeat(70_000),
            "larger than",
        ),
    ] {
        let error = Folder::with(test, name, content).error();
        assert!(
            error.contains(name) && error.contains(says),
            "{test}: {error}"
        );
    }
    let missing = Letters::new(Some(Path::new("/nowhere/letters"))).unwrap_err();
    assert_eq!(missing.to_string(), "cannot read /nowhere/letters");
}

#[test]
fn the_locale_follows_the_reader() {
    for (wanted, locale) in [
        ("pt-BR", Locale::Pt),
        ("PT_pt", Locale::Pt),
        ("pt", Locale::Pt),
        ("de, pt;q=0.8, en;q=0.5", Locale::Pt),
        ("en-GB,pt;q=0.9", Locale::En),
        ("en;q=0.2, pt;q=0.3", Locale::Pt),
        ("pt;q=0", Locale::En),
        ("pt;q=x", Locale::En),
        ("pta", Locale::En),
        ("de", Locale::En),
        ("*", Locale::En),
        ("", Locale::En),
    ] {
        assert_eq!(Locale::best(wanted), locale, "{wanted}");
    }
}

#[test]
fn made_words_are_right() {
    let lasts = |minutes| {
        [
            words::duration(minutes, Locale::En),
            words::duration(minutes, Locale::Pt),
        ]
    };
    assert_eq!(lasts(1), ["1 minute", "1 minuto"]);
    assert_eq!(lasts(15), ["15 minutes", "15 minutos"]);
    assert_eq!(lasts(60), ["1 hour", "1 hora"]);
    assert_eq!(lasts(90), ["90 minutes", "90 minutos"]);
    assert_eq!(lasts(1_440), ["24 hours", "24 horas"]);
    assert_eq!(lasts(10_080), ["7 days", "7 dias"]);

    assert_eq!(words::moment(0, Locale::En), "1 January 1970, 00:00 UTC");
    assert_eq!(words::moment(-1, Locale::En), "31 December 1969, 23:59 UTC");
    assert_eq!(
        words::moment(951_782_400_000, Locale::Pt),
        "29 de fevereiro de 2000, 00:00 UTC"
    );
    assert_eq!(
        words::moment(4_107_542_399_999, Locale::En),
        "28 February 2100, 23:59 UTC"
    );
    assert_eq!(
        words::moment(4_107_542_400_000, Locale::En),
        "1 March 2100, 00:00 UTC"
    );

    let device = |agent: &str| words::device(agent, Locale::Pt);
    let chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
    assert_eq!(device(chrome).as_deref(), Some("Chrome no Windows"));
    assert_eq!(
        device(&format!("{chrome} Edg/142.0.0.0")).as_deref(),
        Some("Edge no Windows")
    );
    let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1";
    assert_eq!(device(iphone).as_deref(), Some("Safari no iPhone"));
    assert_eq!(device("curl/8.5.0").as_deref(), Some("curl"));
    assert_eq!(device("Python-urllib/3.11"), None);
}
