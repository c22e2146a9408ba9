//! Ejection for bad answers in a row (`eject`): who is left out, for how long, and how many at most.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{GET, edge};
use crate::{
    kit::{Edge, Origin, Socket, eventually, named_reply},
    pools::counts,
};

const NEVER_OUT: &str = ", max_fails = 0";

/// Who answers so many requests. They come over one connection and thus to one worker, for another
/// one may take a request while this one still counts the answer to the last.
fn tally(edge: &Edge, requests: usize) -> BTreeMap<String, usize> {
    let mut client = edge.client();
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(answerer(&mut client)).or_default() += 1;
    }
    counts
}

fn answerer(client: &mut Socket) -> String {
    let answer = client.ask(GET);
    if answer.status() == 200 { answer.text() } else { answer.status().to_string() }
}

fn state(edge: &Edge, origin: &Origin) -> String {
    let series =
        format!("tidegate_server_state{{upstream=\"app\",server=\"{}\",state=\"", origin.address());
    let text = edge.metrics();
    let line = text.lines().find_map(|line| line.strip_prefix(&series)).expect("it is listed");
    line.split('"').next().unwrap().to_owned()
}

#[test]
fn three_5xx_in_a_row_eject_a_server() {
    let (bad, good) = (Origin::answering(500, "bad"), Origin::named("good"));
    let keys = "eject = { consecutive_5xx = 3, base = \"1h\" }";
    let edge = edge(&[(&bad, ""), (&good, "")], keys);
    assert_eq!(tally(&edge, 20), counts(&[("500", 3), ("good", 17)]));
    assert_eq!((state(&edge, &bad).as_str(), state(&edge, &good).as_str()), ("ejected", "up"));
    assert_eq!(edge.metric("tidegate_ejections_total{upstream=\"app\"}"), Some(1.0));
    edge.wait_for_log("ejected");
}

/// Off unless it is asked for: nginx knows nothing like it.
#[test]
fn nobody_is_ejected_by_default() {
    let (bad, good) = (Origin::answering(500, "bad"), Origin::named("good"));
    let edge = edge(&[(&bad, ""), (&good, "")], "");
    assert_eq!(tally(&edge, 20), counts(&[("500", 10), ("good", 10)]));
    assert_eq!(state(&edge, &bad), "up");
}

#[test]
fn a_good_answer_begins_the_count_anew() {
    let flaky = Origin::new(|conn| {
        let status = if conn.number % 3 == 2 { 200 } else { 500 };
        let reply =
            format!("HTTP/1.1 {status} S\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        if conn.receive().is_ok() {
            conn.send(reply);
        }
    });
    let good = Origin::named("good");
    let keys = "eject = { consecutive_5xx = 3, base = \"1h\" }";
    let edge = edge(&[(&flaky, ""), (&good, "")], keys);
    tally(&edge, 40);
    assert_eq!((flaky.count(), state(&edge, &flaky).as_str()), (20, "up"));
}

/// Answers that were left for another's, time-outs and broken connections count alike.
#[test]
fn whatever_is_bad_counts() {
    let keys = r#"eject = { consecutive_5xx = 3, base = "1h" }
        next = { on = ["error", "timeout", "http_500"] }
        timeouts = { read = "500ms" }"#;
    for bad in [Origin::refusing(), Origin::closing(), Origin::silent(), Origin::answering(500, "")]
    {
        let good = Origin::named("good");
        let edge = edge(&[(&bad, NEVER_OUT), (&good, NEVER_OUT)], keys);
        assert_eq!(tally(&edge, 20), counts(&[("good", 20)]));
        assert_eq!(state(&edge, &bad), "ejected");
        let tries: f64 = edge
            .metrics()
            .lines()
            .filter(|line| line.starts_with("tidegate_upstream_attempts_total"))
            .filter(|line| line.contains(&bad.address()))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        assert_eq!(tries, 3.0);
    }
}

#[test]
fn an_ejected_server_comes_back() {
    let well = Arc::new(AtomicBool::new(false));
    let bad = {
        let well = Arc::clone(&well);
        Origin::new(move |conn| {
            while conn.receive().is_ok() {
                let reply = if well.load(Ordering::SeqCst) {
                    named_reply("healed")
                } else {
                    b"HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n".to_vec()
                };
                if conn.try_send(reply).is_err() {
                    return;
                }
            }
        })
    };
    let good = Origin::named("good");
    let keys = "eject = { consecutive_5xx = 3, base = \"1s\" }";
    let edge = edge(&[(&bad, ""), (&good, "")], keys);
    let mut client = edge.client();
    eventually("it is ejected", || {
        answerer(&mut client);
        bad.count() >= 3
    });
    let ejected = Instant::now();
    well.store(true, Ordering::SeqCst);
    eventually("it is back", || answerer(&mut client) == "healed");
    // Its ejection may have begun a moment before it was seen here.
    assert!(ejected.elapsed() > Duration::from_millis(700), "after {:?}", ejected.elapsed());
    assert_eq!(state(&edge, &bad), "up");
    let after = tally(&edge, 10);
    assert_eq!(after.get("healed"), Some(&5), "it has its share again: {after:?}");
}

/// The second time lasts twice as long, when it follows the first at once.
#[test]
fn ejections_last_longer_each_time() {
    let (bad, good) = (Origin::answering(500, "bad"), Origin::named("good"));
    let keys = "eject = { consecutive_5xx = 2, base = \"2s\" }";
    let edge = edge(&[(&bad, ""), (&good, "")], keys);
    let mut client = edge.client();
    let mut lasts = || {
        let is_out = || state(&edge, &bad) == "ejected";
        eventually("it is ejected", || {
            answerer(&mut client);
            is_out()
        });
        let begun = Instant::now();
        eventually("its time is over", || !is_out());
        begun.elapsed()
    };
    let lasted = [lasts(), lasts()];
    // What had passed before it was seen is not in them.
    assert!(lasted[0] > Duration::from_millis(1_300), "{lasted:?}");
    assert!(lasted[1] > Duration::from_millis(3_300), "{lasted:?}");
}

/// How many of these servers, all of them bad, are ejected in the end.
fn ejected(servers: usize, max_share: &str) -> usize {
    let origins: Vec<Origin> = (0..servers).map(|_| Origin::answering(500, "bad")).collect();
    let lines: Vec<_> = origins.iter().map(|origin| (origin, "")).collect();
    let keys = format!("eject = {{ consecutive_5xx = 2, base = \"1h\"{max_share} }}");
    let edge = edge(&lines, &keys);
    assert_eq!(tally(&edge, servers * 6), counts(&[("500", servers * 6)]), "somebody answers");
    origins.iter().filter(|origin| state(&edge, origin) == "ejected").count()
}

#[test]
fn at_most_max_share_of_a_pool_is_ejected() {
    assert_eq!(ejected(10, ", max_share = \"30%\""), 3);
    assert_eq!(ejected(10, ""), 1, "a tenth by default");
    assert_eq!(ejected(4, ""), 1, "one may always go");
    assert_eq!(ejected(4, ", max_share = \"0%\""), 0);
}

#[test]
fn the_last_server_is_never_ejected() {
    assert_eq!(ejected(3, ", max_share = \"100%\""), 2);
    assert_eq!(ejected(1, ", max_share = \"100%\""), 0);
}

/// Slow is who is far from its pool's median (`latency_factor`), and not who answers badly.
#[test]
fn a_server_far_slower_than_its_pool_is_ejected() {
    let slow = Origin::new(|conn| {
        while conn.receive().is_ok() {
            thread::sleep(Duration::from_millis(60));
            if conn.try_send(named_reply("slow")).is_err() {
                return;
            }
        }
    });
    let quick = ["a", "b", "c"].map(Origin::named);
    let servers = [(&slow, ""), (&quick[0], ""), (&quick[1], ""), (&quick[2], "")];
    let edge = edge(&servers, "eject = { latency_factor = 3, base = \"1h\" }");
    eventually("it is ejected", || {
        tally(&edge, 4);
        state(&edge, &slow) == "ejected"
    });
    assert!(!tally(&edge, 12).contains_key("slow"));
    assert!(quick.iter().all(|origin| state(&edge, origin) == "up"));
    assert_eq!(edge.metric("tidegate_ejections_total{upstream=\"app\"}"), Some(1.0));
}
