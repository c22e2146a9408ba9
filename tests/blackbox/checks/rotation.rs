//! What a verdict does: who serves before the first probes, after `rise` and after `fall`, and when
//! nobody is well; and where an operator reads it.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};

use rustix::process::Signal;

use super::{
    Answers, Patient, ask, checked, counted, row, state, wait_for_row, wait_until_down,
    wait_until_up,
};
use crate::kit::{Edge, Origin, Socket, eventually};

const PACE: &str =
    "path = \"/ping\"\ninterval = \"100ms\"\nfast_interval = \"50ms\"\ntimeout = \"5s\"";
const FAIL: &str = "when_all_down = \"fail\"";

#[test]
fn start_down_is_502_until_rise_when_the_pool_is_to_fail() {
    let patient = Patient::new("good");
    patient.ping(Answers::Status(503));
    let edge =
        checked(&[(&patient.origin, "")], FAIL, &format!("{PACE}\nstart = \"down\"\nrise = 3"));
    assert_eq!(ask(&edge).status(), 502);
    assert_eq!(state(&edge, &patient.origin), "checking");
    wait_for_row(&edge, &patient.origin, "it has been asked", |row| row.falls > 0);
    assert_eq!(ask(&edge).status(), 502);
    let before = patient.pings();
    patient.ping(Answers::Well);
    eventually("it serves", || ask(&edge).status() == 200);
    assert!(patient.pings() >= before + 3, "only after three probes");
    assert_eq!(state(&edge, &patient.origin), "up");
}

#[test]
fn start_down_is_served_when_the_pool_tries_all() {
    let patient = Patient::new("good");
    patient.ping(Answers::Never);
    let edge = checked(
        &[(&patient.origin, "")],
        "when_all_down = \"try_all\"",
        &format!("{PACE}\nstart = \"down\""),
    );
    assert_eq!(ask(&edge).text(), "good");
    assert_eq!(state(&edge, &patient.origin), "checking");
}

#[test]
fn start_down_leaves_it_to_whoever_has_passed() {
    let (ready, not_yet) = (Patient::new("ready"), Patient::new("not yet"));
    not_yet.ping(Answers::Never);
    let servers = [(&ready.origin, ""), (&not_yet.origin, "")];
    let edge = checked(&servers, "", &format!("{PACE}\nstart = \"down\""));
    wait_until_up(&edge, &ready.origin);
    (0..10).for_each(|_| assert_eq!(ask(&edge).text(), "ready"));
    assert_eq!(not_yet.asked(), 0);
}

#[test]
fn fall_takes_out_and_rise_brings_back() {
    let (sick, well) = (Patient::new("sick"), Patient::new("well"));
    let servers = [(&sick.origin, ""), (&well.origin, "")];
    let edge = checked(&servers, "", &format!("{PACE}\nrise = 2\nfall = 3"));
    wait_until_up(&edge, &sick.origin);
    let answers = |count: usize| -> Vec<String> { (0..count).map(|_| ask(&edge).text()).collect() };
    assert!(answers(4).contains(&"sick".to_owned()), "optimistic");
    sick.ping(Answers::Status(501));
    let before = sick.pings();
    wait_until_down(&edge, &sick.origin);
    assert!(sick.pings() >= before + 3);
    assert_eq!(answers(10), ["well"; 10], "what requests it would have answered does not matter");
    let before = sick.pings();
    sick.ping(Answers::Well);
    wait_until_up(&edge, &sick.origin);
    assert!(sick.pings() >= before + 2);
    assert!(answers(4).contains(&"sick".to_owned()));
}

#[test]
fn every_other_probe_that_fails_takes_nobody_out() {
    let pings = AtomicUsize::default();
    let moody = Origin::new(move |conn| {
        let Ok(request) = conn.receive() else { return };
        let is_ping = request.head.target() == "/ping";
        let fails = is_ping && pings.fetch_add(1, SeqCst) % 2 == 1;
        let status = if fails { "500 No" } else { "200 OK" };
        let reply = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = conn.try_send(reply);
    });
    let edge = checked(&[(&moody, "")], FAIL, &format!("{PACE}\nfall = 2"));
    eventually("many failures", || {
        assert_eq!(ask(&edge).status(), 200);
        counted(&edge, "tidegate_checks_total", &moody, "outcome=\"failed\"") >= 8
    });
    assert!(!edge.log().contains("server is unhealthy"), "{}", edge.log());
}

#[test]
fn when_nobody_is_well_the_pool_says_what_to_do() {
    for (keys, status) in [(FAIL, 502), ("when_all_down = \"try_all\"", 200)] {
        let (one, two) = (Patient::new("one"), Patient::new("two"));
        [&one, &two].iter().for_each(|patient| patient.ping(Answers::Status(500)));
        let servers = [(&one.origin, ""), (&two.origin, "")];
        let edge = checked(&servers, keys, &format!("{PACE}\nfall = 1"));
        wait_until_down(&edge, &one.origin);
        wait_until_down(&edge, &two.origin);
        (0..4).for_each(|_| assert_eq!(ask(&edge).status(), status, "{keys}"));
        let asked = one.asked() + two.asked();
        assert_eq!(asked, if status == 200 { 4 } else { 0 }, "{keys}");
    }
}

/// `try_all` forgives the sick, not who was told to take nothing.
#[test]
fn try_all_never_tries_who_is_down() {
    let (sick, down) = (Patient::new("sick"), Patient::new("down"));
    sick.ping(Answers::Status(500));
    let servers = [(&sick.origin, ""), (&down.origin, ", down = true")];
    let edge = checked(&servers, "", &format!("{PACE}\nfall = 1"));
    wait_until_down(&edge, &sick.origin);
    (0..6).for_each(|_| assert_eq!(ask(&edge).text(), "sick"));
    assert_eq!((down.asked(), down.pings()), (0, 0), "nor is it probed");
    assert!(row(&edge, &down.origin).is_none_or(|row| row.rises + row.falls == 0));
}

#[test]
fn a_sick_pool_is_left_to_its_backup() {
    let (sick, spare) = (Patient::new("sick"), Patient::new("spare"));
    let servers = [(&sick.origin, ""), (&spare.origin, ", backup = true")];
    let edge = checked(&servers, FAIL, &format!("{PACE}\nfall = 1\nrise = 1"));
    wait_until_up(&edge, &sick.origin);
    assert_eq!(ask(&edge).text(), "sick");
    sick.ping(Answers::Reset);
    wait_until_down(&edge, &sick.origin);
    (0..4).for_each(|_| assert_eq!(ask(&edge).text(), "spare"));
    sick.ping(Answers::Well);
    wait_until_up(&edge, &sick.origin);
    (0..4).for_each(|_| assert_eq!(ask(&edge).text(), "sick"));
}

/// A request under way does not care what a probe finds out.
#[test]
fn a_verdict_cuts_no_connection() {
    let sick = Origin::new(|conn| {
        let Ok(request) = conn.receive() else { return };
        if request.head.target() == "/ping" {
            conn.send("HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return;
        }
        conn.send(crate::kit::SWITCHING);
        while let Ok(bytes) = conn.some() {
            if conn.try_send(bytes).is_err() {
                return;
            }
        }
    });
    let edge = checked(
        &[(&sick, "")],
        FAIL,
        &format!("{PACE}\nfall = 1\ninterval = \"1s\"").replace("interval = \"100ms\"\n", ""),
    );
    let mut tunnel = edge.client();
    let upgrade =
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    eventually("a tunnel is open", || {
        tunnel = edge.client();
        tunnel.send(upgrade);
        tunnel.head().unwrap().status() == 101
    });
    wait_until_down(&edge, &sick);
    for _ in 0..20 {
        tunnel.send("still here");
        assert_eq!(tunnel.exactly(10).unwrap(), b"still here");
    }
    assert_eq!(ask(&edge).status(), 502);
}

#[test]
fn metrics_tell_probes_and_states() {
    let patient = Patient::new("good");
    patient.ping(Answers::Status(500));
    let edge = checked(
        &[(&patient.origin, "")],
        FAIL,
        &format!("{PACE}\nstart = \"down\"\nrise = 1\nfall = 1"),
    );
    let probes = |outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        counted(&edge, "tidegate_checks_total", &patient.origin, &label)
    };
    wait_until_down(&edge, &patient.origin);
    eventually("unhealthy", || state(&edge, &patient.origin) == "unhealthy");
    assert_eq!(probes("passed"), 0);
    assert!(probes("failed") >= 1 && probes("failed") <= patient.pings() as u64);
    patient.ping(Answers::Well);
    eventually("up", || state(&edge, &patient.origin) == "up");
    let failed = probes("failed");
    eventually("more passes", || probes("passed") >= 3);
    assert_eq!(probes("failed"), failed);
    patient.ping(Answers::Reset);
    eventually("unhealthy again", || state(&edge, &patient.origin) == "unhealthy");
    eventually("more failures", || probes("failed") >= failed + 3);
    assert_eq!(ask(&edge).status(), 502);
}

#[test]
fn only_turns_are_told_in_the_log() {
    let patient = Patient::new("good");
    let edge = checked(&[(&patient.origin, "")], FAIL, &format!("{PACE}\nrise = 1\nfall = 2"));
    let address = patient.origin.address();
    for _ in 0..2 {
        patient.ping(Answers::Status(501));
        wait_for_row(&edge, &patient.origin, "many failures", |row| !row.is_up && row.falls >= 6);
        patient.ping(Answers::Well);
        wait_for_row(&edge, &patient.origin, "many passes", |row| row.is_up && row.rises >= 6);
    }
    let line = edge.wait_for_log("server is unhealthy");
    for part in ["upstream=app", &address, "status 501"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let line = edge.wait_for_log("server is healthy again");
    assert!(line.contains(&address) && line.contains("status 200"), "{line}");
    let log = edge.log();
    let said = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!((said("server is unhealthy"), said("server is healthy again")), (2, 2), "{log}");
}

/// What a server says about itself is shown to people: it must stay what it is, a word in a line.
#[test]
fn the_words_of_a_server_cannot_forge_lines() {
    let liar =
        Origin::raw("HTTP/1.1 200 OK\r\nX: \x1b[31m\nERROR everything is lost\r\n\x07 x\r\n\r\n");
    let edge = checked(&[(&liar, "")], FAIL, "interval = \"100ms\"\nfall = 1");
    wait_until_down(&edge, &liar);
    edge.wait_for_log("server is unhealthy");
    let log = edge.log();
    assert!(!log.contains('\x1b') && !log.contains('\x07'), "{log:?}");
    assert!(log.lines().all(|line| !line.starts_with("ERROR everything")), "{log:?}");
}

/// Probes of many servers go on beside each other, and beside traffic.
#[test]
fn servers_that_hang_hold_nobody_up() {
    let hanging: Vec<Patient> = (0..40).map(|_| Patient::new("hanging")).collect();
    hanging.iter().for_each(|patient| patient.ping(Answers::Never));
    let well = Patient::new("well");
    let servers: Vec<(&Origin, &str)> =
        hanging.iter().chain([&well]).map(|patient| (&patient.origin, "")).collect();
    let edge = checked(
        &servers,
        FAIL,
        "path = \"/ping\"\ninterval = \"100ms\"\ntimeout = \"400ms\"\nfall = 1\nstart = \"down\"\nrise = 1",
    );
    wait_for_row(&edge, &well.origin, "asked at its pace", |row| row.is_up && row.rises >= 5);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..25).for_each(|_| assert_eq!(ask(&edge).text(), "well")));
        }
    });
    assert!(hanging.iter().all(|patient| patient.asked() == 0));
}

/// What this machine lacks is nobody's illness.
#[test]
fn without_descriptors_probes_blame_nobody() {
    let patient = Patient::new("good");
    let edge = Edge::new()
        .descriptors(120)
        .route("upstream = \"app\"")
        .pool("app", &[&patient.origin])
        .toml(&format!("[upstream.app.check]\n{PACE}\nfall = 1"))
        .start();
    wait_until_up(&edge, &patient.origin);
    // While there are none, nobody new is let in here either.
    let mut admin = Socket::connect(edge.admin());
    let mut page =
        || admin.ask("GET /status?format=csv HTTP/1.1\r\nHost: localhost\r\n\r\n").text();
    assert!(page().contains(",up,"));
    // Of clients the last ones are kept; whoever may come in to the admin side takes those, too.
    let crowd: Vec<Socket> = (0..200).map(|_| edge.client()).collect();
    edge.wait_for_log("clients have to wait");
    let insiders: Vec<Socket> = (0..60).map(|_| Socket::connect(edge.admin())).collect();
    let line = edge.wait_for_log("cannot probe; the server is not blamed");
    assert!(line.contains(&patient.origin.address()), "{line}");
    assert!(page().contains(",up,") && page().ends_with(",0,http,0\n"), "{}", page());
    drop((crowd, insiders));
    let passed = row(&edge, &patient.origin).map_or(0, |row| row.rises);
    wait_for_row(&edge, &patient.origin, "asked again", |row| row.falls == 0 && row.rises > passed);
    eventually("it serves", || ask(&edge).status() == 200);
}

#[test]
fn a_stop_does_not_wait_for_probes() {
    let patient = Patient::new("good");
    patient.ping(Answers::Never);
    let mut edge = checked(
        &[(&patient.origin, "")],
        "",
        "path = \"/ping\"\ninterval = \"50ms\"\ntimeout = \"1h\"",
    );
    eventually("a probe hangs", || patient.pings() == 1);
    edge.signal(Signal::TERM);
    assert!(edge.wait_for_exit().success());
}

/// A check in the defaults is that of every pool that says nothing else.
#[test]
fn defaults_give_a_check_to_pools_of_every_source() {
    let (file, api, own) = (Patient::new("file"), Patient::new("api"), Patient::new("own"));
    [&file, &api, &own].iter().for_each(|patient| patient.ping(Answers::Status(500)));
    let edge = Edge::new()
        .toml(&format!("[upstream_defaults]\n{FAIL}\n[upstream_defaults.check]\n{PACE}\nfall = 1"))
        .pool("file", &[&file.origin])
        .pool_of("own", &[(&own.origin, "")], "check = { type = \"off\" }")
        .start();
    edge.post("api", &format!("server {};", api.origin.address()));
    for (pool, status) in [("file", 502), ("api", 502)] {
        eventually(pool, || edge.get(pool, "/").status() == status);
    }
    assert_eq!((edge.get("own", "/").text(), own.pings()), ("own".to_owned(), 0));
}
