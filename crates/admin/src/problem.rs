//! Errors of everything but dyups, as RFC 9457 `application/problem+json`.

use std::{borrow::Cow, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// A refusal. Its `type` is always `about:blank`: the status says all that a program needs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[schema(inline)]
    errors: Vec<Fault>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

/// What a refusal says, beside the response, for the audit log.
#[derive(Clone, Debug)]
pub(crate) struct Told(pub(crate) String);

/// What is wrong with one field of the request.
#[derive(Debug, Serialize, ToSchema)]
struct Fault {
    field: Cow<'static, str>,
    reason: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    #[must_use]
    pub(crate) fn with_fault(
        mut self,
        field: impl Into<Cow<'static, str>>,
        reason: impl Into<String>,
    ) -> Self {
        self.errors.push(Fault { field: field.into(), reason: reason.into() });
        self
    }

    /// 429: one peer asks too often. Its connection is closed, so that asking on costs it something.
    pub(crate) fn too_often(detail: &str, wait: Duration) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, detail);
        Self { retry_after: Some(wait), ..problem }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing at this path")
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// All of it in one text.
    fn told(&self) -> Told {
        let mut text = self.detail.clone();
        for Fault { field, reason } in &self.errors {
            text += &format!(" ({field}: {reason})");
        }
        Told(text)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A struct of strings and numbers always has a JSON form.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs().saturating_add(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response.extensions_mut().insert(self.told());
        response
    }
}
