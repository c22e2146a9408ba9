//! `tidegate history`, `diff` and `restore`: generations.

use std::collections::BTreeSet;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use hyper::Method;
use serde_json::{Map, Value};

use crate::{
    Failure,
    answers::{Altered, Difference, Generations},
    change::{Change, Leaving, tell},
    client::Call,
    command::Session,
    completing::pools,
    screen::Tone,
    table::{Cell, Column, Table},
    text::clean,
};

#[derive(Args, Clone, Debug)]
pub struct History {
    /// Only what changed this pool
    #[arg(value_name = "UPSTREAM", add = ArgValueCompleter::new(pools))]
    upstream: Option<String>,
    /// How many at most
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: u64,
    /// Only those before this generation
    #[arg(long, value_name = "GENERATION")]
    before: Option<u64>,
}

#[derive(Args, Clone, Debug)]
pub struct Diff {
    #[arg(value_name = "GENERATION")]
    from: u64,
    #[arg(value_name = "OTHER")]
    to: u64,
}

#[derive(Args, Clone, Debug)]
pub struct Restore {
    generation: u64,
    #[command(flatten)]
    leaving: Leaving,
    #[command(flatten)]
    change: Change,
}

impl History {
    pub(super) async fn run(&self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        let call = Call::get(&["generations"])
            .query("limit", Some(self.limit))
            .query("before", self.before)
            .query("upstream", self.upstream.as_deref());
        let answer = session.client.ask(&call).await?;
        if session.json {
            session.screen.json(&answer.body);
            return Ok(());
        }
        let history: Generations = answer.read()?;
        let mut table = Table::new(&[
            Column::Number("GENERATION"),
            Column::Text("AT"),
            Column::Text("SOURCE"),
            Column::Text("CHANGED"),
            Column::Text("REASON"),
            Column::Text("CALLER"),
        ]);
        for one in &history.generations {
            table.row([
                Cell::new(one.generation),
                Cell::new(&one.at),
                Cell::new(&one.source),
                Cell::new(one.changed.join(", ")),
                Cell::new(one.reason.as_deref().unwrap_or_default()),
                Cell::new(&one.caller),
            ]);
        }
        session.screen.table(&table, "nothing was changed yet");
        match history.next {
            Some(next) if !table.is_empty() => session
                .screen
                .remark(&format!("there are more: --before {next} goes on, --limit shows more")),
            _ => {}
        }
        if history.oldest > 1 {
            session.screen.remark(&format!("what was before {} is forgotten", history.oldest));
        }
        Ok(())
    }
}

impl Diff {
    pub(super) async fn run(&self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        let call = Call::get(&["generations", &self.from.to_string(), "diff"]);
        let answer = session.client.ask(&call.query("to", Some(self.to))).await?;
        if session.json {
            session.screen.json(&answer.body);
            return Ok(());
        }
        let difference: Difference = answer.read()?;
        let Difference { from, to, changes } = &difference;
        if changes.is_empty() {
            session.screen.line(&format!("generations {from} and {to} are the same"));
        }
        for change in changes {
            for (tone, line) in lines(change) {
                let line = session.screen.toned(&line, tone);
                session.screen.line(&line);
            }
        }
        Ok(())
    }
}

impl Restore {
    pub(super) async fn run(&self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        let mut body = Map::new();
        body.extend(
            self.leaving.existing.as_deref().map(|word| ("existing".to_owned(), word.into())),
        );
        let path = ["generations", &self.generation.to_string(), "restore"];
        let call = self.change.on(Call::new(Method::POST, &path), body);
        let answer = session.client.ask(&call).await?;
        tell(session, &answer)
    }
}

/// What became of one pool, as a diff is read: first what was, then what is.
fn lines(change: &Altered) -> Vec<(Tone, String)> {
    let head = format!("{} {}", clean(&change.upstream), clean(&change.change));
    let mut said = vec![(Tone::Head, head)];
    let none = Map::new();
    let before = change.before.as_ref().unwrap_or(&none);
    let after = change.after.as_ref().unwrap_or(&none);
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        let (was, is) = (before.get(key), after.get(key));
        if was == is {
            continue;
        }
        let (was, is) = (parts(key, was), parts(key, is));
        said.extend(missing(&was, &is).map(|line| (Tone::Bad, format!("  - {line}"))));
        said.extend(missing(&is, &was).map(|line| (Tone::Good, format!("  + {line}"))));
    }
    said
}

/// A value as lines: a list has one for each that is in it.
fn parts(key: &str, value: Option<&Value>) -> Vec<String> {
    let line = |value: &Value| clean(&format!("{key} = {value}")).into_owned();
    match value {
        None => Vec::new(),
        Some(Value::Array(values)) => values.iter().map(line).collect(),
        Some(value) => vec![line(value)],
    }
}

fn missing<'l>(of: &'l [String], among: &'l [String]) -> impl Iterator<Item = &'l String> {
    of.iter().filter(|line| !among.contains(line))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_diff_shows_only_what_differs() {
        let change: Altered = serde_json::from_value(json!({
            "upstream": "chat", "change": "changed",
            "before": {"balance": "hash", "keepalive": 64, "servers": ["a:1", "b:1"]},
            "after": {"keepalive": 64, "servers": ["b:1", {"address": "c:1", "weight": 2}]}
        }))
        .expect("a change");
        let said: Vec<String> = lines(&change).into_iter().map(|(_, line)| line).collect();
        let want = [
            "chat changed",
            "  - balance = \"hash\"",
            "  - servers = \"a:1\"",
            "  + servers = {\"address\":\"c:1\",\"weight\":2}",
        ];
        assert_eq!(said, want);
    }
}
