//! Servers that fail in every way there is, and whether that sends a request on: by `next.on`, by the
//! method, and by how far the answer had come. Each of them is first in a pool of its own, whose other
//! server is good.

use std::{thread, time::Duration};

use serde_json::Value;

use super::{GET, HOUR, POST, on, outcomes, plain};
use crate::kit::{Conn, Edge, Origin, SWITCHING};

/// A request, a server that is asked first, and what is to become of it.
struct Trial {
    what: String,
    bad: Origin,
    keys: String,
    request: &'static str,
    /// The bad server's, in the access log.
    outcome: String,
    status: u16,
    body: Option<&'static str>,
}

impl Trial {
    /// It ends with an error of the proxy's own.
    fn fails(mut self, status: u16) -> Self {
        self.status = status;
        self.body = None;
        self
    }

    fn goes_on(&self) -> bool {
        self.status == 200
    }
}

/// Sends all of them, and looks at what came of it.
fn run(trials: &[Trial]) {
    let good: Vec<Origin> = trials.iter().map(|_| Origin::named("good")).collect();
    let mut edge = Edge::new().logging();
    for (at, (trial, good)) in trials.iter().zip(&good).enumerate() {
        let servers = [(&trial.bad, HOUR), (good, HOUR)];
        edge = edge.pool_of(&format!("p{at}"), &servers, &trial.keys);
    }
    let edge = edge.start();
    thread::scope(|scope| {
        for (at, (trial, good)) in trials.iter().zip(&good).enumerate() {
            let mut client = edge.client();
            scope.spawn(move || {
                let answer = client.ask(trial.request.replace("Host: a", &format!("Host: p{at}")));
                let what = format!("{}, {:?}", trial.what, trial.request);
                assert_eq!(answer.status(), trial.status, "{what}");
                assert!(trial.body.is_none_or(|body| answer.text() == body), "{what}: {answer:?}");
                assert_eq!(good.count(), usize::from(trial.goes_on()), "{what}");
            });
        }
    });
    let records = edge.records(trials.len());
    for (at, trial) in trials.iter().enumerate() {
        let record = |record: &&Value| record["upstream"] == format!("p{at}");
        let record = records.iter().find(record).expect("every request has one");
        let wanted = match trial.goes_on() {
            true => vec![trial.outcome.as_str(), "answered"],
            false => vec![trial.outcome.as_str()],
        };
        assert_eq!(outcomes(record), wanted, "{}: {record}", trial.what);
    }
}

fn run_all<const N: usize>(groups: [Vec<Trial>; N]) {
    run(&groups.into_iter().flatten().collect::<Vec<_>>());
}

/// Reads a request, says this, and then that happens.
fn says(bytes: &'static str, then: fn(&mut Conn)) -> Origin {
    Origin::new(move |conn| {
        if conn.receive().is_ok() {
            conn.send(bytes);
            then(conn);
        }
    })
}

const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Le";

/// What nginx calls `error`.
fn errors() -> Vec<(&'static str, Origin)> {
    vec![
        ("closes without a word", Origin::closing()),
        ("resets without a word", says("", |conn| conn.reset())),
        ("closes within the head", says(HALF, |_| ())),
        ("resets within the head", {
            says(HALF, |conn| {
                // The half has to arrive before the reset does.
                thread::sleep(Duration::from_millis(100));
                conn.reset();
            })
        }),
        ("closes after an interim answer", says("HTTP/1.1 102 Processing\r\n\r\n", |_| ())),
    ]
}

/// What nginx calls `invalid_header`.
fn malformed() -> Vec<(&'static str, Origin)> {
    let lengths = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
    let fields = format!("X-Long: {}\r\n", "x".repeat(1_000)).repeat(100);
    vec![
        ("a greeting of TLS", Origin::raw("\x16\x03\x01 not for you\r\n\r\n")),
        ("another protocol", Origin::raw("220 mail.example ESMTP ready\r\n")),
        ("a bare body", Origin::raw("<html>hello</html>\r\n\r\n")),
        ("two lengths", Origin::raw(lengths)),
        ("a 101 that nobody asked for", Origin::raw(SWITCHING)),
        ("a head without an end", Origin::raw(format!("HTTP/1.1 200 OK\r\n{fields}"))),
    ]
}

/// What never comes to an end.
fn silent() -> Vec<(&'static str, Origin)> {
    vec![
        ("never answers", Origin::silent()),
        ("stops within the head", says(HALF, |conn| drop(conn.rest()))),
    ]
}

/// These servers with these keys. The request goes on.
fn trials(
    bad: Vec<(&str, Origin)>,
    outcome: &str,
    keys: &str,
    request: &'static str,
) -> Vec<Trial> {
    let trial = |(what, bad): (&str, Origin)| Trial {
        what: format!("{what}, {keys}"),
        bad,
        keys: keys.to_owned(),
        request,
        outcome: outcome.to_owned(),
        status: 200,
        body: Some("good"),
    };
    bad.into_iter().map(trial).collect()
}

/// The same, but it ends with this status.
fn fail(trials: Vec<Trial>, status: u16) -> Vec<Trial> {
    trials.into_iter().map(|trial| trial.fails(status)).collect()
}

#[test]
fn a_broken_connection_sends_a_get_on_unless_error_is_not_listed() {
    let other = on(&["timeout", "invalid_header"]);
    run_all([
        trials(errors(), "failed", "", GET),
        fail(trials(errors(), "failed", &other, GET), 502),
    ]);
}

#[test]
fn a_broken_connection_sends_a_post_on_only_with_non_idempotent() {
    let every = on(&["error", "non_idempotent"]);
    run_all([
        fail(trials(errors(), "failed", "", POST), 502),
        trials(errors(), "failed", &every, POST),
    ]);
}

#[test]
fn garbage_sends_a_request_on_only_when_invalid_header_is_listed() {
    let listed = on(&["invalid_header"]);
    let every = on(&["invalid_header", "non_idempotent"]);
    run_all([
        fail(trials(malformed(), "malformed", "", GET), 502),
        trials(malformed(), "malformed", &listed, GET),
        fail(trials(malformed(), "malformed", &listed, POST), 502),
        trials(malformed(), "malformed", &every, POST),
    ]);
}

#[test]
fn silence_sends_a_get_on_but_not_a_post() {
    let short = |next: String| format!("{next}\ntimeouts = {{ read = \"1s\" }}");
    let (default, other) = (short(String::new()), short(on(&["error", "invalid_header"])));
    let every = short(on(&["timeout", "non_idempotent"]));
    run_all([
        trials(silent(), "timeout", &default, GET),
        fail(trials(silent(), "timeout", &default, POST), 504),
        fail(trials(silent(), "timeout", &other, GET), 504),
        trials(silent(), "timeout", &every, POST),
    ]);
}

#[test]
fn statuses_send_a_request_on_only_when_they_are_listed() {
    let mut all = Vec::new();
    for status in [403, 404, 429, 500, 502, 503, 504] {
        let name = format!("http_{status}");
        for (listed, request, goes_on) in [
            (vec![name.as_str()], GET, true),
            (vec!["error", "timeout", "invalid_header"], GET, false),
            (vec![name.as_str()], POST, false),
            (vec![name.as_str(), "non_idempotent"], POST, true),
        ] {
            all.push(Trial {
                what: format!("{status}, {listed:?}"),
                bad: Origin::answering(status, "my own"),
                keys: on(&listed),
                request,
                outcome: if goes_on { name.clone() } else { "answered".to_owned() },
                status: if goes_on { 200 } else { status },
                body: Some(if goes_on { "good" } else { "my own" }),
            });
        }
    }
    run(&all);
}

/// A status that nobody can list is an answer like any other.
#[test]
fn other_statuses_are_answers() {
    let conditions = ["error", "timeout", "invalid_header", "non_idempotent"].map(str::to_owned);
    let statuses = [403, 404, 429, 500, 502, 503, 504].map(|status| format!("http_{status}"));
    let every: Vec<&str> = conditions.iter().chain(&statuses).map(String::as_str).collect();
    let trial = |status: u16| Trial {
        what: format!("{status}"),
        bad: Origin::raw(format!("HTTP/1.1 {status} So\r\nConnection: close\r\n\r\n")),
        keys: on(&every),
        request: GET,
        outcome: "answered".to_owned(),
        status,
        body: None,
    };
    run(&[201, 204, 301, 400, 401, 405, 501, 505, 599].map(trial));
}

/// However long it is and however early it comes: none of it reaches the client.
#[test]
fn a_long_answer_that_is_left_is_left_whole() {
    let bad = Origin::answering(502, &"x".repeat(300_000));
    let good = Origin::named("good");
    let edge = plain(&[&bad, &good], &on(&["http_502"]));
    let mut client = edge.client();
    for _ in 0..2 {
        assert_eq!(client.ask(GET).text(), "good", "and the connection goes on");
    }
}
