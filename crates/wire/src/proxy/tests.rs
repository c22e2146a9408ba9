//! The specification section by section, and the two laws: what is written reads back, and a
//! verdict stands.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::{collection::vec, prelude::*};

use super::*;

fn proxied(client: &str, server: &str) -> Source {
    let address = |text: &str| text.parse().expect("an address");
    Source::Proxied(Addresses { client: address(client), server: address(server) })
}

fn line(text: &str) -> Result<Option<Source>, BadProxy> {
    let bytes = [text.as_bytes(), b"\r\nGET /"].concat();
    Ok(parse(&bytes)?.map(|(source, length)| {
        assert_eq!(length, text.len() + 2);
        source
    }))
}

/// A header of version 2 with these bytes behind the signature.
fn block(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
    [&v2::SIGNATURE[..], &[command, family], &length.to_be_bytes(), rest].concat()
}

#[test]
fn nothing_is_not_enough_and_the_first_byte_may_be_too_much() {
    assert_eq!(parse(b""), Ok(None));
    for first in 0..=255 {
        let expected =
            if matches!(first, b'P' | b'\r') { Ok(None) } else { Err(BadProxy::NotProxy) };
        assert_eq!(parse(&[first]), expected, "{first:#x}");
    }
}

#[test]
fn other_protocols_are_told_where_they_differ() {
    for bytes in [&b"PO"[..], b"PROXI", b"PROXY\r", b"PROXY\t", b"\r\n\r\nG", b"\r\n\r\n\0\r\r"] {
        assert_eq!(parse(bytes), Err(BadProxy::NotProxy), "{}", bytes.escape_ascii());
        // Up to there they may still become a header.
        assert_eq!(parse(&bytes[..bytes.len() - 1]), Ok(None), "{}", bytes.escape_ascii());
    }
}

#[test]
fn section_2_1_lines_say_who_is_connected() {
    let ipv4 = proxied("192.168.0.1:56324", "192.168.0.11:443");
    assert_eq!(line("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443"), Ok(Some(ipv4)));
    let ipv6 = proxied("[2001:db8::A]:0", "[::1]:65535");
    assert_eq!(line("PROXY TCP6 2001:DB8:0::a ::1 0 65535"), Ok(Some(ipv6)));
}

#[test]
fn section_2_1_what_is_unknown_is_ignored_to_the_end_of_its_line() {
    let longest = format!("PROXY UNKNOWN {}", "f".repeat(91));
    for text in ["PROXY UNKNOWN", "PROXY UNKNOWN ", "PROXY UNKNOWN  TCP4 \t\0 x", &longest] {
        assert_eq!(line(text), Ok(Some(Source::Local)), "{text:?}");
    }
    assert_eq!(parse(b"PROXY UNKNOWN \xff\xfe\r\n"), Ok(Some((Source::Local, 18))));
}

#[test]
fn section_2_1_a_line_ends_in_crlf_within_107_bytes() {
    for text in ["PROXY UNKNOWN\nGET", "PROXY UNKNOWN\rGET", "PROXY \r\r\n", "PROXY UNKNOWN \n\r\n"]
    {
        assert_eq!(parse(text.as_bytes()), Err(BadProxy::LineEnd), "{text:?}");
    }
    let long = [&b"PROXY UNKNOWN "[..], &[b'f'; 92], b"\r\n"].concat();
    assert_eq!(parse(&long[..106]), Ok(None));
    assert_eq!(parse(&long[..107]), Err(BadProxy::LineTooLong));
    assert_eq!(parse(&long), Err(BadProxy::LineTooLong));
}

#[test]
fn section_2_1_only_three_protocols_have_a_name() {
    for protocol in ["", "TCP", "tcp4", "TCP5", "UDP4", "TCP4\t1.1.1.1", "UNKNOWN4", "unknown"] {
        let refused = line(&format!("PROXY {protocol} 1.1.1.1 1.1.1.1 1 1"));
        assert_eq!(refused, Err(BadProxy::Protocol), "{protocol}");
    }
    assert_eq!(parse(b"PROXY \r\n"), Err(BadProxy::Protocol));
}

#[test]
fn section_2_1_fields_are_four_behind_single_spaces() {
    for fields in
        ["", " 1.1.1.1", " 1.1.1.1 1.1.1.1 1", " 1.1.1.1 1.1.1.1 1 1 1", " 1.1.1.1 1.1.1.1 1 1 "]
    {
        assert_eq!(line(&format!("PROXY TCP4{fields}")), Err(BadProxy::Fields), "{fields:?}");
    }
    for fields in ["  1.1.1.1 1.1.1.1 1 1", " 1.1.1.1  1.1.1.1 1 1", " 1.1.1.1 1.1.1.1  1 1"] {
        assert_eq!(line(&format!("PROXY TCP4{fields}")), Err(BadProxy::Fields), "{fields:?}");
    }
    for fields in ["  1.1.1.1 1.1.1.1 1", " 1.1.1.1  1.1.1.1 1", "\t1.1.1.1 1.1.1.1 1 1"] {
        assert!(line(&format!("PROXY TCP4{fields}")).is_err(), "{fields:?}");
    }
}

#[test]
fn section_2_1_addresses_are_of_their_family() {
    let bad = [
        "TCP4 ::1 1.1.1.1",
        "TCP4 1.1.1.1 ::ffff:1.1.1.1",
        "TCP4 01.1.1.1 1.1.1.1",
        "TCP4 1.1.1.256 1.1.1.1",
        "TCP4 1.1.1 1.1.1.1",
        "TCP4 1.1.1.1. 1.1.1.1",
        "TCP4 0x1.1.1.1 1.1.1.1",
        "TCP4 localhost 1.1.1.1",
        "TCP6 1.1.1.1 ::1",
        "TCP6 ::1 1:2:3:4:5:6:7",
        "TCP6 ::1 1:2:3:4:5:6:7:8:9",
        "TCP6 ::1 1::2::3",
        "TCP6 ::1 00001::",
        "TCP6 ::1 ::g",
        "TCP6 ::1 [::1]",
        "TCP6 ::1 fe80::1%lo",
    ];
    for text in bad {
        assert_eq!(line(&format!("PROXY {text} 1 1")), Err(BadProxy::Address), "{text}");
    }
    assert_eq!(parse(b"PROXY TCP4 1.1.1.\xff 1.1.1.1 1 1\r\n"), Err(BadProxy::Address));
}

#[test]
fn section_2_1_ports_are_plain_numbers() {
    for port in ["00", "01", "+1", "-1", "65536", "1x", "0x1", "٣", "100000000000"] {
        for ports in [format!("{port} 1"), format!("1 {port}")] {
            let refused = line(&format!("PROXY TCP4 1.1.1.1 1.1.1.1 {ports}"));
            assert_eq!(refused, Err(BadProxy::Port), "{ports}");
        }
    }
}

#[test]
fn mapped_addresses_are_the_ipv4_ones() {
    let expected = Ok(Some(proxied("192.0.2.1:1", "[2001:db8::1]:2")));
    assert_eq!(line("PROXY TCP6 ::ffff:c000:201 2001:db8::1 1 2"), expected);
    assert_eq!(line("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2"), expected);
}

#[test]
fn section_2_2_blocks_say_who_is_connected() {
    let ipv4 = b"\x0a\x00\x00\x01\x0a\x00\x00\x02\x12\x34\x01\xbb";
    let expected = proxied("10.0.0.1:4660", "10.0.0.2:443");
    for family in [0x11, 0x12] {
        let bytes = block(0x21, family, 12, &[ipv4, &b"GET"[..]].concat());
        assert_eq!(parse(&bytes), Ok(Some((expected, 28))), "{family:#x}");
    }
    let [client, server] = [Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED].map(|ip| ip.octets());
    let ipv6 = [&client[..], &server, &[0, 1, 0, 2]].concat();
    let expected = proxied("[::1]:1", "[::]:2");
    for family in [0x21, 0x22] {
        let bytes = block(0x21, family, 36, &ipv6);
        assert_eq!(parse(&bytes), Ok(Some((expected, 52))), "{family:#x}");
    }
}

#[test]
fn section_2_2_what_follows_the_addresses_is_skipped() {
    let rest = [&[1; 12][..], &[0xee; 4068]].concat();
    let bytes = block(0x21, 0x11, 4080, &rest);
    assert_eq!(bytes.len(), MAX);
    assert_eq!(parse(&bytes[..MAX - 1]), Ok(None));
    assert_eq!(parse(&bytes), Ok(Some((proxied("1.1.1.1:257", "1.1.1.1:257"), MAX))));
}

#[test]
fn section_2_2_what_has_no_internet_address_is_local() {
    for family in [0x00, 0x01, 0x02, 0x10, 0x20, 0x30] {
        assert_eq!(parse(&block(0x21, family, 3, b"abc")), Ok(Some((Source::Local, 19))));
    }
    for family in [0x31, 0x32] {
        let bytes = block(0x21, family, 216, &[0; 216]);
        assert_eq!(parse(&bytes), Ok(Some((Source::Local, 232))));
    }
}

#[test]
fn section_2_2_a_local_header_says_nothing_else() {
    for family in 0..=255 {
        assert_eq!(parse(&block(0x20, family, 0, b"")), Ok(Some((Source::Local, 16))));
        assert_eq!(parse(&block(0x20, family, 2, b"ab")), Ok(Some((Source::Local, 18))));
    }
}

#[test]
fn section_2_2_other_versions_commands_and_families_are_refused_at_once() {
    for command in (0..=255).filter(|command| !matches!(command, 0x20 | 0x21)) {
        let expected = if command >> 4 == 2 { BadProxy::Command } else { BadProxy::Version };
        assert_eq!(parse(&block(command, 0, 0, b"")[..13]), Err(expected), "{command:#x}");
    }
    for family in (0..=255).filter(|family| family >> 4 > 3 || family & 0x0f > 2) {
        let refused = parse(&block(0x21, family, 0, b"")[..14]);
        assert_eq!(refused, Err(BadProxy::Family), "{family:#x}");
    }
}

#[test]
fn section_2_2_lengths_have_bounds() {
    for (family, length) in [(0x11, 11), (0x12, 0), (0x21, 35), (0x32, 215)] {
        assert_eq!(parse(&block(0x21, family, length, b"")), Err(BadProxy::TooShort));
    }
    for command in [0x20, 0x21] {
        assert_eq!(parse(&block(command, 0x11, 4081, b"")), Err(BadProxy::TooLong));
        assert_eq!(parse(&block(command, 0x11, 4080, b"")), Ok(None));
    }
}

#[test]
fn headers_of_our_own_look_like_the_examples() {
    let write = |version, source| {
        let addresses = match source {
            Source::Local => None,
            Source::Proxied(addresses) => Some(addresses),
        };
        write(version, addresses.as_ref()).as_bytes().escape_ascii().to_string()
    };
    let source = proxied("192.168.0.1:56324", "192.168.0.11:443");
    let line = r"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
    assert_eq!(write(Version::V1, source), line);
    assert_eq!(write(Version::V1, Source::Local), r"PROXY UNKNOWN\r\n");
    let block = r"\r\n\r\n\x00\r\nQUIT\n \x00\x00\x00";
    assert_eq!(write(Version::V2, Source::Local), block);
    let source = proxied("1.2.3.4:1", "5.6.7.8:2");
    let block =
        r"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x00\x01\x00\x02";
    assert_eq!(write(Version::V2, source), block);
}

#[test]
fn a_mixed_pair_is_written_as_ipv6() {
    let write = |client: &str, server: &str| {
        let Source::Proxied(addresses) = proxied(client, server) else { unreachable!() };
        String::from_utf8_lossy(write(Version::V1, Some(&addresses)).as_bytes()).into_owned()
    };
    let mixed = "PROXY TCP6 ::ffff:c000:201 2001:db8::1 1 2\r\n";
    assert_eq!(write("192.0.2.1:1", "[2001:db8::1]:2"), mixed);
    assert_eq!(write("[::ffff:192.0.2.1]:1", "[2001:db8::1]:2"), mixed);
    let ipv4 = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    assert_eq!(write("192.0.2.1:1", "[::ffff:192.0.2.2]:2"), ipv4);
    assert_eq!(write("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2"), ipv4);
    let scoped = "PROXY TCP6 fe80::1 ::102:304 1 2\r\n";
    assert_eq!(write("[fe80::1%7]:1", "[::1.2.3.4]:2"), scoped);
}

fn ips() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(IpAddr::V4),
        any::<Ipv6Addr>().prop_map(IpAddr::V6),
        any::<Ipv4Addr>().prop_map(|ip| IpAddr::V6(ip.to_ipv6_mapped())),
        (0..8_usize, any::<u16>()).prop_map(|(at, segment)| {
            let mut segments = [0; 8];
            segments[at] = segment;
            IpAddr::from(segments)
        }),
    ]
}

fn addresses() -> impl Strategy<Value = Addresses> {
    let address = || (ips(), any::<u16>()).prop_map(SocketAddr::from);
    (address(), address()).prop_map(|(client, server)| Addresses { client, server })
}

fn versions() -> impl Strategy<Value = Version> {
    prop::sample::select(&[Version::V1, Version::V2][..])
}

proptest! {
    #[test]
    fn what_is_written_reads_back(addresses in prop::option::of(addresses()), version in versions()) {
        let header = write(version, addresses.as_ref());
        let bytes = header.as_bytes();
        for end in 0..bytes.len() {
            prop_assert_eq!(parse(&bytes[..end]), Ok(None));
        }
        let expected = addresses.map_or(Source::Local, |a| Source::proxied(a.client, a.server));
        let read = Ok(Some((expected, bytes.len())));
        prop_assert_eq!(&parse(bytes), &read);
        prop_assert_eq!(&parse(&[bytes, b"\r\nPROXY"].concat()), &read);
    }

    #[test]
    fn a_verdict_stands_whatever_follows(
        addresses in prop::option::of(addresses()), version in versions(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        rest in vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = [write(version, addresses.as_ref()).as_bytes(), &rest].concat();
        for (index, byte) in changes {
            let at = index.index(bytes.len().min(64));
            bytes[at] = byte;
        }
        let whole = parse(&bytes);
        for end in 0..bytes.len() {
            let part = parse(&bytes[..end]);
            prop_assert!(part == Ok(None) || part == whole, "{:?} {:?}", part, whole);
        }
    }
}
