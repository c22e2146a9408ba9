//! Whole heads, from bytes: what `httparse` refuses for us, then every rule of ours.

use proptest::prelude::*;

use super::*;
use crate::{BadFraming, named_by_connection};

fn judged<T>(head: &[u8], then: impl FnOnce(Facts<'_>, &[Header<'_>]) -> T) -> Result<T, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut fields);
    let status = request.parse(head).map_err(|error| Refusal::of_syntax(error, head))?;
    if status.is_partial() {
        return Err(Refusal::Incomplete);
    }
    judge_request(&request).map(|facts| then(facts, request.headers))
}

fn refusal(head: &str) -> Option<Refusal> {
    judged(head.as_bytes(), |_, _| ()).err()
}

/// Judges `GET /` of that version with these lines.
fn fact<T>(version: &str, lines: &str, then: impl FnOnce(Facts<'_>) -> T) -> Result<T, Refusal> {
    let head = format!("POST / HTTP/{version}\r\n{lines}\r\n");
    judged(head.as_bytes(), |facts, _| then(facts))
}

#[test]
fn a_plain_request_is_told() {
    let head = b"GET http://[::1]:8080/a/b?c=d HTTP/1.1\r\nHost: [::1]:8080\r\n\
        Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\r\n";
    let expected = Facts {
        version: Version::Http11,
        method: "GET",
        target: b"/a/b?c=d",
        rootless: false,
        path: b"/a/b",
        query: Some(b"c=d"),
        authority: "[::1]:8080",
        host: "[::1]",
        body: Body::None,
        declared_length: None,
        keep_alive: true,
        expect_continue: false,
        upgrade: false,
        connection_names: true,
    };
    let told = judged(head, |facts, headers| {
        assert!(named_by_connection(headers, "x-hop"));
        facts == expected
    });
    assert_eq!(told, Ok(true));
}

#[test]
fn section_2_2_a_lone_line_feed_ends_a_head_line() {
    assert_eq!(refusal("GET / HTTP/1.1\nHost: a\n\n"), None);
    assert_eq!(refusal("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), None);
}

#[test]
fn what_httparse_refuses_is_refused() {
    // Longer than its vector registers, so that its fast paths are met.
    let long = "x".repeat(70);
    let bad = [
        ("section 5.2, obs-fold", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
        ("section 5.2, obs-fold by tab", "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\tc\r\n\r\n"),
        ("section 5.1, space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        ("section 5.1, tab before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX\t: a\r\n\r\n"),
        ("section 2.2, space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        ("section 2.2, bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n"),
        ("section 2.2, bare CR ends a line", "GET / HTTP/1.1\rHost: a\r\r"),
        ("section 2.2, bare CR in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\r: b\r\n\r\n"),
        ("section 2.2, CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n"),
        ("NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\0\r\n\r\n"),
        ("NUL in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n"),
        ("NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("DEL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\u{7f}\r\n\r\n"),
        ("vertical tab in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \u{b}chunked\r\n\r\n"),
        ("empty name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
        ("no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
        ("name that is no token", "GET / HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n"),
        ("name that is not ASCII", "GET / HTTP/1.1\r\nHost: a\r\né: b\r\n\r\n"),
        ("method that is no token", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("section 3, two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("section 3, two spaces behind", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("section 3, space at the end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
        ("section 3, space at the start", " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("section 3, tabs", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
        ("section 3, space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("HTTP/0.9", "GET /\r\n\r\n"),
        ("no method", "/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    for (what, head) in bad {
        assert!(matches!(refusal(head), Some(Refusal::Syntax(_))), "{what}");
        assert_eq!(refusal(head).map(Refusal::status), Some(400), "{what}");
    }
    for control in (0..0x20_u8).chain([0x7f]).filter(|b| !b"\t\n".contains(b)) {
        let control = char::from(control);
        for head in [
            format!("GET /{long}{control}{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}{control}{long}\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: a\r\nX{long}{control}{long}: a\r\n\r\n"),
        ] {
            assert!(matches!(refusal(&head), Some(Refusal::Syntax(_))), "{head:?}");
        }
    }
}

#[test]
fn section_3_2_host_is_one_valid_field() {
    let cases = [
        ("HTTP/1.1\r\n", Some(Refusal::HostMissing)),
        ("HTTP/1.1\r\nHost: a\r\nHOST: a\r\n", Some(Refusal::HostRepeated)),
        ("HTTP/1.0\r\nHost: a\r\nHost: b\r\n", Some(Refusal::HostRepeated)),
        ("HTTP/1.1\r\nHost:\r\n", Some(Refusal::Host)),
        ("HTTP/1.0\r\nHost:\r\n", Some(Refusal::Host)),
        ("HTTP/1.1\r\nHost: a/b\r\n", Some(Refusal::Host)),
        ("HTTP/1.0\r\nHost: a b\r\n", Some(Refusal::Host)),
        ("HTTP/1.0\r\n", None),
        ("HTTP/1.1\r\nHost: a:80\r\n", None),
    ];
    for (rest, expected) in cases {
        assert_eq!(refusal(&format!("GET / {rest}\r\n")), expected, "{rest}");
    }
    let no_host = fact("1.0", "", |facts| (facts.authority.len(), facts.host.len()));
    assert_eq!(no_host, Ok((0, 0)));
}

#[test]
fn section_3_2_2_host_says_what_the_absolute_form_says() {
    let cases = [
        ("http://a.com/", "Host: A.com:80\r\n", None),
        ("https://a.com:443/", "Host: a.com\r\n", None),
        ("http://a.com/", "Host: b.com\r\n", Some(Refusal::HostMismatch)),
        ("http://a.com/", "Host: a.com:8080\r\n", Some(Refusal::HostMismatch)),
        ("https://a.com/", "Host: a.com:80\r\n", Some(Refusal::HostMismatch)),
        ("http://a.com/", "Host:\r\n", Some(Refusal::Host)),
        ("http://a.com/", "", Some(Refusal::HostMissing)),
        ("http://u@a.com/", "Host: a.com\r\n", Some(Refusal::Host)),
        ("ftp://a.com/", "Host: a.com\r\n", Some(Refusal::TargetForm)),
    ];
    for (target, host, expected) in cases {
        let head = format!("GET {target} HTTP/1.1\r\n{host}\r\n");
        assert_eq!(refusal(&head), expected, "{head}");
    }
    let old = judged(b"GET http://a.com/ HTTP/1.0\r\n\r\n", |facts, _| facts.authority == "a.com");
    assert_eq!(old, Ok(true));
}

#[test]
fn section_3_2_targets() {
    let status =
        |start: &str| refusal(&format!("{start} HTTP/1.1\r\nHost: a\r\n\r\n")).map(Refusal::status);
    for start in ["GET /", "OPTIONS *", "GET /a|b?{\"}", "get /", "GET /é", "M-SEARCH /x"] {
        assert_eq!(status(start), None, "{start}");
    }
    for start in ["GET /#", "GET *", "GET a", "GET a:80", "GET ?a", "GET //#", "GET http://a#b"] {
        assert_eq!(status(start), Some(400), "{start}");
    }
    for start in ["CONNECT a:443", "CONNECT /"] {
        assert_eq!(status(start), Some(501), "{start}");
    }
}

#[test]
fn a_query_without_a_path_asks_for_a_slash() {
    let head = b"GET http://a?x=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let told = judged(head, |facts, _| {
        (facts.rootless, facts.target == b"?x=1", facts.path == b"/", facts.query == Some(b"x=1"))
    });
    assert_eq!(told, Ok((true, true, true, true)));
}

#[test]
fn section_6_3_the_body_is_unambiguous() {
    use Refusal::Framing;
    let cases = [
        ("", Ok(Body::None)),
        ("Content-Length: 0\r\n", Ok(Body::None)),
        ("CONTENT-LENGTH:5\r\n", Ok(Body::Length(5))),
        ("Transfer-Encoding: Chunked\r\n", Ok(Body::Chunked)),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(Framing(BadFraming::Both))),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", Err(Framing(BadFraming::Both))),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Err(Framing(BadFraming::LengthRepeated))),
        ("Content-Length: +5\r\n", Err(Framing(BadFraming::Length))),
        ("Content-Length: 5,5\r\n", Err(Framing(BadFraming::Length))),
        ("Content-Length:\r\n", Err(Framing(BadFraming::Length))),
        ("Transfer-Encoding: identity\r\n", Err(Framing(BadFraming::ChunkedNotLast))),
        ("Transfer-Encoding: gzip, chunked\r\n", Err(Framing(BadFraming::UnknownCoding))),
    ];
    for (lines, expected) in cases {
        let body = fact("1.1", &format!("Host: a\r\n{lines}"), |facts| facts.body);
        assert_eq!(body, expected, "{lines}");
    }
    let old = fact("1.0", "Transfer-Encoding: chunked\r\n", |facts| facts.body);
    assert_eq!(old, Err(Framing(BadFraming::CodingInHttp10)));
    let declared = fact("1.0", "Content-Length: 0\r\n", |facts| facts.declared_length);
    assert_eq!(declared, Ok(Some(0)));
}

#[test]
fn only_unknown_codings_before_chunked_are_501() {
    assert_eq!(Refusal::from(BadFraming::UnknownCoding).status(), 501);
    assert_eq!(Refusal::from(BadFraming::ChunkedNotLast).status(), 400);
}

#[test]
fn a_trace_has_no_body() {
    let trace = |lines: &str| refusal(&format!("TRACE / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    assert_eq!(trace(""), None);
    assert_eq!(trace("Content-Length: 0\r\n"), None);
    assert_eq!(trace("Content-Length: 1\r\n"), Some(Refusal::TraceBody));
    assert_eq!(trace("Transfer-Encoding: chunked\r\n"), Some(Refusal::TraceBody));
}

#[test]
fn rfc_9110_section_10_1_1_only_100_continue_can_be_met() {
    let expects = |version, lines: &str| fact(version, lines, |facts| facts.expect_continue);
    let cases = [
        ("Expect: 100-continue\r\n", Ok(true)),
        ("expect: 100-Continue\r\nContent-Language: de\r\n", Ok(true)),
        ("Expect: 100-continue\r\nExpect: 100-continue\r\n", Ok(true)),
        ("Expect: 100-continue, x\r\n", Err(Refusal::Expectation)),
        ("Expect: x\r\nExpect: 100-continue\r\n", Err(Refusal::Expectation)),
        ("Expect: 100-continue;a=b\r\n", Err(Refusal::Expectation)),
        ("Expect:\r\n", Err(Refusal::Expectation)),
    ];
    for (lines, expected) in cases {
        let lines = format!("Host: a\r\nContent-Length: 5\r\n{lines}");
        assert_eq!(expects("1.1", &lines), expected, "{lines}");
    }
    assert_eq!(expects("1.0", "Content-Length: 5\r\nExpect: x\r\n"), Ok(false));
    assert_eq!(expects("1.1", "Host: a\r\nExpect: 100-continue\r\n"), Ok(false));
    assert_eq!(Refusal::Expectation.status(), 417);
}

#[test]
fn rfc_9110_section_7_8_an_upgrade_needs_both_fields() {
    let upgrades = |version, lines: &str| fact(version, lines, |facts| facts.upgrade);
    let cases = [
        ("Host: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n", true),
        ("Host: a\r\nConnection: x\r\nConnection: upgrade\r\nupgrade: h2c\r\n", true),
        ("Host: a\r\nUpgrade: websocket\r\n", false),
        ("Host: a\r\nConnection: upgrade\r\n", false),
    ];
    for (lines, expected) in cases {
        assert_eq!(upgrades("1.1", lines), Ok(expected), "{lines}");
    }
    assert_eq!(upgrades("1.0", "Upgrade: websocket\r\nConnection: upgrade\r\n"), Ok(false));
}

#[test]
fn section_9_3_close_counts_in_any_line() {
    let keeps = |version, lines: &str| fact(version, lines, |facts| facts.keep_alive);
    assert_eq!(keeps("1.1", "Host: a\r\n"), Ok(true));
    assert_eq!(
        keeps("1.1", "Host: a\r\nConnection: keep-alive\r\nConnection: CLOSE\r\n"),
        Ok(false)
    );
    assert_eq!(keeps("1.0", ""), Ok(false));
    assert_eq!(keeps("1.0", "Connection: Keep-Alive\r\n"), Ok(true));
    assert_eq!(keeps("1.0", "Connection: close, keep-alive\r\n"), Ok(false));
}

#[test]
fn connection_names_are_told_only_when_there_are_some() {
    let names = |value: &str| {
        fact("1.1", &format!("Host: a\r\nConnection: {value}\r\n"), |facts| facts.connection_names)
    };
    assert_eq!(names("close, TE, keep-alive, Upgrade,"), Ok(false));
    assert_eq!(names("close, x"), Ok(true));
}

#[test]
fn a_head_not_yet_read_is_refused() {
    let mut fields = [];
    assert_eq!(judge_request(&httparse::Request::new(&mut fields)), Err(Refusal::Incomplete));
}

/// A request made by the rules.
#[derive(Clone, Debug)]
struct Made {
    path: String,
    query: Option<String>,
    host: String,
    port: Option<u16>,
    is_absolute: bool,
    body: Body,
    closes: bool,
    expects: bool,
    upgrades: bool,
    /// Decides the case of letters, the white space and the order.
    seed: u64,
}

fn made() -> impl Strategy<Value = Made> {
    let body =
        prop_oneof![Just(Body::None), (1..u64::MAX).prop_map(Body::Length), Just(Body::Chunked)];
    let place = ("[a-z][a-z0-9.-]{0,12}|\\[::[0-9a-f]{1,4}\\]", proptest::option::of(any::<u16>()));
    let target = ("/[a-z0-9/%._~|-]{0,16}", proptest::option::of("[a-z=&?/]{0,8}"), any::<bool>());
    (place, target, body, any::<[bool; 3]>(), any::<u64>()).prop_map(
        |((host, port), (path, query, is_absolute), body, [closes, expects, upgrades], seed)| {
            Made { path, query, host, port, is_absolute, body, closes, expects, upgrades, seed }
        },
    )
}

impl Made {
    fn authority(&self) -> String {
        self.port.map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
    }

    fn target(&self) -> String {
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}{query}", self.path)
    }

    fn head(&self) -> String {
        let mut lines = vec![("host", self.authority()), ("accept", "*/*".into())];
        match self.body {
            Body::None => {}
            Body::Length(length) => lines.push(("content-length", length.to_string())),
            Body::Chunked => lines.push(("transfer-encoding", "chunked".into())),
        }
        lines.extend(self.closes.then(|| ("connection", "close".into())));
        lines.extend(self.expects.then(|| ("expect", "100-continue".into())));
        if self.upgrades {
            lines.extend([("upgrade", "websocket".into()), ("connection", "x,upgrade".into())]);
        }
        let order = self.seed as usize % lines.len();
        lines.rotate_left(order);
        let mut bits = self.seed;
        let mut bit = move || {
            bits = bits.rotate_right(1);
            bits & 1 == 1
        };
        let prefix =
            if self.is_absolute { format!("http://{}", self.authority()) } else { String::new() };
        let mut head = format!("POST {prefix}{} HTTP/1.1\r\n", self.target());
        for (name, value) in lines {
            let name: String =
                name.chars().map(|c| if bit() { c.to_ascii_uppercase() } else { c }).collect();
            let before = if bit() { " \t" } else { "" };
            let after = if bit() { "\t " } else { "" };
            let end = if bit() { "\r\n" } else { "\n" };
            head += &format!("{name}:{before}{value}{after}{end}");
        }
        head + "\r\n"
    }
}

proptest! {
    #[test]
    fn a_request_made_by_the_rules_is_understood(made in made()) {
        let head = made.head();
        let (authority, target) = (made.authority(), made.target());
        let told = judged(head.as_bytes(), |facts, headers| {
            let expected = Facts {
                version: Version::Http11,
                method: "POST",
                target: target.as_bytes(),
                rootless: false,
                path: made.path.as_bytes(),
                query: made.query.as_deref().map(str::as_bytes),
                authority: &authority,
                // The dot of the root says nothing.
                host: made.host.strip_suffix('.').unwrap_or(&made.host),
                body: made.body,
                declared_length: match made.body {
                    Body::Length(length) => Some(length),
                    _ => None,
                },
                keep_alive: !made.closes,
                expect_continue: made.expects && made.body != Body::None,
                upgrade: made.upgrades,
                connection_names: made.upgrades,
            };
            prop_assert_eq!(facts, expected);
            prop_assert_eq!(named_by_connection(headers, "X"), made.upgrades);
            Ok(())
        });
        prop_assert!(told.is_ok(), "{:?}: {}", told, head);
        told.expect("was ok")?;
    }

    #[test]
    fn no_bytes_make_it_panic(
        start in prop::sample::select(vec!["", "GET ", "GET /", "OPTIONS http://a:", "POST / HTTP/1.1\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:", "POST / HTTP/1.1\r\nHost:"]),
        rest in prop::collection::vec(any::<u8>(), 0..80),
        end in prop::sample::select(vec!["", "\r\n\r\n", " HTTP/1.1\r\nhost: a\r\n\r\n"]),
    ) {
        let _ = judged(&[start.as_bytes(), &rest, end.as_bytes()].concat(), |_, _| ());
    }
}
