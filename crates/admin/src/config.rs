//! `GET /api/v1/config`: the configuration as it runs, which the files need not say any more.

use std::{path::PathBuf, sync::Arc};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use crate::{context::Context, openapi::refusals::OfWork, problem::Problem};

/// The files that were applied last.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The main one first.
    pub files: Vec<PathBuf>,
    /// What they say together, in JSON; no secret is in it.
    pub document: String,
}

/// That of a process without a file.
impl Default for Configuration {
    fn default() -> Self {
        Self { files: Vec::new(), document: "{}".to_owned() }
    }
}

/// What `GET /api/v1/config` answers; written by hand, for it can be large.
#[derive(utoipa::ToSchema)]
#[schema(as = Configuration)]
#[expect(dead_code, reason = "only described")]
struct Shown {
    files: Vec<String>,
    #[schema(value_type = Object)]
    config: String,
}

/// The configuration as it runs
#[utoipa::path(
    get,
    path = "/api/v1/config",
    operation_id = "showConfiguration",
    tag = "process",
    responses((status = 200, description = "The files, and what they say together", body = Shown), OfWork),
)]
pub(crate) async fn show(State(context): State<Arc<Context>>) -> Result<Response, Problem> {
    // Of 10,000 pools it is megabytes.
    let text = context.aside(|admin| admin.status.configuration().to_json()).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

impl Configuration {
    fn to_json(&self) -> String {
        let files = self.files.iter().map(|path| path.to_string_lossy());
        let files: serde_json::Value = files.collect();
        format!("{{\"files\":{files},\"config\":{}}}", self.document)
    }
}
