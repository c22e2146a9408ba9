//! `POST /api/v1/reload`: the configuration file is read again, as by SIGHUP, and the answer says
//! what came of it.

use std::{
    fmt::{self, Display},
    pin::Pin,
    sync::Arc,
};

use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use tidegate_model::Name;
use tidegate_table::Refused;
use utoipa::ToSchema;

use crate::{
    audit::Audit, caller::Caller, context::Context, json, openapi::refusals::OfChange,
    problem::Problem,
};

/// What becomes of a reload.
pub type Reloading = Pin<Box<dyn Future<Output = Result<Reloaded, NotReloaded>> + Send>>;

/// A configuration file that was read again and applied.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Reloaded {
    pub generation: u64,
    pub durable: bool,
    /// Pools that are as the file says now and were not before.
    pub changed: Vec<Name>,
    pub removed: Vec<Name>,
    /// Pools whose changes through the API the file replaced.
    pub replaced_api_changes: Vec<Name>,
    pub routes_changed: bool,
    pub listeners: ListenerChanges,
    /// Further sections that were applied.
    pub settings_changed: Vec<String>,
}

/// Listeners by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ListenerChanges {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
}

/// Why a configuration file was not applied. Nothing of it took effect.
#[derive(Clone, Debug)]
pub enum NotReloaded {
    /// Everything that is wrong with it.
    Invalid(Vec<Fault>),
    NoFile,
    Stopping,
    Table(Refused),
}

/// Something in the file that keeps it from being applied.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The place in the file and the key, or what it is about.
    pub field: String,
    pub reason: String,
}

/// Reads the configuration file again
#[utoipa::path(
    post,
    path = "/api/v1/reload",
    operation_id = "reload",
    tag = "process",
    responses(
        (status = 200, description = "What it changed", body = Reloaded),
        (status = 422, description = "The file cannot be applied; `errors` says what is wrong where",
         content_type = "application/problem+json", body = Problem),
        OfChange,
    ),
)]
pub(crate) async fn reload(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let mut audit = Audit::of("config.reload");
    let reloaded = context.admin.status.reload(caller.to_string()).await;
    if let Ok(reloaded) = &reloaded {
        reloaded.changed.iter().chain(&reloaded.removed).for_each(|pool| audit.upstream(pool));
        audit.generation(reloaded.generation);
    }
    audit.on(reloaded.map(Json).map_err(Problem::from))
}

impl NotReloaded {
    /// For a single reason.
    pub fn of(field: impl Into<String>, reason: impl Display) -> Self {
        Self::Invalid(vec![Fault { field: field.into(), reason: reason.to_string() }])
    }
}

impl From<NotReloaded> for Problem {
    fn from(refused: NotReloaded) -> Self {
        let detail = refused.to_string();
        let (status, faults) = match refused {
            NotReloaded::Invalid(faults) => (StatusCode::UNPROCESSABLE_ENTITY, faults),
            NotReloaded::NoFile => (StatusCode::CONFLICT, Vec::new()),
            NotReloaded::Stopping => (StatusCode::SERVICE_UNAVAILABLE, Vec::new()),
            NotReloaded::Table(Refused::Invalid { pool, reason }) => {
                let field = format!("upstream.{pool}");
                (StatusCode::UNPROCESSABLE_ENTITY, vec![Fault { field, reason }])
            }
            NotReloaded::Table(Refused::BadProtocol { pool, key, reason }) => {
                let (field, reason) = (format!("upstream.{pool}.{key}"), reason.into());
                (StatusCode::UNPROCESSABLE_ENTITY, vec![Fault { field, reason }])
            }
            NotReloaded::Table(Refused::BadTls { pool, key, reason }) => {
                let field = format!("upstream.{pool}.tls.{key}");
                (StatusCode::UNPROCESSABLE_ENTITY, vec![Fault { field, reason }])
            }
            NotReloaded::Table(refused) => return json::refused(&refused),
        };
        let problem = Self::new(status, detail);
        faults
            .into_iter()
            .fold(problem, |problem, fault| problem.with_fault(fault.field, fault.reason))
    }
}

/// What was done, for the log and the status page.
impl Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pools = |names: &[Name]| listed(&names.iter().map(Name::as_str).collect::<Vec<_>>());
        let ListenerChanges { added, changed, removed } = &self.listeners;
        write!(
            f,
            "generation {}; upstreams changed: {}; removed: {}; changes through the API replaced: \
             {}; routes {}; listeners added: {}; changed: {}; removed: {}",
            self.generation,
            pools(&self.changed),
            pools(&self.removed),
            pools(&self.replaced_api_changes),
            if self.routes_changed { "changed" } else { "unchanged" },
            listed(added),
            listed(changed),
            listed(removed),
        )?;
        if self.settings_changed.is_empty() {
            return Ok(());
        }
        write!(f, "; settings changed: {}", listed(&self.settings_changed))
    }
}

fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Display for NotReloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(faults) => {
                let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("; "))
            }
            Self::NoFile => f.write_str("the configuration did not come from a file"),
            Self::Stopping => f.write_str("the process stops"),
            Self::Table(refused) => refused.fmt(f),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}
