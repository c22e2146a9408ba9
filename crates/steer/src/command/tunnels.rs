//! `tidegate tunnels`: what is open, and closing one.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use hyper::Method;
use serde::Deserialize as _;
use serde_json::Value;

use crate::{
    Failure,
    answers::{Tunnel, Tunnels as Page},
    client::Call,
    command::Session,
    completing::pools,
    screen::Tone,
    table::{Cell, Column, Table},
    text::{bytes, duration},
};

/// Rows that the API puts on a page at most.
const PAGE: usize = 1_000;

const SORTS: [&str; 4] = ["age", "bytes", "id", "idle"];

#[derive(Args, Clone, Debug)]
pub struct Tunnels {
    #[command(subcommand)]
    action: Option<Action>,
    /// Only those of this pool
    #[arg(long, value_name = "UPSTREAM", add = ArgValueCompleter::new(pools))]
    upstream: Option<String>,
    /// Only those to this server
    #[arg(long, value_name = "ADDRESS")]
    server: Option<String>,
    /// Only those of this client
    #[arg(long, value_name = "IP")]
    client: Option<std::net::IpAddr>,
    /// Only those that came by this listener
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// What comes first: id, age, idle or bytes
    #[arg(long, value_name = "KEY", value_parser = SORTS, hide_possible_values = true)]
    sort: Option<String>,
    /// How many at most
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Close a tunnel, politely: its client is told, and has a few seconds to answer
    Close { id: u64 },
}

impl Tunnels {
    pub(super) async fn run(&self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        if let Some(Action::Close { id }) = &self.action {
            let call = Call::new(Method::DELETE, &["tunnels", &id.to_string()]);
            let answer = session.client.ask(&call).await?;
            if session.json {
                session.screen.json(&answer.body);
            } else {
                session.screen.line(&format!("tunnel {id} was told to close"));
            }
            return Ok(());
        }
        let (whole, page) = self.pages(session).await?;
        if session.json {
            session.screen.json(whole.to_string().as_bytes());
            return Ok(());
        }
        session.screen.table(&table(&page.tunnels), "no tunnel is open");
        let shown = page.tunnels.len();
        if u64::try_from(shown).is_ok_and(|shown| shown < page.total) {
            let (total, limit) = (page.total, self.limit);
            session.screen.remark(&format!("{shown} of {total} are shown (--limit {limit})"));
        }
        Ok(())
    }

    /// All pages up to the limit, put together: as the API says it, and as it is shown.
    async fn pages(&self, session: &mut Session<'_, '_>) -> Result<(Value, Page), Failure> {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let room = self.limit.saturating_sub(rows.len()).clamp(1, PAGE);
            let answer = session.client.ask(&self.call(room, after.as_deref())).await?;
            let mut whole: Value = answer.read()?;
            let Page { next, total, .. } = answer.read()?;
            if let Some(Value::Array(more)) = whole.get_mut("tunnels") {
                rows.append(more);
            }
            if next.is_none() || rows.len() >= self.limit {
                let tunnels = rows.iter().map(|row| Tunnel::deserialize(row).unwrap_or_default());
                let page = Page { tunnels: tunnels.collect(), next, total };
                whole["tunnels"] = rows.into();
                return Ok((whole, page));
            }
            after = next;
        }
    }

    fn call(&self, limit: usize, after: Option<&str>) -> Call {
        Call::get(&["tunnels"])
            .query("upstream", self.upstream.as_deref())
            .query("server", self.server.as_deref())
            .query("client", self.client)
            .query("listener", self.listener.as_deref())
            .query("sort", self.sort.as_deref())
            .query("limit", Some(limit))
            .query("after", after)
    }
}

fn table(tunnels: &[Tunnel]) -> Table {
    let mut table = Table::new(&[
        Column::Number("ID"),
        Column::Text("KIND"),
        Column::Text("UPSTREAM"),
        Column::Text("SERVER"),
        Column::Text("CLIENT"),
        Column::Text("STATE"),
        Column::Number("AGE"),
        Column::Number("IDLE"),
        Column::Number("TO CLIENT"),
        Column::Number("TO SERVER"),
    ]);
    for tunnel in tunnels {
        table.row([
            Cell::new(tunnel.id),
            Cell::new(&tunnel.kind),
            Cell::new(&tunnel.upstream),
            Cell::new(&tunnel.server),
            Cell::new(tunnel.client.as_deref().unwrap_or("-")),
            Cell::new(&tunnel.state).toned(Tone::of_state(&tunnel.state)),
            Cell::new(duration(tunnel.age_ms)),
            Cell::new(duration(tunnel.idle_ms)),
            Cell::new(bytes(tunnel.bytes_to_client)),
            Cell::new(bytes(tunnel.bytes_to_server)),
        ]);
    }
    table
}
