use std::io::Read as _;

use quivive_delivery::Time;
use quivive_domain::{Account, AccountState};

use super::{Flaw, GROUP, Group, Unreadable, read};
use crate::testing::{PASSWORD, fake_hash, nobody};

/// What a file comes to: its accounts by their address, its flaws, and why it ended early.
#[derive(Default)]
struct Read {
    accounts: Vec<(String, Account)>,
    flaws: Vec<Flaw>,
    unreadable: Option<Unreadable>,
    groups: usize,
}

impl Read {
    fn emails(&self) -> Vec<&str> {
        let typed = self.accounts.iter();
        typed.map(|(_, account)| account.email.typed()).collect()
    }

    /// As an operator is told.
    fn told(&self) -> Vec<String> {
        let told = |flaw: &Flaw| match &flaw.field {
            Some(field) => format!("{}: {field}: {}", flaw.at, flaw.message),
            None => format!("{}: {}", flaw.at, flaw.message),
        };
        self.flaws.iter().map(told).collect()
    }
}

fn now() -> Time {
    "2026-11-26T00:00:00Z".parse().expect("a time")
}

fn of(bytes: impl std::io::Read) -> Read {
    let scene = nobody();
    let mut all = Read::default();
    read(bytes, &scene.world, now(), |group| {
        match group {
            Ok(Group { records, .. }) => {
                all.groups += 1;
                for record in records {
                    match record {
                        Ok((at, account)) => all.accounts.push((at.to_string(), account)),
                        Err(flaw) => all.flaws.push(flaw),
                    }
                }
            }
            Err(unreadable) => all.unreadable = Some(unreadable),
        }
        true
    });
    all
}

fn of_text(text: &str) -> Read {
    of(text.as_bytes())
}

#[test]
fn an_object_a_line_becomes_an_account() {
    let hash = fake_hash(PASSWORD, 0);
    let all = of_text(&format!(
        "{{\"email\":\" Ada@Example.org \",\"password_hash\":\"{}\",\"display_name\":\"Ada\",\"locale\":\"pt\",\
         \"created_at\":\"2021-03-04T05:06:07.890Z\"}}\r\n\n\
         {{\"email\":\"bob@example.org\",\"active\":false,\"email_verified\":false,\"display_name\":null,\
         \"created_at\":\"2021-03-04T05:06:07Z\"}}",
        hash.phc()
    ));
    assert_eq!(all.told(), [""; 0]);
    let [(at, ada), (then, bob)] = &all.accounts[..] else {
        panic!("{:?}", all.accounts);
    };
    assert_eq!((at.as_str(), then.as_str()), ("line 1", "line 3"));
    assert_eq!(ada.email.canonical(), "ada@example.org");
    assert_eq!(ada.password, Some(hash));
    assert_eq!(
        (ada.display_name.as_deref(), ada.locale.as_str()),
        (Some("Ada"), "pt")
    );
    assert_eq!(ada.created_at.to_string(), "2021-03-04T05:06:07.89Z");
    assert_eq!(ada.verified_at, Some(now()));
    assert_eq!(ada.state, AccountState::Active);
    assert_eq!((bob.state, bob.verified_at), (AccountState::Inactive, None));
    // Else it would be erased as never verified before anybody could verify it.
    assert_eq!(bob.created_at, now());
    assert_eq!(bob.password, None);
}

#[test]
fn csv_names_its_fields_in_the_first_line_and_quotes_as_it_should() {
    let all = of_text(
        "\u{feff}email,display_name,email_verified,active\r\n\
         ada@example.org,\"Lovelace, \"\"Ada\"\"\",true,\r\n\
         \r\n\
         bob@example.org,,0,f\n\
         \"cleo@example.org\",\"two\nlines\",1,t\n\
         dora@example.org,x\n\
         emil@example.org,\"open\n",
    );
    assert_eq!(all.emails(), ["ada@example.org", "bob@example.org"]);
    let ada = &all.accounts[0].1;
    assert_eq!(ada.display_name.as_deref(), Some("Lovelace, \"Ada\""));
    assert_eq!(ada.state, AccountState::Active);
    let bob = &all.accounts[1].1;
    assert_eq!((bob.verified_at, bob.state), (None, AccountState::Inactive));
    assert_eq!(
        all.told(),
        [
            "line 5: display_name: one line of at most 100 characters is wanted",
            "line 7: 2 fields, and the first line names 4: quote what holds a comma",
            "line 8: no line of CSV in UTF-8: look at its quotes",
        ]
    );
}

#[test]
fn what_is_wrong_is_told_by_line_and_field_with_what_to_do_and_the_others_go_on() {
    let all = of_text(
        r#"{"email":"ada"}
{"email":"ada@example.org","password_hash":"hunter2"}
{"email":"ada@example.org","password":"correct horse"}
{"email":"ada@example.org","roles":["admin"]}
{"email":"ada@example.org","active":"yes"}
{"email":7}
{"display_name":"Ada"}
{"email":"ada@example.org","created_at":"yesterday"}
{"email":"ada@example.org","created_at":"2127-01-01T00:00:00Z"}
{"email":"ada@example.org"
[]
{"email":"bob@example.org"}
"#,
    );
    assert_eq!(all.emails(), ["bob@example.org"]);
    let known = "email, password_hash, email_verified, display_name, locale, active, created_at";
    assert_eq!(
        all.told(),
        [
            "line 1: email: An address has exactly one @, as in name@example.org.".to_owned(),
            "line 2: password_hash: no password hash of a known form: give bcrypt, Argon2, scrypt, or PBKDF2 as Django \
             writes it"
                .to_owned(),
            "line 3: password: passwords are not imported: give what the other system stored, as `password_hash`"
                .to_owned(),
            format!("line 4: roles: no such field: leave it out. There are {known}"),
            "line 5: active: true or false is wanted".to_owned(),
            "line 6: email: a text is wanted, in quotes".to_owned(),
            "line 7: email: an address is wanted".to_owned(),
            "line 8: created_at: a time of RFC 3339 is wanted, like 2021-03-04T05:06:07Z".to_owned(),
            "line 9: created_at: it is in the future".to_owned(),
            "line 10: no JSON: look at column 26".to_owned(),
            "line 11: no JSON object".to_owned(),
        ]
    );
    assert_eq!(all.unreadable, None);
}

#[test]
fn what_django_prints_is_read_whether_on_one_line_or_many() {
    let one = r#"[{"model": "auth.user", "pk": 1, "fields": {"password": "$fake$x", "last_login": null, "is_superuser": true, "username": "ada", "first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.org", "is_staff": true, "is_active": true, "date_joined": "2021-03-04T05:06:07.890Z", "groups": [], "user_permissions": []}}, {"model": "auth.user", "pk": 2, "fields": {"password": "!x", "username": "bob@example.org", "first_name": "", "last_name": "", "email": "", "is_active": false, "date_joined": "2021-03-04T05:06:07.890Z"}}, {"model": "auth.user", "pk": 3, "fields": {"password": "$fake$x", "username": "}\"{", "email": ""}}, {"model": "auth.group", "pk": 1, "fields": {"name": "staff"}}]"#;
    let many = one
        .replace(", {\"model", ",\n{\"model")
        .replace("[{", "[\n  {");
    let lines = one.trim_matches(['[', ']']).replace("}}, {", "}}\n{");
    for (text, places) in [
        (one, ["entry 3 (line 1)", "entry 4 (line 1)"]),
        (&many, ["entry 3 (line 4)", "entry 4 (line 5)"]),
        (&lines, ["line 3", "line 4"]),
    ] {
        let all = of_text(text);
        assert_eq!(all.emails(), ["ada@example.org", "bob@example.org"]);
        let [(_, ada), (_, bob)] = &all.accounts[..] else {
            panic!("two");
        };
        assert_eq!(ada.display_name.as_deref(), Some("Ada Lovelace"));
        assert_eq!(ada.roles.len(), 1, "staff of another system are not ours");
        assert_eq!(ada.created_at.to_string(), "2021-03-04T05:06:07.89Z");
        assert!(ada.password.is_some() && bob.password.is_none());
        assert_eq!(bob.state, AccountState::Inactive);
        assert!(ada.verified_at.is_some());
        assert_eq!(bob.verified_at, None, "he chose it for a name");
        assert_eq!(
            all.told(),
            [
                format!(
                    "{}: email: the user has none, and people sign in with their address: give them one first",
                    places[0]
                ),
                format!(
                    "{}: a auth.group is no user: export users alone, with `manage.py dumpdata auth.user`",
                    places[1]
                ),
            ]
        );
        assert_eq!(all.unreadable, None);
    }
}

#[test]
fn a_file_that_cannot_be_read_on_gives_what_came_before() {
    let whole = r#"{"email":"ada@example.org"}"#;
    for (text, why) in [
        (format!("[{whole}"), "the file ends in the middle"),
        (
            format!("[{whole}, {{\"email\": "),
            "the file ends in the middle",
        ),
        (format!("[{whole}, 7]"), "entry 2 (line 1) is no object"),
    ] {
        let all = of_text(&text);
        assert_eq!(all.emails(), ["ada@example.org"], "{text}");
        let told = all.unreadable.expect("it was told").to_string();
        assert!(told.starts_with(why), "{told}");
    }
    let names = of_text("email,\"name\n");
    let told = names.unreadable.expect("it was told").to_string();
    assert!(told.starts_with("the first line does not name"), "{told}");
    // A file without a header: nobody's address or hash is repeated as the name of a field.
    let bare = of_text("ada@example.org,$fake$x\nbob@example.org,$fake$y\n");
    let told = bare.unreadable.expect("it was told").to_string();
    assert!(bare.accounts.is_empty() && bare.flaws.is_empty());
    assert!(told.contains("`email` among them"), "{told}");
    assert!(!told.contains("ada"), "{told}");
    let nothing = of_text(" \n");
    assert!(nothing.unreadable.is_none() && nothing.accounts.is_empty());
}

/// 64 MiB without an end of a line is one flaw.
#[test]
fn a_record_without_an_end_is_not_held() {
    let long = std::io::repeat(b'x').take(1 << 26);
    let before = "{\"email\":\"ada@example.org\"}\n{\"email\":\"".as_bytes();
    let after = "\"}\n{\"email\":\"bob@example.org\"}".as_bytes();
    let all = of(before.chain(long).chain(after));
    assert_eq!(all.emails(), ["ada@example.org", "bob@example.org"]);
    assert_eq!(
        all.told(),
        [
            "line 2: a record has at most 65536 bytes: look for a quote or a brace that is not closed"
        ]
    );
    let open = "[{\"email\":\"".as_bytes();
    let all = of(open.chain(std::io::repeat(b'x').take(1 << 20)).chain(after));
    assert_eq!(all.flaws.len(), 1);
    assert!(all.unreadable.is_some(), "{:?}", all.emails());
}

#[test]
fn groups_are_bounded_and_reading_ends_when_nobody_takes_them() {
    let lines = (0..=GROUP * 2).map(|n| format!("{{\"email\":\"p{n}@example.org\"}}"));
    let many = lines.collect::<Vec<_>>().join("\n");
    let all = of_text(&many);
    assert_eq!((all.groups, all.accounts.len()), (3, GROUP * 2 + 1));
    let scene = nobody();
    let mut taken = 0;
    read(many.as_bytes(), &scene.world, now(), |group| {
        taken += 1;
        let read_bytes = group.expect("readable").read_bytes;
        assert!(read_bytes > 0 && read_bytes < many.len() as u64);
        false
    });
    assert_eq!(taken, 1);
}
