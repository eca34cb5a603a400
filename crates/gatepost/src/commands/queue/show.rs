//! `gatepost queue show`: all that is known of a message.

use gatepost_admin::control::{MessageView, RecipientView};
use gatepost_policy::printable::Printable;
use gatepost_spool::QueueId;
use jiff::Timestamp;

use super::super::{print, running, table::Table};
use super::{
    list::next,
    place::Place,
    shown::{age, ahead, path, size},
};
use crate::{
    cli::{MessageArguments, OutputForm},
    config::Config,
    errors::Failure,
    exit::Exit,
};

/// Octets of a header section that are shown: more than the policy ever looks at.
const HEADERS_OCTETS_MAX: usize = 128 * 1024;
/// What a header section ends with.
const END: &[u8] = b"\r\n\r\n";

/// Shows a message.
pub fn show(arguments: &MessageArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let id = arguments.id;
    let message = running::block_on(async {
        let place = Place::find(&config).await?;
        let mut message = place.message(id).await?.ok_or_else(|| missing(id))?;
        if arguments.headers {
            message.headers = Some(headers(&place, id).await?);
        }
        Ok(message)
    })?;
    match arguments.output {
        OutputForm::Json => print(&(serde_json::to_string_pretty(&message)? + "\n"))?,
        OutputForm::Table => print(&text(&message, Timestamp::now()))?,
    }
    Ok(Exit::Ok)
}

/// It was delivered or removed, or never was there.
pub(super) fn missing(id: QueueId) -> Failure {
    let message = format_args!(
        "there is no message {id} in the queue; the mail log tells what has become of it"
    );
    Failure::new(Exit::Failure, message)
}

/// The header section, with the field in front that an export has. All of the message is read: that it
/// is whole is known at its end.
async fn headers(place: &Place, id: QueueId) -> Result<String, Failure> {
    let mut head = Head::default();
    let mut take = |octets: &[u8]| {
        head.take(octets);
        Ok(())
    };
    if !place.content(id, &mut take).await? {
        return Err(missing(id));
    }
    Ok(String::from_utf8_lossy(&head.octets).into_owned())
}

/// The header section of a message that comes in pieces.
#[derive(Default)]
struct Head {
    octets: Vec<u8>,
    is_over: bool,
}

impl Head {
    fn take(&mut self, octets: &[u8]) {
        if self.is_over {
            return;
        }
        // The end may have begun in the piece before.
        let seen = self.octets.len().saturating_sub(END.len());
        self.octets.extend_from_slice(octets);
        if let Some(end) = self.octets[seen..].windows(END.len()).position(|it| it == END) {
            // The last field keeps its own CRLF.
            self.octets.truncate(seen + end + END.len() / 2);
            self.is_over = true;
        }
        if self.octets.len() > HEADERS_OCTETS_MAX {
            self.octets.truncate(HEADERS_OCTETS_MAX);
            self.is_over = true;
        }
    }
}

fn text(message: &MessageView, now: Timestamp) -> String {
    let mut text = String::new();
    for (name, value) in known(message, now).iter().filter(|(_, value)| !value.is_empty()) {
        text.extend([format!("{name:<14}{}\n", Printable(value))]);
    }
    let names = ["RECIPIENT", "STATE", "ATTEMPTS", "TOLD", "PARAMETERS", "LAST REPLY"];
    let rows: Vec<_> = message.recipients.iter().map(row).collect();
    text.extend(["\n", &Table::new(names).lines(&rows)]);
    if let Some(headers) = &message.headers {
        text.push('\n');
        text.extend(headers.lines().map(|line| format!("{}\n", Printable(line))));
    }
    text
}

/// What is known of the whole message; what is empty is not known, or nothing special.
fn known(message: &MessageView, now: Timestamp) -> [(&'static str, String); 19] {
    let summary = &message.summary;
    let next = next(summary, now);
    let standing = match summary.standing.as_str() {
        "queued" => format!("queued, next attempt {next}"),
        standing => standing.to_owned(),
    };
    let received = format!("{}, {} ago", summary.received_at, age(summary.received_at, now));
    let expires = format!("{}, {}", summary.expires_at, ahead(summary.expires_at, now));
    let is_rewritten = message.reverse_path != summary.sender;
    let reverse_path = if is_rewritten { path(&message.reverse_path) } else { String::new() };
    let if_any = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        ("message", summary.id.clone()),
        ("standing", standing),
        ("attempts", summary.attempts.to_string()),
        ("received", received),
        ("expires", expires),
        ("size", format!("{} ({} octets)", size(summary.size), summary.size)),
        ("sender", path(&summary.sender)),
        ("reverse-path", reverse_path),
        ("parameters", message.parameters.clone()),
        ("upstream", summary.upstream.clone()),
        ("mode", message.mode.clone()),
        ("entry", summary.entry.clone()),
        ("generation", message.generation.clone()),
        ("credential", if_any(&message.credential)),
        ("client", message.client.clone()),
        ("helo", if_any(&message.helo)),
        ("tls", if_any(&message.tls)),
        ("listener", message.listener.clone()),
        ("session", message.session_id.clone()),
    ]
}

fn row(it: &RecipientView) -> [String; 6] {
    let state = match it.after.as_deref() {
        None => it.state.clone(),
        Some("keep") => format!("{}, kept", it.state),
        Some(_) => format!("{}, to be told", it.state),
    };
    [
        path(&it.recipient),
        state,
        it.attempts.to_string(),
        if it.delay_told { "delay" } else { "" }.to_owned(),
        it.parameters.clone(),
        it.reply.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_section_ends_wherever_its_pieces_do() {
        let message = b"Return-Path: <>\r\nSubject: x\r\n\r\nbody\r\n\r\nmore\r\n";
        for size in 1..message.len() {
            let mut head = Head::default();
            message.chunks(size).for_each(|piece| head.take(piece));
            assert_eq!(head.octets, b"Return-Path: <>\r\nSubject: x\r\n", "{size}");
        }
        let mut head = Head::default();
        head.take(&b"x".repeat(HEADERS_OCTETS_MAX * 2));
        head.take(b"more");
        assert_eq!(head.octets.len(), HEADERS_OCTETS_MAX);
    }
}
