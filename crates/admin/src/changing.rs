//! Making a change that a request asks for: reading it, running it whatever becomes of the client,
//! and answering with what it did, or would do.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderName, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use tidegate_model::{Name, Resolved, ServerSpec};
use tidegate_table::{Applied, Change, Condition, Operation, Origin, Refused, Subject};

use crate::{
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
    /// In one word, for the log.
    pub(crate) what: &'static str,
    /// What its conditions are about.
    pub(crate) subject: Subject,
    pub(crate) operations: Vec<Operation>,
    /// Those of single operations.
    pub(crate) conditions: Vec<Condition>,
    /// What the body says of every change.
    pub(crate) said: Said,
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

    /// Does what is asked, or says what it would do.
    pub(crate) async fn carry_out(
        self,
        context: &Arc<Context>,
        wish: Wish,
    ) -> Result<Response, Problem> {
        let terms = Terms::read(&self.head, &self.body, &self.caller)?.with_body(wish.said)?;
        let mut change = Change::new(wish.operations, Origin::Api, self.caller.to_string());
        change.conditions = terms.conditions(&wish.subject);
        change.conditions.extend(wish.conditions);
        change.reason = terms.reason;
        change.existing = terms.existing;
        let now = context.admin.totals.failure_clock();
        change.guard = (terms.dry_run || !terms.force).then_some(now);
        if terms.dry_run {
            let preview = context.admin.table.preview(change).await;
            let preview = preview.map_err(|refused| json::refused(&refused))?;
            let answer = context.aside(move |_| DryRun::of(&preview, now)).await?;
            return Ok(Json(answer).into_response());
        }
        change.key = terms.key;
        let applied = make(context, change, wish.what).await?;
        Ok(answer(applied))
    }
}

/// Makes a change in a task of its own: a client that goes away neither undoes it nor keeps it out
/// of the log.
///
/// # Errors
/// What the table has against it.
pub(crate) async fn make(
    context: &Context,
    change: Change,
    what: &'static str,
) -> Result<Applied, Problem> {
    let table = Arc::clone(&context.admin.table);
    let making = tokio::spawn(async move {
        let caller = change.caller.clone();
        let made = table.change(change).await;
        match &made {
            Ok(applied) => tell(&caller, what, applied),
            Err(refused) => {
                let reason = one_line(&refused.to_string());
                tracing::warn!(caller, what, reason, "refused");
            }
        }
        made
    });
    match making.await {
        Ok(made) => made.map_err(|refused| json::refused(&refused)),
        Err(_) => Err(json::refused(&Refused::Closed)),
    }
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

/// The answer to a change, with the ETag that what it changed has now.
fn answer(applied: Applied) -> Response {
    let (replayed, tag) = (applied.replayed, etag(applied.generation));
    let mut response = Json(Changed::from(applied)).into_response();
    response.headers_mut().insert(header::ETAG, tag);
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
        Problem::new(axum::http::StatusCode::BAD_REQUEST, detail).with_fault("servers", reason)
    })
}

/// The pool that a path names.
///
/// # Errors
/// When it is no name that a pool could have.
pub(crate) fn pool_name(text: &str) -> Result<Name, Problem> {
    Name::new(text).map_err(|reason| {
        let detail = "there is no upstream of that name, and none could have it";
        Problem::new(axum::http::StatusCode::NOT_FOUND, detail)
            .with_fault("name", reason.to_string())
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
        body => json::parse_body::<Terse>(body)?.into(),
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
    pub(crate) existing: Option<tidegate_model::upstream::OnRemove>,
}

impl From<Terse> for Said {
    fn from(Terse { reason, force, existing }: Terse) -> Self {
        Self { reason, force, existing }
    }
}
