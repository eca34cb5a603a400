//! Figures as a page that people read: one HTML file that needs nothing but itself, and the same
//! values as JSON beside it.
//!
//! The page has no script and asks for nothing from elsewhere, so it reads the same from a mail
//! attachment and ten years from now. It draws what [`Figures`] say and knows nothing of what was
//! measured. All text comes from outside: only `maud` writes it, which escapes it, and what XML cannot
//! hold is replaced at one place. A file that is written is whole, or not there.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers of things are bounded by `check`, and sizes of a drawing are above zero"
)]

mod check;
mod number;
mod page;
mod plot;
mod text;

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::de::DeserializeOwned;
use tempfile::Builder;

use crate::figures::Figures;

/// Largest file of figures, in octets: the points that a page can hold are less than half of it with all
/// their digits, and it is held in memory.
const FILE_OCTETS_MAX: u64 = 64 << 20;
/// Name of a plot's file without its ending: fits into any file system and into a line.
const FILE_NAME_CHARACTERS_MAX: usize = 60;
/// What a new file may be, before the umask: as any other program writes one.
const FILE_MODE: u32 = 0o666;

/// Reads a file of figures: one measurement, or a list of them.
///
/// An error names the file and the place in it. Whether the values can be drawn is said by [`write()`].
pub fn read(path: &Path) -> anyhow::Result<Vec<Figures>> {
    parse(path).with_context(|| format!("{} is no file of figures", path.display()))
}

/// Writes the page, and beside it the JSON file with the same name and the ending `.json`.
///
/// Figures that cannot be drawn are refused before anything is written: values that are not finite,
/// nothing above zero on a logarithmic axis, rows of another length than their table has columns,
/// and more of anything than a page can hold.
pub fn write(page: &Path, figures: &[Figures]) -> anyhow::Result<()> {
    check::check(figures)?;
    let data = data_beside(page)?;
    let name = data.file_name().unwrap_or_default().to_string_lossy();
    replace(&data, &(serde_json::to_string(figures)? + "\n"))?;
    replace(page, &page::page(figures, &name))
}

/// Writes each plot as an SVG file of its own into a folder, and returns their names.
///
/// A file is named after the title of its plot, and numbered from the second of the same name on.
pub fn write_plots(folder: &Path, figures: &[Figures]) -> anyhow::Result<Vec<PathBuf>> {
    check::check(figures)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut files: Vec<PathBuf> = Vec::new();
    let plots = figures.iter().flat_map(|figures| &figures.sections).flat_map(|part| &part.plots);
    for plot in plots {
        let name = file_name(&plot.title);
        let mut file = folder.join(format!("{name}.svg"));
        let mut number = 1;
        while files.contains(&file) {
            number += 1;
            file = folder.join(format!("{name}-{number}.svg"));
        }
        replace(&file, &plot::stand_alone(plot))?;
        files.push(file);
    }
    Ok(files)
}

/// Where [`write()`] leaves the JSON file of a page.
pub fn data_beside(page: &Path) -> anyhow::Result<PathBuf> {
    let data = page.with_extension("json");
    ensure!(page.file_name().is_some(), "{} names no file", page.display());
    ensure!(data != page, "{} is where the data go; name the page .html", page.display());
    Ok(data)
}

fn parse(path: &Path) -> anyhow::Result<Vec<Figures>> {
    let mut text = String::new();
    File::open(path)?.take(FILE_OCTETS_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_OCTETS_MAX {
        bail!("it has more than {FILE_OCTETS_MAX} octets; thin out the points of its series");
    }
    // Told apart by hand: an untagged enum would not say where the error is.
    if text.trim_start().starts_with('[') {
        deserialize(&text)
    } else {
        deserialize(&text).map(|figures| vec![figures])
    }
}

fn deserialize<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

/// Puts a file in the place of another one at once: a page that is looked at is never half of one.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mode = Permissions::from_mode(FILE_MODE);
        let mut file = Builder::new().prefix(".report-").permissions(mode).tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// `CPU per message, 4 KiB`: `cpu-per-message-4-kib`.
fn file_name(title: &str) -> String {
    let plain = |character: char| match character.to_ascii_lowercase() {
        character if character.is_ascii_alphanumeric() => character,
        _ => ' ',
    };
    let words: String = title.chars().map(plain).collect();
    let name = words.split_whitespace().collect::<Vec<_>>().join("-");
    let name: String = name.chars().take(FILE_NAME_CHARACTERS_MAX).collect();
    if name.is_empty() { "plot".to_owned() } else { name.trim_end_matches('-').to_owned() }
}

#[cfg(test)]
mod tests;
