//! The cases H14 to H49 of Tengine's check module, as bodies of dyups. Where Tengine's tests sleep,
//! these wait for the verdict.

use std::{thread, time::Duration};

use super::{
    Answers, Patient, ask, counted, posted, row, wait_for_row, wait_until_down, wait_until_up,
};
use crate::kit::{Edge, Origin, eventually, named_reply};

/// Every way to choose a server that Tengine's tests go through.
const METHODS: [&str; 3] = ["", "ip_hash; ", "least_conn; "];
const PING: &str = "check_http_send \"GET /ping HTTP/1.0\\r\\n\\r\\n\"; ";
const KEEPALIVE_PING: &str = "check_keepalive_requests 10; \
    check_http_send \"GET /ping HTTP/1.1\\r\\nHost: a\\r\\nConnection: keep-alive\\r\\n\\r\\n\"; ";

/// `check` with an interval that a test can wait for; nobody falls by being slow.
fn check(words: &str) -> String {
    format!("check interval=200 rise=1 fall=5 timeout=5000 {words}; ")
}

fn servers(list: &[&Origin]) -> String {
    list.iter().map(|origin| format!("server {}; ", origin.address())).collect()
}

fn port(origin: &Origin) -> String {
    format!("port={}", origin.address().rsplit(':').next().unwrap())
}

#[track_caller]
fn expect(edge: &Edge, case: &str, text: &str) {
    for _ in 0..6 {
        let answer = ask(edge);
        assert_eq!((answer.status(), answer.text().as_str()), (200, text), "{case}");
    }
}

#[track_caller]
fn expect_502(edge: &Edge, case: &str) {
    (0..3).for_each(|_| assert_eq!(ask(edge).status(), 502, "{case}"));
}

/// How many requests got as far as trying that server.
#[track_caller]
fn attempts(edge: &Edge, origin: &Origin) -> u64 {
    let outcomes = ["answered", "connect_failed", "failed", "timeout"];
    let of = |outcome: &&str| {
        counted(edge, "tidegate_upstream_attempts_total", origin, &format!("outcome=\"{outcome}\""))
    };
    outcomes.iter().map(of).sum()
}

#[test]
fn h14_h19_h25_a_good_server_is_used() {
    for method in METHODS {
        let good = Origin::named("good");
        let edge = posted(&format!("{method}{}{}", servers(&[&good]), check("type=http")));
        wait_until_up(&edge, &good);
        expect(&edge, method, "good");
    }
}

#[test]
fn h15_h20_h26_one_that_refuses_is_left_out() {
    for method in METHODS {
        let (good, dead) = (Origin::named("good"), Origin::refusing());
        let edge = posted(&format!("{method}{}{}", servers(&[&good, &dead]), check("type=http")));
        wait_until_up(&edge, &good);
        expect(&edge, method, "good");
        assert_eq!(attempts(&edge, &dead), 0, "{method}: nobody had to find out");
    }
}

#[test]
fn h16_h21_h27_a_404_is_down_and_so_is_who_has_not_been_asked() {
    for method in METHODS {
        let patient = Patient::new("good");
        patient.ping(Answers::Never);
        let list = servers(&[&patient.origin]);
        let edge = posted(&format!("{method}{list}{}{PING}", check("type=http")));
        expect_502(&edge, method);
        patient.ping(Answers::Status(404));
        edge.post("app", &format!("{method}{list}{}{KEEPALIVE_PING}", check("type=http")));
        wait_until_down(&edge, &patient.origin);
        expect_502(&edge, method);
        assert_eq!(patient.asked(), 0, "{method}");
    }
}

#[test]
fn h17_h22_h28_without_a_check_everything_is_as_usual() {
    for method in METHODS {
        let good = Origin::named("good");
        let edge = posted(&format!("{method}{}", servers(&[&good])));
        expect(&edge, method, "good");
    }
}

#[test]
fn h18_h23_h24_h35a_a_check_is_of_its_pool_alone() {
    for method in METHODS {
        for kind in ["type=http", "type=tcp"] {
            let (good, dead) = (Origin::named("good"), Origin::refusing());
            let edge = Edge::new().start();
            let list = servers(&[&good]);
            let words = format!("{kind} {}", port(&dead));
            edge.post("checked", &format!("{method}{list}{}", check(&words)));
            edge.post("other", &format!("{method}{list}"));
            assert_eq!(edge.get("checked", "/").status(), 502, "{method}{kind}");
            assert_eq!(edge.get("other", "/").text(), "good", "{method}{kind}");
        }
    }
}

#[test]
fn h29_h43_the_port_of_the_check_is_down_and_so_is_the_server() {
    let (good, dead) = (Origin::named("good"), Origin::refusing());
    let words = format!("type=http {}", port(&dead));
    let edge = posted(&format!("{}{}", servers(&[&good]), check(&words)));
    expect_502(&edge, "H29 at once");
    wait_until_down(&edge, &good);
    expect_502(&edge, "H29");
    assert_eq!(good.connections(), 0, "H43");
}

#[test]
fn h30_a_check_that_passes_elsewhere_does_not_make_a_dead_server_answer() {
    let (good, dead) = (Origin::named("good"), Origin::refusing());
    let words = format!("type=http {}", port(&good));
    let edge = posted(&format!("{}{}", servers(&[&dead]), check(&words)));
    expect_502(&edge, "H30 at once");
    wait_until_up(&edge, &dead);
    expect_502(&edge, "H30");
}

#[test]
fn h31_probes_that_keep_their_connection() {
    let good = Origin::named("good");
    let edge = posted(&format!("{}{}{KEEPALIVE_PING}", servers(&[&good]), check("type=http")));
    wait_for_row(&edge, &good, "up by probe after probe", |row| row.is_up && row.rises > 3);
    expect(&edge, "H31", "good");
}

#[track_caller]
fn refused(body: &str, reason: &str) {
    let edge = Edge::new().start();
    let answer = edge.call("POST", "/upstream/app", body);
    assert_eq!((answer.status(), answer.text().as_str()), (500, "add server failed"), "{body}");
    let said = answer.field("x-tidegate-reason").unwrap_or_default();
    assert!(said.contains(reason), "{body}: {said}");
    assert_eq!(edge.call("GET", "/list", "").status(), 204, "nothing has changed");
}

#[test]
fn h32_check_http_send_does_not_go_with_tcp() {
    refused(
        "server 127.0.0.1:1; check type=tcp; check_http_send \"GET / HTTP/1.0\\r\\n\\r\\n\";",
        "check_http_send",
    );
}

#[test]
fn h33_check_http_send_does_not_come_before_check() {
    refused(
        "server 127.0.0.1:1; check_http_send \"GET / HTTP/1.0\\r\\n\\r\\n\"; check type=http;",
        "check_http_send",
    );
}

#[test]
fn h34_tcp_finds_the_one_of_three_that_listens() {
    for method in METHODS {
        for more in ["", "check_keepalive_requests 10; "] {
            let good = Origin::named("good");
            let dead = [Origin::refusing(), Origin::refusing()];
            let list = servers(&[&dead[0], &good, &dead[1]]);
            let edge = posted(&format!("{method}{list}{}{more}", check("type=tcp")));
            wait_until_up(&edge, &good);
            expect(&edge, method, "good");
            assert_eq!(attempts(&edge, &dead[0]) + attempts(&edge, &dead[1]), 0, "{method}{more}");
        }
    }
}

#[test]
fn h35b_tcp_asks_the_port_of_the_check() {
    let (good, dead) = (Origin::named("good"), Origin::refusing());
    let words = |origin: &Origin| check(&format!("type=tcp {}", port(origin)));
    let edge = posted(&format!("{}{}", servers(&[&dead]), words(&good)));
    wait_until_up(&edge, &dead);
    expect_502(&edge, "H35b: the server is dead");
    edge.post("app", &format!("{}{}", servers(&[&good]), words(&dead)));
    wait_until_down(&edge, &good);
    expect_502(&edge, "H35b: the port of the check is");
}

/// A server with this body to everything; it stays up over many probes, and answers whole.
#[track_caller]
fn stays_up(case: &str, body: &'static str, send: &str) {
    let good = Origin::new(move |conn| conn.answer_all(&named_reply(body)));
    let check = "check interval=50 rise=1 fall=1 timeout=5000 type=http default_down=false; ";
    let edge = posted(&format!("{}{check}{send}", servers(&[&good])));
    wait_for_row(&edge, &good, case, |row| row.rises >= 12);
    let failed = counted(&edge, "tidegate_checks_total", &good, "outcome=\"failed\"");
    assert_eq!(failed, 0, "{case}");
    expect(&edge, case, body);
}

#[test]
fn h36_a_body_with_its_length_under_keepalive() {
    stays_up("H36", "hello", KEEPALIVE_PING);
}

#[test]
fn h37_a_body_of_several_hundred_bytes_under_keepalive() {
    stays_up("H37", String::leak("0123456789".repeat(70)), KEEPALIVE_PING);
}

#[test]
fn h38_the_usual_probe_is_of_http_1_0() {
    let good = Origin::named("good");
    let edge = posted(&format!("{}{}", servers(&[&good]), check("type=http")));
    wait_until_up(&edge, &good);
    let probe = good.last_request();
    assert_eq!(probe.head.raw, b"GET / HTTP/1.0\r\n\r\n", "H38: {probe:?}");
    stays_up("H38", "hello", "");
}

#[test]
fn h39_one_404_is_enough_with_fall_1() {
    let patient = Patient::new("good");
    patient.ping(Answers::Status(404));
    let check = "check interval=200 rise=1 fall=1 timeout=5000 type=http default_down=false; ";
    let edge = posted(&format!("{}{check}{KEEPALIVE_PING}", servers(&[&patient.origin])));
    wait_until_down(&edge, &patient.origin);
    expect_502(&edge, "H39");
}

/// The head decides; the rest may take its time.
#[test]
fn h40_a_slow_body_is_not_waited_for() {
    let slow = Origin::new(|conn| {
        while let Ok(request) = conn.receive() {
            if request.head.target() != "/ping" {
                conn.send(named_reply("good"));
                continue;
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
            // 500 bytes a second, for as long as anybody wants them.
            while conn.try_send([b'x'; 50]).is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
            return;
        }
    });
    let check = "check interval=100 rise=1 fall=2 timeout=5000 type=http default_down=false; ";
    let edge = posted(&format!("{}{check}{KEEPALIVE_PING}", servers(&[&slow])));
    wait_for_row(&edge, &slow, "H40", |row| row.is_up && row.rises >= 10);
    assert_eq!(counted(&edge, "tidegate_checks_total", &slow, "outcome=\"failed\""), 0, "H40");
    expect(&edge, "H40", "good");
}

/// Three tests of unix sockets: `port` is not for them, and so does not keep anybody up or down.
fn with_unix(edge: Edge, server: &str, backup: &Origin, asked: &Origin) -> Edge {
    let edge = edge.route("upstream = \"app\"").toml("[upstream_defaults.next]\non = []").start();
    let check = format!(
        "check interval=100 rise=1 fall=2 timeout=5000 type=http default_down=false {}; ",
        port(asked)
    );
    edge.post("app", &format!("server {server}; server {} backup; {check}", backup.address()));
    edge
}

#[test]
fn h41_a_unix_socket_that_is_not_there_leaves_it_to_the_backup() {
    let (backup, asked) = (Origin::named("backup"), Origin::named("asked"));
    let edge = Edge::new();
    let server = format!("unix:{}", edge.directory().join("nobody.sock").display());
    let edge = with_unix(edge, &server, &backup, &asked);
    eventually("H41: the backup serves", || ask(&edge).text() == "backup");
    expect(&edge, "H41", "backup");
}

#[test]
fn h42_a_unix_socket_is_asked_itself() {
    let (backup, asked) = (Origin::named("backup"), Origin::refusing());
    let edge = Edge::new();
    let unix = Origin::unix(&edge.directory().join("app.sock"), |conn| {
        conn.answer_all(&named_reply("unix"));
    });
    let edge = with_unix(edge, &unix.address(), &backup, &asked);
    wait_for_row(&edge, &unix, "H42", |row| row.is_up && row.rises > 2);
    wait_until_down(&edge, &backup);
    expect(&edge, "H42", "unix");
}

/// One that answers upgrades and pings with 101, and one that answers everything with 200.
fn two_worlds() -> (Origin, Origin) {
    let plain = Origin::named("plain");
    let upgrading = Origin::new(|conn| {
        while let Ok(request) = conn.receive() {
            let is_probe = request.head.target() == "/ping";
            let reply = if is_probe {
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                    .to_vec()
            } else {
                named_reply("upgrading")
            };
            if conn.try_send(reply).is_err() {
                return;
            }
        }
    });
    (plain, upgrading)
}

#[test]
fn h44_a_websocket_handshake_finds_who_upgrades() {
    let (plain, upgrading) = two_worlds();
    let send = "check_http_send \"GET /ping HTTP/1.1\\r\\nHost: a\\r\\nConnection: Upgrade\\r\\n\
                Upgrade: websocket\\r\\nSec-WebSocket-Version: 13\\r\\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n\"; \
                check_http_expect_alive http_1xx; ";
    let list = servers(&[&plain, &upgrading]);
    let edge = posted(&format!("{list}{}{send}", check("type=http")));
    wait_until_up(&edge, &upgrading);
    wait_until_down(&edge, &plain);
    expect(&edge, "H44", "upgrading");
}

#[test]
fn h45_a_plain_probe_finds_who_does_not() {
    let (plain, upgrading) = two_worlds();
    let list = servers(&[&plain, &upgrading]);
    let expected = "check_http_expect_alive http_2xx; ";
    let edge = posted(&format!("{list}{}{PING}{expected}", check("type=http")));
    wait_until_up(&edge, &plain);
    wait_until_down(&edge, &upgrading);
    expect(&edge, "H45", "plain");
    assert_eq!(row(&edge, &plain).map(|row| row.kind), Some("http".to_owned()));
}

/// What is not there is refused by its name, H46 to H49 among it.
#[test]
fn h46_to_h49_fastcgi_mysql_and_ajp_are_refused() {
    for kind in ["fastcgi", "mysql", "ajp"] {
        refused(&format!("server 127.0.0.1:1; check type={kind};"), kind);
    }
    refused(
        "server 127.0.0.1:1; check type=http; check_fastcgi_param REQUEST_URI /redir;",
        "check_fastcgi_param",
    );
}
