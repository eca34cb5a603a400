//! The policy file as it is written: a mirror of contract §2 and nothing else.
//!
//! Every key of the contract is here. Those whose step has not come are [`NotBuilt`] and refused by
//! name; the step that builds one gives it a type. Nothing is required and nothing is judged here:
//! the compiler does that, because it can name the entry.

use serde::Deserialize;
use toml::Spanned;

use crate::document::{self, Fault, NotBuilt};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "keys that are not built have no value to read")]
struct PolicyFile {
    #[serde(default)]
    entry: Vec<Spanned<EntryFile>>,
    route: Option<NotBuilt>,
    credential: Option<NotBuilt>,
    expect: Option<NotBuilt>,
}

/// One `[[entry]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "keys that are not built have no value to read")]
pub(crate) struct EntryFile {
    pub(crate) id: Option<Spanned<String>>,
    pub(crate) networks: Option<Strings>,
    pub(crate) description: Option<Box<str>>,
    pub(crate) owner: Option<Box<str>>,
    pub(crate) enabled: Option<bool>,
    pub(crate) services: Option<Strings>,
    pub(crate) senders: Option<Strings>,
    pub(crate) acknowledge: Option<Box<str>>,

    action: Option<NotBuilt>,
    recipients: Option<NotBuilt>,
    helo: Option<NotBuilt>,
    header_from: Option<NotBuilt>,
    tls: Option<NotBuilt>,
    client_certificate: Option<NotBuilt>,
    authentication: Option<NotBuilt>,
    upstream: Option<NotBuilt>,
    mode: Option<NotBuilt>,
    max_message_size: Option<NotBuilt>,
    max_recipients: Option<NotBuilt>,
    max_connections: Option<NotBuilt>,
    message_rate: Option<NotBuilt>,
    recipient_rate: Option<NotBuilt>,
    bare_newlines: Option<NotBuilt>,
    add_missing_headers: Option<NotBuilt>,
    not_before: Option<NotBuilt>,
    expires: Option<NotBuilt>,
    expiry: Option<NotBuilt>,
}

/// A list of strings that knows where it stands, and where each of them does.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Strings(pub(crate) Spanned<Vec<Spanned<String>>>);

/// Some entries of the file that follow each other.
pub(crate) struct Part {
    /// Where the part begins; spans count from here.
    pub(crate) at: usize,
    /// The entries that are well-formed.
    pub(crate) entries: Vec<Spanned<EntryFile>>,
    /// What is wrong with the others, and with the rest.
    pub(crate) faults: Vec<Fault>,
}

/// Reads a policy part by part: a million entries as one TOML tree would take gigabytes.
pub(crate) fn parts(text: &str) -> impl Iterator<Item = Part> {
    let mut count = 0;
    split(text, PART_OCTETS).map(move |(at, text)| {
        if let Ok(PolicyFile { entry: entries, .. }) = toml::from_str(text) {
            count += entries.len();
            return Part { at, entries, faults: Vec::new() };
        }
        let salvage = document::salvage::<EntryFile, PolicyFile>(text, "entry", count);
        count += salvage.count;
        Part { at, entries: salvage.items, faults: salvage.faults }
    })
}

/// Octets of a part, about: small enough to stay in the processor's cache.
const PART_OCTETS: usize = 128 * 1024;

/// Cuts the text before lines that begin with `[[entry]]`, and yields each part with its offset.
///
/// Such a line is the header of an entry wherever it stands, except in a multi-line string: a text
/// that may have one is not cut. Parts then are documents that mean together what the whole means.
fn split(text: &str, part_octets: usize) -> impl Iterator<Item = (usize, &str)> {
    let part_octets =
        if text.contains("\"\"\"") || text.contains("'''") { usize::MAX } else { part_octets };
    let mut at = 0;
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let (start, rest) = (at, &text[at..]);
        at += header_after(rest, part_octets).unwrap_or(rest.len());
        done = at == text.len();
        Some((start, &text[start..at]))
    })
}

/// The offset of the first line that begins with `[[entry]]` and is not before `octets_min`.
fn header_after(text: &str, octets_min: usize) -> Option<usize> {
    let from = text.floor_char_boundary(octets_min);
    let is_header = |at: usize| {
        let line_start = text[..at].trim_end_matches([' ', '\t']);
        line_start.ends_with('\n')
    };
    text[from..].match_indices("[[entry]]").map(|(at, _)| from + at).find(|&at| is_header(at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::Position;

    fn faults(text: &str) -> Vec<String> {
        let shown = |fault: &Fault| {
            let at = Position::of(text, fault.offset.expect("a place"));
            format!("{}:{} {}: {}", at.line, at.column, fault.key, fault.message)
        };
        let [part] = &parts(text).collect::<Vec<_>>()[..] else { panic!("a short text") };
        part.faults.iter().map(shown).collect()
    }

    #[test]
    fn every_key_that_has_to_wait_is_refused_by_name() {
        for (key, value) in [
            ("action", "\"deny\""),
            ("recipients", "[\"*\"]"),
            ("helo", "[\"*.billing.internal\"]"),
            ("header_from", "\"off\""),
            ("tls", "\"optional\""),
            ("client_certificate", "[\"billing.internal\"]"),
            ("authentication", "\"bypass\""),
            ("upstream", "\"google\""),
            ("mode", "\"hybrid\""),
            ("max_message_size", "\"25 MiB\""),
            ("max_recipients", "100"),
            ("max_connections", "200"),
            ("message_rate", "\"600/min\""),
            ("recipient_rate", "\"5000/h\""),
            ("bare_newlines", "\"reject\""),
            ("add_missing_headers", "[]"),
            ("not_before", "2026-01-01T00:00:00Z"),
            ("expires", "2027-01-01T00:00:00Z"),
            ("expiry", "\"reject\""),
        ] {
            let text = format!("[[entry]]\nid = \"billing\"\n{key} = {value}\n");
            let column = key.len() + 4;
            let told = format!("3:{column} entry[0].{key}: not built yet");
            assert_eq!(faults(&text), [told]);
        }
        for table in ["route", "credential", "expect"] {
            let text = format!("[[entry]]\nid = \"billing\"\n\n[[{table}]]\nid = \"a\"\n");
            assert_eq!(faults(&text), [format!("4:1 {table}: not built yet")]);
        }
    }

    #[test]
    fn unknown_keys_are_refused_with_their_place() {
        let faults = faults("[[entry]]\nid = \"a\"\n  nets = []\n[[entrys]]\n");
        assert_eq!(faults.len(), 2);
        assert!(faults[0].starts_with("4:3 entrys: unknown key `entrys`"), "{faults:?}");
        assert!(faults[1].starts_with("3:3 entry[0].nets: unknown key `nets`"), "{faults:?}");
    }

    #[test]
    fn a_long_text_is_cut_at_headers_only() {
        let text =
            "# [[entry]]\n[[entry]]\nid = \"[[entry]]\"\n \t[[entry]] # x\nid = \"b\"\n[[entry]]\n";
        let cut: Vec<_> = split(text, 1).collect();
        let headers: Vec<_> =
            cut.iter().map(|(_, part)| part.lines().next().expect("a line")).collect();
        assert_eq!(headers, ["# [[entry]]", "[[entry]]", "[[entry]] # x", "[[entry]]"]);
        assert_eq!(cut.iter().map(|(_, part)| *part).collect::<String>(), text);
        assert!(cut.iter().all(|(at, part)| text[*at..].starts_with(part)));
        assert_eq!(split("", 1).collect::<Vec<_>>(), [(0, "")]);
        assert_eq!(split("[[entry]]", 1).count(), 1);
        let multi_line = "[[entry]]\nid = '''\n[[entry]]\n'''\n[[entry]]\n";
        assert_eq!(split(multi_line, 1).collect::<Vec<_>>(), [(0, multi_line)]);
    }

    #[test]
    fn entries_are_counted_across_parts() {
        let filler = "#".repeat(PART_OCTETS);
        let text = format!("[[entry]]\nid = 1\n[[entry]]\n{filler}\n[[entry]]\ntls = 1\n");
        let parts: Vec<_> = parts(&text).collect();
        let keys: Vec<_> =
            parts.iter().flat_map(|part| &part.faults).map(|fault| fault.key.as_str()).collect();
        assert_eq!((parts.len(), keys), (2, vec!["entry[0].id", "entry[2].tls"]));
        let place = parts[1].at + parts[1].faults[0].offset.expect("a place");
        assert_eq!(Position::of(&text, place), Position { line: 6, column: 7 });
    }

    proptest! {
        /// Cutting neither hides what is wrong nor invents it, and loses no entry.
        #[test]
        fn the_parts_mean_what_the_whole_means(tokens in prop::collection::vec(
            prop::sample::select(vec![
                "[[entry]]", "\n[[entry]]\n", "\n \t[[entry]]", "\n", "id = \"a\"\n", "owner = \"", "\"",
                "\"\"\"", "'''", "'", "networks = [\n", "]\n", "\"10.0.0.1\",", "#", " ", "\\", "enabled = true",
            ]),
            0..25,
        )) {
            let text = tokens.concat();
            let whole = toml::from_str::<PolicyFile>(&text).ok().map(|file| file.entry.len());
            let parts: Option<Vec<_>> = split(&text, 1)
                .map(|(_, part)| toml::from_str::<PolicyFile>(part).ok().map(|file| file.entry.len()))
                .collect();
            prop_assert_eq!(parts.map(|counts| counts.iter().sum()), whole);
        }
    }
}
