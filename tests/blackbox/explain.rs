//! `GET /api/v1/explain`: what it says of a request has to be what becomes of that request. So every
//! answer here is held against the proxy itself.

use std::time::Duration;

use serde_json::Value;

use crate::{
    checks::{Answers, Patient, ask, hostile_targets, raw_status, wait_until_down},
    kit::{Edge, Gate, Message, Origin, eventually},
    pools::holding,
};

/// What is said of a request, which has to be answered 200.
#[track_caller]
fn explain(edge: &Edge, query: &str) -> Value {
    let answer = edge.call("GET", &format!("/api/v1/explain{query}"), "");
    assert_eq!(answer.status(), 200, "{query}: {answer:?}");
    assert_eq!(answer.field("content-type"), Some("application/json"));
    serde_json::from_str(&answer.text()).unwrap()
}

/// Whether a server is eligible, and why or why not.
#[track_caller]
fn candidate(said: &Value, origin: &Origin) -> (bool, String) {
    let all = said["candidates"].as_array().expect("a list");
    let one = all.iter().find(|one| one["address"] == origin.address());
    let one = one.unwrap_or_else(|| panic!("{} in {said}", origin.address()));
    (one["eligible"] == true, one["reason"].as_str().unwrap().to_owned())
}

#[track_caller]
fn expect(said: &Value, origin: &Origin, is_eligible: bool, why: &str) {
    let (eligible, reason) = candidate(said, origin);
    assert!(eligible == is_eligible && reason.contains(why), "{why:?}, {is_eligible}: {said}");
}

/// One request with these header lines, each with its line end.
fn send(edge: &Edge, host: &str, path: &str, lines: &str) -> Message {
    edge.client()
        .ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}Connection: close\r\n\r\n"))
}

#[test]
fn routes_are_chosen_as_they_are_for_requests() {
    let pools = ["a", "b", "c", "d"].map(Origin::named);
    let edge = Edge::new()
        .route("host = \"x.example\"\npath = \"/ws/\"\nupstream = \"a\"")
        .route("host = \"*.example\"\npath = \"= /exact\"\nupstream = \"b\"")
        .route("path = \"/app/\"\nupstream = \"Web_${cookie:gray|c}\"\nupstream_in = [\"Web_*\"]\nfallback = \"d\"")
        .pool("a", &[&pools[0]])
        .pool("b", &[&pools[1]])
        .pool("Web_c", &[&pools[2]])
        .pool("d", &[&pools[3]])
        .start();
    for (host, path, cookie, wanted) in [
        ("x.example", "/ws/1", "", "a"),
        ("X.Example:81", "/x/..//ws/1?q=1", "", "a"),
        ("y.example", "/ws/1", "", "404"),
        ("y.example", "/exact", "", "b"),
        ("y.example", "/exact/", "", "404"),
        ("z", "/app/", "", "c"),
        ("z", "/app/", "gray=c", "c"),
        ("z", "/app/", "gray=nobody", "d"),
        ("z", "/app/", "gray=/../a", "d"),
        ("z", "/app/%2f", "", "400"),
        ("z", "/", "", "404"),
    ] {
        let lines = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
        let answer = send(&edge, host, path, &lines);
        let came = if answer.status() == 200 { answer.text() } else { answer.status().to_string() };
        assert_eq!(came, wanted, "{host}{path} {cookie}");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let escaped = path.replace('%', "%25");
        let more = if cookie.is_empty() { String::new() } else { format!("&cookie={cookie}") };
        let said = explain(&edge, &format!("?host={host}&path={escaped}&query={query}{more}"));
        match said["decision"]["status"].as_u64() {
            Some(status) => assert_eq!(status.to_string(), wanted, "{said}"),
            None => {
                let pool = said["pool"]["name"].as_str().unwrap();
                assert_eq!(pool.trim_start_matches("Web_"), wanted, "{said}");
            }
        }
    }
}

#[test]
fn what_does_not_match_is_named() {
    let origin = Origin::named("app");
    let edge = Edge::new()
        .route("listener = \"other\"\nupstream = \"app\"")
        .route("host = \"a.example\"\nupstream = \"app\"")
        .route("path = \"/b/\"\nupstream = \"app\"")
        .toml("[[listener]]\nname = \"other\"\naddress = \"127.0.0.1:0\"")
        .pool("app", &[&origin])
        .expect_listener("other")
        .start();
    let because = |query: &str| -> Vec<Option<String>> {
        let said = explain(&edge, query);
        let routes = said["routes"].as_array().unwrap();
        routes.iter().map(|route| route["because"].as_str().map(str::to_owned)).collect()
    };
    let words = |words: &[&str]| -> Vec<Option<String>> {
        words.iter().map(|word| (!word.is_empty()).then(|| (*word).to_owned())).collect()
    };
    assert_eq!(because("?host=x"), words(&["listener", "host", "path"]));
    assert_eq!(because("?host=a.example"), words(&["listener", ""]));
    assert_eq!(because("?listener=other"), words(&[""]));
}

#[test]
fn why_a_candidate_is_not_eligible() {
    let (well, down, drained, spare) = (
        Origin::named("well"),
        Origin::named("down"),
        Origin::named("drained"),
        Origin::named("spare"),
    );
    let (failed, gate) = (Origin::closing(), Gate::default());
    let full = holding("full", &gate);
    let servers = [
        (&well, ""),
        (&down, ", down = true"),
        (&drained, ", weight = 0"),
        (&failed, ", fail_timeout = \"1h\", max_fails = 1"),
        (&full, ", max_conns = 1"),
        (&spare, ", backup = true"),
    ];
    let edge = Edge::new().route("upstream = \"app\"").pool_of("app", &servers, "").start();
    // One request stays with the server that takes one; another meets the one that fails.
    let mut held = Vec::new();
    eventually("each has had its turn", || {
        let before = full.count();
        let mut client = edge.client();
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        eventually("an answer, or none for now", || {
            full.count() > before || !client.is_quiet_for(Duration::from_millis(5))
        });
        held.push(client);
        full.count() > 0 && failed.count() > 0
    });
    let said = explain(&edge, "");
    expect(&said, &well, true, "up");
    expect(&said, &down, false, "down: somebody set it so");
    expect(&said, &drained, false, "weight is 0");
    expect(&said, &failed, false, "failed 1 of max_fails 1, again 1h after the last");
    expect(&said, &full, false, "at max_conns 1");
    expect(&said, &spare, false, "a backup: primaries are eligible");
    assert_eq!(said["decision"]["because"], "any of the 1 eligible by round_robin");
    (0..6).for_each(|_| assert_eq!(ask(&edge).text(), "well"));
    gate.open();
}

#[test]
fn a_check_is_quoted() {
    let (sick, waiting, well) =
        (Patient::new("sick"), Patient::new("waiting"), Origin::named("well"));
    sick.ping(Answers::Status(501));
    waiting.ping(Answers::Never);
    let edge = Edge::new().start();
    let check = "check interval=100 rise=2 fall=1 timeout=5000 type=http";
    let send = "check_http_send \"GET /ping HTTP/1.0\\r\\n\\r\\n\";";
    edge.post(
        "app",
        &format!(
            "server {}; server {}; {check} default_down=false; {send}",
            sick.origin.address(),
            well.address()
        ),
    );
    edge.post(
        "other",
        &format!("server {}; {check} default_down=true; {send}", waiting.origin.address()),
    );
    wait_until_down(&edge, &sick.origin);
    let said = explain(&edge, "?host=app");
    expect(&said, &sick.origin, false, "its check says: status 501 is not expected");
    expect(&said, &well, true, "up");
    let said = explain(&edge, "?host=other");
    expect(&said, &waiting.origin, false, "checking: 0 of 2 probes passed");
    assert_eq!(said["decision"]["status"], 502, "{said}");
    assert_eq!(edge.get("other", "/").status(), 502);
}

#[test]
fn when_nobody_is_well_it_says_who_is_asked_all_the_same() {
    let (one, two) = (Patient::new("one"), Patient::new("two"));
    for (keys, eligible) in
        [("when_all_down = \"try_all\"", true), ("when_all_down = \"fail\"", false)]
    {
        [&one, &two].iter().for_each(|patient| patient.ping(Answers::Status(500)));
        let edge = Edge::new()
            .route("upstream = \"app\"")
            .pool_of("app", &[(&one.origin, ""), (&two.origin, "")], keys)
            .toml("[upstream.app.check]\npath = \"/ping\"\ninterval = \"100ms\"\nfall = 1")
            .start();
        wait_until_down(&edge, &one.origin);
        wait_until_down(&edge, &two.origin);
        let said = explain(&edge, "");
        let why = if eligible { "asked all the same, for nobody is well" } else { "status 500" };
        expect(&said, &one.origin, eligible, why);
        assert_eq!(said["decision"]["status"].as_u64(), (!eligible).then_some(502), "{said}");
        assert_eq!(ask(&edge).status(), if eligible { 200 } else { 502 });
    }
}

/// Five servers balanced by something that the request decides.
fn five(keys: &str) -> (Vec<Origin>, Edge) {
    let origins: Vec<Origin> = ["0", "1", "2", "3", "4"].map(Origin::named).into();
    let servers: Vec<(&Origin, &str)> =
        origins.iter().zip(["", ", weight = 3", "", ", weight = 2", ""]).collect();
    let edge = Edge::new().route("upstream = \"app\"").pool_of("app", &servers, keys).start();
    (origins, edge)
}

/// The name of the server that a decision is for.
#[track_caller]
fn decided(said: &Value, origins: &[Origin]) -> String {
    let server = said["decision"]["server"].as_str().unwrap_or_else(|| panic!("none: {said}"));
    let at = origins.iter().position(|origin| origin.address() == server);
    at.unwrap_or_else(|| panic!("{server} of {said}")).to_string()
}

#[test]
fn a_hash_names_the_server_that_the_request_then_goes_to() {
    for balance in ["hash", "maglev"] {
        let keys = format!("balance = \"{balance}\"\nhash_key = \"header:x-user\"");
        let (origins, edge) = five(&keys);
        let mut seen = std::collections::BTreeSet::new();
        for user in 0..40 {
            let said = explain(&edge, &format!("?header=X-User:%20{user}"));
            assert_eq!(said["pool"]["hash_value"], user.to_string(), "{said}");
            let named = decided(&said, &origins);
            let came = send(&edge, "app", "/", &format!("X-User: {user}\r\n")).text();
            assert_eq!(came, named, "{balance} of {user}");
            seen.insert(came);
        }
        assert!(seen.len() > 1, "{balance}");
        let said = explain(&edge, "");
        assert_eq!(said["decision"]["server"], Value::Null, "without a key nobody knows: {said}");
    }
}

#[test]
fn the_hash_of_the_uri_is_of_the_target_as_it_is_sent() {
    let (origins, edge) = five("balance = \"hash\"\nhash_key = \"uri\"");
    for (path, asked) in [
        ("/a/b?x=1&y=%20", "path=/a/b&query=x%3D1%26y%3D%2520"),
        ("/%61/b", "path=/%2561/b"),
        ("/a//b/../c", "path=/a//b/../c"),
    ] {
        let named = decided(&explain(&edge, &format!("?{asked}")), &origins);
        assert_eq!(send(&edge, "app", path, "").text(), named, "{path}");
    }
}

#[test]
fn ip_hash_names_the_server_of_a_client() {
    let (origins, edge) = five("balance = \"ip_hash\"");
    for net in 1..20_u8 {
        let source = std::net::Ipv4Addr::new(127, 0, net, 2);
        let named = decided(&explain(&edge, &format!("?client={source}")), &origins);
        let mut client = crate::kit::Socket::connect_from(source.into(), edge.port("edge"));
        let came = client.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").text();
        assert_eq!(came, named, "{source}");
    }
}

#[test]
fn a_sticky_cookie_names_its_server_as_long_as_that_is_eligible() {
    let (one, two) = (Patient::new("one"), Patient::new("two"));
    let edge = Edge::new()
        .route("upstream = \"app\"")
        .pool_of("app", &[(&one.origin, ""), (&two.origin, "")], "sticky = { cookie = \"route\" }")
        .toml("[upstream.app.check]\npath = \"/ping\"\ninterval = \"100ms\"\nfall = 1")
        .start();
    for (patient, other) in [(&one, &two), (&two, &one)] {
        let (cookie, name) = eventually_of(&edge, &patient.origin);
        let said = explain(&edge, &format!("?cookie={}", cookie.replace('%', "%25")));
        assert_eq!(said["decision"]["server"], patient.origin.address(), "{said}");
        assert_eq!(said["decision"]["because"], "its cookie names it");
        let came = send(&edge, "app", "/", &format!("Cookie: {cookie}\r\n")).text();
        assert_eq!(came, name);
        patient.ping(Answers::Status(500));
        wait_until_down(&edge, &patient.origin);
        let said = explain(&edge, &format!("?cookie={}", cookie.replace('%', "%25")));
        assert_ne!(said["decision"]["because"], "its cookie names it", "{said}");
        assert_eq!(said["pool"]["sticky"]["server"], patient.origin.address(), "{said}");
        let came = send(&edge, "app", "/", &format!("Cookie: {cookie}\r\n")).text();
        assert_ne!(came, name);
        patient.ping(Answers::Well);
        crate::checks::wait_until_up(&edge, &patient.origin);
        assert!(explain(&edge, "")["candidates"].as_array().is_some_and(|all| all.len() == 2));
        assert!(other.asked() > 0);
    }
}

/// Asks until that server has set its cookie; the cookie and what the server calls itself.
#[track_caller]
fn eventually_of(edge: &Edge, origin: &Origin) -> (String, String) {
    let mut found = None;
    eventually("each server has its turn", || {
        let before = origin.count();
        let answer = ask(edge);
        let cookie = answer.field("set-cookie").and_then(|line| line.split(';').next());
        // A probe may come at the same moment: only the last request is looked at.
        let is_it = origin.count() > before && origin.last_request().head.target() == "/";
        found = cookie.filter(|_| is_it).map(|cookie| (cookie.to_owned(), answer.text()));
        found.is_some()
    });
    found.unwrap()
}

/// To ask is not to be: no turn is used up, nobody is leased, no server hears of it.
#[test]
fn a_question_changes_nothing() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let edge = Edge::to(&[&a, &b]).start();
    let first = ask(&edge).text();
    for round in 0..10 {
        for _ in 0..3 {
            let said = explain(&edge, "");
            assert_eq!(said["decision"]["because"], "any of the 2 eligible by round_robin");
        }
        let wanted = if (round % 2 == 0) == (first == "a") { "b" } else { "a" };
        assert_eq!(ask(&edge).text(), wanted, "round {round}");
    }
    assert_eq!(a.count() + b.count(), 11);
    let generation = explain(&edge, "")["generation"].as_f64();
    assert_eq!(generation, edge.metric("tidegate_generation "));
}

#[test]
fn a_question_with_faults_is_400_and_every_fault_is_named() {
    let edge = Edge::to(&[&Origin::named("a")]).start();
    for (query, fields) in [
        ("?client=localhost", vec!["client"]),
        ("?listener=nope&path=a%20b&method=G%20T", vec!["listener", "method", "path"]),
        ("?header=nocolon&header=a%20b:c&cookie=x", vec!["cookie", "header", "header"]),
        ("?hots=a", vec!["hots"]),
        ("?host=a&host=b", vec!["host"]),
        ("?header=Host:%20a", vec!["header"]),
        ("?header=a:b%0d%0aX:%20y", vec!["header"]),
        ("?path=/../..", vec!["path"]),
        ("?path=/a%2500", vec!["path"]),
    ] {
        let answer = edge.call("GET", &format!("/api/v1/explain{query}"), "");
        assert_eq!(answer.status(), 400, "{query}: {answer:?}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{query}");
        let problem: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(problem["status"], 400, "{problem}");
        let errors = problem["errors"].as_array().unwrap();
        let mut named: Vec<_> = errors.iter().map(|one| one["field"].as_str().unwrap()).collect();
        named.sort_unstable();
        assert_eq!(named, fields, "{query}: {problem}");
        assert!(errors.iter().all(|one| one["reason"].as_str().is_some_and(|why| !why.is_empty())));
    }
}

#[test]
fn other_methods_are_405() {
    let edge = Edge::to(&[&Origin::named("a")]).start();
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(edge.call(method, "/api/v1/explain", "{}").status(), 405, "{method}");
    }
}

#[test]
fn strange_questions_are_answered_or_refused_and_hurt_nobody() {
    let origin = Origin::named("a");
    let edge = Edge::to(&[&origin]).start();
    let mut targets = hostile_targets("/api/v1/explain");
    let many =
        |text: &str, times: usize| format!("/api/v1/explain?{}", text.repeat(times)).into_bytes();
    targets.extend([
        ("1,200 headers", many("header=a:b&", 1_200)),
        ("1,200 cookies", many("cookie=a=b&", 1_200)),
        ("2,000 hosts", many("host=a&", 2_000)),
        ("a deep path", many(&format!("path=/{}", "a/".repeat(7_000)), 1)),
        ("a path of dots", many(&format!("path=/{}", "../a/".repeat(2_800)), 1)),
        ("a path of escapes", many(&format!("path=/{}", "%252e/".repeat(2_300)), 1)),
    ]);
    let before = edge.resident();
    for (what, target) in &targets {
        let status = raw_status(&edge, target);
        let is_fine = status.is_none_or(|status| (200..500).contains(&status));
        assert!(is_fine, "{what}: {status:?}");
    }
    let grown = edge.resident().saturating_sub(before);
    assert!(grown < 100 * 1024 * 1024, "{grown} bytes");
    let panics = edge.metric("tidegate_panics_total").unwrap_or(0.0);
    assert_eq!(panics as u64, 0, "{}", edge.log());
    assert_eq!(ask(&edge).text(), "a");
}

/// An answer may not be far longer than its question.
#[test]
fn of_thousands_of_faults_not_all_are_told() {
    let edge = Edge::new().start();
    let nonsense = "a&".repeat(7_000);
    let answer = edge.call("GET", &format!("/api/v1/explain?{nonsense}"), "");
    assert_eq!(answer.status(), 400);
    let most = 4 * nonsense.len();
    assert!(answer.body.len() < most, "{} bytes for {}", answer.body.len(), nonsense.len());
}
