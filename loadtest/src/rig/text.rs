//! Figures for a terminal: the tables in columns, without the plots.

use std::fmt::{self, Write as _};

use crate::figures::{Figures, Table};

/// All of them, one section after the other.
pub(crate) fn render(figures: &Figures) -> String {
    let mut text = String::new();
    let Figures { title, machine, began, .. } = figures;
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{title}\n{machine}\n{began}");
    for section in &figures.sections {
        let _ = writeln!(text, "\n{}", section.title);
        for table in &section.tables {
            let _ = write_table(&mut text, table, 1);
        }
    }
    text
}

/// The first columns, which are names, to the left; the others, which are numbers, to the right.
pub(crate) fn write_table(text: &mut impl fmt::Write, table: &Table, names: usize) -> fmt::Result {
    if !table.title.is_empty() {
        writeln!(text, "  {}", table.title)?;
    }
    let lines: Vec<&Vec<String>> = std::iter::once(&table.columns).chain(&table.rows).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
    };
    for line in &lines {
        let cells = line.iter().enumerate().map(|(column, cell)| {
            let width = width(column).unwrap_or(0);
            if column < names { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let mut text = String::new();
        let rows = vec![vec!["10".to_owned(), "70.2".to_owned()]];
        write_table(&mut text, &Table::new("cost", &["entries", "µs"], rows), 1).unwrap();
        assert_eq!(text, "  cost\n  entries    µs\n  10       70.2\n");
    }
}
