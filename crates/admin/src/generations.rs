//! `/api/v1/generations`: what was changed, when, by whom and why; what is different between two
//! points in time; and the way back.

use std::{
    io,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Json,
    extract::{Path, RawQuery, Request, State},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tidegate_model::Name;
use tidegate_table::{Operation, Origin, Page, Past, Refused, Subject, Table};
use utoipa::ToSchema;

use crate::{
    changing::{Terse, Wish, read_terms_only},
    context::Context,
    difference::Difference,
    json,
    openapi::{
        parameters::OnChange,
        refusals::{OfBody, OfChange, OfNames, OfQuery, OfStore, OfTerms, OfWork},
    },
    preview::ChangeAnswer,
    problem::Problem,
    terms::form,
    time::rfc3339_millis,
};

/// Generations on a page, unless asked otherwise, and at most.
const USUAL: usize = 50;
const MOST: usize = 1_000;

#[derive(Serialize, ToSchema)]
#[schema(as = GenerationList)]
struct Listed {
    /// The newest first.
    generations: Vec<Head>,
    /// For `before`; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
    /// That is remembered.
    oldest: u64,
}

/// Who changed what.
#[derive(Serialize, ToSchema)]
#[schema(as = GenerationHead)]
struct Head {
    generation: u64,
    at: String,
    source: Origin,
    caller: String,
    reason: Option<String>,
    changed: Vec<Name>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Generation)]
struct Shown {
    #[serde(flatten)]
    head: Head,
    changes: Vec<Difference>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Comparison)]
struct Compared {
    from: u64,
    to: u64,
    changes: Vec<Difference>,
}

/// What is asked for.
#[derive(Debug, Default)]
struct Wanted {
    before: Option<u64>,
    limit: Option<usize>,
    upstream: Option<String>,
}

/// What was changed, by pages, the newest first
#[utoipa::path(
    get,
    path = "/api/v1/generations",
    operation_id = "listGenerations",
    tag = "generations",
    params(
        ("before" = Option<u64>, Query, description = "The `next` of the page before"),
        ("limit" = Option<u64>, Query, description = "Generations on the page; otherwise 50, and \
                                                      at most 1,000"),
        ("upstream" = Option<String>, Query, description = "Only those that changed this pool"),
    ),
    responses((status = 200, description = "A page", body = Listed), OfQuery, OfStore, OfWork),
)]
pub(crate) async fn list(
    State(context): State<Arc<Context>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let wanted = Wanted::read(query.as_deref().unwrap_or_default())?;
    let page = context.aside(move |admin| {
        let limit = wanted.limit.unwrap_or(USUAL).clamp(1, MOST);
        admin.table.history(wanted.before, limit, wanted.upstream.as_deref())
    });
    let Page { generations, next, oldest } = page.await?.map_err(|error| unreadable(&error))?;
    let generations = generations.iter().map(Head::of).collect();
    Ok(Json(Listed { generations, next, oldest }).into_response())
}

/// One generation and what it changed
#[utoipa::path(
    get,
    path = "/api/v1/generations/{n}",
    operation_id = "showGeneration",
    tag = "generations",
    params(("n" = u64, Path, description = "A generation")),
    responses((status = 200, description = "The generation", body = Shown), OfNames, OfStore, OfWork),
)]
pub(crate) async fn show(
    State(context): State<Arc<Context>>,
    Path(generation): Path<String>,
) -> Result<Response, Problem> {
    let generation = number(&generation)?;
    let past = context.aside(move |admin| past(&admin.table, generation)).await??;
    let head = Head::of(&past);
    let changes = past.pools.into_iter().map(Difference::from).collect();
    Ok(Json(Shown { head, changes }).into_response())
}

/// What is different between two generations
#[utoipa::path(
    get,
    path = "/api/v1/generations/{n}/diff",
    operation_id = "compareGenerations",
    tag = "generations",
    params(
        ("n" = u64, Path, description = "A generation"),
        ("to" = Option<u64>, Query, description = "Another one; otherwise the newest"),
    ),
    responses(
        (status = 200, description = "The differences", body = Compared),
        OfNames, OfQuery, OfStore, OfWork,
    ),
)]
pub(crate) async fn compare(
    State(context): State<Arc<Context>>,
    Path(from): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let from = number(&from)?;
    let to = other_end(query.as_deref().unwrap_or_default())?;
    let compared = context.aside(move |admin| {
        let table = &admin.table;
        let to = to.unwrap_or_else(|| table.snapshot().generation);
        (to, table.difference(from, to))
    });
    let (to, changes) = compared.await?;
    let changes = changes.map_err(|refused| json::refused(&refused))?;
    let changes = changes.into_iter().map(Difference::from).collect();
    Ok(Json(Compared { from, to, changes }).into_response())
}

/// Defines every pool as it was in a generation
///
/// Pools that came later are deleted; drains, routes and defaults stay as they are.
#[utoipa::path(
    post,
    path = "/api/v1/generations/{n}/restore",
    operation_id = "restoreGeneration",
    tag = "generations",
    params(("n" = u64, Path, description = "A generation"), OnChange),
    request_body = Terse,
    responses(
        (status = 200, description = "All is as it was, or would be", body = ChangeAnswer,
         headers(("ETag" = String, description = "The generation of the change"))),
        OfBody, OfChange, OfTerms, OfNames, OfWork,
    ),
)]
pub(crate) async fn restore(
    State(context): State<Arc<Context>>,
    Path(generation): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (asked, said) = read_terms_only(&context, request).await?;
    let operations = vec![Operation::Restore { generation: number(&generation)? }];
    let (subject, conditions) = (Subject::Table, Vec::new());
    Ok(asked
        .carry_out(
            &context,
            Wish { what: "generation.restore", subject, operations, conditions, said },
        )
        .await)
}

fn past(table: &Table, generation: u64) -> Result<Past, Problem> {
    let past = table.past(generation).map_err(|error| unreadable(&error))?;
    past.ok_or_else(|| json::refused(&table.not_remembered(generation)))
}

/// The history can be damaged, and nothing else is worse for it.
fn unreadable(error: &io::Error) -> Problem {
    tracing::error!(%error, "the history cannot be read");
    let what = "reading the history";
    let source = Arc::new(io::Error::new(error.kind(), error.to_string()));
    json::refused(&Refused::Storage { what, source })
}

fn number(text: &str) -> Result<u64, Problem> {
    let status = axum::http::StatusCode::NOT_FOUND;
    text.parse().map_err(|_| Problem::new(status, "there is no such generation"))
}

/// `to` of a comparison; the newest, if it is not there.
fn other_end(query: &str) -> Result<Option<u64>, Problem> {
    let mut to = None;
    for (name, value) in form(query) {
        let read = match &*name {
            "to" if to.is_none() => value.parse().map_err(|_| "this is no number"),
            "to" => Err("given twice"),
            _ => Err("unknown; there is: to"),
        };
        to = Some(read.map_err(|reason| json::wrong_query(name.into_owned(), reason))?);
    }
    Ok(to)
}

impl Wanted {
    fn read(query: &str) -> Result<Self, Problem> {
        let mut wanted = Self::default();
        for (name, value) in form(query) {
            let read = match &*name {
                "before" => once(&mut wanted.before, value.parse().ok()),
                "limit" => once(&mut wanted.limit, value.parse().ok()),
                "upstream" => once(&mut wanted.upstream, Some(value.into_owned())),
                _ => Err("unknown; there are: before, limit, upstream"),
            };
            read.map_err(|reason| json::wrong_query(name.into_owned(), reason))?;
        }
        Ok(wanted)
    }
}

fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), &'static str> {
    let value = value.ok_or("this is no number")?;
    if place.replace(value).is_some() { Err("given twice") } else { Ok(()) }
}

impl Head {
    fn of(past: &Past) -> Self {
        Self {
            generation: past.generation,
            at: rfc3339_millis(UNIX_EPOCH + Duration::from_millis(past.at)),
            source: past.origin,
            caller: past.caller.clone(),
            reason: past.reason.clone(),
            changed: past.changed.clone(),
        }
    }
}
