//! Frames at the sizes people have, and at those nobody has.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{Terminal, backend::TestBackend};
use serde_json::json;

use super::*;
use crate::answers::{Drains, PoolDetail, Pools, Status};

fn sample(at: Instant, requests: u64, count: usize) -> Sample {
    let pool = |place: usize| {
        json!({
            "name": format!("pool{place:05}"), "generation": 7, "source": "file",
            "balance": "round_robin", "servers": {"total": 3, "up": 3 - place as u64 % 3},
            "requests_active": place, "tunnels_active": 400, "fails_total": 0,
            "requests_total": requests * (place as u64 + 1),
        })
    };
    let pools = json!({"generation": 42, "upstreams": (0..count).map(pool).collect::<Vec<_>>()});
    let server = |address: &str, state: &str| {
        json!({"address": address, "state": state, "weight": 1, "live": {
            "requests_active": 2, "tunnels_active": 133, "requests_total": requests, "fails_total": 1, "ewma_ms": 3.25}})
    };
    let detail = json!({"name": "pool00000", "generation": 7, "servers": [
        server("10.0.0.1:8080", "up"), server("10.0.0.2:8080", "draining"), server("10.0.0.3\u{1b}[2J:80", "down")]});
    let drains = json!({"drains": [{"id": 3, "upstream": "pool00000", "server": "10.0.0.2:8080",
        "state": "running", "total": 400, "remaining": {"tunnels": 100, "requests": 0}, "eta_seconds": 40}]});
    let status = json!({"version": "0.1.0", "generation": 42, "uptime_seconds": 273_600,
        "connections_active": 812, "tunnels_active": 400, "memory_bytes": 31_457_280});
    let read = "the shape of the API";
    Sample {
        at,
        status: serde_json::from_value::<Status>(status).expect(read),
        pools: serde_json::from_value::<Pools>(pools).expect(read),
        detail: Some(serde_json::from_value::<PoolDetail>(detail).expect(read)),
        drains: serde_json::from_value::<Drains>(drains).expect(read).drains,
    }
}

fn state(count: usize) -> State {
    let (mut state, start) = (State::new("http://127.0.0.1:18882".into(), true), Instant::now());
    state.hear(Ok(sample(start, 100, count)));
    state.hear(Ok(sample(start + Duration::from_secs(1), 200, count)));
    state
}

fn press(state: &mut State, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            char => KeyCode::Char(char),
        };
        state.press(KeyEvent::new(code, KeyModifiers::NONE));
    }
}

fn frame(state: &State, columns: u16, rows: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("in memory");
    terminal.draw(|frame| view::draw(state, frame.area(), frame.buffer_mut())).expect("in memory");
    let text = printed(state, columns, rows);
    assert!(!text.contains('\u{1b}'), "{text}");
    text
}

#[test]
fn pools_servers_and_drains_on_a_usual_terminal() {
    let shown = frame(&state(12), 80, 24);
    for part in [
        "tidegate 0.1.0  gen 42  up 3d4h  7800 req/s  812 conns  400 tunnels  30.0 MiB",
        "12 pools by name",
        "POOL",
        "pool00000",
        "3/3",
        "── pool00000 ──",
        "10.0.0.2:8080",
        "draining",
        "10.0.0.3\\u{1b}[2J:",
        "[#########---]",
        "40s",
        "q quit",
    ] {
        assert!(shown.contains(part), "{part:?} in\n{shown}");
    }
    assert_eq!(shown.lines().count(), 24);
    assert!(shown.lines().all(|line| crate::text::width(line) <= 80), "{shown}");
}

#[test]
fn a_small_terminal_has_the_pools() {
    let shown = frame(&state(12), 40, 10);
    assert!(shown.contains("pool00000") && shown.contains("q quit"), "{shown}");
    assert!(!shown.contains("── pool"), "{shown}");
}

#[test]
fn no_size_is_too_small_or_too_large() {
    let mut state = state(3);
    for keys in ["", "\n", "\u{1b}", "d", "/x"] {
        press(&mut state, keys);
        for columns in (0..=45).chain([200]) {
            for rows in (0..=16).chain([60]) {
                frame(&state, columns, rows);
            }
        }
    }
    frame(&State::new(String::new(), false), 80, 24);
}

#[test]
fn keys_move_sort_filter_and_leave() {
    let mut state = state(12);
    press(&mut state, "jj");
    assert_eq!(state.watched(), Some("pool00002"));
    press(&mut state, "kG");
    assert_eq!(state.watched(), Some("pool00011"));
    press(&mut state, "jg");
    assert_eq!(state.watched(), Some("pool00000"));
    press(&mut state, "s");
    let first = state.pools()[state.order[0]].name.clone();
    assert_eq!(first, "pool00011", "most requests first");
    assert_eq!(state.watched(), Some("pool00000"), "the cursor stays on its pool");
    press(&mut state, "r");
    assert_eq!(state.pools()[state.order[0]].name, "pool00000");
    press(&mut state, "/0001q\n");
    assert!(frame(&state, 80, 24).contains("no pool of such a name"));
    press(&mut state, "\u{1b}");
    assert_eq!(state.order.len(), 12);
    press(&mut state, "d");
    assert!(frame(&state, 80, 24).contains("10.0.0.2:8080"));
    press(&mut state, "\u{1b}\n");
    assert!(frame(&state, 80, 24).contains("SERVER"));
    assert!(!state.is_over());
    press(&mut state, "q");
    assert!(state.is_over());
}

#[test]
fn trouble_is_shown_and_passes() {
    let mut state = state(2);
    state.hear(Err("http://127.0.0.1:1 cannot be reached: refused".into()));
    let shown = frame(&state, 80, 24);
    assert!(shown.contains("trying again: http://127.0.0.1:1 cannot be reached"), "{shown}");
    assert!(shown.contains("pool00000"), "what was known stays: {shown}");
    state.hear(Ok(sample(Instant::now(), 300, 2)));
    assert!(!frame(&state, 80, 24).contains("trying again"));
}

#[test]
fn ten_thousand_pools_are_drawn_by_the_screenful() {
    let mut state = state(10_000);
    press(&mut state, "G");
    let shown = frame(&state, 80, 24);
    assert!(shown.contains("pool09999") && !shown.contains("pool00000 "), "{shown}");
}
