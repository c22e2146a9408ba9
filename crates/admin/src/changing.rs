//! Making a change that a request asks for: reading it, asking whether the caller may, running it,
//! and answering with what it did, or would do. Whatever becomes of the client, it is seen through:
//! the guard runs every change in a task of its own.

use std::{collections::HashSet, sync::Arc};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tidegate_model::{Name, Resolved, ServerSpec, upstream::OnRemove};
use tidegate_table::{Applied, Change, Condition, Operation, Origin, Refused, Snapshot, Subject};

use crate::{
    audit::{Audit, Outcome},
    caller::{Caller, one_line},
    context::Context,
    json::{self, Changed},
    preview::DryRun,
    problem::Problem,
    terms::{Said, Terms, etag},
};

/// Says that a change was made before, by the same key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A request for a change, read.
pub(crate) struct Asked {
    pub(crate) caller: Caller,
    head: Parts,
    pub(crate) body: Bytes,
}

/// What a request asks for.
pub(crate) struct Wish {
    /// `THING.VERB`, for the logs.
    pub(crate) what: &'static str,
    /// What its conditions are about.
    pub(crate) subject: Subject,
    pub(crate) operations: Vec<Operation>,
    /// Those of single operations.
    pub(crate) conditions: Vec<Condition>,
    /// What the body says of every change.
    pub(crate) said: Said,
}

/// What came of it.
pub(crate) enum Done {
    /// Nothing was to be done: what would have been.
    Foreseen(Response),
    /// With the generation that last changed what it is about, if that is there.
    Made(Applied, Option<u64>),
}

impl Asked {
    /// Reads a request whole.
    ///
    /// # Errors
    /// When the body is too long, cut off or slow.
    pub(crate) async fn read(context: &Context, request: Request) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let caller = head.extensions.get::<Caller>().cloned().ok_or_else(Problem::not_found)?;
        let body = json::bytes(context, body).await?;
        Ok(Self { caller, head, body })
    }

    /// Does what is asked, or says what it would do. The answer holds what the audit log is to say.
    pub(crate) async fn carry_out(self, context: &Arc<Context>, wish: Wish) -> Response {
        let mut audit = Audit::of(wish.what);
        let done = self.attempt(context, wish, &mut audit).await;
        audit.on(done.map(|done| match done {
            Done::Foreseen(answer) => answer,
            Done::Made(applied, tag) => answer(applied, tag),
        }))
    }

    /// As [`Self::carry_out`], for who has an answer of his own.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) async fn attempt(
        self,
        context: &Arc<Context>,
        wish: Wish,
        audit: &mut Audit,
    ) -> Result<Done, Problem> {
        let table = &context.admin.table;
        let pools = concerned(&wish.operations, &table.snapshot());
        let about = About::of(&wish.operations);
        pools.iter().for_each(|pool| audit.upstream(pool));
        let terms = Terms::read(&self.head, &self.body, &self.caller)?.with_body(wish.said)?;
        audit.reason(terms.reason.as_deref());
        self.check_access(&wish.operations, &pools)?;
        let mut operations = wish.operations;
        for operation in &mut operations {
            // Of a dry run it is told apart from being refused.
            if let Operation::Drain { force, .. } = operation {
                *force |= terms.force || terms.dry_run;
            }
        }
        let mut change = Change::new(operations, Origin::Api, self.caller.to_string());
        change.conditions = terms.conditions(&wish.subject);
        change.conditions.extend(wish.conditions);
        change.reason = terms.reason;
        change.existing = terms.existing;
        let now = context.admin.totals.failure_clock();
        change.guard = (terms.dry_run || !terms.force).then_some(now);
        if terms.dry_run {
            let preview = table.preview(change).await;
            let preview = preview.map_err(|refused| json::refused(&refused))?;
            audit.outcome(Outcome::DryRun);
            let answer = context.aside(move |_| DryRun::of(&preview, now)).await?;
            return Ok(Done::Foreseen(Json(answer).into_response()));
        }
        change.key = terms.key;
        let caller = change.caller.clone();
        audit.before(&about.depicted(&table.snapshot(), &pools), pools.len());
        let made = table.change(change).await.map_err(|refused| about.named(refused));
        let made = made.inspect_err(|refused| {
            let reason = one_line(&refused.to_string());
            tracing::warn!(caller, what = wish.what, reason, "refused");
            audit.refused(refused);
        });
        let applied = made.map_err(|refused| json::refused(&refused))?;
        tell(&caller, wish.what, &applied);
        audit.applied(&applied);
        let snapshot = table.snapshot();
        audit.after(&about.depicted(&snapshot, &pools), pools.len());
        // Somebody else may have changed it since.
        let tag = wish.subject.generation(&snapshot).map(|now| now.min(applied.generation));
        Ok(Done::Made(applied, tag))
    }

    fn check_access(&self, operations: &[Operation], pools: &[Name]) -> Result<(), Problem> {
        let restores = operations.iter().any(|one| matches!(one, Operation::Restore { .. }));
        if restores && self.caller.access.upstreams().is_some() {
            let detail = "a generation is of all upstreams, and this token may not change them all";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        pools.iter().try_for_each(|pool| self.caller.may_change(pool))
    }
}

/// The pools that operations are about, each once.
fn concerned(operations: &[Operation], snapshot: &Snapshot) -> Vec<Name> {
    let mut seen = HashSet::new();
    let name = |operation: &Operation| match operation {
        Operation::AddServers { name, .. }
        | Operation::AlterServer { name, .. }
        | Operation::Delete { name }
        | Operation::Merge { name, .. }
        | Operation::Put { name, .. }
        | Operation::RemoveServer { name, .. }
        | Operation::Resolve { name, .. } => Some(name.clone()),
        Operation::Drain { spec, .. } => Some(spec.upstream.clone()),
        Operation::AlterDrain { id, .. }
        | Operation::EndDrain { id }
        | Operation::FinishDrain { id } => {
            snapshot.drains.get(id).map(|drain| drain.spec.upstream.clone())
        }
        Operation::Restore { .. } => None,
    };
    operations.iter().filter_map(name).filter(|name| seen.insert(name.clone())).collect()
}

/// What the audit log shows as it was before a change and as it is after it.
enum About {
    Drain(u64),
    /// The drain of a server.
    DrainOf(Name, String),
    /// The definitions of all pools that are concerned.
    Pools,
}

impl About {
    fn of(operations: &[Operation]) -> Self {
        match operations {
            [Operation::AlterDrain { id, .. } | Operation::EndDrain { id }] => Self::Drain(*id),
            [Operation::Drain { spec, .. }] => {
                Self::DrainOf(spec.upstream.clone(), spec.server.clone())
            }
            _ => Self::Pools,
        }
    }

    /// A refusal in the words of what was asked.
    fn named(&self, refused: Refused) -> Refused {
        match (self, refused) {
            (Self::DrainOf(_, server), Refused::NobodyLeft(pool)) => {
                Refused::LastServer { pool, server: server.clone() }
            }
            (_, refused) => refused,
        }
    }

    fn depicted(&self, snapshot: &Snapshot, pools: &[Name]) -> Value {
        let drain = match self {
            Self::Drain(id) => snapshot.drains.get(id),
            Self::DrainOf(pool, server) => snapshot
                .drains
                .values()
                .find(|drain| drain.spec.upstream == *pool && drain.spec.server == *server),
            Self::Pools => {
                let definition = |name: &Name| {
                    let pool = snapshot.pool(name.as_str());
                    (name.to_string(), printed(pool.map(|pool| &*pool.spec)))
                };
                return Value::Object(pools.iter().map(definition).collect());
            }
        };
        printed(drain.map(|drain| &drain.spec))
    }
}

/// Definitions and orders have text for keys and nothing that fails to print.
fn printed(value: Option<&impl serde::Serialize>) -> Value {
    value.and_then(|value| serde_json::to_value(value).ok()).unwrap_or_default()
}

fn tell(caller: &str, what: &'static str, applied: &Applied) {
    const NAMED: usize = 10;
    let Applied { generation, visible, changed, added, removed, replayed, .. } = applied;
    let names: Vec<&str> = changed.iter().take(NAMED).map(Name::as_str).collect();
    tracing::info!(
        caller,
        what,
        generation,
        upstreams = changed.len(),
        named = names.join(","),
        visible_us = visible.as_micros(),
        added,
        removed,
        replayed,
        "changed"
    );
}

/// The answer to a change, with the ETag that what it is about has now, if it is there.
fn answer(applied: Applied, tag: Option<u64>) -> Response {
    let replayed = applied.replayed;
    tagged(Json(Changed::from(applied)).into_response(), replayed, tag)
}

/// An answer to a change, with what its head says of it.
pub(crate) fn tagged(mut response: Response, replayed: bool, tag: Option<u64>) -> Response {
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, etag(tag));
    }
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// Looks up the host names of servers.
///
/// # Errors
/// When one is not found.
pub(crate) async fn resolve(
    context: &Context,
    servers: &[ServerSpec],
) -> Result<Resolved, Problem> {
    context.resolver.resolve(servers).await.map_err(|reason| {
        let detail = "a host name was not found";
        Problem::new(StatusCode::BAD_REQUEST, detail).with_fault("servers", reason)
    })
}

/// The pool that a path names.
///
/// # Errors
/// When it is no name that a pool could have.
pub(crate) fn pool_name(text: &str) -> Result<Name, Problem> {
    Name::new(text).map_err(|reason| {
        let detail = "there is no upstream of that name, and none could have it";
        Problem::new(StatusCode::NOT_FOUND, detail).with_fault("name", reason.to_string())
    })
}

/// The body that is asked for when there need be none: what is said of every change.
pub(crate) async fn read_terms_only(
    context: &Context,
    request: Request<Body>,
) -> Result<(Asked, Said), Problem> {
    let asked = Asked::read(context, request).await?;
    let said = match &*asked.body {
        [] => Said::default(),
        body => json::parse_body::<Option<Terse>>(body)?.unwrap_or_default().into(),
    };
    Ok((asked, said))
}

/// A body that says nothing but what may be said of every change.
#[derive(Default, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = ChangeTerms)]
pub(crate) struct Terse {
    /// Why, for the history.
    #[schema(max_length = 1000)]
    pub(crate) reason: Option<String>,
    /// Also what leaves a pool with nobody.
    pub(crate) force: bool,
    /// What becomes of the tunnels to servers that leave.
    pub(crate) existing: Option<OnRemove>,
}

impl From<Terse> for Said {
    fn from(Terse { reason, force, existing }: Terse) -> Self {
        Self { reason, force, existing }
    }
}
