//! The signals that end a run in good order: Ctrl-C and SIGTERM.

use std::future::Future;
use std::io;

use tokio::signal::unix::{SignalKind, signal as listen};

/// Starts to listen at once; the future is ready when the first of the two arrives.
pub(crate) fn signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
