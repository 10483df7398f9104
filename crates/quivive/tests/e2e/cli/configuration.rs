//! Configuration from outside: where a value comes from, and what is said of a bad one.

use super::{Home, Told};

fn origin(told: &Told, key: &str) -> (String, String) {
    let all = told.json();
    let settings = all.as_array().unwrap();
    let setting = settings.iter().find(|setting| setting["key"] == key);
    let setting = setting.unwrap_or_else(|| panic!("{key} is not in {all}"));
    let text = |name: &str| setting[name].as_str().unwrap().to_owned();
    (text("value"), text("origin"))
}

#[test]
fn flag_environment_file_default() {
    let home = Home::new();
    let show = ["config", "show", "--output", "json"];
    let told = home.run(&show).expect(0);
    assert_eq!(
        origin(&told, "server.listen"),
        ("\"127.0.0.1:8080\"".into(), "default".into())
    );

    // The last place, the middle one, the first one.
    home.write(
        ".config/quivive/config.toml",
        "[server]\ndata_dir = \"middle\"\nlisten = \"127.0.0.1:2\"\n",
    );
    let told = home.run(&show).expect(0);
    let (value, from) = origin(&told, "server.listen");
    assert_eq!(value, "\"127.0.0.1:2\"");
    assert!(
        from.ends_with("/.config/quivive/config.toml, line 3"),
        "{from}"
    );
    home.write("quivive.toml", "[server]\ndata_dir = \"nearest\"\n");
    let told = home.run(&show).expect(0);
    assert_eq!(
        origin(&told, "server.data_dir"),
        ("\"nearest\"".into(), "quivive.toml, line 2".into())
    );
    assert_eq!(
        origin(&told, "server.listen").1,
        "default",
        "one file is read, not all"
    );

    let environment = [
        ("QUIVIVE__SERVER__DATA_DIR", "set"),
        ("QUIVIVE__MAIL__PASSWORD", "hunter2"),
    ];
    let told = home.run_with(&show, &environment, "").expect(0);
    let from = "environment variable QUIVIVE__SERVER__DATA_DIR".to_owned();
    assert_eq!(origin(&told, "server.data_dir"), ("\"set\"".into(), from));
    assert_eq!(origin(&told, "mail.password").0, "(set)");
    assert!(!told.out.contains("hunter2"));
    let told = home
        .run_with(
            &["config", "show", "--output", "json", "--data-dir", "given"],
            &environment,
            "",
        )
        .expect(0);
    assert_eq!(
        origin(&told, "server.data_dir"),
        ("\"given\"".into(), "--data-dir".into())
    );
    let text = home
        .run_with(&["config", "show"], &environment, "")
        .expect(0)
        .out;
    assert!(
        text.contains("[server]\n")
            && text.contains("# environment variable QUIVIVE__SERVER__DATA_DIR"),
        "{text}"
    );
    assert!(!text.contains("hunter2"));
}

#[test]
fn the_generated_file_is_a_good_one() {
    let home = Home::new();
    let told = home.run(&["config", "generate"]).expect(0);
    home.write("generated.toml", &told.out);
    let told = home
        .run(&[
            "config",
            "check",
            "--config",
            "generated.toml",
            "--output",
            "json",
        ])
        .expect(0);
    assert_eq!(told.json()["ok"], true);
    assert_eq!(told.json()["mode"], "development");
}

#[test]
fn what_is_wrong_is_78_and_said_with_the_remedy() {
    let home = Home::new();
    home.write("quivive.toml", "[server]\nlisen = \"127.0.0.1:1\"\n");
    for command in [
        &["serve"][..],
        &["config", "check"],
        &["config", "show"],
        &["audit", "verify"],
        &[],
    ] {
        home.run(command).expect(78).says(&[
            "server.lisen",
            "quivive.toml, line 2",
            "server.listen",
        ]);
    }
    home.write("quivive.toml", "");
    let environment = [("QUIVIVE__SERVER__LISEN", "hunter2")];
    let told = home.run_with(&["serve"], &environment, "").expect(78);
    told.says(&["QUIVIVE__SERVER__LISEN", "QUIVIVE__SERVER__LISTEN"]);
    assert!(!told.err.contains("hunter2"));
    home.run(&["serve", "--listen", "8080"]).expect(78).says(&[
        "server.listen",
        "--listen",
        "127.0.0.1:8080",
    ]);
    home.run(&["serve", "--database", "mysql://u:hunter2@h/q"])
        .expect(78)
        .says(&["database.url", "sqlite:", "postgres://"]);
    let away = home
        .run(&["serve", "--database", "postgres://u:hunter2@127.0.0.1:1/q"])
        .expect(69);
    away.says(&["cannot reach", "127.0.0.1:1/q", "database.url"]);
    assert!(!away.err.contains("hunter2"));
    home.run(&["serve", "--config", "nowhere.toml"])
        .expect(78)
        .says(&["nowhere.toml", "--config"]);
    let environment = [
        ("QUIVIVE__ADMIN__EMAIL", "a@example.org"),
        ("QUIVIVE__ADMIN__PASSWORD_FILE", "nowhere"),
    ];
    home.run_with(&["serve"], &environment, "")
        .expect(78)
        .says(&["admin.password_file", "nowhere"]);
}

#[test]
fn production_refuses_until_it_has_what_it_needs() {
    let home = Home::new();
    let serve = ["serve", "--listen", "0.0.0.0:0"];
    home.run(&serve)
        .expect(78)
        .says(&["server.public_url", "https://", "development"]);
    home.write(
        "quivive.toml",
        "[server]\npublic_url = \"https://id.example.org\"\n",
    );
    home.run(&serve).expect(78).says(&["mail.url", "smtps://"]);
    home.write(
        "quivive.toml",
        "[server]\npublic_url = \"https://id.example.org\"\n[mail]\nurl = \"smtps://u:hunter2@smtp.example.org\"\n\
         from = \"Quivive <no-reply@example.org>\"\n",
    );
    let told = home.run(&serve).expect(78);
    told.says(&["no keys", "quivive keys create"]);
    assert!(!told.err.contains("hunter2"));
    home.run(&["config", "check"])
        .expect(78)
        .says(&["quivive keys create"]);
    home.run_with(
        &["admin", "create", "a@example.org", "--password-stdin"],
        &[],
        super::PASSPHRASE,
    )
    .expect(78);
    let told = home.run(&["keys", "create", "--output", "json"]).expect(0);
    assert_eq!(told.json()["created"], true);
    assert_eq!(
        home.run(&["keys", "create", "--output", "json"])
            .expect(0)
            .json()["created"],
        false
    );
    assert!(
        home.run(&["config", "check"])
            .expect(0)
            .out
            .starts_with("good: production at https://id.example.org")
    );
}
