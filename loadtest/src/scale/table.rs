//! Tables and plots of the questions, with fewer words.

use crate::figures::{Axis, Mark, Plot, Scale, Series, Style, Table};

/// A table from texts.
pub(super) fn table(title: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Table {
    let columns = columns.iter().map(|&column| column.to_owned()).collect();
    Table { title: title.to_owned(), columns, rows }
}

/// A plot over numbers.
pub(super) fn plot(title: &str, x: Axis, y: Axis, series: Vec<Series>, marks: Vec<Mark>) -> Plot {
    Plot { title: title.to_owned(), x, y, series, marks }
}

/// An axis whose values are spread evenly.
pub(super) fn linear(label: &str) -> Axis {
    Axis { label: label.to_owned(), scale: Scale::Linear, names: Vec::new() }
}

/// An axis by powers of ten.
pub(super) fn logarithmic(label: &str) -> Axis {
    Axis { label: label.to_owned(), scale: Scale::Logarithmic, names: Vec::new() }
}

/// An axis with a bar over each name.
pub(super) fn named(label: &str, names: &[&str]) -> Axis {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    Axis { label: label.to_owned(), scale: Scale::Linear, names }
}

/// Dots with a line through them.
pub(super) fn dots(name: &str, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.to_owned(), style: Style::LineWithDots, points }
}

/// A bar for each value.
pub(super) fn bars(name: &str, values: &[f64]) -> Series {
    let points = (0..).map(f64::from).zip(values.iter().copied()).collect();
    Series { name: name.to_owned(), style: Style::Bars, points }
}

/// A goal or a limit.
pub(super) fn mark(y: f64, label: &str) -> Mark {
    Mark { y, label: label.to_owned() }
}

/// Octets as MiB, one digit.
pub(super) fn mib(octets: f64) -> String {
    format!("{:.1}", octets / (1024.0 * 1024.0))
}
