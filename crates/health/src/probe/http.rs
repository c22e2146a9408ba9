//! `http`: a request of HTTP/1.1, or any bytes in its place, and the head of the answer. The verdict
//! is that of the status, and where a body is expected, of its first 64 KiB. Written for thousands
//! of probes a second, so there is no client behind it, only a line or two of text each way.

use tidegate_model::{
    Check,
    upstream::{ExpectBody, StatusPattern},
};
use tidegate_wire::{BadResponse, ChunkDecoder, ResponseBody, Step, judge_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{AGENT, Fault, Found, Subject, dial::Stream};

/// All heads of an answer together.
const LONGEST_HEAD: usize = 16 * 1024;
const MOST_FIELDS: usize = 100;
/// As much of a body is looked at.
pub(super) const LONGEST_BODY: usize = 64 * 1024;
/// Room for one read.
const READ: usize = 2 * 1024;

/// An answer on its way.
struct Answer {
    stream: Stream,
    /// What came and was not yet understood.
    buffer: Vec<u8>,
}

/// What there is to know of a head.
struct Head {
    status: u16,
    /// How the body is framed.
    body: Result<ResponseBody, BadResponse>,
    length: usize,
}

pub(super) async fn ask(mut stream: Stream, subject: &Subject<'_>) -> Found {
    let request = request(subject);
    let written = stream.write_all(&request).await;
    written.map_err(|error| Fault::io("the connection broke under the request", &error))?;
    let mut answer = Answer { stream, buffer: Vec::new() };
    let head = answer.head(subject.check, request.starts_with(b"HEAD ")).await?;
    let seen = format!("status {}", head.status);
    if !subject.check.expects(head.status) {
        return Err(Fault::server(format!("{seen} is not expected")));
    }
    match &subject.check.expect_body {
        None => Ok(seen),
        Some(expected) => {
            answer.body(head).await.and_then(|body| judge_body(expected, &body, seen))
        }
    }
}

pub(super) fn judge_body(expected: &ExpectBody, body: &[u8], seen: String) -> Found {
    if expected.is_in(body) {
        return Ok(format!("{seen}, with the expected body"));
    }
    Err(Fault::server(format!(
        "{seen}, but \"{expected}\" is not in its body of {} bytes",
        body.len()
    )))
}

fn request(subject: &Subject<'_>) -> Vec<u8> {
    let check = subject.check;
    if let Some(bytes) = &check.send {
        return bytes.as_bytes().to_vec();
    }
    let mut text = format!("{} {} HTTP/1.1\r\n", check.method, check.path);
    let mut field = |name: &str, value: &str| text.extend([name, ": ", value, "\r\n"]);
    field("Host", subject.authority());
    field("Connection", "close");
    if !check.headers.contains_key("user-agent") {
        field("User-Agent", AGENT);
    }
    // Methods that mean a body get one (RFC 9110 §8.6); servers answer 411 without.
    if ["POST", "PUT", "PATCH"].contains(&&*check.method) {
        field("Content-Length", "0");
    }
    check
        .headers
        .iter()
        .filter(|(name, _)| *name != "host")
        .for_each(|(name, value)| field(name, value));
    text.push_str("\r\n");
    text.into_bytes()
}

impl Answer {
    /// The head that decides. Interim ones are passed over, unless the check expects such.
    async fn head(&mut self, check: &Check, to_head: bool) -> Result<Head, Fault> {
        let expects_interim = check.expect_status.iter().any(|pattern| match pattern {
            StatusPattern::Class(class) => *class == 1,
            StatusPattern::Code(code) => *code < 200,
        });
        let mut taken = 0;
        loop {
            let Some(head) = parse(&self.buffer, to_head)? else {
                if taken + self.buffer.len() >= LONGEST_HEAD {
                    return Err(Fault::server("the head of the answer is above 16 KiB"));
                }
                self.more_of_head(taken > 0).await?;
                continue;
            };
            self.buffer.drain(..head.length);
            taken += head.length;
            // Nothing follows a 101 that would be HTTP.
            if head.status >= 200 || head.status == 101 || expects_interim {
                return Ok(head);
            }
        }
    }

    async fn more_of_head(&mut self, after_interim: bool) -> Result<(), Fault> {
        match self.more().await? {
            true => Ok(()),
            false if self.buffer.is_empty() && !after_interim => {
                Err(Fault::server("closed without an answer"))
            }
            false => Err(Fault::server("closed before the head of the answer was complete")),
        }
    }

    /// Reads on; `false` at the end.
    async fn more(&mut self) -> Result<bool, Fault> {
        self.buffer.reserve(READ);
        let read = self.stream.read_buf(&mut self.buffer).await;
        read.map(|count| count > 0)
            .map_err(|error| Fault::io("the connection broke under the answer", &error))
    }

    /// As much of the body as is looked at.
    async fn body(mut self, head: Head) -> Result<Vec<u8>, Fault> {
        let framing = head.body;
        match framing
            .map_err(|error| Fault::server(format!("where the body ends is unclear: {error}")))?
        {
            ResponseBody::None => return Ok(Vec::new()),
            ResponseBody::Length(length) => {
                let length = usize::try_from(length).unwrap_or(LONGEST_BODY).min(LONGEST_BODY);
                while self.buffer.len() < length {
                    self.more_of_body().await?;
                }
                self.buffer.truncate(length);
            }
            ResponseBody::Chunked => return self.chunked().await,
            ResponseBody::UntilClose => {
                while self.buffer.len() < LONGEST_BODY && self.more().await? {}
                self.buffer.truncate(LONGEST_BODY);
            }
        }
        Ok(self.buffer)
    }

    async fn more_of_body(&mut self) -> Result<(), Fault> {
        match self.more().await? {
            true => Ok(()),
            false => Err(Fault::server("closed before the body was complete")),
        }
    }

    async fn chunked(mut self) -> Result<Vec<u8>, Fault> {
        let (mut decoder, mut body) = (ChunkDecoder::default(), Vec::new());
        loop {
            if decode(&mut decoder, &self.buffer, &mut body)? || body.len() >= LONGEST_BODY {
                body.truncate(LONGEST_BODY);
                return Ok(body);
            }
            self.buffer.clear();
            self.more_of_body().await?;
        }
    }
}

/// Decodes all of `input`, or up to the end of the body: `true` there.
fn decode(decoder: &mut ChunkDecoder, input: &[u8], body: &mut Vec<u8>) -> Result<bool, Fault> {
    let mut rest = input;
    while !rest.is_empty() {
        let step = decoder.step(rest);
        match step.map_err(|error| Fault::server(format!("the body is malformed: {error}")))? {
            Step::Skip(count) => rest = &rest[count..],
            Step::Data(count) => {
                let (data, behind) = rest.split_at(count);
                body.extend_from_slice(data);
                rest = behind;
            }
            Step::Trailers(_) => return Ok(true),
        }
    }
    Ok(false)
}

/// Reads one head from the front of `input`; `None`: it is not complete.
fn parse(input: &[u8], to_head: bool) -> Result<Option<Head>, Fault> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(input);
    let parsed =
        parsed.map_err(|error| Fault::server(format!("the answer is not HTTP/1: {error}")))?;
    let (httparse::Status::Complete(length), Some(status)) = (parsed, response.code) else {
        return Ok(None);
    };
    let body = judge_response(&response, to_head).map(|facts| facts.body);
    Ok(Some(Head { status, body, length }))
}

#[cfg(test)]
mod tests;
