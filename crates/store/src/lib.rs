//! All SQL of the product, over an [`Executor`].
//!
//! **Cast.** [`Database`] implements every port of the product that keeps state, and the engine's log and cursors: one
//! file for each family. [`schema`] holds the tables, `rows` reads typed columns, [`Executor`] is what a backend must do.
//!
//! **Guarantees.** Every statement is a constant with `$1, $2, …`, numbered by first appearance, written for SQLite and
//! PostgreSQL alike; where they must differ, a named pair says why. Every write states how many rows it must touch, and
//! a guard is in the statement itself: an insert that finds its key taken does nothing and so misses, it raises no error.
//!
//! **Not here.** Transactions held open, clocks, ids, and any rule but the ones a guard must repeat.
//!
//! **To add state:** a migration in [`schema`], statements and their functions in the family's file, a check in the
//! testkit's `store_suite`.

use std::sync::Arc;

use quivive_app::ports::Read;
use quivive_delivery::{Fault, Value};

/// Declares the statements of one file, and lists them for the tests that look at every statement. Those that the databases
/// must be told in different words come last, as pairs.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)* $(@pairs $($(#[$about:meta])* $pair:ident = $sqlite:expr, $postgres:expr;)*)?) => {
        $($(#[$doc])* const $name: &str = $sql;)*
        $($($(#[$about])* const $pair: crate::Pair = crate::Pair { sqlite: $sqlite, postgres: $postgres };)*)?

        pub(crate) const STATEMENTS: &[(&str, crate::Pair)] = &[
            $((stringify!($name), crate::Pair { sqlite: $name, postgres: $name }),)*
            $($((stringify!($pair), $pair),)*)?
        ];
    };
}

mod accounts;
mod answers;
mod api_keys;
mod attempts;
mod custom_events;
pub mod executor;
mod guesses;
mod log;
mod meta;
mod nodes;
mod one_time;
mod processes;
mod profiles;
mod retention;
mod rows;
pub mod schema;
mod search;
mod sessions;
mod statistics;
mod subject_keys;
mod subscriptions;
mod webhooks;

pub use executor::{Dialect, Executor, Pair, Row};
pub use nodes::DEAD_AFTER;
pub use schema::{Migrated, Migration, POSTGRES_MIGRATIONS, SQLITE_MIGRATIONS};

use rows::Cells;

/// The state and the log, on one backend. Cloning shares it.
#[derive(Clone)]
pub struct Database {
    executor: Arc<dyn Executor>,
}

impl Database {
    /// The executor's database must have the newest schema (see [`schema`]).
    pub fn new(executor: Arc<dyn Executor>) -> Self {
        Self { executor }
    }

    /// What it runs on.
    pub fn executor(&self) -> &Arc<dyn Executor> {
        &self.executor
    }

    /// The statement in the words of this database.
    fn spoken(&self, pair: Pair) -> &'static str {
        pair.of(self.executor.dialect())
    }

    /// All rows of a statement.
    fn all<'a, T: Send + 'a>(
        &'a self,
        sql: &'static str,
        params: Vec<Value>,
        map: impl Fn(&mut Cells) -> Result<T, Fault> + Send + 'a,
    ) -> Read<'a, Vec<T>> {
        let rows = self.executor.query(sql, params);
        Box::pin(async move {
            let rows = rows.await?;
            rows.into_iter()
                .map(|row| map(&mut Cells::of(row)))
                .collect()
        })
    }

    /// The row of a statement that has one at most.
    fn one<'a, T: Send + 'a>(
        &'a self,
        sql: &'static str,
        params: Vec<Value>,
        map: impl FnOnce(&mut Cells) -> Result<T, Fault> + Send + 'a,
    ) -> Read<'a, Option<T>> {
        let rows = self.executor.query(sql, params);
        Box::pin(async move {
            let row = rows.await?.pop();
            row.map(|row| map(&mut Cells::of(row))).transpose()
        })
    }

    /// Whether a statement finds anything.
    fn any(&self, sql: &'static str, params: Vec<Value>) -> Read<'_, bool> {
        let rows = self.executor.query(sql, params);
        Box::pin(async move { Ok(!rows.await?.is_empty()) })
    }

    /// The row of a statement that always has exactly one: a count, or a row the schema itself put there.
    fn single<'a, T: Send + 'a>(
        &'a self,
        sql: &'static str,
        params: Vec<Value>,
        map: impl FnOnce(&mut Cells) -> Result<T, Fault> + Send + 'a,
    ) -> Read<'a, T> {
        let rows = self.executor.query(sql, params);
        Box::pin(async move {
            let row = rows.await?.pop();
            let row = row.ok_or_else(|| Fault::Internal(format!("no row from: {sql}")))?;
            map(&mut Cells::of(row))
        })
    }
}

/// Every statement of the product with the file and the name it has there: so that a test can prepare each one.
pub fn statements(
    dialect: Dialect,
) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let files = [
        ("accounts", accounts::STATEMENTS),
        ("answers", answers::STATEMENTS),
        ("api_keys", api_keys::STATEMENTS),
        ("attempts", attempts::STATEMENTS),
        ("custom_events", custom_events::STATEMENTS),
        ("guesses", guesses::STATEMENTS),
        ("log", log::STATEMENTS),
        ("meta", meta::STATEMENTS),
        ("nodes", nodes::STATEMENTS),
        ("one_time", one_time::STATEMENTS),
        ("processes", processes::STATEMENTS),
        ("profiles", profiles::STATEMENTS),
        ("retention", retention::STATEMENTS),
        ("search", search::STATEMENTS),
        ("sessions", sessions::STATEMENTS),
        ("statistics", statistics::STATEMENTS),
        ("subject_keys", subject_keys::STATEMENTS),
        ("subscriptions", subscriptions::STATEMENTS),
        ("webhooks", webhooks::STATEMENTS),
    ];
    files.into_iter().flat_map(move |(file, list)| {
        let spoken = move |(name, pair): &(&'static str, Pair)| (file, *name, pair.of(dialect));
        list.iter().map(spoken)
    })
}

/// A position or an epoch as a parameter. Beyond what a column can hold there is nothing.
fn int(number: impl TryInto<i64>) -> Value {
    Value::Int(number.try_into().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    /// How many parameters a statement names, when they are numbered by first appearance.
    fn numbered(sql: &str) -> Result<u32, String> {
        let mut highest = 0;
        for part in sql.split('$').skip(1) {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            let number: u32 = digits.parse().map_err(|_| format!("${part}"))?;
            if number > highest + 1 || number == 0 {
                return Err(format!("${number} comes before ${}", highest + 1));
            }
            highest = highest.max(number);
        }
        Ok(highest)
    }

    /// So that a backend that counts parameters as it meets them (SQLite) and one that goes by the number agree.
    #[test]
    fn every_statement_numbers_its_parameters_by_first_appearance() {
        for dialect in [super::Dialect::Sqlite, super::Dialect::Postgres] {
            for (file, name, sql) in super::statements(dialect) {
                if let Err(error) = numbered(sql) {
                    panic!("{file}::{name}: {error} in {sql}");
                }
            }
        }
    }

    #[test]
    fn the_check_of_numbers_finds_what_it_is_for() {
        assert_eq!(numbered("a = $1 AND b = $2 OR a = $1"), Ok(2));
        assert!(numbered("a = $2 AND b = $1").is_err());
        assert!(numbered("a = $1 AND b = $3").is_err());
        assert!(numbered("a = $").is_err());
    }
}
