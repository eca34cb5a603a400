//! Keys that are set from the environment: `GATEPOST_SECTION__KEY`, `GATEPOST__KEY` at the top.
//!
//! A name without the double underscore is not ours (Kubernetes injects some), one with it must
//! name a key, and a wrong one is an error that names the variable. A value is a TOML value, or else
//! plain text. The environment is a parameter; this module never asks the process for it.

use std::{ffi::OsString, ops::Range};

use gatepost_policy::document::{self, DocumentError};
use toml::{
    Spanned, Value,
    de::{DeTable, DeValue},
};

use super::file::ConfigFile;

/// A variable that sets a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Override {
    /// The name of the variable.
    pub(crate) variable: String,
    /// The table, if the key is in one.
    section: Option<String>,
    key: String,
    /// The value, in TOML.
    value: String,
}

/// The variables that set keys, in the order of their names, and what is wrong with the others.
pub(crate) fn overrides(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> (Vec<Override>, Vec<DocumentError>) {
    let (mut overrides, mut errors) = (Vec::new(), Vec::new());
    for (name, value) in environment {
        let Some((variable, section, key)) = name.to_str().and_then(named_key) else { continue };
        match Override::new(variable, section, key, value) {
            Ok(good) => overrides.push(good),
            Err(error) => errors.push(error),
        }
    }
    overrides.sort_by(|a, b| a.variable.cmp(&b.variable));
    errors.sort_by(|a, b| a.origin().cmp(b.origin()));
    (overrides, errors)
}

/// `(variable, section, key)`, the section empty at the top level; `None` if the name is not ours.
fn named_key(variable: &str) -> Option<(&str, &str, &str)> {
    let (section, key) = variable.strip_prefix("GATEPOST")?.split_once("__")?;
    let section = if section.is_empty() { section } else { section.strip_prefix('_')? };
    Some((variable, section, key))
}

impl Override {
    fn new(
        variable: &str,
        section: &str,
        key: &str,
        value: OsString,
    ) -> Result<Self, DocumentError> {
        let error = |message: &str| DocumentError::without_position(variable, "", message);
        let is_name = |text: &str| {
            text.bytes().all(|octet| matches!(octet, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
        };
        if key.is_empty() || !is_name(section) || !is_name(key) {
            return Err(error(
                "names no key; write GATEPOST_SECTION__KEY, or GATEPOST__KEY for the top level, in \
                 capitals",
            ));
        }
        if matches!(section, "LISTENER" | "UPSTREAM") {
            return Err(error("there may be several of this table; set its keys in the file"));
        }
        let value = value.into_string().map_err(|_| error("the value is not UTF-8"))?;
        let section = (!section.is_empty()).then(|| section.to_lowercase());
        let mut wanted =
            Self { variable: variable.to_owned(), section, key: key.to_lowercase(), value };
        wanted.settle()?;
        Ok(wanted)
    }

    /// Makes the value one that the mirror takes: the TOML value that it is, or else text.
    fn settle(&mut self) -> Result<(), DocumentError> {
        let text = Value::from(self.value.as_str()).to_string();
        let as_toml = match DeValue::parse(&self.value) {
            Err(_) => None,
            Ok(value) if has_table(value.get_ref()) => {
                let message = "a table cannot be set as a whole; set its keys one by one";
                return Err(DocumentError::without_position(&self.variable, "", message));
            }
            Ok(_) => Some(self.check()),
        };
        match as_toml {
            Some(Ok(())) => Ok(()),
            // A listener may be called "25": what is no number to the mirror may be text to it.
            Some(Err(error)) => {
                self.value = text;
                self.check().map_err(|_| error)
            }
            None => {
                self.value = text;
                self.check()
            }
        }
    }

    fn check(&self) -> Result<(), DocumentError> {
        let line = match &self.section {
            Some(section) => format!("{section}.{} = {}", self.key, self.value),
            None => format!("{} = {}", self.key, self.value),
        };
        // A position within this line would help nobody.
        document::parse::<ConfigFile>(&line, &self.variable).map(drop).map_err(|error| {
            DocumentError::without_position(error.origin(), error.key(), error.message())
        })
    }

    /// Sets the key in a document. All of the value gets the one span.
    pub(crate) fn apply<'a>(&'a self, root: &mut DeTable<'a>, span: Range<usize>) {
        let Ok(mut value) = DeValue::parse(&self.value) else {
            // It was settled, so it is a value.
            return;
        };
        if let DeValue::Array(items) = value.get_mut() {
            for item in items.iter_mut() {
                let inner = std::mem::replace(item.get_mut(), DeValue::Boolean(false));
                *item = Spanned::new(span.clone(), inner);
            }
        }
        let value = Spanned::new(span.clone(), value.into_inner());
        let key = |name: &'a str| Spanned::new(span.clone(), name.into());
        let Some(section) = self.section.as_deref() else {
            root.insert(key(&self.key), value);
            return;
        };
        let table = root
            .entry(key(section))
            .or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
        if let DeValue::Table(table) = table.get_mut() {
            table.insert(key(&self.key), value);
        }
    }
}

fn has_table(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Array(items) => items.iter().any(|item| has_table(item.get_ref())),
        DeValue::Table(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> (Vec<Override>, Vec<String>) {
        let environment = variables.iter().map(|&(name, value)| (name.into(), value.into()));
        let (overrides, errors) = overrides(environment);
        (overrides, errors.iter().map(ToString::to_string).collect())
    }

    fn value(variable: &str, value: &str) -> String {
        let (mut overrides, errors) = read(&[(variable, value)]);
        assert!(errors.is_empty(), "{errors:?}");
        overrides.pop().expect("one variable").value
    }

    fn error(variable: &str, value: &str) -> String {
        let (_, mut errors) = read(&[(variable, value)]);
        errors.pop().unwrap_or_else(|| panic!("{variable}={value} must be refused"))
    }

    #[test]
    fn names_without_the_double_underscore_are_not_ours() {
        let foreign = [
            ("GATEPOST", "x"),
            ("GATEPOST_", "x"),
            ("GATEPOST_PORT", "tcp://10.0.0.1:25"),
            ("GATEPOST_SERVICE_HOST", "10.0.0.1"),
            ("GATEPOSTER__HOSTNAME", "x"),
            ("MY_GATEPOST__HOSTNAME", "x"),
            ("PATH", "/bin"),
        ];
        assert_eq!(read(&foreign), (vec![], vec![]));
    }

    #[test]
    fn a_value_is_toml_or_else_text() {
        assert_eq!(value("GATEPOST__HOSTNAME", "relay.example.com"), "\"relay.example.com\"");
        assert_eq!(value("GATEPOST__HOSTNAME", "\"relay.example.com\""), "\"relay.example.com\"");
        assert_eq!(value("GATEPOST_LIMITS__MAX_RECIPIENTS", "5"), "5");
        assert_eq!(value("GATEPOST_METRICS__BIND", "[::1]:9925"), "\"[::1]:9925\"");
        assert_eq!(value("GATEPOST_TIMEOUTS__DRAIN", "5m"), "\"5m\"");
        assert_eq!(value("GATEPOST_DELIVERY__UPSTREAM", "25"), "\"25\"");
        assert_eq!(value("GATEPOST_LOG__MAIL", "a\"\nb = 1"), "\"\"\"\na\"\nb = 1\"\"\"");
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for (variable, value, told) in [
            ("GATEPOST__HOST", "x", "GATEPOST__HOST: host: unknown key `host`"),
            ("GATEPOST_LOG__LEVLE", "x", "GATEPOST_LOG__LEVLE: log.levle: unknown key `levle`"),
            ("GATEPOST_LOGS__LEVEL", "x", "GATEPOST_LOGS__LEVEL: logs: unknown key `logs`"),
            ("GATEPOST_ADMIN__BIND", "x", "GATEPOST_ADMIN__BIND: admin: not built yet"),
            (
                "GATEPOST_POLICY__STORE",
                "perhaps",
                "GATEPOST_POLICY__STORE: policy.store: invalid type: string \"perhaps\"",
            ),
            (
                "GATEPOST_LIMITS__ERRORS_MAX",
                "many",
                "GATEPOST_LIMITS__ERRORS_MAX: limits.errors_max: invalid type: string \"many\"",
            ),
            ("GATEPOST__", "x", "GATEPOST__: names no key"),
            ("GATEPOST_log__level", "x", "GATEPOST_log__level: names no key"),
            ("GATEPOST__A.B", "x", "GATEPOST__A.B: names no key"),
            ("GATEPOST_UPSTREAM__TLS", "none", "GATEPOST_UPSTREAM__TLS: there may be several"),
            ("GATEPOST__LISTENER", "[{name=\"a\"}]", "GATEPOST__LISTENER: a table cannot be set"),
            ("GATEPOST__LOG", "{level=\"debug\"}", "GATEPOST__LOG: a table cannot be set"),
        ] {
            let error = error(variable, value);
            assert!(error.starts_with(told), "{error}");
        }
    }

    #[test]
    fn all_wrong_variables_are_told() {
        let (overrides, errors) =
            read(&[("GATEPOST__B", "x"), ("GATEPOST__HOSTNAME", "x.y"), ("GATEPOST__A", "x")]);
        assert_eq!(overrides.len(), 1);
        assert!(errors[0].starts_with("GATEPOST__A: "), "{errors:?}");
        assert!(errors[1].starts_with("GATEPOST__B: "), "{errors:?}");
    }
}
