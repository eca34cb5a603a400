//! The page: headings, tables, plots, and the way to each of them.
//!
//! Complete without a script, and without anything from elsewhere. Each plot is drawn twice, for wide
//! and for narrow screens, of which the style shows one; what its lines say is also there as a table,
//! where that is not too long to read.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::number::read_out;
use super::plot::{self, COLOURS, Format, STYLE};
use super::text;
use crate::figures::{Figures, Plot, Section, Table};

/// How the page looks.
const PAGE_STYLE: &str = include_str!("page.css");
/// Rows of values below a plot: more are data, and the JSON file has them.
const VALUES_MAX: usize = 100;

/// Letters of a unit behind a number: `KiB/s`. More are a name that begins with a number.
const UNIT_LETTERS_MAX: usize = 4;

/// The whole page; `data` is the name of the JSON file beside it.
pub(super) fn page(figures: &[Figures], data: &str) -> String {
    let title = match figures {
        [figures] => figures.title.clone(),
        _ => format!("{} measurements", figures.len()),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content=(concat!("gatepost-loadtest ", env!("CARGO_PKG_VERSION")));
                title { (title) }
                // No icon is asked for either.
                link rel="icon" href="data:,";
                style { (PreEscaped(COLOURS)) (PreEscaped(STYLE)) (PreEscaped(PAGE_STYLE)) }
            }
            body {
                (contents(figures))
                main {
                    h1 { (title) }
                    @for (number, figures_) in (1..).zip(figures) {
                        (measurement(figures_, number, figures.len()))
                    }
                    footer {
                        "The same values for programs: " a href=(format!("./{}", url(data))) { (data) }
                    }
                }
            }
        }
    };
    text::only_xml(&page.into_string()).into_owned()
}

/// The table of contents, of a page that has more than one screen.
fn contents(figures: &[Figures]) -> Markup {
    let sections: usize = figures.iter().map(|figures| figures.sections.len()).sum();
    if sections < 2 {
        return Markup::default();
    }
    html! {
        nav aria-label="Contents" {
            ol {
                @for (number, part) in (1..).zip(figures) {
                    @if figures.len() == 1 {
                        (entries(part, number))
                    } @else {
                        li {
                            a href=(format!("#{}", id(number, 0))) { (part.title) }
                            ol { (entries(part, number)) }
                        }
                    }
                }
            }
        }
    }
}

fn entries(figures: &Figures, number: usize) -> Markup {
    html! {
        @for (index, section) in (1..).zip(&figures.sections) {
            li { a href=(format!("#{}", id(number, index))) { (section.title) } }
        }
    }
}

fn measurement(figures: &Figures, number: usize, of: usize) -> Markup {
    html! {
        article {
            @if of > 1 { h2 id=(id(number, 0)) { (figures.title) } }
            @if [&figures.began, &figures.machine, &figures.command].iter().any(|fact| !fact.is_empty()) {
                (facts(figures))
            }
            @for (index, part) in (1..).zip(&figures.sections) {
                section {
                    @let id = id(number, index);
                    @if of > 1 { h3 id=(id) { (part.title) } } @else { h2 id=(id) { (part.title) } }
                    (section(part))
                }
            }
        }
    }
}

fn facts(figures: &Figures) -> Markup {
    html! {
        dl.facts {
            @for (name, fact) in [("Began", &figures.began), ("Machine", &figures.machine)] {
                @if !fact.is_empty() { div { dt { (name) } dd { (fact) } } }
            }
            @if !figures.command.is_empty() {
                div { dt { "Command" } dd { code { (figures.command) } } }
            }
        }
    }
}

fn section(section: &Section) -> Markup {
    html! {
        @if !section.text.is_empty() { p { (section.text) } }
        @for part in &section.tables { (table(part)) }
        @for plot in &section.plots {
            figure {
                figcaption { (plot.title) }
                (plot::inline(plot, Format::Wide))
                (plot::inline(plot, Format::Narrow))
                @if let Some(values) = values(plot) {
                    details { summary { "Values" } (table(&values)) }
                }
            }
        }
    }
}

fn table(table: &Table) -> Markup {
    let numeric: Vec<bool> = (0..table.columns.len()).map(|at| is_numeric(table, at)).collect();
    let class = |column: usize| numeric[column].then_some("number");
    html! {
        figure.table {
            @if !table.title.is_empty() { figcaption { (table.title) } }
            div.scroll { table {
                thead { tr {
                    @for (at, head) in table.columns.iter().enumerate() {
                        th scope="col" class=[class(at)] { (head) }
                    }
                } }
                tbody {
                    @for row in &table.rows { tr {
                        @for (at, cell) in row.iter().enumerate() {
                            @if at == 0 { th scope="row" class=[class(at)] { (cell) } }
                            @else { td class=[class(at)] { (cell) } }
                        }
                    } }
                }
            } }
        }
    }
}

/// Whether each cell of a column that says anything is a number, perhaps with its unit.
fn is_numeric(table: &Table, column: usize) -> bool {
    let begins = |cell: &str| {
        let cell =
            cell.trim_start_matches(['+', '-', '−', '–', '—', '<', '>', '≤', '≥', '≈', '±', ' ']);
        cell.is_empty() || cell.starts_with(|first: char| first.is_ascii_digit())
    };
    let letters = |cell: &str| cell.chars().filter(|any| any.is_alphabetic()).count();
    let mut cells = table.rows.iter().filter_map(|row| row.get(column)).peekable();
    cells.peek().is_some() && cells.all(|cell| begins(cell) && letters(cell) <= UNIT_LETTERS_MAX)
}

/// The points of a plot as a table, if it is short.
fn values(plot: &Plot) -> Option<Table> {
    let mut xs: Vec<f64> =
        plot.series.iter().flat_map(|series| &series.points).map(|point| point.0).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let row = |x: f64| {
        let first = plot.x.names.get(x as usize).cloned().unwrap_or_else(|| read_out(x));
        let at = |point: &&(f64, f64)| point.0.total_cmp(&x).is_eq();
        let value = |point: &(f64, f64)| read_out(point.1);
        let cells = plot.series.iter();
        let cells = cells.map(|series| series.points.iter().find(at).map_or(String::new(), value));
        [first].into_iter().chain(cells).collect()
    };
    let names = plot.series.iter().map(|series| series.name.clone());
    (xs.len() <= VALUES_MAX).then(|| Table {
        title: plot.y.label.clone(),
        columns: [plot.x.label.clone()].into_iter().chain(names).collect(),
        rows: xs.iter().map(|x| row(*x)).collect(),
    })
}

/// Of a measurement, or of one of its sections.
fn id(measurement: usize, section: usize) -> String {
    match section {
        0 => format!("m{measurement}"),
        section => format!("m{measurement}-{section}"),
    }
}

/// A file name as a part of a URL (RFC 3986 §2.1).
fn url(name: &str) -> String {
    let octet = |octet: u8| match octet {
        b'-' | b'.' | b'_' | b'~' => char::from(octet).to_string(),
        octet if octet.is_ascii_alphanumeric() => char::from(octet).to_string(),
        octet => format!("%{octet:02X}"),
    };
    name.bytes().map(octet).collect()
}
