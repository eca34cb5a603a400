//! What is drawn between the axes: bars, lines, marks, and the values that show when they are pointed at.

use std::fmt::Write as _;
use std::ops::Range;

use maud::{Markup, html};

use super::frame::Frame;
use super::{FONT_SIZE, LINE_HEIGHT, colour, has_bars};
use crate::figures::{Mark, Plot, Series, Style};
use crate::report::number::{coordinate, read_out};
use crate::report::text;

/// Part of the place of a name that its bars take.
const BARS_WIDTH: f64 = 0.74;
/// Widest bar: a wider one looks like a wall.
const BAR_WIDTH_MAX: f64 = 72.0;
/// Between two bars that stand side by side.
const BAR_GAP: f64 = 2.0;
/// Narrowest bar, which still has a colour.
const BAR_WIDTH_MIN: f64 = 1.0;
/// Points of a line that show their value: one for each width of a finger's tip, or thereabouts.
const READ_OUTS_MAX: usize = 120;
/// Dots of a line that has them; on more of them they are a thick line.
const DOTS_MAX: usize = 120;

/// All bars, side by side over their name.
pub(super) fn bars(plot: &Plot, frame: &Frame) -> Markup {
    html! {
        @for (index, series) in plot.series.iter().enumerate() {
            @if series.style == Style::Bars {
                g class=(colour(index)) {
                    @for &(x, y) in &series.points { (bar(plot, frame, index, (x, y))) }
                }
            }
        }
    }
}

/// The value over each bar, where there is room for all of them.
pub(super) fn bar_values(plot: &Plot, frame: &Frame) -> Markup {
    if !values_fit(plot, frame) {
        return Markup::default();
    }
    html! {
        @for (index, series) in plot.series.iter().enumerate() {
            @if series.style == Style::Bars {
                @for &(x, y) in &series.points {
                    @let (left, width) = place(plot, frame, index, x);
                    @let above = frame.y(y) - FONT_SIZE / 3.0;
                    text.value.middle x=(coordinate(left + width / 2.0)) y=(coordinate(above)) {
                        (read_out(y))
                    }
                }
            }
        }
    }
}

fn bar(plot: &Plot, frame: &Frame, index: usize, (x, y): (f64, f64)) -> Markup {
    let (left, width) = place(plot, frame, index, x);
    let (end, base) = (frame.y(y), frame.y(frame.y_span.base()));
    html! {
        rect.bar x=(coordinate(left)) y=(coordinate(end.min(base))) width=(coordinate(width))
            height=(coordinate((end - base).abs())) rx="1.5" {
            title { (read_out_of(plot, &plot.series[index], (x, y))) }
        }
    }
}

/// Left edge and width of a bar. Only the series that have a bar over this name share its place.
fn place(plot: &Plot, frame: &Frame, index: usize, x: f64) -> (f64, f64) {
    let stands = |series: &Series| {
        series.style == Style::Bars && series.points.iter().any(|point| same(point.0, x))
    };
    let standing = plot.series.iter().filter(|series| stands(series)).count().max(1);
    let before = plot.series[..index].iter().filter(|series| stands(series)).count();
    let pitch = (frame.slot() * BARS_WIDTH / standing as f64).min(BAR_WIDTH_MAX);
    let left = frame.x(x) + pitch * (before as f64 - standing as f64 / 2.0);
    (left + BAR_GAP / 2.0, (pitch - BAR_GAP).max(BAR_WIDTH_MIN))
}

/// Whether a value fits over each bar. Else they are shown on pointing.
fn values_fit(plot: &Plot, frame: &Frame) -> bool {
    let bars = plot.series.iter().enumerate().filter(|(_, series)| series.style == Style::Bars);
    let mut bars = bars.flat_map(|(index, series)| series.points.iter().map(move |at| (index, at)));
    bars.all(|(index, &(x, y))| {
        let (_, width) = place(plot, frame, index, x);
        y >= 0.0 && text::width(&read_out(y), FONT_SIZE) <= width + 2.0 * BAR_GAP
    })
}

/// All lines, the first series on top of the others.
pub(super) fn lines(plot: &Plot, frame: &Frame) -> Markup {
    html! {
        @for (index, series) in plot.series.iter().enumerate().rev() {
            @if series.style != Style::Bars && !series.points.is_empty() {
                g class=(colour(index)) {
                    path.line d=(path(series, frame)) {}
                    @if has_dots(series) {
                        @for &(x, y) in &series.points {
                            circle.dot cx=(coordinate(frame.x(x))) cy=(coordinate(frame.y(y))) r="3.5" {}
                        }
                    }
                }
            }
        }
    }
}

/// A line of one point cannot be seen without its dot.
fn has_dots(series: &Series) -> bool {
    let wanted = series.style == Style::LineWithDots && series.points.len() <= DOTS_MAX;
    wanted || series.points.len() == 1
}

fn path(series: &Series, frame: &Frame) -> String {
    let mut path = String::new();
    for &(x, y) in &series.points {
        let verb = if path.is_empty() { 'M' } else { 'L' };
        // Writing to a string does not fail.
        let _ = write!(path, "{verb}{} {}", coordinate(frame.x(x)), coordinate(frame.y(y)));
    }
    path
}

/// Goals and limits, across the whole plot. Over lines their label is on the emptier side; of two that
/// are close, the lower has it below. Among bars there is no empty side, and the legend has it.
pub(super) fn marks(plot: &Plot, frame: &Frame) -> Markup {
    let mut marks: Vec<&Mark> = plot.marks.iter().collect();
    marks.sort_by(|one, other| other.y.total_cmp(&one.y));
    let close = |index: usize, y: f64| {
        index > 0 && y - frame.y(marks[index - 1].y) < LINE_HEIGHT + FONT_SIZE
    };
    let (left, right) = (coordinate(frame.left), coordinate(frame.right));
    html! {
        @for (index, mark) in marks.iter().enumerate() {
            @let y = frame.y(mark.y);
            line.mark x1=(left) x2=(right) y1=(coordinate(y)) y2=(coordinate(y)) {}
            @if !has_bars(plot) {
                @let below = if close(index, y) { FONT_SIZE + 1.0 } else { -FONT_SIZE / 2.0 };
                (mark_label(mark, plot, frame, y + below))
            }
        }
    }
}

fn mark_label(mark: &Mark, plot: &Plot, frame: &Frame, baseline: f64) -> Markup {
    let width = text::width(&mark.label, FONT_SIZE);
    let under = |from: f64| covered(plot, frame, from..from + width, baseline);
    html! {
        @if under(frame.right - width) > under(frame.left) {
            text.mark x=(coordinate(frame.left + BAR_GAP)) y=(coordinate(baseline)) { (mark.label) }
        } @else {
            text.mark.end x=(coordinate(frame.right)) y=(coordinate(baseline)) { (mark.label) }
        }
    }
}

/// How many points a text between two x, with its baseline at y, would cover.
fn covered(plot: &Plot, frame: &Frame, text: Range<f64>, baseline: f64) -> usize {
    let lines = baseline - FONT_SIZE..baseline;
    let points = plot.series.iter().flat_map(|series| &series.points);
    let covers = |(x, y): (f64, f64)| text.contains(&frame.x(x)) && lines.contains(&frame.y(y));
    points.filter(|point| covers(**point)).count()
}

/// Dots that nobody sees until they are pointed at, with their value; on top of everything.
pub(super) fn read_outs(plot: &Plot, frame: &Frame) -> Markup {
    html! {
        @for (index, series) in plot.series.iter().enumerate().rev() {
            @if series.style != Style::Bars {
                @let stride = series.points.len().div_ceil(READ_OUTS_MAX).max(1);
                g class=(colour(index)) {
                    @for &(x, y) in series.points.iter().step_by(stride) {
                        circle.read-out cx=(coordinate(frame.x(x))) cy=(coordinate(frame.y(y))) r="5" {
                            title { (read_out_of(plot, series, (x, y))) }
                        }
                    }
                }
            }
        }
    }
}

fn read_out_of(plot: &Plot, series: &Series, (x, y): (f64, f64)) -> String {
    let (x_label, y_label) = (&plot.x.label, &plot.y.label);
    let at = match plot.x.names.get(x as usize) {
        Some(name) => name.clone(),
        None => format!("{x_label}: {}", read_out(x)),
    };
    format!("{}\n{at}\n{y_label}: {}", series.name, read_out(y))
}

/// Bars stand over whole numbers.
fn same(one: f64, other: f64) -> bool {
    (one - other).abs() < 0.5
}
