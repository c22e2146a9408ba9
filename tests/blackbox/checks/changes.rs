//! Checks follow their servers: through removal, through changes of the pool and of the check,
//! through `down`, and through SIGHUP.

use rustix::process::Signal;

use super::{
    Answers, Patient, Row, ask, checked, counted, posted, row, rows, state, wait_for_row,
    wait_until_down, wait_until_up,
};
use crate::kit::{Edge, Origin, eventually};

const CHECK: &str = "check interval=50 rise=1 fall=1 timeout=5000 type=http default_down=false; ";
const PING: &str = "check_http_send \"GET /ping HTTP/1.0\\r\\n\\r\\n\"; ";

fn line(patient: &Patient) -> String {
    format!("server {}; ", patient.origin.address())
}

/// Waits until that server has been asked so many times more: so much time has passed for the others.
#[track_caller]
pub fn wait_for_pings(patient: &Patient, more: usize) {
    let until = patient.pings() + more;
    eventually("further probes", || patient.pings() >= until);
}

#[test]
fn a_server_that_is_removed_is_no_longer_probed() {
    let (stays, leaves) = (Patient::new("stays"), Patient::new("leaves"));
    let edge = posted(&format!("{}{}{CHECK}{PING}", line(&stays), line(&leaves)));
    wait_until_up(&edge, &leaves.origin);
    edge.post("app", &format!("{}{CHECK}{PING}", line(&stays)));
    assert_eq!(rows(&edge).len(), 1);
    wait_for_pings(&stays, 3);
    let last = leaves.origin.connections();
    wait_for_pings(&stays, 10);
    assert_eq!(leaves.origin.connections(), last);
    assert!(!edge.metrics().contains(&leaves.origin.address()), "nor are its series there");
}

#[test]
fn a_pool_that_is_deleted_is_no_longer_probed_and_begins_anew_when_it_comes_back() {
    let (app, clock) = (Patient::new("app"), Patient::new("clock"));
    app.ping(Answers::Status(500));
    let body = format!("{}{CHECK}{PING}", line(&app));
    let edge = posted(&body);
    edge.post("clock", &format!("{}{CHECK}{PING}", line(&clock)));
    wait_until_down(&edge, &app.origin);
    edge.call("DELETE", "/upstream/app", "");
    wait_for_pings(&clock, 3);
    let last = app.origin.connections();
    wait_for_pings(&clock, 10);
    assert_eq!(app.origin.connections(), last);
    app.ping(Answers::Well);
    edge.post("app", &body);
    assert_eq!(ask(&edge).text(), "app", "optimistic, and nothing is known of it");
    wait_until_up(&edge, &app.origin);
}

#[test]
fn two_pools_judge_the_same_address_for_themselves() {
    let origin = Origin::new(|conn| {
        let Ok(request) = conn.receive() else { return };
        let status = if request.head.target() == "/b" { "500 No" } else { "200 OK" };
        let reply = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = conn.try_send(reply);
    });
    let edge = Edge::new().start();
    for pool in ["a", "b"] {
        let send = format!("check_http_send \"GET /{pool} HTTP/1.0\\r\\n\\r\\n\"; ");
        edge.post(pool, &format!("server {}; {CHECK}{send}", origin.address()));
    }
    let judged = |pool: &str| -> Row {
        rows(&edge).into_iter().find(|row| row.upstream == pool).expect("a line of that pool")
    };
    eventually("b is down", || !judged("b").is_up);
    eventually("a has been asked often", || judged("a").rises > 5);
    assert!(judged("a").is_up);
    assert_eq!((edge.get("a", "/").status(), edge.get("b", "/").status()), (200, 502));
    edge.call("DELETE", "/upstream/b", "");
    let before = judged("a").rises;
    eventually("a is still asked", || judged("a").rises > before + 5);
    assert_eq!(edge.get("a", "/").status(), 200);
}

#[test]
fn a_post_of_the_same_list_forgets_nothing() {
    let sick = Patient::new("sick");
    sick.ping(Answers::Status(500));
    let body = format!("{}{CHECK}{PING}", line(&sick));
    let edge = posted(&body);
    wait_for_row(&edge, &sick.origin, "down", |row| !row.is_up && row.falls > 2);
    for _ in 0..20 {
        let before = row(&edge, &sick.origin).unwrap();
        edge.post("app", &body);
        assert_eq!(ask(&edge).status(), 502, "an optimist would have let it in");
        let after = row(&edge, &sick.origin).unwrap();
        assert!(!after.is_up && after.falls >= before.falls, "{before:?} {after:?}");
    }
}

#[test]
fn changes_elsewhere_in_the_list_forget_nothing() {
    let (sick, well) = (Patient::new("sick"), Patient::new("well"));
    sick.ping(Answers::Status(500));
    let address = sick.origin.address();
    let edge = posted(&format!("{}{}{CHECK}{PING}", line(&sick), line(&well)));
    wait_until_down(&edge, &sick.origin);
    let pace = CHECK.replace("interval=50", "interval=40");
    for body in [
        format!("{}{}{}{CHECK}{PING}", line(&sick), line(&well), line(&Patient::new("new"))),
        format!("{}server {address} weight=7; {CHECK}{PING}", line(&well)),
        format!("least_conn; {}{}{CHECK}{PING}", line(&sick), line(&well)),
        format!("{}{}{pace}{PING}", line(&sick), line(&well)),
    ] {
        edge.post("app", &body);
        assert!(!row(&edge, &sick.origin).unwrap().is_up, "{body}");
        (0..3).for_each(|_| assert_ne!(ask(&edge).text(), "sick", "{body}"));
    }
    assert_eq!(sick.asked(), 0);
}

#[test]
fn a_check_that_asks_otherwise_begins_anew() {
    let patient = Patient::new("good");
    patient.ping(Answers::Status(500));
    let edge = posted(&format!("{}{CHECK}{PING}", line(&patient)));
    wait_until_down(&edge, &patient.origin);
    let other = PING.replace("/ping", "/health");
    edge.post("app", &format!("{}{CHECK}{other}", line(&patient)));
    assert_eq!(ask(&edge).text(), "good", "what the old one found says nothing any more");
    wait_until_up(&edge, &patient.origin);
    let passed = counted(&edge, "tidegate_checks_total", &patient.origin, "outcome=\"failed\"");
    assert_eq!(passed, 0, "counted from its beginning");
    let down = CHECK.replace("default_down=false", "default_down=true");
    patient.ping(Answers::Never);
    edge.post("app", &format!("{}{down}{PING}", line(&patient)));
    assert_eq!(ask(&edge).status(), 502, "and a pessimist lets nobody in");
}

/// A probe under way when its check is changed says nothing about the new one.
#[test]
fn a_probe_of_the_old_check_is_not_heard() {
    let patient = Patient::new("good");
    patient.ping(Answers::Never);
    let check = "check interval=60000 rise=1 fall=1 timeout=8000 type=http default_down=false; ";
    let edge = posted(&format!("{}{check}{PING}", line(&patient)));
    eventually("a probe hangs", || patient.pings() == 1);
    let other = PING.replace("/ping", "/health");
    edge.post("app", &format!("{}{check}{other}", line(&patient)));
    wait_until_up(&edge, &patient.origin);
    patient.origin.wait_for_ended(2);
    let row = row(&edge, &patient.origin).unwrap();
    assert!(row.is_up && row.falls == 0, "{row:?}");
}

#[test]
fn who_was_down_is_checked_before_it_serves() {
    let (back, other) = (Patient::new("back"), Patient::new("other"));
    back.ping(Answers::Status(500));
    let down = format!("server {} down; {}{CHECK}{PING}", back.origin.address(), line(&other));
    let up = format!("{}{}{CHECK}{PING}", line(&back), line(&other)).replace("fall=1", "fall=1000");
    let edge = posted(&down.replace("fall=1", "fall=1000"));
    wait_until_up(&edge, &other.origin);
    assert_eq!((state(&edge, &back.origin).as_str(), back.pings()), ("down", 0));
    edge.post("app", &up);
    assert_eq!(state(&edge, &back.origin), "checking", "although the check is optimistic");
    wait_for_pings(&back, 3);
    (0..6).for_each(|_| assert_eq!(ask(&edge).text(), "other"));
    back.ping(Answers::Well);
    eventually("it has its share", || ask(&edge).text() == "back");
    assert_eq!(state(&edge, &back.origin), "up");
}

#[test]
fn a_server_that_is_set_down_is_no_longer_probed() {
    let (down, other) = (Patient::new("down"), Patient::new("other"));
    let edge = posted(&format!("{}{}{CHECK}{PING}", line(&down), line(&other)));
    wait_until_up(&edge, &down.origin);
    edge.post(
        "app",
        &format!("server {} down; {}{CHECK}{PING}", down.origin.address(), line(&other)),
    );
    assert_eq!(state(&edge, &down.origin), "down");
    wait_for_pings(&other, 3);
    let last = down.pings();
    wait_for_pings(&other, 10);
    assert_eq!(down.pings(), last);
}

/// A configuration whose pool "app" has this check, or none.
fn reload(edge: &Edge, check: Option<&str>) {
    edge.forget_log();
    edge.rewrite(|text| {
        let (start, _) = text.split_once("[upstream.app.check]").unwrap_or((&text, ""));
        let table = check.map(|check| format!("[upstream.app.check]\n{check}\n"));
        format!("{start}{}", table.unwrap_or_default())
    });
    edge.signal(Signal::HUP);
    edge.wait_for_log("configuration reloaded");
}

const FILE: &str = "path = \"/ping\"\ninterval = \"50ms\"\nfall = 1\nrise = 1";

#[test]
fn sighup_adds_and_removes_a_check() {
    let (patient, clock) = (Patient::new("good"), Patient::new("clock"));
    patient.ping(Answers::Status(500));
    let edge = Edge::new()
        .route("upstream = \"app\"")
        .pool("clock", &[&clock.origin])
        .toml(&format!("[upstream.clock.check]\n{FILE}"))
        .pool_of("app", &[(&patient.origin, "")], "when_all_down = \"fail\"")
        .start();
    assert_eq!((ask(&edge).text().as_str(), row(&edge, &patient.origin)), ("good", None));
    reload(&edge, Some(FILE));
    wait_until_down(&edge, &patient.origin);
    assert_eq!(ask(&edge).status(), 502);
    reload(&edge, None);
    assert_eq!((ask(&edge).text().as_str(), row(&edge, &patient.origin)), ("good", None));
    wait_for_pings(&clock, 3);
    let last = patient.pings();
    wait_for_pings(&clock, 10);
    assert_eq!(patient.pings(), last);
}

#[test]
fn sighup_changes_a_check() {
    let patient = Patient::new("good");
    patient.ping(Answers::Status(500));
    let edge = checked(&[(&patient.origin, "")], "when_all_down = \"fail\"", FILE);
    wait_until_down(&edge, &patient.origin);
    reload(&edge, Some(&FILE.replace("/ping", "/health")));
    assert_eq!(ask(&edge).text(), "good");
    wait_until_up(&edge, &patient.origin);
    reload(&edge, Some(FILE));
    wait_until_down(&edge, &patient.origin);
}

#[test]
fn sighup_with_the_same_check_forgets_nothing() {
    let patient = Patient::new("good");
    patient.ping(Answers::Status(500));
    let edge = checked(&[(&patient.origin, "")], "when_all_down = \"fail\"", FILE);
    wait_for_row(&edge, &patient.origin, "down", |row| !row.is_up && row.falls > 2);
    for interval in ["50ms", "40ms", "40ms"] {
        reload(&edge, Some(&FILE.replace("50ms", interval)));
        assert_eq!(ask(&edge).status(), 502);
        assert!(row(&edge, &patient.origin).is_some_and(|row| !row.is_up && row.falls > 2));
    }
}

#[test]
fn a_restart_keeps_the_check_that_came_through_dyups() {
    let patient = Patient::new("good");
    patient.ping(Answers::Status(500));
    let mut edge = Edge::new().route("upstream = \"app\"").durable().start();
    edge.post("app", &format!("{}{CHECK}{PING}", line(&patient)));
    wait_until_down(&edge, &patient.origin);
    edge.kill9();
    edge.restart();
    wait_until_down(&edge, &patient.origin);
    assert_eq!(ask(&edge).status(), 502);
    patient.ping(Answers::Well);
    wait_until_up(&edge, &patient.origin);
    assert_eq!(ask(&edge).text(), "good");
}
