//! What a reload does not change notices nothing of it.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::{GET, listener, reload};
use crate::{
    kit::{Edge, Origin, RaiseOnDrop, Socket, eventually},
    websocket::{ASK, echoes},
};

const ROUTES: usize = 1_000;
const TUNNELS: usize = 50;
const PIECE: usize = 64 * 1024;
const PIECES: usize = 400;

/// Routes to the pool "web", all but the first two, and one for each tunnel's and the download's way.
fn routes(changed: &str) -> String {
    let mut text = "[[route]]\npath = \"/ws\"\nupstream = \"tunnels\"\nupgrade = [\"websocket\"]\n\
                    [[route]]\npath = \"/download\"\nupstream = \"download\"\n"
        .to_owned();
    for number in 0..ROUTES {
        let pool = if number == ROUTES / 2 { changed } else { "web" };
        writeln!(text, "[[route]]\npath = \"/{number:04}/\"\nupstream = {pool:?}").unwrap();
    }
    text
}

/// Lines of the metrics that nobody may have changed: they are of what the reload leaves alone.
fn of_others(page: &str) -> Vec<String> {
    let names = ["listener=\"quiet\"", "upstream=\"quiet\""];
    let is_one = |line: &&str| names.iter().any(|name| line.contains(name));
    page.lines().filter(is_one).map(str::to_owned).collect()
}

#[test]
fn one_route_of_a_thousand() {
    let (echo, web, other) = (Origin::echo_tunnel(), Origin::named("web"), Origin::named("other"));
    let quiet = Origin::named("quiet");
    let (moved, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let download = Origin::new(|conn| {
        if conn.receive().is_err() {
            return;
        }
        // Nobody reads it for a while, on purpose.
        conn.inner().set_write_timeout(None).unwrap();
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PIECE * PIECES));
        (0..PIECES).for_each(|number| conn.send([number as u8; PIECE]));
    });
    let edge = Edge::new()
        .route("path = \"/nowhere\"\nupstream = \"web\"")
        .pool("tunnels", &[&echo])
        .pool("web", &[&web])
        .pool("other", &[&other])
        .pool("quiet", &[&quiet])
        .pool("download", &[&download])
        .toml(&listener("quiet", ""))
        .toml("[[route]]\nlistener = [\"quiet\"]\npath = \"/quiet\"\nupstream = \"quiet\"")
        .toml(&routes("web"))
        .expect_listener("quiet")
        .start();
    let way = format!("GET /{:04}/ HTTP/1.1\r\nHost: app\r\n\r\n", ROUTES / 2);
    assert_eq!(
        Socket::connect(edge.port("quiet")).ask(GET.replace("/ ", "/quiet ")).text(),
        "quiet"
    );
    eventually("its connection has ended", || {
        edge.metric("tidegate_connections_active{listener=\"quiet\"}") == Some(0.0)
    });
    let before = of_others(&edge.metrics());
    let mut kept = edge.client();
    assert_eq!(kept.ask(&way).text(), "web");
    let tunnel = || {
        let mut tunnel = edge.client();
        tunnel.send(ASK);
        assert_eq!(tunnel.head().unwrap().status(), 101);
        tunnel
    };
    let mut tunnels: Vec<Socket> = (0..TUNNELS).map(|_| tunnel()).collect();
    let mut slow = edge.client();
    slow.send(GET.replace("/ ", "/download "));
    assert_eq!(slow.head().unwrap().status(), 200);
    thread::scope(|scope| {
        let _stop = RaiseOnDrop(&stopped);
        scope.spawn(|| {
            while !stopped.load(Ordering::SeqCst) {
                for (number, tunnel) in tunnels.iter_mut().enumerate() {
                    echoes(tunnel, format!("tunnel {number}").as_bytes());
                }
                moved.fetch_add(1, Ordering::SeqCst);
            }
        });
        for round in 0..6 {
            let (from, to) = if round % 2 == 0 { ("web", "other") } else { ("other", "web") };
            edge.rewrite(|text| text.replace(&routes(from), &routes(to)));
            let so_far = moved.load(Ordering::SeqCst);
            let said = reload(&edge);
            assert_eq!(said["routes_changed"], true);
            assert_eq!(said["changed"], serde_json::json!([]));
            assert_eq!(
                kept.ask(&way).text(),
                to,
                "in force at once, on a connection that was there"
            );
            eventually("every tunnel has echoed since", || {
                moved.load(Ordering::SeqCst) >= so_far + 2
            });
            // A part of the download between any two reloads.
            for piece in 0..PIECES / 8 {
                let number = round * (PIECES / 8) + piece;
                assert!(slow.exactly(PIECE).unwrap() == [number as u8; PIECE], "piece {number}");
            }
        }
    });
    for number in 6 * (PIECES / 8)..PIECES {
        assert!(slow.exactly(PIECE).unwrap() == [number as u8; PIECE], "piece {number}");
    }
    assert_eq!(slow.ask(&way).text(), "web", "the same connection goes on");
    assert_eq!(echo.connections(), TUNNELS);
    assert_eq!(download.connections(), 1);
    assert_eq!(of_others(&edge.metrics()), before, "counters of others are what they were");
}
