//! What a page can hold: each limit, and what makes a plot impossible.
//!
//! Everything is looked at before the first octet is written, and an error names the place by its
//! titles. Whoever draws may rely on it: values are finite and not absurd, positive where an axis is
//! logarithmic, and a bar stands over a name.

use std::mem;

use anyhow::{Context, ensure};

use crate::figures::{Axis, Figures, Plot, Scale, Section, Series, Style, Table};

/// Measurements of a page: what one scrolls through.
const FIGURES_MAX: usize = 50;
/// Sections of a measurement; further ones belong on a page of their own.
const SECTIONS_MAX: usize = 50;
/// Tables of a section, and as many plots.
const PARTS_MAX: usize = 20;
/// Plots of a page: each is drawn twice, and nobody looks at more.
const PLOTS_IN_ALL_MAX: usize = 200;
/// Rows of a table: more are data, and the JSON file has them.
const ROWS_MAX: usize = 2000;
/// Columns of a table: more do not fit a screen.
const COLUMNS_MAX: usize = 24;
/// Series of a plot: eight colours, each also dashed.
pub(super) const SERIES_MAX: usize = 16;
/// Names on an axis: more cannot be read below each other's bars.
const NAMES_MAX: usize = 24;
/// Marks of a plot: more are a grid.
const MARKS_MAX: usize = 8;
/// Points of a series: ten for each dot of a wide screen.
const POINTS_MAX: usize = 20_000;
/// Points of a page: 12 MB of it.
const POINTS_IN_ALL_MAX: usize = 500_000;
/// Characters of a text: a paragraph or a command line, and not a log file.
const TEXT_OCTETS_MAX: usize = 20_000;
/// Characters of a name in an error: enough to find it, whatever its length.
const NAMED_CHARACTERS_MAX: usize = 60;
/// Largest value: neighbours below 2^53 are still told apart, and nothing that is measured comes near.
const VALUE_MAX: f64 = 1e15;
/// Smallest value of a logarithmic axis, for the same reason.
const VALUE_MIN: f64 = 1.0 / VALUE_MAX;

/// Whether all of it can be drawn.
pub(super) fn check(figures: &[Figures]) -> anyhow::Result<()> {
    ensure!(!figures.is_empty(), "there are no figures to draw");
    most("measurements", figures.len(), FIGURES_MAX)?;
    for (number, figures) in (1..).zip(figures) {
        check_figures(figures).with_context(|| place("measurement", number, &figures.title))?;
    }
    let sections = figures.iter().flat_map(|figures| &figures.sections);
    let plots = sections.flat_map(|section| &section.plots);
    most("plots on a page", plots.clone().count(), PLOTS_IN_ALL_MAX)?;
    let series = plots.flat_map(|plot| &plot.series);
    most("points on a page", series.map(|series| series.points.len()).sum(), POINTS_IN_ALL_MAX)
}

fn check_figures(figures: &Figures) -> anyhow::Result<()> {
    most("sections", figures.sections.len(), SECTIONS_MAX)?;
    texts([&figures.title, &figures.command, &figures.began, &figures.machine])?;
    for (number, section) in (1..).zip(&figures.sections) {
        check_section(section).with_context(|| format!("section {number} {:?}", section.title))?;
    }
    Ok(())
}

fn check_section(section: &Section) -> anyhow::Result<()> {
    texts([&section.title, &section.text])?;
    most("tables", section.tables.len(), PARTS_MAX)?;
    most("plots", section.plots.len(), PARTS_MAX)?;
    for (number, table) in (1..).zip(&section.tables) {
        check_table(table).with_context(|| place("table", number, &table.title))?;
    }
    for (number, plot) in (1..).zip(&section.plots) {
        check_plot(plot).with_context(|| place("plot", number, &plot.title))?;
    }
    Ok(())
}

fn check_table(table: &Table) -> anyhow::Result<()> {
    most("rows", table.rows.len(), ROWS_MAX)?;
    most("columns", table.columns.len(), COLUMNS_MAX)?;
    texts([&table.title])?;
    texts(&table.columns)?;
    for (number, row) in (1..).zip(&table.rows) {
        let (cells, columns) = (row.len(), table.columns.len());
        ensure!(
            cells == columns,
            "row {number} has {cells} cells, and there are {columns} columns"
        );
        texts(row)?;
    }
    Ok(())
}

fn check_plot(plot: &Plot) -> anyhow::Result<()> {
    most("series", plot.series.len(), SERIES_MAX)?;
    most("marks", plot.marks.len(), MARKS_MAX)?;
    most("names on an axis", plot.x.names.len(), NAMES_MAX)?;
    texts([&plot.title, &plot.x.label, &plot.y.label])?;
    texts(&plot.x.names)?;
    ensure!(plot.y.names.is_empty(), "the vertical axis has names; only the horizontal one can");
    let points: usize = plot.series.iter().map(|series| series.points.len()).sum();
    ensure!(points > 0, "there is no point in any of its series");
    for (number, series) in (1..).zip(&plot.series) {
        check_series(plot, series).with_context(|| place("series", number, &series.name))?;
    }
    for (number, mark) in (1..).zip(&plot.marks) {
        texts([&mark.label])?;
        check_value("y", mark.y, &plot.y).with_context(|| place("mark", number, &mark.label))?;
    }
    Ok(())
}

fn check_series(plot: &Plot, series: &Series) -> anyhow::Result<()> {
    texts([&series.name])?;
    most("points", series.points.len(), POINTS_MAX)?;
    let names = plot.x.names.len();
    ensure!(series.style != Style::Bars || names > 0, "bars need names on the horizontal axis");
    let mut over = vec![false; names];
    for (number, &(x, y)) in (1..).zip(&series.points) {
        let mut check = || {
            check_value("y", y, &plot.y)?;
            if names == 0 {
                return check_value("x", x, &plot.x);
            }
            let stands = x >= 0.0 && x < names as f64 && x.fract() == 0.0;
            ensure!(stands, "x is {x}, and the names are counted from 0 to {}", names - 1);
            let twice = mem::replace(&mut over[x as usize], true);
            ensure!(!twice, "there already is a point over {:?}", plot.x.names[x as usize]);
            Ok(())
        };
        check().with_context(|| format!("point {number}"))?;
    }
    Ok(())
}

fn check_value(name: &str, value: f64, axis: &Axis) -> anyhow::Result<()> {
    ensure!(value.is_finite(), "{name} is {value}, which has no place on an axis");
    ensure!(value.abs() <= VALUE_MAX, "{name} is {value}; up to {VALUE_MAX:e} can be drawn");
    if axis.scale == Scale::Logarithmic {
        ensure!(value > 0.0, "{name} is {value}, and a logarithmic axis begins above zero");
        ensure!(value >= VALUE_MIN, "{name} is {value:e}; from {VALUE_MIN:e} on can be drawn");
    }
    Ok(())
}

/// The number of a thing, and the beginning of its name.
fn place(what: &str, number: usize, name: &str) -> String {
    let begin: String = name.chars().take(NAMED_CHARACTERS_MAX).collect();
    format!("{what} {number} {begin:?}")
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a String>) -> anyhow::Result<()> {
    let longest = texts.into_iter().map(String::len).max().unwrap_or_default();
    most("octets of text", longest, TEXT_OCTETS_MAX)
}

fn most(what: &str, found: usize, most: usize) -> anyhow::Result<()> {
    ensure!(found <= most, "{found} {what}, and {most} can be drawn");
    Ok(())
}
