//! As fast with a million accounts as with a thousand: two servers that differ in nothing else are asked in turn, by as many
//! people each, who are spread over all accounts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::imported::{self, Import};
use super::people::{Answers, Kind, People, quantile};
use crate::Server;

/// Accounts of the other server.
const FEW: usize = 1_000;

/// People of each server who do anything.
const ACTIVE: usize = 256;

/// What is asked, by how many at once.
const ASKED: [(Kind, usize); 2] = [(Kind::Login, 8), (Kind::Refresh, 32)];

/// How often the servers take turns.
const TURNS: usize = 7;

/// More memory than before the import, at its most.
const IMPORT_KIB: u64 = 256 * 1_024;

/// With many accounts against with few, in the median of all turns.
#[derive(Debug)]
struct Seen {
    kind: Kind,
    /// A second, with few and with many.
    rates: (f64, f64),
    medians_ms: (f64, f64),
    p99_ms: (f64, f64),
    rate: f64,
    median: f64,
}

/// What was seen.
#[derive(Debug)]
pub struct Figures {
    users: usize,
    import: Import,
    of: Vec<Seen>,
}

impl Figures {
    /// Everything is within this part of what it is with few accounts, and the import held no more than it may.
    pub fn hold(&self, part: f64) -> bool {
        let grown_kib = self
            .import
            .highest_kib
            .saturating_sub(self.import.before_kib);
        let near = |seen: &Seen| seen.rate >= 1.0 - part && seen.median <= 1.0 + part;
        self.of.iter().all(near) && grown_kib <= IMPORT_KIB
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Import {
            took,
            highest_kib,
            before_kib,
        } = self.import;
        write!(
            f,
            "{} accounts imported in {:.1} s ({:.0}/s), from {} to at most {} MiB resident; against {FEW} accounts:",
            self.users,
            took.as_secs_f64(),
            self.users as f64 / took.as_secs_f64(),
            before_kib / 1_024,
            highest_kib / 1_024
        )?;
        for it in &self.of {
            write!(
                f,
                "\n  {}: {:.0}/s ({:.0}/s with few, ratio {:.3}), median {:.2} ms ({:.2} ms, ratio {:.3}), p99 {:.2} ms ({:.2} ms)",
                it.kind.name(),
                it.rates.1,
                it.rates.0,
                it.rate,
                it.medians_ms.1,
                it.medians_ms.0,
                it.median,
                it.p99_ms.1,
                it.p99_ms.0
            )?;
        }
        Ok(())
    }
}

/// So many accounts in `many` and a thousand in `few`, which are new; each turn takes so long.
pub async fn run(few: &Server, many: &Server, users: usize, turn: Duration) -> Figures {
    imported::import(few, 0..FEW).await;
    let import = imported::import(many, 0..users).await;
    let with_few = sign_in(few, FEW).await;
    let with_many = sign_in(many, users).await;
    let mut of = Vec::new();
    for (kind, at_once) in ASKED {
        let mut turns = Vec::new();
        for number in 0..TURNS {
            // What one leaves on the disk must not always fall into the other's time.
            let mut sides = [&with_few, &with_many];
            if number % 2 == 1 {
                sides.reverse();
            }
            let [first, second] = sides;
            let first = first.capacity(kind, at_once, turn).await;
            let second = second.capacity(kind, at_once, turn).await;
            turns.push(if number % 2 == 1 {
                (second, first)
            } else {
                (first, second)
            });
        }
        of.push(seen(kind, &turns));
    }
    Figures { users, import, of }
}

/// Every so-manieth of them.
async fn sign_in(server: &Server, users: usize) -> Arc<People> {
    let numbers = (0..ACTIVE).map(|number| number * (users / ACTIVE));
    People::sign_in(server.address, numbers, ASKED[1].1).await
}

type Turn = (f64, Answers);

fn seen(kind: Kind, turns: &[(Turn, Turn)]) -> Seen {
    let of = |value: &dyn Fn(&Turn) -> f64| {
        let few = middle(turns.iter().map(|(few, _)| value(few)));
        let many = middle(turns.iter().map(|(_, many)| value(many)));
        let ratio = middle(turns.iter().map(|(few, many)| value(many) / value(few)));
        ((few, many), ratio)
    };
    let ms = |part: f64| move |turn: &Turn| f64::from(quantile(&turn.1.admitted, part));
    let (rates, rate) = of(&|turn| turn.0);
    let (medians_ms, median) = of(&ms(0.5));
    let (p99_ms, _) = of(&ms(0.99));
    Seen {
        kind,
        rates,
        medians_ms,
        p99_ms,
        rate,
        median,
    }
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
