//! TOML values as JSON, both ways, without a tree in between.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
    ser::Error as _,
};
use toml::{Table, Value, map::Entry};

/// How deep arrays and tables may be nested: the contract needs two, and the TOML reader, which has
/// a limit too, has to read what becomes of it.
const DEPTH_MAX: usize = 8;

/// A table that is read from a JSON object, and written as one.
pub(super) struct JsonTable(pub(super) Table);

struct JsonValue(Value);
struct Shown<'v>(&'v Value);

/// Whether a value below the top level is the same after JSON: dates would come back as strings, and
/// JSON has neither infinity nor NaN.
pub(super) fn tellable(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Integer(_) | Value::Boolean(_) => true,
        Value::Float(float) => float.is_finite(),
        Value::Datetime(_) => false,
        Value::Array(values) => values.iter().all(tellable),
        Value::Table(table) => table.values().all(tellable),
    }
}

impl<'de> Deserialize<'de> for JsonTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match JsonValue::deserialize(deserializer)? {
            JsonValue(Value::Table(table)) if table.values().all(|v| depth(v) < DEPTH_MAX) => {
                Ok(Self(table))
            }
            JsonValue(Value::Table(_)) => {
                Err(D::Error::custom("nested too deep; no key needs that"))
            }
            JsonValue(_) => {
                Err(D::Error::custom("not an object; write it like {\"id\": \"billing\"}"))
            }
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Table(table) => 1 + table.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = JsonValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a policy")
    }

    fn visit_bool<E>(self, value: bool) -> Result<JsonValue, E> {
        Ok(JsonValue(Value::Boolean(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<JsonValue, E> {
        Ok(JsonValue(Value::Integer(value)))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<JsonValue, E> {
        let value = i64::try_from(value).map_err(|_| E::custom("the number is too large"))?;
        Ok(JsonValue(Value::Integer(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<JsonValue, E> {
        Ok(JsonValue(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<JsonValue, E> {
        Ok(JsonValue(Value::String(value.to_owned())))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<JsonValue, E> {
        Err(E::custom("null says nothing; leave the key out"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<JsonValue, A::Error> {
        let mut values = Vec::new();
        while let Some(JsonValue(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(JsonValue(Value::Array(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonValue, A::Error> {
        let mut table = Table::new();
        while let Some(key) = map.next_key::<String>()? {
            match table.entry(key) {
                // Readers of JSON differ in which of the two they take.
                Entry::Occupied(entry) => {
                    let message =
                        format_args!("the key {:?} is there twice; take one out", entry.key());
                    return Err(A::Error::custom(message));
                }
                Entry::Vacant(entry) => {
                    let JsonValue(value) = map.next_value()?;
                    entry.insert(value);
                }
            }
        }
        Ok(JsonValue(Value::Table(table)))
    }
}

impl Serialize for JsonTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, Shown(value))))
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) => serializer.serialize_str(text),
            Value::Integer(number) => serializer.serialize_i64(*number),
            Value::Float(number) if number.is_finite() => serializer.serialize_f64(*number),
            Value::Float(_) => Err(S::Error::custom("not a number of JSON")),
            Value::Boolean(value) => serializer.serialize_bool(*value),
            Value::Datetime(date) => serializer.collect_str(date),
            Value::Array(values) => serializer.collect_seq(values.iter().map(Shown)),
            Value::Table(table) => {
                serializer.collect_map(table.iter().map(|(key, value)| (key, Shown(value))))
            }
        }
    }
}
