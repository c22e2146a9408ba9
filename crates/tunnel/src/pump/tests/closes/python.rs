//! A second judge: what both sides have heard in many cases, as Python's websockets reads it.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use super::{Heard, Kind, check, judge::Frame, payload, stock, world::HEAD, world::World};

const CASES: u64 = 2_000;

#[test]
fn python_reads_the_same_frames_and_closes() {
    let Ok(python) = std::env::var("TIDEGATE_PYTHON") else {
        return eprintln!(
            "SKIPPED: TIDEGATE_PYTHON names no Python with websockets; run scripts/test"
        );
    };
    let (stock, first, mut lines) = (stock(), fastrand::u64(..), String::new());
    for case in 0..CASES {
        let mut world = World::draw(&stock, first.wrapping_add(case), true);
        world.play();
        let [down, up] = check(&world);
        if world.kind == Kind::WebSocket {
            let heard = world.pump.client.heard.get(HEAD.len()..).unwrap_or_default();
            tell(&mut lines, "client", heard, &world, &down);
            tell(&mut lines, "server", &world.pump.server.heard, &world, &up);
        }
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python/closes.py");
    let mut judge = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .spawn()
        .expect("TIDEGATE_PYTHON can be run");
    let said = judge.stdin.take().expect("it is piped").write_all(lines.as_bytes());
    let judged = judge.wait().expect("it is ours");
    assert!(judged.success() && said.is_ok(), "the first case was {first}");
}

/// One line of what `closes.py` reads.
fn tell(lines: &mut String, role: &str, heard: &[u8], world: &World, found: &Heard) {
    let (mut frames, mut at) = (Vec::new(), 0);
    while let Ok(Some(frame)) = Frame::parse(&heard[at..]) {
        let header = &frame.header;
        let (opcode, fin) = (u8::from(header.opcode), u8::from(header.is_final));
        frames.push(format!("{opcode}:{fin}:{}", hex(&frame.payload)));
        at += frame.length;
    }
    let close = found.close.map_or(String::new(), |_| {
        let close = payload(world.closes().expect("somebody asked"));
        format!("{}:{}", u16::from_be_bytes([close[0], close[1]]), hex(&close[2..]))
    });
    let or_none = |field: String| if field.is_empty() { "-".into() } else { field };
    let [heard, frames, close] = [hex(heard), frames.join(","), close].map(or_none);
    lines.extend([role, " ", &heard, " ", &frames, " ", &close, "\n"]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
