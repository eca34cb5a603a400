//! The room of a plot: how much its labels need, and where that leaves the values.
//!
//! Text has to be placed before anybody measures it, so margins come from estimates. The label of the
//! vertical axis lies above it, where it is read without turning the head.

use maud::{Markup, html};

use super::legend::Legend;
use super::names::Names;
use super::scale::{Ends, Span, Tick, Wish, Zero};
use super::{FONT_SIZE, Format, LABEL_LINES_MAX, LINE_HEIGHT, has_bars};
use crate::figures::Plot;
use crate::report::number::coordinate;
use crate::report::text;

/// Width that a label of the horizontal axis takes, with air.
const TICK_WIDTH: f64 = 66.0;
/// Room for the half of the last label that is beyond the end of the axis.
const RIGHT_MARGIN: f64 = 28.0;
/// Height that a step of the vertical axis takes.
const TICK_HEIGHT: f64 = 42.0;
/// Between a label and what it belongs to.
const GAP: f64 = 8.0;
/// Between the label of the vertical axis and its highest tick, of which half a line stands above the axis.
const LABEL_GAP: f64 = 14.0;
/// Where the values are.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    /// Of the whole drawing.
    pub(super) height: f64,
    pub(super) y_span: Span,
    horizontal: Horizontal,
    y_ticks: Vec<Tick>,
    y_label: Vec<String>,
    names: Names,
}

#[derive(Clone, Copy, Debug)]
enum Horizontal {
    /// So many slots of the same width.
    Names(usize),
    Numbers(Span),
}

impl Frame {
    pub(super) fn of(plot: &Plot, format: Format, legend: &Legend) -> Self {
        let width = format.width();
        let y_span = y_span(plot, format.height_inside());
        let y_ticks = y_span.ticks();
        let labels = y_ticks.iter().filter_map(|tick| tick.label.as_deref());
        let widest = labels.map(|label| text::width(label, FONT_SIZE)).fold(0.0, f64::max);
        let right = width - legend.right_margin(RIGHT_MARGIN);
        let mut left = (widest + GAP).ceil();
        let names = Names::of(plot, right - left);
        left = left.max(names.overhang((right - left) / plot.x.names.len().max(1) as f64));
        let label_lines = usize::from(!plot.x.label.is_empty());
        let below = GAP + names.height() + label_lines as f64 * LINE_HEIGHT + GAP / 2.0;
        let y_label = text::lines(&plot.y.label, FONT_SIZE, width, LABEL_LINES_MAX);
        let top = legend.height() + y_label.len() as f64 * LINE_HEIGHT + LABEL_GAP;
        let horizontal = match plot.x.names.len() {
            0 => Horizontal::Numbers(x_span(plot, right - left)),
            count => Horizontal::Names(count),
        };
        let bottom = top + format.height_inside();
        let height = (bottom + below).ceil();
        Self { left, right, top, bottom, height, y_span, horizontal, y_ticks, y_label, names }
    }

    pub(super) fn x(&self, value: f64) -> f64 {
        let position = match &self.horizontal {
            Horizontal::Names(count) => (value + 0.5) / *count as f64,
            Horizontal::Numbers(span) => span.position(value),
        };
        self.left + position * (self.right - self.left)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        self.bottom - self.y_span.position(value) * (self.bottom - self.top)
    }

    /// How wide the place of a name is.
    pub(super) fn slot(&self) -> f64 {
        match self.horizontal {
            Horizontal::Names(count) => (self.right - self.left) / count as f64,
            Horizontal::Numbers(_) => self.right - self.left,
        }
    }

    pub(super) fn axes(&self, plot: &Plot) -> Markup {
        let label_top = self.top - LABEL_GAP - self.y_label.len() as f64 * LINE_HEIGHT;
        html! {
            @for (number, line) in (1_u8..).zip(&self.y_label) {
                @let y = label_top + f64::from(number) * LINE_HEIGHT - LINE_HEIGHT / 4.0;
                text.label x="0" y=(coordinate(y)) { (line) }
            }
            (self.grid())
            (self.horizontal_ticks())
            @let base = coordinate(self.y(self.y_span.base()));
            line.axis x1=(coordinate(self.left)) x2=(coordinate(self.right)) y1=(base) y2=(base) {}
            @if !plot.x.label.is_empty() {
                @let x = f64::midpoint(self.left, self.right);
                @let y = self.height - GAP;
                text.label.middle x=(coordinate(x)) y=(coordinate(y)) { (plot.x.label) }
            }
        }
    }

    fn grid(&self) -> Markup {
        let (left, right) = (coordinate(self.left), coordinate(self.right));
        html! {
            @for tick in &self.y_ticks {
                @let y = self.y(tick.value);
                @let class = if tick.label.is_some() { "grid" } else { "grid minor" };
                line class=(class) x1=(left) x2=(right) y1=(coordinate(y)) y2=(coordinate(y)) {}
                @if let Some(label) = &tick.label {
                    text.tick.end x=(coordinate(self.left - GAP)) y=(coordinate(y + FONT_SIZE / 3.0)) {
                        (label)
                    }
                }
            }
        }
    }

    fn horizontal_ticks(&self) -> Markup {
        let first = self.bottom + GAP + FONT_SIZE;
        match &self.horizontal {
            Horizontal::Names(_) => self.names.below(self, first),
            Horizontal::Numbers(span) => html! {
                @for tick in span.ticks() {
                    @let x = coordinate(self.x(tick.value));
                    @let long = if tick.label.is_some() { GAP * 0.75 } else { GAP * 0.4 };
                    line.notch x1=(x) x2=(x) y1=(coordinate(self.bottom))
                        y2=(coordinate(self.bottom + long)) {}
                    @if let Some(label) = &tick.label {
                        text.tick.middle x=(x) y=(coordinate(first)) { (label) }
                    }
                }
            },
        }
    }
}

fn y_span(plot: &Plot, height: f64) -> Span {
    let points = plot.series.iter().flat_map(|series| &series.points).map(|point| point.1);
    let marks = plot.marks.iter().map(|mark| mark.y);
    let zero = if has_bars(plot) { Zero::Always } else { Zero::Near };
    let steps_max = (height / TICK_HEIGHT) as usize;
    Span::fit(points.chain(marks), Wish { scale: plot.y.scale, zero, ends: Ends::Ticks, steps_max })
}

fn x_span(plot: &Plot, width: f64) -> Span {
    let points = plot.series.iter().flat_map(|series| &series.points).map(|point| point.0);
    let steps_max = (width / TICK_WIDTH) as usize;
    Span::fit(points, Wish { scale: plot.x.scale, zero: Zero::Near, ends: Ends::Values, steps_max })
}
