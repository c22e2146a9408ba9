//! Tengine's status page over real checks, H1 to H13: six servers, of which one is well. And what it
//! makes of questions that nobody should ask.

use serde_json::Value;

use super::{posted, rows, wait_until_down, wait_until_up};
use crate::kit::{Edge, Message, Origin, Socket};

/// The bench of Tengine's tests: one server that answers, five that refuse.
struct Six {
    edge: Edge,
    good: Origin,
    dead: Vec<Origin>,
}

impl Six {
    /// With further directives after the check.
    #[track_caller]
    fn with(directives: &str) -> Self {
        let good = Origin::named("good");
        let dead: Vec<Origin> = (0..5).map(|_| Origin::refusing()).collect();
        let servers: String = std::iter::once(&good)
            .chain(&dead)
            .map(|origin| format!("server {};", origin.address()))
            .collect();
        let edge = posted(&format!(
            "{servers} check interval=200 rise=1 fall=2 timeout=5000 type=http; {directives}"
        ));
        Self { edge, good, dead }
    }

    /// Once every server has been judged.
    #[track_caller]
    fn judged() -> Self {
        let six = Self::with("");
        wait_until_up(&six.edge, &six.good);
        six.dead.iter().for_each(|dead| wait_until_down(&six.edge, dead));
        six
    }

    #[track_caller]
    fn page(&self, query: &str) -> Message {
        page(&self.edge, query)
    }
}

#[track_caller]
fn page(edge: &Edge, query: &str) -> Message {
    let page = edge.call("GET", &format!("/status{query}"), "");
    assert_eq!(page.status(), 200, "{query}: {page:?}");
    page
}

#[track_caller]
fn expect(page: &Message, kind: &str, wanted: &str) {
    assert_eq!(page.field("content-type"), Some(kind), "{page:?}");
    assert!(page.text().contains(wanted), "{wanted:?} in {}", page.text());
}

#[test]
fn h1_and_h2_the_page_is_html_and_counts_six() {
    let six = Six::with("");
    expect(&six.page(""), "text/html", "Check upstream server number: 6");
    expect(&six.page("?format=html"), "text/html", "Check upstream server number: 6");
}

#[test]
fn h3_and_h5_csv_is_plain_text() {
    let six = Six::with("");
    expect(&six.page("?format=csv"), "text/plain", &six.good.address());
    assert_eq!(six.page("?format=csv").text().lines().count(), 6);
}

#[test]
fn h4_and_h6_json_counts_six() {
    let six = Six::with("");
    let page = six.page("?format=json");
    expect(&page, "application/json", "\"total\": 6,");
    let page: Value = serde_json::from_str(&page.text()).unwrap();
    assert_eq!(page["servers"]["server"].as_array().map(Vec::len), Some(6), "{page}");
}

#[test]
fn h7_and_h8_a_format_that_nobody_knows_is_the_usual_one() {
    let six = Six::with("");
    for query in ["?format=htm", "?format=", "?format", "?FORMAT=csv", "?x=y"] {
        expect(&six.page(query), "text/html", "Check upstream server number: 6");
    }
}

#[test]
fn h9_csv_of_those_that_are_up_is_one_line() {
    let six = Six::judged();
    let text = six.page("?format=csv&status=up").text();
    assert_eq!(text.lines().count(), 1, "{text:?}");
    let (start, end) = (format!("0,app,{},up,", six.good.address()), ",0,http,0\n");
    assert!(text.starts_with(&start) && text.ends_with(end), "{text:?}");
}

#[test]
fn h10_json_of_those_that_are_down_is_five() {
    let six = Six::judged();
    let page = six.page("?format=json&status=down");
    expect(&page, "application/json", "\"total\": 5,");
    expect(&page, "application/json", "\"down\": 5,");
}

#[test]
fn h11_html_of_those_that_are_up_is_one() {
    let six = Six::judged();
    expect(&six.page("?format=html&status=up"), "text/html", "server number: 1,");
    let whole = six.page("?format=html").text();
    assert_eq!(whole.matches("<tr bgcolor=\"#FF0000\">").count(), 5, "{whole}");
}

#[test]
fn h12_a_status_that_nobody_knows_is_all_of_them() {
    let six = Six::judged();
    expect(&six.page("?format=html&status=foo"), "text/html", "server number: 6,");
}

#[test]
fn h13_keepalive_requests_change_nothing_on_the_page() {
    let six = Six::with("check_keepalive_requests 10;");
    expect(&six.page("?format=html"), "text/html", "server number: 6,");
}

#[test]
fn the_prometheus_format_is_tengines() {
    let six = Six::judged();
    let page = six.page("?format=prometheus");
    expect(&page, "text/plain", "\nnginx_upstream_count_up 1\n");
    expect(&page, "text/plain", "\nnginx_upstream_count_down 5\n");
    let active = format!(
        "\nnginx_upstream_server_active{{index=\"0\",upstream=\"app\",name=\"{}\",\
         type=\"http\",port=\"0\"}} 1\n",
        six.good.address()
    );
    expect(&page, "text/plain", &active);
}

#[test]
fn without_a_check_anywhere_the_page_is_500_and_other_methods_are_405() {
    let good = Origin::named("good");
    let edge = Edge::to(&[&good]).start();
    assert_eq!(edge.call("GET", "/status", "").status(), 500);
    edge.post("app", &format!("server {}; check type=tcp;", good.address()));
    assert_eq!(edge.call("GET", "/status", "").status(), 200);
    for method in ["PUT", "DELETE", "PATCH"] {
        assert_eq!(edge.call(method, "/status", "").status(), 405, "{method}");
    }
}

/// A name is anything that a path can hold; none may break the page open.
#[test]
fn names_cannot_forge_lines_of_the_page() {
    let good = Origin::named("good");
    let edge = Edge::new().start();
    let body = format!("server {}; check type=tcp;", good.address());
    for name in ["%3Cscript%3Ealert(1)%3C%2Fscript%3E", "a%22%2Cb", "a%2C127.0.0.1%3A1%2Cup"] {
        // A name may be refused; what is taken must not do harm.
        edge.call("POST", &format!("/upstream/{name}"), &body);
    }
    edge.post("fine", &body);
    let html = page(&edge, "").text();
    assert!(!html.contains("<script>"), "{html}");
    let json: Value = serde_json::from_str(&page(&edge, "?format=json").text()).unwrap();
    let total = json["servers"]["total"].as_u64().unwrap();
    let csv = page(&edge, "?format=csv").text();
    assert_eq!(csv.lines().count() as u64, total, "{csv}");
    for line in csv.lines().filter(|line| !line.contains('"')) {
        assert_eq!(line.split(',').count(), 8, "{line}");
    }
}

/// Sends a target as it is, byte for byte; the status, or `None` when the connection just ended.
pub fn raw_status(edge: &Edge, target: &[u8]) -> Option<u16> {
    let mut socket = Socket::connect(edge.admin());
    let head = [b"GET ", target, b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"];
    // It may answer and close before it has read everything.
    let _ = socket.try_send(head.concat());
    socket.response().ok().map(|answer| answer.status())
}

/// Targets that only somebody with bad intentions sends, each with its name.
pub fn hostile_targets(path: &str) -> Vec<(&'static str, Vec<u8>)> {
    let target = |query: Vec<u8>| [path.as_bytes(), b"?", &query].concat();
    vec![
        ("a megabyte", target(vec![b'x'; 1_000_000])),
        ("100,000 parameters", target(b"a=b&".repeat(100_000))),
        ("60 KB of one value", target([b"format=".to_vec(), vec![b'x'; 60_000]].concat())),
        // As much as a head may hold.
        ("one long value", target([b"format=".to_vec(), vec![b'x'; 14_000]].concat())),
        ("14,000 nameless parameters", target(vec![b'&'; 14_000])),
        ("3,500 unknown parameters", target(b"a=b&".repeat(3_500))),
        ("1,700 known parameters", target(b"host=x&path=/&status=up&".repeat(580))),
        ("4,600 escapes", target([b"format=".to_vec(), b"%41".repeat(4_600)].concat())),
        ("broken escapes", target(b"format=%&status=%f&host=%zz&path=%%%".to_vec())),
        ("escapes that are no UTF-8", target(b"format=%ff%fe&status=%c3%28&host=%ff".to_vec())),
        ("bytes that are no UTF-8", target(b"format=\xff\xfe&status=\x80".to_vec())),
        (
            "NULs and line ends",
            target(b"format=%00&host=a%0d%0aX:1&path=/%0a&header=a:%0d".to_vec()),
        ),
        (
            "another start",
            [b"/", path.as_bytes(), b"/..", path.as_bytes(), b"?format=csv"].concat(),
        ),
    ]
}

#[test]
fn strange_questions_are_answered_or_refused_and_hurt_nobody() {
    let six = Six::judged();
    for (what, target) in hostile_targets("/status") {
        let status = raw_status(&six.edge, &target);
        let is_fine = status.is_none_or(|status| (200..500).contains(&status));
        assert!(is_fine, "{what}: {status:?}");
    }
    assert_eq!(rows(&six.edge).len(), 6);
    let panics = six.edge.metric("tidegate_panics_total").unwrap_or(0.0);
    assert_eq!(panics as u64, 0, "{}", six.edge.log());
}
