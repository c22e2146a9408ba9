//! `tidegate server`: single servers of a pool.

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use hyper::Method;
use serde_json::{Map, Value, json};
use tidegate_model::{Address, Span, drain::Rate};

use super::{drain, follow, upstream::asked};
use crate::{
    Failure,
    answers::Drain,
    change::{Change, Leaving, tell},
    client::Call,
    command::Session,
    completing::{pools, servers},
};

#[derive(Clone, Debug, Subcommand)]
pub enum Server {
    /// Add servers to a pool
    Add {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        keys: Keys,
        #[command(flatten)]
        change: Change,
    },
    /// Change parameters of servers; what is not given stays as it is
    Set {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        keys: Keys,
        #[command(flatten)]
        change: Change,
    },
    /// Remove servers from a pool; their tunnels go on unless --existing says otherwise
    Remove {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        leaving: Leaving,
        #[command(flatten)]
        change: Change,
    },
    /// Take servers into rotation again
    Up {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        change: Change,
    },
    /// Take servers out of rotation; what runs on them goes on
    Down {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        change: Change,
    },
    /// Empty servers of their tunnels at a pace, taking no new requests
    #[command(after_help = DRAIN_EXAMPLE)]
    Drain(Box<Emptying>),
}

const DRAIN_EXAMPLE: &str = "Example:
  tidegate server drain chat 10.0.0.1:8080 --over 15m --deadline 1h --wait";

/// Servers of a pool.
#[derive(Args, Clone, Debug)]
pub struct Who {
    /// The pool
    #[arg(value_name = "UPSTREAM", add = ArgValueCompleter::new(pools))]
    upstream: String,
    /// The servers, as the pool knows them: HOST:PORT or unix:PATH
    #[arg(value_name = "ADDRESS", required = true, add = ArgValueCompleter::new(servers))]
    servers: Vec<String>,
}

/// Parameters of a server.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "The server")]
pub struct Keys {
    /// Its share among the others; 0: nothing new
    #[arg(long, value_name = "NUMBER")]
    weight: Option<u32>,
    /// The most requests and tunnels at once; 0: no limit
    #[arg(long, value_name = "NUMBER")]
    max_conns: Option<u32>,
    /// Failures within fail-timeout that take it out for that time; 0: never
    #[arg(long, value_name = "NUMBER")]
    max_fails: Option<u32>,
    /// See max-fails
    #[arg(long, value_name = "TIME", value_parser = span)]
    fail_timeout: Option<String>,
    /// How long its share grows after it came back
    #[arg(long, value_name = "TIME", value_parser = span)]
    slow_start: Option<String>,
    /// Only used when no other server can be
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    backup: Option<bool>,
    /// A tag; may be given more than once, and all of them take the place of those it has
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
}

/// A drain to be begun.
#[derive(Args, Clone, Debug)]
pub struct Emptying {
    #[command(flatten)]
    who: Who,
    /// Spread evenly over this time, such as 15m; without this and --rate the pool's drain_over
    #[arg(long, value_name = "TIME", value_parser = span, conflicts_with = "rate")]
    over: Option<String>,
    /// So many tunnels in a time, such as 200/s or 30/m
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<String>,
    /// Who goes first: quiet_first, oldest_first or any
    #[arg(long, value_name = "ORDER", value_enum, hide_possible_values = true)]
    order: Option<Order>,
    /// Cut what is left after so long; without it nothing is cut
    #[arg(long, value_name = "TIME", value_parser = span)]
    deadline: Option<String>,
    /// The code of the Close frames
    #[arg(long, value_name = "CODE")]
    close_code: Option<u16>,
    /// Out of rotation, but nobody is closed yet
    #[arg(long)]
    paused: bool,
    /// Also the last server that takes requests
    #[arg(long)]
    force: bool,
    /// Stay until nothing runs on it any more. Ctrl-C leaves the drain running
    #[arg(long)]
    wait: bool,
    /// What the Close frames say besides the code, and what the history keeps
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Order {
    Any,
    OldestFirst,
    QuietFirst,
}

impl Server {
    pub(super) async fn run(self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        match self {
            Self::Add { who, keys, change } => add(session, &who, &keys, &change).await,
            Self::Set { who, keys, change } => {
                let keys = keys.of_server();
                if keys.is_empty() {
                    return Err(Failure::Usage("nothing to set: give a parameter".into()));
                }
                set(session, &who, keys, &change).await
            }
            Self::Remove { who, leaving, change } => {
                remove(session, &who, leaving.existing.as_deref(), &change).await
            }
            Self::Up { who, change } => set(session, &who, down(false), &change).await,
            Self::Down { who, change } => set(session, &who, down(true), &change).await,
            Self::Drain(emptying) => emptying.run(session).await,
        }
    }
}

async fn add(
    session: &mut Session<'_, '_>,
    who: &Who,
    keys: &Keys,
    change: &Change,
) -> Result<(), Failure> {
    let keys = keys.of_server();
    let mut servers = Vec::with_capacity(who.servers.len());
    for address in &who.servers {
        let checked = Address::parse(address);
        checked.map_err(|error| Failure::Usage(error.to_string()))?;
        let mut server = keys.clone();
        server.insert("address".into(), address.as_str().into());
        servers.push(Value::Object(server));
    }
    let mut body = Map::new();
    body.insert("servers".into(), servers.into());
    let call = Call::new(Method::POST, &["upstreams", &who.upstream, "servers"]);
    let answer = asked(session, &change.on(call, body), &who.upstream, &[]).await?;
    tell(session, &answer)
}

/// One server by itself; several all together or none.
async fn set(
    session: &mut Session<'_, '_>,
    who: &Who,
    keys: Map<String, Value>,
    change: &Change,
) -> Result<(), Failure> {
    let call = match who.servers.as_slice() {
        [server] => {
            let at = ["upstreams", who.upstream.as_str(), "servers", server.as_str()];
            change.on(Call::new(Method::PATCH, &at), keys)
        }
        _ => who.together(change, Map::new(), &json!({"op": "set_server", "set": keys})),
    };
    let answer = asked(session, &call, &who.upstream, &who.servers).await?;
    tell(session, &answer)
}

async fn remove(
    session: &mut Session<'_, '_>,
    who: &Who,
    existing: Option<&str>,
    change: &Change,
) -> Result<(), Failure> {
    let call = match who.servers.as_slice() {
        [server] => {
            let at = ["upstreams", who.upstream.as_str(), "servers", server.as_str()];
            change.on_query(Call::new(Method::DELETE, &at).query("existing", existing))
        }
        _ => {
            let mut body = Map::new();
            body.extend(existing.map(|existing| ("existing".to_owned(), existing.into())));
            who.together(change, body, &json!({"op": "remove_server"}))
        }
    };
    let answer = asked(session, &call, &who.upstream, &who.servers).await?;
    tell(session, &answer)
}

impl Who {
    /// A transaction of one operation for each server. A generation that was asked for is that of
    /// each of them.
    fn together(&self, change: &Change, mut body: Map<String, Value>, operation: &Value) -> Call {
        let mut operations = Vec::with_capacity(self.servers.len());
        for server in &self.servers {
            let mut operation = operation.clone();
            operation["upstream"] = self.upstream.as_str().into();
            operation["server"] = server.as_str().into();
            if let Some(generation) = change.guards.generation() {
                operation["if_match"] = generation.into();
            }
            operations.push(operation);
        }
        body.insert("operations".into(), operations.into());
        let mut change = change.clone();
        change.guards.if_match = None;
        change.on(Call::new(Method::POST, &["transactions"]), body)
    }
}

impl Keys {
    fn of_server(&self) -> Map<String, Value> {
        let mut keys = Map::new();
        let numbers =
            [("weight", self.weight), ("max_conns", self.max_conns), ("max_fails", self.max_fails)];
        keys.extend(
            numbers.into_iter().filter_map(|(key, value)| Some((key.into(), value?.into()))),
        );
        let times = [("fail_timeout", &self.fail_timeout), ("slow_start", &self.slow_start)];
        for (key, value) in times {
            keys.extend(value.as_deref().map(|value| (key.to_owned(), value.into())));
        }
        keys.extend(self.backup.map(|backup| ("backup".to_owned(), backup.into())));
        if !self.tags.is_empty() {
            let tags = self.tags.iter();
            let tags: Map<String, Value> =
                tags.map(|(key, value)| (key.clone(), value.as_str().into())).collect();
            keys.insert("tags".into(), tags.into());
        }
        keys
    }
}

impl Emptying {
    async fn run(&self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        let who = &self.who;
        let mut begun = Vec::with_capacity(who.servers.len());
        for server in &who.servers {
            let call = Call::new(Method::POST, &["drains"]).body(self.order(server).into());
            let answer = asked(session, &call, &who.upstream, std::slice::from_ref(server)).await?;
            let drain: Drain = answer.read()?;
            if session.json {
                session.screen.json(&answer.body);
            } else {
                drain::tell(session, &drain);
            }
            begun.push(drain.id);
        }
        if self.wait {
            for id in begun {
                follow::until_drained(session, id).await?;
            }
        }
        Ok(())
    }

    fn order(&self, server: &str) -> Map<String, Value> {
        let mut order = Map::new();
        order.insert("upstream".into(), self.who.upstream.as_str().into());
        order.insert("server".into(), server.into());
        let texts = [
            ("over", self.over.as_deref()),
            ("rate", self.rate.as_deref()),
            ("order", self.order.map(Order::word)),
            ("deadline", self.deadline.as_deref()),
            ("reason", self.reason.as_deref()),
        ];
        for (key, value) in texts {
            order.extend(value.map(|value| (key.to_owned(), value.into())));
        }
        order.extend(self.close_code.map(|code| ("close_code".to_owned(), code.into())));
        for (key, value) in [("paused", self.paused), ("force", self.force)] {
            order.extend(value.then(|| (key.to_owned(), true.into())));
        }
        order
    }
}

impl Order {
    fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::OldestFirst => "oldest_first",
            Self::QuietFirst => "quiet_first",
        }
    }
}

fn down(down: bool) -> Map<String, Value> {
    Map::from_iter([("down".to_owned(), down.into())])
}

/// A time as the API reads it; what is wrong with one is found before anybody is asked.
pub(super) fn span(text: &str) -> Result<String, String> {
    Span::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn rate(text: &str) -> Result<String, String> {
    Rate::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("this is not KEY=VALUE".into()),
    }
}
