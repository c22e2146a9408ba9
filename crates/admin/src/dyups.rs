//! dyups' HTTP interface as Tengine serves it, byte for byte: its bodies, its typing errors, and
//! the different codes that the same mistake has under GET, POST and DELETE. What is added is the
//! header `X-Tidegate-Reason` on refusals.

mod answer;
mod path;

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderMap, Method, StatusCode},
    response::Response,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tidegate_model::{
    Name,
    dyups::{MAX_BODY, detail, lines, parse, shown},
    upstream::OnRemove,
};
use tidegate_table::{Applied, Change, Operation, Origin, Pool, Refused, Snapshot, Table};
use tokio::{sync::SemaphorePermit, time::timeout};

use crate::{
    audit::{Audit, Outcome},
    caller::{Caller, one_line},
    context::{Context, SMALL_BODY},
};
use answer::{REASON, empty, page, refusal, text};
use path::Segments;

/// The time for a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

const SUCCESS: &str = "success";
const ADD_FAILED: &str = "add server failed";
const NOT_FOUND: &str = "not found uptream";
const BUSY: &str = "wait and try again\n";

/// Who asks for a change, what is to become of the tunnels to servers that it removes, and what the
/// audit log is told.
struct Asker {
    caller: Caller,
    existing: Option<OnRemove>,
    audit: Audit,
}

/// `?existing=keep|drain|close`, which is ours; what else a query holds is nobody's, as in dyups.
fn existing(query: Option<&str>) -> Result<Option<OnRemove>, &'static str> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    match pairs.into_iter().find(|(key, _)| *key == "existing") {
        None => Ok(None),
        Some((_, word)) => OnRemove::parse(word).map(Some).ok_or("existing: keep, drain or close"),
    }
}

/// Answers whatever is no path of our own.
pub(crate) async fn answer(context: &Context, request: Request) -> Response {
    let Some(segments) = Segments::of(request.uri().path()) else {
        return page(StatusCode::BAD_REQUEST);
    };
    // The guard has put it there.
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return page(StatusCode::NOT_FOUND);
    };
    let existing = match existing(request.uri().query()) {
        Ok(existing) => existing,
        Err(reason) => return refusal(StatusCode::BAD_REQUEST, format!("{reason}\n"), reason),
    };
    let asker = |what| Asker { caller, existing, audit: Audit::of(what) };
    match *request.method() {
        Method::GET => read(&context.admin.table.snapshot(), &segments),
        Method::DELETE => {
            let mut asker = asker("upstream.delete");
            let answer = delete(context, &segments, &mut asker).await;
            asker.audit.on(answer)
        }
        Method::POST => {
            let mut asker = asker("upstream.replace");
            let answer = match body(context, request.into_body()).await {
                Ok((sent, _place)) => post(context, &segments, &mut asker, &sent).await,
                Err(status) => unread(status),
            };
            asker.audit.on(answer)
        }
        _ => match body(context, request.into_body()).await {
            Ok(_) => empty(StatusCode::METHOD_NOT_ALLOWED),
            Err(status) => unread(status),
        },
    }
}

/// `/list` and `/detail` go by their first segment alone.
fn read(snapshot: &Snapshot, segments: &Segments) -> Response {
    if segments.count() == 0 {
        page(StatusCode::NOT_FOUND)
    } else if segments.first_is("list") {
        pools(snapshot, |out, pool| {
            out.push_str(pool.name.as_str());
            out.push('\n');
        })
    } else if segments.first_is("detail") {
        pools(snapshot, |out, pool| {
            let servers = pool.upstream.servers.iter();
            let shown = servers.map(|server| (shown(&server.address, &pool.resolved), server));
            detail(out, pool.name.as_str(), shown);
        })
    } else {
        one_pool(snapshot, segments).unwrap_or_else(|| empty(StatusCode::NOT_FOUND))
    }
}

/// Every pool in the order of creation; 204 when there is none.
fn pools(snapshot: &Snapshot, print: impl Fn(&mut String, &Pool)) -> Response {
    let mut out = String::new();
    snapshot.in_order().into_iter().for_each(|pool| print(&mut out, pool));
    if out.is_empty() { empty(StatusCode::NO_CONTENT) } else { text(StatusCode::OK, out) }
}

fn one_pool(snapshot: &Snapshot, segments: &Segments) -> Option<Response> {
    if segments.count() != 2 || !segments.first_is("upstream") {
        return None;
    }
    let pool = snapshot.pool(segments.name().ok()?.as_str())?;
    let mut out = String::new();
    let servers = pool.upstream.servers.iter();
    lines(&mut out, servers.map(|server| shown(&server.address, &pool.resolved)));
    Some(text(StatusCode::OK, out))
}

async fn delete(context: &Context, segments: &Segments, asker: &mut Asker) -> Response {
    if let Err(wrong) = check_path(segments) {
        return text(StatusCode::METHOD_NOT_ALLOWED, wrong);
    }
    let Ok(name) = segments.name() else { return text(StatusCode::NOT_FOUND, NOT_FOUND) };
    if let Err(forbidden) = asker.may_change(&name) {
        return *forbidden;
    }
    change(context, &name.clone(), Operation::Delete { name }, asker).await
}

/// The order of the checks is Tengine's (spec §2.4): no body is 204 whatever the path.
async fn post(context: &Context, segments: &Segments, asker: &mut Asker, sent: &[u8]) -> Response {
    if sent.is_empty() {
        asker.audit.outcome(Outcome::Refused);
        asker.audit.detail("there is no body");
        return empty(StatusCode::NO_CONTENT);
    }
    if let Err(wrong) = check_path(segments) {
        return text(StatusCode::NOT_FOUND, wrong);
    }
    if let Ok(name) = segments.name()
        && let Err(forbidden) = asker.may_change(&name)
    {
        return *forbidden;
    }
    match operation(context, segments, sent).await {
        Ok((name, merge)) => change(context, &name, merge, asker).await,
        Err(reason) => {
            let (caller, pool, reason) = (&asker.caller, segments.shown(), one_line(&reason));
            tracing::warn!(%caller, pool, what = "replace", reason, "refused");
            asker.audit.outcome(Outcome::Refused);
            refusal(StatusCode::INTERNAL_SERVER_ERROR, ADD_FAILED, &reason)
        }
    }
}

impl Asker {
    /// Whether that pool may be changed; if not, the answer that says so.
    fn may_change(&mut self, pool: &Name) -> Result<(), Box<Response>> {
        self.audit.upstream(pool);
        self.caller.may_change(pool).map_err(|problem| {
            let reason = problem.detail();
            Box::new(refusal(StatusCode::FORBIDDEN, format!("{reason}\n"), reason))
        })
    }
}

/// The reason in full that an answer carries.
pub(crate) fn reason(headers: &HeaderMap) -> Option<&str> {
    headers.get(REASON)?.to_str().ok()
}

/// What dyups says of a path that changes nothing. The code differs by method.
fn check_path(segments: &Segments) -> Result<(), &'static str> {
    match segments.count() {
        2 if segments.first_is("upstream") => Ok(()),
        2 => Err("not support this api"),
        _ => Err("not support this interface"),
    }
}

/// What a POST asks for, or the reason why it cannot be had.
async fn operation(
    context: &Context,
    segments: &Segments,
    body: &[u8],
) -> Result<(Name, Operation), String> {
    let name = segments.name()?;
    let patch = parse(body).map_err(|refusal| refusal.to_string())?;
    let servers = patch.servers.as_deref().unwrap_or_default();
    let resolved = context.resolver.resolve(servers).await?;
    Ok((name.clone(), Operation::Merge { name, patch, resolved }))
}

/// Makes one change in a task of its own: a client that goes away neither undoes the change nor
/// keeps it out of the log.
async fn change(
    context: &Context,
    pool: &Name,
    operation: Operation,
    asker: &mut Asker,
) -> Response {
    let table = &context.admin.table;
    let spec = || Some(Arc::clone(&table.snapshot().pool(pool.as_str())?.spec));
    let before = spec();
    let (caller, existing) = (asker.caller.to_string(), asker.existing);
    let changing = tokio::spawn(make(Arc::clone(table), pool.clone(), operation, caller, existing));
    let done = changing.await.unwrap_or(Err(Refused::Closed));
    let audit = &mut asker.audit;
    before.iter().for_each(|before| audit.pool_before(before));
    match done {
        Ok(applied) => {
            spec().iter().for_each(|after| audit.pool_after(after));
            audit.applied(&applied);
            text(StatusCode::OK, SUCCESS)
        }
        Err(refused) => {
            audit.refused(&refused);
            refused_answer(&refused)
        }
    }
}

/// Makes one change and logs who made it.
async fn make(
    table: Arc<Table>,
    pool: Name,
    operation: Operation,
    caller: String,
    existing: Option<OnRemove>,
) -> Result<Applied, Refused> {
    let what = match &operation {
        Operation::Delete { .. } => "delete",
        _ => "replace",
    };
    let change = Change { existing, ..Change::new(vec![operation], Origin::Dyups, caller.clone()) };
    table
        .change(change)
        .await
        .inspect(|applied| {
            let Applied { generation, visible, added, removed, .. } = applied;
            let visible_us = visible.as_micros();
            tracing::info!(caller, %pool, what, generation, visible_us, added, removed, "changed");
        })
        .inspect_err(|refused| {
            let reason = one_line(&refused.to_string());
            tracing::warn!(caller, %pool, what, reason, "refused");
        })
}

fn refused_answer(refused: &Refused) -> Response {
    let reason = &one_line(&refused.to_string());
    let line = format!("{reason}\n");
    match refused {
        Refused::NotFound(_) => text(StatusCode::NOT_FOUND, NOT_FOUND),
        Refused::Storage { .. } => refusal(StatusCode::INSUFFICIENT_STORAGE, line, reason),
        Refused::Closed => refusal(StatusCode::SERVICE_UNAVAILABLE, line, reason),
        _ => refusal(StatusCode::INTERNAL_SERVER_ERROR, ADD_FAILED, reason),
    }
}

/// The whole body, with the place that a large one takes while it is worked on; or the status that
/// says why there is none.
async fn body(
    context: &Context,
    body: Body,
) -> Result<(Bytes, Option<SemaphorePermit<'_>>), StatusCode> {
    let size = body.size_hint();
    if size.lower() > MAX_BODY as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let place = if size.upper().is_some_and(|most| most <= SMALL_BODY) {
        None
    } else {
        Some(context.large_bodies.try_acquire().map_err(|_| StatusCode::CONFLICT)?)
    };
    match timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(collected)) => Ok((collected.to_bytes(), place)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// Too many large bodies at once are what a taken lock is in dyups; the rest never reaches it.
fn unread(status: StatusCode) -> Response {
    if status == StatusCode::CONFLICT { text(status, BUSY) } else { page(status) }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn what_could_not_be_stored_is_507_with_the_reason() {
        let source = Arc::new(Error::from(ErrorKind::StorageFull));
        let refused = Refused::Storage { what: "writing the journal", source };
        let answer = refused_answer(&refused);
        assert_eq!(answer.status(), StatusCode::INSUFFICIENT_STORAGE);
        let reason = answer.headers()["x-tidegate-reason"].to_str().expect("visible ASCII");
        assert!(reason.contains("writing the journal"), "{reason}");
        assert_eq!(refused_answer(&Refused::Closed).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
