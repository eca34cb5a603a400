//! What became of a comparison, for people and for programs.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Word;

/// What a candidate would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// The generation of the candidate; its revision means nothing.
    pub candidate: String,
    /// From when on it was compared, in seconds since 1970-01-01T00:00:00Z.
    pub since_unix_seconds: i64,
    /// Messages that were compared, and clients that did not come to one.
    pub envelopes: u64,
    /// Those of them that the candidate would answer alike.
    pub same: u64,
    /// How many were not compared, because there were too many at once.
    pub dropped: u64,
    /// What it would answer otherwise, the most frequent first.
    pub flips: Vec<FlipCount>,
}

/// Envelopes of one entry with one difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlipCount {
    /// The id of the entry in use, [`UNKNOWN`](super::UNKNOWN) or [`OTHER`](super::OTHER).
    pub entry: String,
    /// What the policy in use has said.
    pub from: Word,
    /// What the candidate would say.
    pub to: Word,
    /// Where the candidate would send the messages, if that is elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// How many envelopes.
    pub count: u64,
    /// The last of them.
    pub samples: Vec<Sample>,
}

/// One envelope that would be answered otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When, in seconds since 1970-01-01T00:00:00Z.
    pub at_unix_seconds: i64,
    /// Where the client had connected.
    pub listener: String,
    /// Who it was.
    pub client: IpAddr,
    /// What it called itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helo: Option<String>,
    /// The reverse-path, without its brackets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The first recipient that it concerns, if it concerns recipients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// How many recipients it concerns.
    pub recipients: u32,
    /// The policy that was in use.
    pub generation: String,
    /// What that policy has said.
    pub active: String,
    /// The entry of the candidate, if it has one for the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate_entry: Option<String>,
    /// The name of the check that refuses: of the candidate, else of the policy in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// What the candidate would say: the reply of a refusal.
    pub candidate: String,
}
