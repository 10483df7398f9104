//! The stream beside the feed, with a clock that is set.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::made::{Made, RARE, USUAL};
use super::*;
use crate::Streams;

/// What a reader gets at once.
#[derive(Debug, Default, PartialEq)]
struct Frame {
    id: Option<String>,
    kind: Option<String>,
    data: Value,
}

/// Heartbeats after which nothing else is to come.
const PATIENCE: usize = 40;

/// An open stream.
pub(super) struct Reader(BodyDataStream);

impl Reader {
    pub(super) async fn open(
        server: &Server,
        token: &str,
        query: &str,
        last: Option<&str>,
    ) -> Self {
        let mut ask = get(&format!("/api/v1/events/stream{query}")).token(token);
        if let Some(last) = last {
            ask = ask.header("last-event-id", last);
        }
        let answer = server.begin(ask).await;
        let headers = answer.headers();
        assert_eq!(
            (
                answer.status().as_u16(),
                &headers["content-type"],
                &headers["x-accel-buffering"]
            ),
            (
                200,
                &"text/event-stream".parse().unwrap(),
                &"no".parse().unwrap()
            )
        );
        Self(answer.into_body().into_data_stream())
    }

    /// The next frame that is no heartbeat; `None` at the end.
    async fn next(&mut self) -> Option<Frame> {
        for _ in 0..PATIENCE {
            let bytes = self.0.next().await?.unwrap();
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let lines = text.strip_suffix("\n\n").expect("a frame is sent whole");
            if lines.starts_with(':') {
                continue;
            }
            let mut frame = Frame::default();
            for line in lines.lines() {
                match line.split_once(": ").unwrap() {
                    ("id", id) => frame.id = Some(id.to_owned()),
                    ("event", kind) => frame.kind = Some(kind.to_owned()),
                    ("data", data) => frame.data = serde_json::from_str(data).unwrap(),
                    _ => panic!("{text}"),
                }
            }
            return Some(frame);
        }
        panic!("nothing but heartbeats");
    }

    /// The next events, and the cursor that came with each.
    pub(super) async fn events(&mut self, count: usize) -> Vec<(String, Value)> {
        let mut events = Vec::new();
        while events.len() < count {
            let frame = self.next().await.expect("the stream goes on");
            if frame.data.is_null() {
                assert_eq!(frame.kind, None, "a cursor alone");
                continue;
            }
            assert_eq!(frame.kind.as_deref(), frame.data["type"].as_str());
            events.push((frame.id.unwrap(), frame.data));
        }
        events
    }

    /// How long it goes on.
    async fn end(mut self) -> Duration {
        let began = Instant::now();
        let end = async { while self.next().await.is_some() {} };
        assert!(
            timeout(Duration::from_mins(10), end).await.is_ok(),
            "it goes on"
        );
        began.elapsed()
    }
}

async fn over(log: &Made, most: usize) -> (Server, String, Arc<Streams>) {
    let (log, streams) = (log.clone(), Arc::new(Streams::of(most)));
    let scene = given(account().verified().role(Role::Admin));
    let server = Server::with(scene, |web| {
        web.log = Arc::new(log);
        web.streams = Arc::clone(&streams);
    });
    let token = server.access_token().await;
    (server, token, streams)
}

#[tokio::test(start_paused = true)]
async fn a_stream_resumed_anywhere_says_what_the_feed_has() {
    let log = Made::of_epoch(7);
    for _ in 0..100 {
        log.append(USUAL, 5);
        log.append(RARE, 3);
    }
    let (server, token, _) = over(&log, 9).await;
    for filter in [
        "",
        "&type=EmailDelivered",
        "&type=user.*&subject=of%20user.login.failed",
    ] {
        let mut whole = Vec::new();
        let mut after = 0;
        loop {
            let page = feed(&server, &token, &format!("?after={after}&limit=99{filter}"))
                .await
                .json();
            whole.extend(page["data"].as_array().unwrap().clone());
            after = page["next_cursor"].as_u64().unwrap();
            if page["has_more"] == false {
                break;
            }
        }
        let query = format!("?after=0{filter}");
        let mut reader = Reader::open(&server, &token, &query, None).await;
        let all = reader.events(whole.len()).await;
        let said: Vec<_> = all.iter().map(|(_, event)| event.clone()).collect();
        assert_eq!(said, whole, "{filter}");
        for at in [0, 1, whole.len() / 2, whole.len() - 2] {
            let (cursor, event) = &all[at];
            assert_eq!(*cursor, format!("7-{}", event["position"]));
            let mut again = Reader::open(&server, &token, &query, Some(cursor)).await;
            assert_eq!(
                again.events(whole.len() - at - 1).await,
                all[at + 1..],
                "after {cursor}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_place_it_begins_with_what_is_to_come_and_says_where_that_is() {
    let log = Made::of_epoch(1);
    log.append(USUAL, 3);
    let (server, token, _) = over(&log, 9).await;
    let mut reader = Reader::open(&server, &token, "", None).await;
    let mark = |id: &str| Frame {
        id: Some(id.to_owned()),
        ..Frame::default()
    };
    assert_eq!(reader.next().await.unwrap(), mark("1-3"));
    log.append(RARE, 1);
    assert_eq!(reader.events(1).await[0].0, "1-4");
    // What the filter skips is told a little later, and not again.
    let mut rare = Reader::open(&server, &token, &format!("?type={RARE}&after=0"), None).await;
    assert_eq!(rare.next().await.unwrap(), mark("1-0"));
    assert_eq!(rare.events(1).await[0].0, "1-4");
    log.append(USUAL, 700);
    let began = Instant::now();
    assert_eq!(rare.next().await.unwrap(), mark("1-704"));
    let waited = began.elapsed().as_secs();
    assert!((4..=6).contains(&waited), "{waited} s");
    log.append(RARE, 1);
    assert_eq!(rare.events(1).await[0].0, "1-705");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_has_a_heartbeat() {
    let (server, token, _) = over(&Made::of_epoch(1), 9).await;
    let mut reader = Reader::open(&server, &token, "", None).await;
    reader.next().await.unwrap();
    let began = Instant::now();
    assert_eq!(&reader.0.next().await.unwrap().unwrap()[..], b":\n\n");
    assert_eq!(began.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn a_place_or_a_parameter_that_is_wrong_is_refused_before_it_begins() {
    let log = Made::of_epoch(2);
    log.append(USUAL, 20);
    log.cut(10);
    let (server, token, _) = over(&log, 9).await;
    for (query, last, problem) in [
        ("?limit=1", None, (400, "invalid_query")),
        ("?type=nothing", None, (400, "invalid_query")),
        ("?after=22", None, (400, "invalid_cursor")),
        ("", Some("2-22"), (400, "invalid_cursor")),
        ("", Some("x"), (400, "invalid_cursor")),
        ("?after=9", None, (410, "cursor_expired")),
        ("?after=15&epoch=1", None, (410, "cursor_expired")),
        ("", Some("1-15"), (410, "cursor_expired")),
        // The newer of the two counts.
        ("?after=15", Some("2-9"), (410, "cursor_expired")),
    ] {
        let mut ask = get(&format!("/api/v1/events/stream{query}")).token(&token);
        if let Some(last) = last {
            ask = ask.header("last-event-id", last);
        }
        let answer = timeout(Duration::from_mins(1), server.send(ask)).await;
        let answer = answer.expect("it has an end");
        assert_eq!(
            answer.problem(),
            (problem.0, problem.1.to_owned()),
            "{query} {last:?}"
        );
    }
    let mut reader = Reader::open(&server, &token, "?after=9", Some("2-10")).await;
    assert_eq!(reader.events(1).await[0].0, "2-11");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_read_for_slowly_and_holds_up_nobody() {
    let log = Made::of_epoch(1);
    log.append(USUAL, 2_000);
    let (server, token, _) = over(&log, 9).await;
    log.reads();
    let mut slow = Reader::open(&server, &token, "?after=0", None).await;
    slow.events(1).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(log.reads(), [(0, 250)], "one page, however long it takes");
    let mut quick = Reader::open(&server, &token, "?after=0", None).await;
    assert_eq!(quick.events(2_000).await.len(), 2_000);
    log.reads();
    assert_eq!(slow.events(1_999).await[1_998].0, "1-2000");
    assert!(log.reads().len() >= 7, "it was read for later");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_session_or_the_role_also_where_nobody_reads() {
    type Change = fn(&mut quivive_app::testing::State);
    let changes: [(&str, Change); 2] = [
        ("the session was ended", |state| {
            let sessions = state.sessions.values_mut();
            sessions.for_each(|session| session.ended_at = Some(session.created_at));
        }),
        ("the role was taken away", |state| {
            let accounts = state.accounts.values_mut();
            accounts.for_each(|account| account.roles.clear());
        }),
    ];
    for (why, change) in changes {
        let log = Made::of_epoch(1);
        let (server, token, streams) = over(&log, 2).await;
        let reader = Reader::open(&server, &token, "", None).await;
        let asleep = Reader::open(&server, &token, "", None).await;
        let full = server
            .send(get("/api/v1/events/stream").token(&token))
            .await;
        assert_eq!(full.problem(), (503, "busy".to_owned()));
        assert_eq!(full.header("retry-after"), "10");
        tokio::time::sleep(Duration::from_mins(1)).await;
        server.scene.world.change(change);
        let ended = reader.end().await;
        assert!(ended <= Duration::from_secs(5), "{why}: {ended:?}");
        assert_eq!(free(&streams, 2).await, 2, "{why}");
        drop(asleep);
    }
}

/// A wake-up asks, too: what comes after the end of a session is not told, though nobody has looked since.
#[tokio::test(start_paused = true)]
async fn nothing_is_told_to_who_may_not_know_it_any_more() {
    let log = Made::of_epoch(1);
    let (server, token, _) = over(&log, 9).await;
    let mut reader = Reader::open(&server, &token, "", None).await;
    reader.next().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    server.scene.world.change(|state| state.sessions.clear());
    log.append(USUAL, 1);
    let began = Instant::now();
    assert_eq!(reader.next().await, None);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_when_the_reader_goes_and_all_end_with_the_server() {
    let log = Made::of_epoch(1);
    log.append(USUAL, 900);
    let (server, token, streams) = over(&log, 2).await;
    let first = Reader::open(&server, &token, "?after=0", None).await;
    let mut quiet = Reader::open(&server, &token, "", None).await;
    quiet.next().await.unwrap();
    drop((first, quiet));
    assert_eq!(free(&streams, 2).await, 2);
    let last = Reader::open(&server, &token, "", None).await;
    streams.stop();
    assert!(last.end().await < Duration::from_secs(1));
    streams.shut_down().await;
    assert_eq!(streams.free(), 2);
    let late = Reader::open(&server, &token, "?after=0", None).await;
    assert!(late.end().await < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_loses_the_place_and_who_is_slow_keeps_it() {
    let log = Made::of_epoch(1);
    log.append(USUAL, 900);
    let (server, token, streams) = over(&log, 2).await;
    let asleep = Reader::open(&server, &token, "?after=0", None).await;
    let mut slow = Reader::open(&server, &token, "?after=0", None).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(110)).await;
        slow.events(1).await;
    }
    assert_eq!(streams.free(), 1);
    assert!(asleep.end().await < Duration::from_secs(1), "it was let go");
    slow.events(800).await;
}

#[tokio::test(start_paused = true)]
async fn one_caller_leaves_places_for_others() {
    let log = Made::of_epoch(1);
    let (server, token, streams) = over(&log, 64).await;
    let mut own = Vec::new();
    for _ in 0..8 {
        own.push(Reader::open(&server, &token, "", None).await);
    }
    let refused = server
        .send(get("/api/v1/events/stream").token(&token))
        .await;
    assert_eq!(refused.problem(), (503, "busy".to_owned()));
    assert_eq!(refused.header("retry-after"), "10");
    assert_eq!(streams.free(), 56);
    let other = streams.open(Uuid::from_u128(7), std::future::pending());
    assert_eq!((other.is_ok(), streams.free()), (true, 55));
    own.pop();
    assert_eq!(free(&streams, 56).await, 56);
    drop(Reader::open(&server, &token, "", None).await);
    drop(own);
    assert_eq!(free(&streams, 63).await, 63);
}

/// Waits until so many places are free.
async fn free(streams: &Streams, wanted: usize) -> usize {
    for _ in 0..100 {
        if streams.free() >= wanted {
            break;
        }
        tokio::task::yield_now().await;
    }
    streams.free()
}

#[tokio::test(start_paused = true)]
async fn a_stream_does_not_jump_over_what_was_cut_away() {
    let log = Made::of_epoch(1);
    log.append(USUAL, 600);
    let (server, token, _) = over(&log, 9).await;
    let mut reader = Reader::open(&server, &token, "?after=1", None).await;
    reader.events(1).await;
    log.cut(400);
    let (mut last, mut count) = (0, 1);
    while let Some(frame) = reader.next().await {
        last = frame.data["position"].as_u64().unwrap();
        count += 1;
    }
    assert_eq!(
        (count, last),
        (250, 251),
        "the page that it had, and not the next one"
    );
}
