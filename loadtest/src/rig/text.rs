//! Figures for a terminal: the tables in columns, without the plots.

use std::fmt::Write as _;

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
            render_table(&mut text, table);
        }
    }
    text
}

/// The first column to the left, numbers to the right.
fn render_table(text: &mut String, table: &Table) {
    if !table.title.is_empty() {
        let _ = writeln!(text, "  {}", table.title);
    }
    let lines: Vec<&Vec<String>> = std::iter::once(&table.columns).chain(&table.rows).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
    };
    for line in &lines {
        let cells = line.iter().enumerate().map(|(column, cell)| {
            let width = width(column).unwrap_or(0);
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let mut text = String::new();
        let columns = vec!["entries".to_owned(), "µs".to_owned()];
        let rows = vec![vec!["10".to_owned(), "70.2".to_owned()]];
        render_table(&mut text, &Table { title: "cost".to_owned(), columns, rows });
        assert_eq!(text, "  cost\n  entries    µs\n  10       70.2\n");
    }
}
