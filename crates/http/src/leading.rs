//! A request that is led to a pool: which one, and how its head reads there.

use std::{borrow::Cow, sync::Arc};

use tidegate_model::{Route, Template, template::Variable};
use tidegate_table::{Affinity, Hashed, Pool, Snapshot};
use tidegate_wire::{Refusal, escape_path, is_field_value_ok};

use crate::{
    asked::Asked,
    begin::{Begun, Job, Refused},
    edit::{self, Outgoing, Told},
    filled::Filled,
    head::ServerHead,
    sticky,
    variables::{SERVER_MARK, UPSTREAM_MARK_TEXT},
};

/// A request and the pool that its route names.
pub(crate) struct Led<'l, 'r> {
    pub(crate) asked: &'l Asked<'r>,
    pub(crate) snapshot: &'l Snapshot,
    pub(crate) label: &'l Arc<str>,
    pub(crate) route: &'l Route,
    pub(crate) upstream: &'l Template,
    /// Normalised.
    pub(crate) path: &'l [u8],
}

impl<'l> Led<'l, '_> {
    pub(crate) fn job(&self) -> Begun {
        let Self { asked, route, label, .. } = *self;
        let mut fallback = route.fallback.clone();
        let pool = self.named().or_else(|| self.snapshot.pool(fallback.take()?.as_str()));
        let pool = pool.ok_or_else(|| asked.refuse(502, "no such pool", Some(label)))?;
        let facts = asked.facts;
        let upgrade = edit::allowed_upgrade(facts, asked.headers, &route.upgrade);
        let head = self.head(pool, upgrade.as_deref())?;
        // There the pool is named once it is known who answers: it may be the fallback.
        let answers = asked.variables(self.path, UPSTREAM_MARK_TEXT);
        Ok(Box::new(Job {
            pool: Arc::clone(pool),
            fallback,
            head,
            body: facts.body,
            max_body: route.max_body.map_or(u64::MAX, |limit| limit.bytes()),
            version: facts.version,
            to_head: facts.method == "HEAD",
            repeatable: !matches!(facts.method, "POST" | "LOCK" | "PATCH"),
            keep_alive: facts.keep_alive,
            expects: facts.expect_continue,
            upgrade,
            affinity: self.affinity(pool),
            edits: Filled::of(&route.response_headers, &answers),
            seen: asked.seen(label, &pool.live),
            policy: None,
            held: None,
            recoding: None,
        }))
    }

    /// The pool that the route names, if it is there.
    fn named(&self) -> Option<&'l Arc<Pool>> {
        if let Some(name) = self.upstream.literal() {
            return self.snapshot.pool(name);
        }
        let name = self.asked.variables(self.path, "").render(self.upstream);
        if self.route.may_name(&name) { self.snapshot.pool(&name) } else { None }
    }

    /// What of the request its pool balances by. Should another pool have to serve it, that one
    /// goes by the same.
    fn affinity(&self, pool: &Pool) -> Affinity {
        let upstream = &pool.upstream;
        let key = || {
            let variables = self.asked.variables(self.path, pool.name.as_str());
            Hashed::of(variables.value(upstream.hash_key.variable())?.as_bytes())
        };
        Affinity {
            key: if upstream.balance.hashes() { key() } else { None },
            sticky: sticky::named(upstream.sticky.as_ref(), self.asked.headers),
            ..Affinity::of_client(self.asked.ip)
        }
    }

    fn head(&self, pool: &Pool, upgrade: Option<&str>) -> Result<ServerHead, Box<Refused>> {
        let Asked { side, facts, headers, source, trusted, id, trace, .. } = self.asked;
        let told = Told {
            peer: side.from.peer.ip(),
            trusted: *trusted,
            id,
            scheme: side.scheme(),
            upgrade,
            trace: trace.as_ref().and_then(|trace| trace.part.as_ref()),
        };
        let host = self.host(pool);
        if host.split(SERVER_MARK).any(|text| !is_field_value_ok(text.as_bytes())) {
            return Err(self.refuse(400, "the Host for the server would not be one"));
        }
        let target =
            self.target().map_err(|refusal| self.refuse(refusal.status(), refusal.to_string()))?;
        let variables = self.asked.variables(self.path, pool.name.as_str());
        let edits = Filled::of(&self.route.request_headers, &variables);
        let outgoing = Outgoing { target: &target, host: &host, edits: edits.as_deref() };
        let mut bytes = Vec::with_capacity(512);
        let marks = edit::request(&mut bytes, source, facts, headers, &told, outgoing);
        Ok(ServerHead::new(bytes, marks))
    }

    /// The target as the client sent it, unless the route rewrites its path.
    fn target(&self) -> Result<Cow<'_, [u8]>, Refusal> {
        let facts = self.asked.facts;
        let rewritten = match &self.route.rewrite {
            Some(rewrite) if facts.path != b"*" => rewrite.apply(self.path),
            _ => None,
        };
        match rewritten {
            Some(path) => {
                let mut target = escape_path(&path)?;
                if let Some(query) = facts.query {
                    target.push(b'?');
                    target.extend_from_slice(query);
                }
                Ok(target.into())
            }
            None if facts.rootless => Ok([b"/", facts.target].concat().into()),
            None => Ok(facts.target.into()),
        }
    }

    fn host(&self, pool: &Pool) -> Cow<'_, str> {
        let (template, facts) = (&pool.upstream.host_header, self.asked.facts);
        match template.sole_variable() {
            Some(Variable::Header(name)) if name == "host" && !facts.authority.is_empty() => {
                facts.authority.into()
            }
            _ => {
                let variables = self.asked.variables(self.path, pool.name.as_str());
                let host = variables.render(template);
                // HTTP/1.0 without a Host: the pool's name, as nginx does.
                if host.is_empty() { pool.name.to_string().into() } else { host.into() }
            }
        }
    }

    fn refuse(&self, status: u16, reason: impl Into<Cow<'static, str>>) -> Box<Refused> {
        self.asked.refuse(status, reason, Some(self.label))
    }
}
