//! What is shown, as a function of the state and of the room there is.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};

use super::{
    grid::{Cell, Column, cell, line, number, rows, style, text, toned},
    state::{Page, State},
};
use crate::{
    answers::{Drain, Pool, Server, Status},
    screen::Tone,
    text::{bytes, clean, duration},
};

/// With fewer rows there is one table, and with more the servers of the pool under the cursor, and
/// some drains, below it.
const ROWS_FOR_MORE: u16 = 14;
/// Drains under the other tables.
const FEW_DRAINS: usize = 3;
/// Of the bar of a drain.
const BAR: usize = 12;

/// Draws everything. Cells that nothing is written to are left blank.
pub(super) fn draw(state: &State, area: Rect, buffer: &mut Buffer) {
    head(state, area, buffer);
    let body = Rect { y: area.y.saturating_add(2), height: area.height.saturating_sub(3), ..area };
    match state.page {
        Page::Drains => drains(state, body, buffer, state.scrolled, usize::from(body.height)),
        Page::Pools => overview(state, body, buffer),
        Page::Servers => servers(state, body, buffer, state.scrolled),
    }
    if area.height > 3 {
        let soft = Style::new().add_modifier(Modifier::DIM);
        line(area, buffer, area.height - 1, foot(state), soft);
    }
}

fn head(state: &State, area: Rect, buffer: &mut Buffer) {
    let status = state.sample.as_ref().map(|sample| &sample.status);
    let first = status.map_or_else(|| "tidegate".to_owned(), |status| glance(state, status));
    line(area, buffer, 0, &first, Style::new().add_modifier(Modifier::BOLD));
    let second = match (&state.trouble, state.is_typing) {
        (Some(why), _) => clean(&format!("trying again: {why}")).into_owned(),
        (None, true) => format!("/{}_", clean(&state.filter)),
        (None, false) => situation(state),
    };
    let tone = if state.trouble.is_some() { Tone::Bad } else { Tone::Plain };
    line(area, buffer, 1, &second, style(tone, state.colour));
}

fn glance(state: &State, status: &Status) -> String {
    let uptime = duration(status.uptime_seconds.saturating_mul(1_000));
    let mut said = format!(
        "tidegate {}  gen {}  up {uptime}  {} req/s  {} conns  {} tunnels",
        clean(&status.version),
        status.generation,
        rate(state.pool_rates.requests()),
        status.connections_active,
        status.tunnels_active
    );
    if let Some(memory) = status.memory_bytes {
        said += &format!("  {}", bytes(memory));
    }
    said
}

fn situation(state: &State) -> String {
    let mut said = clean(&state.place).into_owned();
    let order = if state.is_reversed { ", reversed" } else { "" };
    said += &format!("  {} pools by {}{order}", state.order.len(), state.sort.word());
    if !state.filter.is_empty() {
        said += &format!("  with \"{}\"", clean(&state.filter));
    }
    said
}

fn foot(state: &State) -> &'static str {
    match (state.is_typing, state.page) {
        (true, _) => "type a part of a name  Enter keep  Esc all",
        (false, Page::Pools) => "q quit  Enter servers  d drains  s sort  r reverse  / filter",
        (false, Page::Servers) => "q quit  Esc pools  d drains  s sort  r reverse",
        (false, Page::Drains) => "q quit  Esc pools",
    }
}

/// Pools, and below them what is of interest about the one under the cursor.
fn overview(state: &State, area: Rect, buffer: &mut Buffer) {
    if area.height + 3 < ROWS_FOR_MORE {
        return pools(state, area, buffer);
    }
    let drain_rows = match state.drains().len().min(FEW_DRAINS) {
        0 => 0,
        some => some as u16 + 2,
    };
    let wanted = u16::try_from(state.servers().len()).unwrap_or(u16::MAX).saturating_add(2);
    let lower = wanted.min(area.height.saturating_sub(drain_rows) / 2).max(3);
    let upper = area.height.saturating_sub(lower + drain_rows);
    pools(state, Rect { height: upper, ..area }, buffer);
    let below = Rect { y: area.y + upper, height: lower, ..area };
    let title = state.watched().map(|name| format!("── {} ", clean(name))).unwrap_or_default();
    rule(below, buffer, &title);
    servers(state, inside(below), buffer, 0);
    if drain_rows > 0 {
        let bottom = Rect { y: area.y + upper + lower, height: drain_rows, ..area };
        rule(bottom, buffer, "── drains ");
        drains(state, inside(bottom), buffer, 0, FEW_DRAINS);
    }
}

fn rule(area: Rect, buffer: &mut Buffer, title: &str) {
    let columns = usize::from(area.width);
    let used = crate::text::width(title);
    let whole = format!("{title}{}", "─".repeat(columns.saturating_sub(used)));
    line(area, buffer, 0, &whole, Style::new().add_modifier(Modifier::DIM));
}

fn inside(area: Rect) -> Rect {
    Rect { y: area.y.saturating_add(1), height: area.height.saturating_sub(1), ..area }
}

const POOLS: [Column; 8] = [
    Column { title: "POOL", columns: 40, is_number: false },
    Column { title: "UP", columns: 7, is_number: true },
    Column { title: "REQ/S", columns: 8, is_number: true },
    Column { title: "ACTIVE", columns: 7, is_number: true },
    Column { title: "TUNNELS", columns: 8, is_number: true },
    Column { title: "ERR/S", columns: 6, is_number: true },
    Column { title: "BALANCE", columns: 11, is_number: false },
    Column { title: "GENERATION", columns: 10, is_number: true },
];

/// Only the rows that are seen are made.
fn pools(state: &State, area: Rect, buffer: &mut Buffer) {
    let room = usize::from(area.height.saturating_sub(1));
    let cursor = state.cursor();
    let first = cursor.saturating_sub(room / 2).min(state.order.len().saturating_sub(room));
    let all = state.pools();
    let seen = state.order.iter().skip(first).take(room).filter_map(|place| all.get(*place));
    let shown: Vec<Vec<Cell>> = seen.map(|pool| pool_row(state, pool)).collect();
    if shown.is_empty() && area.height > 0 {
        let nothing = if state.filter.is_empty() { "no pools" } else { "no pool of such a name" };
        return line(area, buffer, 0, nothing, Style::new());
    }
    rows(area, buffer, &POOLS, &shown, Some(cursor - first), state.colour);
}

fn pool_row(state: &State, pool: &Pool) -> Vec<Cell> {
    let pace = state.pool_rates.of(&pool.name);
    let up = match (pool.servers.up, pool.servers.total) {
        (up, total) if up == total => Tone::Plain,
        (0, _) => Tone::Bad,
        _ => Tone::Soft,
    };
    let fails = pool.fails_total.and(pace.fails);
    let is_failing = fails.is_some_and(|fails| fails > 0.0);
    vec![
        cell(&pool.name),
        toned(format!("{}/{}", pool.servers.up, pool.servers.total), up),
        cell(rate(pace.requests)),
        cell(pool.requests_active),
        cell(pool.tunnels_active),
        toned(rate(fails), if is_failing { Tone::Bad } else { Tone::Plain }),
        cell(&pool.balance),
        cell(pool.generation),
    ]
}

fn servers(state: &State, area: Rect, buffer: &mut Buffer, first: usize) {
    let columns = [
        text("SERVER", 40),
        text("STATE", 9),
        number("ACTIVE", 7),
        number("TUNNELS", 8),
        number("REQ/S", 8),
        number("FAILS", 7),
        number("WEIGHT", 6),
        number("EWMA", 9),
    ];
    let room = usize::from(area.height.saturating_sub(1));
    let all = state.servers();
    let seen = all.iter().skip(first).take(room);
    let shown: Vec<Vec<Cell>> = seen.map(|server| server_row(state, server)).collect();
    if shown.is_empty() {
        return line(area, buffer, 0, "no servers", Style::new());
    }
    rows(area, buffer, &columns, &shown, None, state.colour);
}

fn server_row(state: &State, server: &Server) -> Vec<Cell> {
    let live = &server.live;
    vec![
        cell(&server.address),
        toned(&server.state, Tone::of_state(&server.state)),
        cell(live.requests_active),
        cell(live.tunnels_active),
        cell(rate(state.server_rates.of(&server.address).requests)),
        cell(live.fails_total),
        cell(server.weight),
        cell(live.ewma_ms.map_or_else(|| "-".into(), |ewma| format!("{ewma:.1}ms"))),
    ]
}

fn drains(state: &State, area: Rect, buffer: &mut Buffer, first: usize, most: usize) {
    let columns = [
        text("SERVER", 40),
        text("STATE", 8),
        text("", 14),
        number("LEFT", 7),
        number("ETA", 7),
        number("ID", 5),
        text("POOL", 14),
    ];
    let room = usize::from(area.height.saturating_sub(1)).min(most);
    let shown: Vec<Vec<Cell>> =
        state.drains().iter().skip(first).take(room).map(drain_row).collect();
    if shown.is_empty() {
        return line(area, buffer, 0, "no server is being drained", Style::new());
    }
    rows(area, buffer, &columns, &shown, None, state.colour);
}

fn drain_row(drain: &Drain) -> Vec<Cell> {
    vec![
        cell(&drain.server),
        toned(&drain.state, Tone::of_state(&drain.state)),
        cell(crate::command::bar(drain.remaining.tunnels, drain.total, BAR).trim_start()),
        cell(drain.remaining.tunnels),
        cell(drain.eta()),
        cell(drain.id),
        cell(&drain.upstream),
    ]
}

/// Per second, in few columns.
fn rate(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value >= 1_000_000.0 => format!("{:.1}M", value / 1_000_000.0),
        Some(value) if value >= 10_000.0 => format!("{:.1}k", value / 1_000.0),
        Some(value) if value >= 10.0 || value == 0.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.1}"),
    }
}
