//! Who would be picked. Balancers that go by the request alone are asked for real; the others take
//! turns or throw dice, and their next choice is nobody's to know, nor to use up.

use std::cell::RefCell;

use serde::Serialize;
use tidegate_model::{Balance, Upstream};
use tidegate_table::{Affinity, Ask, Hashed, Pool, Server, Tried, parse_token};
use utoipa::ToSchema;

use super::{
    candidates::{Turnout, is_on_probation},
    variables::Variables,
};

/// What becomes of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Decision {
    /// The server it goes to first, where that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    /// The status of our own answer, where no server is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    because: String,
}

/// The cookie that names a server.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[schema(as = ExplainedSticky)]
pub(super) struct Sticky<'e> {
    cookie: &'e str,
    /// Whom the client's cookie names, if it is still there.
    server: Option<&'e str>,
}

/// What is hashed.
pub(super) struct Key {
    /// As configured.
    pub(super) name: String,
    /// In this request; empty when it has none.
    pub(super) value: String,
}

/// A pick that is about to be made.
pub(super) struct Choosing<'e> {
    pool: &'e Pool,
    now: u64,
    affinity: Affinity,
    /// `None`: nothing is hashed.
    pub(super) key: Option<Key>,
    pub(super) sticky: Option<Sticky<'e>>,
    named: Option<&'e Server>,
}

impl Decision {
    pub(super) fn refusal(status: u16, because: impl Into<String>) -> Self {
        Self { server: None, status: Some(status), because: because.into() }
    }

    fn of(server: &Server, because: impl Into<String>) -> Self {
        let server = Some(server.state.label().to_string());
        Self { server, status: None, because: because.into() }
    }

    fn open(because: String) -> Self {
        Self { server: None, status: None, because }
    }
}

impl<'e> Choosing<'e> {
    /// `asked` is the pool that the route names: it says what of the request counts, also when
    /// `pool`, its fallback, has to serve.
    pub(super) fn new(
        pool: &'e Pool,
        asked: &'e Pool,
        variables: &Variables<'_>,
        now: u64,
    ) -> Self {
        let Upstream { balance, hash_key, sticky, .. } = &asked.upstream;
        let value = || variables.value(hash_key.variable()).unwrap_or_default().into_owned();
        let key = balance.hashes().then(|| Key { name: hash_key.to_string(), value: value() });
        let cookie = sticky.as_ref().map(|sticky| sticky.cookie.as_str());
        let affinity = Affinity {
            key: key.as_ref().and_then(|key| Hashed::of(key.value.as_bytes())),
            sticky: cookie.and_then(|name| parse_token(variables.cookie(name)?)),
            ..Affinity::of_client(Some(variables.client))
        };
        let is_named = |server: &&Server| affinity.sticky == Some(server.token());
        let named = pool.upstream.sticky.as_ref().and_then(|_| pool.servers.iter().find(is_named));
        let server = named.map(|server| &**server.state.label());
        let sticky = cookie.map(|cookie| Sticky { cookie, server });
        Self { pool, now, affinity, key, sticky, named }
    }

    /// Whether anybody can be picked.
    pub(super) fn has_choice(&self) -> bool {
        self.asking(|ask| self.pool.has_choice(ask, true))
    }

    pub(super) fn decide(&self, turnout: &Turnout<'_>) -> Decision {
        let count = turnout.eligible().count();
        if count == 0 {
            return Decision::refusal(502, self.nobody());
        }
        let is_named =
            |server: &&Server| self.named.is_some_and(|named| std::ptr::eq(named, *server));
        if let Some(server) = turnout.eligible().find(is_named) {
            return Decision::of(server, "its cookie names it");
        }
        let (by, is_certain) = self.method();
        if !is_certain {
            return Decision::open(format!("any of the {count} eligible by {by}"));
        }
        // To pick one of these is to be the request that it waits for.
        let waits = |server: &Server| is_on_probation(self.pool, server);
        if !turnout.overlooks() && turnout.eligible().any(waits) {
            let because = "not tried, for a server that has failed waits for its next pick";
            return Decision::open(format!("one of the {count} eligible by {by}: {because}"));
        }
        let picked = self.asking(|ask| self.pool.pick(ask).map(|pick| pick.server));
        // Whoever was eligible a moment ago may be so no more.
        picked.map_or_else(
            |_| Decision::refusal(502, self.nobody()),
            |server| Decision::of(server, format!("by {by}")),
        )
    }

    /// What the balancer goes by, and whether the request alone decides.
    fn method(&self) -> (String, bool) {
        let balance = self.pool.upstream.balance;
        let word = balance.word();
        match (balance, &self.key) {
            (Balance::IpHash, _) => (word.into(), true),
            (Balance::Hash | Balance::Maglev, Some(key)) if self.affinity.key.is_some() => {
                (format!("{word} of {} \"{}\"", key.name, key.value), true)
            }
            (Balance::Hash | Balance::Maglev, _) => {
                (format!("round_robin, for {word} has no key in this request"), false)
            }
            _ => (word.into(), false),
        }
    }

    fn asking<T>(&self, ask: impl FnOnce(&Ask<'_>) -> T) -> T {
        let random = RefCell::new(fastrand::Rng::new());
        let tried = Tried::default();
        ask(&Ask { tried: &tried, affinity: &self.affinity, now: self.now, random: &random })
    }

    fn nobody(&self) -> &'static str {
        if self.pool.servers.iter().any(|server| server.takes_requests()) {
            "every server that takes requests is out or at its limit"
        } else {
            "the pool has no server that takes requests"
        }
    }
}
