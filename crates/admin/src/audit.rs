//! The audit log: one line of JSON for every change, and for every attempt that was refused. A handler
//! says in an [`Audit`] what it did; the guard, which sees every request, completes and writes it, and
//! writes a line even when no handler said anything.
//!
//! Much of a line comes from the network. It stays one line whatever that holds (see [`json`]), and
//! of bounded length.

mod json;
mod log;

use std::time::SystemTime;

use axum::{
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use tidegate_model::{Name, UpstreamSpec};
use tidegate_net::Peer;
use tidegate_table::{Applied, Refused};

use crate::{caller::Caller, dyups, problem::Told, time::rfc3339_millis};
use json::{cut, small, unforgeable};

pub use log::AuditLog;

/// Names of pools in one line; how many more there are is said.
const MAX_NAMES: usize = 256;
/// Of a method, a path, and what somebody said or was told, in characters.
const MAX_METHOD: usize = 32;
const MAX_TEXT: usize = 1_024;

/// What a handler knows of a change, or of what was refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    what: &'static str,
    upstreams: Vec<Name>,
    reason: Option<String>,
    before: Option<Value>,
    after: Option<Value>,
    outcome: Option<Outcome>,
    detail: Option<String>,
    generation: Option<u64>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Applied,
    DryRun,
    Failed,
    Refused,
    Replayed,
}

/// A change, or an attempt at one, that nobody asked for through HTTP.
#[derive(Clone, Debug)]
pub struct TableChange {
    /// Who or what wanted it: a signal, the resolver, a drain that is over.
    pub caller: String,
    /// Such as `reload`.
    pub what: &'static str,
    pub upstreams: Vec<Name>,
    /// The generation that it made, or why there is none.
    pub outcome: Result<u64, String>,
}

/// What is known of a request before anybody has answered it.
#[derive(Debug)]
pub(crate) struct Asked {
    peer: Peer,
    method: String,
    path: String,
    is_dry_run: bool,
}

impl Audit {
    /// `what` is said as `THING.VERB`.
    pub(crate) fn of(what: &'static str) -> Self {
        Self { what, ..Self::default() }
    }

    /// One more pool that is concerned.
    pub(crate) fn upstream(&mut self, name: &Name) {
        self.upstreams.push(name.clone());
    }

    /// What the caller gave as the reason.
    pub(crate) fn reason(&mut self, reason: Option<&str>) {
        self.reason = reason.map(|reason| cut(reason, MAX_TEXT));
    }

    /// What the change is about, as it was. What is too large is told by its number of servers.
    pub(crate) fn before(&mut self, value: &impl Serialize, servers: usize) {
        self.before = Some(small(value, servers));
    }

    /// The same as it is now.
    pub(crate) fn after(&mut self, value: &impl Serialize, servers: usize) {
        self.after = Some(small(value, servers));
    }

    /// A pool as it was.
    pub(crate) fn pool_before(&mut self, spec: &UpstreamSpec) {
        self.before(spec, servers(spec));
    }

    /// A pool as it is now.
    pub(crate) fn pool_after(&mut self, spec: &UpstreamSpec) {
        self.after(spec, servers(spec));
    }

    pub(crate) fn generation(&mut self, generation: u64) {
        self.generation = Some(generation);
    }

    pub(crate) fn applied(&mut self, applied: &Applied) {
        self.generation = Some(applied.generation);
        self.outcome = Some(Outcome::Applied);
    }

    /// Where the status does not say it.
    pub(crate) fn outcome(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    pub(crate) fn detail(&mut self, detail: &str) {
        self.detail = Some(cut(detail, MAX_TEXT));
    }

    /// What the table had against it.
    pub(crate) fn refused(&mut self, refused: &Refused) {
        self.detail(&refused.to_string());
        self.outcome = Some(match refused {
            Refused::Closed | Refused::Storage { .. } => Outcome::Failed,
            _ => Outcome::Refused,
        });
    }

    /// The answer, with this for the guard.
    pub(crate) fn on(self, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

fn servers(spec: &UpstreamSpec) -> usize {
    spec.servers.as_ref().map_or(0, Vec::len)
}

/// Who it was. Nobody has a role who did not say who it is.
#[derive(Serialize)]
struct Who<'l> {
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'l str>,
    role: Option<&'static str>,
}

#[derive(Serialize)]
struct Line<'l> {
    at: String,
    caller: Who<'l>,
    method: Option<&'l str>,
    path: Option<&'l str>,
    what: &'l str,
    upstreams: &'l [Name],
    #[serde(skip_serializing_if = "is_zero")]
    upstreams_left_out: usize,
    reason: Option<&'l str>,
    before: Option<&'l Value>,
    after: Option<&'l Value>,
    outcome: Outcome,
    status: Option<u16>,
    detail: Option<&'l str>,
    generation: Option<u64>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Asked {
    pub(crate) fn new(peer: Peer, method: &Method, uri: &Uri) -> Self {
        let path = uri.path_and_query().map_or_else(|| uri.path(), |both| both.as_str());
        let mut pairs = uri.query().unwrap_or_default().split('&');
        Self {
            peer,
            method: cut(method.as_str(), MAX_METHOD),
            path: cut(path, MAX_TEXT),
            is_dry_run: pairs.any(|pair| pair == "dry_run=true"),
        }
    }

    /// The line about this request, which was answered so. `caller` is known unless nobody said who.
    pub(crate) fn line(&self, caller: Option<&Caller>, response: &Response) -> String {
        let nothing = Audit::of("request");
        let audit = response.extensions().get::<Audit>().unwrap_or(&nothing);
        let told = response.extensions().get::<Told>().map(|Told(detail)| detail.as_str());
        let told = told.or_else(|| dyups::reason(response.headers()));
        let uid = match self.peer {
            Peer::Ip(_) => None,
            Peer::Unix(uid) => uid,
        };
        let who = Who {
            peer: if uid.is_some() { "unix".into() } else { self.peer.to_string() },
            uid,
            token: caller.and_then(|caller| caller.token.as_deref()),
            role: caller.map(|caller| caller.access.role.word()),
        };
        let detail = audit.detail.clone().or_else(|| told.map(|told| cut(told, MAX_TEXT)));
        let mut line = audit.line(who, self.outcome(audit, response));
        line.method = Some(&self.method);
        line.path = Some(&self.path);
        line.status = Some(response.status().as_u16());
        line.detail = detail.as_deref();
        line.text()
    }

    fn outcome(&self, audit: &Audit, response: &Response) -> Outcome {
        let status = response.status();
        match audit.outcome {
            _ if response.headers().contains_key("idempotent-replayed") => Outcome::Replayed,
            Some(outcome) => outcome,
            None if status.is_success() && self.is_dry_run => Outcome::DryRun,
            None if status.is_success() => Outcome::Applied,
            None if status.is_server_error() => Outcome::Failed,
            None => Outcome::Refused,
        }
    }
}

impl TableChange {
    fn line(self) -> String {
        let Self { caller, what, upstreams, outcome } = self;
        let mut audit = Audit { upstreams, ..Audit::of(what) };
        let came = match outcome {
            Ok(generation) => {
                audit.generation = Some(generation);
                Outcome::Applied
            }
            Err(reason) => {
                audit.detail(&reason);
                Outcome::Refused
            }
        };
        let who = Who { peer: cut(&caller, MAX_TEXT), uid: None, token: None, role: None };
        audit.line(who, came).text()
    }
}

impl Audit {
    fn line<'l>(&'l self, caller: Who<'l>, outcome: Outcome) -> Line<'l> {
        let shown = self.upstreams.len().min(MAX_NAMES);
        Line {
            at: rfc3339_millis(SystemTime::now()),
            caller,
            method: None,
            path: None,
            what: self.what,
            upstreams: &self.upstreams[..shown],
            upstreams_left_out: self.upstreams.len() - shown,
            reason: self.reason.as_deref(),
            before: self.before.as_ref(),
            after: self.after.as_ref(),
            outcome,
            status: None,
            detail: self.detail.as_deref(),
            generation: self.generation,
        }
    }
}

impl Line<'_> {
    fn text(&self) -> String {
        // Texts, numbers and values of JSON always have a form in JSON.
        unforgeable(&serde_json::to_string(self).unwrap_or_default())
    }
}

/// Whether an answer to a question, which changes nothing, is an attempt that was refused.
pub(crate) fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
    )
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::problem::Problem;

    fn asked(uri: &'static str) -> Asked {
        Asked::new(Peer::Unix(Some(7)), &Method::POST, &Uri::from_static(uri))
    }

    fn read(line: &str) -> Value {
        assert!(!line.contains(char::is_control), "{line:?}");
        serde_json::from_str(line).expect("JSON")
    }

    #[test]
    fn a_line_says_who_did_what_and_what_came_of_it() {
        let name = Name::new("chat").expect("a name");
        let mut audit = Audit::of("upstream.replace");
        audit.upstream(&name);
        audit.reason(Some("because"));
        audit.pool_before(&UpstreamSpec::default());
        let caller = Caller {
            peer: Peer::Unix(Some(7)),
            token: Some("ci".into()),
            access: tidegate_model::Access::default(),
        };
        let response = audit.on(Response::new(Body::empty()));
        let line = read(&asked("/upstream/chat?a=b").line(Some(&caller), &response));
        assert_eq!(
            line["caller"],
            serde_json::json!({"peer": "unix", "uid": 7, "token": "ci", "role": "admin"})
        );
        assert_eq!(
            (&line["method"], &line["path"]),
            (&"POST".into(), &"/upstream/chat?a=b".into())
        );
        assert_eq!((&line["status"], &line["outcome"]), (&200.into(), &"applied".into()));
        assert_eq!((&line["upstreams"][0], &line["reason"]), (&"chat".into(), &"because".into()));
        assert_eq!((&line["before"], &line["after"]), (&serde_json::json!({}), &Value::Null));
    }

    #[test]
    fn what_nobody_spoke_of_is_written_by_its_status() {
        let problem =
            Problem::new(StatusCode::CONFLICT, "no").with_fault("a", "why").into_response();
        let line = read(&asked("/x").line(None, &problem));
        assert_eq!((&line["outcome"], &line["status"]), (&"refused".into(), &409.into()));
        assert_eq!((&line["detail"], &line["what"]), (&"no (a: why)".into(), &"request".into()));
        assert_eq!(line["caller"], serde_json::json!({"peer": "unix", "uid": 7, "role": null}));
        let dry = asked("/x?dry_run=true").line(None, &Response::new(Body::empty()));
        assert_eq!(read(&dry)["outcome"], "dry_run");
    }

    #[test]
    fn what_no_request_asked_for_is_written_too() {
        let names = vec![Name::new("a").expect("a name"); MAX_NAMES + 2];
        let change = |outcome| TableChange {
            caller: "SIGHUP".into(),
            what: "reload",
            upstreams: names.clone(),
            outcome,
        };
        let line = read(&change(Ok(42)).line());
        assert_eq!((&line["generation"], &line["outcome"]), (&42.into(), &"applied".into()));
        assert_eq!((&line["caller"]["peer"], &line["method"]), (&"SIGHUP".into(), &Value::Null));
        assert_eq!(line["upstreams_left_out"], 2);
        let line = read(&change(Err("a\nb".into())).line());
        assert_eq!((&line["detail"], &line["outcome"]), (&"a\nb".into(), &"refused".into()));
    }
}
