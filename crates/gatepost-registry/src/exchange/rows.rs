//! Rows of CSV texts, with the lines where they begin.
//!
//! Spreadsheets separate cells by commas, semicolons or tabs, as their language wants; which of them
//! is told by the first line. A quote that is never closed would swallow the rows behind it, and is
//! an error.

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord, Trim};

use super::{findings::Findings, lines::Lines};

/// Separators of cells, the likeliest first.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// What is done with spaces around the text of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cells {
    /// Kept: they may be meant.
    AsWritten,
    /// Taken off; and lines that begin with # are comments.
    Trimmed,
}

/// Reads a text row by row. Rows without any text are passed over.
pub(super) struct Rows<'t> {
    text: &'t str,
    reader: Reader<&'t [u8]>,
    lines: Lines<'t>,
    line: usize,
    cells: Cells,
}

impl<'t> Rows<'t> {
    pub(super) fn new(text: &'t str, cells: Cells) -> Self {
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(delimiter(text));
        if cells == Cells::Trimmed {
            builder.trim(Trim::All).comment(Some(b'#'));
        }
        let reader = builder.from_reader(text.as_bytes());
        Self { text, reader, lines: Lines::new(text), line: 1, cells }
    }

    /// Reads the next row into `row`, and tells its line; none at the end, or after an error that
    /// hides the rest.
    pub(super) fn next(
        &mut self,
        row: &mut StringRecord,
        findings: &mut Findings<'_>,
    ) -> Option<usize> {
        loop {
            let is_row = match self.reader.read_record(row) {
                Ok(is_row) => is_row,
                Err(error) => {
                    findings.error(self.line, fault(&error));
                    return None;
                }
            };
            if !is_row {
                self.check_quotes(findings);
                return None;
            }
            let position = row.position().map_or(0, csv::Position::byte);
            let offset = self.begin(position as usize);
            self.line = self.lines.at(offset);
            findings.read(offset);
            if row.iter().any(|cell| !cell.trim().is_empty()) {
                return Some(self.line);
            }
        }
    }

    /// The reader counts line ends and comments before a row to the row.
    fn begin(&self, offset: usize) -> usize {
        let mut rest = self.text.get(offset..).unwrap_or_default();
        loop {
            let trimmed = rest.trim_start_matches(['\r', '\n']);
            match trimmed.split_once('\n') {
                Some((line, behind)) if line.starts_with('#') && self.cells == Cells::Trimmed => {
                    rest = behind;
                }
                _ => return self.text.len() - trimmed.len(),
            }
        }
    }

    fn check_quotes(&self, findings: &mut Findings<'_>) {
        // Quotes come in pairs: around a cell, and doubled inside.
        if self.text.bytes().filter(|&octet| octet == b'"').count() % 2 == 1 {
            let message = "a quote is opened in this row or before and never closed; close it, and \
                           write a quote inside a cell twice";
            findings.error(self.line, message);
        }
    }
}

/// The separator that the first line with text has most of.
fn delimiter(text: &str) -> u8 {
    let is_first = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let first = text.lines().find(is_first).unwrap_or_default();
    let mut is_quoted = false;
    let mut counts = [0; DELIMITERS.len()];
    for octet in first.bytes() {
        is_quoted ^= octet == b'"';
        if let Some(index) = DELIMITERS.iter().position(|&d| d == octet && !is_quoted) {
            counts[index] += 1;
        }
    }
    let most = (0..DELIMITERS.len()).rev().max_by_key(|&index| counts[index]);
    DELIMITERS[most.unwrap_or(0)]
}

fn fault(error: &csv::Error) -> String {
    match error.kind() {
        ErrorKind::Utf8 { .. } => "not UTF-8; save the file as UTF-8".to_owned(),
        _ => gatepost_policy::printable::Printable(&error.to_string()).to_string(),
    }
}
