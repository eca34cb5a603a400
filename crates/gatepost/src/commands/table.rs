//! Tables for people: columns under their names.

use gatepost_policy::printable::Printable;

/// Characters between two columns.
const GAP: usize = 2;

/// Rows that are shown as they come. Columns are as wide as the first rows need; a later one that is
/// longer pushes its row to the right.
pub(super) struct Table<const COLUMNS: usize> {
    names: [&'static str; COLUMNS],
    /// Known once the first rows are there.
    widths: Option<[usize; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) const fn new(names: [&'static str; COLUMNS]) -> Self {
        Self { names, widths: None }
    }

    /// The lines of some rows, with the names of the columns above the first.
    pub(super) fn lines(&mut self, rows: &[[String; COLUMNS]]) -> String {
        let mut lines = String::new();
        if self.widths.is_none() {
            let names = self.names.map(str::to_owned);
            let width = |column: usize| {
                let cells = rows.iter().chain([&names]).map(|row| &row[column]);
                // As it is shown: what is escaped is longer.
                let cells = cells.map(|cell| Printable(cell).to_string().chars().count());
                cells.max().unwrap_or_default()
            };
            self.widths = Some(std::array::from_fn(width));
            self.push(&mut lines, &names);
        }
        for row in rows {
            self.push(&mut lines, row);
        }
        lines
    }

    fn push(&self, lines: &mut String, row: &[String; COLUMNS]) {
        let widths = self.widths.unwrap_or([0; COLUMNS]);
        let start = lines.len();
        for (cell, width) in row.iter().zip(widths) {
            // What others wrote may not move the cursor.
            let cell = Printable(cell).to_string();
            lines.push_str(&cell);
            let padding = width.saturating_sub(cell.chars().count()) + GAP;
            lines.extend(std::iter::repeat_n(' ', padding));
        }
        let end = lines[start..].trim_end().len();
        lines.truncate(start + end);
        lines.push('\n');
    }
}

/// Some of a list, and how many more there are.
pub(super) fn shortened(items: &[String], shown_max: usize) -> String {
    let shown = items.iter().take(shown_max).map(String::as_str).collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(shown_max) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_names() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let mut table = Table::new(["NAME", "N", "LAST"]);
        let lines = table.lines(&[row(["a", "1000", "x"]), row(["longer", "1", ""])]);
        assert_eq!(lines, "NAME    N     LAST\na       1000  x\nlonger  1\n");
        assert_eq!(table.lines(&[row(["b\u{1b}", "2", "y"])]), "b\\u{1b}  2     y\n");
        assert_eq!(Table::new(["NAME"]).lines(&[]), "NAME\n");
        // What is escaped is as wide as it is shown.
        let rows = [row(["\u{1b}", "1", "x"]), row(["a", "2", "y"])];
        let lines = Table::new(["NAME", "N", "LAST"]).lines(&rows);
        assert_eq!(lines, "NAME    N  LAST\n\\u{1b}  1  x\na       2  y\n");
    }

    #[test]
    fn long_lists_are_shortened() {
        let items = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(shortened(&items, 3), "a, b, c");
        assert_eq!(shortened(&items, 1), "a and 2 more");
        assert_eq!(shortened(&[], 1), "");
    }
}
