//! A message as whoever gets it sees it.
//!
//! A receiver takes stuffed dots off first, and then joins lines that are folded
//! (RFC 5321 §4.5.2, RFC 5322 §2.2.3). Gatepost looks at both in place; the outcome has to be the
//! same.

/// The fields of a section, unstuffed and unfolded.
#[derive(Debug)]
pub struct Received {
    /// Name and value, without the white space around the colon's left side.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Received {
    /// Reads a section that is whole and well-formed, its empty line included.
    pub fn read(section: &[u8]) -> Self {
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for line in received_lines(section).into_iter().take_while(|line| !line.is_empty()) {
            match (line[0], fields.last_mut()) {
                (b' ' | b'\t', Some((_, value))) => value.extend_from_slice(line),
                (b' ' | b'\t', None) => panic!("a continuation of nothing"),
                _ => {
                    let colon = line.iter().position(|octet| *octet == b':').expect("a colon");
                    let name = line[..colon].trim_ascii_end();
                    fields.push((name.to_vec(), line[colon + 1..].to_vec()));
                }
            }
        }
        Self { fields }
    }

    /// How many lines up to the empty one begin with `name`, whatever else is wrong with them.
    pub fn lines_that_begin_with(content: &[u8], name: &[u8]) -> usize {
        let begins = |line: &&[u8]| {
            line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name)
        };
        let mut lines = received_lines(content);
        if let Some(empty) = lines.iter().position(|line| line.is_empty()) {
            lines.truncate(empty);
        }
        lines.iter().filter(|line| begins(line)).count()
    }
}

/// Lines without their ends and without what was stuffed. The last one may be a piece of a line,
/// and is empty if the content ends with a line.
pub fn received_lines(content: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = content;
    while let Some(end) = rest.windows(2).position(|octets| octets == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines.into_iter().map(|line| line.strip_prefix(b".").unwrap_or(line)).collect()
}

/// The addresses that a plain reader shows for the value of a From field: what is between angle
/// brackets, or else all that is no comment, of each part between commas.
pub fn shown_mailboxes(value: &[u8]) -> Vec<Vec<u8>> {
    parts(value).iter().map(Part::address).collect()
}

/// What stands between two commas.
#[derive(Default)]
struct Part {
    /// Without comments.
    text: Vec<u8>,
    bracketed: Option<Vec<u8>>,
}

impl Part {
    fn address(&self) -> Vec<u8> {
        self.bracketed.as_ref().unwrap_or(&self.text).trim_ascii().to_vec()
    }
}

fn parts(value: &[u8]) -> Vec<Part> {
    let mut parts = vec![Part::default()];
    let (mut quoted, mut bracketed, mut depth) = (false, false, 0_usize);
    let mut octets = value.iter().copied();
    while let Some(octet) = octets.next() {
        let part = parts.last_mut().expect("there is always a part");
        let mut said = vec![octet];
        match octet {
            b'\\' if quoted || depth > 0 => said.extend(octets.next()),
            b'"' if depth == 0 => quoted = !quoted,
            _ if quoted => {}
            b'(' => depth += 1,
            b')' if depth > 0 => {
                depth -= 1;
                continue;
            }
            b'<' if depth == 0 => {
                bracketed = true;
                part.bracketed = Some(Vec::new());
                continue;
            }
            b'>' if depth == 0 => bracketed = false,
            b',' if depth == 0 && !bracketed => {
                parts.push(Part::default());
                continue;
            }
            _ => {}
        }
        match &mut part.bracketed {
            _ if depth > 0 => {}
            Some(address) if bracketed => address.extend(said),
            Some(_) => {}
            None => part.text.extend(said),
        }
    }
    parts
}
