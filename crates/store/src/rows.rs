//! Typed access to the columns of a row, moved out in the order of the statement.

use quivive_delivery::{Fault, Time, Value};
use quivive_domain::{ApiKeyId, DeviceId, EndpointId, FamilyId, SessionId, TokenId, UserId};
use uuid::Uuid;

use crate::executor::Row;

/// The columns of one row that were not taken yet.
pub(crate) struct Cells(std::vec::IntoIter<Value>);

impl Cells {
    pub(crate) fn of(row: Row) -> Self {
        Self(row.into_iter())
    }

    /// The next column. `column` is its name with its table's, for the error.
    pub(crate) fn take<T: Cell>(&mut self, column: &'static str) -> Result<T, Fault> {
        let Some(value) = self.0.next() else {
            return Err(Fault::Internal(format!("{column} is not in the row")));
        };
        T::of(value).map_err(|value| misfit(column, T::WANTED, &value))
    }
}

/// The value is described by its kind and size alone: it may be personal.
#[cold]
fn misfit(column: &'static str, wanted: &str, value: &Value) -> Fault {
    let found = match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => format!("the integer {number}"),
        Value::Text(text) => format!("a text of {} bytes", text.len()),
        Value::Blob(bytes) => format!("{} bytes", bytes.len()),
        Value::Id(_) => "16 bytes".to_owned(),
        Value::Digest(_) => "32 bytes".to_owned(),
    };
    Fault::Internal(format!("{column} holds {found} where {wanted} belongs"))
}

/// What a column can be read as.
pub(crate) trait Cell: Sized {
    const WANTED: &'static str;

    /// Gives the value back when it is something else.
    fn of(value: Value) -> Result<Self, Value>;
}

impl<T: Cell> Cell for Option<T> {
    const WANTED: &'static str = T::WANTED;

    fn of(value: Value) -> Result<Self, Value> {
        match value {
            Value::Null => Ok(None),
            value => T::of(value).map(Some),
        }
    }
}

impl Cell for i64 {
    const WANTED: &'static str = "an integer";

    fn of(value: Value) -> Result<Self, Value> {
        match value {
            Value::Int(number) => Ok(number),
            value => Err(value),
        }
    }
}

impl Cell for u32 {
    const WANTED: &'static str = "an integer of 32 bits without sign";

    fn of(value: Value) -> Result<Self, Value> {
        i64::of(value).and_then(|number| number.try_into().map_err(|_| Value::Int(number)))
    }
}

impl Cell for u64 {
    const WANTED: &'static str = "an integer without sign";

    fn of(value: Value) -> Result<Self, Value> {
        i64::of(value).and_then(|number| number.try_into().map_err(|_| Value::Int(number)))
    }
}

impl Cell for bool {
    const WANTED: &'static str = "0 or 1";

    fn of(value: Value) -> Result<Self, Value> {
        match value {
            Value::Int(0) => Ok(false),
            Value::Int(1) => Ok(true),
            value => Err(value),
        }
    }
}

impl Cell for Time {
    const WANTED: &'static str = "microseconds since 1970";

    fn of(value: Value) -> Result<Self, Value> {
        i64::of(value).and_then(|us| Self::from_microsecond(us).map_err(|_| Value::Int(us)))
    }
}

impl Cell for std::borrow::Cow<'static, str> {
    const WANTED: &'static str = "a text";

    fn of(value: Value) -> Result<Self, Value> {
        match value {
            Value::Text(text) => Ok(text),
            value => Err(value),
        }
    }
}

impl Cell for String {
    const WANTED: &'static str = "a text";

    fn of(value: Value) -> Result<Self, Value> {
        match value {
            Value::Text(text) => Ok(text.into_owned()),
            value => Err(value),
        }
    }
}

/// A backend may hand out bytes of the right number as an id or a digest, which spares it an allocation.
impl Cell for Vec<u8> {
    const WANTED: &'static str = "bytes";

    fn of(value: Value) -> Result<Self, Value> {
        match value {
            Value::Blob(bytes) => Ok(bytes),
            Value::Id(id) => Ok(id.into_bytes().to_vec()),
            Value::Digest(bytes) => Ok(bytes.to_vec()),
            value => Err(value),
        }
    }
}

impl Cell for Uuid {
    const WANTED: &'static str = "16 bytes";

    fn of(value: Value) -> Result<Self, Value> {
        match value {
            Value::Id(id) => Ok(id),
            Value::Blob(bytes) => Self::from_slice(&bytes).map_err(|_| Value::Blob(bytes)),
            value => Err(value),
        }
    }
}

impl Cell for [u8; 32] {
    const WANTED: &'static str = "32 bytes";

    fn of(value: Value) -> Result<Self, Value> {
        match value {
            Value::Digest(bytes) => Ok(bytes),
            Value::Blob(bytes) => Self::try_from(bytes).map_err(Value::Blob),
            value => Err(value),
        }
    }
}

macro_rules! ids {
    ($($name:ident)*) => {$(
        impl Cell for $name {
            const WANTED: &'static str = Uuid::WANTED;

            fn of(value: Value) -> Result<Self, Value> {
                Uuid::of(value).map(Self)
            }
        }
    )*};
}

ids! { UserId SessionId FamilyId TokenId DeviceId EndpointId ApiKeyId }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_in_order_and_by_type() {
        let mut cells = Cells::of(vec![
            Value::Int(7),
            Value::Null,
            Value::Blob(vec![1; 16]),
            Value::Digest([2; 32]),
            Value::from("text"),
        ]);
        assert_eq!(cells.take::<u32>("t.a").unwrap(), 7);
        assert_eq!(cells.take::<Option<Time>>("t.b").unwrap(), None);
        assert_eq!(
            cells.take::<UserId>("t.c").unwrap(),
            UserId(Uuid::from_bytes([1; 16]))
        );
        assert_eq!(cells.take::<[u8; 32]>("t.d").unwrap(), [2; 32]);
        assert_eq!(cells.take::<String>("t.e").unwrap(), "text");
        let past = cells.take::<i64>("t.f").unwrap_err();
        assert_eq!(past.to_string(), "t.f is not in the row");
    }

    #[test]
    fn a_misfit_names_table_and_column_and_keeps_texts_to_itself() {
        for (value, found) in [
            (Value::Null, "NULL"),
            (Value::Int(-1), "the integer -1"),
            (Value::from("ann@example.org"), "a text of 15 bytes"),
            (Value::Blob(vec![0; 3]), "3 bytes"),
        ] {
            let fault = Cells::of(vec![value])
                .take::<u64>("account.id")
                .unwrap_err();
            let want = format!("account.id holds {found} where an integer without sign belongs");
            assert_eq!(fault.to_string(), want);
        }
        let long = Cells::of(vec![Value::Int(1 << 32)]).take::<u32>("t.a");
        assert!(long.is_err());
        let short = Cells::of(vec![Value::Blob(vec![0; 31])]).take::<[u8; 32]>("t.a");
        assert!(short.is_err());
    }
}
