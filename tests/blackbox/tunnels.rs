//! Tunnels, once they are open: no byte is lost or altered, both ends feel what the other does, and
//! nothing that happens to a tunnel's pool ends it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use fastrand::Rng;
use rustix::process::Signal;

use crate::{
    kit::{Origin, RaiseOnDrop, SWITCHING, Socket, bytes, env_number, eventually},
    websocket::{ASK, echoes, edge, open},
};

#[test]
fn a_megabyte_of_anything_goes_both_ways_unharmed() {
    let origin = Origin::echo_tunnel();
    let edge = edge().pool("app", &[&origin]).start();
    let mut client = open(&edge);
    let sent = bytes(&mut Rng::with_seed(5), 1 << 20);
    let mut writer = Socket::over(client.inner().try_clone().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| sent.chunks(7_001).for_each(|piece| writer.send(piece)));
        assert!(client.exactly(sent.len()).unwrap() == sent, "a byte was lost or altered");
    });
}

#[test]
fn a_half_close_of_the_client_is_carried() {
    let origin = Origin::new(|conn| {
        conn.receive().unwrap();
        conn.send(SWITCHING);
        let all = conn.rest().unwrap();
        conn.send(format!("{} bytes, and the way back is open", all.len()));
    });
    let edge = edge().pool("app", &[&origin]).start();
    let mut client = open(&edge);
    client.send("12345");
    client.finish();
    assert_eq!(client.rest().unwrap(), b"5 bytes, and the way back is open");
}

#[test]
fn a_half_close_of_the_server_is_carried() {
    let origin = Origin::new(|conn| {
        conn.receive().unwrap();
        conn.send(format!("{SWITCHING}that is all from me"));
        conn.finish();
        assert_eq!(conn.rest().unwrap(), b"but not from me");
    });
    let edge = edge().pool("app", &[&origin]).start();
    let mut client = open(&edge);
    assert_eq!(client.rest().unwrap(), b"that is all from me");
    client.send("but not from me");
    client.finish();
    origin.wait_for_ended(1);
}

#[test]
fn a_reset_of_either_end_ends_the_other() {
    let origin = Origin::echo_tunnel();
    let edge = edge().pool("app", &[&origin]).start();
    open(&edge).reset();
    origin.wait_for_ended(1);
    let resetting = Origin::new(|conn| {
        conn.receive().unwrap();
        conn.send(SWITCHING);
        let _ = conn.some();
        conn.reset();
    });
    edge.post("app", &format!("server {};", resetting.address()));
    let mut client = open(&edge);
    client.send("now");
    client.expect_end();
}

#[test]
fn a_slow_end_holds_back_the_other() {
    let sent = Arc::new(AtomicUsize::new(0));
    let origin = {
        let sent = Arc::clone(&sent);
        Origin::new(move |conn| {
            conn.receive().unwrap();
            conn.send(SWITCHING);
            let part = vec![7; 1 << 20];
            for _ in 0..128 {
                if conn.try_send(&part).is_err() {
                    return;
                }
                sent.fetch_add(part.len(), Ordering::SeqCst);
            }
        })
    };
    let edge = edge().pool("app", &[&origin]).start();
    let before = edge.resident();
    let mut client = open(&edge);
    let mut last = usize::MAX;
    eventually("the server is held back", || {
        thread::sleep(Duration::from_millis(300));
        let now = sent.load(Ordering::SeqCst);
        std::mem::replace(&mut last, now) == now
    });
    assert!(last < 64 << 20, "{last} bytes went into nowhere");
    assert!(edge.resident() < before + (16 << 20), "the proxy swallowed them");
    let mut left = 128 << 20;
    while left > 0 {
        left -= client.some().unwrap().len();
    }
}

/// The idle time-out of the pool holds, not those of HTTP.
#[test]
fn a_quiet_tunnel_lives_as_long_as_its_pool_says() {
    let origin = Origin::echo_tunnel();
    let edge = edge()
        .listener(
            "[listener.timeouts]\nkeepalive = \"200ms\"\nheader = \"200ms\"\nbody = \"200ms\"",
        )
        .toml(&format!(
            "[upstream.app]\nservers = [{0:?}]\ntimeouts = {{ read = \"200ms\" }}\n\
             [upstream.brief]\nservers = [{0:?}]\ntunnel = {{ idle_timeout = \"1s\" }}",
            origin.address()
        ))
        .start();
    let mut long = open(&edge);
    let mut brief = edge.client();
    brief.send(ASK.replace("Host: app", "Host: brief"));
    assert_eq!(brief.head().unwrap().status(), 101);
    brief.expect_end();
    echoes(&mut long, b"still here, far beyond 200 ms");
}

/// Everything that can happen to a pool happens, and the tunnel does not notice.
#[test]
fn a_tunnel_survives_every_change() {
    let (old, new) = (Origin::echo_tunnel(), Origin::named("new"));
    let edge = edge().durable().pool("app", &[&old]).start();
    let mut tunnel = open(&edge);
    let other = format!("server {};", new.address());
    edge.post("app", &other);
    echoes(&mut tunnel, b"after a POST without its server");
    assert_eq!(edge.call("DELETE", "/upstream/app", "").text(), "success");
    echoes(&mut tunnel, b"after the DELETE");
    edge.post("app", &other);
    echoes(&mut tunnel, b"after the pool came again");
    edge.post("app", &format!("server {} down;", old.address()));
    echoes(&mut tunnel, b"after its server came again, down");
    edge.rewrite(|text| text.replace("[\"websocket\"]", "[]"));
    edge.signal(Signal::HUP);
    eventually("the route no longer allows upgrades", || {
        edge.post("app", &other);
        edge.client().ask(ASK).text() == "new" && !new.last_request().head.has("upgrade")
    });
    echoes(&mut tunnel, b"after a reload that forbids it");
}

/// `TIDEGATE_TUNNELS` (200) of them echo while `TIDEGATE_TUNNEL_CHANGES` (30) changes go by.
#[test]
fn many_tunnels_survive_many_changes() {
    let count = env_number("TIDEGATE_TUNNELS", 200);
    let (one, two) = (Origin::echo_tunnel(), Origin::echo_tunnel());
    let edge = edge().pool("app", &[&one]).start();
    let mut tunnels: Vec<Socket> = (0..count).map(|_| open(&edge)).collect();
    let changed = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _done = RaiseOnDrop(&changed);
            for change in 0..env_number("TIDEGATE_TUNNEL_CHANGES", 30) {
                let server = [&one, &two][change % 2];
                edge.post("app", &format!("server {};", server.address()));
            }
            assert_eq!(edge.call("DELETE", "/upstream/app", "").text(), "success");
            edge.signal(Signal::HUP);
            edge.post("app", &format!("server {};", two.address()));
        });
        let mut random = Rng::with_seed(6);
        let mut last_round = false;
        while !last_round {
            last_round = changed.load(Ordering::SeqCst);
            let words: Vec<Vec<u8>> = tunnels.iter().map(|_| bytes(&mut random, 64)).collect();
            for (tunnel, word) in tunnels.iter_mut().zip(&words) {
                tunnel.send(word);
            }
            for (tunnel, word) in tunnels.iter_mut().zip(&words) {
                assert!(tunnel.exactly(word.len()).unwrap() == *word, "a tunnel lost its bytes");
            }
        }
    });
    assert_eq!(one.connections(), count);
}

#[test]
fn tunnels_count_against_max_conns_and_give_their_place_back() {
    let origin = Origin::echo_tunnel();
    let edge = edge()
        .toml(&format!(
            "[upstream.app]\nservers = [{{ address = {:?}, max_conns = 1 }}]",
            origin.address()
        ))
        .start();
    let tunnel = open(&edge);
    assert_eq!(edge.client().ask(ASK).status(), 502);
    drop(tunnel);
    eventually("the place is free again", || {
        let mut client = edge.client();
        client.send(ASK);
        client.head().unwrap().status() == 101
    });
}

#[test]
fn tunnels_are_in_the_metrics_and_leave_them() {
    let origin = Origin::echo_tunnel();
    let edge = edge().pool("app", &[&origin]).start();
    let series = format!(
        "tidegate_server_tunnels_active{{upstream=\"app\",server=\"{}\"}}",
        origin.address()
    );
    let tunnels: Vec<Socket> = (0..3).map(|_| open(&edge)).collect();
    eventually("3 tunnels are counted", || edge.metric(&series) == Some(3.0));
    drop(tunnels);
    eventually("none is counted", || edge.metric(&series) == Some(0.0));
    let closed = "tidegate_tunnel_closes_total{upstream=\"app\"";
    assert_eq!(edge.metric(closed), Some(3.0), "{}", edge.metrics());
}
