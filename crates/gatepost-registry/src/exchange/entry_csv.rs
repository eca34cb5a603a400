//! Entries as CSV: a row an entry, a column a key, for whoever keeps the list in a spreadsheet.
//!
//! An empty cell is a key that is absent; what else a cell can hold is told in [`cell`]. The columns
//! may stand in any order, but none may be unknown: a column that is passed over would be a rule that
//! does not hold. Routes, credentials and expectations have other keys, and are left out.

mod cell;

use csv::StringRecord;
use toml::Table;

use self::cell::Type;
use super::{
    ExportError, Exported, Format,
    findings::{Findings, quoted},
    rows::{Cells, Rows},
};
use crate::item::{Item, Kind};

/// The keys of an entry in the order of contract §2, and what is in them.
const COLUMNS: [(&str, Type); 28] = [
    ("id", Type::Text),
    ("networks", Type::List),
    ("description", Type::Text),
    ("owner", Type::Text),
    ("enabled", Type::Boolean),
    ("action", Type::Text),
    ("services", Type::List),
    ("senders", Type::List),
    ("recipients", Type::List),
    ("helo", Type::List),
    ("header_from", Type::Text),
    ("tls", Type::Text),
    ("client_certificate", Type::List),
    ("authentication", Type::Text),
    ("upstream", Type::Text),
    ("mode", Type::Text),
    ("max_message_size", Type::Text),
    ("max_recipients", Type::Number),
    ("max_connections", Type::Number),
    ("message_rate", Type::Text),
    ("recipient_rate", Type::Text),
    ("duplicate_rate", Type::Text),
    ("bare_newlines", Type::Text),
    ("add_missing_headers", Type::List),
    ("not_before", Type::Date),
    ("expires", Type::Date),
    ("expiry", Type::Text),
    ("acknowledge", Type::Text),
];

type Column = (&'static str, Type);

pub(super) fn import(text: &str, findings: &mut Findings<'_>) -> Vec<Item> {
    let mut rows = Rows::new(text, Cells::AsWritten);
    let mut row = StringRecord::new();
    let Some(line) = rows.next(&mut row, findings) else {
        findings.error(
            None,
            "there is no row; the first one names the columns, like id,networks,senders",
        );
        return Vec::new();
    };
    let Some(columns) = header(&row, line, findings) else { return Vec::new() };
    let (mut items, mut lines) = (Vec::new(), Vec::new());
    while let Some(line) = rows.next(&mut row, findings) {
        if let Some(item) = item(&row, &columns, line, findings) {
            items.push(item);
            lines.push(line);
        }
    }
    findings.unique(items, || lines)
}

/// The columns that the first row names.
fn header(row: &StringRecord, line: usize, findings: &mut Findings<'_>) -> Option<Vec<Column>> {
    let mut columns = Vec::with_capacity(row.len());
    let mut is_right = true;
    for cell in row {
        let name = cell.trim().to_ascii_lowercase();
        let Some(&column) = COLUMNS.iter().find(|(known, _)| *known == name) else {
            let known = COLUMNS.map(|(name, _)| name).join(", ");
            let message = format_args!("{} is no column; there are {known}", quoted(cell));
            findings.error(line, message);
            is_right = false;
            continue;
        };
        if columns.contains(&column) {
            findings.error(line, format_args!("the column {name} is there twice; take one out"));
            is_right = false;
        }
        columns.push(column);
    }
    is_right.then_some(columns)
}

fn item(
    row: &StringRecord,
    columns: &[Column],
    line: usize,
    findings: &mut Findings<'_>,
) -> Option<Item> {
    if row.len() != columns.len() {
        let message = format_args!(
            "{} cells, but {} columns; put a cell that holds a separator in quotes",
            row.len(),
            columns.len()
        );
        findings.error(line, message);
        return None;
    }
    let mut table = Table::new();
    let mut is_right = true;
    for (cell, (key, of_type)) in row.iter().zip(columns) {
        match cell::read(cell, *of_type) {
            Ok(None) => {}
            Ok(Some(value)) => {
                table.insert((*key).to_owned(), value);
            }
            Err(error) => {
                findings.error(line, format_args!("{key}: {} {error}", quoted(cell)));
                is_right = false;
            }
        }
    }
    if !is_right {
        return None;
    }
    let item = Item::new(Kind::Entry, &table);
    // A table that is no item has no name.
    item.map_err(|_| findings.error(line, "the row has no id; give it one, like billing")).ok()
}

/// The entries, with the columns that at least one of them needs.
pub(super) fn export(items: &[Item]) -> Result<Exported, ExportError> {
    let entries = || items.iter().filter(|item| item.kind() == Kind::Entry);
    // Two passes over the items rather than all their tables at once.
    let mut is_needed = COLUMNS.map(|(key, _)| key == "id" || key == "networks");
    for item in entries() {
        for (key, value) in &item.table() {
            let column = COLUMNS.iter().position(|(known, _)| known == key);
            let told = column.filter(|&index| cell::write(value, COLUMNS[index].1).is_some());
            is_needed[told.ok_or_else(|| untold(item, key))?] = true;
        }
    }
    let columns = || COLUMNS.iter().zip(is_needed).filter_map(|(column, is)| is.then_some(column));
    let mut writer = csv::Writer::from_writer(Vec::new());
    // A vector takes any octets.
    let _ = writer.write_record(columns().map(|(key, _)| key));
    for item in entries() {
        let table = item.table();
        let cell = |&(key, of_type): &Column| {
            table.get(key).and_then(|value| cell::write(value, of_type)).unwrap_or_default()
        };
        let _ = writer.write_record(columns().map(cell));
    }
    let octets = writer.into_inner().unwrap_or_default();
    let text = String::from_utf8(octets).unwrap_or_default();
    Ok(Exported { text, left_out: items.len() - entries().count() })
}

fn untold(item: &Item, key: &str) -> ExportError {
    ExportError::Untold {
        kind: item.kind(),
        id: item.id().to_owned(),
        key: key.to_owned(),
        format: Format::Csv,
    }
}
