//! Who is let in to ask: limits by source, what proxies and backends say of it, and what becomes of refused requests. T12 of
//! the security cases.

use quivive_testkit::client::Call;
use quivive_testkit::{Client, Options, PASSWORD, Reply, Server};
use serde_json::{Value, json};

use crate::support::BINARY;

/// What strangers write to be taken for somebody else.
const DISGUISES: [&str; 6] = [
    "x-forwarded-for",
    "forwarded",
    "x-real-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "quivive-client-ip",
];

async fn sign_in(server: &Server, headers: &[(&str, &str)]) -> Reply {
    let body = json!({"email": "ada@example.org", "password": "not this one 1"});
    // By its public name: with a header of a proxy, no other will do.
    let host = format!("localhost:{}", server.address.port());
    let call = Call {
        method: "POST",
        path: "/api/v1/sessions",
        body: Some(body.to_string().into_bytes()),
        headers: headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .chain([("host", host)])
            .collect(),
        ..Call::default()
    };
    server.client().call(&call).await.unwrap()
}

/// The addresses of the events of sign-ins, as the log has them.
async fn addresses(server: &Server, admin: &str) -> Vec<Value> {
    let path = "/events?limit=250&personal=true&type=user.login.failed";
    let page = server.api("GET", path, None, Some(admin)).await;
    let page = page.expect(200).json();
    let events = page["data"].as_array().unwrap().clone();
    events
        .into_iter()
        .map(|event| event["ip_address"].clone())
        .collect()
}

/// T12.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_who_the_socket_says_whatever_the_headers_say() {
    let server = Server::start(BINARY, Options::default()).await;
    let admin = server.administrator().await;
    let mut refused = None;
    // The administrator's own was the first of the thirty.
    for number in 0..30 {
        let name = DISGUISES[number % DISGUISES.len()];
        let address = format!("203.0.113.{number}");
        let value = match name {
            "forwarded" => format!("for={address}"),
            _ => address,
        };
        let reply = sign_in(&server, &[(name, &value)]).await;
        if reply.status == 429 && refused.is_none() {
            refused = Some((number, reply));
        }
    }
    let (number, reply) = refused.expect("thirty a minute");
    assert_eq!(number, 29);
    assert_eq!(reply.code(), "rate_limited");
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=63).contains(&wait), "{wait}");
    assert_eq!(reply.header("ratelimit-limit"), Some("30"));
    assert_eq!(reply.header("ratelimit-remaining"), Some("0"));
    let addresses = addresses(&server, &admin).await;
    assert_eq!(addresses, vec![json!("127.0.0.1"); 29]);
}

/// T11: of two sources each has its own limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_who_asks_in_the_header_that_is_its_own() {
    let options = Options::default()
        .env("QUIVIVE__SERVER__TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")
        .env("QUIVIVE__SERVER__FORWARDING_HEADER", "forwarded");
    let server = Server::start(BINARY, options).await;
    let admin = server.administrator().await;
    let said = "for=198.51.100.66, for=203.0.113.5, for=\"10.0.0.2:4711\"";
    for number in 0..31 {
        let disguise = format!("198.51.100.{number}");
        let headers = [("forwarded", said), ("x-forwarded-for", &*disguise)];
        let status = sign_in(&server, &headers).await.status;
        assert_eq!(status, if number < 30 { 401 } else { 429 }, "{number}");
    }
    let other = sign_in(&server, &[("forwarded", "for=\"[2001:db8::7]:1\"")]).await;
    assert_eq!(other.header("ratelimit-remaining"), Some("29"));
    let mut expected = vec![json!("203.0.113.5"); 30];
    expected.push(json!("2001:db8::7"));
    assert_eq!(addresses(&server, &admin).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_with_a_key_for_it_says_who_asks() {
    let server = Server::start(BINARY, Options::default()).await;
    let admin = server.administrator().await;
    let body = json!({"name": "shop", "scopes": ["client.forward"]});
    let made = server.api("POST", "/admin/api-keys", Some(body), Some(&admin));
    let made = made.await.expect(201).json();
    let key = made["key"].as_str().unwrap();
    for number in 0..40 {
        let user = format!("203.0.113.{number}");
        let headers = [("quivive-api-key", key), ("quivive-client-ip", &user)];
        sign_in(&server, &headers).await.expect(401);
    }
    let addresses = addresses(&server, &admin).await;
    assert_eq!(addresses.len(), 40);
    assert_eq!(addresses[39], "203.0.113.39");
}

/// T11: a flood of every kind that is refused: the log stands still while it lasts, and then has a few events of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_fills_neither_the_log_nor_memory() {
    let mut server = Server::start(BINARY, Options::default()).await;
    let admin = server.administrator().await;
    let before = server.events(&admin).await.len();
    let memory = server.resident_kib();
    let mut floods = tokio::task::JoinSet::new();
    for number in 0..8_usize {
        let address = server.address;
        floods.spawn(async move { flood(address, number).await });
    }
    let refused: usize = floods.join_all().await.into_iter().sum();
    assert_eq!(refused, 8 * 500);
    let grown = server.resident_kib().saturating_sub(memory);
    assert!(grown < 20 * 1024, "{grown} KiB");
    server.stop().await;
    server.restart().await;
    let admin = server
        .login("root@example.org", "an administrators long passphrase 7")
        .await;
    let admin = admin["access_token"].as_str().unwrap();
    let events = server.events(admin).await;
    let told: Vec<&Value> = events[before..]
        .iter()
        .filter(|event| event["type"] == "admission.requests_rejected")
        .collect();
    // The test's own questions and its second sign-in are the others.
    assert!(told.len() <= 16 && events.len() < before + 40, "{told:#?}");
    let counted: u64 = told
        .iter()
        .map(|event| {
            assert_eq!(event["actor"]["kind"], "system");
            assert_eq!(event["data"]["sources"], 1);
            event["data"]["count"].as_u64().unwrap()
        })
        .sum();
    assert_eq!(counted, 4_000);
    let limited = told.iter().any(|event| {
        event["data"]["route"] == "/api/v1/users" && event["data"]["cause"] == "rate_limited"
    });
    assert!(limited, "{told:#?}");
}

/// Requests that nobody lets in, none of which reaches a workflow; how many were refused.
async fn flood(address: std::net::SocketAddr, number: usize) -> usize {
    let mut client = Client::new(address);
    let mut refused = 0;
    let broken = || Some(b"{\"email\": ".to_vec());
    for round in 0..500 {
        let path = format!("/api/v1/{number}/{round}");
        let (method, path, body) = match (round + number) % 5 {
            0 => ("POST", "/api/v1/users", broken()),
            1 => ("GET", "/api/v1/me", None),
            2 => ("GET", path.as_str(), None),
            3 => ("PUT", "/api/v1/sessions", broken()),
            _ => ("POST", "/api/v1/password-resets", broken()),
        };
        let call = Call {
            method,
            path,
            body,
            token: Some(PASSWORD),
            ..Call::default()
        };
        let reply = client.call(&call).await.unwrap();
        assert!((400..500).contains(&reply.status), "{}", reply.status);
        refused += 1;
    }
    refused
}

/// Who is refused hears it soon, also where what was let in takes all the cores there are; and what is short goes before
/// hashes.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_goes_before_what_was_let_in_and_hashes_take_what_is_spare() {
    let server = Server::start(BINARY, Options::default()).await;
    sign_in(&server, &[]).await;
    let mut found = std::collections::BTreeSet::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap() {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(") ").unwrap();
        // Fields 19 and 41 of proc(5).
        let fields: Vec<&str> = rest.split(' ').collect();
        let (nice, policy): (i32, u32) = (fields[16].parse().unwrap(), fields[38].parse().unwrap());
        found.insert((name.to_owned(), nice, policy));
    }
    let edge = found.iter().find(|(name, ..)| name == "quivive-edge");
    let nice = edge.unwrap().1;
    // 19 is the least there is.
    let lower = (nice + 5).min(19);
    for (name, nice, policy) in [
        ("quivive-edge", nice, 0),
        ("quivive", lower, 0),
        ("password-clerk", lower, 0),
        // SCHED_IDLE. Where it starves there is another beside it.
        ("password-hash", lower, 5),
    ] {
        let expected = (name.to_owned(), nice, policy);
        assert!(found.contains(&expected), "{expected:?}: {found:?}");
    }
}
