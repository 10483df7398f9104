//! Exit codes, and that each failure says what to do.

use std::net::TcpListener;

use super::{Home, PASSPHRASE};

#[test]
fn help_and_version_are_data() {
    let home = Home::new();
    for args in [
        &["--help"][..],
        &["help", "admin"],
        &["admin", "create", "--help"],
    ] {
        let told = home.run(args).expect(0);
        assert!(
            told.out.contains("Usage: quivive") && told.err.is_empty(),
            "{told:?}"
        );
    }
    let told = home.run(&["--version"]).expect(0);
    assert_eq!(
        told.out,
        concat!("quivive ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn wrong_usage_is_2() {
    let home = Home::new();
    for args in [
        &["frobnicate"][..],
        &["--nonsense"],
        &["admin"],
        &["admin", "create"],
        &["events", "show", "not-a-uuid"],
        &["events", "tail", "--after", "-1"],
        &["events", "tail", "--workflow-id", "1"],
        &["healthcheck", "--url", "https://example.org/readyz"],
    ] {
        let told = home.run(args).expect(2);
        assert!(told.out.is_empty() && !told.err.is_empty(), "{told:?}");
    }
    // There is nobody to ask, and nothing to read.
    home.run(&["admin", "create", "a@example.org"])
        .expect(2)
        .says(&["--password-stdin"]);
    home.run(&["admin", "create", "a@example.org", "--password-stdin"])
        .expect(2)
        .says(&["empty"]);
}

#[test]
fn a_no_is_1_with_the_reason() {
    let home = Home::new();
    let create = |email, password| {
        home.run_with(
            &["admin", "create", email, "--password-stdin"],
            &[],
            password,
        )
    };
    create("a@example.org", "short\n")
        .expect(1)
        .says(&["too weak", "at least 12 characters"]);
    create("not an address", PASSPHRASE)
        .expect(1)
        .says(&["no e-mail address"]);
    create("a@example.org", PASSPHRASE).expect(0);
    home.run(&["admin", "recover", "b@example.org"])
        .expect(1)
        .says(&["no administrator", "quivive admin create"]);
    let nobody = "01890000-0000-7000-8000-000000000000";
    home.run(&["events", "show", nobody])
        .expect(1)
        .says(&["no event with this id"]);
    home.run(&["events", "tail", "--type", "user.logni"])
        .expect(1)
        .says(&["user.logni", "events catalogue"]);
    home.run(&["events", "tail", "--subject", ""])
        .expect(1)
        .says(&["subject", "from 1 to 128 bytes"]);
}

#[test]
fn a_server_that_is_not_there_is_unhealthy() {
    let home = Home::new();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{free}/readyz");
    let told = home
        .run(&["healthcheck", "--url", &url, "--output", "json"])
        .expect(3);
    assert_eq!(told.json()["healthy"], false);
    let environment = [("QUIVIVE__SERVER__LISTEN", &*free.to_string())];
    let told = home.run_with(&["healthcheck"], &environment, "").expect(3);
    assert!(told.out.starts_with(&url), "{told:?}");
}

#[test]
fn what_is_not_there_is_69() {
    let home = Home::new();
    home.run(&["audit", "verify"])
        .expect(69)
        .says(&["no database", "--data-dir"]);
    home.run(&["events", "tail"])
        .expect(69)
        .says(&["no database", "--data-dir"]);
    home.run_with(
        &["admin", "create", "a@example.org", "--password-stdin"],
        &[],
        PASSPHRASE,
    )
    .expect(0);
    home.run(&["events", "tail", "--follow"])
        .expect(69)
        .says(&["no server is running", "--follow"]);
    // A port in use: before anything else is touched.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let told = home
        .run(&["serve", "--listen", &listen, "--data-dir", "fresh"])
        .expect(69);
    told.says(&[&listen, "in use", "--listen"]);
    assert!(!home.path("fresh").exists(), "nothing was made");
    home.write("file", "");
    home.run(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        "file/data",
    ])
    .expect(69)
    .says(&["file/data"]);
}

#[test]
fn what_this_user_may_not_is_77() {
    let home = Home::new();
    let forbidden = home.path("forbidden");
    std::fs::create_dir(&forbidden).unwrap();
    std::fs::set_permissions(
        &forbidden,
        std::os::unix::fs::PermissionsExt::from_mode(0o500),
    )
    .unwrap();
    if std::fs::write(forbidden.join("root-may"), "").is_ok() {
        println!("skipped: what a user may not (root may everything)");
        return;
    }
    home.run(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        "forbidden/data",
    ])
    .expect(77)
    .says(&["forbidden/data"]);
}

#[test]
fn completions_and_documents_are_data() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let told = home.run(&["completions", shell]).expect(0);
        assert!(
            told.out.contains("quivive") && told.out.contains("healthcheck"),
            "{shell}"
        );
    }
    let api = home.run(&["openapi"]).expect(0).json();
    assert!(
        api["openapi"].as_str().unwrap().starts_with("3.1"),
        "{}",
        api["openapi"]
    );
    let events = home.run(&["asyncapi"]).expect(0);
    let committed = include_str!("../../../../web/asyncapi.json");
    assert!(
        events.out == committed,
        "crates/web/asyncapi.json is not what is printed: UPDATE_GOLDEN=1 cargo test -p quivive-web"
    );
    let catalogue = home
        .run(&["events", "catalogue", "--output", "json"])
        .expect(0)
        .json();
    let first = &catalogue[0];
    for field in [
        "name",
        "type",
        "version",
        "phase",
        "workflow",
        "fields",
        "aliases",
        "audit_action",
        "category",
        "priority",
        "schema",
    ] {
        assert!(first.get(field).is_some(), "{field} is not in {first}");
    }
    assert!(!home.path(".local").exists(), "a catalogue needs no data");
}

#[test]
fn published_schemas_are_compared_and_what_broke_is_named() {
    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../app/schemas");
    let home = Home::new();
    let check = |args: &[&str]| home.run(&[&["events", "schema", "check"], args].concat());
    let stands = check(&[GOLDEN]).expect(0);
    assert!(
        stands.out.starts_with("all ") && stands.out.ends_with(" schemas stand\n"),
        "{stands:?}"
    );

    let schema = std::fs::read_to_string(format!("{GOLDEN}/user.login.failed/v1.json")).unwrap();
    let mut schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    home.write("schemas/user.login.failed/v1.json", &schema.to_string());
    home.write("schemas/user.login.failed/v1.sample.json", "{}");
    assert_eq!(check(&[]).expect(0).out, "all 1 schemas stand\n");
    schema["properties"]["nickname"] = serde_json::json!({"type": "string"});
    home.write("schemas/user.login.failed/v1.json", &schema.to_string());
    home.write("schemas/user.login.failed/v2.json", &schema.to_string());
    home.write("schemas/user.gone/v1.json", "{}");
    let broken = check(&[]).expect(1);
    for said in [
        "user.gone was published and is gone",
        "user.login.failed v1 is frozen, and its field `nickname` was removed",
        "user.login.failed has no version 2",
        "3 of 3 schemas do not stand",
    ] {
        assert!(broken.out.contains(said), "{said}: {broken:?}");
    }
    let broken = check(&["schemas", "--output", "json"]).expect(1).json();
    assert_eq!(broken["ok"], false);
    let field = &broken["incompatible"][1];
    assert_eq!(
        (&field["type"], &field["version"], &field["fields"][0]),
        (&"user.login.failed".into(), &1.into(), &"nickname".into())
    );

    home.write("empty/README", "");
    check(&["empty"])
        .expect(69)
        .says(&["no schema is in empty", "TYPE/vN.json"]);
    check(&["nowhere"])
        .expect(69)
        .says(&["nowhere", "TYPE/vN.json"]);
    home.write("broken/user.login.failed/v1.json", "{");
    check(&["broken"])
        .expect(69)
        .says(&["v1.json is no schema"]);
    assert!(!home.path(".local").exists(), "it needs no data");
}
