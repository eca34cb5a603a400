//! Where the queue is looked at: in the gateway that runs, or in the spool that it has left.

use std::io::{self, Write};

use gatepost_admin::control::{
    Client, ControlError, Eml, MessageView, QueueQuery, QueueView, TotalsView,
};
use gatepost_spool::{LIST_MAX, OfflineSpool, QueueId, SpoolError, Stats};

use super::super::running;
use crate::{config::Config, errors::Failure, exit::Exit};

/// The directory of the spool, in `state_dir`.
const DIRECTORY: &str = "spool";

/// Who answers.
pub(super) enum Place {
    Running(Client),
    /// None if nothing was ever kept.
    Stopped(Option<Box<Left>>),
}

/// A spool that nobody has open.
pub(super) struct Left {
    spool: OfflineSpool,
    /// All of it is read to count it, and that once.
    stats: Stats,
}

/// Takes the pieces of a message.
pub(super) type Sink<'s> = &'s mut dyn FnMut(&[u8]) -> io::Result<()>;

impl Place {
    pub(super) async fn find(config: &Config) -> Result<Self, Failure> {
        if let Some(client) = running::find(&config.state_dir).await? {
            return Ok(Self::Running(client));
        }
        let left = || -> Result<_, SpoolError> {
            let Some(spool) = OfflineSpool::open(&config.state_dir.join(DIRECTORY))? else {
                return Ok(None);
            };
            let stats = spool.stats()?;
            Ok(Some(Box::new(Left { spool, stats })))
        };
        left().map(Self::Stopped).map_err(|error| broken(&error))
    }

    /// A page of messages.
    pub(super) async fn page(&self, query: &QueueQuery) -> Result<QueueView, Failure> {
        let Left { spool, stats } = match self {
            Self::Running(client) => return client.queue(query).await.map_err(running::failure),
            Self::Stopped(None) => return Ok(QueueView::default()),
            Self::Stopped(Some(left)) => &**left,
        };
        let wrong = |refusal| running::failure(ControlError::Queue(refusal));
        let filter = query.filter().map_err(wrong)?;
        let after = query.place().map_err(wrong)?;
        let page = spool.list(&filter, after, query.limit.unwrap_or(LIST_MAX));
        Ok(QueueView::new(&filter, stats, page.map_err(|error| broken(&error))?))
    }

    pub(super) async fn totals(&self) -> Result<TotalsView, Failure> {
        match self {
            Self::Running(client) => client.queue_totals().await.map_err(running::failure),
            Self::Stopped(None) => Ok(TotalsView::default()),
            Self::Stopped(Some(left)) => Ok(left.stats.clone().into()),
        }
    }

    /// A message, if it is there.
    pub(super) async fn message(&self, id: QueueId) -> Result<Option<MessageView>, Failure> {
        match self {
            Self::Running(client) => client.queued(id).await.map_err(running::failure),
            Self::Stopped(None) => Ok(None),
            Self::Stopped(Some(left)) => {
                let found = left.spool.show(id).map_err(|error| broken(&error))?;
                Ok(found.map(MessageView::from))
            }
        }
    }

    /// Hands out a message as a file has it. False if it is not there.
    pub(super) async fn content(&self, id: QueueId, sink: Sink<'_>) -> Result<bool, Failure> {
        match self {
            Self::Running(client) => client.message(id, sink).await.map_err(running::failure),
            Self::Stopped(None) => Ok(false),
            Self::Stopped(Some(left)) => stored(&left.spool, id, sink),
        }
    }
}

fn stored(spool: &OfflineSpool, id: QueueId, sink: Sink<'_>) -> Result<bool, Failure> {
    let found = spool.show(id).map_err(|error| broken(&error))?;
    let Some(message) = found else { return Ok(false) };
    let unwritten = |error| running::failure(ControlError::Sink(error));
    sink(&Eml::head(&message.envelope.reverse_path)).map_err(unwritten)?;
    let mut plain = Plain { eml: Eml::default(), sink, failed: None };
    let written = spool.write_body(id, &mut plain);
    match (plain.failed, written) {
        (Some(error), _) => Err(unwritten(error)),
        (None, written) => Ok(written.map_err(|error| broken(&error))?.is_some()),
    }
}

/// Takes stored content, and hands on what it is a form of.
struct Plain<'s> {
    eml: Eml,
    sink: Sink<'s>,
    /// Why the sink takes no more: the spool would take that for a fault of its own.
    failed: Option<io::Error>,
}

impl Write for Plain<'_> {
    fn write(&mut self, stored: &[u8]) -> io::Result<usize> {
        match (self.sink)(&self.eml.piece(stored)) {
            Ok(()) => Ok(stored.len()),
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why the spool cannot be read, and the exit code for it.
fn broken(error: &SpoolError) -> Failure {
    match error {
        SpoolError::Io { error: cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => {
            let mend = "run the command as the user of the gateway, or as root";
            Failure::new(Exit::Permission, format_args!("{error}; {mend}"))
        }
        _ => Failure::new(Exit::Spool, error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::errors::report;

    #[test]
    fn what_is_not_ours_to_read_has_a_code_of_its_own() {
        let io = |kind: io::ErrorKind| {
            let error = Arc::new(io::Error::from(kind));
            report(&broken(&SpoolError::Io { path: "state/spool".into(), error }).into())
        };
        assert_eq!(io(io::ErrorKind::PermissionDenied), Exit::Permission);
        assert_eq!(io(io::ErrorKind::NotADirectory), Exit::Spool);
    }
}
