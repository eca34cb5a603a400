//! What a page holds, whatever the figures say.

use std::collections::BTreeSet;
use std::fs;

use proptest::prelude::*;
use roxmltree::{Document, Node};

use super::{check, page, plot, read, text, write, write_plots};
use crate::figures::{Axis, Figures, Mark, Plot, Scale, Series, Style};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples/figures.json");

fn sample() -> Vec<Figures> {
    read(SAMPLE.as_ref()).unwrap()
}

fn plots(figures: &[Figures]) -> impl Iterator<Item = &Plot> {
    figures.iter().flat_map(|figures| &figures.sections).flat_map(|section| &section.plots)
}

/// What a page shows, as XML: all elements without an end are in the head.
fn body(page: &str) -> String {
    page[page.find("<body>").unwrap()..page.find("</html>").unwrap()].to_owned()
}

fn elements<'a>(document: &'a Document<'_>, name: &str) -> Vec<Node<'a, 'a>> {
    document.descendants().filter(|node| node.has_tag_name(name)).collect()
}

fn with_class<'a>(document: &'a Document<'_>, class: &str) -> Vec<Node<'a, 'a>> {
    let has = |node: &Node<'_, '_>| node.attribute("class").unwrap_or_default() == class;
    document.descendants().filter(has).collect()
}

#[test]
fn a_page_is_written_with_its_data_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run 1.html");
    write(&file, &sample()).unwrap();
    write(&file, &sample()).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "no temporary file is left");
    assert_eq!(read(&folder.path().join("run 1.json")).unwrap(), sample());
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.contains("<a href=\"./run%201.json\">run 1.json</a>"));
}

#[test]
fn a_page_asks_for_nothing_and_runs_nothing() {
    let page = page::page(&sample(), "page.json");
    for outside in ["http:", "https:", "<script", "src=", "url(", "@import", "javascript:"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn a_page_has_headings_tables_and_both_drawings() {
    let (figures, page) = (sample(), page::page(&sample(), "page.json"));
    let body = body(&page);
    let document = Document::parse(&body).unwrap();
    let text = |node: &Node<'_, '_>| node.text().unwrap_or_default().to_owned();
    let headings: Vec<_> = elements(&document, "h2").iter().map(text).collect();
    let titles: Vec<_> = figures[0].sections.iter().map(|part| part.title.clone()).collect();
    assert_eq!(headings, titles);
    assert_eq!(elements(&document, "svg").len(), 2 * plots(&figures).count());
    for drawing in elements(&document, "svg") {
        assert_eq!(drawing.attribute("role"), Some("img"));
        assert!(drawing.attribute("aria-label").is_some_and(|label| !label.is_empty()));
        assert!(drawing.first_element_child().unwrap().has_tag_name("desc"));
    }
    let ids: Vec<_> = document.descendants().filter_map(|node| node.attribute("id")).collect();
    assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len());
    let links = elements(&document, "a").into_iter().filter_map(|link| link.attribute("href"));
    let links: Vec<_> = links.filter_map(|link| link.strip_prefix('#')).collect();
    assert_eq!(links, ids, "the contents name each section once, in their order");
}

#[test]
fn numbers_of_a_table_are_aligned_and_names_are_not() {
    let page = page::page(&sample(), "page.json");
    assert!(page.contains("<th scope=\"row\">Gatepost, sync</th><td class=\"number\">14,210</td>"));
    assert!(page.contains("<th scope=\"col\" class=\"number\">p50 (ms)</th>"));
    assert!(
        page.contains("<th scope=\"row\">4 KiB, reused</th>"),
        "a name that begins with a number"
    );
}

#[test]
fn several_measurements_have_headings_of_their_own() {
    let figures = [sample(), sample()].concat();
    let body = body(&page::page(&figures, "page.json"));
    let document = Document::parse(&body).unwrap();
    assert_eq!(elements(&document, "h1")[0].text(), Some("2 measurements"));
    let headings = elements(&document, "h2");
    assert!(headings.iter().all(|heading| heading.text() == Some(&figures[0].title)));
    let ids: Vec<_> = headings.iter().map(|heading| heading.attribute("id").unwrap()).collect();
    assert_eq!(ids, ["m1", "m2"]);
    assert_eq!(elements(&document, "h3").len(), 2 * figures[0].sections.len());
}

#[test]
fn a_drawing_shows_each_value_once_and_names_each_series() {
    for plot in plots(&sample()) {
        let file = plot::stand_alone(plot);
        let document = Document::parse(&file).unwrap();
        let names: BTreeSet<_> =
            with_class(&document, "name").iter().filter_map(Node::text).collect();
        for series in &plot.series {
            assert!(names.contains(series.name.as_str()), "{} of {names:?}", series.name);
        }
        let bars = plot.series.iter().filter(|series| series.style == Style::Bars);
        let bars: usize = bars.map(|series| series.points.len() + 1).sum();
        assert_eq!(with_class(&document, "bar").len(), bars, "and one for each name");
        let points: usize = plot.series.iter().map(|series| series.points.len()).sum();
        let titled = elements(&document, "title").len();
        assert_eq!(titled, points + 1, "each value can be read out, and the whole has a title");
        for mark in &plot.marks {
            assert!(file.contains(&mark.label));
        }
    }
}

#[test]
fn plots_are_files_named_after_their_titles() {
    let folder = tempfile::tempdir().unwrap();
    let files = write_plots(&folder.path().join("new"), &[sample(), sample()].concat()).unwrap();
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap()).collect();
    assert_eq!(names[0], "accepted-messages-second-by-second.svg");
    assert_eq!(names[names.len() / 2], "accepted-messages-second-by-second-2.svg");
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    assert!(files.iter().all(|file| file.is_file()));
    assert_eq!(super::file_name("… / ../µ"), "plot");
    assert_eq!(super::file_name("../CPU (4 KiB)"), "cpu-4-kib");
}

#[test]
fn what_cannot_be_drawn_is_refused_with_its_place() {
    type Change = fn(&mut Figures);
    let changes: [(Change, &str); 14] = [
        (|all| point(all).1 = f64::NAN, "series 1 \"Gatepost\": point 3: y is NaN"),
        (|all| point(all).0 = f64::INFINITY, "x is inf, which has no place on an axis"),
        (|all| point(all).1 = 1e16, "up to 1e15 can be drawn"),
        (|all| all.sections[1].plots[0].series[0].points[0].1 = 0.0, "begins above zero"),
        (|all| all.sections[1].plots[0].marks[0].y = -1.0, "mark 1 \"goal: 100 ms\": y is -1"),
        (|all| all.sections[2].plots[0].series[0].points[0].0 = 5.0, "counted from 0 to 4"),
        (|all| all.sections[2].plots[0].series[0].points[0].0 = 0.5, "counted from 0 to 4"),
        (|all| all.sections[2].plots[0].series[0].points[1].0 = 0.0, "already is a point over"),
        (|all| all.sections[2].plots[0].x.names.clear(), "bars need names"),
        (|all| all.sections[0].plots[0].y.names.push(String::new()), "only the horizontal one"),
        (|all| all.sections[0].plots[0].series.clear(), "there is no point"),
        (|all| drop(all.sections[0].tables[0].rows[1].pop()), "row 2 has 5 cells, and there are 6"),
        (|all| all.title = "x".repeat(20_001), "20001 octets of text, and 20000 can be drawn"),
        (|all| point_list(all).extend(vec![(1.0, 1.0); 20_000]), "points, and 20000 can be drawn"),
    ];
    for (change, reason) in changes {
        let mut figures = sample();
        change(&mut figures[0]);
        let error = format!("{:#}", check::check(&figures).unwrap_err());
        assert!(error.contains(reason), "{error}");
        assert!(error.starts_with("measurement 1 \"") && error.len() < 400, "{error}");
    }
    assert!(check::check(&[]).is_err());
    let many: Vec<_> = sample().into_iter().cycle().take(50).collect();
    assert_eq!(
        check::check(&many).unwrap_err().to_string(),
        "250 plots on a page, and 200 can be drawn"
    );
    let many: Vec<_> = sample().into_iter().cycle().take(51).collect();
    assert_eq!(
        check::check(&many).unwrap_err().to_string(),
        "51 measurements, and 50 can be drawn"
    );
}

fn point_list(figures: &mut Figures) -> &mut Vec<(f64, f64)> {
    &mut figures.sections[0].plots[0].series[0].points
}

fn point(figures: &mut Figures) -> &mut (f64, f64) {
    &mut point_list(figures)[2]
}

#[test]
fn nothing_is_written_of_what_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut figures = sample();
    point(&mut figures[0]).1 = f64::NAN;
    assert!(write(&folder.path().join("page.html"), &figures).is_err());
    assert!(write_plots(&folder.path().join("plots"), &figures).is_err());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

/// Each draws many plots with many texts in them.
const CASES: u32 = 16;

/// Texts of those who want out: quotes, tags, entities, ends of everything, controls.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<char>().prop_map(String::from),
        prop::sample::select(
            &["\"", "'", "<", ">", "&", "&lt;", "]]>", "<!--", "-->", "</style>"][..]
        )
        .prop_map(str::to_owned),
        prop::sample::select(
            &["</svg><script>", "\" onload=\"", "</title>", "\0", "\u{1b}", "\r\n"][..]
        )
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// The sample with another text in each place.
fn with_texts(texts: &[String]) -> Vec<Figures> {
    let mut texts = texts.iter().cycle().cloned();
    let mut all = sample();
    let mut set = |place: &mut String| *place = texts.next().unwrap_or_default();
    for figures in &mut all {
        [&mut figures.title, &mut figures.command, &mut figures.machine]
            .into_iter()
            .for_each(&mut set);
        for section in &mut figures.sections {
            [&mut section.title, &mut section.text].into_iter().for_each(&mut set);
            for table in &mut section.tables {
                set(&mut table.title);
                table.columns.iter_mut().chain(table.rows.iter_mut().flatten()).for_each(&mut set);
            }
            for plot in &mut section.plots {
                [&mut plot.title, &mut plot.x.label, &mut plot.y.label]
                    .into_iter()
                    .for_each(&mut set);
                plot.x.names.iter_mut().for_each(&mut set);
                plot.series.iter_mut().for_each(|series| set(&mut series.name));
                plot.marks.iter_mut().for_each(|mark| set(&mut mark.label));
            }
        }
    }
    all
}

/// Names of elements and of their attributes.
fn vocabulary(document: &Document<'_>) -> BTreeSet<String> {
    let elements = document.descendants().filter(Node::is_element);
    let names = |node: Node<'_, '_>| {
        let attributes = node.attributes().map(|attribute| format!("@{}", attribute.name()));
        attributes.chain([node.tag_name().name().to_owned()]).collect::<Vec<_>>()
    };
    elements.flat_map(names).collect()
}

/// Whatever may be in a page, if nothing from outside became a part of it.
const VOCABULARY: &str = "@aria-label @class @cx @cy @d @height @href @id @r @role @rx @scope @transform \
    @viewBox @width @x @x1 @x2 @y @y1 @y2 a article body circle code dd desc details div dl dt figcaption \
    figure footer g h1 h2 line li main nav ol p path rect section style summary svg table tbody td text \
    th thead title tr";

fn foreign(document: &Document<'_>) -> Vec<String> {
    let known: BTreeSet<_> = VOCABULARY.split_whitespace().collect();
    vocabulary(document).into_iter().filter(|name| !known.contains(name.as_str())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn no_text_breaks_out(texts in prop::collection::vec(hostile(), 1..40)) {
        let figures = with_texts(&texts);
        let page = page::page(&figures, "page.json");
        let body = body(&page);
        let document = Document::parse(&body).unwrap();
        prop_assert_eq!(foreign(&document), [""; 0]);
        // Ends of lines are changed by whoever reads XML (XML 1.0 §2.11).
        let title = text::only_xml(&figures[0].title).replace(['\r', '\n'], "");
        let heading = elements(&document, "h1")[0].text().unwrap_or_default();
        prop_assert_eq!(heading.replace(['\r', '\n'], ""), title);
        let head = page[page.find("<title>").unwrap()..page.find("</title>").unwrap()].matches('<');
        prop_assert_eq!(head.count(), 1);
        for plot in plots(&figures) {
            let file = plot::stand_alone(plot);
            let document = Document::parse(&file).unwrap();
            prop_assert_eq!(foreign(&document), [""; 0]);
        }
    }

    #[test]
    fn nothing_is_drawn_outside(plot in any_plot()) {
        let file = plot::stand_alone(&plot);
        let document = Document::parse(&file).unwrap();
        let root = document.root_element();
        let corners = root.attribute("viewBox").unwrap();
        let corners: Vec<f64> = corners.split(' ').map(|number| number.parse().unwrap()).collect();
        let (xs, ys) = (corners[0]..=corners[0] + corners[2], corners[1]..=corners[1] + corners[3]);
        let shapes = root.descendants().filter(|node| !node.has_tag_name("svg"));
        for node in shapes.filter(|node| node.attribute("class") != Some("name")) {
            for attribute in node.attributes() {
                let inside = match attribute.name() {
                    "x" | "x1" | "x2" | "cx" => &xs,
                    "y" | "y1" | "y2" | "cy" => &ys,
                    _ => continue,
                };
                let value: f64 = attribute.value().parse().unwrap();
                prop_assert!(inside.contains(&value), "{attribute:?} of {node:?}");
            }
        }
        // Texts may say what they like.
        let numbers = root.descendants().flat_map(|node| node.attributes());
        for number in numbers.filter(|it| matches!(it.name(), "d" | "height" | "width" | "transform")) {
            let value = number.value();
            prop_assert!(!value.contains("NaN") && !value.contains("inf"), "{value}");
        }
    }
}

/// Any plot that is not refused.
fn any_plot() -> impl Strategy<Value = Plot> {
    let scale = || prop_oneof![Just(Scale::Linear), Just(Scale::Logarithmic)];
    let style = prop_oneof![Just(Style::Bars), Just(Style::Line), Just(Style::LineWithDots)];
    let value = || (-15.0..15.0_f64).prop_map(|exponent| 10_f64.powf(exponent).clamp(1e-15, 1e15));
    let points = prop::collection::vec((value(), value()), 1..20);
    let series = prop::collection::vec((style, points), 1..=check::SERIES_MAX);
    let marks = prop::collection::vec(value(), 0..4);
    let texts = prop::collection::vec("[a-z ,]{0,30}", 24);
    (scale(), scale(), 0..24_usize, series, (marks, texts)).prop_map(assemble)
}

type Parts = (Scale, Scale, usize, Vec<(Style, Vec<(f64, f64)>)>, (Vec<f64>, Vec<String>));

fn assemble((x, y, names, series, (marks, texts)): Parts) -> Plot {
    let axis = |scale, names: usize| Axis {
        label: texts[0].clone(),
        scale,
        names: texts.iter().take(names).cloned().collect(),
    };
    let one = |(style, mut points): (Style, Vec<(f64, f64)>)| {
        if names > 0 {
            points.truncate(names);
            (0_u8..).zip(&mut points).for_each(|(at, point)| point.0 = f64::from(at));
        }
        let style = if names == 0 && style == Style::Bars { Style::Line } else { style };
        Series { name: texts[1].clone(), style, points }
    };
    let mark = |(y, label): (f64, &String)| Mark { y, label: label.clone() };
    Plot {
        title: texts[2].clone(),
        x: axis(x, names),
        y: axis(y, 0),
        series: series.into_iter().map(one).collect(),
        marks: marks.into_iter().zip(&texts).map(mark).collect(),
    }
}
