//! How the program tells on standard error what went wrong, and with which code it then ends.
//!
//! One line a matter, with its kind in front, in colour where a terminal shows it. Nothing here
//! decides whether something is wrong.

use std::{fmt, io};

use owo_colors::{OwoColorize, Style};

use crate::{exit::Exit, load::LoadError, state_dir::StateDirError};

/// An error that ends the program with a code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// Ends with `exit`, after saying `message`.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// How the program ends.
    pub const fn exit(&self) -> Exit {
        self.exit
    }
}

/// Tells what ended a command, and returns the exit code for it.
pub fn report(error: &anyhow::Error) -> Exit {
    match error.downcast_ref::<LoadError>() {
        Some(refused) => tell_lines(&refused.to_string()),
        None => tell_lines(&format!("{error:#}")),
    }
    exit_of(error)
}

fn exit_of(error: &anyhow::Error) -> Exit {
    if let Some(refused) = error.downcast_ref::<LoadError>() {
        return refused.exit();
    }
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.exit;
    }
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    match error.downcast_ref::<StateDirError>() {
        Some(StateDirError::Locked(_)) => return Exit::TryLater,
        Some(StateDirError::Io { error, .. }) if denied(error) => return Exit::Permission,
        _ => {}
    }
    if error.chain().filter_map(|cause| cause.downcast_ref()).any(denied) {
        Exit::Permission
    } else {
        Exit::Failure
    }
}

/// One error a line; what is indented belongs to the one above.
fn tell_lines(message: &str) {
    for line in message.lines() {
        if line.starts_with(' ') {
            // If nobody reads it, there is nobody to tell that either.
            let _ = io::Write::write_fmt(&mut anstream::stderr(), format_args!("{line}\n"));
        } else {
            tell_error(line);
        }
    }
}

/// `error: …`: the command could not do what it was asked to.
pub fn tell_error(message: &str) {
    tell("error", Style::new().red().bold(), message);
}

/// `warning: …`: it could, but somebody should know.
pub fn tell_warning(message: &str) {
    tell("warning", Style::new().yellow().bold(), message);
}

/// `note: …`: what was assumed.
pub fn tell_note(message: &str) {
    tell("note", Style::new().cyan().bold(), message);
}

/// Takes the colours away where they cannot be shown, and ignores that nobody reads.
fn tell(kind: &str, style: Style, message: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = io::Write::write_fmt(
        &mut stderr,
        format_args!("{}{} {message}\n", kind.style(style), ":".bold()),
    );
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_code_follows_from_the_cause() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let refused = LoadError::Unreadable { path: "a".into(), error: denied() };
        assert_eq!(exit_of(&refused.into()), Exit::Permission);
        let failed: anyhow::Result<()> = Err(denied()).context("cannot listen on 0.0.0.0:25");
        assert_eq!(exit_of(&failed.expect_err("an error")), Exit::Permission);
        assert_eq!(exit_of(&Failure::new(Exit::Usage, "no such listener").into()), Exit::Usage);
        assert_eq!(exit_of(&StateDirError::Locked("a".into()).into()), Exit::TryLater);
        let failed = StateDirError::Io { path: "a".into(), error: denied() };
        assert_eq!(exit_of(&failed.into()), Exit::Permission);
        assert_eq!(exit_of(&anyhow::anyhow!("anything else")), Exit::Failure);
    }
}
