//! `POST /api/v1/transactions`: several changes of any number of pools, all of them or none.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::Deserialize;
use tidegate_model::{
    Name, ServerSpec, Span, UpstreamSpec,
    drain::{DrainSpec, Order, Rate},
    schema::ServerOrAddress,
    upstream::{CloseCode, OnRemove, ServerChange},
};
use tidegate_table::{Condition, Operation, Subject, Wanted};
use utoipa::ToSchema;

use crate::{
    changing::{Asked, Wish, resolve},
    context::Context,
    json::{self, objects_only},
    openapi::{
        parameters::OnChange,
        refusals::{OfBody, OfChange, OfNames, OfTerms, OfWork},
    },
    preview::ChangeAnswer,
    problem::Problem,
    terms::Said,
};

/// More than anybody writes; each may build a pool.
const MOST_OPERATIONS: usize = 10_000;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Transaction {
    #[schema(min_items = 1, max_items = 10_000)]
    operations: Vec<Step>,
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[serde(default)]
    force: bool,
    existing: Option<OnRemove>,
}

/// One operation.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
#[schema(as = TransactionStep)]
enum Step {
    AddServers {
        upstream: Name,
        #[schema(value_type = Vec<ServerOrAddress>)]
        servers: Vec<ServerSpec>,
        if_match: Option<u64>,
    },
    DeleteUpstream {
        upstream: Name,
        if_match: Option<u64>,
    },
    Drain(Box<DrainStep>),
    EndDrain {
        id: u64,
        if_match: Option<u64>,
    },
    PutUpstream {
        upstream: Name,
        #[serde(deserialize_with = "objects_only")]
        definition: Box<UpstreamSpec>,
        if_match: Option<u64>,
    },
    RemoveServer {
        upstream: Name,
        server: String,
        if_match: Option<u64>,
    },
    SetServer {
        upstream: Name,
        server: String,
        #[serde(deserialize_with = "objects_only")]
        set: ServerChange,
        if_match: Option<u64>,
    },
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DrainStep {
    upstream: Name,
    server: String,
    over: Option<Span>,
    rate: Option<Rate>,
    #[serde(default)]
    order: Order,
    deadline: Option<Span>,
    close_code: Option<CloseCode>,
    #[schema(max_length = 123)]
    reason: Option<String>,
    #[schema(pattern = "^http://[A-Za-z0-9.-]+(:[0-9]{1,4})?(/[A-Za-z0-9._~/-]*)?$")]
    notify: Option<String>,
    #[serde(default)]
    paused: bool,
    if_match: Option<u64>,
}

/// Several changes, all of them or none
#[utoipa::path(
    post,
    path = "/api/v1/transactions",
    operation_id = "transact",
    tag = "upstreams",
    params(OnChange),
    request_body = Transaction,
    responses(
        (status = 200, description = "All of it is done, or would be", body = ChangeAnswer,
         headers(("ETag" = String, description = "The generation of the change"))),
        OfBody, OfChange, OfTerms, OfNames, OfWork,
    ),
)]
pub(crate) async fn run(
    State(context): State<Arc<Context>>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = Asked::read(&context, request).await?;
    let Transaction { operations: steps, reason, force, existing } = json::parse_body(&asked.body)?;
    if steps.is_empty() || steps.len() > MOST_OPERATIONS {
        return Err(json::wrong_body("operations", "1 to 10000 of them"));
    }
    let (mut operations, mut conditions) = (Vec::with_capacity(steps.len()), Vec::new());
    for step in steps {
        conditions.extend(step.condition());
        operations.push(step.operation(&context, force).await?);
    }
    let said = Said { reason, force, existing };
    let wish =
        Wish { what: "transaction.run", subject: Subject::Table, operations, conditions, said };
    Ok(asked.carry_out(&context, wish).await)
}

impl Step {
    /// On what it is about, as it is before the transaction.
    fn condition(&self) -> Option<Condition> {
        let pool = |name: &Name| Subject::Pool(name.clone());
        let server = |name: &Name, server: &String| Subject::Server(name.clone(), server.clone());
        let (of, generation) = match self {
            Self::AddServers { upstream, if_match, .. }
            | Self::DeleteUpstream { upstream, if_match }
            | Self::PutUpstream { upstream, if_match, .. } => (pool(upstream), if_match),
            Self::Drain(drain) => (server(&drain.upstream, &drain.server), &drain.if_match),
            Self::EndDrain { id, if_match } => (Subject::Drain(*id), if_match),
            Self::RemoveServer { upstream, server: address, if_match }
            | Self::SetServer { upstream, server: address, if_match, .. } => {
                (server(upstream, address), if_match)
            }
        };
        generation.map(|generation| Condition { of, wanted: Wanted::OneOf(vec![generation]) })
    }

    async fn operation(self, context: &Context, force: bool) -> Result<Operation, Problem> {
        Ok(match self {
            Self::AddServers { upstream: name, servers, .. } => {
                let resolved = resolve(context, &servers).await?;
                Operation::AddServers { name, servers, resolved }
            }
            Self::DeleteUpstream { upstream: name, .. } => Operation::Delete { name },
            Self::Drain(drain) => Operation::Drain { spec: drain.spec()?, force },
            Self::EndDrain { id, .. } => Operation::EndDrain { id },
            Self::PutUpstream { upstream: name, definition: spec, .. } => {
                let resolved =
                    resolve(context, spec.servers.as_deref().unwrap_or_default()).await?;
                Operation::Put { name, spec: *spec, resolved }
            }
            Self::RemoveServer { upstream: name, server, .. } => {
                Operation::RemoveServer { name, server }
            }
            Self::SetServer { upstream: name, server, set: change, .. } => {
                Operation::AlterServer { name, server, change }
            }
        })
    }
}

impl DrainStep {
    fn spec(self) -> Result<DrainSpec, Problem> {
        let Self { upstream, server, over, rate, order, deadline, close_code, .. } = self;
        let Self { reason, notify, paused, .. } = self;
        notify.as_deref().map_or(Ok(()), crate::drains::check_url)?;
        Ok(DrainSpec {
            upstream,
            server,
            over,
            rate,
            order,
            deadline,
            close_code,
            reason,
            notify,
            paused,
        })
    }
}
