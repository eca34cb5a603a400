//! Replies as a client reads them (RFC 5321 §4.2, RFC 2034 §4).

/// Octets of a reply line (RFC 5321 §4.5.3.1.5).
const LINE_OCTETS_MAX: usize = 512;

/// A reply of one line or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The reply code.
    pub code: u16,
    /// What follows the code and its sign, line by line.
    pub lines: Vec<String>,
}

impl Heard {
    /// Whether each line begins with an enhanced status code of the class that the code has.
    pub fn has_status(&self) -> bool {
        let class = (self.code / 100).to_string();
        let is_number = |text: &str| {
            (1..=3).contains(&text.len())
                && text.parse().is_ok_and(|number: u16| number.to_string() == text)
        };
        let has_status = |line: &String| {
            let status = line.split(' ').next().unwrap_or_default();
            let parts: Vec<&str> = status.split('.').collect();
            matches!(parts[..], [first, subject, detail]
                if first == class && is_number(subject) && is_number(detail))
        };
        matches!(self.code / 100, 2 | 4 | 5) && self.lines.iter().all(has_status)
    }
}

/// All replies in what was heard.
///
/// # Panics
/// If it is anything else than whole replies.
pub fn read(heard: &[u8]) -> Vec<Heard> {
    let mut replies = Vec::new();
    let mut open: Option<Heard> = None;
    for line in heard.split_inclusive(|octet| *octet == b'\n') {
        assert!(line.len() <= LINE_OCTETS_MAX, "a line of {} octets", line.len());
        let text = line.strip_suffix(b"\r\n").expect("a reply line ends with CRLF");
        let printable = text.iter().all(|octet| (b' '..=b'~').contains(octet));
        assert!(printable, "not printable: {}", text.escape_ascii());
        let text = String::from_utf8(text.to_vec()).expect("ASCII");
        let (code, text) = text.split_at(3);
        let code: u16 = code.parse().expect("three digits");
        assert!((200..600).contains(&code), "no such code: {code}");
        let reply = open.get_or_insert(Heard { code, lines: Vec::new() });
        assert_eq!(reply.code, code, "one code for all lines of a reply");
        reply.lines.push(text.get(1..).unwrap_or_default().to_owned());
        match text.as_bytes().first() {
            Some(b'-') => {}
            Some(b' ') => replies.extend(open.take()),
            _ => panic!("neither a space nor a hyphen behind {code}"),
        }
    }
    assert_eq!(open, None, "a reply without its last line");
    replies
}
