//! Load for an SMTP relay, and the places where it ends.
//!
//! [`Source`] sends messages over a number of sessions, in a closed loop or when the clock says so, and
//! measures how long each one took; [`Sink`] is the server that takes every message and throws it away, or hands it to
//! whoever asked. With the feature `simulate`, a simulator takes it as a certain provider would, and
//! records which rules the client has broken; with `measure`, [`soak`](mod@soak) and
//! [`scale`](mod@scale) set up a gateway between them and tell what it has and uses, and
//! [`compare`](mod@compare) puts other relays in its place. All are written from the RFCs alone and share no code
//! with Gatepost: a load tool that shares the code under test hides its faults. Source and sink must
//! never be the bottleneck of a measurement, so both reuse their buffers and write a pipelined group
//! at once (RFC 2920).

#![forbid(unsafe_code)]

#[cfg(feature = "tls")]
mod certificate;
mod command;
#[cfg(feature = "measure")]
pub mod compare;
mod end_of_data;
pub mod figures;
#[cfg(feature = "measure")]
pub mod process;
#[cfg(feature = "measure")]
pub mod report;
#[cfg(feature = "measure")]
mod rig;
#[cfg(feature = "measure")]
pub mod scale;
#[cfg(feature = "simulate")]
pub mod simulate;
mod sink;
#[cfg(feature = "measure")]
pub mod soak;
mod source;
#[cfg(feature = "tls")]
pub mod tls;

#[cfg(feature = "tls")]
pub use certificate::{CertificateError, KeyedCertificate, ThrowAwayCa};
#[cfg(feature = "measure")]
pub use rig::gatepost::Mode;
pub use sink::{
    Chunking, ConnectionTotals, Delay, Fault, FaultKind, FaultRow, HandshakeTotals, MessageNumber,
    Received, RefusalCode, RunTotals, Share, Sink, SinkCounters, SinkOptions, SinkPhase,
    SinkProgress, SinkRate, SinkTotals, Troubles, Verification, VerificationTotals,
};
#[cfg(feature = "tls")]
pub use sink::{ServerTls, SinkTls};
pub use source::{
    Arrivals, ConnectionUse, CurvePoint, Framing, Hello, IdleSummary, Latency, Mailbox,
    MessageCounts, OpenLoopSummary, Pace, PhaseLatency, Pipelining, Progress, Rate, RecipientCount,
    ReversePath, SecondPoint, Security, SizeDistribution, Snapshot, Source, SourceAddresses,
    SourceOptions, Summary, TargetScope, TlsSummary, TroubleRow,
};
