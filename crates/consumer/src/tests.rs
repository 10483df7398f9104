//! The rule, against streams that lose, repeat and hold back as a seed says.

use std::collections::{HashMap, VecDeque};

use serde_json::json;

use crate::{Cursor, CursorStore as _, Event, FileStore, Verdict};

const SHARDS: u64 = 3;
const EVENTS: u64 = 300;

/// `SplitMix64`.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

fn message(position: u64, previous: u64, epoch: u64) -> (Event, Option<u64>) {
    let json = json!({
        "id": position.to_string(), "type": "any", "partitionkey": "key",
        "pos": position.to_string(), "prevpos": previous.to_string(), "epoch": epoch.to_string(), "data": {},
    });
    Event::read(json).unwrap()
}

/// A consumer without anything around it, which ends and goes on from its cursor at times.
fn run(seed: u64) {
    let mut rng = Rng(seed);
    let shard_of: Vec<u64> = (0..=EVENTS).map(|_| rng.below(SHARDS)).collect();
    let shard = |position: u64| shard_of[usize::try_from(position).unwrap()];
    // What the broker has of each stream: some are lost, some come twice.
    let mut streams: HashMap<u64, VecDeque<(u64, u64)>> = HashMap::new();
    let mut last = HashMap::new();
    let mut published = 0;
    let mut cursor = Cursor::at(1, 0);
    let mut handled: Vec<u64> = Vec::new();
    while cursor.position < EVENTS {
        let mut read_log = false;
        match rng.below(10) {
            0..4 if published < EVENTS => {
                published += 1;
                let previous = last.insert(shard(published), published).unwrap_or(0);
                let stream = streams.entry(shard(published)).or_default();
                for _ in 0..[0, 1, 1, 1, 1, 2][usize::try_from(rng.below(6)).unwrap()] {
                    stream.push_back((published, previous));
                }
            }
            4..9 => {
                let stream = streams.entry(rng.below(SHARDS)).or_default();
                if let Some(&(position, previous)) = stream.front() {
                    let (event, previous) = message(position, previous, 1);
                    match cursor.judge(&event, previous.unwrap()) {
                        Verdict::Take => {
                            handled.push(position);
                            cursor.handled(position);
                            stream.pop_front();
                        }
                        Verdict::Drop => {
                            stream.pop_front();
                        }
                        Verdict::ReadLog => read_log = true,
                    }
                }
            }
            _ => {
                read_log = published == EVENTS;
                cursor = cursor.to_string().parse().unwrap();
            }
        }
        if read_log {
            for position in cursor.position + 1..=published {
                if !cursor.has(position) {
                    handled.push(position);
                }
                cursor.handled_up_to(position);
            }
        }
    }
    let mut sorted = handled.clone();
    sorted.sort_unstable();
    let all: Vec<u64> = (1..=EVENTS).collect();
    assert_eq!(sorted, all, "seed {seed}: each once");
    for one in 0..SHARDS {
        let of_shard = handled.iter().filter(|position| shard(**position) == one);
        assert!(of_shard.is_sorted(), "seed {seed}: in order");
    }
}

#[test]
fn nothing_is_lost_doubled_or_reordered_by_streams_that_lose_and_repeat() {
    (0..2_000).for_each(run);
}

#[test]
fn a_message_is_judged_by_what_comes_before_it() {
    let mut cursor = Cursor::at(2, 10);
    cursor.handled(12);
    for (position, previous, epoch, verdict) in [
        (11, 9, 2, Verdict::Take),
        (13, 12, 2, Verdict::Take),
        (13, 10, 2, Verdict::Take),
        (13, 11, 2, Verdict::ReadLog),
        (14, 13, 2, Verdict::ReadLog),
        (12, 10, 2, Verdict::Drop),
        (10, 9, 2, Verdict::Drop),
        (11, 9, 1, Verdict::Drop),
        (11, 9, 3, Verdict::ReadLog),
    ] {
        let (event, previous) = message(position, previous, epoch);
        assert_eq!(
            cursor.judge(&event, previous.unwrap()),
            verdict,
            "{position} after {previous:?}"
        );
    }
}

#[test]
fn what_is_ahead_is_bounded_and_settles() {
    let mut cursor = Cursor::at(1, 0);
    for position in 2..=10_001 {
        cursor.handled(position);
    }
    let (event, _) = message(10_002, 10_001, 1);
    assert_eq!(cursor.judge(&event, 10_001), Verdict::ReadLog);
    cursor.handled_up_to(1);
    assert_eq!(cursor, Cursor::at(1, 10_001));
    assert_eq!("1 2 3 5".parse::<Cursor>().unwrap().to_string(), "1 3 5");
    for text in ["", "1", "1 x", "1 2 x"] {
        assert!(text.parse::<Cursor>().is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_file_keeps_the_cursor() {
    let directory = std::env::temp_dir().join(format!("qv-consumer-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("cursor");
    let mut store = FileStore::new(&path);
    assert_eq!(store.load().await.unwrap(), None);
    store.save(&Cursor::at(1, 7)).await.unwrap();
    store.save(&Cursor::at(1, 8)).await.unwrap();
    assert_eq!(
        FileStore::new(&path).load().await.unwrap(),
        Some(Cursor::at(1, 8))
    );
    std::fs::write(&path, "not a cursor").unwrap();
    assert!(store.load().await.is_err());
    std::fs::remove_dir_all(directory).unwrap();
}
