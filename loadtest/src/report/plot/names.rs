//! Names in place of numbers on the horizontal axis: upright in lines where their words fit below their
//! bars, else slanted.

use maud::{Markup, html};

use super::frame::Frame;
use super::{FONT_SIZE, LINE_HEIGHT};
use crate::figures::Plot;
use crate::report::number::coordinate;
use crate::report::text;

/// Lines that an upright name may have.
const LINES_MAX: usize = 3;
/// Between names that stand side by side.
const GAP: f64 = 4.0;
/// Longest slanted name: more would leave no room for the plot.
const SLANTED_WIDTH_MAX: f64 = 120.0;
/// Degrees by which a name is slanted: it is read without turning the head much.
const SLANT: f64 = 38.0;

/// The names as they are written.
#[derive(Debug)]
pub(super) enum Names {
    /// Lines of each.
    Upright(Vec<Vec<String>>),
    /// One line each.
    Slanted(Vec<String>),
}

impl Names {
    /// What fits below an axis of so many dots.
    pub(super) fn of(plot: &Plot, width: f64) -> Self {
        let names = &plot.x.names;
        let slot = width / names.len().max(1) as f64 - GAP;
        let fits = |word: &str| text::width(word, FONT_SIZE) <= slot;
        let fits = |name: &String| name.split_whitespace().all(fits);
        if names.iter().all(fits) {
            let lines = |name: &String| text::lines(name, FONT_SIZE, slot, LINES_MAX);
            Self::Upright(names.iter().map(lines).collect())
        } else {
            let line = |name: &String| text::lines(name, FONT_SIZE, SLANTED_WIDTH_MAX, 1).concat();
            Self::Slanted(names.iter().map(line).collect())
        }
    }

    /// Room that they need; numbers need that of a line.
    pub(super) fn height(&self) -> f64 {
        match self {
            Self::Upright(names) => {
                LINE_HEIGHT * names.iter().map(Vec::len).max().unwrap_or_default().max(1) as f64
            }
            Self::Slanted(names) => {
                let widths = names.iter().map(|name| text::width(name, FONT_SIZE));
                LINE_HEIGHT + widths.fold(0.0, f64::max) * SLANT.to_radians().sin()
            }
        }
    }

    /// How far the first of them reach beyond the left end of the axis.
    pub(super) fn overhang(&self, slot: f64) -> f64 {
        let Self::Slanted(names) = self else { return 0.0 };
        let reach = |(index, name): (u32, &String)| {
            text::width(name, FONT_SIZE) * SLANT.to_radians().cos()
                - (f64::from(index) + 0.5) * slot
        };
        (0..).zip(names).map(reach).fold(0.0, f64::max)
    }

    /// Below an axis, with the first baseline at y.
    pub(super) fn below(&self, frame: &Frame, y: f64) -> Markup {
        html! {
            @match self {
                Self::Upright(names) => @for (index, lines) in (0_u32..).zip(names) {
                    @let x = coordinate(frame.x(f64::from(index)));
                    @for (number, line) in (0_u8..).zip(lines) {
                        text.tick.middle x=(x) y=(coordinate(y + f64::from(number) * LINE_HEIGHT)) {
                            (line)
                        }
                    }
                },
                Self::Slanted(names) => @for (index, name) in (0_u32..).zip(names) {
                    @let (x, y) = (coordinate(frame.x(f64::from(index)) + FONT_SIZE / 2.0), coordinate(y));
                    text.tick.end x=(x) y=(y) transform=(format!("rotate({} {x} {y})", -SLANT)) { (name) }
                },
            }
        }
    }
}
