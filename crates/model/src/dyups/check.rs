//! Tengine's `check*` directives (`ngx_http_upstream_check_module`), read into a [`CheckSpec`] that
//! leaves nothing open: a caller who writes Tengine's words means Tengine's defaults, not those of
//! `[upstream_defaults]`. Repeated directives are taken as Tengine takes them, the last one wins.

use super::{
    Refusal,
    directives::{arity, single, value},
    quoted,
    server::number,
};
use crate::{
    Span, WhenAllDown,
    upstream::{CheckKind, CheckSpec, CheckStart, ExpectBody, MIN_INTERVAL, StatusPattern},
};

/// What is sent without `check_http_send`.
const SEND: &str = "GET / HTTP/1.0\r\n\r\n";
const EXPECT: [StatusPattern; 2] = [StatusPattern::Class(2), StatusPattern::Class(3)];
/// While a server is between states; Tengine has no such thing.
const FAST_INTERVAL: Span = Span::from_secs(1);

/// Types of Tengine's that are other protocols.
const NOT_AVAILABLE: [&str; 3] = ["ajp", "fastcgi", "mysql"];

/// The `check*` directives of a body so far.
#[derive(Default)]
pub(super) struct Checking {
    check: Option<Parameters>,
    /// With its line.
    send: Option<(usize, String)>,
    /// With its line.
    expect: Option<(usize, Vec<StatusPattern>)>,
}

/// What follows `check`.
struct Parameters {
    kind: CheckKind,
    port: u16,
    interval: Span,
    timeout: Span,
    rise: u32,
    fall: u32,
    start: CheckStart,
}

impl Checking {
    /// `check NAME=VALUE …`. A second one starts over, save for the type.
    pub(super) fn check(&mut self, arguments: &[Vec<u8>]) -> Result<(), String> {
        arity("check", arguments, 1, usize::MAX)?;
        let kind = self.check.as_ref().map_or(CheckKind::Tcp, |before| before.kind);
        let mut parameters = Parameters { kind, ..Parameters::default() };
        arguments.iter().try_for_each(|word| parameters.apply(word))?;
        self.check = Some(parameters);
        Ok(())
    }

    /// `check_http_send "bytes"`; the empty text stands for the default.
    pub(super) fn send(&mut self, line: usize, arguments: &[Vec<u8>]) -> Result<(), String> {
        let text = single("check_http_send", arguments, |text| Some(text.to_owned()))?;
        if self.check.is_none() {
            return Err(should_set_check("check_http_send"));
        }
        self.send = (!text.is_empty()).then_some((line, text));
        Ok(())
    }

    /// `check_http_expect_alive http_2xx …`, before `check` or after it.
    pub(super) fn expect(&mut self, line: usize, arguments: &[Vec<u8>]) -> Result<(), String> {
        const NAME: &str = "check_http_expect_alive";
        arity(NAME, arguments, 1, usize::MAX)?;
        let mut expect = Vec::new();
        for word in arguments {
            let class = value(NAME, std::slice::from_ref(word), class)?;
            if !expect.contains(&class) {
                expect.push(class);
            }
        }
        self.expect = Some((line, expect));
        Ok(())
    }

    /// What they ask for together; `None` without a `check`.
    ///
    /// # Errors
    /// When one of them has nothing to say about the check that there is.
    pub(super) fn finish(self) -> Result<Option<CheckSpec>, Refusal> {
        let send = self.send.as_ref().map(|(line, _)| (*line, "check_http_send"));
        let expect = self.expect.as_ref().map(|(line, _)| (*line, "check_http_expect_alive"));
        for (line, name) in send.into_iter().chain(expect) {
            let wrong = match &self.check {
                None => should_set_check(name),
                Some(Parameters { kind: CheckKind::Http, .. }) => continue,
                Some(check) => format!("invalid {name} for type \"{}\"", word(check.kind)),
            };
            return Err(Refusal::at(line, wrong));
        }
        let send = self.send.map_or_else(|| SEND.into(), |(_, send)| send);
        let expect = self.expect.map_or_else(|| EXPECT.into(), |(_, expect)| expect);
        Ok(self.check.map(|check| check.spec(send, expect)))
    }
}

fn should_set_check(name: &str) -> String {
    format!("invalid {name} should set [check] first")
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            kind: CheckKind::Tcp,
            port: 0,
            interval: Span::from_secs(30),
            timeout: Span::from_secs(1),
            rise: 2,
            fall: 5,
            start: CheckStart::Down,
        }
    }
}

impl Parameters {
    fn apply(&mut self, word: &[u8]) -> Result<(), String> {
        let invalid = || format!("invalid parameter {}", quoted(word));
        let text = std::str::from_utf8(word).map_err(|_| invalid())?;
        let (name, value) = text.split_once('=').ok_or_else(invalid)?;
        match name {
            "type" => self.kind = kind(value)?.ok_or_else(invalid)?,
            "port" => {
                self.port = number(value).filter(|port| *port > 0).ok_or_else(invalid)?;
            }
            "interval" => {
                self.interval = millis(value).ok_or_else(invalid)?;
                if self.interval < MIN_INTERVAL {
                    return Err(format!("{}: an interval is at least {MIN_INTERVAL}", invalid()));
                }
            }
            "timeout" => self.timeout = millis(value).ok_or_else(invalid)?,
            "rise" => self.rise = count(value).ok_or_else(invalid)?,
            "fall" => self.fall = count(value).ok_or_else(invalid)?,
            "default_down" if flag(word, value)? => self.start = CheckStart::Down,
            "default_down" => self.start = CheckStart::Up,
            // Whether pools share what they find out about an address: ours never do.
            "unique" => flag(word, value).map(|_| ())?,
            _ => return Err(invalid()),
        }
        Ok(())
    }

    fn spec(self, send: String, expect: Vec<StatusPattern>) -> CheckSpec {
        let http = self.kind == CheckKind::Http;
        CheckSpec {
            kind: Some(self.kind),
            send: http.then_some(send),
            expect_status: http.then_some(expect),
            expect_body: http.then(ExpectBody::anything),
            port: Some(self.port),
            interval: Some(self.interval),
            fast_interval: Some(FAST_INTERVAL.min(self.interval)),
            timeout: Some(self.timeout),
            rise: Some(self.rise),
            fall: Some(self.fall),
            start: Some(self.start),
            when_all_down: Some(WhenAllDown::Fail),
            ..CheckSpec::default()
        }
    }
}

/// `check_keepalive_requests N`: checked, and that is all, for each of our probes has a connection
/// of its own.
pub(super) fn keepalive_requests(arguments: &[Vec<u8>]) -> Result<(), String> {
    single("check_keepalive_requests", arguments, count).map(|_| ())
}

/// `None` for a type that Tengine does not know either.
fn kind(name: &str) -> Result<Option<CheckKind>, String> {
    Ok(match name {
        "http" => Some(CheckKind::Http),
        "ssl_hello" => Some(CheckKind::Tls),
        "tcp" => Some(CheckKind::Tcp),
        other if NOT_AVAILABLE.contains(&other) => {
            return Err(format!("check type={other}: not available; use tcp, http or ssl_hello"));
        }
        _ => None,
    })
}

/// Tengine's word for a type.
fn word(kind: CheckKind) -> &'static str {
    match kind {
        CheckKind::Tls => "ssl_hello",
        kind => kind.word(),
    }
}

fn class(text: &str) -> Option<StatusPattern> {
    let class = ["http_1xx", "http_2xx", "http_3xx", "http_4xx", "http_5xx"];
    let at = (1..).zip(class).find(|(_, name)| name.eq_ignore_ascii_case(text));
    at.map(|(class, _)| StatusPattern::Class(class))
}

fn flag(word: &[u8], value: &str) -> Result<bool, String> {
    match value {
        _ if value.eq_ignore_ascii_case("true") => Ok(true),
        _ if value.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(format!("invalid value {}, it must be \"true\" or \"false\"", quoted(word))),
    }
}

fn count(text: &str) -> Option<u32> {
    number(text).filter(|count| *count > 0)
}

/// Milliseconds in 32 bits: the longest are seven weeks.
fn millis(text: &str) -> Option<Span> {
    count(text).map(|millis| Span::from_millis(millis.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{UpstreamSpec, dyups::parse};

    const SERVER: &str = "server 127.0.0.1:8088;";

    fn read(directives: &str) -> UpstreamSpec {
        parse(format!("{SERVER}{directives}").as_bytes())
            .unwrap_or_else(|refusal| panic!("{directives:?}: {refusal}"))
    }

    fn check(directives: &str) -> CheckSpec {
        read(directives).check.expect("a check")
    }

    fn refused(directives: &str) -> String {
        match parse(format!("{SERVER}{directives}").as_bytes()) {
            Ok(spec) => panic!("{directives:?} was read as {spec:?}"),
            Err(refusal) => refusal.to_string(),
        }
    }

    /// What nothing inherits into: every key that an http check has a use for is there.
    fn http() -> CheckSpec {
        CheckSpec {
            kind: Some(CheckKind::Http),
            send: Some("GET / HTTP/1.0\r\n\r\n".into()),
            expect_status: Some(vec![StatusPattern::Class(2), StatusPattern::Class(3)]),
            expect_body: Some(ExpectBody::anything()),
            port: Some(0),
            interval: Some(Span::from_secs(30)),
            fast_interval: Some(Span::from_secs(1)),
            timeout: Some(Span::from_secs(1)),
            rise: Some(2),
            fall: Some(5),
            start: Some(CheckStart::Down),
            when_all_down: Some(WhenAllDown::Fail),
            ..CheckSpec::default()
        }
    }

    #[test]
    fn c44_and_c47_are_read_with_tengines_defaults() {
        let c44 = "check interval=3000 rise=2 fall=5 timeout=1000 type=http default_down=false;";
        let expected =
            CheckSpec { interval: Some(Span::from_secs(3)), start: Some(CheckStart::Up), ..http() };
        assert_eq!(check(c44), expected);
        let c47 = "check interval=1000 rise=2 fall=5 timeout=1000 type=http default_down=true;";
        let expected = CheckSpec { interval: Some(Span::from_secs(1)), ..http() };
        assert_eq!(check(c47), expected);
        assert_eq!(check("check type=http;"), http());
    }

    #[test]
    fn a_check_also_says_what_happens_when_all_are_down() {
        let meant = |spec: &UpstreamSpec| spec.resolve(&UpstreamSpec::default()).when_all_down;
        assert_eq!(meant(&read("check type=tcp;")), WhenAllDown::Fail);
        assert_eq!((meant(&read("")), read("").when_all_down), (WhenAllDown::TryAll, None));
    }

    #[test]
    fn every_parameter_is_read_and_the_last_of_a_kind_wins() {
        let expected = CheckSpec {
            kind: Some(CheckKind::Tls),
            port: Some(1971),
            interval: Some(Span::from_millis(500)),
            fast_interval: Some(Span::from_millis(500)),
            timeout: Some(Span::from_millis(20)),
            rise: Some(1),
            fall: Some(7),
            start: Some(CheckStart::Up),
            when_all_down: Some(WhenAllDown::Fail),
            ..CheckSpec::default()
        };
        let body = "check interval=90 interval=500 type=ssl_hello port=1971 rise=9 rise=1 fall=7 \
                    timeout=20 unique=TRUE default_down=False;";
        assert_eq!(check(body), expected);
        assert_eq!(check("check fall=5;").kind, Some(CheckKind::Tcp));
        let again = check("check type=http rise=9; check fall=1;");
        assert_eq!((again.kind, again.rise, again.fall), (Some(CheckKind::Http), Some(2), Some(1)));
    }

    #[test]
    fn h44_an_upgrade_is_sent_byte_for_byte() {
        let body = r#"check_http_expect_alive HTTP_1xx http_1xx; check_keepalive_requests 10;
            check interval=3000 type=http;
            check_http_send "GET / HTTP/1.1\r\nHost: \"a\"\r\nUpgrade:\twebsocket\r\n\r\n";"#;
        let check = check(body);
        let sent = "GET / HTTP/1.1\r\nHost: \"a\"\r\nUpgrade:\twebsocket\r\n\r\n";
        assert_eq!(check.send.as_deref(), Some(sent));
        assert_eq!(check.expect_status, Some(vec![StatusPattern::Class(1)]));
    }

    #[test]
    fn an_empty_send_is_the_default_one_of_any_type() {
        assert_eq!(check("check type=http; check_http_send x; check_http_send \"\";"), http());
        assert_eq!(check("check type=tcp; check_http_send '';").send, None);
    }

    #[test]
    fn h32_and_h33_a_request_needs_a_check_that_sends_one() {
        for (body, reason) in [
            (
                "check type=tcp;\ncheck_http_send \"GET / HTTP/1.0\\r\\n\\r\\n\";",
                "line 2: invalid check_http_send for type \"tcp\"",
            ),
            (
                "check type=http;check_http_send x;\ncheck type=ssl_hello;",
                "line 1: invalid check_http_send for type \"ssl_hello\"",
            ),
            (
                "check_http_send \"GET / HTTP/1.0\\r\\n\\r\\n\";check type=http;",
                "line 1: invalid check_http_send should set [check] first",
            ),
            (
                "check_http_expect_alive http_2xx;",
                "line 1: invalid check_http_expect_alive should set [check] first",
            ),
            (
                "\ncheck_http_expect_alive http_2xx; check fall=1;",
                "line 2: invalid check_http_expect_alive for type \"tcp\"",
            ),
        ] {
            assert_eq!(refused(body), reason, "{body:?}");
        }
    }

    #[test]
    fn what_tengine_refuses_is_refused() {
        for word in [
            "bogus=1",
            "interval",
            "interval=",
            "interval=0",
            "interval=-1",
            "interval=1s",
            "interval=4294967296",
            "timeout=0",
            "rise=0",
            "fall=x",
            "port=0",
            "port=65536",
            "type=HTTP",
            "type=",
        ] {
            let reason = format!("line 1: invalid parameter \"{word}\"");
            assert_eq!(refused(&format!("check {word};")), reason);
        }
        for (body, reason) in [
            ("check;", "invalid number of arguments in \"check\" directive"),
            ("check interval=9;", "invalid parameter \"interval=9\": an interval is at least 10ms"),
            (
                "check default_down=1;",
                "invalid value \"default_down=1\", it must be \"true\" or \"false\"",
            ),
            ("check unique=;", "invalid value \"unique=\", it must be \"true\" or \"false\""),
            ("check type=mysql;", "check type=mysql: not available; use tcp, http or ssl_hello"),
            (
                "check type=http; check_http_expect_alive http_6xx;",
                "invalid value \"http_6xx\" in \"check_http_expect_alive\" directive",
            ),
            (
                "check type=http; check_http_send a b;",
                "invalid number of arguments in \"check_http_send\" directive",
            ),
            (
                "check_keepalive_requests 0;",
                "invalid value \"0\" in \"check_keepalive_requests\" directive",
            ),
            ("check_fastcgi_param A B;", "check_fastcgi_param: not available yet"),
        ] {
            assert_eq!(refused(body), format!("line 1: {reason}"), "{body:?}");
        }
    }
}
