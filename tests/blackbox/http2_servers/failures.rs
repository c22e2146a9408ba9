//! What goes on to the next server and what does not. A server of HTTP/2 can say that it has not looked at
//! a request: then any method goes on.

use h2::Reason;

use super::edge;
use crate::kit::{Call, Multiplexed};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";

/// Resets every request.
fn resetting(reason: Reason) -> Multiplexed {
    Multiplexed::new(move |mut call: Call| async move {
        call.body().await;
        call.respond.send_reset(reason);
    })
}

#[test]
fn what_was_not_looked_at_goes_on_whatever_its_method() {
    for request in [GET, POST] {
        let (bad, good) = (resetting(Reason::REFUSED_STREAM), Multiplexed::named("good"));
        let edge = edge(&[&bad, &good], "").start();
        for _ in 0..4 {
            assert_eq!(edge.client().ask(request).text(), "good", "{request:?}");
        }
        assert!(!bad.asked().is_empty());
    }
}

#[test]
fn what_may_have_been_acted_on_is_not_repeated() {
    for (request, statuses) in [(GET, [200, 200]), (POST, [502, 200])] {
        let (bad, good) = (resetting(Reason::INTERNAL_ERROR), Multiplexed::named("good"));
        let edge = edge(&[&bad, &good], "").start();
        let got: Vec<u16> = (0..2).map(|_| edge.client().ask(request).status()).collect();
        assert_eq!((got.as_slice(), bad.asked().len()), (&statuses[..], 1), "{request:?}");
    }
}

#[test]
fn a_500_goes_on_where_the_pool_says_so() {
    let bad = Multiplexed::new(|call: Call| async move { call.answer(500, "bad") });
    let good = Multiplexed::named("good");
    let edge = edge(&[&bad, &good], "next = { on = [\"error\", \"http_500\"] }").start();
    for _ in 0..4 {
        assert_eq!(edge.client().ask(GET).text(), "good");
    }
    assert!(!bad.asked().is_empty());
}

/// A connection that has died is as dead as a kept one of HTTP/1: another one is made.
#[test]
fn a_dead_connection_is_replaced() {
    let origin = Multiplexed::named("somebody");
    let edge = edge(&[&origin], "").start();
    for count in 1..=5 {
        assert_eq!(edge.client().ask(POST).text(), "somebody");
        assert!(origin.connections() <= count);
        // It takes no more, and closes.
        origin.retire();
    }
}

#[test]
fn an_answer_that_breaks_off_is_cut() {
    let origin = Multiplexed::new(|mut call: Call| async move {
        let mut out = call.respond.send_response(http::Response::new(()), false).unwrap();
        out.send_data("part".into(), false).unwrap();
        // What was said goes out first.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        out.send_reset(Reason::INTERNAL_ERROR);
    });
    let edge = edge(&[&origin], "").start();
    let mut client = edge.client();
    client.send(GET);
    assert!(client.response().is_err_and(|broken| broken.is_cut()));
}

/// The answer is whole, and nobody waits for the rest of the request.
#[test]
fn an_early_answer_is_passed_on() {
    let origin = Multiplexed::new(|call: Call| async move { call.answer(413, "too large") });
    let edge = edge(&[&origin], "").start();
    let mut client = edge.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome of it");
    let answer = client.response().unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (413, "too large"));
}

#[test]
fn what_cannot_be_said_is_nobodys_fault() {
    let origin = Multiplexed::named("somebody");
    let edge = edge(&[&origin], "").start();
    assert_eq!(edge.client().ask("GET /a<b HTTP/1.1\r\nHost: a\r\n\r\n").status(), 400);
    assert_eq!(edge.client().ask(GET).status(), 200);
    assert!(!edge.log().contains("server failed"));
}
