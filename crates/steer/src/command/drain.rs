//! `tidegate drain`: looking at drains, and changing one's mind.

use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use super::{follow, server};
use crate::{
    Failure,
    answers::{Drain as View, Drains},
    change::tell as tell_change,
    client::Call,
    command::Session,
    screen::Tone,
    table::{Cell, Column, Table},
    text::{clean, duration},
};

#[derive(Clone, Debug, Subcommand)]
pub enum Drain {
    /// List all drains
    List,
    /// Show one drain
    Show {
        id: u64,
        /// Stay until nothing runs on the server any more
        #[arg(long)]
        follow: bool,
    },
    /// Close nobody for now; the server stays out of rotation
    Pause { id: u64 },
    /// Go on
    Resume { id: u64 },
    /// Change the pace: a rate such as 200/s, or a time such as 15m for what is left
    Rate {
        id: u64,
        #[arg(value_name = "RATE|TIME", value_parser = pace)]
        pace: Pace,
    },
    /// End a drain: the server takes requests again, its tunnels stay as they are
    Cancel { id: u64 },
}

/// A rate, or a time over which to spread what is left.
#[derive(Clone, Debug)]
pub enum Pace {
    Over(String),
    Rate(String),
}

impl Drain {
    pub(super) async fn run(self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        match self {
            Self::List => list(session).await,
            Self::Show { id, follow: true } => follow::until_drained(session, id).await,
            Self::Show { id, follow: false } => {
                let call = Call::get(&["drains", &id.to_string()]);
                answered(session, &call).await
            }
            Self::Pause { id } => alter(session, id, json!({"paused": true})).await,
            Self::Resume { id } => alter(session, id, json!({"paused": false})).await,
            Self::Rate { id, pace } => {
                let change = match pace {
                    Pace::Over(time) => json!({"over": time}),
                    Pace::Rate(rate) => json!({"rate": rate}),
                };
                alter(session, id, change).await
            }
            Self::Cancel { id } => {
                let call = Call::new(Method::DELETE, &["drains", &id.to_string()]);
                let answer = session.client.ask(&call).await?;
                tell_change(session, &answer)
            }
        }
    }
}

async fn list(session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let answer = session.client.ask(&Call::get(&["drains"])).await?;
    if session.json {
        session.screen.json(&answer.body);
        return Ok(());
    }
    let mut table = Table::new(&[
        Column::Number("ID"),
        Column::Text("UPSTREAM"),
        Column::Text("SERVER"),
        Column::Text("STATE"),
        Column::Text("PACE"),
        Column::Number("TUNNELS LEFT"),
        Column::Number("OF"),
        Column::Number("REQUESTS LEFT"),
        Column::Number("ETA"),
    ]);
    for drain in answer.read::<Drains>()?.drains {
        table.row([
            Cell::new(drain.id),
            Cell::new(&drain.upstream),
            Cell::new(&drain.server),
            Cell::new(&drain.state).toned(Tone::of_state(&drain.state)),
            Cell::new(drain.pace()),
            Cell::new(drain.remaining.tunnels),
            Cell::new(drain.total),
            Cell::new(drain.remaining.requests),
            Cell::new(drain.eta()),
        ]);
    }
    session.screen.table(&table, "no server is being drained");
    Ok(())
}

async fn alter(session: &mut Session<'_, '_>, id: u64, change: Value) -> Result<(), Failure> {
    let call = Call::new(Method::PATCH, &["drains", &id.to_string()]).body(change);
    answered(session, &call).await
}

async fn answered(session: &mut Session<'_, '_>, call: &Call) -> Result<(), Failure> {
    let answer = session.client.ask(call).await?;
    if session.json {
        session.screen.json(&answer.body);
    } else {
        tell(session, &answer.read()?);
    }
    Ok(())
}

/// All there is to say of one drain.
pub(super) fn tell(session: &mut Session<'_, '_>, drain: &View) {
    let state = session.screen.toned(&clean(&drain.state), Tone::of_state(&drain.state));
    let (upstream, server) = (clean(&drain.upstream), clean(&drain.server));
    session.screen.line(&format!("drain {}: {server} of {upstream}, {state}", drain.id));
    let order = clean(&drain.order).into_owned();
    let mut how = format!("  {}, {order}", clean(&drain.pace()));
    if let Some(deadline) = &drain.deadline {
        how += &format!(", what is left after {} is cut", clean(deadline));
    }
    session.screen.line(&how);
    if let Some(reason) = &drain.reason {
        session.screen.line(&format!("  reason: {}", clean(reason)));
    }
    let View { total, closed, left, cut, remaining, .. } = drain;
    session.screen.line(&format!(
        "  {} of {total} tunnels remain, {} requests; {closed} were told to leave, {left} left by \
         themselves, {cut} were cut",
        remaining.tunnels, remaining.requests
    ));
    if drain.eta_seconds.is_some() {
        session.screen.line(&format!("  about {} to go", drain.eta()));
    }
}

impl View {
    pub(crate) fn pace(&self) -> String {
        match (&self.rate, &self.over) {
            (Some(rate), _) => rate.clone(),
            (None, Some(over)) => format!("over {over}"),
            (None, None) => "the pool's drain_over".into(),
        }
    }

    pub(crate) fn eta(&self) -> String {
        let seconds = self.eta_seconds.map(|seconds| duration(seconds.saturating_mul(1_000)));
        seconds.unwrap_or_else(|| "-".into())
    }
}

fn pace(text: &str) -> Result<Pace, String> {
    if text.contains('/') {
        return server::rate(text).map(Pace::Rate);
    }
    let neither = |_| format!("\"{text}\" is neither a rate such as 200/s nor a time such as 15m");
    server::span(text).map(Pace::Over).map_err(neither)
}
