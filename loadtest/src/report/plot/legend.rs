//! Which colour is whose: at the ends of the lines where they are few, else in rows above the plot.

use maud::{Markup, html};

use super::frame::Frame;
use super::{FONT_SIZE, Format, LINE_HEIGHT, colour, has_bars};
use crate::figures::{Plot, Series, Style};
use crate::report::number::{coordinate, read_out};
use crate::report::text;

/// Lines that are named at their ends; names of more are pushed too far away from them.
const ENDS_MAX: usize = 6;
/// Part of the width that names at the ends may take.
const ENDS_WIDTH_MAX: f64 = 0.28;
/// How far before the end of the axis a line may end, in parts of the axis, to be named beside it.
const ENDS_APART_MAX: f64 = 0.03;
/// Width of the piece of colour.
const KEY_WIDTH: f64 = 16.0;
/// From its beginning to the name.
const NAME_INDENT: f64 = 24.0;
/// Between two entries of a row.
const ENTRY_GAP: f64 = 18.0;
/// Distance of two rows, and of the last one from the plot.
const ROW_HEIGHT: f64 = 22.0;

/// Where the names are.
#[derive(Debug)]
pub(super) enum Legend {
    /// Beside the ends of the lines, which takes so much of the width.
    Ends(f64),
    /// In rows, of which there may be none: the label of the axis says what a single set of bars is.
    Rows(Vec<Vec<Entry>>),
}

/// A place in a row.
#[derive(Debug)]
pub(super) struct Entry {
    of: Of,
    name: String,
    x: f64,
}

/// What an entry names.
#[derive(Clone, Copy, Debug)]
enum Of {
    Mark,
    Series(usize),
}

impl Legend {
    pub(super) fn of(plot: &Plot, format: Format) -> Self {
        let width = |series: &Series| text::width(&series.name, FONT_SIZE) + NAME_INDENT;
        let widest = plot.series.iter().map(width).fold(0.0, f64::max);
        let narrow = widest > format.width() * ENDS_WIDTH_MAX || format == Format::Narrow;
        if !narrow && plot.series.len() <= ENDS_MAX && end_together(plot) {
            Self::Ends(widest + ENTRY_GAP / 2.0)
        } else {
            Self::Rows(rows(plot, format.width()))
        }
    }

    /// Room on the right of the plot, and at least so much.
    pub(super) fn right_margin(&self, least: f64) -> f64 {
        match self {
            Self::Ends(width) => width.max(least),
            Self::Rows(_) => least,
        }
    }

    /// Room above the plot.
    pub(super) fn height(&self) -> f64 {
        match self {
            Self::Ends(_) => 0.0,
            Self::Rows(rows) => rows.len() as f64 * ROW_HEIGHT,
        }
    }

    /// The rows, if there are any.
    pub(super) fn rows(&self, plot: &Plot) -> Markup {
        let Self::Rows(rows) = self else { return Markup::default() };
        html! {
            @for (number, row) in (0_u8..).zip(rows) {
                @let y = FONT_SIZE / 2.0 + f64::from(number) * ROW_HEIGHT;
                @for entry in row {
                    @match entry.of {
                        Of::Mark => {
                            line.mark x1=(coordinate(entry.x)) x2=(coordinate(entry.x + KEY_WIDTH))
                                y1=(coordinate(y)) y2=(coordinate(y)) {}
                            (name(&entry.name, entry.x, y))
                        }
                        Of::Series(index) => (key(&plot.series[index], index, entry.x, y)),
                    }
                }
            }
        }
    }

    /// The names beside the lines, if that is where they are.
    pub(super) fn ends(&self, plot: &Plot, frame: &Frame) -> Markup {
        let Self::Ends(_) = self else { return Markup::default() };
        let end =
            |(index, series): (usize, &Series)| Some((index, frame.y(series.points.last()?.1)));
        let mut places: Vec<_> = plot.series.iter().enumerate().filter_map(end).collect();
        places.sort_by(|one, other| one.1.total_cmp(&other.1));
        // Each below the one before, then back up from the last: they end within the plot.
        let mut least = frame.top;
        for place in &mut places {
            place.1 = place.1.max(least);
            least = place.1 + LINE_HEIGHT;
        }
        let mut most = frame.bottom;
        for place in places.iter_mut().rev() {
            place.1 = place.1.min(most);
            most = place.1 - LINE_HEIGHT;
        }
        html! {
            @for (index, y) in places {
                (key(&plot.series[index], index, frame.right + ENTRY_GAP / 2.0, y))
            }
        }
    }
}

/// A piece of colour and a name, with their middle at y.
fn key(series: &Series, index: usize, x: f64, y: f64) -> Markup {
    let end = coordinate(x + KEY_WIDTH);
    let middle = coordinate(x + KEY_WIDTH / 2.0);
    html! {
        g class=(colour(index)) {
            @if series.style == Style::Bars {
                rect.bar x=(coordinate(x)) y=(coordinate(y - 5.5)) width=(KEY_WIDTH) height="11" rx="2" {}
            } @else {
                line.line x1=(coordinate(x)) x2=(end) y1=(coordinate(y)) y2=(coordinate(y)) {}
                @if series.style == Style::LineWithDots {
                    circle.dot cx=(middle) cy=(coordinate(y)) r="3.5" {}
                }
            }
            (name(&series.name, x, y))
        }
    }
}

fn name(name: &str, x: f64, y: f64) -> Markup {
    html! {
        text.name x=(coordinate(x + NAME_INDENT)) y=(coordinate(y + FONT_SIZE / 3.0)) { (name) }
    }
}

/// Whether all are lines that end at the end of the axis, where their names would be.
fn end_together(plot: &Plot) -> bool {
    let all = plot.series.iter().flat_map(|series| &series.points).map(|point| point.0);
    let ends = |(low, high): (f64, f64), x: f64| (low.min(x), high.max(x));
    let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), ends);
    let near = high - (high - low) * ENDS_APART_MAX;
    let ends_there = |series: &Series| series.points.last().is_some_and(|last| last.0 >= near);
    plot.x.names.is_empty() && !has_bars(plot) && plot.series.iter().all(ends_there)
}

/// The entries, from left to right and in as many rows as they need. Marks have one among bars, which
/// leave no room for a label.
fn rows(plot: &Plot, width: f64) -> Vec<Vec<Entry>> {
    let series = plot.series.iter().enumerate();
    let series = series.map(|(index, series)| (Of::Series(index), series.name.clone()));
    let marks = plot.marks.iter();
    let marks = marks.map(|mark| (Of::Mark, format!("{} ({})", mark.label, read_out(mark.y))));
    let unnamed = plot.series.len() == 1 && has_bars(plot);
    let series = series.skip(usize::from(unnamed));
    let marks = marks.take(if has_bars(plot) { plot.marks.len() } else { 0 });
    let mut rows: Vec<Vec<Entry>> = Vec::new();
    let mut x = 0.0;
    for (of, name) in series.chain(marks) {
        let wide = NAME_INDENT + text::width(&name, FONT_SIZE);
        match rows.last_mut() {
            Some(row) if x + wide <= width => row.push(Entry { of, name, x }),
            _ => {
                x = 0.0;
                rows.push(vec![Entry { of, name, x }]);
            }
        }
        x += wide + ENTRY_GAP;
    }
    rows
}
