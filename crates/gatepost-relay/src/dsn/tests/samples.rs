//! Notifications of every kind, with what their readers must find in them. mail-parser reads them
//! here; Python's email package reads the same ones (`tests/foreign/notifications.py`).

use mail_parser::{MessageParser, MimeHeaders as _};
use serde_json::{Value, json};

use super::*;

/// A notification and what it says.
pub(super) struct Sample {
    name: &'static str,
    content: Vec<u8>,
    expected: Value,
}

pub(super) fn stored(
    place: u32,
    (path, dsn): (&str, &str),
    (state, reply): (RecipientState, Option<Reply>),
) -> StoredRecipient {
    StoredRecipient {
        place,
        recipient: recipient(path, dsn),
        state,
        after: After::Notify,
        delay_told: false,
        attempts: 1,
        reply,
    }
}

pub(super) fn composed(
    envelope: Envelope,
    recipients: Vec<StoredRecipient>,
    notice: Notice,
    original: &Original,
) -> Vec<u8> {
    let message = StoredMessage {
        envelope,
        standing: Standing::Owing,
        due_at: at(60),
        attempts: 1,
        octets: 100,
        recipients,
    };
    let told: Vec<_> = message.recipients.iter().collect();
    let (id, hostname, now) = (queue_id(78), "relay.example.com", at(90));
    Report { id, hostname, now, message: &message, told: &told, notice, original }.compose()
}

const SENT: &[u8] =
    b"Received: from app ([10.20.0.7]) by relay.example.com with ESMTP id 1; now\r\n\
    From: app@example.com\r\nMessage-ID: <1@app.example.com>\r\nSubject: Invoice 7\r\n\r\n\
    ..a line that begins with a dot\r\n";

fn failed() -> Sample {
    use RecipientState::{Expired, Failed};
    let words =
        "The email account that you tried to reach does not exist.\nTry double-checking it.";
    let recipients = vec![
        stored(
            0,
            ("gone@example.net", " NOTIFY=FAILURE ORCPT=rfc822;first+2Bone@example.org"),
            (Failed, Some(Reply::new(550, (5, 1, 1), words))),
        ),
        stored(1, ("\"odd one\"@example.net", ""), (Failed, Some(Reply::plain(554, "No")))),
        stored(
            2,
            ("slow@example.net", ""),
            (Expired, Some(Reply::new(450, (4, 2, 1), "Peak SMTP relay limit exceeded"))),
        ),
    ];
    Sample {
        name: "failed",
        content: composed(
            envelope("bounces@example.com", " RET=FULL ENVID=QQ+2B314159"),
            recipients,
            Notice::End,
            &Original::whole(SENT),
        ),
        expected: json!({
            "subject": "Delivery Status Notification (Failure)",
            "to": "bounces@example.com",
            "in_reply_to": "<1@app.example.com>",
            "parts": ["text/plain", "message/delivery-status", "message/rfc822"],
            "says": ["gone@example.net", "does not exist", "will not be tried again", "0000000002d"],
            "original": ["Subject: Invoice 7", "\n.a line that begins with a dot"],
            "message": {
                "Reporting-MTA": "dns; relay.example.com",
                "Original-Envelope-Id": "QQ+314159",
                "Arrival-Date": "Fri, 15 Jan 2027 08:00:00 +0000"
            },
            "recipients": [
                {
                    "Original-Recipient": "rfc822; first+one@example.org",
                    "Final-Recipient": "rfc822; gone@example.net",
                    "Action": "failed",
                    "Status": "5.1.1",
                    "Remote-MTA": "x-gatepost-upstream; google",
                    "Diagnostic-Code": "smtp; 550 5.1.1 The email account that you tried to reach does \
                                        not exist. Try double-checking it.",
                    "Last-Attempt-Date": "Fri, 15 Jan 2027 08:01:30 +0000",
                },
                {
                    "Final-Recipient": "rfc822; \"odd one\"@example.net",
                    "Action": "failed",
                    "Status": "5.0.0",
                    "Diagnostic-Code": "smtp; 554 No",
                },
                {
                    "Final-Recipient": "rfc822; slow@example.net",
                    "Action": "failed",
                    "Status": "4.4.7",
                    "Diagnostic-Code": "smtp; 450 4.2.1 Peak SMTP relay limit exceeded",
                },
            ],
        }),
    }
}

fn delayed() -> Sample {
    let pending = RecipientState::Pending;
    let busy = Reply::new(451, (4, 7, 500), "Server busy");
    let recipients = vec![
        stored(0, ("b@example.net", " NOTIFY=DELAY"), (pending, Some(busy))),
        stored(1, ("c@example.net", " NOTIFY=DELAY"), (pending, None)),
    ];
    let envelope = envelope("a@example.com", " RET=HDRS");
    Sample {
        name: "delayed",
        content: composed(envelope, recipients, Notice::Delay, &Original::headers(SENT)),
        expected: json!({
            "subject": "Delivery Status Notification (Delay)",
            "to": "a@example.com",
            "in_reply_to": "<1@app.example.com>",
            "parts": ["text/plain", "message/delivery-status", "text/rfc822-headers"],
            "says": ["do not send it again", "Server busy", "could not be reached"],
            "original": ["Subject: Invoice 7"],
            "message": { "Reporting-MTA": "dns; relay.example.com" },
            "recipients": [
                {
                    "Final-Recipient": "rfc822; b@example.net",
                    "Action": "delayed",
                    "Status": "4.7.500",
                    "Will-Retry-Until": "Wed, 20 Jan 2027 08:00:00 +0000",
                },
                {
                    "Final-Recipient": "rfc822; c@example.net",
                    "Action": "delayed",
                    "Status": "4.0.0",
                    "Will-Retry-Until": "Wed, 20 Jan 2027 08:00:00 +0000",
                },
            ],
        }),
    }
}

fn relayed() -> Sample {
    let accepted = Some(Reply::new(250, (2, 0, 0), "OK 1790000000"));
    let recipients = vec![stored(
        0,
        ("b@example.net", " NOTIFY=SUCCESS"),
        (RecipientState::Delivered, accepted),
    )];
    Sample {
        name: "relayed",
        content: composed(
            envelope("a@example.com", ""),
            recipients,
            Notice::End,
            &Original::gone(),
        ),
        expected: json!({
            "subject": "Delivery Status Notification (Relayed)",
            "to": "a@example.com",
            "in_reply_to": null,
            "parts": ["text/plain", "message/delivery-status"],
            "says": ["handed over", "b@example.net"],
            "original": [],
            "message": { "Reporting-MTA": "dns; relay.example.com" },
            "recipients": [{
                "Final-Recipient": "rfc822; b@example.net",
                "Action": "relayed",
                "Status": "2.0.0",
                "Diagnostic-Code": "smtp; 250 2.0.0 OK 1790000000",
            }],
        }),
    }
}

fn international() -> Sample {
    let refused = Some(Reply::new(553, (5, 6, 7), "no SMTPUTF8"));
    let recipients =
        vec![stored(0, ("j\u{f6}rg@b\u{fc}cher.example", ""), (RecipientState::Failed, refused))];
    Sample {
        name: "international",
        content: composed(
            envelope("\u{e4}@b\u{fc}cher.example", ""),
            recipients,
            Notice::End,
            &Original::headers("Subject: Gr\u{fc}\u{df}e\r\n\r\n".as_bytes()),
        ),
        expected: json!({
            "subject": "Delivery Status Notification (Failure)",
            "to": "\u{e4}@b\u{fc}cher.example",
            "in_reply_to": null,
            "parts": ["text/plain", "message/global-delivery-status", "message/global-headers"],
            "says": ["j\u{f6}rg@b\u{fc}cher.example"],
            "original": ["Subject: Gr\u{fc}\u{df}e"],
            "message": { "Reporting-MTA": "dns; relay.example.com" },
            "recipients": [{
                "Final-Recipient": "utf-8; j\u{f6}rg@b\u{fc}cher.example",
                "Action": "failed",
                "Status": "5.6.7",
            }],
        }),
    }
}

/// Whatever is sent by a client and said by an upstream stays a value.
fn hostile() -> Sample {
    let words = "a\r\nBcc: victim@example.org\r\n\r\n--=_0000000002e.0--\r\nX: \u{1b}[31m";
    let refused = Some(Reply::new(550, (5, 0, 0), words));
    let recipients = vec![stored(
        0,
        ("b@example.net\r\nAction: delivered", " ORCPT=x-a;1+2B2"),
        (RecipientState::Failed, refused),
    )];
    let sent = b"Subject: x\r\nContent-Type: multipart/mixed; boundary=\"=_0000000002e.0\"\r\n\r\n\
        --=_0000000002e.0\r\n\r\nbody\r\n--=_0000000002e.0--\r\n";
    Sample {
        name: "hostile",
        content: composed(
            envelope("a@example.com\r\nBcc: victim@example.org", " RET=FULL"),
            recipients,
            Notice::End,
            &Original::whole(sent),
        ),
        expected: json!({
            "subject": "Delivery Status Notification (Failure)",
            "to": "a@example.com??Bcc: victim@example.org",
            "in_reply_to": null,
            "parts": ["text/plain", "message/delivery-status", "message/rfc822"],
            "says": ["b@example.net??Action: delivered"],
            "original": ["--=_0000000002e.0--"],
            "message": { "Reporting-MTA": "dns; relay.example.com" },
            "recipients": [{
                "Original-Recipient": "x-a; 1+2",
                "Final-Recipient": "rfc822; b@example.net??Action: delivered",
                "Action": "failed",
                "Status": "5.0.0",
                "Diagnostic-Code": "smtp; 550 5.0.0 a Bcc: victim@example.org --=_0000000002e.0-- X: \
                                    ?[31m",
            }],
        }),
    }
}

fn samples() -> [Sample; 5] {
    [failed(), delayed(), relayed(), international(), hostile()]
}

/// Groups of fields, as RFC 3464 §2.1 separates them.
pub(super) fn groups(status: &str) -> Vec<Vec<(String, String)>> {
    let unfolded = status.replace("\r\n ", " ");
    let group = |group: &str| {
        let fields = group.split_terminator("\r\n").filter(|line| !line.is_empty());
        let pair = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a field has a colon");
            (name.to_owned(), value.to_owned())
        };
        fields.map(pair).collect()
    };
    unfolded.split("\r\n\r\n").map(group).collect()
}

fn assert_fields(name: &str, found: &[(String, String)], expected: &Value) {
    for (field, value) in expected.as_object().expect("an object") {
        let found: Vec<_> = found.iter().filter(|(name, _)| name == field).collect();
        assert_eq!(found.len(), 1, "{name}: {field} of {found:?}");
        assert_eq!(Some(&*found[0].1), value.as_str(), "{name}: {field}");
    }
}

#[test]
fn others_read_what_was_meant() {
    for Sample { name, content, expected } in samples() {
        let parsed = MessageParser::default().parse(&content).expect("is a message");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        assert_eq!(parsed.subject(), expected["subject"].as_str(), "{name}");
        assert_eq!(parsed.header_raw("To").map(str::trim), expected["to"].as_str(), "{name}");
        assert_eq!(parsed.header_raw("Bcc"), None, "{name}");
        assert_eq!(parsed.header_raw("Auto-Submitted").map(str::trim), Some("auto-replied"));
        let reply_to = parsed.header_raw("In-Reply-To").map(|value| value.trim().to_owned());
        assert_eq!(reply_to, text(&expected["in_reply_to"]), "{name}");
        let of = parsed.content_type().expect("has one");
        assert_eq!((of.ctype(), of.subtype()), ("multipart", Some("report")), "{name}");
        assert_eq!(of.attribute("report-type"), Some("delivery-status"), "{name}");

        let root = parsed.root_part().sub_parts().expect("has parts");
        let parts: Vec<_> = root.iter().map(|&part| &parsed.parts[part as usize]).collect();
        let types = parts.iter().map(|part| {
            let of = part.content_type().expect("has one");
            format!("{}/{}", of.ctype(), of.subtype().unwrap_or_default())
        });
        let wanted = expected["parts"].as_array().expect("a list");
        assert_eq!(types.collect::<Vec<_>>(), wanted.iter().filter_map(text).collect::<Vec<_>>());

        let raw = |part: usize| {
            let part = parts[part];
            let raw = &content[part.raw_body_offset() as usize..part.raw_end_offset() as usize];
            String::from_utf8(raw.to_vec()).expect("is UTF-8")
        };
        let people = raw(0).replace("\r\n    ", " ").replace("\r\n", " ");
        for said in expected["says"].as_array().expect("a list").iter().filter_map(text) {
            assert!(people.contains(&said), "{name}: {said} in {people}");
        }
        let groups = groups(&raw(1));
        assert_fields(name, &groups[0], &expected["message"]);
        let recipients = expected["recipients"].as_array().expect("a list");
        assert_eq!(groups.len() - 1, recipients.len(), "{name}");
        for (found, expected) in groups[1..].iter().zip(recipients) {
            assert_fields(name, found, expected);
        }
        for line in expected["original"].as_array().expect("a list").iter().filter_map(text) {
            assert!(raw(2).replace("\r\n", "\n").contains(&line), "{name}: {line}");
        }
    }
}

/// Writes them for `tests/foreign/notifications.py`, into the folder that NOTIFICATIONS names.
#[test]
#[ignore = "`make notifications` asks for it"]
fn write_samples() {
    let folder = std::env::var_os("NOTIFICATIONS").expect("NOTIFICATIONS names a folder");
    let folder = std::path::PathBuf::from(folder);
    std::fs::create_dir_all(&folder).expect("makes it");
    for Sample { name, content, expected } in samples() {
        std::fs::write(folder.join(name).with_extension("eml"), content).expect("writes");
        let expected = serde_json::to_vec(&expected).expect("is JSON");
        std::fs::write(folder.join(name).with_extension("json"), expected).expect("writes");
    }
}
