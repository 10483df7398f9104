//! Which of the servers that the URL names is the primary.
//!
//! **Cast.** [`Servers`] are tried one after the other: the first that lets us in, is what this program needs and takes writes is
//! the one. A primary that was promoted writes its log under a higher number than the one before, its *timeline*.
//!
//! **Guarantees.** A connection is to a server that took writes when it was made. Once somebody is connected to a timeline nobody
//! is to an older one any more, also where an old primary is back, or was only frozen: see [`Servers::are_past`].
//!
//! **Not guaranteed.** Anything of an old primary that a program which has never seen the new one is led to: to keep it down is
//! for who promotes. Where commits wait for a standby it acknowledges none, for it has none.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, Connection, Error, SimpleQueryMessage, Socket};

use crate::failure;
use crate::way::{Stream, Way, unprotected};

/// The oldest server that is tested.
const OLDEST: u32 = 150_000;

/// How long one server may take to answer the first question, of which 3 s are for the connection.
const IN_TIME: Duration = Duration::from_secs(5);

/// Of a server that does not answer any more, over TCP: when the connection counts as broken.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// Between two signs of life that are asked for, of a connection that has nothing to say.
const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// libpq's, which is for connections that nobody waits for.
const TWO_HOURS: Duration = Duration::from_hours(2);

/// What a server says of itself. A standby has no log of its own to name a timeline.
const QUESTION: &str = "SELECT current_setting('server_version_num'), current_setting('server_version'), \
    current_setting('server_encoding'), current_setting('transaction_read_only'), \
    CASE WHEN pg_is_in_recovery() THEN NULL ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END";

pub(crate) struct Servers {
    /// To each a way of its own.
    each: Vec<Way>,
    /// The highest timeline that was seen.
    newest: AtomicU32,
}

/// A connection to the primary, which the caller drives.
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) connection: Connection<Socket, Stream>,
    pub(crate) timeline: u32,
}

/// Why none of them will do: what is said of several is the most telling.
#[derive(Debug)]
pub(crate) enum NotIn {
    Unreachable(Error),
    /// It let us connect and did not say more.
    Silent,
    /// Another has taken over from it.
    Past,
    Standby,
    Refused(Error),
    Encoding(String),
    Old(String),
}

impl NotIn {
    fn weight(&self) -> u8 {
        match self {
            Self::Unreachable(error) if unprotected(error).is_some() => 4,
            Self::Unreachable(_) => 0,
            Self::Silent => 1,
            Self::Past => 2,
            Self::Standby => 3,
            Self::Refused(_) => 4,
            Self::Encoding(_) => 5,
            Self::Old(_) => 6,
        }
    }
}

impl From<Error> for NotIn {
    fn from(error: Error) -> Self {
        match error.as_db_error() {
            Some(_) => Self::Refused(error),
            None => Self::Unreachable(error),
        }
    }
}

impl fmt::Display for NotIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) | Self::Refused(error) => {
                f.write_str(&failure::describe(error))
            }
            Self::Silent => f.write_str("the server does not answer"),
            Self::Past => f.write_str("the server was a primary, and another has taken over"),
            Self::Standby => f.write_str("the server takes no writes"),
            Self::Encoding(found) => write!(f, "the database is encoded in {found}"),
            Self::Old(found) => write!(f, "the server is version {found}"),
        }
    }
}

impl Servers {
    pub(crate) fn of(way: &Way) -> Self {
        let each = each(&way.config).into_iter();
        Self {
            each: each.map(|config| way.to(config)).collect(),
            newest: AtomicU32::new(0),
        }
    }

    pub(crate) async fn connect(&self) -> Result<Connected, NotIn> {
        let mut whys = Vec::new();
        for one in &self.each {
            let entering = tokio::time::timeout(IN_TIME, enter(one));
            let entered = entering.await.unwrap_or(Err(NotIn::Silent));
            match entered {
                Ok(connected) if self.are_past(connected.timeline) => whys.push(NotIn::Past),
                Ok(connected) => {
                    let timeline = connected.timeline;
                    self.newest.fetch_max(timeline, Ordering::SeqCst);
                    return Ok(connected);
                }
                Err(why) => whys.push(why),
            }
        }
        let most_telling = whys.into_iter().max_by_key(NotIn::weight);
        Err(most_telling.unwrap_or(NotIn::Silent))
    }

    /// Whether a connection of this timeline is to a server that another has taken over from.
    pub(crate) fn are_past(&self, timeline: u32) -> bool {
        timeline < self.newest.load(Ordering::SeqCst)
    }
}

/// Connects, and asks whether it is what we need.
async fn enter(way: &Way) -> Result<Connected, NotIn> {
    let (client, mut connection) = way.connect().await?;
    let said = {
        let mut asking = pin!(client.simple_query(QUESTION));
        tokio::select! {
            biased;
            said = &mut asking => said?,
            ended = &mut connection => {
                ended?;
                asking.await?
            }
        }
    };
    let timeline = judge(&said)?;
    Ok(Connected {
        client,
        connection,
        timeline,
    })
}

/// The timeline of one that will do.
fn judge(said: &[SimpleQueryMessage]) -> Result<u32, NotIn> {
    let row = said.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let said = |at| row.and_then(|row| row.get(at));
    judge_columns([said(0), said(1), said(2), said(3), said(4)])
}

fn judge_columns(
    [number, version, encoding, read_only, timeline]: [Option<&str>; 5],
) -> Result<u32, NotIn> {
    let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
    if number
        .and_then(|number| number.parse().ok())
        .is_none_or(|number: u32| number < OLDEST)
    {
        return Err(NotIn::Old(owned(version)));
    }
    if encoding != Some("UTF8") {
        return Err(NotIn::Encoding(owned(encoding)));
    }
    let timeline = timeline.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match timeline {
        Some(timeline) if read_only == Some("off") => Ok(timeline),
        _ => Err(NotIn::Standby),
    }
}

/// For each server that a configuration names one that names it alone. A server that is gone without a word is noticed in
/// seconds, unless the configuration says otherwise.
fn each(config: &Config) -> Vec<Config> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let count = hosts.len().max(addresses.len());
    (0..count)
        .map(|at| {
            let mut one = without_hosts(config);
            match hosts.get(at) {
                Some(Host::Tcp(name)) => {
                    one.host(name);
                }
                Some(Host::Unix(path)) => {
                    one.host_path(path);
                }
                None => {}
            }
            if let Some(address) = addresses.get(at) {
                one.hostaddr(*address);
            }
            let ports = config.get_ports();
            if let Some(port) = ports.get(at).or_else(|| ports.first()) {
                one.port(*port);
            }
            one
        })
        .collect()
}

fn without_hosts(config: &Config) -> Config {
    let mut one = Config::new();
    one.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .channel_binding(config.get_channel_binding())
        .keepalives(config.get_keepalives())
        .keepalives_interval(config.get_keepalives_interval().unwrap_or(ALIVE_EVERY))
        .keepalives_retries(config.get_keepalives_retries().unwrap_or(3))
        .tcp_user_timeout(config.get_tcp_user_timeout().copied().unwrap_or(GONE_AFTER));
    let idle = config.get_keepalives_idle();
    one.keepalives_idle(if idle == TWO_HOURS { GONE_AFTER } else { idle });
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(name) = config.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    if let Some(time) = config.get_connect_timeout() {
        one.connect_timeout(*time);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_must_be_new_enough_speak_utf8_and_take_writes() {
        let said = |number, encoding, read_only, timeline| {
            let judged = judge_columns([
                Some(number),
                Some("14.9"),
                Some(encoding),
                Some(read_only),
                timeline,
            ]);
            judged.map_err(|why| why.to_string())
        };
        assert_eq!(said("150000", "UTF8", "off", Some("0000001F")), Ok(31));
        let old = said("140009", "UTF8", "off", Some("00000001"));
        assert!(old.unwrap_err().contains("14.9"));
        let latin = said("150000", "LATIN1", "off", Some("00000001"));
        assert!(latin.unwrap_err().contains("LATIN1"));
        let no_writes = Err("the server takes no writes".to_owned());
        assert_eq!(said("150000", "UTF8", "on", None), no_writes);
        assert_eq!(said("150000", "UTF8", "on", Some("00000001")), no_writes);
    }

    #[test]
    fn each_server_has_a_configuration_of_its_own() {
        let url = "postgres://u:p@one:5433,two/d?target_session_attrs=read-write&tcp_user_timeout=7&options=-c%20x";
        let config: Config = url.parse().unwrap();
        let each = each(&config);
        let shown: Vec<_> = each
            .iter()
            .map(|one| (one.get_hosts().len(), one.get_ports(), one.get_password()))
            .collect();
        let password = Some(&b"p"[..]);
        assert_eq!(
            shown,
            [(1, &[5433][..], password), (1, &[5432][..], password)]
        );
        let last = &each[1];
        assert_eq!(last.get_tcp_user_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(last.get_keepalives_idle(), GONE_AFTER);
        assert_eq!((last.get_user(), last.get_dbname()), (Some("u"), Some("d")));
        assert_eq!(last.get_options(), Some("-c x"));
    }

    #[test]
    fn who_was_left_behind_is_told_apart() {
        let url = "postgres://one,two/d?sslmode=disable";
        let servers = Servers::of(&Way::new(url.parse().unwrap(), None).unwrap());
        assert!(!servers.are_past(1));
        servers.newest.fetch_max(2, Ordering::SeqCst);
        assert!(servers.are_past(1) && !servers.are_past(2));
    }
}
