//! `tidegate upstream`: pools as wholes.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Map, Value};

use crate::{
    Failure,
    answers::{PoolDetail, Pools, Server},
    change::{Change, Leaving, tell},
    client::{Answer, Call},
    command::Session,
    completing::pools,
    hint,
    screen::Tone,
    table::{Cell, Column, Table},
    text::clean,
};

/// How often a change is tried again that somebody else got ahead of.
const MOST_TRIES: usize = 5;

#[derive(Clone, Debug, Subcommand)]
pub enum Upstream {
    /// List all pools
    List,
    /// Show one pool and its servers
    Show {
        #[arg(value_name = "UPSTREAM", add = ArgValueCompleter::new(pools))]
        name: String,
    },
    /// Set the servers of a pool, or other keys; makes it if it is not there
    ///
    /// What is not given stays as it is. The servers, if any are given, are all that the pool has
    /// afterwards: to add one to those that are there, use `tidegate server add`.
    #[command(after_help = SET_EXAMPLES)]
    Set(Set),
    /// Delete a pool
    Delete {
        #[arg(value_name = "UPSTREAM", add = ArgValueCompleter::new(pools))]
        name: String,
        #[command(flatten)]
        leaving: Leaving,
        #[command(flatten)]
        change: Change,
    },
}

const SET_EXAMPLES: &str = "Examples:
  tidegate upstream set chat 10.0.0.1:8080 10.0.0.2:8080,weight=3
  tidegate upstream set chat --balance least_conn
  tidegate upstream set chat --set keepalive=128 --set timeouts.read=5m";

#[derive(Args, Clone, Debug)]
pub struct Set {
    #[arg(value_name = "UPSTREAM", add = ArgValueCompleter::new(pools))]
    name: String,
    /// Its servers: HOST:PORT or unix:PATH, with parameters such as ,weight=3,backup after it
    #[arg(value_name = "SERVER", value_parser = server)]
    servers: Vec<Value>,
    /// How a server is chosen: round_robin, least_conn, random_two, ip_hash, hash, maglev or ewma
    #[arg(long, value_name = "METHOD")]
    balance: Option<String>,
    /// What hash and maglev go by, such as header:x-user
    #[arg(long, value_name = "KEY")]
    hash_key: Option<String>,
    /// Any other key of a pool, such as timeouts.read=5m; the value as JSON or as plain text
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    keys: Vec<(String, Value)>,
    #[command(flatten)]
    leaving: Leaving,
    #[command(flatten)]
    change: Change,
}

impl Upstream {
    pub(super) async fn run(self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        match self {
            Self::List => list(session).await,
            Self::Show { name } => show(session, &name).await,
            Self::Set(set) => set.run(session).await,
            Self::Delete { name, leaving, change } => {
                let call = Call::new(hyper::Method::DELETE, &["upstreams", &name]);
                let call = change.on_query(call.query("existing", leaving.existing));
                let answer = asked(session, &call, &name, &[]).await?;
                tell(session, &answer)
            }
        }
    }
}

/// Asks about a pool, and says which one was probably meant when it is not there.
pub(super) async fn asked(
    session: &mut Session<'_, '_>,
    call: &Call,
    upstream: &str,
    servers: &[String],
) -> Result<Answer, Failure> {
    match session.client.ask(call).await {
        Ok(answer) => Ok(answer),
        Err(failure) => Err(hint::explained(&mut session.client, failure, upstream, servers).await),
    }
}

async fn list(session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let answer = session.client.ask(&Call::get(&["upstreams"])).await?;
    if session.json {
        session.screen.json(&answer.body);
        return Ok(());
    }
    let pools: Pools = answer.read()?;
    let mut table = Table::new(&[
        Column::Text("NAME"),
        Column::Text("BALANCE"),
        Column::Number("UP"),
        Column::Number("SERVERS"),
        Column::Number("ACTIVE"),
        Column::Number("TUNNELS"),
        Column::Number("GENERATION"),
        Column::Text("SOURCE"),
    ]);
    for pool in &pools.upstreams {
        let up = match (pool.servers.up, pool.servers.total) {
            (up, total) if up == total => Tone::Plain,
            (0, _) => Tone::Bad,
            _ => Tone::Soft,
        };
        table.row([
            Cell::new(&pool.name),
            Cell::new(&pool.balance),
            Cell::new(pool.servers.up).toned(up),
            Cell::new(pool.servers.total),
            Cell::new(pool.requests_active),
            Cell::new(pool.tunnels_active),
            Cell::new(pool.generation),
            Cell::new(&pool.source),
        ]);
    }
    session.screen.table(&table, "there are no pools");
    if !pools.deleted.is_empty() {
        let names = clean(&pools.deleted.join(", ")).into_owned();
        session.screen.line(&format!("in the file, but deleted over the API: {names}"));
    }
    Ok(())
}

async fn show(session: &mut Session<'_, '_>, name: &str) -> Result<(), Failure> {
    let answer = asked(session, &Call::get(&["upstreams", name]), name, &[]).await?;
    if session.json {
        session.screen.json(&answer.body);
        return Ok(());
    }
    let pool: PoolDetail = answer.read()?;
    let origin = match pool.overridden.as_slice() {
        [] => format!("from {}", pool.source),
        keys => format!("from {}, which changed {} of the file's", pool.source, keys.join(", ")),
    };
    let head = format!("{}: generation {}, {origin}", pool.name, pool.generation);
    session.screen.line(&clean(&head));
    for (key, value) in pool.definition.iter().filter(|(key, _)| *key != "servers") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        session.screen.line(&format!("  {} = {}", clean(key), clean(&value)));
    }
    if !pool.drains.is_empty() {
        let drains: Vec<String> = pool.drains.iter().map(u64::to_string).collect();
        session.screen.line(&format!("  drains: {}", drains.join(", ")));
    }
    session.screen.line("");
    let table = servers(&pool.servers);
    session.screen.table(&table, "it has no servers");
    Ok(())
}

fn servers(servers: &[Server]) -> Table {
    let mut table = Table::new(&[
        Column::Whole("ADDRESS"),
        Column::Text("STATE"),
        Column::Number("WEIGHT"),
        Column::Number("ACTIVE"),
        Column::Number("TUNNELS"),
        Column::Number("REQUESTS"),
        Column::Number("FAILS"),
        Column::Number("EWMA"),
        Column::Text("SOURCE"),
        Column::Text("NOTES"),
    ]);
    for server in servers {
        let live = &server.live;
        table.row([
            Cell::new(&server.address),
            Cell::new(&server.state).toned(Tone::of_state(&server.state)),
            Cell::new(server.weight),
            Cell::new(live.requests_active),
            Cell::new(live.tunnels_active),
            Cell::new(live.requests_total),
            Cell::new(live.fails_total),
            Cell::new(live.ewma_ms.map_or_else(|| "-".into(), |ewma| format!("{ewma:.1}ms"))),
            Cell::new(&server.source),
            Cell::new(notes(server)),
        ]);
    }
    table
}

fn notes(server: &Server) -> String {
    let mut notes = Vec::new();
    if server.backup {
        notes.push("backup".to_owned());
    }
    if server.max_conns > 0 {
        notes.push(format!("max_conns {}", server.max_conns));
    }
    if let Some(check) = server.live.last_check.as_ref().filter(|check| !check.ok) {
        notes.push(format!("check: {}", check.detail.as_deref().unwrap_or("failed")));
    }
    notes.join("; ")
}

impl Set {
    /// Reads the pool, changes what was asked for, and writes it back on the condition that nobody
    /// else did meanwhile; if somebody did, it begins anew.
    async fn run(self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        if self.servers.is_empty()
            && self.balance.is_none()
            && self.hash_key.is_none()
            && self.keys.is_empty()
        {
            return Err(Failure::Usage("nothing to set: give servers, or keys of the pool".into()));
        }
        let mut tries = 1;
        loop {
            let call = self.call(session).await?;
            match session.client.ask(&call).await {
                Ok(answer) => return tell(session, &answer),
                // A condition of the caller's own is no race to be won.
                Err(failure)
                    if failure.has_status(412)
                        && self.change.guards.if_match.is_none()
                        && tries < MOST_TRIES =>
                {
                    tries += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn call(&self, session: &mut Session<'_, '_>) -> Result<Call, Failure> {
        let at = ["upstreams", self.name.as_str()];
        let (definition, tag) = match session.client.ask(&Call::get(&at)).await {
            Ok(answer) => {
                let pool: PoolDetail = answer.read()?;
                let tag = answer.etag.unwrap_or_else(|| format!("\"{}\"", pool.generation));
                (pool.definition, Some(tag))
            }
            Err(failure) if failure.has_status(404) => (Map::new(), None),
            Err(failure) => return Err(failure),
        };
        let call = Call::new(hyper::Method::PUT, &at);
        let call = match (&self.change.guards.if_match, tag) {
            (Some(_), _) => call,
            (None, Some(tag)) => call.header("if-match", Some(tag)),
            (None, None) => call.header("if-none-match", Some("*")),
        };
        Ok(self.change.on(call, self.altered(definition)?))
    }

    fn altered(&self, mut definition: Map<String, Value>) -> Result<Map<String, Value>, Failure> {
        if !self.servers.is_empty() {
            definition.insert("servers".into(), self.servers.clone().into());
        }
        let given = [("balance", &self.balance), ("hash_key", &self.hash_key)];
        for (key, value) in given {
            if let Some(value) = value {
                definition.insert(key.into(), value.as_str().into());
            }
        }
        for (key, value) in &self.keys {
            put(&mut definition, key, value)?;
        }
        let existing = self.leaving.existing.as_deref();
        definition.extend(existing.map(|word| ("existing".to_owned(), word.into())));
        Ok(definition)
    }
}

/// Sets a key, or one of a table in it: `timeouts.read`.
fn put(table: &mut Map<String, Value>, key: &str, value: &Value) -> Result<(), Failure> {
    let Some((first, rest)) = key.split_once('.') else {
        table.insert(key.into(), value.clone());
        return Ok(());
    };
    let inner = table.entry(first).or_insert_with(|| Map::new().into());
    if inner.is_null() {
        *inner = Map::new().into();
    }
    let whole = || Failure::Usage(format!("--set {key}: {first} is no table"));
    put(inner.as_object_mut().ok_or_else(whole)?, rest, value)
}

/// `ADDRESS` or `ADDRESS,weight=3,backup`.
pub(super) fn server(text: &str) -> Result<Value, String> {
    let mut parts = text.split(',');
    let address = parts.next().unwrap_or_default();
    tidegate_model::Address::parse(address).map_err(|error| error.to_string())?;
    let mut server = Map::new();
    for part in parts {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => (key, plain(value)),
            None => (part, true.into()),
        };
        if key.is_empty() || server.insert(key.into(), value).is_some() {
            return Err(format!("\"{part}\" is no parameter, or is given twice"));
        }
    }
    if server.is_empty() {
        return Ok(address.into());
    }
    server.insert("address".into(), address.into());
    Ok(server.into())
}

fn pair(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((key, value)) if key.split('.').all(|part| !part.is_empty()) => {
            Ok((key.into(), plain(value)))
        }
        _ => Err("this is not KEY=VALUE".into()),
    }
}

/// JSON where it is some, or else a text: `64`, `true`, `5m`.
fn plain(value: &str) -> Value {
    serde_json::from_str(value).unwrap_or_else(|_| value.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn servers_with_parameters() {
        assert_eq!(server("a:1"), Ok(json!("a:1")));
        let want = json!({"address": "a:1", "weight": 3, "backup": true, "fail_timeout": "5s"});
        assert_eq!(server("a:1,weight=3,backup,fail_timeout=5s"), Ok(want));
        for bad in ["", "a:b", ",weight=1", "a:1,", "a:1,backup,backup", "a:99999"] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_of_a_pool_and_of_its_tables() {
        let mut table = json!({"timeouts": {"read": "1s"}, "keepalive": 1, "eject": null});
        let table = table.as_object_mut().expect("a table");
        for text in ["timeouts.read=5m", "timeouts.send=1s", "keepalive=64", "eject.base=30s"] {
            let (key, value) = pair(text).expect(text);
            put(table, &key, &value).expect(text);
        }
        let want = json!({
            "timeouts": {"read": "5m", "send": "1s"}, "keepalive": 64, "eject": {"base": "30s"}
        });
        assert_eq!(json!(table), want);
        assert!(put(table, "keepalive.x", &json!(1)).is_err());
        for bad in ["a", "=1", "a.=1", ".a=1"] {
            assert!(pair(bad).is_err(), "{bad}");
        }
    }
}
