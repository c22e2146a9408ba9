//! What the JSON API has in common: reading a body, the answer to a change, and refusals of the
//! table in its words.

mod objects;

use std::{borrow::Cow, fmt, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::StatusCode,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use tidegate_model::Name;
use tidegate_table::{Applied, Refused};
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::{
    context::{Context, SMALL_BODY},
    problem::Problem,
};
pub(crate) use objects::{ObjectsOnly, objects_only};

/// A definition of a pool of thousands of servers.
const MAX_BODY: usize = 1024 * 1024;
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

/// Reads a whole body. Those that may be large are few at once.
pub(crate) async fn bytes(context: &Context, body: Body) -> Result<Bytes, Problem> {
    let _place = if body.size_hint().upper().is_some_and(|most| most <= SMALL_BODY) {
        None
    } else {
        let busy = "too many large bodies are being read; try again";
        let place = context.large_bodies.try_acquire();
        Some(place.map_err(|_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, busy))?)
    };
    match timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("a body here has at most {MAX_BODY} bytes");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body is cut off")),
        Err(_) => {
            let detail = "the body did not come in time";
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
    }
}

/// A body that was read, as JSON.
pub(crate) fn parse_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    parse(bytes).map_err(|(field, reason)| wrong_body(field, reason))
}

/// An object whose members are partly of `T`, those called `ours`, and partly somebody else's.
pub(crate) fn split<T: DeserializeOwned>(
    bytes: &[u8],
    ours: &[&str],
) -> Result<(T, Map<String, Value>), Problem> {
    let Unrepeated(mut theirs) = parse_body(bytes)?;
    let ours = ours.iter().filter_map(|name| theirs.remove_entry(*name)).collect();
    Ok((parse_value(Value::Object(ours))?, theirs))
}

/// JSON that was read, as what it means.
pub(crate) fn parse_value<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(ObjectsOnly(value)).map_err(|error| {
        let (field, reason) = named(&error.path().to_string(), error.into_inner().to_string());
        wrong_body(field, reason)
    })
}

/// An object none of whose members is there twice.
struct Unrepeated(Map<String, Value>);

impl<'de> Deserialize<'de> for Unrepeated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Unrepeated;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unrepeated, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if members.contains_key(&name) {
                        return Err(A::Error::custom(format!("duplicate field `{name}`")));
                    }
                    members.insert(name, value);
                }
                Ok(Unrepeated(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// What is wrong with a body.
pub(crate) fn wrong_body(
    field: impl Into<Cow<'static, str>>,
    reason: impl Into<String>,
) -> Problem {
    let detail = "the body is not what is asked for here";
    Problem::new(StatusCode::BAD_REQUEST, detail).with_fault(field, reason)
}

/// What is wrong with a query.
pub(crate) fn wrong_query(name: impl Into<Cow<'static, str>>, reason: &str) -> Problem {
    let detail = "the query is not what can be asked for here";
    Problem::new(StatusCode::BAD_REQUEST, detail).with_fault(name, reason)
}

/// The value, or which field is wrong and why; `body` where it is none in particular.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, (String, String)> {
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(ObjectsOnly(&mut source))
        .map_err(|error| named(&error.path().to_string(), error.into_inner().to_string()))?;
    match source.end() {
        Ok(()) => Ok(parsed),
        Err(error) => Err(("body".into(), error.to_string())),
    }
}

/// The field that an error is about, and the error.
fn named(path: &str, reason: String) -> (String, String) {
    // What is not there, or there twice, has no path.
    let quoted = ["missing field `", "duplicate field `"]
        .iter()
        .find_map(|words| reason.strip_prefix(words)?.split('`').next());
    let is_of_none = matches!(path, "." | "?");
    (if is_of_none { quoted.unwrap_or("body") } else { path }.to_owned(), reason)
}

/// What the table has against a change.
pub(crate) fn refused(refused: &Refused) -> Problem {
    let status = match refused {
        Refused::Closed => StatusCode::SERVICE_UNAVAILABLE,
        Refused::DrainNotFound(_)
        | Refused::GenerationNotFound { .. }
        | Refused::NotFound(_)
        | Refused::ServerNotFound { .. } => StatusCode::NOT_FOUND,
        Refused::BadDrain { .. }
        | Refused::BadProtocol { .. }
        | Refused::BadTls { .. }
        | Refused::Invalid { .. } => StatusCode::BAD_REQUEST,
        Refused::KeyTaken => StatusCode::UNPROCESSABLE_ENTITY,
        Refused::LastServer { .. } | Refused::NobodyLeft(_) | Refused::ServerExists { .. } => {
            StatusCode::CONFLICT
        }
        Refused::Stale { .. } => StatusCode::PRECONDITION_FAILED,
        Refused::Storage { .. } => StatusCode::INSUFFICIENT_STORAGE,
    };
    let problem = Problem::new(status, refused.to_string());
    match refused {
        Refused::BadDrain { field, reason } => problem.with_fault(*field, *reason),
        Refused::BadProtocol { key, reason, .. } => problem.with_fault(*key, *reason),
        Refused::BadTls { key, reason, .. } => problem.with_fault(format!("tls.{key}"), reason),
        _ => problem,
    }
}

#[cfg(test)]
mod tests {
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
