//! What is said about requests: the way they take, and why each server could serve or not.

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_model::{
    Action, HostPattern, Name, PathPattern, Route, Template, UpstreamSpec,
    route::{Conditions, FieldEdits, Portion, Redirect, Respond, Rewrite, Split, ValuePattern},
    upstream::{HashKey, Sticky},
};
use tidegate_table::Pool;

use crate::kit::{Site, body, code, header, probe};

fn route(path: &str, upstream: &str) -> Route {
    Route {
        label: path.into(),
        listeners: Vec::new(),
        hosts: Vec::new(),
        path: PathPattern::parse(path).expect("a path"),
        conditions: Conditions::default(),
        action: Action::Upstream(template(upstream)),
        upstream_in: Vec::new(),
        fallback: None,
        rewrite: None,
        request_headers: Arc::default(),
        response_headers: Arc::default(),
        upgrade: Vec::new(),
        max_body: None,
        allow_encoded_slash: false,
        policy: None,
    }
}

fn template(text: &str) -> Template {
    Template::parse(text).expect("a template")
}

/// Everything to one pool.
fn to(upstream: &str) -> Vec<Route> {
    vec![route("/", upstream)]
}

async fn explain(site: &Site, query: &str) -> Value {
    let answer = site.get(&format!("/api/v1/explain{query}")).await;
    assert_eq!(code(&answer), "200", "{answer}");
    assert_eq!(header(&answer, "Content-Type"), Some("application/json"));
    serde_json::from_str(body(&answer)).expect("JSON")
}

/// What is said of each server: whether it is eligible, and why.
fn said(explained: &Value) -> Vec<(bool, &str)> {
    let candidates = explained["candidates"].as_array().expect("a list");
    let reason = |one: usize| candidates[one]["reason"].as_str().expect("a sentence");
    let one = |at: usize| (candidates[at]["eligible"] == true, reason(at));
    (0..candidates.len()).map(one).collect()
}

fn fail(pool: &Pool, at: usize) {
    pool.servers[at].state.failed(&pool.servers[at].spec, 900);
}

#[tokio::test]
async fn routes_are_walked_until_one_matches() {
    let routes = vec![
        Route { listeners: vec!["inner".into()], ..route("/", "a") },
        Route { hosts: HostPattern::parse("b.example").into_iter().collect(), ..route("/", "a") },
        route("/x/", "a"),
        Route { label: "last".into(), ..route("/y/", "${cookie:gray|a}") },
        route("/", "never"),
    ];
    let site = Site::routing(&[("a", "server 10.0.0.1;"), ("b", "server 10.0.0.2;")], routes);
    let explained = explain(&site, "?path=/x/../%2579%252f/&host=A.example:81&cookie=gray=b").await;
    assert_eq!(
        explained["routes"],
        json!([
            {"route": "/", "matches": false, "because": "listener"},
            {"route": "/", "matches": false, "because": "host"},
            {"route": "/x/", "matches": false, "because": "path"},
            {"route": "last", "matches": true},
        ])
    );
    assert_eq!(explained["decision"]["status"], 400, "an encoded slash: {explained}");
    let explained = explain(&site, "?path=/y/&host=A.example:81&cookie=gray=b&query=q%3D1").await;
    assert_eq!(
        explained["request"],
        json!({"listener": "edge", "client": "127.0.0.1", "scheme": "http", "method": "GET",
               "host": "a.example", "path": "/y/", "query": "q=1"})
    );
    assert_eq!(
        explained["route"],
        json!({"label": "last", "template": "${cookie:gray|a}", "upstream": "b",
               "fallback_used": false})
    );
    assert_eq!(explained["pool"]["name"], "b");
    assert_eq!(explain(&site, "?path=/z").await["decision"]["status"], 502);
    site.stop().await;
    let empty = Site::routing(&[], Vec::new());
    assert_eq!(
        explain(&empty, "").await["decision"],
        json!({"status": 404, "because": "no route matches"})
    );
    empty.stop().await;
}

fn asking(name: &str, value: &str) -> Conditions {
    let value = ValuePattern::parse(value).expect("a value");
    Conditions { headers: vec![(name.into(), value)], ..Conditions::default() }
}

#[tokio::test]
async fn what_a_route_asks_for_and_does_is_told() {
    let edits = FieldEdits {
        set: vec![
            ("X-Real-Ip".into(), template("${client_ip}")),
            ("Authorization".into(), template("Basic s3cret")),
        ],
        remove: vec!["x-debug".into()],
        ..FieldEdits::default()
    };
    let portion = |name: &str, weight| Portion { upstream: template(name), weight };
    let split = Split {
        key: HashKey::parse("cookie:uid").expect("a key"),
        to: vec![portion("a", 0), portion("b", 1)],
    };
    let respond = Respond { status: 503, body: Arc::default(), headers: Vec::new() };
    let redirect = Redirect { status: 308, location: template("https://${host}${path}") };
    let routes = vec![
        Route { conditions: asking("x-token", "s3cret"), ..route("/", "a") },
        Route {
            conditions: Conditions { methods: vec!["PUT".into()], ..asking("x-env", "~ ^g") },
            rewrite: Some(Rewrite::Strip("/api".into())),
            request_headers: Arc::new(edits),
            ..route("/api/", "a")
        },
        Route { action: Action::Split(split), ..route("/split", "") },
        Route { action: Action::Respond(respond), ..route("/closed", "") },
        Route { action: Action::Redirect(redirect), ..route("/old", "") },
    ];
    let site = Site::routing(&[("a", "server 10.0.0.1;"), ("b", "server 10.0.0.2;")], routes);
    let explained = explain(&site, "?path=/api/%2520x&method=PUT&header=X-Env:gray").await;
    assert_eq!(explained["routes"][0]["because"], "header x-token");
    assert_eq!(
        explained["route"],
        json!({"label": "/api/", "asks": {"method": ["PUT"], "header": {"x-env": "~ ^g"}},
               "template": "a", "upstream": "a", "fallback_used": false, "rewritten": "/%20x",
               "request_headers": {"set": {"X-Real-Ip": "${client_ip}",
                                           "Authorization": "(hidden)"},
                                   "remove": ["x-debug"]}})
    );
    let because = |explained: &Value| explained["routes"][1]["because"].clone();
    assert_eq!(because(&explain(&site, "?path=/api/x&method=PUT").await), "header x-env");
    assert_eq!(because(&explain(&site, "?path=/api/x").await), "method");
    let hidden = explain(&site, "?header=x-token:s3cret").await;
    assert_eq!(hidden["route"]["asks"]["header"]["x-token"], "(hidden)");
    let explained = explain(&site, "?path=/split&cookie=uid=7").await;
    let split = &explained["route"]["split"];
    assert_eq!((&split["key"], &split["value"]), (&json!("cookie:uid"), &json!("7")));
    assert!(split["place"].as_f64().is_some_and(|place| (0.0..=1.0).contains(&place)), "{split}");
    assert_eq!(split["to"][1], json!({"upstream": "b", "weight": 1, "chosen": true}));
    assert_eq!(explained["pool"]["name"], "b");
    let explained = explain(&site, "?path=/closed").await;
    assert_eq!(
        explained["decision"],
        json!({"status": 503, "because": "the route says so: respond"})
    );
    let explained = explain(&site, "?path=/old/a%2520b&host=H.example:81").await;
    assert_eq!(
        explained["route"],
        json!({"label": "/old", "fallback_used": false,
               "answer": {"status": 308, "location": "https://h.example/old/a%20b"}})
    );
    site.stop().await;
}

#[tokio::test]
async fn a_fallback_steps_in_for_a_pool_that_is_not_there_or_cannot_serve() {
    let fallback = |upstream, name: &str| Route {
        fallback: Some(Name::new(name).expect("a name")),
        ..route("/", upstream)
    };
    let pools = [("a", "server 10.0.0.1;"), ("off", "server 10.0.0.2 down;")];
    for (upstream, name, used, because, decision) in [
        ("a", "off", false, None, "any of the 1 eligible by round_robin"),
        (
            "nope",
            "a",
            true,
            Some("there is no pool \"nope\""),
            "any of the 1 eligible by round_robin",
        ),
        ("off", "a", true, Some("nobody in off can serve"), "any of the 1 eligible by round_robin"),
        (
            "off",
            "nope",
            false,
            Some("nobody in off can serve"),
            "the pool has no server that takes requests",
        ),
        (
            "x",
            "y",
            false,
            Some("there is no pool \"x\""),
            "there is no pool \"x\", nor is there the fallback \"y\"",
        ),
    ] {
        let site = Site::routing(&pools, vec![fallback(upstream, name)]);
        let explained = explain(&site, "").await;
        assert_eq!(explained["route"]["fallback_used"], used, "{explained}");
        assert_eq!(explained["route"]["fallback_because"].as_str(), because);
        assert_eq!(explained["decision"]["because"], decision);
        site.stop().await;
    }
    let limited = Route { upstream_in: vec!["Web_*".into()], ..route("/", "${header:x-pool}") };
    let site = Site::routing(&pools, vec![limited]);
    let explained = explain(&site, "?header=X-Pool:%20a").await;
    assert_eq!(
        explained["decision"]["because"],
        "the route may not name \"a\" (upstream_in), and the route has no fallback"
    );
    site.stop().await;
}

#[tokio::test]
async fn every_server_has_its_reason() {
    let servers = "server 10.0.0.1 max_conns=1; server 10.0.0.2 down; server 10.0.0.3; \
                   server 10.0.0.4; server 10.0.0.5 backup; server 10.0.0.6 fail_timeout=20;";
    let site = Site::routing(
        &[("a", &format!("{servers} check rise=2 fall=2 type=tcp default_down=false;"))],
        to("a"),
    );
    let pool = site.pool("a");
    let held = pool.servers[0].state.lease(1).expect("a place").into_tunnel();
    probe(&pool, &pool.servers[2], &[false, false, false]);
    pool.servers[3].state.latency.observe(1_500, 900);
    fail(&pool, 5);
    let explained = explain(&site, "").await;
    assert_eq!(
        said(&explained),
        [
            (false, "at max_conns 1"),
            (false, "down: somebody set it so"),
            (false, "its check says: connection refused (3 in a row)"),
            (true, "up"),
            (false, "a backup: primaries are eligible"),
            (false, "failed 1 of max_fails 1, again 20s after the last"),
        ]
    );
    assert_eq!(
        explained["candidates"][0],
        json!({"server": "10.0.0.1", "address": "10.0.0.1", "target": "10.0.0.1:80", "weight": 1,
               "backup": false, "tier": "primary", "state": "up", "requests_active": 0,
               "tunnels_active": 1, "max_conns": 1, "ewma_ms": null, "fails": 0,
               "eligible": false, "reason": "at max_conns 1"})
    );
    assert_eq!(explained["candidates"][2]["state"], "unhealthy");
    assert_eq!(explained["candidates"][3]["ewma_ms"], 1.5);
    assert_eq!(explained["decision"], json!({"because": "any of the 1 eligible by round_robin"}));
    drop(held);
    site.stop().await;
}

#[tokio::test]
async fn backups_serve_once_no_primary_can_and_then_whoever_ails() {
    let check = "check rise=2 fall=2 type=tcp;";
    let site = Site::routing(
        &[("a", &format!("server 10.0.0.1; server 10.0.0.2 backup; {check}"))],
        to("a"),
    );
    let pool = site.pool("a");
    probe(&pool, &pool.servers[0], &[true]);
    probe(&pool, &pool.servers[1], &[true, true]);
    let explained = explain(&site, "").await;
    assert_eq!(said(&explained), [(false, "checking: 1 of 2 probes passed"), (true, "up")]);
    probe(&pool, &pool.servers[1], &[false, false]);
    let explained = explain(&site, "").await;
    assert_eq!(explained["pool"]["when_all_down"], "fail");
    assert_eq!(
        explained["decision"],
        json!({"status": 502, "because": "every server that takes requests is out or at its limit"})
    );
    site.stop().await;
    let site = Site::routing(&[("a", "server 10.0.0.1; server 10.0.0.2;")], to("a"));
    let pool = site.pool("a");
    (0..2).for_each(|at| fail(&pool, at));
    let explained = explain(&site, "").await;
    let reason =
        "failed 1 of max_fails 1, again 10s after the last; asked all the same, for nobody is well";
    assert_eq!(said(&explained), [(true, reason), (true, reason)]);
    site.stop().await;
}

#[tokio::test]
async fn who_is_chosen_by_the_request_is_named() {
    let servers = "server 10.0.0.1; server 10.0.0.2; server 10.0.0.3;";
    let site = Site::routing(&[("a", &format!("ip_hash; {servers}"))], to("a"));
    let pool = site.pool("a");
    let first = explain(&site, "?client=203.0.113.9").await;
    let chosen = first["decision"]["server"].as_str().expect("a server").to_owned();
    assert_eq!(first["decision"]["because"], "by ip_hash");
    assert_eq!(explain(&site, "?client=203.0.113.200").await["decision"]["server"], chosen);
    assert!(pool.servers.iter().all(|server| server.state.busy() == 0), "no place is kept");
    let at = pool.servers.iter().position(|server| **server.state.label() == *chosen);
    fail(&pool, at.expect("it is one of them"));
    let other = explain(&site, "?client=203.0.113.9").await;
    assert!(other["decision"]["server"].is_string(), "{other}");
    assert_ne!(other["decision"]["server"], chosen);
    site.stop().await;
}

#[tokio::test]
async fn a_hash_key_is_shown_with_its_value() {
    let servers = "server 10.0.0.1; server 10.0.0.2; server 10.0.0.3;";
    let body = format!("hash $http_x_user consistent; {servers}");
    let site = Site::routing(&[("a", &body)], to("a"));
    let explained = explain(&site, "?header=X-User:%207").await;
    assert_eq!(explained["pool"]["hash_key"], "header:x-user");
    assert_eq!(explained["pool"]["hash_value"], "7");
    assert!(explained["decision"]["server"].is_string(), "{explained}");
    assert_eq!(explained["decision"]["because"], "by hash of header:x-user \"7\"");
    let without = explain(&site, "").await;
    assert_eq!(
        without["decision"]["because"],
        "any of the 3 eligible by round_robin, for hash has no key in this request"
    );
    site.stop().await;
}

#[tokio::test]
async fn a_cookie_names_its_server_as_long_as_that_can_serve() {
    let sticky = Sticky { cookie: "route".into(), max_age: None };
    let defaults = UpstreamSpec { sticky: Some(sticky), ..UpstreamSpec::default() };
    let servers = "server 10.0.0.1; server 10.0.0.2;";
    let site = Site::defaulting(&[("a", servers)], to("a"), defaults);
    let pool = site.pool("a");
    let query = format!("?cookie=route={:016x}", pool.servers[1].token());
    let explained = explain(&site, &query).await;
    assert_eq!(explained["pool"]["sticky"], json!({"cookie": "route", "server": "10.0.0.2"}));
    assert_eq!(
        explained["decision"],
        json!({"server": "10.0.0.2", "because": "its cookie names it"})
    );
    fail(&pool, 1);
    let explained = explain(&site, &query).await;
    assert_eq!(explained["decision"]["server"], Value::Null);
    let unknown = explain(&site, "?cookie=route=zz").await;
    assert_eq!(unknown["pool"]["sticky"], json!({"cookie": "route", "server": null}));
    site.stop().await;
}

#[tokio::test]
async fn ejections_slow_starts_and_loneliness_are_told() {
    let servers = "server 10.0.0.1; server 10.0.0.2 slow_start=100s;";
    let body = format!("{servers} check rise=1 fall=1 type=tcp default_down=false;");
    let site = Site::routing(
        &[("a", &body), ("one", "server 10.0.0.3;")],
        vec![route("/one", "one"), route("/", "a")],
    );
    let pool = site.pool("a");
    pool.eject(&pool.servers[0], 1_000).expect("it is the first");
    probe(&pool, &pool.servers[1], &[false, true]);
    let explained = explain(&site, "").await;
    assert_eq!(
        said(&explained),
        [(false, "ejected for its answers"), (true, "up, starting slowly: at 1 %")]
    );
    assert_eq!(explained["candidates"][0]["state"], "ejected");
    assert_eq!(explained["candidates"][1]["slow_start"], 0.007_812_5);
    fail(&site.pool("one"), 0);
    let alone = "up: it failed 1 of max_fails 1, but is alone in its pool";
    assert_eq!(said(&explain(&site, "?path=/one").await), [(true, alone)]);
    site.stop().await;
}

#[tokio::test]
async fn nobody_is_picked_who_waits_for_one_request() {
    let servers = "server 10.0.0.1 fail_timeout=0; server 10.0.0.2;";
    let site = Site::routing(&[("a", &format!("ip_hash; {servers}"))], to("a"));
    let pool = site.pool("a");
    fail(&pool, 0);
    let explained = explain(&site, "").await;
    let probation = "up: its fail_timeout is over, one request is to show whether it is well";
    assert_eq!(said(&explained)[0], (true, probation));
    assert_eq!(explained["decision"]["server"], Value::Null);
    site.stop().await;
}

#[tokio::test]
async fn bad_questions_are_refused_with_all_their_faults() {
    let site = Site::routing(&[("a", "server 10.0.0.1;")], to("a"));
    for (query, field) in [
        ("?listener=nope", "listener"),
        ("?path=/..", "path"),
        ("?path=/a%0d%0aX:y", "path"),
        ("?header=x", "header"),
        ("?client=1.2.3", "client"),
        ("?nope=1", "nope"),
    ] {
        let answer = site.get(&format!("/api/v1/explain{query}")).await;
        assert_eq!(code(&answer), "400", "{query}");
        assert_eq!(header(&answer, "Content-Type"), Some("application/problem+json"));
        let problem: Value = serde_json::from_str(body(&answer)).expect("JSON");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    site.stop().await;
}
