//! Whom a message claims to be from: the mailboxes of its From field (RFC 5322 §3.4, §3.6.2).
//!
//! Policy judges every one of them, so this must never find fewer, or others, than the reader of
//! the message is shown. The grammar is therefore that of RFC 5322 without its obsolete forms, and
//! without what careless readers get wrong: no comment or white space inside an address, no
//! encoded-word in it (RFC 2047 §5), no `@` in a name that is not quoted. Groups (RFC 6854) are
//! refused. Names are read as leniently as applications write them: with dots, and with raw 8-bit
//! octets. What is not understood is a fault, never skipped.
//!
//! Addresses are slices, not decoded and not rewritten.

use crate::header::fields;
use crate::path::{Mailbox, is_atext};

/// How deep comments may be nested. One in another is rare; more is made to confuse.
pub const COMMENT_DEPTH_MAX: usize = 8;

/// Why it is not known whom a message claims to be from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FromFault {
    /// RFC 6854 allows it; who is behind it cannot be judged.
    #[error("the From field has a group of addresses, which is not accepted")]
    Group,
    /// A line is no header field: some readers end there, others go on and find a From field.
    #[error("a line of the header section is not a header field")]
    MalformedSection,
    /// None in the header section.
    #[error("the message has no From field")]
    Missing,
    /// More than one. Readers differ in which they show.
    #[error("the message has {0} From fields")]
    Several(usize),
    /// There is one, and two readers may read it differently.
    #[error("the From field cannot be read: {0}")]
    Unreadable(#[from] Unreadable),
}

/// Why a From field is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// What stands where an address must is none that could be relayed.
    #[error("an address in it is not valid")]
    Address,
    /// A control octet, even if it is quoted.
    #[error("there is a control character in it")]
    Control,
    /// More than [`COMMENT_DEPTH_MAX`] comments in each other.
    #[error("its comments are nested too deeply")]
    Depth,
    /// `=?` in an address.
    #[error("an address in it is encoded")]
    EncodedAddress,
    /// Nothing, or only a name, where a mailbox must stand.
    #[error("there is no address where one is expected")]
    NoAddress,
    /// Something that can stand neither in a name, nor between or behind addresses.
    #[error("names and addresses in it are mixed up")]
    Stray,
    /// A quoted string, a comment or an angle bracket that is not closed.
    #[error("a quote, a comment or an angle bracket in it is not closed")]
    Unterminated,
}

/// Finds the only From field of `section`, which may be everything that is held.
///
/// A [`Section`](crate::header::Section) that ended as malformed must come with the line that
/// made it so, or that fault is not seen here.
pub fn from_mailboxes(section: &[u8]) -> Result<Mailboxes<'_>, FromFault> {
    let (mut found, mut count) = (None, 0);
    for field in fields(section) {
        let field = field.map_err(|_| FromFault::MalformedSection)?;
        if field.is(b"From") {
            found = Some(field.value);
            count += 1;
        }
    }
    match (found, count) {
        (None, _) => Err(FromFault::Missing),
        (rest, 1) => Ok(Mailboxes { rest }),
        (_, count) => Err(FromFault::Several(count)),
    }
}

/// The mailboxes of a From field: at least one item, and an error is the last one.
///
/// What was said before an error is worth nothing: the field is readable as a whole or not at all.
#[derive(Clone, Debug)]
pub struct Mailboxes<'a> {
    /// Begins with a mailbox; `None` when all is said.
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Mailboxes<'a> {
    type Item = Result<Mailbox<'a>, FromFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.take()?;
        Some(self.read(text))
    }
}

impl<'a> Mailboxes<'a> {
    /// `mailbox-list = mailbox *("," mailbox)`, of which `text` begins with a mailbox.
    fn read(&mut self, text: &'a [u8]) -> Result<Mailbox<'a>, FromFault> {
        let (mailbox, rest) = mailbox(text)?;
        match skip_cfws(rest)? {
            [] => {}
            [b',', rest @ ..] => self.rest = Some(rest),
            rest => return Err(unexpected(rest).into()),
        }
        Ok(mailbox)
    }
}

/// `mailbox = ([phrase] "<" addr-spec ">") / addr-spec`, and what follows it.
fn mailbox(text: &[u8]) -> Result<(Mailbox<'_>, &[u8]), FromFault> {
    let text = skip_cfws(text)?;
    let rest = skip_word(text)?;
    let has_word = rest.len() < text.len();
    if has_word && rest.first() == Some(&b'@') {
        return Ok(addr_spec(text)?);
    }
    match skip_phrase(rest)? {
        [b'<', rest @ ..] => Ok(angle_addr(rest)?),
        [b':', ..] if has_word => Err(FromFault::Group),
        [] | [b',', ..] => Err(Unreadable::NoAddress.into()),
        rest => Err(unexpected(rest).into()),
    }
}

/// `addr-spec ">"`, and what follows it.
fn angle_addr(text: &[u8]) -> Result<(Mailbox<'_>, &[u8]), Unreadable> {
    if memchr::memchr(b'>', text).is_none() {
        return Err(Unreadable::Unterminated);
    }
    let (mailbox, rest) = addr_spec(skip_fws(text))?;
    match skip_fws(rest) {
        [b'>', rest @ ..] => Ok((mailbox, rest)),
        rest => Err(unexpected(rest)),
    }
}

/// `addr-spec` without comments and white space in it, and what follows it.
fn addr_spec(text: &[u8]) -> Result<(Mailbox<'_>, &[u8]), Unreadable> {
    let local_part_octets = text.len() - skip_word(text)?.len();
    let domain = &text[local_part_octets..];
    let ends = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b',' | b'(' | b'>');
    let octets = local_part_octets + domain.iter().position(ends).unwrap_or(domain.len());
    let (address, rest) = text.split_at(octets);
    if memchr::memmem::find(address, b"=?").is_some() {
        return Err(Unreadable::EncodedAddress);
    }
    let mailbox = Mailbox::parse(address).map_err(|_| Unreadable::Address)?;
    Ok((mailbox, rest))
}

/// Why `text` cannot stand where it does.
fn unexpected(text: &[u8]) -> Unreadable {
    match text.first() {
        Some(octet) if octet.is_ascii_control() => Unreadable::Control,
        _ => Unreadable::Stray,
    }
}

/// What follows any words, comments and white space.
fn skip_phrase(mut text: &[u8]) -> Result<&[u8], Unreadable> {
    loop {
        let rest = skip_word(skip_cfws(text)?)?;
        if rest.len() == text.len() {
            return Ok(rest);
        }
        text = rest;
    }
}

/// What follows a quoted string or an atom, which may have dots in it; `text` if it begins with
/// neither.
fn skip_word(text: &[u8]) -> Result<&[u8], Unreadable> {
    let [b'"', rest @ ..] = text else {
        let octets = text.iter().take_while(|octet| is_atext(**octet) || **octet == b'.').count();
        return Ok(&text[octets..]);
    };
    let mut text = rest;
    loop {
        text = match text {
            [b'"', rest @ ..] => return Ok(rest),
            _ => skip_enclosed(text)?,
        };
    }
}

/// `CFWS = 1*(FWS / comment)`: what follows it; `text` if there is none.
fn skip_cfws(text: &[u8]) -> Result<&[u8], Unreadable> {
    let mut text = skip_fws(text);
    while let [b'(', rest @ ..] = text {
        text = skip_fws(skip_comment(rest)?);
    }
    Ok(text)
}

/// What follows a comment, of which the first parenthesis is taken.
fn skip_comment(mut text: &[u8]) -> Result<&[u8], Unreadable> {
    let mut depth = 1;
    while depth > 0 {
        text = match text {
            [b'(', ..] if depth == COMMENT_DEPTH_MAX => return Err(Unreadable::Depth),
            [b'(', rest @ ..] => {
                depth += 1;
                rest
            }
            [b')', rest @ ..] => {
                depth -= 1;
                rest
            }
            _ => skip_enclosed(text)?,
        };
    }
    Ok(text)
}

/// What follows one octet of a quoted string or a comment, a quoted pair, or a fold.
fn skip_enclosed(text: &[u8]) -> Result<&[u8], Unreadable> {
    if let Some(rest) = skip_fold(text) {
        return Ok(rest);
    }
    let ([b'\\', octet, rest @ ..] | [octet, rest @ ..]) = text else {
        return Err(Unreadable::Unterminated);
    };
    match octet {
        b'\t' => Ok(rest),
        octet if octet.is_ascii_control() => Err(Unreadable::Control),
        _ => Ok(rest),
    }
}

/// `FWS`: what follows white space and folds; `text` if there is none.
fn skip_fws(mut text: &[u8]) -> &[u8] {
    loop {
        text = match text {
            [b' ' | b'\t', rest @ ..] => rest,
            _ => match skip_fold(text) {
                Some(rest) => rest,
                None => return text,
            },
        };
    }
}

/// What follows CRLF and the white space, perhaps behind a stuffed dot, that makes it a fold.
fn skip_fold(text: &[u8]) -> Option<&[u8]> {
    match text {
        [b'\r', b'\n', b' ' | b'\t', rest @ ..] | [b'\r', b'\n', b'.', b' ' | b'\t', rest @ ..] => {
            Some(rest)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
