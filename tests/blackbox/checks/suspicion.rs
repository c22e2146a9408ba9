//! What requests tell probes: one that a server fails makes a probe at once. The intervals here are
//! a minute or an hour, so that nothing but a suspicion explains what happens.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    Answers, Patient, ask, changes::wait_for_pings, checked, counted, row, state, wait_for_row,
    wait_until_down, wait_until_up,
};
use crate::kit::{Edge, eventually};

/// `fall` is out of reach for probes that nobody asked for.
const PATIENT: &str = "path = \"/ping\"\ninterval = \"1h\"\nfast_interval = \"1h\"\nfall = 1000";
/// Failures of requests alone take nobody out.
const NEVER: &str = ", max_fails = 0";
const FOREVER: &str = ", fail_timeout = \"1h\"";

/// One that will be sick and one that stays well, once both have passed their first probe.
struct Ward {
    sick: Patient,
    #[expect(dead_code, reason = "it serves as long as it is held")]
    well: Patient,
    edge: Edge,
}

impl Ward {
    #[track_caller]
    fn of(servers: &str, check: &str) -> Self {
        let (sick, well) = (Patient::new("sick"), Patient::new("well"));
        let edge = checked(&[(&sick.origin, servers), (&well.origin, servers)], "", check);
        wait_until_up(&edge, &sick.origin);
        wait_until_up(&edge, &well.origin);
        Self { sick, well, edge }
    }

    /// Asks until the sick one has had its turn.
    fn ask_until_it_is_met(&self) {
        let before = self.sick.asked();
        eventually("the sick one has its turn", || {
            assert_eq!(ask(&self.edge).text(), "well", "the client sees nothing of it");
            self.sick.asked() > before
        });
    }

    #[track_caller]
    fn expect_the_well_one_alone(&self) {
        let before = self.sick.asked();
        (0..10).for_each(|_| assert_eq!(ask(&self.edge).text(), "well"));
        assert_eq!(self.sick.asked(), before);
    }
}

#[test]
fn a_failed_request_and_one_failed_probe_take_a_server_out() {
    let ward = Ward::of(NEVER, PATIENT);
    ward.sick.ping(Answers::Status(500));
    ward.sick.others(Answers::Reset);
    ward.ask_until_it_is_met();
    wait_until_down(&ward.edge, &ward.sick.origin);
    let failed =
        counted(&ward.edge, "tidegate_checks_total", &ward.sick.origin, "outcome=\"failed\"");
    assert_eq!(failed, 1, "one probe");
    ward.expect_the_well_one_alone();
    assert_eq!(state(&ward.edge, &ward.sick.origin), "unhealthy");
}

#[test]
fn a_failed_request_and_one_probe_that_hangs_take_a_server_out() {
    let ward = Ward::of(NEVER, &format!("{PATIENT}\ntimeout = \"300ms\""));
    ward.sick.ping(Answers::Never);
    ward.sick.others(Answers::Reset);
    ward.ask_until_it_is_met();
    wait_until_down(&ward.edge, &ward.sick.origin);
    ward.expect_the_well_one_alone();
    let failed =
        counted(&ward.edge, "tidegate_checks_total", &ward.sick.origin, "outcome=\"failed\"");
    assert_eq!(failed, 1, "one probe");
}

/// A server in the process of hanging: requests that time out are failures, too.
#[test]
fn a_request_that_times_out_makes_a_probe() {
    let (sick, well) = (Patient::new("sick"), Patient::new("well"));
    let keys = "timeouts = { read = \"200ms\" }";
    let edge = checked(
        &[(&sick.origin, NEVER), (&well.origin, NEVER)],
        keys,
        &format!("{PATIENT}\ntimeout = \"300ms\""),
    );
    wait_until_up(&edge, &sick.origin);
    sick.ping(Answers::Never);
    sick.others(Answers::Never);
    eventually("the sick one has its turn", || {
        assert_eq!(ask(&edge).text(), "well");
        sick.asked() > 0
    });
    wait_until_down(&edge, &sick.origin);
}

#[test]
fn a_probe_that_passes_ends_a_fail_timeout_of_an_hour() {
    let ward = Ward::of(FOREVER, PATIENT);
    ward.sick.others(Answers::Reset);
    ward.ask_until_it_is_met();
    ward.sick.others(Answers::Well);
    eventually("it serves again", || ask(&ward.edge).text() == "sick");
    assert_eq!(state(&ward.edge, &ward.sick.origin), "up");
}

/// The passive count alone keeps it out when its probes do not pass.
#[test]
fn without_a_probe_that_passes_a_fail_timeout_lasts() {
    let ward = Ward::of(FOREVER, &format!("{PATIENT}\ntimeout = \"5s\""));
    ward.sick.ping(Answers::Never);
    ward.sick.others(Answers::Reset);
    ward.ask_until_it_is_met();
    ward.sick.others(Answers::Well);
    ward.expect_the_well_one_alone();
}

/// However many requests fail, a server is probed once at a time: those that hang follow each other.
#[test]
fn there_is_one_probe_of_a_server_at_a_time() {
    let sick = Patient::new("sick");
    sick.others(Answers::Reset);
    let edge = checked(&[(&sick.origin, NEVER)], "", &format!("{PATIENT}\ntimeout = \"200ms\""));
    wait_for_row(&edge, &sick.origin, "a first probe", |row| row.rises > 0);
    sick.ping(Answers::Never);
    let (before, started) = (sick.pings(), Instant::now());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                eventually("four probes", || {
                    assert_eq!(ask(&edge).status(), 502);
                    sick.pings() >= before + 4
                });
            });
        }
    });
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(3 * 200), "the fourth after {took:?}");
}

/// A server that passes its checks and fails its requests is not drowned in probes.
#[test]
fn probes_that_requests_ask_for_keep_a_distance() {
    let sick = Patient::new("sick");
    sick.others(Answers::Reset);
    let edge = checked(&[(&sick.origin, NEVER)], "", PATIENT);
    wait_for_row(&edge, &sick.origin, "a first probe", |row| row.rises > 0);
    let (before, started) = (sick.pings(), Instant::now());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| assert_eq!(ask(&edge).status(), 502)));
        }
    });
    // One each 50 ms, and one more; the longer it took, the more may have been.
    let most = 2 + started.elapsed().as_millis() / 50;
    assert!(
        (sick.pings() - before) as u128 <= most,
        "{} probes, {most} at most",
        sick.pings() - before
    );
    assert!(row(&edge, &sick.origin).is_some_and(|row| row.is_up), "by its check it is well");
}

/// Nobody is suspected for what a client did.
#[test]
fn clients_that_leave_make_no_probe() {
    let (slow, clock) = (Patient::new("slow"), Patient::new("clock"));
    let edge = Edge::new()
        .route("upstream = \"app\"")
        .pool("clock", &[&clock.origin])
        .toml("[upstream.clock.check]\npath = \"/ping\"\ninterval = \"50ms\"")
        .pool("app", &[&slow.origin])
        .toml(&format!("[upstream.app.check]\n{PATIENT}"))
        .start();
    wait_for_row(&edge, &slow.origin, "a first probe", |row| row.rises > 0);
    slow.others(Answers::Never);
    let before = slow.pings();
    for asked in 1..=20 {
        let mut client = edge.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        eventually("the request arrives", || slow.asked() >= asked);
        drop(client);
    }
    slow.origin.wait_for_ended(20);
    wait_for_pings(&clock, 5);
    assert_eq!(slow.pings(), before);
}
