//! The stream of events beside the feed, while others write.

use std::time::{Duration, Instant};

use quivive_testkit::{Client, Server, Stream};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::server;

const WRITERS: usize = 50;
const WRITES: usize = 12;

async fn open(server: &Server, token: &str, path: &str, last: Option<&str>) -> Stream {
    let stream = Stream::open(server.address, path, token, last).await;
    stream.unwrap().expect("200")
}

/// Reads events until the last one of them is there, and comes back whenever `leave` says so, with the last id that
/// it was given.
async fn follow(
    server: &Server,
    token: &str,
    path: &str,
    last: u64,
    mut leave: impl FnMut() -> bool,
) -> Vec<Value> {
    let mut stream = open(server, token, path, None).await;
    let mut events = Vec::new();
    loop {
        let said = stream.next().await.unwrap().expect("it goes on");
        let id = said.id;
        if !said.data.is_null() {
            assert_eq!(said.kind, said.data["type"]);
            events.push(said.data);
        }
        let at: u64 = id.split_once('-').unwrap().1.parse().unwrap();
        if at >= last {
            return events;
        }
        if leave() {
            stream = open(server, token, path, Some(&id)).await;
        }
    }
}

/// Comes true about once in `odds`, the same at every run.
fn sometimes(odds: u64) -> impl FnMut() -> bool {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33).is_multiple_of(odds)
    }
}

async fn write(mut client: Client, writer: usize) {
    for i in 0..WRITES {
        let body = json!({"email": format!("w{writer}-{i}@example.org")});
        let path = "/password-reset-requests";
        let reply = client.api("POST", path, Some(body), None).await.unwrap();
        reply.expect(202);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumed_anywhere_is_the_feed_while_fifty_write() {
    let server = server().await;
    let admin = server.administrator().await;
    let written = u64::try_from(2 * WRITERS * WRITES).unwrap();
    let began = server.events(&admin).await.len() as u64;
    // It opens first and reads when all others are through.
    let mut asleep = open(&server, &admin, "/events/stream?after=0", None).await;
    let writers = async {
        let writers = (0..WRITERS).map(|writer| write(server.client(), writer));
        writers.collect::<JoinSet<_>>().join_all().await
    };
    let last = began + written;
    let all = "/events/stream?after=0";
    let failed = "/events/stream?after=0&type=*.failed";
    let (whole, resumed, some, _) = tokio::join!(
        follow(&server, &admin, all, last, || false),
        follow(&server, &admin, all, last, sometimes(40)),
        follow(&server, &admin, failed, last, sometimes(20)),
        writers,
    );
    let feed = server.events(&admin).await;
    let positions: Vec<_> = feed
        .iter()
        .map(|event| event["position"].as_u64().unwrap())
        .collect();
    assert_eq!(positions, (1..=feed.len() as u64).collect::<Vec<_>>());
    assert!(feed.len() as u64 >= last, "{} of {last}", feed.len());
    let afterwards = follow(&server, &admin, all, last, sometimes(300)).await;
    for (name, events) in [
        ("whole", &whole),
        ("resumed", &resumed),
        ("afterwards", &afterwards),
    ] {
        assert!(
            events.len() as u64 >= last,
            "{name}: {} of {last}",
            events.len()
        );
        assert!(feed.starts_with(events), "{name} is not the feed");
    }
    let wanted = feed
        .iter()
        .filter(|event| event["type"].as_str().unwrap().ends_with(".failed"));
    let wanted: Vec<_> = wanted.take(some.len()).cloned().collect();
    assert!(
        some == wanted && some.len() > WRITERS,
        "{} failed",
        some.len()
    );
    let mut late = Vec::new();
    while (late.len() as u64) < last {
        let said = asleep.next().await.unwrap().unwrap();
        late.extend((!said.data.is_null()).then_some(said.data));
    }
    assert!(feed.starts_with(&late), "who slept is told all of it");
}

/// T37: of a session.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_session_and_with_the_server() {
    let mut server = server().await;
    let admin = server.administrator().await;
    // One that is told nothing in between, so that it does not wake up by what is said of the session.
    let mut quiet = open(&server, &admin, "/events/stream?type=email.delivered", None).await;
    let mut stream = open(&server, &admin, "/events/stream", None).await;
    server
        .api("DELETE", "/sessions/current", None, Some(&admin))
        .await
        .expect(204);
    let ended = Instant::now();
    while stream.next().await.unwrap().is_some() {}
    while quiet.next().await.unwrap().is_some() {}
    assert!(
        ended.elapsed() < Duration::from_secs(6),
        "{:?}",
        ended.elapsed()
    );
    let refused = Stream::open(server.address, "/events/stream", &admin, None)
        .await
        .unwrap();
    assert_eq!(refused.err(), Some(401));

    let admin = server.administrator().await;
    let mut stream = open(&server, &admin, "/events/stream", None).await;
    stream.next().await.unwrap().unwrap();
    let began = Instant::now();
    let (code, end) = tokio::join!(server.stop(), async {
        while stream.next().await.unwrap().is_some() {}
        began.elapsed()
    });
    assert_eq!(code, Some(0));
    assert!(end < Duration::from_secs(2), "it ends first: {end:?}");
}
