//! The whitelist of SmarterMail.
//!
//! SmarterMail has no export of its own; what there is are tables that were copied from its page,
//! with the columns of that page in any order, and lists that have an address on each line and
//! perhaps a description. An address is one address, a range `a-b`, or a network.
//!
//! A row is there for many services. Only who may send without a password is of interest: if "SMTP
//! Auth Bypass" is told anywhere in the list, that decides, else "SMTP"; a list that tells neither is
//! taken whole. A list without a header has no such column, and is refused if it looks as if it had.

mod columns;

use csv::StringRecord;

use self::columns::Column;
use super::{
    Defaults,
    findings::{Findings, quoted},
    foreign::{self, Program, Row},
    networks,
    rows::{Cells, Rows},
};
use crate::item::Item;

const PROGRAM: Program = Program { title: "SmarterMail", name: "smartermail" };

/// A row with what it says about services, none if it says nothing.
struct Listed {
    row: Row,
    smtp: Option<bool>,
    auth_bypass: Option<bool>,
}

pub(super) fn import(text: &str, defaults: &Defaults, findings: &mut Findings<'_>) -> Vec<Item> {
    let mut rows = Rows::new(text, Cells::Trimmed);
    let mut record = StringRecord::new();
    let mut listed = Vec::new();
    let Some(first_line) = rows.next(&mut record, findings) else {
        findings
            .error(None, "there is no row; write an address, a range or a network on each line");
        return Vec::new();
    };
    let header = match columns::of_header(record.iter()) {
        Some(Ok(columns)) => Some(columns),
        Some(Err(error)) => {
            findings.error(first_line, error);
            return Vec::new();
        }
        None => {
            listed.extend(read(&record, None, first_line, findings));
            None
        }
    };
    while let Some(line) = rows.next(&mut record, findings) {
        listed.extend(read(&record, header.as_deref(), line, findings));
    }
    let rows = relaying(listed, findings);
    foreign::of_rows(PROGRAM, rows, defaults, findings)
}

/// What one row says below a header, or without one; nothing if it is wrong, which is told.
fn read(
    record: &StringRecord,
    header: Option<&[Column]>,
    line: usize,
    findings: &mut Findings<'_>,
) -> Option<Listed> {
    let columns = header.unwrap_or(&columns::PLAIN);
    // Who is switched off would be let in, with that for a description.
    if header.is_none()
        && let Some(cell) = record.get(1).filter(|cell| columns::is_switch(cell))
    {
        let message = format_args!(
            "{} switches something, and no header says what; put the header of the page above the rows, \
             without a # before it, like Address,SMTP Auth Bypass",
            quoted(cell)
        );
        findings.error(line, message);
        return None;
    }
    if let Some(cell) = record.iter().skip(columns.len()).find(|cell| !cell.is_empty()) {
        let message =
            format_args!("{} is in no column; put a text with separators in quotes", quoted(cell));
        findings.error(line, message);
        return None;
    }
    let row = Row { line, networks: Vec::new(), description: None };
    let mut listed = Listed { row, smtp: None, auth_bypass: None };
    let mut is_right = true;
    for (column, cell) in columns.iter().zip(record.iter().chain(std::iter::repeat(""))) {
        if let Err(error) = listed.take(*column, cell) {
            findings.error(line, format_args!("{}: {error}", quoted(cell)));
            is_right = false;
        } else if *column == Column::Address && cell.contains('-') {
            let shown = networks::shown(&listed.row.networks);
            findings.note(line, format_args!("{cell} became {shown}"));
        }
    }
    is_right.then_some(listed)
}

impl Listed {
    fn take(&mut self, column: Column, cell: &str) -> Result<(), String> {
        match column {
            Column::Address => {
                self.row.networks = networks::range(cell).map_err(|error| error.to_string())?;
            }
            Column::AuthBypass => self.auth_bypass = Some(columns::switch(cell)?),
            Column::Description => self.row.description = Some(cell.to_owned()),
            Column::Ignored => {}
            Column::Services => {
                self.smtp = Some(columns::names(cell, Column::Smtp));
                // That no service is named so does not say that the list knows of it.
                self.auth_bypass = columns::names(cell, Column::AuthBypass).then_some(true);
            }
            Column::Smtp => self.smtp = Some(columns::switch(cell)?),
        }
        Ok(())
    }
}

/// The rows of those who may send without a password.
fn relaying(listed: Vec<Listed>, findings: &mut Findings<'_>) -> Vec<Row> {
    let knows_auth_bypass = listed.iter().any(|listed| listed.auth_bypass.is_some());
    let knows_smtp = listed.iter().any(|listed| listed.smtp.is_some());
    if !knows_auth_bypass && !knows_smtp && !listed.is_empty() {
        findings.note(None, "the list does not say which services it is for; all of it is taken");
    }
    let mut rows = Vec::with_capacity(listed.len());
    for Listed { row, smtp, auth_bypass } in listed {
        let (is_on, service) = match () {
            () if knows_auth_bypass => (auth_bypass == Some(true), "SMTP Auth Bypass"),
            () if knows_smtp => (smtp == Some(true), "SMTP"),
            () => (true, ""),
        };
        if is_on {
            rows.push(row);
        } else {
            let shown = networks::shown(&row.networks);
            findings.note(row.line, format_args!("{shown} is left out: {service} is off"));
        }
    }
    rows
}
