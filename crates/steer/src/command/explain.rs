//! `tidegate explain`: what would become of a request, and why.

mod limits;

use clap::Args;
use serde_json::Value;

use crate::{
    Failure,
    answers::{Decision, Explanation},
    client::Call,
    command::Session,
    screen::Tone,
    table::{Cell, Column, Table},
    text::clean,
};

#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Explain {
    /// The Host of the request
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Its path
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// What would stand after the ?
    #[arg(long, value_name = "QUERY")]
    query: Option<String>,
    #[arg(long, value_name = "METHOD", help = "Its method; GET unless said otherwise")]
    method: Option<String>,
    /// A header; may be given more than once
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// A cookie NAME=VALUE; may be given more than once
    #[arg(long = "cookie", value_name = "NAME=VALUE")]
    cookies: Vec<String>,
    /// The address it would come from
    #[arg(long, value_name = "IP")]
    client: Option<String>,
    /// The listener it would come by
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
}

const EXAMPLE: &str = "Example:
  tidegate explain --host chat.example.com --path /ws --header 'x-user: 7'";

impl Explain {
    pub(super) async fn run(&self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        let mut call = Call::get(&["explain"])
            .query("listener", self.listener.as_deref())
            .query("client", self.client.as_deref())
            .query("method", self.method.as_deref())
            .query("host", self.host.as_deref())
            .query("path", self.path.as_deref())
            .query("query", self.query.as_deref());
        for header in &self.headers {
            call = call.query("header", Some(header));
        }
        for cookie in &self.cookies {
            call = call.query("cookie", Some(cookie));
        }
        let answer = session.client.ask(&call).await?;
        if session.json {
            session.screen.json(&answer.body);
            return Ok(());
        }
        tell(session, &answer.read()?);
        Ok(())
    }
}

fn tell(session: &mut Session<'_, '_>, explanation: &Explanation) {
    for (name, value) in way(explanation) {
        session.screen.line(&format!("{name:<10}{}", clean(&value)));
    }
    if !explanation.candidates.is_empty() {
        session.screen.line("");
        let table = candidates(explanation);
        session.screen.table(&table, "");
        if let Some(limit) = &explanation.limit {
            session.screen.line(&clean(limit));
        }
        session.screen.line("");
    }
    let (goes, tone) = outcome(&explanation.decision);
    let goes = session.screen.toned(&clean(&goes), tone);
    session.screen.line(&format!("{:<10}{goes}", "outcome"));
}

/// How the request gets to its pool.
fn way(explanation: &Explanation) -> Vec<(&'static str, String)> {
    let Explanation { request, route, pool, .. } = explanation;
    let (method, host, path) =
        (word(request, "method"), word(request, "host"), word(request, "path"));
    let query = request.get("query").and_then(Value::as_str);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let (listener, client) = (word(request, "listener"), word(request, "client"));
    let mut said = vec![(
        "request",
        format!("{method} {host}{path}{query}, by listener {listener}, from {client}"),
    )];
    for passed in explanation.routes.iter().filter(|one| one.get("matches") != Some(&true.into())) {
        let (route, why) = (word(passed, "route"), word(passed, "because"));
        said.push(("passed by", format!("{route}: {why}")));
    }
    if let Some(route) = route {
        said.push(("route", taken(route)));
        said.extend(limits::lines(route));
        if let Some(path) = route.get("rewritten").and_then(Value::as_str) {
            said.push(("path", format!("{path}, for the server")));
        }
        for (key, what) in [("request_headers", "request"), ("response_headers", "answer")] {
            let changes = changes(route.get(key));
            if !changes.is_empty() {
                said.push(("headers", format!("of the {what}: {changes}")));
            }
        }
    }
    if let Some(pool) = pool {
        let (name, balance, source) =
            (word(pool, "name"), word(pool, "balance"), word(pool, "source"));
        let generation = pool.get("generation").and_then(Value::as_u64).unwrap_or_default();
        let mut line = format!("{name}, {balance}, generation {generation}, from {source}");
        if let Some(key) = pool.get("hash_key").and_then(Value::as_str) {
            line += &format!(", by {key} = \"{}\"", word(pool, "hash_value"));
        }
        said.push(("pool", line));
    }
    said
}

/// The route, and where it leads.
fn taken(route: &Value) -> String {
    let (label, template) = (word(route, "label"), word(route, "template"));
    if let Some(answer) = route.get("answer") {
        return match answer.get("location").and_then(Value::as_str) {
            Some(location) => format!("{label}, elsewhere: {location}"),
            None => format!("{label}, which answers"),
        };
    }
    let mut line = format!("{label}, to {template}");
    if let Some(split) = route.get("split") {
        line += &format!(" by {} = \"{}\"", word(split, "key"), word(split, "value"));
    }
    let upstream = word(route, "upstream");
    if upstream != template {
        line += &format!(", which is \"{upstream}\"");
    }
    if route.get("fallback_used") == Some(&true.into()) {
        let why = word(route, "fallback_because");
        line += &format!("; instead {}: {why}", word(route, "fallback"));
    }
    line
}

/// What happens to which header fields.
fn changes(changes: Option<&Value>) -> String {
    let of = |key: &str| changes.and_then(|changes| changes.get(key));
    let lines = |key: &'static str, sign: &'static str| {
        let table = of(key).and_then(Value::as_object).into_iter().flatten();
        table.map(move |(name, value)| {
            format!("{name}{sign} {}", value.as_str().unwrap_or_default())
        })
    };
    let removed = of("remove").and_then(Value::as_array).into_iter().flatten();
    let removed = removed.filter_map(Value::as_str).map(|name| format!("-{name}"));
    lines("set", ":").chain(lines("add", " +:")).chain(removed).collect::<Vec<_>>().join(", ")
}

fn candidates(explanation: &Explanation) -> Table {
    let mut table = Table::new(&[
        Column::Whole("SERVER"),
        Column::Text("STATE"),
        Column::Number("WEIGHT"),
        Column::Number("ACTIVE"),
        Column::Number("TUNNELS"),
        Column::Text("ELIGIBLE"),
        Column::Text("WHY"),
    ]);
    for one in &explanation.candidates {
        let (eligible, tone) = if one.eligible { ("yes", Tone::Good) } else { ("no", Tone::Bad) };
        table.row([
            Cell::new(&one.server),
            Cell::new(&one.state).toned(Tone::of_state(&one.state)),
            Cell::new(one.weight),
            Cell::new(one.requests_active),
            Cell::new(one.tunnels_active),
            Cell::new(eligible).toned(tone),
            Cell::new(&one.reason),
        ]);
    }
    table
}

fn outcome(decision: &Decision) -> (String, Tone) {
    let because = &decision.because;
    match (&decision.server, decision.status) {
        (Some(server), _) => (format!("to {server}: {because}"), Tone::Good),
        (None, Some(status)) => (format!("answered {status}: {because}"), Tone::Bad),
        (None, None) => (because.clone(), Tone::Plain),
    }
}

fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
