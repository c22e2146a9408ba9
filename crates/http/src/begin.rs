//! From the bytes of a head to a job: judged, routed, and rendered for the server, all while the
//! head still lies in the scratch buffer. Nothing of it is kept but what the job needs.

use std::{
    borrow::Cow,
    mem::MaybeUninit,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use httparse::{Header, Status};
use tidegate_limit::Held;
use tidegate_model::{
    Name, Route, Span,
    route::Policy,
    upstream::{Condition, Next, TimeoutsSpec},
};
use tidegate_table::{Affinity, Hashed, Pool, Series, Snapshot};
use tidegate_wire::{
    Body, Facts, Refusal, Version, is_field_value_ok, judge_request, normalize_path,
};
use tidegate_worker::{MAX_TEXT, Record, RequestId, no_route};

use crate::{
    compress::Recoding,
    connection::Side,
    edit::{self, Told},
    guard::{self, Bar},
    identity::client_ip,
    sticky,
    variables::{SERVER_MARK, Variables},
};

/// Fields that find room on the stack; listeners that allow more pay for it.
const USUAL_FIELDS: usize = 128;

/// A request on its way to a server.
pub(crate) struct Job {
    pub(crate) pool: Arc<Pool>,
    pub(crate) fallback: Option<Name>,
    pub(crate) head: ServerHead,
    pub(crate) body: Body,
    pub(crate) max_body: u64,
    pub(crate) version: Version,
    pub(crate) to_head: bool,
    /// May be sent twice (nginx: anything but POST, LOCK and PATCH).
    pub(crate) repeatable: bool,
    pub(crate) keep_alive: bool,
    /// The client waits for a 100 before it sends its body.
    pub(crate) expects: bool,
    /// The tokens that were asked for and allowed.
    pub(crate) upgrade: Option<String>,
    pub(crate) affinity: Affinity,
    pub(crate) seen: Seen,
    /// What its route sets, if that is anything.
    pub(crate) policy: Option<Arc<Policy>>,
    /// As one of those that its route has at once.
    pub(crate) held: Option<Box<Held>>,
    /// What its answer may be compressed with, on a route that does that.
    pub(crate) recoding: Option<Recoding>,
}

/// What every request is accounted by, whatever becomes of it.
pub(crate) struct Seen {
    pub(crate) id: RequestId,
    pub(crate) started: Instant,
    pub(crate) series: Arc<Series>,
    pub(crate) record: Option<Box<Record>>,
}

/// The head as the server gets it.
pub(crate) struct ServerHead {
    bytes: Vec<u8>,
    /// The text of Host around the server's name, when it depends on that, and where it belongs.
    host: Option<(usize, Vec<String>)>,
}

/// A request that no server will see.
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) keep_alive: bool,
    pub(crate) to_head: bool,
    pub(crate) seen: Seen,
    /// Of the route, if one was found and sets anything.
    pub(crate) policy: Option<Arc<Policy>>,
    /// In seconds.
    pub(crate) retry_after: Option<u64>,
}

impl Job {
    /// How much of its body is kept for another try: nothing when none could follow anyway.
    pub(crate) fn replay_limit(&self) -> usize {
        let next = self.next(&self.pool);
        let may_repeat = self.repeatable || next.on.contains(Condition::NonIdempotent);
        let limit = next.replay_buffer.bytes();
        let fits = match self.body {
            Body::None => false,
            Body::Length(length) => length <= limit,
            Body::Chunked => true,
        };
        if may_repeat && fits { usize::try_from(limit).unwrap_or(0) } else { 0 }
    }

    /// When it goes on to another server of that pool.
    pub(crate) fn next(&self, pool: &Pool) -> Next {
        let pools = &pool.upstream.next;
        self.policy.as_ref().map_or(*pools, |policy| policy.next.over(pools))
    }

    /// The route's own time-out, or that of its pool.
    pub(crate) fn timeout(
        &self,
        own: impl FnOnce(&TimeoutsSpec) -> Option<Span>,
        pools: Span,
    ) -> Duration {
        let own = self.policy.as_ref().and_then(|policy| own(&policy.timeouts));
        own.unwrap_or(pools).as_duration()
    }
}

impl ServerHead {
    /// The bytes for one server.
    pub(crate) fn for_server(&self, label: &str) -> Cow<'_, [u8]> {
        let Some((at, texts)) = &self.host else {
            return Cow::Borrowed(&self.bytes);
        };
        let host = format!("Host: {}\r\n", texts.join(label));
        Cow::Owned([&self.bytes[..*at], host.as_bytes(), &self.bytes[*at..]].concat())
    }
}

/// A request that was understood: to be forwarded, or refused though its end is known.
pub(crate) type Begun = Result<Box<Job>, Box<Refused>>;

/// Reads one head from the front of `bytes`, and how long it is; `None` while it is incomplete.
///
/// # Errors
/// When it cannot be told where the request ends.
pub(crate) fn begin(
    side: &Side<'_>,
    started: Instant,
    bytes: &[u8],
) -> Result<Option<(Begun, usize)>, Box<Refused>> {
    let limit = side.listener.settings.limits.fields;
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
    let mut many = Vec::new();
    let storage = if limit <= USUAL_FIELDS {
        &mut usual[..limit]
    } else {
        many.resize_with(limit, MaybeUninit::uninit);
        &mut many[..]
    };
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, storage);
    let judged = match parsed {
        Ok(Status::Partial) => return Ok(None),
        Ok(Status::Complete(size)) => judge_request(&request).map(|facts| (facts, size)),
        Err(error) => Err(Refusal::of_syntax(error, bytes)),
    };
    match judged {
        Ok((facts, size)) => {
            let asked = Asked::new(side, started, &bytes[..size], &facts, request.headers);
            Ok(Some((asked.job(), size)))
        }
        Err(refusal) => {
            let (status, reason) = (refusal.status(), refusal.to_string());
            Err(Box::new(unreadable(side, started, status, reason.into())))
        }
    }
}

/// The refusal of a head that cannot be read.
pub(crate) fn unreadable(
    side: &Side<'_>,
    started: Instant,
    status: u16,
    reason: Cow<'static, str>,
) -> Refused {
    let worker = side.worker;
    let id = worker.request_id();
    let series = worker.series(side.listener, &no_route(), worker.shared.table.nowhere());
    let record = worker.shared.access.as_ref().map(|_| {
        let record = Record::new(&side.listener.live.name, side.from.peer.ip(), id.as_str());
        Box::new(record)
    });
    Refused {
        status,
        reason,
        keep_alive: false,
        to_head: false,
        seen: Seen { id, started, series, record },
        policy: None,
        retry_after: None,
    }
}

/// A text of the client's, as the access log keeps it.
fn logged(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT)]).into_owned()
}

/// A sound request.
struct Asked<'r> {
    side: &'r Side<'r>,
    facts: &'r Facts<'r>,
    headers: &'r [Header<'r>],
    /// What the head was read from.
    source: &'r [u8],
    host: Cow<'r, str>,
    trusted: bool,
    ip: Option<IpAddr>,
    id: RequestId,
    started: Instant,
}

impl<'r> Asked<'r> {
    fn new(
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
            started,
        }
    }

    fn job(&self) -> Result<Box<Job>, Box<Refused>> {
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

    fn route(&self, snapshot: &Snapshot) -> Result<Box<Job>, Box<Refused>> {
        // Whether an encoded slash may pass is the route's to say, and the route is found by path.
        let strict = normalize_path(self.facts.path, false);
        let encoded_slash = strict == Err(Refusal::EncodedSlash);
        let path = if encoded_slash { normalize_path(self.facts.path, true) } else { strict };
        let path =
            path.map_err(|refusal| self.refuse(refusal.status(), refusal.to_string(), None))?;
        let listener = &*self.side.listener.live.name;
        let found = snapshot
            .routes
            .list
            .iter()
            .find(|(_, route)| route.matches(listener, &self.host, &path));
        let Some((label, route)) = found else {
            return Err(self.refuse(404, "no route", None));
        };
        let job = if encoded_slash && !route.allow_encoded_slash {
            let refusal = Refusal::EncodedSlash;
            Err(self.refuse(refusal.status(), refusal.to_string(), Some(label)))
        } else {
            self.guarded(label, route, &path, || self.forward(snapshot, label, route, &path))
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
        forward: impl FnOnce() -> Result<Box<Job>, Box<Refused>>,
    ) -> Result<Box<Job>, Box<Refused>> {
        let Some(policy) = &route.policy else { return forward() };
        let held = guard::admit(policy, &self.variables(path, ""), self.started);
        let held = held.map_err(|bar| self.barred(bar, label))?;
        let mut job = forward()?;
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

    fn forward(
        &self,
        snapshot: &Snapshot,
        label: &Arc<str>,
        route: &Route,
        path: &[u8],
    ) -> Result<Box<Job>, Box<Refused>> {
        let mut fallback = route.fallback.clone();
        let named = match route.upstream.literal() {
            Some(name) => snapshot.pool(name),
            None => {
                let name = self.variables(path, "").render(&route.upstream);
                if route.may_name(&name) { snapshot.pool(&name) } else { None }
            }
        };
        let pool = named.or_else(|| snapshot.pool(fallback.take()?.as_str()));
        let pool = pool.ok_or_else(|| self.refuse(502, "no such pool", Some(label)))?;
        if let (Some(limit), Body::Length(length)) = (route.max_body, self.facts.body)
            && length > limit.bytes()
        {
            return Err(self.refuse(413, "the body is larger than the route allows", Some(label)));
        }
        let upgrade = edit::allowed_upgrade(self.facts, self.headers, &route.upgrade);
        let head = self.head(pool, path, upgrade.as_deref(), label)?;
        Ok(Box::new(Job {
            pool: Arc::clone(pool),
            fallback,
            head,
            body: self.facts.body,
            max_body: route.max_body.map_or(u64::MAX, |limit| limit.bytes()),
            version: self.facts.version,
            to_head: self.facts.method == "HEAD",
            repeatable: !matches!(self.facts.method, "POST" | "LOCK" | "PATCH"),
            keep_alive: self.facts.keep_alive,
            expects: self.facts.expect_continue,
            upgrade,
            affinity: self.affinity(pool, path),
            seen: self.seen(label, &pool.live),
            policy: None,
            held: None,
            recoding: None,
        }))
    }

    /// What of the request its pool balances by. Should another pool have to serve it, that one
    /// goes by the same.
    fn affinity(&self, pool: &Pool, path: &[u8]) -> Affinity {
        let upstream = &pool.upstream;
        let key = || {
            let variables = self.variables(path, pool.name.as_str());
            Hashed::of(variables.value(upstream.hash_key.variable())?.as_bytes())
        };
        Affinity {
            key: if upstream.balance.hashes() { key() } else { None },
            sticky: sticky::named(upstream.sticky.as_ref(), self.headers),
            ..Affinity::of_client(self.ip)
        }
    }

    fn head(
        &self,
        pool: &Pool,
        path: &[u8],
        upgrade: Option<&str>,
        label: &Arc<str>,
    ) -> Result<ServerHead, Box<Refused>> {
        let mut bytes = Vec::with_capacity(512);
        let told =
            Told { peer: self.side.from.peer.ip(), trusted: self.trusted, id: &self.id, upgrade };
        let host = self.host_field(pool, path);
        if host.split(SERVER_MARK).any(|text| !is_field_value_ok(text.as_bytes())) {
            return Err(self.refuse(400, "the Host for the server would not be one", Some(label)));
        }
        if host.contains(SERVER_MARK) {
            let at = edit::request(&mut bytes, self.source, self.facts, self.headers, &told, None);
            let texts = host.split(SERVER_MARK).map(str::to_owned).collect();
            return Ok(ServerHead { bytes, host: Some((at, texts)) });
        }
        edit::request(&mut bytes, self.source, self.facts, self.headers, &told, Some(&host));
        Ok(ServerHead { bytes, host: None })
    }

    fn host_field(&self, pool: &'r Pool, path: &[u8]) -> Cow<'_, str> {
        use tidegate_model::template::Variable;

        let template = &pool.upstream.host_header;
        match template.sole_variable() {
            Some(Variable::Header(name)) if name == "host" && !self.facts.authority.is_empty() => {
                self.facts.authority.into()
            }
            _ => {
                let host = self.variables(path, pool.name.as_str()).render(template);
                // HTTP/1.0 without a Host: the pool's name, as nginx does.
                if host.is_empty() { pool.name.to_string().into() } else { host.into() }
            }
        }
    }

    fn variables<'v>(&'v self, path: &'v [u8], upstream: &'v str) -> Variables<'v> {
        Variables {
            facts: self.facts,
            headers: self.headers,
            host: &self.host,
            path,
            client: self.ip,
            id: &self.id,
            upstream,
        }
    }

    fn seen(&self, route: &Arc<str>, live: &Arc<tidegate_table::PoolLive>) -> Seen {
        let series = self.side.worker.series(self.side.listener, route, live);
        let record = self.side.worker.shared.access.as_ref().map(|_| Box::new(self.record(route)));
        Seen { id: self.id, started: self.started, series, record }
    }

    fn record(&self, route: &Arc<str>) -> Record {
        let mut record = Record::new(&self.side.listener.live.name, self.ip, self.id.as_str());
        let field = |name: &str| {
            let field = self.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
            field.map(|h| logged(h.value)).unwrap_or_default()
        };
        record.method = self.facts.method.into();
        record.host = self.facts.authority.into();
        record.uri = logged(self.facts.target);
        record.protocol =
            if self.facts.version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
        record.user_agent = field("user-agent");
        record.referer = field("referer");
        record.route = Arc::clone(route);
        record
    }

    /// Framing is sound here, so the connection may go on unless a body is on its way.
    fn refuse(
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
            seen: self.seen(&route, self.side.worker.shared.table.nowhere()),
            policy: None,
            retry_after: None,
        })
    }
}
