//! Lists of other programs, in and out: text becomes items and a report, items become text.
//!
//! Gatepost's own formats (TOML, JSON, CSV) say all of an item, and what is written by [`export`] is
//! read by [`import`] as the same items. The lists of Postfix, SendGrid and SmarterMail know only
//! addresses: [`Defaults`] say the rest, and everything that is not taken as it was written is told
//! in a note. A list is imported whole or not at all, and nobody may be let in by an import whom the
//! list refused: what is ambiguous is an error.
//!
//! Whether a network is too wide, or a sender a sender, is judged by the compiler of the policy.

mod entry_csv;
mod findings;
mod foreign;
mod lines;
mod networks;
mod policy_json;
mod policy_toml;
mod postfix;
mod rows;
mod sendgrid;
mod smartermail;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use crate::item::{Item, Kind};

use self::findings::Findings;
pub use self::findings::{ImportErrors, Remark};

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The entries as a table for spreadsheets, a column a key. Other kinds are not in it.
    Csv,
    /// `{"entry": […], "route": […], …}`, or the entries alone as `[…]`.
    Json,
    /// `mynetworks` as in main.cf or a file of its own, or a CIDR table.
    Postfix,
    /// IP access management: the answer of the API, or a list of addresses and wildcards.
    Sendgrid,
    /// The whitelist as CSV with the columns of its page, or a list of addresses and ranges.
    Smartermail,
    /// A policy file.
    Toml,
}

/// What a list that knows only addresses does not say about its entries. Gatepost's own formats
/// leave it aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Who may send. Cannot be empty if the list lets anybody in.
    pub senders: Vec<String>,
    /// The listeners the entries are for; none for every listener.
    pub services: Vec<String>,
    /// What the ids begin with; without it, the name of the format or nothing.
    pub id_prefix: Option<String>,
    /// The description of what has none of its own.
    pub description: Option<String>,
    /// Who answers for the entries.
    pub owner: Option<String>,
    /// Why wide or public networks are right here.
    pub acknowledge: Option<String>,
}

/// What a list became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The items, none of which has the name of another of its kind.
    pub items: Vec<Item>,
    /// What is not as it was written, or was left out.
    pub notes: Vec<Remark>,
}

/// Items as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The text.
    pub text: String,
    /// How many items the format has no place for: routes, credentials and expectations in a CSV.
    pub left_out: usize,
}

/// Why items cannot be written in a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// A list of another program.
    #[error("{0} lists are only read; export as toml, json or csv")]
    ReadOnly(Format),
    /// The format has no place for a value, and the item would come back as another.
    #[error("{key} of {kind} {id} cannot be told in {format}; export as toml")]
    Untold {
        /// What the item is.
        kind: Kind,
        /// Its name.
        id: String,
        /// The key of the value.
        key: String,
        /// The format asked for.
        format: Format,
    },
}

/// Why a word names no [`Format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a format; there are toml, json, csv, postfix, smartermail and sendgrid")]
pub struct FormatError;

/// Reads a list. `origin` is named in notes and errors; `progress` is called now and then with the
/// octets that are read and the octets there are, and at the end with both the same.
pub fn import(
    format: Format,
    text: &str,
    origin: &str,
    defaults: &Defaults,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Imported, ImportErrors> {
    // Spreadsheets and editors on Windows write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut findings = Findings::new(origin, text.len(), progress);
    let items = match format {
        Format::Csv => entry_csv::import(text, &mut findings),
        Format::Json => policy_json::import(text, &mut findings),
        Format::Postfix => postfix::import(text, defaults, &mut findings),
        Format::Sendgrid => sendgrid::import(text, defaults, &mut findings),
        Format::Smartermail => smartermail::import(text, defaults, &mut findings),
        Format::Toml => policy_toml::import(text, &mut findings),
    };
    findings.finish(items)
}

/// Writes items, in their order within each kind.
pub fn export(format: Format, items: &[Item]) -> Result<Exported, ExportError> {
    match format {
        Format::Csv => entry_csv::export(items),
        Format::Json => policy_json::export(items),
        Format::Toml => Ok(policy_toml::export(items)),
        Format::Postfix | Format::Sendgrid | Format::Smartermail => {
            Err(ExportError::ReadOnly(format))
        }
    }
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Csv, Self::Json, Self::Postfix, Self::Sendgrid, Self::Smartermail, Self::Toml];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Postfix => "postfix",
            Self::Sendgrid => "sendgrid",
            Self::Smartermail => "smartermail",
            Self::Toml => "toml",
        }
    }

    /// Whether it says all of an item, and [`Defaults`] have no place.
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Csv | Self::Json | Self::Toml)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or(FormatError)
    }
}
