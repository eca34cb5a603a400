//! What policy says.
//!
//! A verdict is never a bool: whoever refuses also says with which words, so that the session, the
//! log and `explain` cannot disagree about the reason.

use std::fmt;

use gatepost_smtp::reply::{Reply, Severity};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Accept,
    /// Not now: a 4yz reply.
    Defer(Reply),
    /// Not ever: a 5yz reply.
    Reject(Reply),
}

impl Verdict {
    /// `accept`, `defer` or `reject`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Defer(_) => "defer",
            Self::Reject(_) => "reject",
        }
    }

    /// The verdict that a refusal is: not now if its reply is 4yz, else not ever.
    pub fn of_refusal(reply: Reply) -> Self {
        match reply.severity() {
            Severity::Transient => Self::Defer(reply),
            _ => Self::Reject(reply),
        }
    }

    /// The reply of a refusal.
    pub const fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Accept => None,
            Self::Defer(reply) | Self::Reject(reply) => Some(reply),
        }
    }
}

/// `accept`, or `reject: 550 5.7.1 …`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.reply().map_or(Ok(()), |reply| write!(f, ": {reply}"))
    }
}

/// `{"result": "reject", "reply": "550 5.7.1 …"}`
impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("result", self.name())?;
        if let Some(reply) = self.reply() {
            map.serialize_entry("reply", &reply.to_string())?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_shown_with_its_reply() {
        let verdict = Verdict::Defer(Reply::fixed(450, (4, 7, 1), "retry in 3 s"));
        assert_eq!(verdict.to_string(), "defer: 450 4.7.1 retry in 3 s");
        let json = serde_json::to_string(&verdict).expect("a map of strings");
        assert_eq!(json, r#"{"result":"defer","reply":"450 4.7.1 retry in 3 s"}"#);
        assert_eq!(Verdict::Accept.to_string(), "accept");
        let json = serde_json::to_string(&Verdict::Accept).expect("a map of strings");
        assert_eq!(json, r#"{"result":"accept"}"#);
    }
}
