//! Receivers of webhooks that mean no good must not delay the others: the time from an event to its receipt, at a steady
//! rate, alone and beside them, in turns.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::{Act, Receiver, Server};

/// Between two events.
const PACE: Duration = Duration::from_millis(10);
/// Events are in order within each of so many keys.
const KEYS: usize = 8;
/// Longer than anything may take that is well.
const PATIENCE: Duration = Duration::from_secs(30);

const WELL: [&str; 4] = ["/well/1", "/well/2", "/well/3", "/well/4"];

/// Where they are, and what they do with each message.
fn hostile() -> [(&'static str, Act); 8] {
    [
        ("/fails", Act::Answer(500)),
        ("/hangs", Act::Hang),
        (
            "/moved",
            Act::AnswerWith(301, "location: http://127.0.0.1/".to_owned()),
        ),
        ("/gone", Act::Answer(410)),
        ("/busy", Act::AnswerWith(429, "retry-after: 1".to_owned())),
        ("/pours", Act::Pour),
        ("/drips", Act::Drip),
        ("/resets", Act::Reset),
    ]
}

/// How late 99 of 100 messages to those that are well were, at most, in the middle one of the rounds: a disk that halts for
/// a moment moves the p99 of one round by more than all that is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub messages: usize,
    pub alone: Duration,
    pub beside: Duration,
    /// Of all rounds taken as one, alone and beside.
    pub overall: [Duration; 2],
}

impl Figures {
    pub fn ratio(&self) -> f64 {
        self.beside.as_secs_f64() / self.alone.as_secs_f64()
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        write!(
            f,
            "{} messages to {} receivers, each in order; p99 from event to receipt, median of rounds, {:.2} ms alone, \
             {:.2} ms beside {} that mean no good, ratio {:.3}; of all rounds as one {:.2} and {:.2} ms",
            self.messages,
            WELL.len(),
            ms(self.alone),
            ms(self.beside),
            hostile().len(),
            self.ratio(),
            ms(self.overall[0]),
            ms(self.overall[1]),
        )
    }
}

/// Raises `events` events without and as many with hostile receivers, so many times. The server must be allowed to call
/// this machine. Panics when somebody who is well misses an event, or gets one out of order.
pub async fn run(server: &Server, rounds: usize, events: usize) -> Figures {
    let mut field = Field::start(server).await;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Neither is always the first.
        for with_hostile in [round % 2 == 1, round % 2 == 0] {
            let ids = if with_hostile {
                field.register_hostile().await
            } else {
                Vec::new()
            };
            let numbers = field.raise(events).await;
            if with_hostile {
                beside.push(numbers);
            } else {
                alone.push(numbers);
            }
            field.remove(&ids).await;
        }
    }
    let latencies = field.latencies();
    let median = |phases: &[Range<usize>]| {
        let p99s = phases.iter().map(|phase| p99(&latencies[phase.clone()]));
        let mut p99s: Vec<_> = p99s.collect();
        p99s.sort_unstable();
        p99s[p99s.len() / 2]
    };
    let overall = |phases: &[Range<usize>]| {
        let times = phases.iter().flat_map(|phase| &latencies[phase.clone()]);
        p99(&times.cloned().collect::<Vec<_>>())
    };
    Figures {
        messages: latencies.iter().map(Vec::len).sum(),
        alone: median(&alone),
        beside: median(&beside),
        overall: [overall(&alone), overall(&beside)],
    }
}

/// How late 99 of 100 of these messages were at most.
fn p99(latencies: &[Vec<Duration>]) -> Duration {
    let mut times = latencies.concat();
    times.sort_unstable();
    times[(times.len() * 99).div_ceil(100) - 1]
}

struct Field<'a> {
    server: &'a Server,
    admin: String,
    /// What events are appended with.
    key: String,
    well: Receiver,
    hostile: Receiver,
    /// When each event was handed over.
    raised: Vec<Instant>,
}

impl<'a> Field<'a> {
    async fn start(server: &'a Server) -> Self {
        let admin = server.administrator().await;
        let schema = json!({"type": "object", "required": ["number"], "properties": {"number": {"type": "integer"}}});
        let registration = json!({"type": "custom.counted", "version": 1, "schema": schema});
        let asked = json!({"name": "field", "scopes": ["events.write"]});
        let mut field = Self {
            server,
            admin,
            key: String::new(),
            well: Receiver::start().await,
            hostile: Receiver::start().await,
            raised: Vec::new(),
        };
        field.make("/admin/schemas", registration).await;
        let key = field.make("/admin/api-keys", asked).await;
        field.key = key["key"].as_str().expect("a key").to_owned();
        for path in WELL {
            field.register(field.well.url(path)).await;
        }
        field
    }

    async fn make(&self, path: &str, body: Value) -> Value {
        let admin = Some(self.admin.as_str());
        let made = self.server.api("POST", path, Some(body), admin).await;
        made.expect(201).json()
    }

    async fn register(&self, url: String) -> String {
        let endpoint = json!({"url": url, "events": ["custom.*"], "order": "key"});
        let made = self.make("/admin/webhooks", endpoint).await;
        made["id"].as_str().expect("an id").to_owned()
    }

    async fn register_hostile(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for (path, act) in hostile() {
            self.hostile.script(path, [act]);
            ids.push(self.register(self.hostile.url(path)).await);
        }
        ids
    }

    async fn remove(&self, ids: &[String]) {
        for id in ids {
            let path = format!("/admin/webhooks/{id}");
            let removed = self.server.api("DELETE", &path, None, Some(&self.admin));
            removed.await.expect(204);
        }
    }

    /// Raises so many events at a steady rate and waits until all who are well have them; their numbers.
    async fn raise(&mut self, events: usize) -> Range<usize> {
        let first = self.raised.len();
        let mut client = self.server.client();
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in first..first + events {
            pace.tick().await;
            let key = format!("key-{}", number % KEYS);
            let event = json!({"type": "custom.counted", "key": key, "data": {"number": number}});
            self.raised.push(Instant::now());
            let body = Some(json!([event]));
            let appended = client.api("POST", "/events", body, Some(&self.key)).await;
            appended.expect("an answer").expect(201);
        }
        let began = Instant::now();
        while WELL
            .iter()
            .any(|path| self.well.count(path) < self.raised.len())
        {
            assert!(began.elapsed() < PATIENCE, "{}", self.server.output());
            tokio::time::sleep(PACE).await;
        }
        first..first + events
    }

    /// By number, how late each receiver got it. Every one got all of each key in order, each once.
    fn latencies(&self) -> Vec<Vec<Duration>> {
        for (path, _) in hostile() {
            assert!(self.hostile.count(path) > 0, "{path} got nothing");
        }
        let mut latencies = vec![Vec::new(); self.raised.len()];
        for path in WELL {
            let mut keys: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for message in self.well.messages(path) {
                let number = message.json()["data"]["number"].as_u64();
                let number = usize::try_from(number.expect("a number")).expect("a small one");
                keys.entry(number % KEYS).or_default().push(number);
                latencies[number].push(message.at - self.raised[number]);
            }
            for (key, numbers) in keys {
                let all: Vec<_> = (key..self.raised.len()).step_by(KEYS).collect();
                assert_eq!(numbers, all, "{path}, key {key}");
            }
        }
        latencies
    }
}
