//! Two servers on one database: what each has, what becomes of it when one ends, and what neither may do twice.

use std::time::{Duration, Instant};

use quivive_testkit::experiments::check;
use quivive_testkit::nodes::copy_keys;
use quivive_testkit::postgres::Cluster;
use quivive_testkit::{Nodes, Options, PASSWORD, Server};
use serde_json::{Value, json};

use crate::support::BINARY;

/// From the death of a node until another does its work.
const TAKE_OVER: Duration = Duration::from_secs(20);

fn quiet() -> Options {
    Options::unlimited().env("QUIVIVE__LOG__LEVEL", "info")
}

async fn nodes(options: impl Fn() -> Options) -> Option<Nodes> {
    let cluster = Cluster::shared()?;
    Some(Nodes::start(&cluster, BINARY, options).await)
}

async fn log_in(server: &Server, email: &str) -> Value {
    server.login(email, PASSWORD).await
}

/// Sign-ins as the transactional handler has counted them.
const COUNTED: &str = "SELECT COALESCE(sum(count), 0) FROM sign_in_day WHERE outcome = 'succeeded'";

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_a_database() {
    let Some(mut nodes) = nodes(quiet).await else {
        return;
    };
    nodes.settled().await;
    let admin = nodes.one.administrator().await;
    nodes.register("ada@example.org").await;
    for i in 0..6 {
        log_in(nodes.nth(i), "ada@example.org").await;
    }
    // Once by one of them each: with the administrator's own.
    nodes.until(COUNTED, "7", TAKE_OVER).await;
    let [one, two] = [
        nodes.one.events(&admin).await,
        nodes.two.events(&admin).await,
    ];
    assert_eq!(check::whole(&one), check::whole(&two));
    // What one node has, the other tells of.
    let path = "/admin/subscriptions";
    for server in nodes.both() {
        let told = server.api("GET", path, None, Some(&admin)).await;
        let told = told.expect(200).json();
        let names = |told: &Value| told.to_string().contains("\"statistics\"");
        assert!(names(&told), "{told}");
    }
    // Who ends cleanly hands everything over at once, and who comes gets its share.
    let began = Instant::now();
    assert_eq!(nodes.two.stop().await, Some(0));
    let theirs =
        "SELECT count(*) FROM lease WHERE node IS NULL OR node NOT IN (SELECT id FROM node)";
    nodes.until(theirs, "0", Duration::from_secs(5)).await;
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(nodes.shares().len(), 1);
    nodes.two.restart().await;
    nodes.settled().await;
    log_in(&nodes.two, "ada@example.org").await;
    nodes.until(COUNTED, "8", TAKE_OVER).await;
    assert_eq!(nodes.one.verify().await["ok"], true);
}

/// An operator's order goes to whoever is asked, and so does the subscription.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_carried_out_whichever_node_is_given_it() {
    let Some(nodes) = nodes(quiet).await else {
        return;
    };
    nodes.settled().await;
    let admin = nodes.one.administrator().await;
    let paused = "SELECT paused FROM subscription WHERE name = 'statistics'";
    for (i, word, is) in [
        (0, "pause", "1"),
        (1, "resume", "0"),
        (1, "pause", "1"),
        (0, "resume", "0"),
    ] {
        let path = format!("/admin/subscriptions/statistics/{word}");
        let reply = nodes.nth(i).api("POST", &path, None, Some(&admin)).await;
        assert!(reply.status < 300, "{} {}", reply.status, reply.code());
        assert_eq!(nodes.database.ask(paused), is);
        assert_eq!(nodes.owner("statistics").await, i);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_node_had_goes_on_on_the_other() {
    let Some(mut nodes) = nodes(quiet).await else {
        return;
    };
    nodes.settled().await;
    let admin = nodes.one.administrator().await;
    nodes.register("ada@example.org").await;
    nodes.until(COUNTED, "1", TAKE_OVER).await;
    let dead = nodes.owner("statistics").await;
    for _ in 0..5 {
        log_in(nodes.nth(dead), "ada@example.org").await;
    }
    nodes.nth_mut(dead).kill().await;
    let began = Instant::now();
    let alive = dead + 1;
    for _ in 0..5 {
        log_in(nodes.nth(alive), "ada@example.org").await;
    }
    nodes.until(COUNTED, "11", TAKE_OVER).await;
    println!("counted {:?} after the kill", began.elapsed());
    // Letters, too, and what the dead one left open is closed.
    let body = json!({"email": "bob@example.org", "password": PASSWORD});
    let server = nodes.nth(alive);
    server
        .api("POST", "/users", Some(body), None)
        .await
        .expect(202);
    nodes.letter("bob@example.org", "verify_email").await;
    let open = "SELECT count(*) FROM open_attempt WHERE waiting = 0";
    nodes.until(open, "0", TAKE_OVER).await;
    nodes.nth_mut(dead).restart().await;
    nodes.settled().await;
    check::whole(&nodes.nth(dead).events(&admin).await);
    nodes.until(COUNTED, "11", Duration::from_secs(1)).await;
}

/// Paused for longer than it may be silent: what it has on its way when it goes on is nobody's any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_wakes_up_late_writes_nothing_stale() {
    let Some(mut nodes) = nodes(quiet).await else {
        return;
    };
    nodes.settled().await;
    let admin = nodes.one.administrator().await;
    // What is interrupted keeps its guess; so another signs in meanwhile.
    nodes.register("ada@example.org").await;
    nodes.register("bob@example.org").await;
    let asleep = nodes.owner("statistics").await;
    let awake = asleep + 1;
    let epoch = "SELECT epoch FROM lease WHERE name = 'statistics'";
    let before: u64 = nodes.database.ask(epoch).parse().unwrap();
    // In the middle of its work.
    let (address, mut busy) = (nodes.nth(asleep).address, tokio::task::JoinSet::new());
    for _ in 0..3 {
        busy.spawn(async move {
            let mut client = quivive_testkit::Client::new(address);
            let body = json!({"email": "ada@example.org", "password": PASSWORD});
            for _ in 0..20 {
                let _ = client
                    .api("POST", "/sessions", Some(body.clone()), None)
                    .await;
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    nodes.nth(asleep).signal("STOP").await;
    let claimed = "SELECT count(*) FROM lease JOIN node ON node.id = lease.node WHERE lease.name = 'statistics' \
        AND (SELECT count(*) FROM node) = 1";
    nodes.until(claimed, "1", Duration::from_secs(30)).await;
    let after: u64 = nodes.database.ask(epoch).parse().unwrap();
    assert!(after > before, "{before} {after}");
    for _ in 0..3 {
        log_in(nodes.nth(awake), "bob@example.org").await;
    }
    nodes.nth(asleep).signal("CONT").await;
    busy.join_all().await;
    nodes.settled().await;
    let events = nodes.nth(awake).events(&admin).await;
    check::whole(&events);
    let logins = check::count(&events, "user.login.succeeded").to_string();
    nodes.until(COUNTED, &logins, TAKE_OVER).await;
    assert_eq!(nodes.nth_mut(awake).verify().await["ok"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_the_other_node() {
    let Some(nodes) = nodes(quiet).await else {
        return;
    };
    let admin = nodes.one.administrator().await;
    nodes.register("ada@example.org").await;
    let me = async |server: &Server, token: &str| {
        let reply = server.api("GET", "/me", None, Some(token)).await;
        reply.status
    };
    let mut latest = Duration::ZERO;
    for i in 0..10 {
        let tokens = log_in(nodes.nth(i), "ada@example.org").await;
        let token = tokens["access_token"].as_str().unwrap();
        let (here, there) = (nodes.nth(i), nodes.nth(i + 1));
        assert_eq!((me(here, token).await, me(there, token).await), (200, 200));
        if i % 2 == 0 {
            let body = json!({"refresh_token": tokens["refresh_token"]});
            let reply = here
                .api("DELETE", "/sessions/current", Some(body), Some(token))
                .await;
            assert!(reply.status < 300, "{}", reply.status);
        } else {
            let reply = here
                .api("DELETE", "/sessions?keep_current=false", None, Some(token))
                .await;
            assert!(reply.status < 300, "{}", reply.status);
        }
        let began = Instant::now();
        assert_eq!(me(here, token).await, 401, "at once where it was revoked");
        while me(there, token).await != 401 {
            assert!(began.elapsed() < Duration::from_secs(5), "{i}");
        }
        latest = latest.max(began.elapsed());
    }
    println!("the latest after {latest:?}");
    // Keys of services and roles are looked up each time; a rotation of all tokens is told like a session's end.
    let tokens = log_in(&nodes.one, "ada@example.org").await;
    let token = tokens["access_token"].as_str().unwrap();
    assert_eq!(me(&nodes.two, token).await, 200);
    let body = json!({"reason": "breach", "grace_period_seconds": 0});
    let reply = nodes
        .one
        .api("POST", "/admin/rotations", Some(body), Some(&admin))
        .await;
    assert!(reply.status < 300, "{} {}", reply.status, reply.code());
    let began = Instant::now();
    while me(&nodes.two, token).await != 401 {
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_good_once_is_good_once_on_both() {
    let Some(nodes) = nodes(quiet).await else {
        return;
    };
    let admin = nodes.one.administrator().await;
    let email = "ada@example.org";
    let body = json!({"email": email, "password": PASSWORD});
    nodes
        .two
        .api("POST", "/users", Some(body), None)
        .await
        .expect(202);
    let token = nodes.token(email, "verify_email").await;
    let count = |replies: &[quivive_testkit::Reply], status| {
        replies
            .iter()
            .filter(|reply| reply.status == status)
            .count()
    };
    let replies = nodes
        .together(50, |_| {
            ("POST", "/email-verifications", json!({"token": token}))
        })
        .await;
    assert_eq!((count(&replies, 200), count(&replies, 400)), (1, 49));
    let body = json!({"email": email});
    let asked = nodes
        .one
        .api("POST", "/password-reset-requests", Some(body), None)
        .await;
    asked.expect(202);
    let token = nodes.token(email, "reset_password").await;
    let replies = nodes
        .together(50, |i| {
            let password = format!("{PASSWORD} anew {i}");
            (
                "POST",
                "/password-resets",
                json!({"token": token, "new_password": password}),
            )
        })
        .await;
    assert_eq!((count(&replies, 200), count(&replies, 400)), (1, 49));
    check::whole(&nodes.two.events(&admin).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_by_source_holds_for_both_together() {
    let Some(nodes) = nodes(Options::default).await else {
        return;
    };
    nodes.settled().await;
    // Each knows of the other within a second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut admitted = 0;
    for i in 0..80 {
        let body = json!({"email": format!("nobody{i}@example.org"), "password": PASSWORD});
        let reply = nodes
            .nth(i)
            .api("POST", "/sessions", Some(body), None)
            .await;
        admitted += usize::from(reply.status != 429);
    }
    assert_eq!(admitted, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_other_keys_is_refused() {
    let Some(mut nodes) = nodes(quiet).await else {
        return;
    };
    assert_eq!(nodes.two.stop().await, Some(0));
    // None: it makes none of its own.
    std::fs::remove_dir_all(nodes.two.data.join("keys")).unwrap();
    nodes.two.spawn();
    assert_eq!(nodes.two.wait(TAKE_OVER).await, Some(78));
    let told = nodes.two.output();
    assert!(told.contains("copy the directory `keys`"), "{told}");
    assert!(!nodes.two.data.join("keys").exists());
    // Another server's.
    let other = Server::start(BINARY, quiet()).await;
    copy_keys(&other.data, &nodes.two.data);
    nodes.two.spawn();
    assert_eq!(nodes.two.wait(TAKE_OVER).await, Some(78));
    let told = nodes.two.output();
    assert!(
        told.contains("not those this database was used with"),
        "{told}"
    );
    // And a data directory is one server's.
    let place = std::fs::read(nodes.one.data.join("node")).unwrap();
    copy_keys(&nodes.one.data, &nodes.two.data);
    std::fs::write(nodes.two.data.join("node"), place).unwrap();
    nodes.two.spawn();
    assert_eq!(nodes.two.wait(TAKE_OVER).await, Some(75));
    let told = nodes.two.output();
    assert!(told.contains("remove the file `node`"), "{told}");
    std::fs::remove_file(nodes.two.data.join("node")).unwrap();
    nodes.two.restart().await;
    nodes.settled().await;
    // Each node's keys are its own to rotate.
    let (code, _, err) = nodes.one.cli(&["rotate", "keys", "--yes"], "").await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("copy the directory `keys`"), "{err}");
}
