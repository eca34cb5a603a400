//! The policy file as it is written: a mirror of contract §2 and nothing else.
//!
//! Every key of the contract is here. Nothing is required and nothing is judged here: the compiler
//! does that, because it can name the entry.

mod credential;
mod expect;

use serde::Deserialize;
use toml::{Spanned, value::Datetime};

pub(crate) use self::credential::{CredentialFile, Secret};
pub(crate) use self::expect::{ExpectFile, OneOrMore, WordOrSwitch};
use crate::document::{self, Salvage};

/// A key with text in it, and where the text is.
pub(crate) type Text = Option<Spanned<Box<str>>>;
/// A key with a number in it, and where the number is.
pub(crate) type Number = Option<Spanned<u32>>;
/// A key with a date in it, and where the date is.
pub(crate) type Day = Option<Spanned<Datetime>>;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    #[serde(default)]
    entry: Vec<Spanned<EntryFile>>,
    #[serde(default)]
    route: Vec<Spanned<RouteFile>>,
    #[serde(default)]
    credential: Vec<Spanned<CredentialFile>>,
    #[serde(default)]
    expect: Vec<Spanned<ExpectFile>>,
}

/// One `[[entry]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryFile {
    pub(crate) id: Text,
    pub(crate) networks: Option<Strings>,
    pub(crate) description: Option<Box<str>>,
    pub(crate) owner: Option<Box<str>>,
    pub(crate) enabled: Option<bool>,
    pub(crate) services: Option<Strings>,
    pub(crate) senders: Option<Strings>,
    pub(crate) acknowledge: Option<Box<str>>,
    pub(crate) action: Text,
    pub(crate) recipients: Option<Strings>,
    pub(crate) helo: Option<Strings>,
    pub(crate) header_from: Text,
    pub(crate) tls: Text,
    pub(crate) client_certificate: Option<Strings>,
    pub(crate) authentication: Text,
    pub(crate) upstream: Text,
    pub(crate) mode: Text,
    pub(crate) max_message_size: Text,
    pub(crate) max_recipients: Number,
    pub(crate) max_connections: Number,
    pub(crate) message_rate: Text,
    pub(crate) recipient_rate: Text,
    pub(crate) duplicate_rate: Text,
    pub(crate) bare_newlines: Text,
    pub(crate) add_missing_headers: Option<Strings>,
    pub(crate) not_before: Day,
    pub(crate) expires: Day,
    pub(crate) expiry: Text,
}

/// One `[[route]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteFile {
    pub(crate) id: Text,
    pub(crate) entries: Option<Strings>,
    pub(crate) sender_domains: Option<Strings>,
    pub(crate) recipient_domains: Option<Strings>,
    pub(crate) upstream: Text,
    pub(crate) mode: Text,
    pub(crate) rewrite_mail_from: Text,
}

/// A list of strings that knows where it stands, and where each of them does.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Strings(pub(crate) Spanned<Vec<Spanned<Box<str>>>>);

/// A piece of the text that is a document of its own: the parts mean together what the whole means.
#[derive(Clone, Copy)]
pub(crate) struct Part<'t> {
    /// Where it begins; spans count from here.
    pub(crate) at: usize,
    text: &'t str,
}

/// What a part says.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) entries: Vec<Spanned<EntryFile>>,
    pub(crate) routes: Vec<Spanned<RouteFile>>,
    pub(crate) credentials: Vec<Spanned<CredentialFile>>,
    pub(crate) expectations: Vec<Spanned<ExpectFile>>,
}

/// Cuts a policy into parts: a million entries as one TOML tree would take gigabytes, and parts can
/// be read side by side.
pub(crate) fn parts(text: &str) -> Vec<Part<'_>> {
    split(text, PART_OCTETS).map(|(at, text)| Part { at, text }).collect()
}

impl Part<'_> {
    /// What it says, if all of it is well-formed.
    pub(crate) fn read(self) -> Option<Tables> {
        let file: PolicyFile = toml::from_str(self.text).ok()?;
        Some(Tables {
            entries: file.entry,
            routes: file.route,
            credentials: file.credential,
            expectations: file.expect,
        })
    }

    /// What can be read of it, entry by entry, and what is wrong. `first` is the number of its
    /// first entry in the whole.
    pub(crate) fn salvage(self, first: usize) -> Salvage<EntryFile> {
        document::salvage::<EntryFile, PolicyFile>(self.text, "entry", first)
    }
}

/// Octets of a part, about. Its tree and its mirror take many times as much: they should stay in the
/// processor's cache, and be so small that the allocator keeps their memory for the next part.
const PART_OCTETS: usize = 32 * 1024;

/// Cuts the text before lines that begin with `[[entry]]`, and yields each part with its offset.
///
/// Such a line is the header of an entry wherever it stands, except in a multi-line string: a text
/// that may have one is not cut.
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
    use crate::document::{Fault, Position};

    fn faults(text: &str) -> Vec<String> {
        let shown = |fault: &Fault| {
            let at = Position::of(text, fault.offset.expect("a place"));
            format!("{}:{} {}: {}", at.line, at.column, fault.key, fault.message)
        };
        let [part] = parts(text)[..] else { panic!("a short text") };
        assert!(part.read().is_none(), "{text}");
        part.salvage(0).faults.iter().map(shown).collect()
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
        let [first, second] = parts(&text)[..] else { panic!("two parts") };
        let (first, second_faults) = (first.salvage(0), second.salvage(2).faults);
        let keys: Vec<_> =
            first.faults.iter().chain(&second_faults).map(|fault| fault.key.as_str()).collect();
        assert_eq!((first.count, keys), (2, vec!["entry[0].id", "entry[2].tls"]));
        let place = second.at + second_faults[0].offset.expect("a place");
        assert_eq!(Position::of(&text, place), Position { line: 6, column: 7 });
    }

    proptest! {
        /// Cutting neither hides what is wrong nor invents it, and loses no entry.
        #[test]
        fn the_parts_mean_what_the_whole_means(tokens in prop::collection::vec(
            prop::sample::select(vec![
                "[[entry]]", "\n[[entry]]\n", "\n \t[[entry]]", "\n[[expect]]\n", "\n", "id = \"a\"\n", "owner = \"", "\"",
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
