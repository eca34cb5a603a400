//! Patterns of senders, recipients, host names and certificates.
//!
//! A pattern looks at the octets of a path as they were sent; nothing is un-quoted or decoded, so
//! what is judged is what is forwarded. Domains are compared as A-labels, whatever their case
//! (RFC 5321 §2.4); a local-part is compared octet by octet. A match does not allocate, but for a
//! domain that is not ASCII.

use std::{borrow::Cow, fmt, str::FromStr};

use gatepost_smtp::path::{ForwardPath, Mailbox, ReversePath};
use idna::AsciiDenyList;

/// Which paths or names are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// `*`: anything but the null reverse-path.
    Any,
    /// `*.example.com`, kept as `.example.com`: any depth below, not itself.
    Below(Box<str>),
    /// `example.com`: that domain only.
    Domain(Box<str>),
    /// `user@example.com`.
    Mailbox { local_part: Box<str>, domain: Box<str> },
    /// `<>`.
    Null,
}

/// Why a text is not a [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The domain has letters outside ASCII.
    #[error("the domain must be written as its A-label (xn--…)")]
    ALabel,
    /// `@example.com`.
    #[error("a whole domain is written without the @, like example.com")]
    BareAt,
    /// Not a domain.
    #[error("not a domain; write user@example.com, example.com, *.example.com, * or <>")]
    Domain,
    /// Not a mailbox.
    #[error("not a mailbox; write it like user@example.com")]
    Mailbox,
    /// A `*` where it has no meaning.
    #[error(
        "a * stands alone or before a domain, like *.example.com; for all of a domain write example.com"
    )]
    Wildcard,
}

impl Pattern {
    /// Whether the reverse-path is one of those meant.
    pub fn matches(&self, path: &ReversePath<'_>) -> bool {
        match path {
            ReversePath::Null => self.0 == Kind::Null,
            ReversePath::Mailbox(mailbox) => self.matches_mailbox(mailbox),
        }
    }

    /// Whether the forward-path is one of those meant. `<postmaster>` has no domain to be told by:
    /// only `*` means it.
    pub fn matches_recipient(&self, path: &ForwardPath<'_>) -> bool {
        match path {
            ForwardPath::Postmaster(_) => self.is_any(),
            ForwardPath::Mailbox(mailbox) => self.matches_mailbox(mailbox),
        }
    }

    /// Whether the mailbox is one of those meant.
    pub fn matches_mailbox(&self, mailbox: &Mailbox<'_>) -> bool {
        match &self.0 {
            Kind::Mailbox { local_part, .. } if mailbox.local_part() != local_part.as_bytes() => {
                false
            }
            Kind::Mailbox { domain, .. } => is_domain(mailbox.domain(), domain),
            _ => self.matches_name(mailbox.domain()),
        }
    }

    /// Whether a host name or an address literal is one of those meant.
    pub fn matches_name(&self, name: &[u8]) -> bool {
        match &self.0 {
            Kind::Any => true,
            Kind::Below(suffix) => {
                a_labels(name).is_some_and(|name| is_below(&name, suffix.as_bytes()))
            }
            Kind::Domain(domain) => is_domain(name, domain),
            Kind::Mailbox { .. } | Kind::Null => false,
        }
    }

    /// Whether it means all that another one does. Two of which neither covers the other have nothing
    /// in common.
    pub fn covers(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kind::Null, other) => *other == Kind::Null,
            (Kind::Any, other) => *other != Kind::Null,
            (Kind::Below(suffix), Kind::Below(other)) => {
                other.eq_ignore_ascii_case(suffix) || is_below(other.as_bytes(), suffix.as_bytes())
            }
            (
                Kind::Below(_) | Kind::Domain(_),
                Kind::Domain(domain) | Kind::Mailbox { domain, .. },
            ) => self.matches_name(domain.as_bytes()),
            (Kind::Mailbox { local_part, domain }, Kind::Mailbox { local_part: l, domain: d }) => {
                local_part == l && domain.eq_ignore_ascii_case(d)
            }
            (Kind::Below(_) | Kind::Domain(_) | Kind::Mailbox { .. }, _) => false,
        }
    }

    /// Whether it is `*`.
    pub fn is_any(&self) -> bool {
        self.0 == Kind::Any
    }

    /// Whether it is `<>`.
    pub fn is_null(&self) -> bool {
        self.0 == Kind::Null
    }

    /// Whether it means names of hosts: neither a mailbox nor the null reverse-path.
    pub fn is_of_names(&self) -> bool {
        !matches!(self.0, Kind::Mailbox { .. } | Kind::Null)
    }
}

/// Whether a name is the domain of a pattern.
fn is_domain(name: &[u8], domain: &str) -> bool {
    a_labels(name).is_some_and(|name| name.eq_ignore_ascii_case(domain.as_bytes()))
}

/// A name as A-labels (RFC 5890 §2.3.2.1), which is what it is nearly always. None if it is no
/// domain at all; nothing but `*` means such a name.
fn a_labels(name: &[u8]) -> Option<Cow<'_, [u8]>> {
    if name.is_ascii() {
        return Some(Cow::Borrowed(name));
    }
    let ascii = idna::domain_to_ascii_cow(name, AsciiDenyList::EMPTY).ok()?;
    Some(Cow::Owned(ascii.into_owned().into_bytes()))
}

/// Below is a true subdomain: `suffix` begins with the dot, and a label must stand before it.
fn is_below(domain: &[u8], suffix: &[u8]) -> bool {
    domain.len() > suffix.len()
        && domain[domain.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let kind = match text {
            "*" => Kind::Any,
            "<>" => Kind::Null,
            _ if text.starts_with('@') => return Err(PatternError::BareAt),
            _ if text.contains('@') => mailbox(text)?,
            _ => match text.strip_prefix('*') {
                Some(suffix) if suffix.starts_with('.') => {
                    check_domain(&suffix[1..])?;
                    Kind::Below(suffix.into())
                }
                Some(_) => return Err(PatternError::Wildcard),
                None => {
                    check_domain(text)?;
                    Kind::Domain(text.into())
                }
            },
        };
        Ok(Self(kind))
    }
}

fn mailbox(text: &str) -> Result<Kind, PatternError> {
    // The same parser as for the command line: a pattern it refuses could never match.
    let mailbox = Mailbox::parse(text.as_bytes()).map_err(|_| PatternError::Mailbox)?;
    if mailbox.local_part().contains(&b'*') {
        // `*` may stand in a local-part (RFC 5322 §3.2.3), but who writes it means something else.
        return Err(PatternError::Wildcard);
    }
    if !mailbox.domain().is_ascii() {
        return Err(PatternError::ALabel);
    }
    let at = mailbox.local_part().len();
    Ok(Kind::Mailbox { local_part: text[..at].into(), domain: text[at + 1..].into() })
}

fn check_domain(text: &str) -> Result<(), PatternError> {
    if !text.is_ascii() {
        return Err(PatternError::ALabel);
    }
    if text.contains('*') {
        return Err(PatternError::Wildcard);
    }
    // A domain is what may stand behind the `@` of a mailbox.
    let probe = [b"x@", text.as_bytes()].concat();
    Mailbox::parse(&probe).map(|_| ()).map_err(|_| PatternError::Domain)
}

/// As it is written in a policy.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Any => f.write_str("*"),
            Kind::Below(suffix) => write!(f, "*{suffix}"),
            Kind::Domain(domain) => f.write_str(domain),
            Kind::Mailbox { local_part, domain } => write!(f, "{local_part}@{domain}"),
            Kind::Null => f.write_str("<>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        let bracketed = format!("<{path}>");
        let (path, _) = ReversePath::split_from(bracketed.as_bytes()).expect("a valid path");
        pattern.parse::<Pattern>().expect(pattern).matches(&path)
    }

    #[test]
    fn each_form_matches_what_it_says() {
        for (pattern, yes, no) in [
            ("*", &["a@b", "\"a b\\@\"@c"][..1], &[""][..]),
            ("<>", &[""], &["a@b", "postmaster@b"]),
            (
                "user@Example.com",
                &["user@example.COM"],
                &["User@example.com", "\"user\"@example.com", "user@a.example.com", ""],
            ),
            (
                "example.com",
                &["a@example.com", "a@EXAMPLE.com", "\"a@b\"@example.com"],
                &["a@b.example.com", "a@evil-example.com", "a@example.com.evil.org", "a@com", ""],
            ),
            (
                "*.Example.com",
                &["a@b.example.com", "a@c.b.EXAMPLE.COM"],
                &["a@example.com", "a@evil-example.com", "a@b.example.com.evil.org", ""],
            ),
            ("[10.0.0.1]", &["root@[10.0.0.1]"], &["root@[10.0.0.2]"]),
            (
                "xn--grn-ioa.example",
                &[
                    "a@XN--grn-ioa.example",
                    "a@grün.example",
                    "a@GRÜN.Example",
                    "a@gru\u{308}n.example",
                ],
                &["a@grun.example", "a@x.grün.example", "a@gr\u{fffd}n.example"],
            ),
            ("*.xn--grn-ioa.example", &["a@b.grün.example"], &["a@grün.example"]),
            ("u@xn--grn-ioa.example", &["u@grün.example"], &["v@grün.example"]),
            ("*", &["ü@gr\u{fffd}n.example"], &[""]),
        ] {
            for path in yes {
                assert!(matches(pattern, path), "{pattern} must match <{path}>");
            }
            for path in no {
                assert!(!matches(pattern, path), "{pattern} must not match <{path}>");
            }
        }
    }

    #[test]
    fn recipients_and_names_are_matched_alike() {
        let meant = |pattern: &str, path: &str| {
            let path = ForwardPath::split_from(path.as_bytes()).expect("a valid path").0;
            pattern.parse::<Pattern>().expect(pattern).matches_recipient(&path)
        };
        assert!(meant("*", "<a@b.example>") && meant("*", "<postmaster>"));
        assert!(meant("b.example", "<a@B.example>") && !meant("b.example", "<a@c.b.example>"));
        assert!(meant("a@b.example", "<a@b.example>") && !meant("a@b.example", "<A@b.example>"));
        assert!(!meant("b.example", "<postmaster>") && !meant("postmaster@b", "<Postmaster>"));

        let named = |pattern: &str, name: &str| {
            pattern.parse::<Pattern>().expect(pattern).matches_name(name.as_bytes())
        };
        assert!(named("*.internal", "a.INTERNAL") && !named("*.internal", "internal"));
        assert!(named("*", "anything-at-all_") && named("[10.0.0.1]", "[10.0.0.1]"));
        assert!(!named("a@b.example", "b.example") && !named("<>", ""));
    }

    #[test]
    fn what_covers_what() {
        let covers = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|text| text.parse::<Pattern>().expect(text));
            one.covers(&other)
        };
        for (one, other) in [
            ("*", "a@b.test"),
            ("*", "*.b.test"),
            ("*", "*"),
            ("<>", "<>"),
            ("*.b.test", "*.c.B.test"),
            ("*.b.test", "*.b.test"),
            ("*.b.test", "c.b.test"),
            ("*.b.test", "a@c.b.test"),
            ("b.test", "B.test"),
            ("b.test", "a@b.test"),
            ("a@b.test", "a@B.test"),
        ] {
            assert!(covers(one, other), "{one} {other}");
            assert!(
                one == other || one.eq_ignore_ascii_case(other) || !covers(other, one),
                "{one} {other}"
            );
        }
        for (one, other) in [
            ("*", "<>"),
            ("*.b.test", "b.test"),
            ("*.b.test", "*.test"),
            ("*.b.test", "*.ab.test"),
            ("b.test", "*.b.test"),
            ("a@b.test", "A@b.test"),
        ] {
            assert!(!covers(one, other), "{one} {other}");
        }
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        for (text, reason) in [
            ("", PatternError::Domain),
            (" ", PatternError::Domain),
            ("example.com.", PatternError::Domain),
            (".example.com", PatternError::Domain),
            ("a..b", PatternError::Domain),
            ("ex ample.com", PatternError::Domain),
            ("*.", PatternError::Domain),
            ("*.[10.0.0.1", PatternError::Domain),
            ("<a@b>", PatternError::Mailbox),
            ("a@b@c", PatternError::Mailbox),
            ("a@", PatternError::Mailbox),
            ("a@*.example.com", PatternError::Mailbox),
            ("@example.com", PatternError::BareAt),
            ("**", PatternError::Wildcard),
            ("*example.com", PatternError::Wildcard),
            ("*.*.example.com", PatternError::Wildcard),
            ("a.*.example.com", PatternError::Wildcard),
            ("*@example.com", PatternError::Wildcard),
            ("no-*@example.com", PatternError::Wildcard),
            ("grün.example", PatternError::ALabel),
            ("*.grün.example", PatternError::ALabel),
            ("user@grün.example", PatternError::ALabel),
        ] {
            assert_eq!(text.parse::<Pattern>(), Err(reason), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_parser_never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Pattern>();
        }

        #[test]
        fn what_is_read_is_shown_again(text in "[*a-c@.<>\"-]{0,12}") {
            if let Ok(pattern) = text.parse::<Pattern>() {
                prop_assert_eq!(pattern.to_string(), text);
            }
        }
    }
}
