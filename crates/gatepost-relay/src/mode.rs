//! How a message is handed over.

/// How a message is handed over (design §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To the upstream while it answers, into the spool when it does not.
    Hybrid,
    /// Into the spool, and from there to the upstream.
    Spool,
    /// To the upstream; nothing is stored.
    Sync,
}

impl Mode {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Hybrid, Self::Spool, Self::Sync];

    /// The word for it, in configuration, in logs and as a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::Spool => "spool",
            Self::Sync => "sync",
        }
    }

    /// How a row of the spool calls it. What mode sync leads to is never there by its own mode.
    pub(crate) const fn stored(self) -> gatepost_spool::Mode {
        match self {
            Self::Hybrid => gatepost_spool::Mode::Hybrid,
            Self::Spool | Self::Sync => gatepost_spool::Mode::Spool,
        }
    }
}

impl From<gatepost_spool::Mode> for Mode {
    fn from(stored: gatepost_spool::Mode) -> Self {
        match stored {
            gatepost_spool::Mode::Hybrid => Self::Hybrid,
            gatepost_spool::Mode::Spool => Self::Spool,
        }
    }
}
