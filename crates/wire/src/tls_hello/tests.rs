//! Hellos of openssl and rustls, and hellos of our own that break one rule each.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    client::{EchGreaseConfig, EchMode},
    crypto::{
        aws_lc_rs::{default_provider, hpke::DH_KEM_X25519_HKDF_SHA256_AES_128},
        hpke::Hpke,
    },
    pki_types::ServerName,
};

use super::*;

/// What `openssl s_client` 3.0 sends with `-servername Chat.Example.com -tls1_2`.
const OPENSSL: &str = "160301009c010000980303895b1525a0c1c48e824de7446ad8ef8d711b245c82e2f354be2f\
    0c634f71d2c5000004c02f00ff0100006b000000150013000010436861742e4578616d706c652e636f6d000b000403\
    000102000a000c000a001d0017001e00190018002300000016000000170000000d002a002804030503060308070808\
    0809080a080b080408050806040105010601030303010302040205020602";
/// The same with `-noservername` and TLS 1.3.
const OPENSSL_NAMELESS: &str = "16030101240100\
    01200303be683b493349ebc3ee2604c9d04436c6e53c70aa680c146f62658259dafa607b2082a4c69d21d9cdf674f8\
    d929032d449e2c0e3eab4f28d395ed5ac0e14beccf67003e130213031301c02cc030009fcca9cca8ccaac02bc02f00\
    9ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c0035002f00ff01000099000b0004\
    03000102000a00160014001d0017001e0019001801000101010201030104002300000016000000170000000d002a00\
    28040305030603080708080809080a080b080408050806040105010601030303010302040205020602002b00090803\
    04030303020301002d00020101003300260024001d0020ad65eb89144d19645a5587d6abcdf24d8e9ddb0d25e37a19\
    74cf5e35090fc07d";

/// How a hello of the tests is made.
struct Parts<'b> {
    version: [u8; 2],
    session: &'b [u8],
    suites: &'b [u8],
    extensions: Option<Vec<u8>>,
    behind: &'b [u8],
}

impl Default for Parts<'_> {
    fn default() -> Self {
        Self {
            version: [3, 3],
            session: &[7; 32],
            suites: b"\x13\x01\x1a\x1a",
            extensions: Some(vec![]),
            behind: b"",
        }
    }
}

impl Parts<'_> {
    /// The message with its header.
    fn message(&self) -> Vec<u8> {
        let mut body = self.version.to_vec();
        body.extend([9; 32]);
        body.push(self.session.len() as u8);
        body.extend(self.session);
        body.extend(long(self.suites));
        body.extend(b"\x01\x00");
        body.extend(self.extensions.as_ref().map(|all| long(all)).unwrap_or_default());
        body.extend(self.behind);
        [&b"\x01\0"[..], &long(&body)].concat()
    }

    fn bytes(&self) -> Vec<u8> {
        records(&self.message(), usize::MAX)
    }

    fn judged(&self) -> Asked {
        server_name(&self.bytes())
    }
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &long(data)].concat()
}

fn asking_for(name: &[u8]) -> Vec<u8> {
    extension(0, &long(&[&b"\0"[..], &long(name)].concat()))
}

fn with(extensions: &[Vec<u8>]) -> Parts<'static> {
    Parts { extensions: Some(extensions.concat()), ..Parts::default() }
}

/// `message` in records with contents of at most so many bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |content: &[u8]| [&b"\x16\x03\x01"[..], &long(content)].concat();
    message.chunks(size.min(1 << 14)).flat_map(record).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).expect("a hexadecimal digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// What a hello asks for, once it is whole.
type Asked = Result<Option<Option<String>>, NotTls>;

fn server_name(bytes: &[u8]) -> Asked {
    client_hello(bytes).map(|hello| hello.map(|hello| hello.name))
}

fn named(name: &str) -> Asked {
    Ok(Some(Some(name.to_owned())))
}

const NAMELESS: Asked = Ok(Some(None));

/// The first bytes of a connection of rustls.
fn rustls(name: &str, config: ClientConfig) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("it is sound");
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).expect("a vector takes all");
    bytes
}

fn config() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

/// One whose records have at most so many bytes.
fn fragmenting(size: usize) -> ClientConfig {
    let mut config = config();
    config.max_fragment_size = Some(size);
    config
}

/// As browsers do it that have no key of the server's: the extension is there, and means nothing.
fn config_with_ech() -> ClientConfig {
    let suite: &dyn Hpke = DH_KEM_X25519_HKDF_SHA256_AES_128;
    let (key, _) = suite.generate_key_pair().expect("a key");
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_ech(EchMode::Grease(EchGreaseConfig::new(suite, key)))
        .expect("the provider has TLS 1.3")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

#[test]
fn openssl_is_understood() {
    assert_eq!(server_name(&hex(OPENSSL)), named("chat.example.com"));
    assert_eq!(server_name(&hex(OPENSSL_NAMELESS)), NAMELESS);
}

#[test]
fn rustls_is_understood() {
    assert_eq!(server_name(&rustls("Chat.example.com", config())), named("chat.example.com"));
    assert_eq!(server_name(&rustls("127.0.0.1", config())), NAMELESS);
    let mut nameless = config();
    nameless.enable_sni = false;
    assert_eq!(server_name(&rustls("chat.example.com", nameless)), NAMELESS);
    assert_eq!(server_name(&rustls("a.example", config_with_ech())), named("a.example"));
}

#[test]
fn a_hello_is_incomplete_up_to_its_last_byte() {
    let fragments = rustls("a.example", fragmenting(32));
    for bytes in [hex(OPENSSL), hex(OPENSSL_NAMELESS), fragments] {
        for end in 0..bytes.len() {
            assert_eq!(server_name(&bytes[..end]), Ok(None), "{end}");
        }
        let whole = server_name(&bytes);
        assert!(whole.is_ok());
        assert_eq!(server_name(&[&bytes[..], b"\x17\x03\x03"].concat()), whole);
    }
}

#[test]
fn the_first_byte_may_be_too_much() {
    assert_eq!(server_name(b""), Ok(None));
    for first in 0..=255 {
        let expected = match first {
            0x16 => Ok(None),
            0x80.. => Err(NotTls::Ssl2),
            _ => Err(NotTls::ContentType),
        };
        assert_eq!(server_name(&[first]), expected, "{first:#x}");
    }
    assert_eq!(server_name(b"\x80\x2e\x01\x03\x01"), Err(NotTls::Ssl2));
}

#[test]
fn section_5_1_records_have_content_and_a_bound() {
    assert_eq!(server_name(b"\x16\x03"), Ok(None));
    assert_eq!(server_name(b"\x16\x02"), Err(NotTls::RecordVersion));
    assert_eq!(server_name(b"\x16\x03\x01\0\0"), Err(NotTls::EmptyRecord));
    assert_eq!(server_name(b"\x16\x03\x01\x40\x01"), Err(NotTls::RecordTooLong));
    assert_eq!(server_name(b"\x16\x03\x01\x40\x00"), Ok(None));
}

#[test]
fn section_5_1_records_of_other_types_do_not_come_between() {
    let bytes = records(&with(&[asking_for(b"a.example")]).message(), 40);
    for (at, byte, expected) in [
        (45, 0x15, NotTls::Interrupted),
        (45, 0x17, NotTls::Interrupted),
        (46, 0x02, NotTls::RecordVersion),
        (90, 0x80, NotTls::Interrupted),
    ] {
        let mut bytes = bytes.clone();
        assert_eq!(bytes[at], if at == 46 { 3 } else { 0x16 });
        bytes[at] = byte;
        assert_eq!(server_name(&bytes[..at]), Ok(None));
        assert_eq!(server_name(&bytes[..=at]), Err(expected), "{at} {byte:#x}");
    }
}

#[test]
fn section_4_only_a_client_hello_comes_first() {
    for kind in (0..=255).filter(|kind| *kind != 1) {
        let refused = server_name(&[0x16, 3, 1, 0, 100, kind]);
        assert_eq!(refused, Err(NotTls::HandshakeType), "{kind}");
    }
}

#[test]
fn a_hello_has_a_bound_with_its_records() {
    let of = |length: usize| with(&[extension(21, &vec![0; length])]);
    let spare = MAX_HELLO - of(0).bytes().len();
    assert_eq!(of(spare).bytes().len(), MAX_HELLO);
    assert_eq!(of(spare).judged(), NAMELESS);
    // One byte more, and its length alone is enough to tell.
    assert_eq!(server_name(&of(spare + 1).bytes()[..8]), Ok(None));
    assert_eq!(server_name(&of(spare + 1).bytes()[..9]), Err(NotTls::TooLong));
    // What fits in one record does not in two.
    let cut = records(&of(spare).message(), MAX_HELLO - 9);
    assert_eq!(cut.len(), MAX_HELLO + 5);
    assert_eq!(server_name(&cut[..MAX_HELLO - 1]), Ok(None));
    assert_eq!(server_name(&cut[..MAX_HELLO]), Err(NotTls::TooLong));
    assert_eq!(server_name(&cut), Err(NotTls::TooLong));
}

#[test]
fn section_4_1_2_a_hello_may_have_no_extensions() {
    assert_eq!(Parts { extensions: None, ..Parts::default() }.judged(), NAMELESS);
    assert_eq!(Parts { extensions: Some(vec![]), ..Parts::default() }.judged(), NAMELESS);
    let ssl3 = Parts { version: [3, 0], session: b"", ..with(&[asking_for(b"a")]) };
    assert_eq!(ssl3.judged(), named("a"));
    let dtls = Parts { version: [0xfe, 0xfd], ..Parts::default() };
    assert_eq!(dtls.judged(), Err(NotTls::HelloVersion));
}

#[test]
fn section_4_1_2_lengths_fit_what_they_are_the_lengths_of() {
    let behind = Parts { behind: b"x", ..with(&[asking_for(b"a")]) };
    assert_eq!(behind.judged(), Err(NotTls::Length));
    for extensions in [&b"\0"[..], b"\0\x17\0", b"\0\x17\0\x01", b"\0\x17\0\0\0"] {
        let parts = Parts { extensions: Some(extensions.to_vec()), ..Parts::default() };
        assert_eq!(parts.judged(), Err(NotTls::Length), "{extensions:?}");
    }
    // Every way to end a message too early, but for the one right before the extensions.
    let message = with(&[asking_for(b"a")]).message();
    for length in 0..message.len() - 4 {
        let mut message = message.clone();
        message[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        let expected = if length == 75 { NAMELESS } else { Err(NotTls::Length) };
        assert_eq!(server_name(&records(&message, usize::MAX)), expected, "{length}");
    }
}

#[test]
fn extensions_that_mean_nothing_are_stepped_over() {
    let grease = extension(0x0a0a, b"");
    let ech = extension(0xfe0d, &[0; 200]);
    let padding = extension(21, &[0; 500]);
    let chrome = [grease, ech, asking_for(b"a.example"), extension(0x2a2a, b"\0"), padding];
    assert_eq!(with(&chrome).judged(), named("a.example"));
}

#[test]
fn the_suite_that_a_client_likes_best_is_known() {
    let suite = |bytes: &[u8]| client_hello(bytes).expect("a hello").expect("whole").suite;
    assert_eq!(suite(&hex(OPENSSL)), Some(0xc02f));
    assert_eq!(suite(&hex(OPENSSL_NAMELESS)), Some(0x1302));
    let of = |suites: &'static [u8]| suite(&Parts { suites, ..Parts::default() }.bytes());
    assert_eq!(of(b"\x1a\x1a\x13\x03\x13\x01"), Some(0x1303));
    assert_eq!([of(b""), of(b"\xfa\xfa"), of(b"\x13")], [None; 3]);
    assert_eq!(of(b"\x1a\x2a"), Some(0x1a2a));
}

#[test]
fn rfc_6066_a_server_name_is_one_host_name() {
    let list = |entries: &[u8]| with(&[extension(0, &long(entries))]).judged();
    assert_eq!(list(b"\0\0\x01a"), named("a"));
    let bad = [
        &b""[..],
        b"\0",
        b"\0\0",
        b"\0\0\x02a",
        b"\0\0\x01ab",
        b"\x01\0\x01a",
        b"\0\0\x01a\0\0\x01b",
        b"\0\0\x01a\x01\0\x01b",
    ];
    for entries in bad {
        assert_eq!(list(entries), Err(NotTls::ServerName), "{}", entries.escape_ascii());
    }
    for data in [&b""[..], b"\0", b"\0\x05\0\0\x01a", b"\0\x04\0\0\x01ab"] {
        let judged = with(&[extension(0, data)]).judged();
        assert_eq!(judged, Err(NotTls::ServerName), "{}", data.escape_ascii());
    }
}

#[test]
fn section_4_2_a_server_name_is_asked_for_once() {
    let twice = with(&[asking_for(b"a"), extension(21, b""), asking_for(b"a")]);
    assert_eq!(twice.judged(), Err(NotTls::Repeated));
}

#[test]
fn what_no_host_is_called_counts_as_no_name() {
    for name in [&b""[..], b"127.0.0.1", b"::1", b"a b", b"a\0.example", b"\xff", b"*.example"] {
        assert_eq!(with(&[asking_for(name)]).judged(), NAMELESS, "{}", name.escape_ascii());
    }
    assert_eq!(with(&[asking_for(b"A.Example.")]).judged(), named("a.example"));
}

fn hellos() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![1 => Just(0_u16), 3 => any::<u16>()];
    let other = (kind, vec(any::<u8>(), 0..30)).prop_map(|(kind, data)| extension(kind, &data));
    let named = "[a-z0-9.-]{1,20}".prop_map(|name| asking_for(name.as_bytes()));
    let extensions = vec(prop_oneof![2 => other, 1 => named], 0..5);
    (extensions, 1..200_usize)
        .prop_map(|(extensions, size)| records(&with(&extensions).message(), size))
}

proptest! {
    #[test]
    fn what_rustls_asks_for_is_what_is_read(
        name in "[a-z]([a-z0-9]{0,20}[a-z])?([.][a-z]{1,20}){0,4}", size in 32..600_usize,
    ) {
        prop_assert_eq!(server_name(&rustls(&name, fragmenting(size))), named(&name));
    }

    #[test]
    fn records_do_not_matter(hello in hellos(), size in 1..100_usize) {
        let whole = server_name(&hello);
        let mut message = Vec::new();
        let mut rest = &hello[..];
        while let [_, _, _, high, low, content @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            message.extend(&content[..length]);
            rest = &content[length..];
        }
        prop_assert_eq!(server_name(&records(&message, size)), whole);
    }

    #[test]
    fn a_verdict_stands_whatever_follows(
        mut hello in hellos(), rest in vec(any::<u8>(), 0..20),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        for (index, byte) in changes {
            let at = index.index(hello.len());
            hello[at] = byte;
        }
        hello.extend(rest);
        let whole = server_name(&hello);
        for end in 0..hello.len() {
            let part = server_name(&hello[..end]);
            prop_assert!(part == Ok(None) || part == whole, "{:?} {:?}", part, whole);
        }
    }
}
