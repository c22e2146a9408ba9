//! `tidegate status`, `config` and `reload`: the process as a whole.

use hyper::Method;
use serde_json::Value;

use crate::{
    Failure,
    answers::{Reloaded, Status},
    client::Call,
    command::Session,
    screen::Tone,
    table::{Cell, Column, Table},
    text::{bytes, clean, clean_json, duration},
};

pub(super) async fn status(session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let answer = session.client.ask(&Call::get(&["status"])).await?;
    if session.json {
        session.screen.json(&answer.body);
        return Ok(());
    }
    let status: Status = answer.read()?;
    for (name, value) in facts(&status) {
        session.screen.line(&format!("{name:<12}{}", clean(&value)));
    }
    session.screen.line("");
    let mut table = Table::new(&[
        Column::Text("LISTENER"),
        Column::Text("ADDRESS"),
        Column::Text("PROTOCOL"),
        Column::Number("CONNECTIONS"),
    ]);
    for listener in &status.listeners {
        table.row([
            Cell::new(&listener.name),
            Cell::new(&listener.address),
            Cell::new(&listener.protocol),
            Cell::new(listener.connections_active),
        ]);
    }
    session.screen.table(&table, "there are no listeners");
    Ok(())
}

fn facts(status: &Status) -> Vec<(&'static str, String)> {
    let uptime = duration(status.uptime_seconds.saturating_mul(1_000));
    let state = match &status.state_dir {
        Some(directory) if status.durable => directory.clone(),
        Some(directory) => format!("{directory} (cannot be written at present)"),
        None => "in memory only".into(),
    };
    let by_state = |(state, count): (&String, &u64)| format!("{count} {state}");
    let servers = match status.servers.iter().map(by_state).collect::<Vec<_>>() {
        none if none.is_empty() => "none".into(),
        some => some.join(", "),
    };
    let mut facts = vec![
        ("version", status.version.clone()),
        ("generation", status.generation.to_string()),
        ("process", format!("{}, {} workers", status.pid, status.workers)),
        ("started", format!("{} ({uptime} ago)", status.started)),
        ("state", state),
        ("pools", status.pools.to_string()),
        ("servers", servers),
        ("connections", status.connections_active.to_string()),
        ("tunnels", format!("{} (room for {})", status.tunnels_active, status.tunnels_that_fit)),
    ];
    if let (Some(open), Some(limit)) = (status.descriptors.open, status.descriptors.limit) {
        facts.push(("descriptors", format!("{open} of {limit}")));
    }
    facts.extend(status.memory_bytes.map(|memory| ("memory", bytes(memory))));
    if let Some(reload) = &status.last_reload {
        facts.push(("reload", format!("{} at {}: {}", reload.outcome, reload.at, reload.detail)));
    }
    facts
}

pub(super) async fn config(session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let answer = session.client.ask(&Call::get(&["config"])).await?;
    if session.json {
        session.screen.json(&answer.body);
        return Ok(());
    }
    let whole: Value = answer.read()?;
    let files = whole.get("files").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for file in files.iter().filter_map(Value::as_str) {
        session.screen.line(&format!("# {}", clean(file)));
    }
    let config = whole.get("config").unwrap_or(&whole);
    session.screen.line(&clean_json(&format!("{config:#}")));
    Ok(())
}

pub(super) async fn reload(session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let call = Call::new(Method::POST, &["reload"]);
    let answer = session.client.ask(&call).await?;
    if session.json {
        session.screen.json(&answer.body);
        return Ok(());
    }
    let reloaded: Reloaded = answer.read()?;
    let kept = if reloaded.durable { "on disk" } else { "in memory only" };
    session.screen.line(&format!("reloaded: generation {}, {kept}", reloaded.generation));
    for (what, names) in happened(&reloaded) {
        session.screen.line(&format!("  {what}: {}", clean(&names.join(", "))));
    }
    if reloaded.routes_changed {
        session.screen.line("  routes changed");
    }
    if !reloaded.replaced_api_changes.is_empty() {
        let names = clean(&reloaded.replaced_api_changes.join(", ")).into_owned();
        let line = format!("  what the API had changed was replaced in: {names}");
        let line = session.screen.toned(&line, Tone::Soft);
        session.screen.line(&line);
    }
    Ok(())
}

/// What changed, where something did.
fn happened(reloaded: &Reloaded) -> impl Iterator<Item = (&'static str, &[String])> {
    let all: [(&'static str, &[String]); 6] = [
        ("pools changed", &reloaded.changed),
        ("pools removed", &reloaded.removed),
        ("listeners added", &reloaded.listeners.added),
        ("listeners changed", &reloaded.listeners.changed),
        ("listeners removed", &reloaded.listeners.removed),
        ("settings changed", &reloaded.settings_changed),
    ];
    all.into_iter().filter(|(_, names)| !names.is_empty())
}
