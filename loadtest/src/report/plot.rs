//! One plot as SVG, for the page and as a file of its own.
//!
//! Drawn by hand, since no library reaches this: the back ends of `plotters` write fixed colours, and
//! neither classes nor read-outs. Colours are CSS variables, so that one drawing is right in light and
//! dark. Sizes are dots of the viewBox; the page has a wide and a narrow drawing of each plot, because
//! one that is shrunk to a telephone cannot be read.

mod frame;
mod legend;
mod names;
mod scale;
mod series;

use maud::{Markup, PreEscaped, html};

use self::frame::Frame;
use self::legend::Legend;
use super::number::{coordinate, read_out};
use super::text;
use crate::figures::{Plot, Style};

/// Colours, light and dark, of pages and plots.
pub(super) const COLOURS: &str = include_str!("colours.css");
/// How the parts of a plot look.
pub(super) const STYLE: &str = include_str!("plot.css");

/// Size of the font of ticks and labels; `plot.css` says the same.
const FONT_SIZE: f64 = 13.0;
/// Distance of two lines of text.
const LINE_HEIGHT: f64 = 17.0;
/// Size of the font of a title inside of a drawing.
const TITLE_SIZE: f64 = 17.0;
/// Distance of two lines of a title.
const TITLE_LINE_HEIGHT: f64 = 23.0;
/// Margin of a drawing that stands alone.
const MARGIN: f64 = 24.0;
/// Lines that a label of an axis may have.
const LABEL_LINES_MAX: usize = 2;
/// Colours of series; further ones begin again, and are dashed.
const COLOUR_COUNT: usize = 8;

/// Where a drawing is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// On a telephone.
    Narrow,
    /// Everywhere else.
    Wide,
}

impl Format {
    fn width(self) -> f64 {
        match self {
            Self::Narrow => 380.0,
            Self::Wide => 820.0,
        }
    }

    /// Of the plot between its axes, whatever its labels need.
    fn height_inside(self) -> f64 {
        match self {
            Self::Narrow => 230.0,
            Self::Wide => 300.0,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Narrow => "plot narrow",
            Self::Wide => "plot wide",
        }
    }
}

/// A plot within a page that has the style, and the title.
pub(super) fn inline(plot: &Plot, format: Format) -> Markup {
    let (drawing, height) = drawing(plot, format);
    let view_box = format!("0 0 {} {height}", format.width());
    html! {
        svg class=(format.class()) viewBox=(view_box) role="img" aria-label=(plot.title) {
            desc { (description(plot)) }
            (drawing)
        }
    }
}

/// A plot as a file: with its title, its style, and a ground that is right in light and dark.
pub(super) fn stand_alone(plot: &Plot) -> String {
    let width = Format::Wide.width();
    let (drawing, height) = drawing(plot, Format::Wide);
    let title = text::lines(&plot.title, TITLE_SIZE, width, LABEL_LINES_MAX);
    let above = MARGIN + title.len() as f64 * TITLE_LINE_HEIGHT + TITLE_LINE_HEIGHT / 2.0;
    let (whole_width, whole_height) = (width + 2.0 * MARGIN, height + above + MARGIN);
    let corner = (coordinate(-MARGIN), coordinate(-above));
    let view_box = format!("{} {} {whole_width} {whole_height}", corner.0, corner.1);
    let file = html! {
        svg class="plot alone" xmlns="http://www.w3.org/2000/svg" viewBox=(view_box)
            width=(whole_width) height=(whole_height) role="img" aria-label=(plot.title) {
            title { (plot.title) }
            desc { (description(plot)) }
            style { (PreEscaped(COLOURS)) (PreEscaped(STYLE)) }
            rect.ground x=(corner.0) y=(corner.1) width=(whole_width) height=(whole_height) rx="8" {}
            @for (number, line) in (0_u8..).zip(&title) {
                @let y = MARGIN - above + TITLE_SIZE + f64::from(number) * TITLE_LINE_HEIGHT;
                text.title x="0" y=(coordinate(y)) { (line) }
            }
            (drawing)
        }
    };
    text::only_xml(&file.into_string()).into_owned() + "\n"
}

/// What is drawn, and its height.
fn drawing(plot: &Plot, format: Format) -> (Markup, f64) {
    let legend = Legend::of(plot, format);
    let frame = Frame::of(plot, format, &legend);
    let drawing = html! {
        (legend.rows(plot))
        (frame.axes(plot))
        (series::bars(plot, &frame))
        (series::lines(plot, &frame))
        (series::marks(plot, &frame))
        (series::bar_values(plot, &frame))
        (legend.ends(plot, &frame))
        (series::read_outs(plot, &frame))
    };
    (drawing, frame.height)
}

/// What is drawn, for those who do not see it.
fn description(plot: &Plot) -> String {
    let names: Vec<_> = plot.series.iter().map(|series| series.name.as_str()).collect();
    let series = format!("{} over {}: {}.", plot.y.label, plot.x.label, names.join(", "));
    let marks = plot.marks.iter();
    let marks = marks.map(|mark| format!(" {} at {}.", mark.label, read_out(mark.y)));
    series + &marks.collect::<String>()
}

/// The classes that give a series its colour and its dashes; the first has the accent.
fn colour(index: usize) -> String {
    let accent = if index == 0 { " accent" } else { "" };
    let dashes = if index >= COLOUR_COUNT { " dashed" } else { "" };
    format!("c{}{accent}{dashes}", index % COLOUR_COUNT)
}

/// Whether any of the series stands on zero.
fn has_bars(plot: &Plot) -> bool {
    plot.series.iter().any(|series| series.style == Style::Bars)
}
