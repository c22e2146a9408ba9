//! A sound request and the route that takes it. See `leading` for what becomes of it there.

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Instant};

use httparse::Header;
use tidegate_model::{Action, Route};
use tidegate_table::{Request, Snapshot};
use tidegate_wire::{Body, Facts, Refusal, Version, normalize_path};
use tidegate_worker::{Record, RequestId, Said as Texted, Texts, no_route};

use crate::{
    begin::{Begun, Refused, Seen},
    compress::Recoding,
    connection::Side,
    guard::{self, Bar},
    identity::client_ip,
    leading::Led,
    said::Said,
    trace::Trace,
    variables::Variables,
};

/// A sound request.
pub(crate) struct Asked<'r> {
    pub(crate) side: &'r Side<'r>,
    pub(crate) facts: &'r Facts<'r>,
    pub(crate) headers: &'r [Header<'r>],
    /// What the head was read from.
    pub(crate) source: &'r [u8],
    host: Cow<'r, str>,
    pub(crate) trusted: bool,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) id: RequestId,
    pub(crate) trace: Option<Trace>,
    started: Instant,
}

impl<'r> Asked<'r> {
    pub(crate) fn new(
        side: &'r Side<'r>,
        started: Instant,
        source: &'r [u8],
        facts: &'r Facts<'r>,
        headers: &'r [Header<'r>],
    ) -> Self {
        let nets = &side.listener.settings.trusted;
        let trusted = side.from.peer.ip().is_some_and(|ip| side.listener.settings.trusts(ip));
        let received = || {
            let field = headers.iter().find(|h| h.name.eq_ignore_ascii_case("x-request-id"))?;
            RequestId::received(field.value)
        };
        let id = trusted.then(received).flatten().unwrap_or_else(|| side.worker.request_id());
        let upper = facts.host.bytes().any(|b| b.is_ascii_uppercase());
        let host = if upper { facts.host.to_ascii_lowercase().into() } else { facts.host.into() };
        Self {
            side,
            facts,
            headers,
            source,
            host,
            trusted,
            ip: client_ip(&side.from.peer, nets, headers),
            id,
            trace: Trace::of(side.worker, headers, trusted),
            started,
        }
    }

    /// What becomes of it.
    pub(crate) fn job(&self) -> Begun {
        if self.facts.target.len() > self.side.listener.settings.limits.target {
            return Err(self.refuse(414, "the target is longer than allowed", None));
        }
        if self.ends_here() {
            let status = if self.facts.method == "OPTIONS" { 200 } else { 501 };
            return Err(self.refuse(status, "Max-Forwards is 0", None));
        }
        self.side.worker.with_snapshot(|snapshot| self.route(snapshot))
    }

    /// An OPTIONS or TRACE that may travel no further is answered here (RFC 9110 §7.6.2).
    fn ends_here(&self) -> bool {
        let spent = |h: &Header<'_>| h.name.eq_ignore_ascii_case("max-forwards") && h.value == b"0";
        matches!(self.facts.method, "OPTIONS" | "TRACE") && self.headers.iter().any(spent)
    }

    fn route(&self, snapshot: &Snapshot) -> Begun {
        // Whether an encoded slash may pass is the route's to say, and the route is found by path.
        let strict = normalize_path(self.facts.path, false);
        let encoded_slash = strict == Err(Refusal::EncodedSlash);
        let path = if encoded_slash { normalize_path(self.facts.path, true) } else { strict };
        let path =
            path.map_err(|refusal| self.refuse(refusal.status(), refusal.to_string(), None))?;
        let request = Request {
            listener: &self.side.listener.live.name,
            host: &self.host,
            path: &path,
            facts: self.facts,
            headers: self.headers,
        };
        let Some((label, route)) = snapshot.routes.find(&request) else {
            return Err(self.refuse(404, "no route", None));
        };
        let job = if encoded_slash && !route.allow_encoded_slash {
            let refusal = Refusal::EncodedSlash;
            Err(self.refuse(refusal.status(), refusal.to_string(), Some(label)))
        } else {
            self.guarded(label, route, &path, || self.follow(snapshot, label, route, &path))
        };
        job.map_err(|mut refused| {
            refused.policy.clone_from(&route.policy);
            refused
        })
    }

    /// Goes on with a request that its route takes.
    fn guarded(
        &self,
        label: &Arc<str>,
        route: &Route,
        path: &[u8],
        follow: impl FnOnce() -> Begun,
    ) -> Begun {
        let Some(policy) = &route.policy else { return follow() };
        let held = guard::admit(policy, &self.variables(path, ""), self.started);
        let held = held.map_err(|bar| self.barred(bar, label))?;
        let mut job = follow()?;
        (job.policy, job.held) = (Some(Arc::clone(policy)), held);
        if !policy.compress.is_empty() {
            let can_chunk = self.facts.version == Version::Http11;
            job.recoding = Some(Recoding::asked(self.headers, &policy.compress, can_chunk));
        }
        Ok(job)
    }

    /// The refusal of a request that its route does not take.
    fn barred(&self, bar: Bar, label: &Arc<str>) -> Box<Refused> {
        let mut refused = self.refuse(bar.status(), bar.reason(), Some(label));
        refused.retry_after = bar.retry_after;
        refused.seen.series.of(self.side.worker.index).barred(bar.by).add(1);
        if let Some(record) = &mut refused.seen.record {
            record.refused = Some(bar.by.label());
        }
        refused
    }

    /// Goes where the route leads.
    fn follow(&self, snapshot: &Snapshot, label: &Arc<str>, route: &Route, path: &[u8]) -> Begun {
        if let (Some(limit), Body::Length(length)) = (route.max_body, self.facts.body)
            && length > limit.bytes()
        {
            return Err(self.refuse(413, "the body is larger than the route allows", Some(label)));
        }
        let variables = self.variables(path, "");
        let upstream = match &route.action {
            Action::Upstream(upstream) => upstream,
            Action::Split(split) => {
                let key = variables.value(split.key.variable());
                let place = key.and_then(|key| tidegate_table::place(key.as_bytes()));
                &split.portion(place).upstream
            }
            Action::Respond(respond) => {
                let said = Said::responding(respond, route, &variables);
                return Err(self.say(respond.status, said, label));
            }
            Action::Redirect(redirect) => {
                let said = Said::redirecting(redirect, route, &variables);
                return Err(said.map_or_else(
                    || self.refuse(400, "the location would be empty", Some(label)),
                    |said| self.say(redirect.status, said, label),
                ));
            }
        };
        Led { asked: self, snapshot, label, route, upstream, path }.job()
    }

    pub(crate) fn variables<'v>(&'v self, path: &'v [u8], upstream: &'v str) -> Variables<'v> {
        Variables {
            facts: self.facts,
            headers: self.headers,
            host: &self.host,
            path,
            client: self.ip,
            id: &self.id,
            upstream,
            encryption: self.side.encryption.map(|known| &**known),
        }
    }

    pub(crate) fn seen(&self, route: &Arc<str>, live: &Arc<tidegate_table::PoolLive>) -> Seen {
        let series = self.side.worker.series(self.side.listener, route, live);
        let exported = self.trace.as_ref().is_some_and(|trace| trace.exported().is_some());
        let is_recorded = exported || self.side.worker.shared.access.is_some();
        let record = is_recorded.then(|| Box::new(self.record(route)));
        Seen { id: self.id, started: self.started, series, record }
    }

    /// The beginning of its record, with what somebody is going to read of it.
    fn record(&self, route: &Arc<str>) -> Record {
        let mut record = Record::new(&self.side.listener.live.name, self.ip, self.id);
        record.protocol = match self.facts.version {
            _ if self.side.http2 => "HTTP/2.0",
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        };
        record.trace = self.trace.map(|trace| trace.id);
        record.span = self.trace.and_then(|trace| trace.exported());
        let in_full = record.span.is_some() || self.side.worker.shared.logs_all();
        record.texts = Texts::of(Texted {
            method: self.facts.method.as_bytes(),
            host: if in_full { self.facts.authority.as_bytes() } else { b"" },
            uri: self.facts.target,
            user_agent: self.field("user-agent"),
            referer: self.field("referer"),
        });
        if in_full {
            record.encryption = self.side.encryption.cloned();
            record.route = Arc::clone(route);
        }
        record
    }

    fn field(&self, name: &str) -> &[u8] {
        let field = self.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
        field.map_or(b"", |h| h.value)
    }

    /// The answer of a route that asks no server.
    fn say(&self, status: u16, said: Said, route: &Arc<str>) -> Box<Refused> {
        let mut answer = self.refuse(status, "", Some(route));
        // It was understood, whatever the status.
        answer.keep_alive = self.facts.keep_alive && self.facts.body == Body::None;
        answer.said = Some(Box::new(said));
        answer
    }

    /// Framing is sound here, so the connection may go on unless a body is on its way.
    pub(crate) fn refuse(
        &self,
        status: u16,
        reason: impl Into<Cow<'static, str>>,
        route: Option<&Arc<str>>,
    ) -> Box<Refused> {
        let route = route.cloned().unwrap_or_else(no_route);
        Box::new(Refused {
            status,
            reason: reason.into(),
            keep_alive: self.facts.keep_alive && self.facts.body == Body::None && status != 400,
            to_head: self.facts.method == "HEAD",
            said: None,
            seen: self.seen(&route, self.side.worker.shared.table.nowhere()),
            policy: None,
            retry_after: None,
        })
    }
}
