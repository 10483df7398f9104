//! Requests at a rate that does not ask how fast they are answered, as they come from many people who know nothing of each
//! other: through a proxy, each with the address it comes from.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use super::imported;
use crate::client::Call;
use crate::{Client, PASSWORD, Reply};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Login,
    Refresh,
    Reset,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Login, Self::Refresh, Self::Reset];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Refresh => "refresh",
            Self::Reset => "reset request",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Login => "/api/v1/sessions",
            Self::Refresh => "/api/v1/tokens",
            Self::Reset => "/api/v1/password-reset-requests",
        }
    }
}

/// Where requests come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sources {
    /// So many that none of them meets its limit.
    Everywhere,
    /// Every other request comes from a handful, which meet theirs at once.
    HalfFromFew,
}

/// Before who was refused asks again, where all ask as often as they are answered.
const PAUSE: Duration = Duration::from_millis(100);

/// Addresses of the handful.
const FEW: u64 = 64;

/// What became of the requests of one kind. Times in milliseconds, from the sending on.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) admitted: Vec<f32>,
    pub(super) refused: Vec<f32>,
    /// Refusals that do not say when to come again.
    pub(super) bare: u64,
    /// What else came, or why nothing did.
    pub(super) failed: BTreeMap<String, u64>,
    /// Not even sent: this side had no connection or no token to send it with.
    pub(super) unsent: u64,
}

/// What became of all of them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) of: [Answers; 3],
    /// By how much requests were sent later than they should have been: the fault of this side.
    pub(super) late: Vec<f32>,
}

/// A refresh token and the device that holds it.
struct Chain {
    token: String,
    device: String,
}

/// Those who ask, and what they have to ask with.
pub(super) struct People {
    /// As a proxy names the server.
    host: String,
    emails: Vec<String>,
    devices: Vec<String>,
    chains: Mutex<VecDeque<Chain>>,
    /// Those that were used last are used first, as a proxy does.
    connections: Mutex<Vec<Client>>,
    tally: Mutex<Tally>,
    random: AtomicU64,
}

impl People {
    /// Signs these imported people in, each on a device of their own.
    pub(super) async fn sign_in(
        address: SocketAddr,
        numbers: impl Iterator<Item = usize>,
        connections: usize,
    ) -> Arc<Self> {
        let connections = (0..connections).map(|_| Client::new(address)).collect();
        let mut all = Self {
            host: format!("localhost:{}", address.port()),
            emails: numbers.map(imported::email).collect(),
            devices: Vec::new(),
            chains: Mutex::default(),
            connections: Mutex::new(connections),
            tally: Mutex::default(),
            random: AtomicU64::new(0x9e37_79b9_7f4a_7c15),
        };
        let mut client = Client::new(address);
        for email in all.emails.clone() {
            let body = format!(r#"{{"email":"{email}","password":"{PASSWORD}"}}"#);
            let reply = all
                .call(&mut client, Kind::Login, Sources::Everywhere, body)
                .await;
            let tokens = reply.expect("an answer").expect(200).json();
            let device = text(&tokens, "device_token");
            all.devices.push(device.clone());
            // Whoever signs in again and again loses the oldest session: half of them does that, the other half refreshes.
            if all.devices.len().is_multiple_of(2) {
                locked(&all.chains).push_back(Chain {
                    token: text(&tokens, "refresh_token"),
                    device,
                });
            }
        }
        Arc::new(all)
    }

    /// What was tallied since this was last asked.
    pub(super) fn tally(&self) -> Tally {
        std::mem::take(&mut *locked(&self.tally))
    }

    /// Asks again as soon as there is an answer, so many at once: how many are admitted a second, and what became of all.
    pub(super) async fn capacity(
        self: &Arc<Self>,
        kind: Kind,
        at_once: usize,
        time: Duration,
    ) -> (f64, Answers) {
        self.tally();
        let began = Instant::now();
        let mut asking = JoinSet::new();
        for _ in 0..at_once {
            let all = Arc::clone(self);
            asking.spawn(async move {
                while began.elapsed() < time {
                    // Who is refused and asks again at once would be a storm of its own.
                    if !all.ask(kind, Sources::Everywhere).await {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            });
        }
        asking.join_all().await;
        let took = began.elapsed();
        let answers = std::mem::take(&mut self.tally().of[kind as usize]);
        let rate = answers.admitted.len() as f64 / took.as_secs_f64();
        (rate, answers)
    }

    /// Asks at these rates a second, whatever the answers, until the time is over.
    pub(super) async fn blow(self: &Arc<Self>, rates: [f64; 3], sources: Sources, time: Duration) {
        let mut winds = JoinSet::new();
        for (kind, rate) in Kind::ALL.into_iter().zip(rates) {
            winds.spawn(Arc::clone(self).wind(kind, rate, sources, time));
        }
        winds.join_all().await;
    }

    async fn wind(self: Arc<Self>, kind: Kind, rate: f64, sources: Sources, time: Duration) {
        let mut under_way = JoinSet::new();
        let mut due = tokio::time::Instant::now();
        let end = due + time;
        while due < end {
            tokio::time::sleep_until(due).await;
            let late = due.elapsed();
            locked(&self.tally).late.push(ms(late));
            let all = Arc::clone(&self);
            under_way.spawn(async move {
                all.ask(kind, sources).await;
            });
            while under_way.try_join_next().is_some() {}
            // People do not wait for each other: the time between two of them has the exponential distribution.
            let wait = -(1.0 - self.fraction()).ln() / rate;
            due += Duration::from_secs_f64(wait);
        }
        // What is under way is answered in the time of what follows.
        under_way.detach_all();
    }

    /// Whether it was let in.
    async fn ask(&self, kind: Kind, sources: Sources) -> bool {
        let Some(mut client) = locked(&self.connections).pop() else {
            locked(&self.tally).of[kind as usize].unsent += 1;
            return false;
        };
        let let_in = self.ask_on(&mut client, kind, sources).await;
        locked(&self.connections).push(client);
        let_in
    }

    async fn ask_on(&self, client: &mut Client, kind: Kind, sources: Sources) -> bool {
        let who = usize::try_from(self.random() >> 1).unwrap_or(0) % self.emails.len();
        let mut chain = None;
        let body = match kind {
            Kind::Login => {
                let who = who & !1;
                let (email, device) = (&self.emails[who], &self.devices[who]);
                format!(
                    r#"{{"email":"{email}","password":"{PASSWORD}","device_token":"{device}"}}"#
                )
            }
            Kind::Refresh => {
                let Some(Chain { token, device }) = locked(&self.chains).pop_front() else {
                    locked(&self.tally).of[kind as usize].unsent += 1;
                    return false;
                };
                let body = format!(r#"{{"refresh_token":"{token}","device_token":"{device}"}}"#);
                chain = Some(Chain { token, device });
                body
            }
            // Hardly anybody has three letters an hour: most of a flood is about people who are not there.
            Kind::Reset if self.random().is_multiple_of(16) => {
                format!(r#"{{"email":"{}"}}"#, self.emails[who])
            }
            Kind::Reset => format!(r#"{{"email":"nobody{}@example.org"}}"#, self.random()),
        };
        let began = Instant::now();
        let reply = self.call(client, kind, sources, body).await;
        let took = ms(began.elapsed());
        let mut tally = locked(&self.tally);
        let answers = &mut tally.of[kind as usize];
        let (mut let_in, mut is_lost) = (false, false);
        match reply {
            Ok(reply) if reply.status < 300 => {
                let_in = true;
                answers.admitted.push(took);
                if let Some(chain) = &mut chain {
                    chain.token = text(&reply.json(), "refresh_token");
                }
            }
            Ok(reply) if matches!(reply.status, 429 | 503) => {
                answers.refused.push(took);
                answers.bare += u64::from(reply.header("retry-after").is_none());
            }
            Ok(reply) => {
                is_lost = true;
                let what = format!("{} {}", reply.status, reply.code());
                *answers.failed.entry(what).or_default() += 1;
            }
            Err(error) => *answers.failed.entry(error.kind().to_string()).or_default() += 1,
        }
        drop(tally);
        if let Some(chain) = chain.filter(|_| !is_lost) {
            locked(&self.chains).push_back(chain);
        }
        let_in
    }

    async fn call(
        &self,
        client: &mut Client,
        kind: Kind,
        sources: Sources,
        body: String,
    ) -> std::io::Result<Reply> {
        let random = self.random();
        let [_, a, b, c, few, ..] = random.to_be_bytes();
        let source = match sources {
            Sources::HalfFromFew if few % 2 == 0 => Ipv4Addr::new(172, 16, 0, (random % FEW) as u8),
            Sources::HalfFromFew | Sources::Everywhere => Ipv4Addr::new(10, a, b, c),
        };
        let call = Call {
            method: "POST",
            path: kind.path(),
            body: Some(body.into_bytes()),
            headers: vec![
                ("host", self.host.clone()),
                ("x-forwarded-for", source.to_string()),
            ],
            ..Call::default()
        };
        client.call(&call).await
    }

    /// Splitmix64: seeded, so that a run can be repeated.
    fn random(&self) -> u64 {
        let mut z = self
            .random
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least 0 and less than 1.
    fn fraction(&self) -> f64 {
        (self.random() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The time within which this part of them was answered.
pub(super) fn quantile(times: &[f32], part: f64) -> f32 {
    let mut times = times.to_vec();
    times.sort_unstable_by(f32::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is from 0 to their number"
    )]
    let at = (times.len() as f64 * part).ceil() as usize;
    times.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(tokens: &Value, name: &str) -> String {
    tokens[name].as_str().expect("it is there").to_owned()
}

#[expect(clippy::cast_possible_truncation, reason = "a figure, not an account")]
fn ms(time: Duration) -> f32 {
    (time.as_secs_f64() * 1_000.0) as f32
}
