//! What every change may be given, and how its outcome is told.

use clap::Args;
use serde_json::{Map, Value};

use crate::{
    Failure,
    answers::{Changed, PoolChange, Touched},
    client::{Answer, Call},
    command::Session,
    screen::Tone,
    text::{clean, counted},
};

/// What every change takes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "The change")]
pub struct Guards {
    /// Why, for the history and the log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Only while what is changed still has this generation (its ETag); * for any
    #[arg(long, value_name = "GENERATION", value_parser = tag)]
    pub if_match: Option<String>,

    /// A word that makes this change safe to repeat: the proxy does it once
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// What a change of pools takes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "The change")]
pub struct Change {
    #[command(flatten)]
    pub guards: Guards,

    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,

    /// Also when nobody is left who could serve
    #[arg(long)]
    pub force: bool,
}

/// What a change that takes servers away takes besides.
#[derive(Args, Clone, Debug, Default)]
pub struct Leaving {
    /// What becomes of the tunnels of servers that leave: keep, drain or close
    #[arg(long, value_name = "WHAT", value_parser = EXISTING, hide_possible_values = true)]
    pub existing: Option<String>,
}

const EXISTING: [&str; 3] = ["close", "drain", "keep"];

impl Guards {
    /// The call with these in its headers.
    pub(crate) fn on(&self, call: Call) -> Call {
        call.header("if-match", self.if_match.as_deref())
            .header("idempotency-key", self.idempotency_key.as_deref())
    }

    /// The generation of `--if-match`, for one operation among others.
    pub(crate) fn generation(&self) -> Option<u64> {
        self.if_match.as_deref()?.trim_matches('"').parse().ok()
    }
}

impl Change {
    /// The call with everything in its body.
    pub(crate) fn on(&self, call: Call, mut body: Map<String, Value>) -> Call {
        self.put(&mut body);
        self.dry(self.guards.on(call)).body(body.into())
    }

    /// The call with everything in its query, for what has no body.
    pub(crate) fn on_query(&self, call: Call) -> Call {
        let call = self.guards.on(call).query("reason", self.guards.reason.as_deref());
        self.dry(call.query("force", self.force.then_some(true)))
    }

    pub(crate) fn dry(&self, call: Call) -> Call {
        call.query("dry_run", self.dry_run.then_some(true))
    }

    pub(crate) fn put(&self, body: &mut Map<String, Value>) {
        if let Some(reason) = &self.guards.reason {
            body.insert("reason".into(), reason.as_str().into());
        }
        if self.force {
            body.insert("force".into(), true.into());
        }
    }
}

/// Shows what became of a change, or would become.
pub(crate) fn tell(session: &mut Session<'_, '_>, answer: &Answer) -> Result<(), Failure> {
    if session.json {
        session.screen.json(&answer.body);
        return Ok(());
    }
    let changed: Changed = answer.read()?;
    if changed.dry_run {
        return tell_dry(session, &changed);
    }
    let what = match changed.changed.as_slice() {
        [] => "nothing had to change".to_owned(),
        names => format!("changed {}", clean(&names.join(", "))),
    };
    let kept = if changed.durable { "on disk" } else { "in memory only" };
    let Changed { generation, visible_us, .. } = changed;
    session
        .screen
        .line(&format!("{what}: generation {generation}, {kept}, visible after {visible_us} µs"));
    Ok(())
}

fn tell_dry(session: &mut Session<'_, '_>, changed: &Changed) -> Result<(), Failure> {
    let generation = changed.generation;
    if changed.changes.is_empty() {
        session.screen.line("nothing would change");
    } else {
        session
            .screen
            .line(&format!("this would make generation {generation}; nothing was changed"));
    }
    for change in &changed.changes {
        lines(change).iter().for_each(|line| session.screen.line(line));
    }
    for pool in &changed.leaves_nobody {
        let warning = format!("{} would have nobody left who could serve", clean(pool));
        let warning = session.screen.toned(&warning, Tone::Bad);
        session.screen.line(&warning);
    }
    Ok(())
}

/// What would become of one pool.
fn lines(change: &PoolChange) -> Vec<String> {
    let mut said = vec![format!("{} {}", clean(&change.upstream), clean(&change.change))];
    let servers = &change.servers;
    let marked = [("+", &servers.added), ("-", &servers.removed), ("~", &servers.altered)];
    for (mark, touched) in marked {
        said.extend(touched.iter().map(|server| format!("  {mark} {}", of(server))));
    }
    if !change.keys.is_empty() {
        said.push(format!("  ~ {}", clean(&change.keys.join(", "))));
    }
    if let Some(share) = change.hash_keys_moved {
        said.push(format!("  {:.0} % of the hash keys would move", share * 100.0));
    }
    if let (Some(before), Some(after)) = (change.eligible_before, change.eligible_after) {
        said.push(format!("  {} eligible, {before} before", counted(after, "server")));
    }
    said
}

fn of(server: &Touched) -> String {
    let address = clean(server.address());
    let Touched::Known { fields, requests_active, tunnels_active, .. } = server else {
        return address.into_owned();
    };
    let mut said = address.into_owned();
    if !fields.is_empty() {
        said += &format!(": {}", clean(&fields.join(", ")));
    }
    if requests_active + tunnels_active > 0 {
        let (requests, tunnels) =
            (counted(*requests_active, "request"), counted(*tunnels_active, "tunnel"));
        said += &format!(" ({requests} and {tunnels} run on it)");
    }
    said
}

/// A generation, quoted as ETags are.
fn tag(text: &str) -> Result<String, String> {
    let bare = text.trim_matches('"');
    match bare.parse::<u64>() {
        Ok(generation) => Ok(format!("\"{generation}\"")),
        Err(_) if bare == "*" => Ok("*".into()),
        Err(_) => Err("this is no generation; an ETag, a number, or *".into()),
    }
}
