//! The admin API as a client sees it: one connection, used again while it lasts. Nothing waits for
//! ever, and no answer is taken that is larger than any could be.

use std::{fmt, io, path::PathBuf, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    header,
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A reload looks names up, and a change waits for the disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Ten thousand pools with ten servers each are a tenth of it.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// Reasons of a refusal that are shown.
const MOST_REASONS: usize = 100;

/// Where the admin API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `HOST:PORT`
    Tcp(String),
    Unix(PathBuf),
}

/// A connection to the admin API, made when it is needed.
pub(crate) struct Client {
    place: Place,
    token: Option<String>,
    sender: Option<SendRequest<Full<Bytes>>>,
    pub(crate) patience: Duration,
}

/// A call: a path of the API, and what goes with it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
}

/// What the proxy said to a call that it did.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) etag: Option<String>,
    pub(crate) body: Bytes,
}

/// RFC 9457, as far as it is shown.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    errors: Vec<Fault>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fault {
    field: String,
    reason: String,
}

impl Place {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("unix: wants the path of a socket".into()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        if text.starts_with("https://") {
            return Err(format!(
                "{text}: the admin API speaks no TLS yet; use http:// or unix:PATH"
            ));
        }
        let authority = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let bad =
            || format!("\"{text}\" is no place of an admin API such as {}", crate::options::USUAL);
        let parsed: hyper::http::uri::Authority = authority.parse().map_err(|_| bad())?;
        if parsed.host().is_empty() || authority.contains('@') {
            return Err(bad());
        }
        match parsed.port_u16() {
            Some(_) => Ok(Self::Tcp(authority.to_owned())),
            None if authority == parsed.host() => Ok(Self::Tcp(format!("{authority}:80"))),
            None => Err(bad()),
        }
    }

    /// What the proxy is told its name is. Over a socket it has none, and answers to this one.
    fn host(&self) -> &str {
        match self {
            Self::Tcp(authority) => authority,
            Self::Unix(_) => "localhost",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Call {
    /// Of `/api/v1` and these segments, whatever is in them.
    pub(crate) fn new(method: Method, segments: &[&str]) -> Self {
        let mut path = String::from("/api/v1");
        for segment in segments {
            path.push('/');
            path.push_str(&escaped(segment));
        }
        Self { method, path, query: Vec::new(), headers: Vec::new(), body: None }
    }

    pub(crate) fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    #[must_use]
    pub(crate) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.headers.extend(value.map(|value| (name, value.to_string())));
        self
    }

    #[must_use]
    pub(crate) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    fn target(&self) -> String {
        let pairs: Vec<String> =
            self.query.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let mark = if pairs.is_empty() { "" } else { "?" };
        format!("{}{mark}{}", self.path, pairs.join("&"))
    }

    fn request(&self, host: &str, token: Option<&str>) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request =
            Request::builder().method(&self.method).uri(self.target()).header(header::HOST, host);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let body = self.body.as_ref().map(Value::to_string).unwrap_or_default();
        if self.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let cannot = |error| Failure::Usage(format!("this cannot be asked: {error}"));
        request.body(Full::new(body.into())).map_err(cannot)
    }
}

impl Client {
    pub(crate) fn new(place: Place, token: Option<String>) -> Self {
        Self { place, token, sender: None, patience: ANSWER_TIMEOUT }
    }

    /// Asks, and takes the whole answer.
    ///
    /// # Errors
    /// When the proxy says no, or nobody answers.
    pub(crate) async fn ask(&mut self, call: &Call) -> Result<Answer, Failure> {
        let patience = self.patience;
        match timeout(patience, self.answered(call)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.sender = None;
                let unsure = match call.method {
                    Method::GET => "",
                    _ => "; whether it was done is not known",
                };
                Err(self.unreachable(format!("no answer within {patience:?}{unsure}")))
            }
        }
    }

    /// Asks, and reads the answer.
    ///
    /// # Errors
    /// Those of [`Self::ask`], and when it is not what this version understands.
    pub(crate) async fn read<T: DeserializeOwned>(&mut self, call: &Call) -> Result<T, Failure> {
        self.ask(call).await?.read()
    }

    /// Asks for something that goes on; only the head is waited for.
    ///
    /// # Errors
    /// Those of [`Self::ask`].
    pub(crate) async fn open(&mut self, call: &Call) -> Result<Incoming, Failure> {
        let response = match timeout(self.patience, self.send(call)).await {
            Ok(response) => response?,
            Err(_) => return Err(self.unreachable("no answer in time".into())),
        };
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let status = response.status().as_u16();
        Err(refusal(status, &self.collect(response).await?))
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    async fn answered(&mut self, call: &Call) -> Result<Answer, Failure> {
        let response = self.send(call).await?;
        let status = response.status();
        let etag = response.headers().get(header::ETAG);
        let etag = etag.and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let body = self.collect(response).await?;
        if status.is_success() {
            Ok(Answer { etag, body })
        } else {
            Err(refusal(status.as_u16(), &body))
        }
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, Failure> {
        let whole = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let broken = |error| self.unreachable(format!("the answer broke off: {error}"));
        whole.map(http_body_util::Collected::to_bytes).map_err(broken)
    }

    /// A connection that was left open may be closed by now: then the call goes over a new one,
    /// unless the proxy may have heard it and it is not only a question.
    async fn send(&mut self, call: &Call) -> Result<Response<Incoming>, Failure> {
        let request = || call.request(self.place.host(), self.token.as_deref());
        let (first, again) = (request()?, request()?);
        if let Some(sender) = &mut self.sender
            && sender.ready().await.is_ok()
        {
            match sender.send_request(first).await {
                Ok(response) => return Ok(response),
                Err(error) if call.method == Method::GET || error.is_canceled() => {}
                Err(error) => return Err(self.unreachable(format!("no answer: {error}"))),
            }
        }
        let connecting = timeout(CONNECT_TIMEOUT, self.connect()).await;
        let connected = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let sender = match connected {
            Ok(sender) => self.sender.insert(sender),
            Err(error) => return Err(self.unreachable(error.to_string())),
        };
        match sender.send_request(again).await {
            Ok(response) => Ok(response),
            Err(error) => Err(self.unreachable(format!("no answer: {error}"))),
        }
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        match &self.place {
            Place::Tcp(authority) => speak(TcpStream::connect(authority).await?).await,
            Place::Unix(path) => speak(UnixStream::connect(path).await?).await,
        }
    }

    fn unreachable(&self, why: String) -> Failure {
        Failure::Unreachable(format!(
            "{} cannot be reached: {why} (--admin URL or TIDEGATE_ADMIN says where the proxy's \
             admin API is)",
            self.place
        ))
    }
}

impl Answer {
    /// # Errors
    /// When it is not what this version understands.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::Unreachable(format!("what answers there does not speak this API: {error}"))
        })
    }
}

async fn speak<S>(stream: S) -> io::Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // What goes wrong with it is told to whoever sends.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn refusal(status: u16, body: &[u8]) -> Failure {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let mut detail = match (problem.detail, problem.title) {
        (detail, _) if !detail.is_empty() => detail,
        (_, title) if !title.is_empty() => title,
        _ => format!("the proxy answered {status}"),
    };
    if status == 401 {
        detail += " (--token-file FILE or TIDEGATE_TOKEN carries the token)";
    }
    let line = |fault: Fault| match fault.field.as_str() {
        "" => fault.reason,
        field => format!("{field}: {}", fault.reason),
    };
    let lines = problem.errors.into_iter().take(MOST_REASONS).map(line).collect();
    Failure::Refused { status, detail, lines }
}

/// For a segment of a path or a value of a query.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                safe.push(char::from(byte));
            }
            _ => safe.push_str(&format!("%{byte:02X}")),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let tcp = |text: &str| Ok(Place::Tcp(text.into()));
        assert_eq!(Place::parse("http://127.0.0.1:18882"), tcp("127.0.0.1:18882"));
        assert_eq!(Place::parse("http://[::1]:1/"), tcp("[::1]:1"));
        assert_eq!(Place::parse("proxy:18882"), tcp("proxy:18882"));
        assert_eq!(Place::parse("http://proxy"), tcp("proxy:80"));
        assert_eq!(Place::parse("unix:/run/a"), Ok(Place::Unix("/run/a".into())));
        for bad in
            ["", "unix:", "http://", "https://a:1", "http://a:b", "http://u@a:1", "a/b", "a:"]
        {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_target_holds_anything() {
        let call = Call::get(&["upstreams", "a/b ü", "servers", "unix:/x"]);
        let call = call.query("host", Some("a&b=c")).query("none", None::<u8>);
        assert_eq!(
            call.target(),
            "/api/v1/upstreams/a%2Fb%20%C3%BC/servers/unix:%2Fx?host=a%26b%3Dc"
        );
    }

    #[test]
    fn a_refusal_says_everything_the_proxy_said() {
        let body = br#"{"detail":"no","errors":[{"field":"weight","reason":"too much"}]}"#;
        assert_eq!(refusal(400, body).to_string(), "no\n  weight: too much");
        assert_eq!(refusal(502, b"<html>").to_string(), "the proxy answered 502");
    }
}
