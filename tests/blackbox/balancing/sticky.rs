//! The sticky cookie: set once, honoured while its server can be had, replaced when it cannot, and
//! worth nothing to who makes one up.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::process::Signal;

use super::{METHODS, active, name, named};
use crate::{
    kit::{Edge, Gate, Message, Origin, Socket, eventually, named_reply},
    pools::pool,
    websocket::ASK,
};

const STICKY: &str = "sticky = { cookie = \"route\" }";

/// A client that keeps cookies as a browser does.
struct Browser {
    socket: Socket,
    cookie: Option<String>,
    /// How often it was given one.
    set: usize,
}

impl Browser {
    fn of(edge: &Edge) -> Self {
        Self { socket: edge.client(), cookie: None, set: 0 }
    }

    fn with(edge: &Edge, cookie: &str) -> Self {
        Self { cookie: Some(format!("route={cookie}")), ..Self::of(edge) }
    }

    /// Who answers.
    #[track_caller]
    fn ask(&mut self) -> String {
        let cookie = self.cookie.as_ref().map(|cookie| format!("Cookie: a=b; {cookie}; c=d\r\n"));
        let cookie = cookie.unwrap_or_default();
        let answer = self.socket.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{cookie}\r\n"));
        self.keep(&answer);
        name(&answer)
    }

    fn keep(&mut self, answer: &Message) {
        let set = answer.head.all("set-cookie").into_iter().find(|set| set.starts_with("route="));
        if let Some(set) = set {
            self.cookie = set.split(';').next().map(str::to_owned);
            self.set += 1;
        }
    }
}

/// The attributes of the cookie that a fresh client is given.
fn attributes(edge: &Edge) -> Vec<String> {
    let answer = edge.get("a", "/");
    let set = answer.head.all("set-cookie");
    assert_eq!(set.len(), 1, "{answer:?}");
    set[0].split("; ").map(str::to_owned).collect()
}

#[test]
fn the_cookie_is_for_every_path_and_no_script() {
    let [a, b] = named(["a", "b"]);
    let edge = pool(&[(&a, ""), (&b, "")], STICKY);
    let set = attributes(&edge);
    assert_eq!(set[1..], ["Path=/", "HttpOnly"], "until the browser closes");
    let value = set[0].strip_prefix("route=").unwrap();
    assert!(value.len() >= 16 && value.chars().all(|c| c.is_ascii_alphanumeric()), "{value:?}");
    let port = a.address().split(':').next_back().unwrap().to_owned();
    assert!(!value.contains(&port), "it tells nobody an address");
    let edge = pool(&[(&a, "")], "sticky = { cookie = \"route\", max_age = \"1h\" }");
    assert_eq!(attributes(&edge)[1..], ["Path=/", "HttpOnly", "Max-Age=3600"]);
}

#[test]
fn nobody_gets_a_cookie_unless_the_pool_says_so() {
    let [a, b] = named(["a", "b"]);
    let edge = pool(&[(&a, ""), (&b, "")], "");
    assert!(!edge.get("a", "/").head.has("set-cookie"));
}

#[test]
fn it_is_set_once_and_honoured_by_every_method() {
    for method in METHODS {
        let [a, b, c] = named(["a", "b", "c"]);
        let keys = format!("balance = \"{method}\"\n{STICKY}");
        let edge = pool(&[(&a, ""), (&b, ""), (&c, "")], &keys);
        for _ in 0..6 {
            let mut browser = Browser::of(&edge);
            let first = browser.ask();
            for _ in 0..10 {
                assert_eq!(browser.ask(), first, "{method}");
            }
            assert_eq!(browser.set, 1, "{method}: it was set once");
        }
    }
}

#[test]
fn new_clients_are_balanced_as_ever() {
    let [a, b] = named(["a", "b"]);
    let edge = pool(&[(&a, ""), (&b, "")], STICKY);
    let names: Vec<String> = (0..10).map(|_| Browser::of(&edge).ask()).collect();
    assert_eq!(names.iter().filter(|name| *name == "a").count(), 5);
    let values: BTreeSet<String> = (0..10)
        .filter_map(|_| {
            let mut browser = Browser::of(&edge);
            browser.ask();
            browser.cookie
        })
        .collect();
    assert_eq!(values.len(), 2, "one value for each server: {values:?}");
}

#[test]
fn a_servers_own_cookies_pass_beside_it() {
    let own = Origin::raw(
        "HTTP/1.1 200 OK\r\nSet-Cookie: mine=1; Path=/x\r\nSet-Cookie: route=own\r\n\
         Content-Length: 0\r\n\r\n",
    );
    let edge = pool(&[(&own, "")], STICKY);
    let answer = edge.get("a", "/");
    let set = answer.head.all("set-cookie");
    assert!(set.contains(&"mine=1; Path=/x") && set.contains(&"route=own"), "{set:?}");
    assert_eq!(set.len(), 3, "{set:?}");
}

/// A browser that is bound to this server.
fn bound(edge: &Edge, server: &str) -> Browser {
    loop {
        let mut browser = Browser::of(edge);
        if browser.ask() == server {
            return browser;
        }
    }
}

#[test]
fn it_survives_a_new_list_and_a_restart() {
    let [a, b, c] = named(["a", "b", "c"]);
    let mut edge = Edge::new()
        .durable()
        .route("upstream = \"app\"")
        .pool_of("app", &[(&a, ""), (&b, "")], STICKY)
        .start();
    let mut browser = bound(&edge, "b");
    let list = [&c, &b, &a].map(|origin| format!("server {} weight=2;", origin.address()));
    edge.post("app", &list.concat());
    for _ in 0..10 {
        assert_eq!(browser.ask(), "b", "another order, other weights, one more");
    }
    edge.kill9();
    edge.restart();
    browser.socket = edge.client();
    for _ in 0..10 {
        assert_eq!(browser.ask(), "b", "a restart");
    }
    assert_eq!(browser.set, 1);
}

/// Once it cannot be had any more there is another server, a cookie for that, and it stays.
#[track_caller]
fn moves_on(browser: &mut Browser, why: &str) {
    let (old, cookie) = (browser.set, browser.cookie.clone());
    assert_eq!(browser.ask(), "a", "{why}");
    assert_eq!(browser.set, old + 1, "{why}: a new cookie");
    assert_ne!(browser.cookie, cookie, "{why}");
    for _ in 0..5 {
        assert_eq!(browser.ask(), "a", "{why}: it stays");
    }
    assert_eq!(browser.set, old + 1, "{why}: set once");
}

#[test]
fn it_is_replaced_when_its_server_leaves_or_is_down() {
    for parameters in [None, Some("down")] {
        let [a, b] = named(["a", "b"]);
        let edge = pool(&[(&a, ""), (&b, "")], STICKY);
        let mut browser = bound(&edge, "b");
        let left = parameters.map(|word| format!("server {} {word};", b.address()));
        edge.post("app", &format!("server {}; {}", a.address(), left.unwrap_or_default()));
        moves_on(&mut browser, parameters.unwrap_or("it left"));
    }
}

#[test]
fn it_is_replaced_when_its_server_has_no_weight() {
    let [a, b] = named(["a", "b"]);
    let edge = pool(&[(&a, ""), (&b, ", weight = 7")], STICKY);
    let mut browser = bound(&edge, "b");
    edge.rewrite(|text| text.replace("weight = 7", "weight = 0"));
    edge.signal(Signal::HUP);
    let weightless = format!("server=\"{}\",state=\"draining\"", b.address());
    eventually("the weight is 0", || edge.metrics().contains(&weightless));
    moves_on(&mut browser, "weight 0");
}

#[test]
fn it_is_replaced_when_its_server_fails() {
    let fails = Arc::new(AtomicBool::new(false));
    let b = {
        let fails = Arc::clone(&fails);
        Origin::new(move |conn| {
            while conn.receive().is_ok() && !fails.load(Ordering::SeqCst) {
                conn.send(named_reply("b"));
            }
        })
    };
    let a = Origin::named("a");
    let hour = ", fail_timeout = \"1h\"";
    let edge = pool(&[(&a, hour), (&b, hour)], STICKY);
    let mut browser = bound(&edge, "b");
    fails.store(true, Ordering::SeqCst);
    moves_on(&mut browser, "it failed");
    assert_eq!(browser.ask(), "a");
}

#[test]
fn it_is_replaced_while_its_server_is_full() {
    let gate = Gate::default();
    let b = {
        let gate = gate.clone();
        Origin::new(move |conn| {
            while let Ok(request) = conn.receive() {
                if request.head.target() == "/wait" {
                    gate.wait();
                }
                conn.send(named_reply("b"));
            }
        })
    };
    let a = Origin::named("a");
    let edge = pool(&[(&a, ""), (&b, ", max_conns = 1")], STICKY);
    let mut browser = bound(&edge, "b");
    eventually("it is idle", || active(&edge, &b) == Some(0.0));
    let before = b.count();
    let mut waiting = edge.client();
    let cookie = browser.cookie.clone().unwrap();
    waiting.send(format!("GET /wait HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n"));
    b.wait_for_requests(before + 1);
    moves_on(&mut browser, "it is full");
    gate.open();
    assert_eq!(waiting.response().unwrap().text(), "b");
}

#[test]
fn made_up_cookies_are_worth_nothing() {
    let [a, b] = named(["a", "b"]);
    let edge = pool(&[(&a, ""), (&b, "")], STICKY);
    let address = a.address();
    let long = "f".repeat(4_000);
    for value in [
        "",
        "0",
        "x",
        "0000000000000000",
        "ffffffffffffffff",
        "-000000000000001",
        "../../etc/passwd",
        "\"\"",
        "%00",
        "zzzzzzzzzzzzzzzz",
        &address,
        &long,
    ] {
        let mut browser = Browser::with(&edge, value);
        let first = browser.ask();
        assert!(first == "a" || first == "b", "{value:?}: {first}");
        assert_eq!(browser.set, 1, "{value:?}: it gets a cookie of ours");
        assert_eq!(browser.ask(), first, "{value:?}");
    }
    let mut client = edge.client();
    for header in
        ["Cookie: route", "Cookie: ;;;=;", "Cookie: route=x\r\nCookie: route=y", "Cookie:"]
    {
        let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n"));
        assert!(answer.status() == 200 && answer.head.has("set-cookie"), "{header:?}");
    }
}

#[test]
fn a_tunnel_has_its_cookie_in_the_101() {
    let [one, two] = [Origin::echo_tunnel(), Origin::echo_tunnel()];
    let edge = pool(&[(&one, ""), (&two, "")], STICKY);
    let open = |cookie: &str| {
        let mut client = edge.client();
        let request = ASK.replacen("\r\n", &format!("\r\nCookie: {cookie}\r\n"), 1);
        client.send(request);
        let head = client.head().unwrap();
        assert_eq!(head.status(), 101);
        let set = head.field("set-cookie").map(|set| set.split(';').next().unwrap().to_owned());
        (client, set)
    };
    let (_first, set) = open("a=b");
    let cookie = set.expect("the 101 sets it");
    assert!(cookie.starts_with("route="), "{cookie}");
    let held: Vec<_> = (0..5).map(|_| open(&cookie)).collect();
    assert!(held.iter().all(|(_, set)| set.is_none()), "set once");
    let counts = [one.count(), two.count()];
    assert!(counts == [6, 0] || counts == [0, 6], "all of them on one server: {counts:?}");
}

/// Whoever answered in the end is who the client comes back to.
#[test]
fn the_cookie_names_the_server_that_answered() {
    let (dead, a) = (Origin::refusing(), Origin::named("a"));
    let edge = pool(&[(&dead, ", max_fails = 0"), (&a, "")], STICKY);
    let mut browser = Browser::of(&edge);
    for _ in 0..10 {
        assert_eq!(browser.ask(), "a");
    }
    let tries = "tidegate_upstream_attempts_total{upstream=\"app\",server=";
    let tries = edge.metric(&format!("{tries}\"{}\"", dead.address()));
    assert_eq!((browser.set, tries), (1, Some(1.0)));
}
