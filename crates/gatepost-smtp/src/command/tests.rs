//! Lines as clients say them, and lines that are none.

use proptest::prelude::*;

use super::*;

fn ehlo(line: &[u8]) -> Result<Command<'_>, CommandError> {
    parse(line, Greeting::Ehlo)
}

fn code(line: &[u8]) -> u16 {
    ehlo(line).expect_err("a fault").reply().code().as_u16()
}

#[test]
fn verbs_in_any_case() {
    assert_eq!(ehlo(b"rset"), Ok(Command::Rset));
    assert_eq!(ehlo(b"RSET "), Ok(Command::Rset));
    assert_eq!(ehlo(b"NoOp whatever"), Ok(Command::Noop));
    assert_eq!(ehlo(b"helo [127.0.0.1]"), Ok(Command::Hello(Greeting::Helo, "[127.0.0.1]")));
    assert_eq!(code(b"RSETT"), 500);
    assert_eq!(code(b""), 500);
    assert_eq!(code(b" RSET"), 500);
    assert_eq!(code(b"DATA x"), 501);
    assert_eq!(code(b"EHLO"), 501);
    assert_eq!(code(b"EHLO \xc3\xa9"), 501);
    assert_eq!(code(&[b"EHLO ".as_slice(), &[b'x'; 256]].concat()), 501);
    assert_eq!(ehlo(b"StartTLS"), Ok(Command::StartTls));
    assert_eq!(code(b"STARTTLS now"), 501);
    assert!(ehlo(b"POST / HTTP/1.1").expect_err("not SMTP").ends_session());
}

#[test]
fn auth_names_a_mechanism() {
    let auth = |line| match ehlo(line) {
        Ok(Command::Auth(Auth { mechanism, initial_response })) => (mechanism, initial_response),
        other => panic!("{other:?}"),
    };
    assert_eq!(auth(b"AUTH PLAIN"), (Some(Mechanism::Plain), None));
    assert_eq!(auth(b"auth login AGE="), (Some(Mechanism::Login), Some(&b"AGE="[..])));
    assert_eq!(auth(b"AUTH plain ="), (Some(Mechanism::Plain), Some(&b"="[..])));
    assert_eq!(auth(b"AUTH CRAM-MD5"), (None, None));
    assert_eq!((code(b"AUTH"), code(b"AUTH PLAIN a b")), (501, 501));
    let shown = format!("{:?}", ehlo(b"AUTH PLAIN c2VjcmV0"));
    assert!(!shown.contains("c2VjcmV0") && !shown.contains("115"), "{shown}");
}

#[test]
fn mail_with_parameters() {
    let Ok(Command::Mail(mail)) = ehlo(b"MAIL FROM: <a@b> SIZE=12 BODY=8bitmime SMTPUTF8") else {
        panic!("a MAIL command")
    };
    assert_eq!(mail.reverse_path.as_bytes(), b"a@b");
    assert_eq!((mail.size, mail.body, mail.smtputf8), (Some(12), Some(Body::EightBitMime), true));
    for (line, auth) in [
        (&b"MAIL FROM:<a@b>"[..], false),
        (b"MAIL FROM:<a@b> AUTH=<>", true),
        (b"MAIL FROM:<a@b> auth=e+3Dmc2@example.com", true),
    ] {
        let Ok(Command::Mail(mail)) = ehlo(line) else { panic!("a MAIL command") };
        assert_eq!(mail.auth, auth, "{}", line.escape_ascii());
    }
    let Ok(Command::Mail(mail)) = ehlo(b"mail from:<> SIZE=99999999999999999999") else {
        panic!("a MAIL command")
    };
    assert_eq!((mail.reverse_path, mail.size), (ReversePath::Null, Some(u64::MAX)));
}

#[test]
fn mail_that_is_none() {
    for (line, expected) in [
        (&b"MAIL"[..], 501),
        (b"MAIL FROM:a@b", 501),
        (b"MAIL FROM:", 501),
        (b"MAIL FROM:  <a@b>", 501),
        (b"MAIL TO:<a@b>", 501),
        (b"MAIL FROM:<a@b>SIZE=1", 501),
        (b"MAIL FROM:<a@b> SIZE=", 501),
        (b"MAIL FROM:<a@b> SIZE=+1", 501),
        (b"MAIL FROM:<a@b> SIZE=1 SIZE=1", 501),
        (b"MAIL FROM:<a@b> BODY=BINARYMIME", 501),
        (b"MAIL FROM:<a@b> SMTPUTF8=1", 501),
        (b"MAIL FROM:<a@b> X=1", 555),
        (b"MAIL FROM:<a@b> AUTH", 501),
        (b"MAIL FROM:<a@b> AUTH=", 501),
        (b"MAIL FROM:<a@b> AUTH=<a@b>", 501),
        (b"MAIL FROM:<a@b> AUTH=a+zz@b", 501),
        (b"MAIL FROM:<a@b> AUTH=<> AUTH=<>", 501),
        (b"MAIL FROM:<a@b> > X", 555),
        (b"MAIL FROM:<\xc3\xa9@b>", 550),
        (b"MAIL FROM:<\xff@b> SMTPUTF8", 501),
    ] {
        assert_eq!(code(line), expected, "{}", line.escape_ascii());
    }
    assert_eq!(parse(b"MAIL FROM:<a@b> SIZE=1", Greeting::Helo), Err(CommandError::Parameter));
}

#[test]
fn rcpt_keeps_the_octets_it_was_given() {
    let Ok(Command::Rcpt(rcpt)) = ehlo(b"RCPT TO:<\"A\\\"b\"@OK.example>") else {
        panic!("a RCPT command")
    };
    assert_eq!(rcpt.forward_path.as_bytes(), b"\"A\\\"b\"@OK.example");
    let Ok(Command::Rcpt(rcpt)) = ehlo(b"RCPT TO:<postmaster>") else { panic!("a RCPT command") };
    assert_eq!(rcpt.forward_path, ForwardPath::Postmaster(b"postmaster"));
    assert_eq!(code(b"RCPT TO:<>"), 501);
    assert_eq!(code(b"RCPT TO:<a@b> X=1"), 555);
    assert_eq!(code(b"RCPT TO:<a@b> NOTIFY"), 501);
    assert_eq!(code(b"RCPT TO:<\"a@evil.example> X <b\"@ok.example>"), 501);
}

/// The sizes of the research on CHUNKING: one that wraps in some server is no size here.
#[test]
fn a_chunk_has_a_size_that_can_be_believed() {
    let chunk = |octets, last| Ok(Command::Bdat(Chunk { octets, last }));
    assert_eq!(ehlo(b"BDAT 6"), chunk(6, false));
    assert_eq!(ehlo(b"bdat 0 last"), chunk(0, true));
    assert_eq!(ehlo(b"BDAT 4294967297 LAST "), chunk(4_294_967_297, true));
    assert_eq!(ehlo(b"BDAT 18446744073709551617 LAST"), chunk(u64::MAX, true));
    for line in [
        &b"BDAT"[..],
        b"BDAT ",
        b"BDAT LAST",
        b"BDAT  6",
        b"BDAT -1",
        b"BDAT +5",
        b"BDAT 0x10",
        b"BDAT 5 LAST x",
        b"BDAT 5  LAST",
        b"BDAT 5 FIRST",
        b"BDAT 5LAST",
        b"BDAT 5.0",
        b"BDAT \xd9\xa3",
        b"BDAT 000000000000000000001",
    ] {
        assert_eq!(code(line), 501, "{}", line.escape_ascii());
        assert!(ehlo(line).expect_err("no size").ends_session());
    }
}

#[test]
fn what_a_client_wants_to_be_told_is_kept_as_it_stands() {
    let Ok(Command::Mail(mail)) = ehlo(b"MAIL FROM:<a@b> ret=hdrs SIZE=1 ENVID=QQ+2B1") else {
        panic!("a MAIL command")
    };
    let parameters: Vec<_> = mail.dsn.parameters().collect();
    assert_eq!(parameters, [&b"ret=hdrs"[..], b"ENVID=QQ+2B1"]);
    let Ok(Command::Rcpt(rcpt)) = ehlo(b"RCPT TO:<c@d> ORCPT=rfc822;e@f NOTIFY=success,DELAY")
    else {
        panic!("a RCPT command")
    };
    let parameters: Vec<_> = rcpt.dsn.parameters().collect();
    assert_eq!(parameters, [&b"NOTIFY=success,DELAY"[..], b"ORCPT=rfc822;e@f"]);
    for line in [
        &b"MAIL FROM:<a@b> RET=ALL"[..],
        b"MAIL FROM:<a@b> RET=FULL RET=FULL",
        b"MAIL FROM:<a@b> ENVID=a+0D+0ARCPT",
        b"MAIL FROM:<a@b> ENVID=",
        b"MAIL FROM:<a@b> ENVID",
        b"RCPT TO:<a@b> NOTIFY=NEVER,DELAY",
        b"RCPT TO:<a@b> NOTIFY=NEVER NOTIFY=NEVER",
        b"RCPT TO:<a@b> ORCPT=a@b",
    ] {
        assert_eq!(code(line), 501, "{}", line.escape_ascii());
    }
    for line in [&b"MAIL FROM:<a@b> RET=FULL"[..], b"RCPT TO:<a@b> NOTIFY=NEVER"] {
        assert_eq!(parse(line, Greeting::Helo), Err(CommandError::Parameter));
    }
}

proptest! {
    #[test]
    fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = ehlo(&line);
    }

    #[test]
    fn no_path_panics(inner in "[ -~\u{80}-\u{fff}]{0,60}", verb in "(MAIL FROM|RCPT TO)") {
        let _ = ehlo(format!("{verb}:<{inner}> SMTPUTF8").as_bytes());
    }

    /// What the parser takes is found in the line octet for octet, and holds no second bracket.
    #[test]
    fn a_path_is_a_slice_of_its_line(inner in "[a-z\"\\\\@.<> :,]{1,30}") {
        let line = format!("RCPT TO:<{inner}>");
        if let Ok(Command::Rcpt(rcpt)) = ehlo(line.as_bytes()) {
            let octets = rcpt.forward_path.as_bytes();
            prop_assert!(memchr::memmem::find(line.as_bytes(), octets).is_some());
            prop_assert!(!octets.iter().any(|b| b" <>".contains(b)));
        }
    }
}
