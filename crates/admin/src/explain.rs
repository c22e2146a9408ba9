//! `GET /api/v1/explain`: what would become of a request, and why. The request is read by the same
//! rules as one from a client and put to the table as it stands, but no server hears of it.
//!
//! See `question` for what may be asked, `route` for the way to a pool, `taken` for what the route
//! says and changes, `candidates` for who could serve, `choice` for who would.

mod candidates;
mod choice;
mod protection;
mod question;
mod route;
mod taken;
mod variables;

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use httparse::Header;
use serde::Serialize;
use tidegate_model::{WhenAllDown, schema::Ip};
use tidegate_table::{Request, Snapshot, Source};
use tidegate_wire::Facts;
use utoipa::ToSchema;

use crate::{
    Admin,
    context::Context,
    openapi::refusals::{OfQuery, OfWork},
    problem::Problem,
};
use candidates::{Candidate, Turnout};
use choice::{Choosing, Decision, Sticky};
use question::Question;
use route::{Considered, Path, Taken, Way};
use variables::Variables;

/// Candidates shown of one pool.
const MAX_CANDIDATES: usize = 10_000;

/// The answer.
#[derive(Serialize, ToSchema)]
struct Explanation<'e> {
    generation: u64,
    request: Understood<'e>,
    /// Until the one that matches.
    routes: Vec<Considered<'e>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<Taken<'e>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<About<'e>>,
    candidates: Vec<Candidate<'e>>,
    /// Why there are not more candidates.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
    decision: Decision,
}

/// The request, as routing sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = ExplainedRequest)]
struct Understood<'e> {
    listener: &'e str,
    #[schema(value_type = Ip)]
    client: IpAddr,
    scheme: &'e str,
    method: &'e str,
    host: &'e str,
    /// Decoded, resolved and merged.
    path: String,
    query: Option<String>,
}

/// The pool.
#[derive(Serialize, ToSchema)]
#[schema(as = ExplainedPool)]
struct About<'e> {
    name: &'e str,
    generation: u64,
    source: Source,
    balance: &'static str,
    /// Only where the balance of the pool that the route names goes by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sticky: Option<Sticky<'e>>,
    when_all_down: WhenAllDown,
}

/// What would become of a request, and why
///
/// No server hears of it.
#[utoipa::path(
    get,
    path = "/api/v1/explain",
    operation_id = "explain",
    tag = "explain",
    params(
        ("listener" = Option<String>, Query, description = "Otherwise the first that speaks HTTP"),
        ("client" = Option<Ip>, Query, description = "Where the request comes from; otherwise \
                                                      127.0.0.1"),
        ("method" = Option<String>, Query, pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
         description = "Otherwise GET"),
        ("host" = Option<String>, Query, description = "Otherwise localhost"),
        ("path" = Option<String>, Query, pattern = "^/[!-~]*$",
         description = "As it stands in a request, escaped; otherwise `/`"),
        ("query" = Option<String>, Query, description = "The same without `?`"),
        ("header" = Option<Vec<String>>, Query, max_items = 100,
         description = "`NAME:VALUE`, as often as there are headers"),
        ("cookie" = Option<Vec<String>>, Query, max_items = 100,
         description = "`NAME=VALUE`, as often as there are cookies"),
    ),
    responses((status = 200, description = "The answer", body = Explanation), OfQuery, OfWork),
)]
pub(crate) async fn answer(
    State(context): State<Arc<Context>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(parameters) = query.map_err(|rejection| {
        Problem::new(StatusCode::BAD_REQUEST, "the query does not read")
            .with_fault("query", rejection.body_text())
    })?;
    let body = context.aside(move |admin| explain(admin, parameters)).await??;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn explain(admin: &Admin, parameters: Vec<(String, String)>) -> Result<Vec<u8>, Problem> {
    let question = Question::read(parameters, &admin.totals.listeners())?;
    let snapshot = admin.table.snapshot();
    let now = admin.totals.failure_clock();
    question.judged(|facts, headers| {
        let host = facts.host.to_ascii_lowercase();
        let path = Path::of(facts.path)?;
        let asked = Asked { question: &question, facts, headers, host: &host, path: &path, now };
        serde_json::to_vec(&asked.follow(&snapshot)).map_err(|error| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("no JSON: {error}"))
        })
    })
}

/// A request that was understood.
struct Asked<'r> {
    question: &'r Question,
    facts: &'r Facts<'r>,
    headers: &'r [Header<'r>],
    /// In lower case.
    host: &'r str,
    path: &'r Path<'r>,
    /// In milliseconds of the clock that health is told by.
    now: u64,
}

impl<'r> Asked<'r> {
    /// Follows the request through the table as the data path does (`asked.rs` in
    /// `crates/http`).
    fn follow(&self, snapshot: &'r Snapshot) -> Explanation<'r> {
        let (routes, found) = route::walk(&snapshot.routes, &self.request());
        let mut explanation = Explanation {
            generation: snapshot.generation,
            request: self.understood(),
            routes,
            route: None,
            pool: None,
            candidates: Vec::new(),
            limit: None,
            decision: Decision::refusal(404, "no route matches"),
        };
        let Some((label, route)) = found else { return explanation };
        if self.path.has_encoded_slash && !route.allow_encoded_slash {
            let because = "the path holds an encoded slash, which its route does not allow";
            explanation.decision = Decision::refusal(400, because);
            return explanation;
        }
        let (mut taken, way) = Taken::of(snapshot, label, route, &self.variables(""), |pool| {
            Choosing::new(pool, pool, &self.variables(pool.name.as_str()), self.now).has_choice()
        });
        let rewritten = taken::rewritten(route, &self.path.normal).filter(|_| way.is_some());
        explanation.decision = match (&taken.answer, &rewritten) {
            _ if !taken.admits() => Decision::refusal(403, "the route does not allow this client"),
            (Some(answer), _) => Decision::refusal(
                answer.status,
                format!("the route says so: {}", route.action.word()),
            ),
            (None, Some(Err(refusal))) => Decision::refusal(refusal.status(), refusal.to_string()),
            (None, _) => Decision::refusal(502, taken.without_pool()),
        };
        let way = way.filter(|_| taken.admits() && !matches!(rewritten, Some(Err(_))));
        taken.rewritten = rewritten.and_then(Result::ok);
        explanation.route = Some(taken);
        if let Some(way) = way {
            self.add_pool(&mut explanation, way);
        }
        explanation
    }

    fn request(&self) -> Request<'_> {
        Request {
            listener: &self.question.listener,
            host: self.host,
            path: &self.path.normal,
            facts: self.facts,
            headers: self.headers,
        }
    }

    fn add_pool(&self, explanation: &mut Explanation<'r>, way: Way<'r>) {
        let Way { pool, asked } = way;
        let choosing = Choosing::new(pool, asked, &self.variables(asked.name.as_str()), self.now);
        let turnout = Turnout::of(pool, self.now);
        explanation.decision = choosing.decide(&turnout);
        explanation.candidates = turnout.candidates(MAX_CANDIDATES);
        let count = pool.servers.len();
        explanation.limit = (count > MAX_CANDIDATES)
            .then(|| format!("the first {MAX_CANDIDATES} of {count} candidates are shown"));
        let (hash_key, hash_value) = choosing.key.map(|key| (key.name, key.value)).unzip();
        explanation.pool = Some(About {
            name: pool.name.as_str(),
            generation: pool.generation,
            source: pool.source,
            balance: pool.upstream.balance.word(),
            hash_key,
            hash_value,
            sticky: choosing.sticky,
            when_all_down: pool.upstream.when_all_down,
        });
    }

    fn variables<'v>(&'v self, upstream: &'v str) -> Variables<'v> {
        Variables {
            facts: self.facts,
            headers: self.headers,
            host: self.host,
            path: &self.path.normal,
            client: self.question.client,
            scheme: self.question.scheme,
            upstream,
        }
    }

    fn understood(&self) -> Understood<'r> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Understood {
            listener: &self.question.listener,
            client: self.question.client,
            scheme: self.question.scheme,
            method: self.facts.method,
            host: self.host,
            path: text(&self.path.normal),
            query: self.facts.query.map(text),
        }
    }
}
