//! Values on their way to PostgreSQL and back, by the type that the server says a parameter or a column has.

use std::error::Error;

use bytes::{BufMut as _, BytesMut};
use quivive_delivery::Value;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

/// A parameter.
#[derive(Debug)]
pub(crate) struct Bound<'v>(pub(crate) &'v Value);

impl ToSql for Bound<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (self.0, ty) {
            (Value::Null, _) => return Ok(IsNull::Yes),
            (Value::Int(number), &Type::INT8) => out.put_i64(*number),
            (Value::Int(number), &Type::INT4) => out.put_i32(i32::try_from(*number)?),
            (Value::Int(number), &Type::BOOL) => out.put_u8(u8::from(*number != 0)),
            (Value::Text(text), &Type::TEXT | &Type::VARCHAR) => out.put_slice(text.as_bytes()),
            (Value::Blob(bytes), &Type::BYTEA) => out.put_slice(bytes),
            (Value::Id(id), &Type::BYTEA) => out.put_slice(id.as_bytes()),
            (Value::Digest(bytes), &Type::BYTEA) => out.put_slice(bytes),
            (value, ty) => {
                // The value itself may be personal.
                let kind = match value {
                    Value::Int(_) => "an integer",
                    Value::Text(_) => "a text",
                    _ => "bytes",
                };
                return Err(format!("{kind} was given where the statement takes {ty}").into());
            }
        }
        Ok(IsNull::No)
    }

    /// What does not fit is said by [`Self::to_sql`], which knows the value.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A column.
pub(crate) struct Column(pub(crate) Value);

impl<'r> FromSql<'r> for Column {
    fn from_sql(ty: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let value = match *ty {
            Type::INT8 => Value::Int(i64::from_sql(ty, raw)?),
            Type::INT4 => Value::Int(i64::from(i32::from_sql(ty, raw)?)),
            Type::BOOL => Value::Int(i64::from(bool::from_sql(ty, raw)?)),
            Type::TEXT | Type::VARCHAR => Value::from(String::from_sql(ty, raw)?),
            // Ids and digests without an allocation.
            Type::BYTEA => match raw.len() {
                16 => Value::Id(Uuid::from_slice(raw)?),
                32 => Value::Digest(raw.try_into()?),
                _ => Value::Blob(raw.to_vec()),
            },
            _ => return Err(format!("no column of this program is of the type {ty}").into()),
        };
        Ok(Self(value))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(value: &Value, ty: &Type) -> Result<Value, String> {
        let mut bytes = BytesMut::new();
        let bound = Bound(value);
        match bound.to_sql(ty, &mut bytes).map_err(|e| e.to_string())? {
            IsNull::Yes => Ok(Column::from_sql_null(ty).unwrap().0),
            IsNull::No => Ok(Column::from_sql(ty, &bytes).unwrap().0),
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        for (value, ty) in [
            (Value::Null, Type::INT8),
            (Value::Int(i64::MIN), Type::INT8),
            (Value::Int(-7), Type::INT4),
            (Value::Int(1), Type::BOOL),
            (Value::from("ação"), Type::TEXT),
            (Value::Blob(vec![1, 2, 3]), Type::BYTEA),
            (Value::Id(Uuid::from_u128(7)), Type::BYTEA),
            (Value::Digest([9; 32]), Type::BYTEA),
        ] {
            assert_eq!(there_and_back(&value, &ty), Ok(value));
        }
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_kind_alone() {
        let secret = Value::from("ann@example.org");
        assert_eq!(
            there_and_back(&secret, &Type::INT8).unwrap_err(),
            "a text was given where the statement takes int8"
        );
        assert!(there_and_back(&Value::Int(1 << 40), &Type::INT4).is_err());
    }
}
