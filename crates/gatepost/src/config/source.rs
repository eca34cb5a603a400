//! Where a value of the configuration comes from: a place in the file, or a variable.
//!
//! The mirror knows offsets only. Those within the text are of the file; each variable has one of
//! its own behind the end of the text. So the resolver need not care where a value stands, and its
//! errors still name the right place.

use std::{ffi::OsString, fmt};

use gatepost_policy::document::{self, DocumentError};
use serde::Deserialize;
use toml::de::DeTable;

use super::{
    environment::{self, Override},
    file::ConfigFile,
};

/// The text of the file, and the variables that override it.
pub(crate) struct Source<'a> {
    origin: &'a str,
    text: &'a str,
    overrides: Vec<Override>,
}

impl<'a> Source<'a> {
    /// Reads file and environment into one mirror.
    pub(crate) fn read(
        text: &'a str,
        origin: &'a str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(ConfigFile, Self), Vec<DocumentError>> {
        let (overrides, mut errors) = environment::overrides(environment);
        let source = Self { origin, text, overrides };
        match document::parse(text, origin) {
            Ok(file) if errors.is_empty() => Ok((source.overridden(file)?, source)),
            Ok(_) => Err(errors),
            Err(error) => {
                errors.insert(0, error);
                Err(errors)
            }
        }
    }

    /// The mirror with the variables in it. File and variables were read once, each alone, so what
    /// is wrong in them has been told.
    fn overridden(&self, file: ConfigFile) -> Result<ConfigFile, Vec<DocumentError>> {
        if self.overrides.is_empty() {
            return Ok(file);
        }
        let together = || {
            let mut root = DeTable::parse(self.text)?;
            for (index, wanted) in self.overrides.iter().enumerate() {
                let at = self.offset_of_variable(index);
                wanted.apply(root.get_mut(), at..at);
            }
            ConfigFile::deserialize(toml::Deserializer::from(root))
        };
        together().map_err(|error| {
            vec![DocumentError::without_position(self.origin, "", error.message())]
        })
    }

    /// An error about the value at an offset; without one, about what is not there.
    pub(crate) fn error(
        &self,
        offset: Option<usize>,
        key: impl fmt::Display,
        message: impl fmt::Display,
    ) -> DocumentError {
        let Some(offset) = offset else {
            return DocumentError::without_position(self.origin, key, message);
        };
        let variable = offset.checked_sub(self.offset_of_variable(0));
        match variable.and_then(|index| self.overrides.get(index)) {
            Some(wanted) => DocumentError::without_position(&wanted.variable, key, message),
            None => DocumentError::at(self.origin, self.text, offset, key, message),
        }
    }

    const fn offset_of_variable(&self, index: usize) -> usize {
        self.text.len() + 1 + index
    }
}
