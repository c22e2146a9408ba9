//! One batch on its way to the collector: a connection of its own, for there is one every few seconds,
//! and what the answer means.

use std::{io, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Settings;

/// From connecting to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is read of an answer.
const MAX_ANSWER: usize = 64 * 1024;

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    #[error("the exchange broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("it cannot be asked for: {0}")]
    Unaskable(#[from] hyper::http::Error),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    #[error("the collector answered {0}")]
    Answered(StatusCode, Option<Duration>),
    #[error("the process stops")]
    Stopped,
}

impl Failure {
    /// Whether another try may go better: what the protocol says of answers, and all that comes of no
    /// connection.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Broken(_) | Self::TimedOut => true,
            Self::Answered(status, _) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Unaskable(_) | Self::Stopped => false,
        }
    }

    /// When the collector wants to be asked again.
    pub(crate) fn come_again(&self) -> Option<Duration> {
        match self {
            Self::Answered(_, after) => *after,
            _ => None,
        }
    }
}

/// Sends one batch. How many spans of it the collector refused.
pub(crate) async fn post(to: &Settings, body: Bytes) -> Result<u64, Failure> {
    tokio::time::timeout(TIMEOUT, exchange(to, body)).await.unwrap_or(Err(Failure::TimedOut))
}

async fn exchange(to: &Settings, body: Bytes) -> Result<u64, Failure> {
    let request = Request::post(&to.path)
        .header(HOST, &to.authority)
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .body(Full::new(body))?;
    let socket = TcpStream::connect((to.host.as_str(), to.port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    // Whatever it ends with, the exchange has learnt of it.
    let asking = async { answer(sender.send_request(request).await?).await };
    tokio::pin!(asking, connection);
    tokio::select! {
        answered = &mut asking => answered,
        _ = connection => asking.await,
    }
}

async fn answer(response: Response<Incoming>) -> Result<u64, Failure> {
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        let after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = after.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        return Err(Failure::Answered(head.status, after));
    }
    // One that is too long, or breaks off, has said that it took them all the same.
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    Ok(body.map_or(0, |body| rejected(&body.to_bytes())))
}

/// What an answer says of a batch that was taken in part; a number or, as the mapping has it, a string.
fn rejected(body: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let count = &answer["partialSuccess"]["rejectedSpans"];
    count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_in_part_is_said_in_the_answer() {
        for (body, count) in [
            (&b"{}"[..], 0),
            (b"", 0),
            (b"not JSON", 0),
            (b"[1]", 0),
            (b"{\"partialSuccess\":{\"rejectedSpans\":\"7\"}}", 7),
            (b"{\"partialSuccess\":{\"rejectedSpans\":7}}", 7),
            (b"{\"partialSuccess\":{\"rejectedSpans\":-7}}", 0),
        ] {
            assert_eq!(rejected(body), count, "{}", String::from_utf8_lossy(body));
        }
    }
}
