//! Headers as load balancers send them, and every way to get one wrong.

use proptest::prelude::*;

use super::*;

const IPV4: &[u8] = b"PROXY TCP4 203.0.113.9 10.0.0.5 56324 25\r\n";
const IPV6: &[u8] = b"PROXY TCP6 2001:db8::9 2001:db8::5 56324 25\r\n";

/// A version 2 header: command, family with transport, and what is announced.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let announced = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [V2_SIGNATURE, &[command, family], &announced, rest].concat()
}

/// 203.0.113.9:56324 to 10.0.0.5:25.
fn v2_ipv4(more: &[u8]) -> Vec<u8> {
    let addresses = [203, 0, 113, 9, 10, 0, 0, 5, 0xdc, 0x04, 0, 25];
    v2(0x21, 0x11, &[&addresses[..], more].concat())
}

fn v2_ipv6(source: &str) -> Vec<u8> {
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().expect(text).octets();
    let addresses = [address(source), address("2001:db8::5")].concat();
    v2(0x21, 0x21, &[&addresses[..], &[0xdc, 0x04, 0, 25]].concat())
}

fn client(address: &str) -> Proxied {
    Proxied::Client(address.parse().expect(address))
}

fn good() -> Vec<(Vec<u8>, Proxied)> {
    let longest = format!("PROXY TCP6 {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
    let longest_unknown = format!("PROXY UNKNOWN{}\r\n", " x".repeat(46));
    assert_eq!(longest_unknown.len(), V1_OCTETS_MAX);
    // AWS adds the id of the endpoint, others an authority; nobody has to understand them.
    let aws = b"\xea\x00\x17\x01vpce-08d2bf15fac5001c9\x02\x00\x03app";
    vec![
        (IPV4.to_vec(), client("203.0.113.9")),
        (IPV6.to_vec(), client("2001:db8::9")),
        (longest.into_bytes(), client("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
        (b"PROXY TCP4 203.0.113.9 10.0.0.5 0 65535\r\n".to_vec(), client("203.0.113.9")),
        (b"PROXY TCP6 ::FFFF:203.0.113.9 ::1 1 2\r\n".to_vec(), client("::ffff:203.0.113.9")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Proxied::Nobody),
        (b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n".to_vec(), Proxied::Nobody),
        (longest_unknown.into_bytes(), Proxied::Nobody),
        (v2_ipv4(b""), client("203.0.113.9")),
        (v2_ipv4(aws), client("203.0.113.9")),
        // What follows the addresses is passed over, if it is whole.
        (v2_ipv4(&[0; 3 * 1361]), client("203.0.113.9")),
        // As HAProxy sends it with `proxy-v2-options crc32c`: the checksum, with others around it.
        (v2_ipv4(&with_checksum(b"", b"")), client("203.0.113.9")),
        (v2_ipv4(&with_checksum(aws, b"\x04\x00\x02\0\0")), client("203.0.113.9")),
        (v2_ipv6("2001:db8::9"), client("2001:db8::9")),
        (v2_ipv6("::ffff:203.0.113.9"), client("::ffff:203.0.113.9")),
        // LOCAL, bare and with what is to be ignored: addresses, kinds that nobody knows, TLVs.
        (v2(0x20, 0x00, b""), Proxied::Nobody),
        (v2(0x20, 0x11, &[127; 12]), Proxied::Nobody),
        (v2(0x20, 0x11, b""), Proxied::Nobody),
        (v2(0x20, 0xff, b"anything"), Proxied::Nobody),
        // AF_UNSPEC and AF_UNIX.
        (v2(0x21, 0x00, b""), Proxied::Nobody),
        (v2(0x21, 0x00, &[7; 40]), Proxied::Nobody),
        (v2(0x21, 0x31, &[0; 216]), Proxied::Nobody),
    ]
}

/// TLVs of [`v2_ipv4`], with a right checksum between them.
fn with_checksum(before: &[u8], behind: &[u8]) -> Vec<u8> {
    let tlvs = |checksum: [u8; 4]| [before, b"\x03\x00\x04", &checksum, behind].concat();
    let checksum = CRC32C.checksum(&v2_ipv4(&tlvs([0; 4])));
    tlvs(checksum.to_be_bytes())
}

/// What comes of some input, if it is all that comes.
fn read(input: &[u8]) -> Result<Option<(Proxied, usize)>, ProxyFault> {
    match frame(input)? {
        Framed::Incomplete => Ok(None),
        Framed::Whole(octets) => Ok(Some((parse(&input[..octets])?, octets))),
    }
}

#[test]
fn good_headers_are_read_to_their_end_and_not_further() {
    for (header, proxied) in good() {
        for end in 0..header.len() {
            assert_eq!(read(&header[..end]), Ok(None), "{}", header[..end].escape_ascii());
        }
        for follows in [&b""[..], b"EHLO app.test\r\n", b"\x16\x03\x01\x02\x00", b"\n", &header] {
            let input = [&header, follows].concat();
            assert_eq!(read(&input), Ok(Some((proxied, header.len()))), "{}", input.escape_ascii());
        }
    }
}

#[test]
fn what_is_no_header_is_known_by_its_first_octets() {
    for input in [
        &b"E"[..],
        b"EHLO app.test\r\n",
        b"\x16\x03\x01",
        b"proxy TCP4",
        b" PROXY",
        b"PROXYTCP4",
        b"PROXY\tTCP4",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\r\n\r\nQUIT",
        b"\n",
        b"\0",
    ] {
        assert_eq!(read(input), Err(ProxyFault::Missing), "{}", input.escape_ascii());
    }
}

#[test]
fn malformed_lines_are_refused() {
    for line in [
        "PROXY \r\n",
        "PROXY\x20TCP4\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 56324\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 56324 25 \r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 56324 25 7\r\n",
        "PROXY TCP4  203.0.113.9 10.0.0.5 56324 25\r\n",
        "PROXY  TCP4 203.0.113.9 10.0.0.5 56324 25\r\n",
        "PROXY TCP4 203.0.113.9\t10.0.0.5 56324 25\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 56324 25\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 56324 25\r\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 56324 2\r5\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 56324 65536\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 56324 -1\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 56324 +25\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 +1 25\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 56324 025\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 00 25\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.5 56324 \r\n",
        "PROXY TCP4 203.0.113.009 10.0.0.5 56324 25\r\n",
        "PROXY TCP4 203.0.113 10.0.0.5 56324 25\r\n",
        "PROXY TCP4 0xcb.0.113.9 10.0.0.5 56324 25\r\n",
        "PROXY TCP4 203.0.113.256 10.0.0.5 56324 25\r\n",
        "PROXY TCP4 2001:db8::9 2001:db8::5 56324 25\r\n",
        "PROXY TCP4 app.test 10.0.0.5 56324 25\r\n",
        "PROXY TCP6 203.0.113.9 10.0.0.5 56324 25\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 56324 25\r\n",
        "PROXY TCP6 [2001:db8::9] ::1 56324 25\r\n",
        "PROXY UDP4 203.0.113.9 10.0.0.5 56324 25\r\n",
        "PROXY TCP5 203.0.113.9 10.0.0.5 56324 25\r\n",
        "PROXY tcp4 203.0.113.9 10.0.0.5 56324 25\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN a\rb\r\n",
        "PROXY UNKNOWN\tx\r\n",
        "PROXY unknown\r\n",
    ] {
        assert_eq!(read(line.as_bytes()), Err(ProxyFault::Malformed), "{}", line.escape_debug());
    }
}

#[test]
fn malformed_binary_headers_are_refused() {
    let short =
        |family: u8, octets: usize| (v2(0x21, family, &vec![1; octets]), ProxyFault::Malformed);
    for (header, fault) in [
        (v2(0x11, 0x11, &[1; 12]), ProxyFault::Malformed),
        (v2(0x31, 0x11, &[1; 12]), ProxyFault::Malformed),
        (v2(0x01, 0x11, &[1; 12]), ProxyFault::Malformed),
        (v2(0x22, 0x11, &[1; 12]), ProxyFault::Malformed),
        (v2(0x2f, 0x00, b""), ProxyFault::Malformed),
        (v2(0x21, 0x10, &[1; 12]), ProxyFault::Malformed),
        (v2(0x21, 0x13, &[1; 12]), ProxyFault::Malformed),
        (v2(0x21, 0x01, &[1; 12]), ProxyFault::Malformed),
        (v2(0x21, 0x41, &[1; 40]), ProxyFault::Malformed),
        (v2(0x21, 0x12, &[1; 12]), ProxyFault::Datagram),
        (v2(0x21, 0x22, &[1; 36]), ProxyFault::Datagram),
        (v2(0x21, 0x32, &[1; 216]), ProxyFault::Datagram),
        short(0x11, 0),
        short(0x11, 11),
        short(0x21, 12),
        short(0x21, 35),
        short(0x31, 215),
    ] {
        assert_eq!(read(&header), Err(fault), "{}", header.escape_ascii());
    }
}

#[test]
fn lengths_are_bounded() {
    let line = format!("PROXY UNKNOWN {}", "x".repeat(V1_OCTETS_MAX));
    assert_eq!(read(&line.as_bytes()[..V1_OCTETS_MAX - 1]), Ok(None));
    assert_eq!(read(&line.as_bytes()[..V1_OCTETS_MAX]), Err(ProxyFault::TooLong));
    let one_more = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_OCTETS_MAX - 15));
    assert_eq!(read(one_more.as_bytes()), Err(ProxyFault::TooLong));
    // Refused as soon as it is announced.
    let announces = |octets: u16| [V2_SIGNATURE, &[0x21, 0x11], &octets.to_be_bytes()].concat();
    assert_eq!(read(&announces(4096)), Ok(None));
    assert_eq!(read(&announces(4097)), Err(ProxyFault::TooLong));
    assert_eq!(read(&announces(u16::MAX)), Err(ProxyFault::TooLong));
}

fn inputs() -> impl Strategy<Value = Vec<u8>> {
    let anything = proptest::collection::vec(any::<u8>(), 0..300);
    let begun = (any::<bool>(), anything.clone()).prop_map(|(binary, rest)| {
        [if binary { V2_SIGNATURE } else { V1_SIGNATURE }, &rest].concat()
    });
    let line = "PROXY (TCP4|TCP6|UNKNOWN)[ 0-9a-f.:+\r]{0,60}\r\n".prop_map(String::into_bytes);
    let binary = (0x1f_u8..0x24, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(command, family, rest)| v2(command, family, &rest));
    prop_oneof![anything, begun, line, binary]
}

proptest! {
    /// However it comes in pieces, the answer is the same; and what is read is within its bounds.
    #[test]
    fn pieces_do_not_matter(input in inputs()) {
        let whole = frame(&input);
        for end in 0..input.len() {
            let early = frame(&input[..end]);
            prop_assert!(early == Ok(Framed::Incomplete) || early == whole, "{end}: {early:?}");
        }
        if let Ok(Framed::Whole(octets)) = whole {
            prop_assert!(octets <= input.len());
            let _ = parse(&input[..octets]);
        }
        // Nor does a header that was not framed do any harm.
        let _ = parse(&input);
    }

    /// What the library writes is read as it was meant.
    #[test]
    fn what_is_written_is_read(source: IpAddr, ports: (u16, u16)) {
        let destination: IpAddr = match source {
            IpAddr::V4(_) => [10, 0, 0, 5].into(),
            IpAddr::V6(_) => "2001:db8::5".parse().expect("an address"),
        };
        let addresses =
            proxy_header::ProxiedAddress::stream((source, ports.0).into(), (destination, ports.1).into());
        let header = ProxyHeader::with_address(addresses);
        let (mut line, mut binary) = (Vec::new(), Vec::new());
        header.encode_v1(&mut line).expect("TCP");
        header.encode_v2(&mut binary).expect("one family");
        for written in [line, binary] {
            prop_assert_eq!(read(&written), Ok(Some((Proxied::Client(source), written.len()))));
        }
    }
}

/// What is not whole was cut or put together by somebody who cannot count; what has a wrong checksum
/// is not what the proxy has sent.
#[test]
fn what_is_not_whole_is_refused() {
    let mut wrong = with_checksum(b"", b"");
    wrong[5] ^= 1;
    for tlvs in [
        &b"\x01"[..],
        b"\x02\x00",
        b"\x02\x00\x05four",
        b"\x02\xff\xffx",
        b"\x02\x00\x01a\x05\x00\xff",
        b"\x03\x00\x04\xde\xad\xbe\xef",
        b"\x03\x00\x00",
        b"\x03\x00\x05\0\0\0\0\0",
        &wrong,
    ] {
        let header = v2_ipv4(tlvs);
        assert_eq!(read(&header), Err(ProxyFault::Malformed), "{}", header.escape_ascii());
        // A proxy that speaks for itself may say what it likes (CVE-2024-23327).
        assert_eq!(
            read(&v2(0x20, 0x11, tlvs)).map(|it| it.map(|it| it.0)),
            Ok(Some(Proxied::Nobody))
        );
    }
    // The value that is known of CRC-32C.
    assert_eq!(CRC32C.checksum(b"123456789"), 0xe306_9283);
}
