//! Exit codes, those of contract §4. They follow sysexits(3), so that service managers and scripts
//! can tell what is worth another try.

use std::process::ExitCode;

use gatepost_policy::verdict::Verdict;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; `explain`: accept.
    Ok = 0,
    /// Another failure; `explain`: reject.
    Failure = 1,
    /// Wrong usage of a command.
    Usage = 64,
    /// The gateway is not running.
    NotRunning = 69,
    /// The spool cannot be read or written.
    Spool = 74,
    /// `state_dir` is in use by another gateway; `explain`: defer.
    TryLater = 75,
    /// A permission is missing.
    Permission = 77,
    /// An error in the configuration or the policy.
    Config = 78,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<&Verdict> for Exit {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Accept => Self::Ok,
            Verdict::Defer(_) => Self::TryLater,
            Verdict::Reject(_) => Self::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use gatepost_smtp::reply::Reply;

    use super::*;

    #[test]
    fn a_verdict_has_its_code() {
        let reply = Reply::fixed(450, (4, 7, 1), "later");
        assert_eq!(Exit::from(&Verdict::Accept).code(), 0);
        assert_eq!(Exit::from(&Verdict::Reject(reply.clone())).code(), 1);
        assert_eq!(Exit::from(&Verdict::Defer(reply)).code(), 75);
    }
}
