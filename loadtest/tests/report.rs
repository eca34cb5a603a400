//! `report` as a program: files, output and exit status.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples/figures.json");

fn report(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost-loadtest"));
    command.current_dir(folder).arg("report").args(arguments).output().unwrap()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The sample with something else at a place.
fn changed(folder: &TempDir, place: &str, value: Value) -> PathBuf {
    let mut figures: Value = serde_json::from_str(&fs::read_to_string(SAMPLE).unwrap()).unwrap();
    *figures.pointer_mut(place).unwrap() = value;
    let file = folder.path().join("changed.json");
    fs::write(&file, figures.to_string()).unwrap();
    file
}

#[test]
fn a_page_and_its_plots_are_written() {
    let folder = folder();
    let output = report(&folder, &[SAMPLE, SAMPLE, "--out", "page.html", "--svg", "plots"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let written = String::from_utf8(output.stdout).unwrap();
    let written: Vec<_> = written.lines().collect();
    assert_eq!(written[..2], ["page.html", "page.json"]);
    assert!(written.contains(&"plots/memory-by-idle-sessions-2.svg"), "{written:?}");
    assert!(written.iter().all(|file| folder.path().join(file).is_file()), "{written:?}");
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("<h1>2 measurements</h1>"));
    let again = report(&folder, &["page.json", "--out", "page.html"]);
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    assert_eq!(fs::read_to_string(folder.path().join("page.html")).unwrap(), page);
}

#[test]
fn what_cannot_be_drawn_is_refused_and_named() {
    let folder = folder();
    let refused = |file: &Path, reason: &str| {
        let output = report(&folder, &[file.to_str().unwrap(), "--out", "page.html"]);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(complaint.contains(reason), "{complaint}");
        assert!(!folder.path().join("page.html").exists());
    };
    refused(Path::new("missing.json"), "missing.json is no file of figures: No such file");
    let text = folder.path().join("text.json");
    fs::write(&text, "rate 5000").unwrap();
    refused(&text, "text.json is no file of figures: expected value at line 1 column 1");
    fs::write(&text, "[]").unwrap();
    refused(&text, "there are no figures to draw");
    let point = "/sections/0/plots/0/series/1/points/2/1";
    let file = changed(&folder, point, Value::Null);
    refused(
        &file,
        "changed.json is no file of figures: sections[0].plots[0].series[1].points[2][1]: ",
    );
    let file = changed(&folder, "/sections/1/plots/0/y/scale", "square".into());
    refused(&file, "sections[1].plots[0].y.scale: unknown variant `square`");
    let file = changed(&folder, "/sections/1/plots/0/series/0/points/0/1", 0.into());
    let place = "section 2 \"Latency\": plot 1 \"How long the slowest messages take\": \
                 series 1 \"Gatepost\": point 1: y is 0, and a logarithmic axis begins above zero";
    refused(&file, place);
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let folder = folder();
    for name in ["one.json", "all.json"] {
        fs::copy(SAMPLE, folder.path().join(name)).unwrap();
    }
    for (arguments, reason) in [
        (&["one.json"][..], "--out <PAGE.html>"),
        (&["--out", "page.html"], "<FIGURES.json>..."),
        (&["one.json", "--out", "page.json"], "page.json is where the data go"),
        (&["one.json", "all.json", "--out", "all.html"], "all.json is one of the files to read"),
        (&["one.json", "--out", "missing/page.html"], "cannot write missing/page.json"),
        (&["one.json", "--svg", "all.json"], "cannot create all.json"),
    ] {
        let output = report(&folder, arguments);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(complaint.contains(reason), "{complaint}");
    }
    let sample = fs::read(SAMPLE).unwrap();
    assert_eq!(fs::read(folder.path().join("all.json")).unwrap(), sample, "it is still there");
}
