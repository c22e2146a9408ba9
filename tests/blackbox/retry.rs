//! Which failures send a request to the next server and which do not: what this stage has of
//! next-upstream. A request goes on when nothing of it can have been acted on.

use std::net::TcpListener;

use crate::kit::{Edge, Origin, Socket, named_reply};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";

/// An edge with one worker, so that it is known which idle connections there are.
fn edge(origins: &[&Origin]) -> Edge {
    Edge::to(origins).workers(1).start()
}

#[test]
fn a_refused_connect_goes_to_the_next_server_whatever_the_method() {
    for request in [GET, POST] {
        let (dead, alive) = (Origin::refusing(), Origin::echo());
        let edge = edge(&[&dead, &alive]);
        for _ in 0..4 {
            assert_eq!(edge.client().ask(request).status(), 200);
        }
        let body = if request == POST { "body" } else { "" };
        assert!(alive.requests().iter().all(|seen| seen.text() == body));
        assert_eq!(alive.count(), 4);
    }
}

#[test]
fn a_connect_that_times_out_goes_to_the_next_server() {
    // A listener whose queue is full takes no more connections, and does not refuse them either.
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = socket2::SockRef::from(&full);
    socket.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let _fill: Vec<Socket> = (0..1).map(|_| Socket::connect(address)).collect();
    let alive = Origin::named("alive");
    let edge = Edge::new()
        .route("upstream = \"app\"")
        .toml(&format!(
            "[upstream.app]\nservers = [\"{address}\", {:?}]\ntimeouts = {{ connect = \"200ms\" }}",
            alive.address()
        ))
        .start();
    for request in [POST, GET] {
        assert_eq!(edge.client().ask(request).text(), "alive");
    }
}

#[test]
fn all_refused_is_502() {
    let (one, two) = (Origin::refusing(), Origin::refusing());
    let edge = edge(&[&one, &two]);
    for request in [GET, POST] {
        assert_eq!(edge.client().ask(request).status(), 502);
    }
}

/// A server that takes a connection and closes it without a word may have acted on a POST; a GET may
/// be sent again.
#[test]
fn a_close_without_an_answer_sends_a_get_on_but_not_a_post() {
    for (request, statuses) in [(GET, [200, 200]), (POST, [502, 200])] {
        let (bad, good) = (Origin::closing(), Origin::named("good"));
        let edge = edge(&[&bad, &good]);
        let got: Vec<u16> = (0..2).map(|_| edge.client().ask(request).status()).collect();
        assert_eq!((got.as_slice(), bad.count()), (&statuses[..], 1), "{request:?}");
    }
}

#[test]
fn put_and_delete_may_be_sent_again() {
    for method in ["PUT", "DELETE", "HEAD", "OPTIONS"] {
        let (bad, good) = (Origin::closing(), Origin::named("good"));
        let edge = edge(&[&bad, &good]);
        let mut client = edge.client();
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(client.response_to(method).unwrap().status(), 200, "{method}");
        assert_eq!((bad.count(), good.count()), (1, 1), "{method}");
    }
}

/// Keeps a connection for one answer and closes it when the next request comes, as a server does whose
/// keep-alive time runs out at the wrong moment. Fresh connections are always good.
fn closes_idle() -> Origin {
    Origin::new(|conn| {
        if conn.receive().is_ok() && conn.try_send(named_reply("up")).is_ok() {
            let _ = conn.receive();
        }
    })
}

#[test]
fn an_idle_connection_that_closed_is_not_an_error_for_anyone() {
    let origin = Origin::new(|conn| {
        if conn.receive().is_ok() {
            conn.send(named_reply("up"));
        }
    });
    let edge = edge(&[&origin]);
    for (n, request) in [GET, POST, GET, POST, POST, GET].into_iter().enumerate() {
        assert_eq!(edge.client().ask(request).text(), "up");
        // The server's close is on its way while the next request is.
        origin.wait_for_ended(n + 1);
    }
    assert_eq!(origin.count(), 6, "nothing was sent twice");
}

#[test]
fn a_get_on_a_connection_that_dies_under_it_goes_on_even_with_one_server() {
    let origin = closes_idle();
    let edge = edge(&[&origin]);
    for _ in 0..4 {
        assert_eq!(edge.client().ask(GET).text(), "up");
    }
}

#[test]
fn a_post_on_a_connection_that_dies_under_it_is_502() {
    let origin = closes_idle();
    let edge = edge(&[&origin]);
    assert_eq!(edge.client().ask(GET).text(), "up");
    assert_eq!(edge.client().ask(POST).status(), 502);
    assert_eq!(origin.count(), 2, "it was sent once");
}

#[test]
fn an_answer_that_has_begun_is_never_asked_for_again() {
    let cut = Origin::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    let good = Origin::named("good");
    let edge = edge(&[&cut, &good]);
    let mut client = edge.client();
    client.send(GET);
    assert!(client.response().unwrap_err().is_cut());
    assert_eq!(good.count(), 0);
}

#[test]
fn a_malformed_answer_sends_a_get_on_only_when_the_pool_says_so() {
    let (bad, good) = (Origin::raw("nonsense\r\n\r\n"), Origin::named("good"));
    let edge = edge(&[&bad, &good]);
    let statuses: Vec<u16> = (0..2).map(|_| edge.client().ask(GET).status()).collect();
    assert_eq!(statuses, [502, 200], "invalid_header is not in the default of `next.on`");
}

#[test]
fn a_500_is_the_servers_own_answer() {
    let bad = Origin::raw("HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nmine");
    let good = Origin::named("good");
    let edge = edge(&[&bad, &good]);
    let answer = edge.client().ask(GET);
    assert_eq!((answer.status(), answer.text().as_str()), (500, "mine"));
}

#[test]
fn a_reset_before_the_answer_sends_a_get_on() {
    let bad = Origin::new(|conn| {
        let _ = conn.receive();
        conn.reset();
    });
    let good = Origin::named("good");
    let edge = edge(&[&bad, &good]);
    assert_eq!(edge.client().ask(GET).text(), "good");
}

/// Refusals are counted against their server, so the dead one costs one try, not one for each request.
#[test]
fn a_dead_server_costs_one_try() {
    let (dead, alive) = (Origin::refusing(), Origin::named("alive"));
    let edge = edge(&[&dead, &alive]);
    for _ in 0..10 {
        assert_eq!(edge.get("a", "/").text(), "alive");
    }
    let failed =
        format!("tidegate_upstream_attempts_total{{upstream=\"app\",server=\"{}\"", dead.address());
    let text = edge.metrics();
    let sum: f64 = text
        .lines()
        .filter(|line| line.starts_with(&failed))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert_eq!(sum, 1.0, "{text}");
}
