//! What is written in a configuration file, key by key: for telling what has changed in it.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// The keys of a file with their values, like `limits.max_recipients` and `listener[0].bind`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<String, String>);

impl Keys {
    /// Reads a text. One that is not TOML has no keys.
    pub fn of(text: &str) -> Self {
        let mut keys = Self::default();
        if let Ok(table) = text.parse::<Table>() {
            keys.add("", Value::Table(table));
        }
        keys
    }

    /// The keys that have come, gone, or got another value.
    pub fn changed<'k>(&'k self, now: &'k Self) -> Vec<&'k str> {
        let gone = self.0.keys().filter(|key| !now.0.contains_key(*key));
        let other = now.0.iter().filter(|(key, value)| self.0.get(*key) != Some(value));
        let mut changed: Vec<&str> =
            gone.chain(other.map(|(key, _)| key)).map(String::as_str).collect();
        changed.sort_unstable();
        changed
    }

    fn add(&mut self, key: &str, value: Value) {
        match value {
            Value::Table(table) => {
                for (inner, value) in table {
                    let dot = if key.is_empty() { "" } else { "." };
                    self.add(&format!("{key}{dot}{inner}"), value);
                }
            }
            Value::Array(list) if list.iter().any(Value::is_table) => {
                for (index, value) in list.into_iter().enumerate() {
                    self.add(&format!("{key}[{index}]"), value);
                }
            }
            plain => drop(self.0.insert(key.to_owned(), plain.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_named() {
        let before = "a = 1\n[limits]\nx = 1\ny = 2\n[[listener]]\nname = \"a\"\nbind = [\"b\"]\n";
        let after = "a = 1 # same\n[[listener]]\nbind = [\"c\"]\nname = \"a\"\n[[listener]]\nname = \"d\"\n[limits]\nx = 2\n";
        let (before, after) = (Keys::of(before), Keys::of(after));
        let changed = ["limits.x", "limits.y", "listener[0].bind", "listener[1].name"];
        assert_eq!(before.changed(&after), changed);
        assert_eq!(after.changed(&before), changed);
        assert!(before.changed(&before).is_empty());
    }
}
