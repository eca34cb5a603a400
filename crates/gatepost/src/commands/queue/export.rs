//! `gatepost queue export`: messages as files.
//!
//! A file is there whole or not at all. Mail is its owner's alone, so are the files.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use gatepost_spool::QueueId;
use tempfile::NamedTempFile;

use super::super::{print, running};
use super::{meant, place::Place, show::missing, shown::messages};
use crate::{
    cli::QueueExportArguments,
    config::Config,
    errors::{Failure, tell_error},
    exit::Exit,
};

/// Writes messages into files, or one to standard output.
pub fn export(arguments: &QueueExportArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    match (&arguments.directory, &arguments.output, &arguments.chosen.ids[..]) {
        (Some(directory), _, _) => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(|error| unwritten(directory, &error))?;
            running::block_on(many(&config, arguments, directory))
        }
        (None, file, &[id]) => running::block_on(one(&config, id, file.as_deref())),
        _ => {
            let message = "several messages need a --directory to be written into";
            Err(Failure::new(Exit::Usage, message).into())
        }
    }
}

async fn one(config: &Config, id: QueueId, file: Option<&Path>) -> anyhow::Result<Exit> {
    let is_found = match file {
        None if io::stdout().is_terminal() => {
            let message = "a message is not for a terminal: name a file with --output, or a \
                           --directory, or send it through a pipe";
            return Err(Failure::new(Exit::Usage, message).into());
        }
        None => {
            let place = Place::find(config).await?;
            let mut stdout = io::stdout().lock();
            let is_found = place.content(id, &mut |octets| stdout.write_all(octets)).await?;
            stdout.flush()?;
            is_found
        }
        Some(file) => into_file(&Place::find(config).await?, id, file).await?,
    };
    if is_found { Ok(Exit::Ok) } else { Err(missing(id).into()) }
}

async fn many(
    config: &Config,
    arguments: &QueueExportArguments,
    directory: &Path,
) -> anyhow::Result<Exit> {
    let place = Place::find(config).await?;
    let mut written = 0;
    let mut absent = Vec::new();
    if arguments.chosen.all {
        let mut query = meant(&arguments.chosen, arguments.upstream.as_ref());
        loop {
            let page = place.page(&query).await?;
            for message in page.items {
                let file = directory.join(format!("{}.eml", message.id));
                // Some are delivered meanwhile, and nobody has named them.
                let id = message.id.parse()?;
                written += u64::from(into_file(&place, id, &file).await?);
            }
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
    }
    for &id in &arguments.chosen.ids {
        if into_file(&place, id, &directory.join(format!("{id}.eml"))).await? {
            written += 1;
        } else {
            absent.push(id);
        }
    }
    print(&format!("exported {} to {}\n", messages(written), directory.display()))?;
    for &id in &absent {
        tell_error(&missing(id).to_string());
    }
    Ok(if absent.is_empty() { Exit::Ok } else { Exit::Failure })
}

/// Writes a message beside the place of its file, and puts it there when it is whole.
async fn into_file(place: &Place, id: QueueId, file: &Path) -> Result<bool, Failure> {
    let failed = |error: io::Error| unwritten(file, &error);
    if fs::metadata(file).is_ok_and(|it| !it.is_file()) {
        // A pipe or a device stays what it is.
        let mut special = OpenOptions::new().write(true).open(file).map_err(failed)?;
        return place.content(id, &mut |octets| special.write_all(octets)).await;
    }
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let beside = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")));
    let mut beside = beside.map_err(failed)?;
    if !place.content(id, &mut |octets| beside.write_all(octets)).await? {
        return Ok(false);
    }
    beside.persist(file).map_err(|error| failed(error.error))?;
    Ok(true)
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Permission,
        _ => Exit::Failure,
    };
    Failure::new(exit, format_args!("cannot write {}: {error}", path.display()))
}
