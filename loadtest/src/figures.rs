//! What a measurement leaves behind: numbers with their names, as tables and plots.
//!
//! Whoever measures writes [`Figures`]; `report` makes a page of them and looks at nothing else. The
//! same values are the JSON file that stands beside the page, so another program can draw its own.

use serde::{Deserialize, Serialize};

/// One measurement: what was run, where, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// What was asked, in a few words: `Source to 127.0.0.1:2600`.
    pub title: String,
    /// The command line that repeats it.
    pub command: String,
    /// When it began, RFC 3339, UTC.
    pub began: String,
    /// Processor, number of CPUs, kernel.
    pub machine: String,
    /// The answers, the most important one first.
    pub sections: Vec<Section>,
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// What it says and how to read it, in one paragraph; may be empty.
    pub text: String,
    /// Tables, above the plots.
    pub tables: Vec<Table>,
    /// Plots.
    pub plots: Vec<Plot>,
}

/// Rows of text: numbers come formatted, with as many digits as they deserve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What the rows have in common; may be empty.
    pub title: String,
    /// Heads of the columns, with units.
    pub columns: Vec<String>,
    /// Each as long as `columns`; the first cell is the name of the row.
    pub rows: Vec<Vec<String>>,
}

/// Some series over one pair of axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plot {
    /// What is to be seen.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn.
    pub series: Vec<Series>,
    /// Horizontal lines with a name: goals and limits.
    pub marks: Vec<Mark>,
}

/// One axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// The quantity and its unit: `CPU per message (µs)`.
    pub label: String,
    /// How values are spread over it.
    pub scale: Scale,
    /// Names in place of numbers, for bars: the bar at x = n stands over `names[n]`. Empty for numbers.
    #[serde(default)]
    pub names: Vec<String>,
}

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Evenly; starts at zero, where that is not far off.
    Linear,
    /// By powers of ten.
    Logarithmic,
}

/// One line, or one set of bars.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// How it is drawn.
    pub style: Style,
    /// x and y; finite. Whoever has more than some thousand thins them out first.
    pub points: Vec<(f64, f64)>,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// A bar from zero for each point; several series stand side by side.
    Bars,
    /// A line through the points.
    Line,
    /// A dot for each point, and a line through them.
    LineWithDots,
}

/// A horizontal line with a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Where it is.
    pub y: f64,
    /// What it says.
    pub label: String,
}

impl Table {
    /// A table from texts.
    pub fn new(title: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { title: title.to_owned(), columns, rows }
    }
}

impl Plot {
    /// Without marks.
    pub fn new(title: &str, x: Axis, y: Axis, series: Vec<Series>) -> Self {
        Self { title: title.to_owned(), x, y, series, marks: Vec::new() }
    }

    /// The same with horizontal lines.
    #[must_use]
    pub fn with_marks(self, marks: Vec<Mark>) -> Self {
        Self { marks, ..self }
    }
}

impl Axis {
    /// Values spread evenly.
    pub fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Linear, names: Vec::new() }
    }

    /// Values by powers of ten.
    pub fn logarithmic(label: &str) -> Self {
        Self { scale: Scale::Logarithmic, ..Self::linear(label) }
    }

    /// A bar over each name.
    pub fn named(label: &str, names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().collect(), ..Self::linear(label) }
    }
}

impl Series {
    /// From points.
    pub fn new(name: &str, style: Style, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), style, points }
    }
}

impl Mark {
    /// A goal or a limit.
    pub fn new(y: f64, label: &str) -> Self {
        Self { y, label: label.to_owned() }
    }
}
