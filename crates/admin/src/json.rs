//! What the JSON API has in common: reading a body, the answer to a change, and refusals of the
//! table in its words.

mod objects;

use std::time::Duration;

use axum::{body::Body, http::StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Serialize, de::DeserializeOwned};
use tidegate_model::Name;
use tidegate_table::{Applied, Refused};
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::problem::Problem;
use objects::ObjectsOnly;

/// Larger than anything that is asked for here.
const MAX_BODY: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A change that is visible everywhere, and on disk where there is one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Changed {
    generation: u64,
    /// Whether it is on disk; false where state is in memory only.
    durable: bool,
    /// Microseconds until every worker went by it.
    visible_us: u64,
    /// Pools.
    changed: Vec<Name>,
}

impl From<Applied> for Changed {
    fn from(applied: Applied) -> Self {
        let Applied { generation, durable, visible, changed, .. } = applied;
        let visible_us = u64::try_from(visible.as_micros()).unwrap_or(u64::MAX);
        Self { generation, durable, visible_us, changed }
    }
}

/// Reads a whole body as JSON.
pub(crate) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let bytes = match timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("a body here has at most {MAX_BODY} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        Ok(Err(_)) => return Err(Problem::new(StatusCode::BAD_REQUEST, "the body is cut off")),
        Err(_) => {
            let detail = "the body did not come in time";
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail));
        }
    };
    parse(&bytes).map_err(|(field, reason)| {
        let detail = "the body is not what is asked for here";
        Problem::new(StatusCode::BAD_REQUEST, detail).with_fault(field, reason)
    })
}

/// The value, or which field is wrong and why; `body` where it is none in particular.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, (String, String)> {
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(ObjectsOnly(&mut source)).map_err(|error| {
        let (path, reason) = (error.path().to_string(), error.into_inner().to_string());
        // What is not there, or there twice, has no path.
        let quoted = ["missing field `", "duplicate field `"]
            .iter()
            .find_map(|words| reason.strip_prefix(words)?.split('`').next());
        let is_of_none = matches!(&*path, "." | "?");
        (if is_of_none { quoted.unwrap_or("body").to_owned() } else { path }, reason)
    })?;
    match source.end() {
        Ok(()) => Ok(parsed),
        Err(error) => Err(("body".into(), error.to_string())),
    }
}

/// What the table has against a change.
pub(crate) fn refused(refused: &Refused) -> Problem {
    let status = match refused {
        Refused::Closed => StatusCode::SERVICE_UNAVAILABLE,
        Refused::DrainNotFound(_) | Refused::NotFound(_) | Refused::ServerNotFound { .. } => {
            StatusCode::NOT_FOUND
        }
        Refused::BadDrain { .. } | Refused::Invalid { .. } => StatusCode::BAD_REQUEST,
        Refused::LastServer { .. } => StatusCode::CONFLICT,
        Refused::Storage { .. } => StatusCode::INSUFFICIENT_STORAGE,
    };
    let problem = Problem::new(status, refused.to_string());
    match refused {
        Refused::BadDrain { field, reason } => problem.with_fault(*field, *reason),
        _ => problem,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Asked {
        server: String,
        count: Option<u8>,
        part: Option<Part>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[expect(dead_code, reason = "only read")]
    struct Part {
        all: Option<bool>,
    }

    #[test]
    fn what_is_wrong_is_told_by_field() {
        for (text, field) in [
            (r#"{"server":1}"#, "server"),
            (r#"{"server":"s","count":256}"#, "count"),
            (r#"{"server":"s","nope":1}"#, "nope"),
            (r#"{"server":"s","server":"t"}"#, "server"),
            (r#"{"count":1}"#, "server"),
            (r#"{"server":"s"} x"#, "body"),
            (r#"{"server":"s""#, "body"),
            ("{", "body"),
            ("[]", "body"),
            (r#"["s"]"#, "body"),
            (r#"{"server":"s","part":[]}"#, "part"),
            ("", "body"),
        ] {
            let (found, reason) = parse::<Asked>(text.as_bytes()).expect_err(text);
            assert_eq!(found, field, "{text}: {reason}");
        }
        assert!(parse::<Asked>(br#"{"server":"s","count":1,"part":{}}"#).is_ok());
    }
}
