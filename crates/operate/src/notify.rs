//! Tells a URL that a drain is over. Tried a few times and then given up: the drain itself can be
//! asked at any time.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::{Request, Uri, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::view::View;

const TRIES: u32 = 5;
/// Before the second try; doubled each time.
const PAUSE: Duration = Duration::from_secs(1);
/// For one try, from the look-up of the name to the answer's head.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nobody was told.
#[derive(Debug, thiserror::Error)]
enum Untold {
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("it answered {0}")]
    Refused(hyper::StatusCode),
    #[error("{0}")]
    Url(&'static str),
}

/// Posts the drain as JSON to its `notify`, if it has one.
pub(crate) async fn notify(view: View) {
    let Some(url) = view.spec.notify.clone() else { return };
    let body = Bytes::from(serde_json::to_vec(&view).unwrap_or_default());
    for attempt in 1..=TRIES {
        let told = timeout(PATIENCE, post(&url, body.clone())).await;
        let Err(error) = told.unwrap_or(Err(Untold::Late)) else {
            tracing::info!(drain = view.id, url, "told that the server is drained");
            return;
        };
        tracing::warn!(drain = view.id, url, attempt, of = TRIES, %error, "could not tell that the server is drained");
        sleep(PAUSE * (1 << (attempt - 1))).await;
    }
}

async fn post(url: &str, body: Bytes) -> Result<(), Untold> {
    let uri: Uri = url.parse().map_err(|_| Untold::Url("it is no URL"))?;
    let authority = uri.authority().ok_or(Untold::Url("it names no host"))?;
    // An IPv6 address stands in brackets, which are no part of it.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, authority.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "tidegate")
        .body(Full::new(body))
        .map_err(|_| Untold::Url("it is no URL that can be asked for"))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    // What it says besides is of no interest, but reading a little lets it end in peace.
    drop(answer.into_body().frame().await);
    driver.abort();
    if status.is_success() { Ok(()) } else { Err(Untold::Refused(status)) }
}
