//! Every attempt is in the access log and in the metrics, with the server and how it ended.

use super::{GET, POST, edge, on, outcomes, plain};
use crate::kit::{Edge, Origin, named_reply};

const EVERY: &[&str] = &["error", "timeout", "invalid_header", "http_404", "http_502"];

/// The value of a sample of the pool "app".
fn sample(edge: &Edge, family: &str, labels: &str) -> f64 {
    let series = format!("{family}{{upstream=\"app\",{labels}}}");
    edge.metric(&series).unwrap_or_default()
}

#[test]
fn one_request_and_all_that_was_tried_for_it() {
    let origins = [
        ("connect_failed", Origin::refusing()),
        ("timeout", Origin::silent()),
        ("http_502", Origin::answering(502, "no")),
        ("failed", Origin::closing()),
        ("malformed", Origin::raw("garbage\r\n\r\n")),
        ("http_404", Origin::answering(404, "no")),
        ("answered", Origin::answering(200, "good")),
    ];
    let keys = format!("{}\ntimeouts = {{ read = \"1s\" }}", on(EVERY));
    let edge = plain(&origins.each_ref().map(|(_, origin)| origin), &keys);
    assert_eq!(edge.client().ask(GET).text(), "good");
    let record = &edge.records(1)[0];
    assert_eq!(outcomes(record), origins.each_ref().map(|(outcome, _)| *outcome), "{record}");
    for ((outcome, origin), attempt) in origins.iter().zip(record["attempts"].as_array().unwrap()) {
        let server = origin.address();
        assert_eq!(attempt["server"], server.as_str(), "{record}");
        let labels = format!("server=\"{server}\",outcome=\"{outcome}\"");
        assert_eq!(sample(&edge, "tidegate_upstream_attempts_total", &labels), 1.0, "{labels}");
        let cause = format!("cause=\"{outcome}\"");
        let was_retried = f64::from(u8::from(*outcome != "answered"));
        assert_eq!(sample(&edge, "tidegate_retries_total", &cause), was_retried, "{cause}");
    }
    assert_eq!(record["server"], origins[6].1.address().as_str(), "the last one tried");
    assert_eq!(record["status"], 200);
    assert_eq!(sample(&edge, "tidegate_requests_total", "code=\"502\""), 0.0);
}

/// An answer that was left counts as the server's, and not as the client's.
#[test]
fn answers_that_were_left_are_counted_as_the_servers() {
    let (bad, good) = (Origin::answering(502, "no"), Origin::named("good"));
    let edge = plain(&[&bad, &good], &on(EVERY));
    edge.client().ask(GET);
    // Written when everything else has been counted.
    edge.records(1);
    let requests = |origin: &Origin, code: u16| {
        let labels = format!("server=\"{}\",code=\"{code}\"", origin.address());
        sample(&edge, "tidegate_upstream_requests_total", &labels)
    };
    assert_eq!((requests(&bad, 502), requests(&good, 200)), (1.0, 1.0));
    let text = edge.metrics();
    let seen: Vec<_> =
        text.lines().filter(|line| line.starts_with("tidegate_requests_total{")).collect();
    assert!(seen.len() == 1 && seen[0].contains("code=\"200\""), "{seen:?}");
}

/// The last failure was followed by nobody.
#[test]
fn a_failure_that_ends_a_request_is_no_retry() {
    let origins = [Origin::closing(), Origin::closing()];
    let edge = plain(&origins.each_ref(), "");
    assert_eq!(edge.client().ask(GET).status(), 502);
    assert_eq!(outcomes(&edge.records(1)[0]), ["failed", "failed"]);
    assert_eq!(sample(&edge, "tidegate_retries_total", "cause=\"failed\""), 1.0);
    let edge = plain(&[&origins[0], &origins[1]], "");
    assert_eq!(edge.client().ask(POST).status(), 502);
    assert_eq!(outcomes(&edge.records(1)[0]), ["failed"]);
    assert_eq!(edge.metric("tidegate_retries_total"), None);
}

#[test]
fn a_stale_connection_is_in_the_record_and_nobodys_fault() {
    let origin = Origin::new(|conn| {
        if conn.receive().is_ok() && conn.try_send(named_reply("up")).is_ok() {
            let _ = conn.receive();
        }
    });
    let edge = Edge::new()
        .workers(1)
        .route("upstream = \"app\"")
        .logging()
        .pool_of("app", &[(&origin, "")], "keepalive_timeout = \"1h\"")
        .start();
    for _ in 0..2 {
        assert_eq!(edge.client().ask(GET).text(), "up");
    }
    assert_eq!(outcomes(&edge.records(2)[1]), ["stale", "answered"]);
    assert_eq!(sample(&edge, "tidegate_retries_total", "cause=\"stale\""), 1.0);
}

/// Every failure that sends a request on, or does not, is explained by a line of the log.
#[test]
fn the_log_says_what_follows_a_failure() {
    let (bad, good) = (Origin::closing(), Origin::named("good"));
    let edge = edge(&[(&bad, ", max_fails = 0"), (&good, "")], "");
    edge.forget_log();
    assert_eq!(edge.client().ask(GET).text(), "good");
    let line = edge.wait_for_log(&bad.address());
    assert!(line.contains("another server is asked"), "{line}");
    edge.forget_log();
    let mut answer = edge.client().ask(POST);
    if answer.status() == 200 {
        answer = edge.client().ask(POST);
    }
    assert_eq!(answer.status(), 502);
    let line = edge.wait_for_log(&bad.address());
    assert!(line.contains("its method may not be repeated"), "{line}");
    assert!(line.contains(&answer.request_id().unwrap()), "{line}");
}
