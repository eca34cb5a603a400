//! Whatever clients and upstreams say: a notification keeps its form.

use gatepost_smtp::reply::ReplyCode;
use mail_parser::{MessageParser, MimeHeaders as _};
use proptest::prelude::*;

use super::samples::{composed, groups, stored};
use super::*;

/// Octets that like to break things, and any others.
fn octets(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        proptest::sample::select(vec![
            &b"\r\n"[..],
            b"\r\n\r\n",
            b"\n",
            b"\r",
            b"\0",
            b" ",
            b"\t",
            b"--",
            b"=_0000000002e.0",
            b"Action: delivered",
            b"Bcc: v@example.org",
            b"<",
            b">",
            b"\xc3\xa9",
            b"\xe9",
            b"\x1b",
            b".",
            b"\xe2\x80\xa8",
            b"\xe2\x80\xae",
            b"+0D+0A",
            b"=",
            b";",
        ])
        .prop_map(<[u8]>::to_vec),
        proptest::collection::vec(any::<u8>(), 0..20),
        (0..1200_usize).prop_map(|length| vec![b'x'; length]),
    ];
    proptest::collection::vec(word, 0..most).prop_map(|words| words.concat())
}

fn state() -> impl Strategy<Value = RecipientState> {
    use RecipientState::{Delivered, Expired, Failed, Pending};
    proptest::sample::select(vec![Delivered, Expired, Failed, Pending])
}

fn recipients() -> impl Strategy<Value = Vec<StoredRecipient>> {
    let reply = (200_u16..600, octets(8)).prop_map(|(code, text)| {
        let code = ReplyCode::parse(code.to_string().as_bytes()).expect("is one");
        Reply::heard(code, text.into())
    });
    let one = (octets(4), octets(4), state(), proptest::option::of(reply));
    proptest::collection::vec(one, 1..4).prop_map(|all| {
        let each = |(place, (path, dsn, state, reply)): (usize, (Vec<u8>, Vec<u8>, _, _))| {
            let dsn = [b" ORCPT=rfc822;", &dsn[..]].concat();
            let mut recipient = stored(place as u32, ("", ""), (state, reply));
            recipient.recipient = Recipient { path: path.into(), dsn: dsn.into() };
            recipient
        };
        all.into_iter().enumerate().map(each).collect()
    })
}

proptest! {
    #[test]
    fn nothing_breaks_out_of_its_place(
        recipients in recipients(),
        (reverse_path, dsn, upstream) in (octets(4), octets(4), octets(3)),
        content in octets(20),
        is_whole in any::<bool>(),
        notice in proptest::sample::select(vec![Notice::Delay, Notice::End]),
    ) {
        let about = Envelope {
            reverse_path: reverse_path.into(),
            dsn: [b" ENVID=", &dsn[..]].concat().into(),
            upstream: String::from_utf8_lossy(&upstream).into_owned().into(),
            ..envelope("", "")
        };
        let original = if is_whole { Original::whole(&content) } else { Original::headers(&content) };
        let count = recipients.len();
        let composed = composed(about, recipients, notice, &original);

        // Lines end with CRLF, and are short enough.
        prop_assert!(composed.ends_with(b"\r\n"));
        for line in composed[..composed.len() - 2].split(|&octet| octet == b'\n') {
            let text = line.strip_suffix(b"\r").unwrap_or(line);
            prop_assert!(text.len() <= 998, "{} octets", text.len());
            prop_assert!(!text.iter().any(|octet| matches!(octet, b'\r' | 0)));
        }
        let bare = memchr::memchr_iter(b'\n', &composed).filter(|&at| composed[at - 1] != b'\r').count();
        prop_assert_eq!(bare, 0);
        // What is stored goes as DATA, and comes back.
        prop_assert_eq!(bdat::unstuff(&bdat::stuff(&composed)), composed.clone());

        let parsed = MessageParser::default().parse(&composed).expect("is a message");
        prop_assert_eq!(parsed.header_raw("Bcc"), None);
        let names: Vec<_> = parsed.headers().iter().map(|header| header.name().to_owned()).collect();
        for (once, name) in names.iter().enumerate() {
            prop_assert!(!names[..once].contains(name), "{} twice", name);
        }
        let root = parsed.root_part().sub_parts().expect("has parts");
        prop_assert_eq!(root.len(), 3);
        let status = &parsed.parts[root[1] as usize];
        let raw = &composed[status.raw_body_offset() as usize..status.raw_end_offset() as usize];
        let raw = std::str::from_utf8(raw).expect("is UTF-8");
        let subtype = status.content_type().and_then(|of| of.subtype());
        prop_assert_eq!(subtype == Some("delivery-status"), raw.is_ascii());
        let groups = groups(raw);
        prop_assert_eq!(groups.len(), count + 1);
        for group in &groups[1..] {
            let of = |name: &str| group.iter().filter(|(field, _)| field == name).count();
            prop_assert_eq!((of("Final-Recipient"), of("Action"), of("Status")), (1, 1, 1));
        }
        let last = &parsed.parts[root[2] as usize];
        let raw = &composed[last.raw_body_offset() as usize..last.raw_end_offset() as usize];
        prop_assert_eq!(raw, &original.octets[..]);
    }
}
