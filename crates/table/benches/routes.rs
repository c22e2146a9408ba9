//! What a request pays to find its route, by the number of hosts.

use std::{hint::black_box, sync::Arc};

use divan::Bencher;
use tidegate_model::{
    Action, HostPattern, PathPattern, Route, Template,
    route::{Conditions, ValuePattern},
};
use tidegate_table::{Request, Routes};
use tidegate_wire::judge_request;

fn main() {
    divan::main();
}

const HOSTS: [usize; 4] = [1, 100, 10_000, 100_000];

fn route(host: Option<&str>) -> Route {
    Route {
        label: String::new(),
        listeners: Vec::new(),
        hosts: host.map(|text| HostPattern::parse(text).expect("a host")).into_iter().collect(),
        path: PathPattern::Prefix("/".into()),
        conditions: Conditions::default(),
        action: Action::Upstream(Template::parse("app").expect("a template")),
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

/// Finds the route of a browser's request to that host.
fn find(bencher: Bencher, routes: Vec<Route>, host: &str) {
    let routes = Routes::new(routes);
    let head = format!(
        "GET /a/b HTTP/1.1\r\nHost: {host}\r\nUser-Agent: x\r\nAccept: */*\r\nCookie: a=1; uid=7\r\n\r\n"
    );
    let mut storage = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Request::new(&mut storage);
    assert!(parsed.parse(head.as_bytes()).expect("it parses").is_complete());
    let facts = judge_request(&parsed).expect("it is sound");
    let request = Request {
        listener: "edge",
        host: facts.host,
        path: facts.path,
        facts: &facts,
        headers: parsed.headers,
    };
    assert!(routes.find(&request).is_some());
    bencher.bench_local(|| black_box(routes.find(black_box(&request))).is_some());
}

/// One route for everything: what the plain path pays.
#[divan::bench]
fn any_host(bencher: Bencher) {
    find(bencher, vec![route(None)], "www.example.com");
}

#[divan::bench(args = HOSTS)]
fn exact_host(bencher: Bencher, hosts: usize) {
    let names = (0..hosts).map(|at| route(Some(&format!("www{at}.example.com"))));
    find(bencher, names.collect(), &format!("www{}.example.com", hosts - 1));
}

#[divan::bench(args = HOSTS)]
fn wildcard_host(bencher: Bencher, hosts: usize) {
    let names = (0..hosts).map(|at| route(Some(&format!("*.shop{at}.example.com"))));
    find(bencher, names.collect(), &format!("eu.www.shop{}.example.com", hosts - 1));
}

/// The host has ten routes for clients with other cookies before its own.
#[divan::bench(args = HOSTS)]
fn exact_host_behind_conditions(bencher: Bencher, hosts: usize) {
    let name = |at: usize| format!("www{}.example.com", at / 10);
    let gray = |at: usize| {
        let value = ValuePattern::parse(&format!("~ ^gray-{at}$")).expect("a value");
        let cookies = vec![("a".to_owned(), value)];
        Route {
            conditions: Conditions { cookies, ..Conditions::default() },
            ..route(Some(&name(at)))
        }
    };
    let hosts = hosts.min(1_000) * 10;
    let last = format!("www{}.example.com", (hosts - 1) / 10);
    let routes = (0..hosts).map(gray).chain([route(Some(&last))]).collect();
    find(bencher, routes, &last);
}

#[divan::bench(args = HOSTS, sample_count = 10, sample_size = 1)]
fn build(bencher: Bencher, hosts: usize) {
    let names = || (0..hosts).map(|at| route(Some(&format!("www{at}.example.com")))).collect();
    bencher.with_inputs(names).bench_values(|routes: Vec<Route>| Routes::new(routes));
}
