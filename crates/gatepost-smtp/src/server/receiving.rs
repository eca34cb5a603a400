//! 354 was said; the client sends mail data (RFC 5321 §4.1.1.4).

use crate::data::{DataScanner, Scan};
use crate::server::{Hello, Ready};

/// A session that receives mail data.
#[derive(Debug)]
pub struct Receiving {
    ready: Ready,
    scanner: DataScanner,
}

impl Receiving {
    pub(super) fn new(ready: Ready) -> Self {
        Self { ready, scanner: DataScanner::new() }
    }

    /// From here on a bare LF is a newline that was sent the wrong way, and not a fault: see
    /// [`DataScanner::normalizing`]. To be said before the first octet is scanned.
    #[must_use]
    pub fn normalizing(self) -> Self {
        Self { scanner: DataScanner::normalizing(), ..self }
    }

    /// Who the client says it is.
    pub const fn hello(&self) -> &Hello {
        self.ready.hello()
    }

    /// Looks at the octets that were not yet taken; see [`DataScanner::scan`].
    pub fn scan(&mut self, input: &[u8]) -> Scan {
        self.scanner.scan(input)
    }

    /// The data has ended and was answered, whatever the answer.
    pub fn end(self) -> Ready {
        self.ready
    }
}
