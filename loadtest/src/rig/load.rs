//! The loads of `soak` and `scale`: what the source is told.

use std::net::SocketAddr;

use super::source::{self, Report};

/// Connections of one run may come from this many addresses; ports of one alone run out.
const ADDRESSES: &str = "50";

/// The first of them.
const FIRST_ADDRESS: &str = "127.0.0.2";

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) target: SocketAddr,
    pub(crate) sessions: u32,
    pub(crate) messages: u64,
    /// Octets of a message.
    pub(crate) size: u64,
    pub(crate) manner: Manner,
    /// Messages a second, come what may; otherwise as many as are answered.
    pub(crate) rate: Option<u32>,
}

/// How it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// A connection for each message.
    PerSession,
    /// Connections are kept, commands go in groups.
    Pipelining,
    /// Connections are kept.
    Reused,
    /// Connections are kept, with TLS from the first octet on.
    Tls,
}

impl Load {
    /// Sends it all, on the CPUs of this process. An error if it could not start; refusals are told in
    /// the report.
    pub(crate) async fn run(&self) -> anyhow::Result<Report> {
        source::run(&self.arguments(), &[], None).await
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = vec![self.target.to_string()];
        let mut add = |name: &str, value: &str| arguments.extend([name.into(), value.into()]);
        add("--sessions", &self.sessions.to_string());
        add("--messages", &self.messages.to_string());
        add("--size", &self.size.to_string());
        if self.target.is_ipv4() {
            add("--source-address", FIRST_ADDRESS);
            add("--source-count", ADDRESSES);
        }
        if let Some(rate) = self.rate {
            add("--rate", &rate.to_string());
        }
        let more: &[&str] = match self.manner {
            Manner::PerSession => &["--per-session"],
            Manner::Pipelining => &["--pipelining"],
            Manner::Reused => &[],
            Manner::Tls => &["--tls", "implicit", "--insecure"],
        };
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_a_command_line() {
        let load = Load {
            target: "127.0.0.1:2600".parse().unwrap(),
            sessions: 20,
            messages: 500,
            size: 4096,
            manner: Manner::PerSession,
            rate: Some(100),
        };
        let told = load.arguments().join(" ");
        assert_eq!(
            told,
            "127.0.0.1:2600 --sessions 20 --messages 500 --size 4096 \
             --source-address 127.0.0.2 --source-count 50 --rate 100 --per-session"
        );
    }
}
