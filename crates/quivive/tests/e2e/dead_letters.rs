//! Letters that cannot be sent: parked, looked at, sent after all or given up, from outside.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quivive_delivery::tasks::Tasks;
use quivive_testkit::experiments::check;
use quivive_testkit::{Options, PASSWORD, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::{BINARY, events_until, post};

/// A mail server of a few lines: it takes every letter, and keeps to whom it was.
#[derive(Clone, Default)]
struct Mail(Arc<Mutex<Vec<String>>>);

impl Mail {
    async fn serve(&self, port: u16) {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let (mail, tasks) = (self.clone(), Tasks::new());
        drop(tasks.clone().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mail = mail.clone();
                drop(tasks.spawn(async move { mail.talk(stream).await }));
            }
        }));
    }

    async fn talk(&self, stream: TcpStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 test\r\n").await?;
        let (mut to, mut in_letter) = (String::new(), false);
        while let Some(line) = lines.next_line().await? {
            let answer: &[u8] = match line.get(..4).unwrap_or_default() {
                _ if in_letter && line == "." => {
                    self.0.lock().unwrap().push(std::mem::take(&mut to));
                    in_letter = false;
                    b"250 taken\r\n"
                }
                _ if in_letter => continue,
                "RCPT" => {
                    to = line.split(['<', '>']).nth(1).unwrap().to_owned();
                    b"250 fine\r\n"
                }
                "DATA" => {
                    in_letter = true;
                    b"354 go on\r\n"
                }
                "QUIT" => return write.write_all(b"221 bye\r\n").await,
                _ => b"250 fine\r\n",
            };
            write.write_all(answer).await?;
        }
        Ok(())
    }

    fn count(&self, to: &str) -> usize {
        let taken = self.0.lock().unwrap();
        taken.iter().filter(|taken| *taken == to).count()
    }

    async fn arrives(&self, to: &str) {
        let began = Instant::now();
        while self.count(to) == 0 {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "nothing for {to}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn register(server: &Server, email: &str) {
    let body = json!({"email": email, "password": PASSWORD});
    post(server, "/users", body).await.expect(202);
}

async fn told(server: &Server, args: &[&str]) -> Vec<Value> {
    let args = [args, &["--output", "json"]].concat();
    let (code, out, err) = server.cli(&args, "").await;
    assert_eq!(code, Some(0), "{args:?}: {err}");
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The first letters are those of `events`, by whom each is about: parked for the mail, in this order.
async fn parked(server: &Server, admin: &str, count: usize) -> Vec<Value> {
    let raised = |events: &[Value]| check::count(events, "delivery.dead_lettered") >= count;
    let events = events_until(server, admin, raised).await;
    assert!(raised(&events), "{}", server.output());
    let dead: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "delivery.dead_lettered")
        .map(|event| event["data"]["event_id"].clone())
        .collect();
    let of = |id: &Value| events.iter().find(|event| event["id"] == *id).cloned();
    let mut letters: Vec<_> = dead.iter().filter_map(of).collect();
    letters.sort_by_key(|event| event["position"].as_u64());
    letters
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_could_not_be_sent_arrives_when_it_is_redriven() {
    // Let go of at once: nobody listens there until the test does.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let options = Options::unlimited()
        .env("QUIVIVE__MAIL__HOST", "127.0.0.1")
        .env("QUIVIVE__MAIL__PORT", &port.to_string())
        .env("QUIVIVE__MAIL__TLS", "none")
        .env("QUIVIVE__MAIL__FROM", "no-reply@example.org")
        .env("QUIVIVE__DELIVERY__RETRY_BASE_MS", "20")
        .env("QUIVIVE__DELIVERY__MAX_ATTEMPTS", "3");
    let mut server = Server::start(BINARY, options).await;
    let admin = server.administrator().await;
    register(&server, "first@example.org").await;
    register(&server, "second@example.org").await;
    let letters = parked(&server, &admin, 2).await;
    let [first, second] = [&letters[0]["id"], &letters[1]["id"]].map(|id| id.as_str().unwrap());

    seen(&server, &admin, first).await;

    // Fifty operators have the first one sent at once, and it comes once.
    let mail = Mail::default();
    mail.serve(port).await;
    let dry = ["dead-letters", "redrive", "email", "--dry-run"];
    assert_eq!(
        told(&server, &dry).await[0],
        json!({"count": 2, "dry_run": true})
    );
    let body = json!({"subscription": "email", "choice": {"event_id": first}});
    let mut asked = JoinSet::new();
    for _ in 0..50 {
        let (mut client, body, admin) = (server.client(), body.clone(), admin.clone());
        asked.spawn(async move {
            let path = "/admin/dead-letters/redrive";
            let answer = client.api("POST", path, Some(body), Some(&admin)).await;
            answer.unwrap().status
        });
    }
    let mut answers = asked.join_all().await;
    answers.sort_unstable();
    assert_eq!((answers[0], &answers[1..]), (200, &[409; 49][..]));
    mail.arrives("first@example.org").await;

    // The second one is given up, and what comes later is sent.
    let discard = [
        "dead-letters",
        "discard",
        "email",
        "--event-id",
        second,
        "--reason",
        "a test",
    ];
    let (code, _, err) = server.cli(&discard, "").await;
    assert_eq!(code, Some(2), "not without a word: {err}");
    let (code, _, err) = server.cli(&[&discard[..], &["--yes"]].concat(), "").await;
    assert_eq!(code, Some(0), "{err}");
    register(&server, "third@example.org").await;
    mail.arrives("third@example.org").await;
    assert_eq!(
        (
            mail.count("first@example.org"),
            mail.count("second@example.org")
        ),
        (1, 0)
    );
    assert!(told(&server, &["dead-letters", "list"]).await.is_empty());
    let state = get(&server, &admin, &format!("/events/{first}")).await;
    assert_eq!(email(&state)["state"], "done", "{state}");
    assert!(email(&state)["latency_seconds"].as_f64().unwrap() > 0.0);

    told_in_the_log(&server, &admin).await;
    without_a_server(&mut server, &admin).await;
}

async fn get(server: &Server, admin: &str, path: &str) -> Value {
    let answer = server.api("GET", path, None, Some(admin)).await;
    answer.expect(200).json()
}

/// Its delivery to the mail.
fn email(event: &Value) -> Value {
    let all = event["deliveries"].as_array().unwrap();
    let email = all.iter().find(|one| one["subscription"] == "email");
    email.unwrap().clone()
}

/// The API and the command line show the same.
async fn seen(server: &Server, admin: &str, first: &str) {
    let get = async |path: &str| get(server, admin, path).await;
    let page = get("/admin/dead-letters?subscription=email&error_class=transient&limit=1").await;
    assert_eq!(page["has_more"], true);
    assert_eq!(page["groups"][0]["count"], 2, "{page}");
    let after = page["next_cursor"].as_str().unwrap();
    let next = get(&format!("/admin/dead-letters?limit=1&after={after}")).await;
    assert_eq!(next["has_more"], false);
    let ids = |letters: &[Value]| -> BTreeSet<String> {
        let id = |letter: &Value| letter["event_id"].as_str().unwrap().to_owned();
        letters.iter().map(id).collect()
    };
    let seen = [page["data"][0].clone(), next["data"][0].clone()];
    assert_eq!(
        ids(&seen),
        ids(&told(server, &["dead-letters", "list"]).await)
    );
    let one = get(&format!("/admin/dead-letters/email/{first}")).await;
    assert_eq!((&one["attempts"], &one["behind"]), (&json!(3), &json!(0)));
    assert_eq!(one["event"]["data"]["email"], Value::Null, "masked");
    let shown = told(server, &["dead-letters", "show", "email", first]).await;
    assert_eq!(shown[0]["event"]["id"], one["event"]["id"]);
    let state = get(&format!("/events/{first}")).await;
    assert_eq!(email(&state)["state"], "parked");
}

/// All of it is in the log, as facts of the workflows that did it.
async fn told_in_the_log(server: &Server, admin: &str) {
    let events = server.events(admin).await;
    check::whole(&events);
    let of = |kind: &str| {
        events
            .iter()
            .filter(|event| event["type"] == kind)
            .collect::<Vec<_>>()
    };
    let changes = of("delivery.subscription_change.succeeded");
    let actions: Vec<_> = changes
        .iter()
        .map(|event| &event["data"]["action"])
        .collect();
    assert_eq!(actions, ["redrive", "discard"]);
    assert_eq!(of("delivery.subscription_change.failed").len(), 49);
    let (redriven, discarded) = (of("delivery.redriven"), of("delivery.discarded"));
    assert_eq!((redriven.len(), discarded.len()), (1, 1));
    assert_eq!(redriven[0]["data"]["by"], changes[0]["actor"]["id"]);
    assert_eq!(discarded[0]["data"]["reason"], "a test");
    assert_eq!(redriven[0]["workflow_id"], changes[0]["workflow_id"]);
    let tree = get(
        server,
        admin,
        &format!("/events/{}", redriven[0]["id"].as_str().unwrap()),
    )
    .await;
    let root = &tree["tree"][0];
    assert_eq!(root["type"], "delivery.subscription_change.attempted");
    let effects: BTreeSet<_> = root["effects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|effect| effect["type"].as_str().unwrap())
        .collect();
    let both = [
        "delivery.redriven",
        "delivery.subscription_change.succeeded",
    ];
    assert_eq!(effects, BTreeSet::from(both), "{tree}");
}

/// What is decided while no server runs is so when it runs again.
async fn without_a_server(server: &mut Server, admin: &str) {
    assert_eq!(server.stop().await, Some(0));
    told(server, &["subscriptions", "pause", "email"]).await;
    let (code, _, err) = server.cli(&["subscriptions", "pause", "email"], "").await;
    assert_eq!(code, Some(1), "{err}");
    let (code, _, err) = server.cli(&["subscriptions", "pause", "emial"], "").await;
    assert_eq!(code, Some(1), "{err}");
    let list = told(server, &["subscriptions", "list"]).await;
    let email = list.iter().find(|one| one["name"] == "email").unwrap();
    assert_eq!(email["state"], "paused");
    server.restart().await;
    let list = server
        .api("GET", "/admin/subscriptions", None, Some(admin))
        .await;
    let list = list.expect(200).json();
    let all = list["data"].as_array().unwrap();
    let email = all.iter().find(|one| one["name"] == "email").unwrap();
    assert_eq!(
        (&email["state"], &email["paused"]),
        (&json!("paused"), &json!(true))
    );
    assert!(
        email["types"]
            .as_array()
            .is_some_and(|types| !types.is_empty())
    );
    told(server, &["subscriptions", "resume", "email"]).await;
    let (code, _, err) = server.cli(&["subscriptions", "resume", "email"], "").await;
    assert_eq!(code, Some(1), "{err}");
}
