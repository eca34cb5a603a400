//! The command line of `report`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use gatepost_loadtest::figures::Figures;
use gatepost_loadtest::report;

/// What stands below the options of `report --help`.
const AFTER_HELP: &str = "\
Examples:
  gatepost-loadtest report rate.json idle.json --out page.html
  gatepost-loadtest report page.json --svg docs/plots

Exit status: 0 if all is written, 2 if a file is not, or holds what cannot be drawn.";

/// Make one page of measurements: plots and tables in an HTML file that needs nothing else.
///
/// Draws the JSON files that the other commands leave behind, in the order of the arguments. Prints
/// the names of the files that it has written.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ReportArguments {
    /// Figures, as another command or an earlier report has left them
    #[arg(value_name = "FIGURES.json", required = true)]
    figures: Vec<PathBuf>,

    /// Write the page here, and its data beside it with the ending .json
    #[arg(long, value_name = "PAGE.html", required_unless_present = "svg")]
    out: Option<PathBuf>,

    /// Write each plot into this folder, as an SVG file that stands alone
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
}

impl ReportArguments {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut figures: Vec<Figures> = Vec::new();
        for file in &self.figures {
            figures.extend(report::read(file)?);
        }
        if let Some(page) = &self.out {
            let data = report::data_beside(page)?;
            self.spare(&data)?;
            report::write(page, &figures)?;
            println!("{}\n{}", page.display(), data.display());
        }
        if let Some(folder) = &self.svg {
            for file in report::write_plots(folder, &figures)? {
                println!("{}", file.display());
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Refuses to replace one of several measurements by all of them.
    fn spare(&self, data: &Path) -> anyhow::Result<()> {
        let Ok(data) = fs::canonicalize(data) else { return Ok(()) };
        let mut read = self.figures.iter().filter_map(|file| fs::canonicalize(file).ok());
        let ours = self.figures.len() == 1 || read.all(|file| file != data);
        ensure!(ours, "{} is one of the files to read; give the page another name", data.display());
        Ok(())
    }
}
