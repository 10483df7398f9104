use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use quivive_domain::Role;
use quivive_domain::webhook::Reach;
use quivive_outbound::smtp::SmtpTls;
use secrecy::ExposeSecret as _;

use super::*;

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "qv-config-{}-{}",
            std::process::id(),
            SERIAL.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn sources(file: Option<PathBuf>, environment: &[(&str, &str)]) -> Sources {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), OsString::from(value));
    Sources {
        environment: environment.iter().map(pair).collect(),
        file: FileChoice::FirstOf(file.into_iter().collect()),
        default_data_dir: Some("/home/ada/.local/share/quivive".into()),
        ..Sources::default()
    }
}

/// Loads a file's text, and checks it.
fn plan(text: &str) -> Result<Plan, Problems> {
    let dir = Dir::new();
    load(&sources(Some(dir.file("quivive.toml", text)), &[]))?.plan()
}

fn refused(text: &str) -> String {
    plan(text).unwrap_err().to_string()
}

const PRODUCTION: &str = r#"
    [server]
    listen = "0.0.0.0:8080"
    public_url = "https://ID.example.org/"
    [mail]
    url = "smtps://u:p@smtp.example.org"
    from = "Quivive <no-reply@example.org>"
"#;

#[test]
fn without_anything_it_is_development_with_the_defaults_of_the_specification() {
    let plan = load(&sources(None, &[])).unwrap().plan().unwrap();
    assert_eq!(plan.mode, Mode::Development);
    assert_eq!(plan.public_url, "http://localhost:8080");
    assert!(plan.smtp.is_none() && plan.admin.is_none() && plan.management.is_none());
    let built_in = quivive_app::Settings::for_url("http://localhost:8080");
    assert_eq!(format!("{:?}", plan.settings), format!("{built_in:?}"));
    assert_eq!(plan.retry, quivive_delivery::subscriber::Retry::DEFAULT);
    assert_eq!(
        (plan.hashing.memory_kib, plan.hashing.iterations),
        (19_456, 2)
    );
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let dir = Dir::new();
    let file = dir.file(
        "q.toml",
        "[server]\nlisten = \"127.0.0.1:2\"\n[log]\nlevel = \"debug\"\n",
    );
    let mut sources = sources(
        Some(file.clone()),
        &[("QUIVIVE__SERVER__LISTEN", "127.0.0.1:3")],
    );
    let listen = |sources: &Sources| load(sources).unwrap().plan().unwrap().listen.port();
    assert_eq!(listen(&sources), 3);
    sources.flags.listen = Some("127.0.0.1:4".to_owned());
    assert_eq!(listen(&sources), 4);
    sources.flags.listen = None;
    sources.environment.clear();
    assert_eq!(listen(&sources), 2);
    let shown = load(&sources).unwrap().shown();
    let origin = |key: &str| shown.iter().find(|s| s.key == key).unwrap().origin.clone();
    assert_eq!(
        origin("server.listen"),
        format!("{}, line 2", file.display())
    );
    assert_eq!(origin("log.level"), format!("{}, line 4", file.display()));
    assert_eq!(origin("log.format"), "default");
}

#[test]
fn an_unknown_key_is_named_with_its_nearest() {
    let dir = Dir::new();
    let file = dir.file(
        "q.toml",
        "[server]\nlisen = \"a\"\n[sever]\npublic_url = \"b\"\n[x]\ny = 1\n",
    );
    let error = load(&sources(
        Some(file),
        &[("QUIVIVE__MAIL__PASWORD", "hunter2"), ("HOME", "/")],
    ))
    .unwrap_err();
    let text = error.to_string();
    for part in [
        "server.lisen in ",
        "line 2 is not a setting: did you mean server.listen?",
        "did you mean server.public_url?",
        "x.y in ",
        "QUIVIVE__MAIL__PASWORD in the environment is not a setting: did you mean QUIVIVE__MAIL__PASSWORD?",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(!text.contains("hunter2"));
}

#[test]
fn numbers_lists_and_yes_are_read_from_text() {
    let environment = [
        ("QUIVIVE__RATE_LIMITS__ENABLED", "false"),
        (
            "QUIVIVE__CORS__ORIGINS",
            "https://a.example, https://b.example",
        ),
        ("QUIVIVE__PASSWORDS__MIN_CHARS", "15"),
        ("QUIVIVE__SERVER__TRUSTED_PROXIES", "10.0.0.0/8,::1"),
        ("QUIVIVE__SESSIONS__MAX_PER_ROLE", "admin=2, support = 5"),
        (
            "QUIVIVE__SESSIONS__MAX_OF_USERS",
            "0193e0a4-6c1d-7cc3-9d4e-2a1b3c4d5e6f = 50",
        ),
        ("QUIVIVE__REGISTRATION__UNVERIFIED_SECONDS", "86400"),
    ];
    let plan = load(&sources(None, &environment)).unwrap().plan().unwrap();
    assert!(!plan.rate_limits);
    assert_eq!(
        plan.cors_origins,
        ["https://a.example", "https://b.example"]
    );
    assert_eq!(plan.settings.passwords.min_chars, 15);
    assert_eq!(plan.proxies.networks.len(), 2);
    let of_roles = [(Role::Admin, 2), (Role::Support, 5)];
    assert_eq!(plan.settings.max_sessions_of, of_roles);
    let ada = "0193e0a4-6c1d-7cc3-9d4e-2a1b3c4d5e6f".parse().unwrap();
    assert_eq!(
        plan.settings.max_sessions_of_users,
        [(quivive_domain::UserId(ada), 50)].into()
    );
    let day = std::time::Duration::from_hours(24);
    assert_eq!(plan.settings.lifetimes.unverified, day);
}

#[test]
fn webhooks_reach_what_is_named_and_nothing_is_by_default() {
    assert_eq!(plan("").unwrap().webhooks, Reach::default());
    let text = "[webhooks]\nallow_networks = [\"10.1.0.0/16\", \"127.0.0.1\"]\nports = [9443]\n";
    let reach = plan(text).unwrap().webhooks;
    let networks: Vec<_> = reach.networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.1.0.0/16", "127.0.0.1/32"]);
    assert_eq!(reach.ports, [9443]);
    let said = refused("[webhooks]\nallow_networks = [\"example.org\"]\n");
    assert!(said.contains("webhooks.allow_networks"), "{said}");
}

#[test]
fn customer_relations_are_told_over_https_or_nearby() {
    assert!(plan("").unwrap().crm.is_none());
    for url in [
        "https://crm.example.org/in",
        "http://127.0.0.1:9000/in",
        "http://localhost/",
    ] {
        let text = format!("[provisioning]\ncrm_url = \"{url}\"\n");
        assert_eq!(plan(&text).unwrap().crm.unwrap().target.as_str(), url);
    }
    for section in [
        "crm_url = \"http://crm.example.org/\"",
        "crm_url = \"crm.example.org\"",
        "crm_url = \"http://8.8.8.8/\"",
        "crm_token = \"sesame\"",
    ] {
        let said = refused(&format!("[provisioning]\n{section}\n"));
        assert!(said.contains("provisioning.crm_url"), "{said}");
        assert!(!said.contains("sesame"), "{said}");
    }
}

#[test]
fn a_secret_comes_from_a_file_and_is_never_shown() {
    let dir = Dir::new();
    let secret = dir.file("password", "0123\n");
    let secret = secret.to_str().unwrap();
    let file = dir.file(
        "q.toml",
        "[admin]\nemail = \"a@example.org\"\npassword = \"from the file\"\n",
    );
    let loaded = load(&sources(
        Some(file.clone()),
        &[("QUIVIVE__ADMIN__PASSWORD_FILE", secret)],
    ))
    .unwrap();
    // As it was typed: not the number 123.
    assert_eq!(
        loaded
            .plan()
            .unwrap()
            .admin
            .unwrap()
            .password
            .expose_secret(),
        "0123"
    );
    let shown = loaded.shown();
    let password = shown.iter().find(|s| s.key == "admin.password").unwrap();
    assert_eq!(password.value, "(set)");
    assert_eq!(
        password.origin,
        format!("{secret}, named by environment variable QUIVIVE__ADMIN__PASSWORD_FILE")
    );
    assert!(
        !format!("{loaded:?}").contains("0123"),
        "Debug shows a secret"
    );

    let both = [
        ("QUIVIVE__ADMIN__PASSWORD_FILE", secret),
        ("QUIVIVE__ADMIN__PASSWORD", "hunter2"),
    ];
    let text = load(&sources(None, &both)).unwrap_err().to_string();
    assert!(
        text.contains("admin.password are both given") && !text.contains("hunter2"),
        "{text}"
    );
    let missing = [("QUIVIVE__ADMIN__PASSWORD_FILE", "/nowhere/at/all")];
    let text = load(&sources(None, &missing)).unwrap_err().to_string();
    assert!(
        text.contains("admin.password_file") && text.contains("/nowhere/at/all"),
        "{text}"
    );
}

#[test]
fn production_says_everything_it_lacks_at_once() {
    let text = refused("[server]\nlisten = \"0.0.0.0:8080\"\n");
    assert!(text.contains("server.public_url is missing"), "{text}");
    assert!(
        text.contains("public_url = \"https://id.example.org\""),
        "{text}"
    );
    let text = refused("[server]\npublic_url = \"https://id.example.org\"\n");
    assert!(text.contains("mail.url is missing"), "{text}");
    let plan = plan(PRODUCTION).unwrap();
    assert_eq!(
        (plan.mode, plan.public_url.as_str()),
        (Mode::Production, "https://id.example.org")
    );
    assert_eq!(
        plan.settings.links.reset,
        "https://id.example.org/reset?token={token}"
    );
    let smtp = plan.smtp.unwrap();
    assert_eq!(
        (smtp.host.as_str(), smtp.port, smtp.tls),
        ("smtp.example.org", 465, SmtpTls::Implicit)
    );
}

/// What is written, and what must be said of it.
const BAD: &[(&str, &[&str])] = &[
    (
        "[server]\nlisten = \"8080\"",
        &["server.listen (", "line 2", "\"8080\"", "127.0.0.1:8080"],
    ),
    (
        "[server]\nlisten = 8080",
        &["server.listen", "not an address"],
    ),
    (
        "[passwords]\nmin_chars = \"many\"",
        &["passwords.min_chars", "line 2", "many"],
    ),
    (
        "[passwords]\nmin_score = 5",
        &["passwords.min_score", "= 5", "from 0 to 4"],
    ),
    (
        "[passwords]\nhistory = -1",
        &["passwords.history", "line 2"],
    ),
    (
        "[sessions]\nidle_seconds = 2592001",
        &["sessions.idle_seconds", "sessions.absolute_seconds"],
    ),
    (
        "[server]\npublic_url = \"http://id.example.org\"",
        &["server.public_url", "is not https", "development"],
    ),
    (
        "[server]\npublic_url = \"https://a/b\"",
        &["server.public_url", "not the address of a host"],
    ),
    (
        "[database]\nurl = \"postgres://u:hunter2@h:port/d\"",
        &["database.url", "will not do", "postgres://user"],
    ),
    (
        "[database]\nurl = \"postgres://u:hunter2@h\"",
        &["database.url", "names no database"],
    ),
    (
        "[database]\nurl = \"mysql://u:hunter2@h/d\"",
        &["database.url", "sqlite:", "postgres://"],
    ),
    (
        "[database]\nurl = \"sqlite:/a/other.db\"",
        &["database.url", "quivive.db"],
    ),
    (
        "[mail]\nurl = \"http://u:hunter2@h\"\nfrom = \"a@b\"",
        &["mail.url", "smtps://"],
    ),
    (
        "[mail]\nhost = \"h\"\nuser = \"u\"\nfrom = \"a@b\"",
        &["mail.password", "is missing"],
    ),
    (
        "[mail]\nhost = \"h\"\ntls = \"none\"\nfrom = \"a@b\"",
        &["mail.tls", "starttls"],
    ),
    ("[mail]\nhost = \"h\"", &["mail.from", "is missing"]),
    ("[mail]\npassword = [\"hunter2\"]", &["mail.password"]),
    (
        "[links]\nreset = \"https://a.example/\"",
        &["links.reset", "{token}"],
    ),
    (
        "[cors]\norigins = [\"https://a.example/\"]",
        &["cors.origins", "https://a.example/"],
    ),
    (
        "[sessions]\nmax_per_role = [\"admin=2\", \"king=1\"]",
        &["sessions.max_per_role", "king=1", "admin, support or user"],
    ),
    (
        "[sessions]\nmax_per_role = [\"admin=0\"]",
        &["sessions.max_per_role", "admin=0"],
    ),
    (
        "[sessions]\nmax_of_users = [\"ada@example.org=3\"]",
        &["sessions.max_of_users", "ada@example.org=3", "id of a user"],
    ),
    (
        "[registration]\nunverified_seconds = 3600",
        &["registration.unverified_seconds", "86400"],
    ),
    (
        "[log]\nformat = \"xml\"",
        &["log.format", "xml", "auto, text or json"],
    ),
    (
        "[log]\nlevel = \"info,a=loud\"",
        &["log.level", "quivive_store=debug"],
    ),
    (
        "[admin]\nemail = \"a@example.org\"",
        &["admin.password", "QUIVIVE__ADMIN__PASSWORD_FILE"],
    ),
    ("[server\nlisten", &["line 1"]),
];

#[test]
fn bad_values_name_their_key_and_the_remedy_but_no_secret() {
    for &(text, parts) in BAD {
        let said = refused(text);
        for part in parts {
            assert!(
                said.contains(part),
                "{part:?} is not in {said:?}, for {text}"
            );
        }
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[cfg(feature = "postgres")]
#[test]
fn the_database_may_be_on_a_server_and_its_url_is_not_shown() {
    let file = "[database]\nurl = \"postgres://u:hunter2@h/d?sslmode=require\"\n[server]\ndata_dir = \"/d\"";
    let plan = plan(file).unwrap();
    assert!(matches!(
        plan.directories.database,
        Location::Postgres { .. }
    ));
    assert!(!format!("{:?}", plan.directories).contains("hunter2"));
}

#[test]
fn the_database_may_lie_apart_from_the_data_directory() {
    for (url, want) in [
        ("sqlite:/var/lib/q", "/var/lib/q"),
        ("sqlite:///var/lib/q", "/var/lib/q"),
        ("sqlite:/var/lib/q/quivive.db", "/var/lib/q"),
        ("sqlite:quivive.db", "."),
    ] {
        let plan = plan(&format!(
            "[database]\nurl = \"{url}\"\n[server]\ndata_dir = \"/d\""
        ))
        .unwrap();
        let Location::Sqlite(directory) = plan.directories.database else {
            panic!("{url}");
        };
        assert_eq!(directory, PathBuf::from(want), "{url}");
        assert_eq!(plan.directories.data, PathBuf::from("/d"));
    }
}

#[test]
fn the_system_may_choose_the_port_in_development() {
    let plan = plan("[server]\nlisten = \"127.0.0.1:0\"")
        .unwrap()
        .bound_to("127.0.0.1:4711".parse().unwrap());
    let want = quivive_app::Settings::for_url("http://localhost:4711");
    assert_eq!(plan.public_url, "http://localhost:4711");
    assert_eq!(format!("{:?}", plan.settings), format!("{want:?}"));
}

#[test]
fn the_default_file_has_every_setting_and_every_setting_in_it_is_read() {
    // Unknown keys are refused by each section, so whatever is in the file is read.
    let dir = Dir::new();
    let uncommented = reference::uncommented();
    // What excludes each other, and files that are not there, stand in it side by side as examples.
    let given = uncommented
        .lines()
        .filter(|line| line.contains("ca_file") || !line.contains("_file = "));
    let given: Vec<_> = given.collect();
    let file = dir.file("all.toml", &given.join("\n"));
    let loaded = load(&sources(Some(file), &[])).unwrap();
    // And each field of each section is in the file: one that is not would be null here.
    let serde_json::Value::Object(read) = serde_json::to_value(&loaded.sections).unwrap() else {
        panic!("sections are an object");
    };
    let mut fields = Vec::new();
    for (section, keys) in &read {
        for (key, value) in keys.as_object().unwrap() {
            assert!(
                !value.is_null(),
                "{section}.{key} is not in the default file"
            );
            fields.push(format!("{section}.{key}"));
        }
    }
    let mut settings: Vec<_> = reference::settings()
        .iter()
        .filter(|setting| reference::secret_of_file(&setting.key).is_none())
        .map(|setting| setting.key.clone())
        .collect();
    fields.sort();
    settings.sort();
    assert_eq!(fields, settings);
}

#[test]
fn each_setting_of_the_default_file_says_what_it_is() {
    let lines: Vec<_> = REFERENCE.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if let Some(section) = line.strip_prefix('[') {
            let next = lines[at + 1];
            assert!(next.starts_with("# "), "[{section} is not explained");
        }
    }
}

#[test]
fn a_named_file_must_be_there_and_a_searched_one_need_not() {
    let mut sources = sources(Some("/nowhere/quivive.toml".into()), &[]);
    assert!(load(&sources).is_ok());
    sources.file = FileChoice::Named("/nowhere/quivive.toml".into());
    let text = load(&sources).unwrap_err().to_string();
    assert!(
        text.contains("/nowhere/quivive.toml") && text.contains("--config"),
        "{text}"
    );
}

#[test]
fn a_bus_is_named_whole_or_not_at_all() {
    assert!(plan("").unwrap().bus.is_none());
    let redis = "url = \"redis://:geheim@127.0.0.1:6379/0\"";
    let rabbit = "url = \"amqp://quivive:geheim@127.0.0.1:5672/%2f\"";
    for (kind, url, drops_unread) in [
        ("redis", redis, false),
        ("redis", &redis.replace("redis:", "rediss:"), false),
        ("rabbitmq", rabbit, false),
        ("rabbitmq", &rabbit.replace("amqp:", "amqps:"), false),
        ("hybrid", redis, true),
        ("hybrid", rabbit, true),
    ] {
        let planned = plan(&format!("[bus]\nkind = \"{kind}\"\n{url}\nshards = 3\n"));
        let features = [cfg!(feature = "redis"), cfg!(feature = "rabbitmq")];
        let built = features[usize::from(kind == "rabbitmq" || url == rabbit)];
        match planned {
            Ok(plan) => {
                let bus = plan.bus.unwrap();
                assert!(built && bus.shards == 3 && bus.drops_unread == drops_unread);
                assert!(!format!("{bus:?}").contains("geheim"));
            }
            Err(problems) => assert!(!built, "{problems}"),
        }
    }
    for (section, key) in [
        ("kind = \"kafka\"", "bus.kind"),
        (redis, "bus.kind"),
        ("kind = \"memory\"\nca_file = \"/dev/null\"", "bus.ca_file"),
        ("kind = \"redis\"", "bus.url"),
        (&format!("kind = \"redis\"\n{rabbit}"), "bus.url"),
        (&format!("kind = \"rabbitmq\"\n{redis}"), "bus.url"),
        ("kind = \"hybrid\"\nurl = \"nowhere\"", "bus.url"),
        ("kind = \"redis\"\nurl = \"https://127.0.0.1\"", "bus.url"),
        (
            &format!("kind = \"redis\"\n{redis}\nca_file = \"/dev/null\""),
            "bus.ca_file",
        ),
        (
            "kind = \"redis\"\nurl = \"rediss://:geheim@h\"\nca_file = \"/dev/null\"",
            "bus.ca_file",
        ),
        (
            "kind = \"redis\"\nurl = \"rediss://:geheim@h\"\nca_file = \"/nowhere\"",
            "bus.ca_file",
        ),
        (
            &format!("kind = \"redis\"\n{redis}\nshards = 0"),
            "bus.shards",
        ),
        (
            &format!("kind = \"redis\"\n{redis}\nprefix = \"a b\""),
            "bus.prefix",
        ),
        (
            &format!("kind = \"redis\"\n{redis}\nmax_unread = 1"),
            "bus.max_unread",
        ),
        (
            &format!("kind = \"rabbitmq\"\n{rabbit}\nservices = []"),
            "bus.services",
        ),
        (
            &format!("kind = \"rabbitmq\"\n{rabbit}\nservices = [\"a\", \"a\"]"),
            "bus.services",
        ),
    ] {
        let said = refused(&format!("[bus]\n{section}\n"));
        assert!(
            said.contains(key) && !said.contains("geheim"),
            "{section}: {said}"
        );
    }
}
