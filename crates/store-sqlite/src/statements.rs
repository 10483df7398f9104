//! Prepared statements of one connection, and how parameters are bound to them.
//!
//! **Cast.** [`Statements`] keeps every statement a connection has run, by the address of its text: a caller's SQL is
//! `&'static str`, so the address names it, and no text is hashed or copied on the way. [`Prepared`] is one of them.
//!
//! **Guarantees.** `$2` is the second parameter wherever it stands; SQLite alone would number names by their first
//! appearance. A statement runs only with as many parameters as it names. What was bound is let go after each run.

use std::collections::HashMap;

use quivive_delivery::Value;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, PrepFlags, Rows, Statement};

use crate::failure::StatementError;

/// Far above the number of statements the product has; a program that makes up statements empties it now and then
/// instead of growing.
const STATEMENTS: usize = 1_024;

pub(crate) struct Statements<'c> {
    connection: &'c Connection,
    prepared: HashMap<(usize, usize), Prepared<'c>>,
}

impl<'c> Statements<'c> {
    pub(crate) fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            prepared: HashMap::new(),
        }
    }

    pub(crate) fn connection(&self) -> &'c Connection {
        self.connection
    }

    pub(crate) fn get(&mut self, sql: &'static str) -> Result<&mut Prepared<'c>, StatementError> {
        let key = (sql.as_ptr().addr(), sql.len());
        if self.prepared.len() >= STATEMENTS && !self.prepared.contains_key(&key) {
            self.prepared.clear();
        }
        match self.prepared.entry(key) {
            std::collections::hash_map::Entry::Occupied(found) => Ok(found.into_mut()),
            std::collections::hash_map::Entry::Vacant(place) => {
                Ok(place.insert(Prepared::new(self.connection, sql)?))
            }
        }
    }
}

pub(crate) struct Prepared<'c> {
    sql: &'static str,
    statement: Statement<'c>,
    /// For each of SQLite's parameters in turn, which of the caller's it is.
    places: Box<[usize]>,
    /// How many parameters the caller must give.
    arity: usize,
}

impl<'c> Prepared<'c> {
    fn new(connection: &'c Connection, sql: &'static str) -> Result<Self, StatementError> {
        let statement = connection.prepare_with_flags(sql, PrepFlags::SQLITE_PREPARE_PERSISTENT)?;
        let mut places = Vec::with_capacity(statement.parameter_count());
        for index in 1..=statement.parameter_count() {
            let number = statement
                .parameter_name(index)
                .and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok())
                .filter(|number| *number > 0)
                .ok_or_else(|| misuse(sql, "a parameter is not written $1, $2, …"))?;
            places.push(number - 1);
        }
        // Each name is one of SQLite's parameters once, so the names are 1 to n exactly when the highest is their count.
        let arity = places.iter().map(|place| place + 1).max().unwrap_or(0);
        if arity != places.len() {
            let text = format!("it names ${arity} but only {} parameters", places.len());
            return Err(misuse(sql, &text));
        }
        Ok(Self {
            sql,
            statement,
            places: places.into_boxed_slice(),
            arity,
        })
    }

    pub(crate) fn sql(&self) -> &'static str {
        self.sql
    }

    /// Whether it leaves the database as it is.
    pub(crate) fn only_reads(&self) -> bool {
        self.statement.readonly()
    }

    pub(crate) fn columns(&self) -> usize {
        self.statement.column_count()
    }

    /// Runs it and says how many rows it touched.
    pub(crate) fn execute(&mut self, params: &[Value]) -> Result<u64, StatementError> {
        self.bind(params)?;
        self.run()
    }

    /// Like [`Self::execute`], with values that stay where they are.
    pub(crate) fn execute_refs(&mut self, values: &[ValueRef<'_>]) -> Result<u64, StatementError> {
        self.fit(values.len())?;
        for (index, place) in self.places.iter().enumerate() {
            let value = ToSqlOutput::Borrowed(values[*place]);
            self.statement.raw_bind_parameter(index + 1, value)?;
        }
        self.run()
    }

    /// Starts it for reading. Call [`Self::finish`] when the rows are read.
    pub(crate) fn query(&mut self, params: &[Value]) -> Result<Rows<'_>, StatementError> {
        self.bind(params)?;
        Ok(self.statement.raw_query())
    }

    /// Lets go of what was bound: secrets and large values do not wait in memory for the next run.
    pub(crate) fn finish(&mut self) {
        self.statement.clear_bindings();
    }

    fn run(&mut self) -> Result<u64, StatementError> {
        let changes = self.statement.raw_execute();
        self.statement.clear_bindings();
        Ok(changes? as u64)
    }

    fn bind(&mut self, params: &[Value]) -> Result<(), StatementError> {
        self.fit(params.len())?;
        for (index, place) in self.places.iter().enumerate() {
            let value = ToSqlOutput::Borrowed(borrow(&params[*place]));
            self.statement.raw_bind_parameter(index + 1, value)?;
        }
        Ok(())
    }

    fn fit(&self, given: usize) -> Result<(), StatementError> {
        if given == self.arity {
            return Ok(());
        }
        let text = format!("it takes {} parameters and was given {given}", self.arity);
        Err(misuse(self.sql, &text))
    }
}

fn misuse(sql: &str, what: &str) -> StatementError {
    StatementError::Misuse(format!("{what}: {sql}"))
}

fn borrow(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Null => ValueRef::Null,
        Value::Int(number) => ValueRef::Integer(*number),
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Blob(bytes) => ValueRef::Blob(bytes),
        Value::Id(id) => ValueRef::Blob(id.as_bytes()),
        Value::Digest(bytes) => ValueRef::Blob(bytes),
    }
}

#[cfg(test)]
mod tests {
    use quivive_delivery::Value;
    use rusqlite::Connection;

    use super::Statements;
    use crate::failure::StatementError;

    fn misused(sql: &'static str, params: &[Value]) -> String {
        let connection = Connection::open_in_memory().unwrap();
        let mut statements = Statements::new(&connection);
        let done = statements.get(sql).and_then(|s| s.execute(params));
        match done {
            Err(StatementError::Misuse(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn binds_by_the_number_in_the_name() {
        let connection = Connection::open_in_memory().unwrap();
        let mut statements = Statements::new(&connection);
        let params = [Value::from("first"), Value::from("second"), Value::Int(3)];
        let prepared = statements.get("SELECT $3, $2, $1, $2").unwrap();
        let mut rows = prepared.query(&params).unwrap();
        let row = rows.next().unwrap().unwrap();
        assert_eq!(row.get::<_, i64>(0).unwrap(), 3);
        assert_eq!(row.get::<_, String>(1).unwrap(), "second");
        assert_eq!(row.get::<_, String>(2).unwrap(), "first");
        assert_eq!(row.get::<_, String>(3).unwrap(), "second");
    }

    #[test]
    fn names_the_statement_that_does_not_fit() {
        let two = [Value::Int(1), Value::Int(2)];
        assert_eq!(
            misused("SELECT $1", &two),
            "it takes 1 parameters and was given 2: SELECT $1"
        );
        assert_eq!(
            misused("SELECT $1, $3", &two),
            "it names $3 but only 2 parameters: SELECT $1, $3"
        );
        assert_eq!(
            misused("SELECT ?", &two),
            "a parameter is not written $1, $2, …: SELECT ?"
        );
        assert_eq!(
            misused("SELECT $1::int", &two),
            "a parameter is not written $1, $2, …: SELECT $1::int"
        );
    }
}
