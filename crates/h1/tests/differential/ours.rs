//! What we hear: heads through [`Conn`], judged by `wire`, bodies through [`Flow`].

use std::{
    io::{self, IoSlice},
    mem,
    task::{Context, Poll, Waker},
};

use hyper::Uri;
use tidegate_h1::{Coding, Conn, Decoder, Flow, FlowError, HeadError};
use tidegate_net::{End, SIZE, Scratch};
use tidegate_wire::{Body, ChunkDecoder, Facts, Refusal, Version, judge_request};

use crate::Heard;

/// hyper keeps the two largest lengths for itself.
const MAX_LENGTH: u64 = u64::MAX - 2;

#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) spoken: Vec<Spoken>,
    pub(crate) ended: Ended,
}

/// A request that we accepted, at least its head.
#[derive(Debug)]
pub(crate) struct Spoken {
    pub(crate) heard: Heard,
    /// hyper has words for it: its URIs know fewer characters, its lengths end earlier.
    pub(crate) is_expressible: bool,
    pub(crate) is_http_10: bool,
}

/// Why there were no more requests.
#[derive(Debug, PartialEq)]
pub(crate) enum Ended {
    /// All bytes were requests.
    Closed,
    CutHead,
    CutBody,
    /// The sender wanted no other.
    Last,
    RefusedBody(String),
    RefusedHead(String),
}

/// A request head, and how its body comes.
struct Head {
    spoken: Spoken,
    body: Body,
    keep_alive: bool,
}

/// Bytes that are all there, or a place to write them.
#[derive(Default)]
struct Memory(Vec<u8>);

impl Ours {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut conn = Conn::new(Memory(bytes.to_vec()));
        let mut spoken = Vec::new();
        let ended = loop {
            if let Err(ended) = request(&mut conn, &mut spoken) {
                break ended;
            }
        };
        Self { spoken, ended }
    }
}

fn request(conn: &mut Conn<Memory>, spoken: &mut Vec<Spoken>) -> Result<(), Ended> {
    let mut cx = Context::from_waker(Waker::noop());
    let scratch = Scratch::default();
    let head = ready(conn.poll_head(&mut cx, &scratch, SIZE, |_, bytes| head(bytes)));
    let Head { spoken: mut said, body, keep_alive } = head.map_err(|error| match error {
        HeadError::Closed => Ended::Closed,
        HeadError::Cut => Ended::CutHead,
        HeadError::Refused(refusal) => Ended::RefusedHead(refusal.to_string()),
        HeadError::TooLarge(_) | HeadError::Io(_) => Ended::RefusedHead("too large".into()),
    })?;
    let decoder = match body {
        Body::None => Decoder::Done,
        Body::Length(length) => Decoder::Length(length),
        Body::Chunked => Decoder::Chunked(ChunkDecoder::default()),
    };
    let mut sink = Memory::default();
    let mut flow = Flow::new(decoder, Coding::Plain, Vec::new());
    let flowed = ready(flow.poll(&mut cx, conn, &mut sink, &scratch));
    said.heard.body = flowed.is_ok().then_some(sink.0);
    spoken.push(said);
    match flowed {
        Err(FlowError::Cut) => Err(Ended::CutBody),
        Err(error) => Err(Ended::RefusedBody(error.to_string())),
        Ok(()) if keep_alive => Ok(()),
        Ok(()) => Err(Ended::Last),
    }
}

fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
    let mut storage = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut storage);
    let parsed = request.parse(bytes).map_err(|error| Refusal::of_syntax(error, bytes))?;
    let httparse::Status::Complete(size) = parsed else {
        return Ok(None);
    };
    let facts = judge_request(&request)?;
    let raw = request.path.unwrap_or_default();
    let head = Head { spoken: spoken(&facts, raw), body: facts.body, keep_alive: facts.keep_alive };
    Ok(Some((head, size)))
}

fn spoken(facts: &Facts<'_>, raw: &str) -> Spoken {
    let slash = if facts.rootless { "/" } else { "" };
    let is_absolute = !raw.starts_with('/') && raw != "*";
    let fits = !matches!(facts.body, Body::Length(length) if length > MAX_LENGTH);
    Spoken {
        heard: Heard {
            method: facts.method.into(),
            target: format!("{slash}{}", String::from_utf8_lossy(facts.target)),
            authority: is_absolute.then(|| facts.authority.into()),
            body: None,
        },
        is_expressible: raw.parse::<Uri>().is_ok() && fits,
        is_http_10: facts.version == Version::Http10,
    }
}

fn ready<T>(poll: Poll<T>) -> T {
    match poll {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("memory never waits"),
    }
}

impl End for Memory {
    fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.try_read(buffer))
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.0.len().min(buffer.len());
        let rest = self.0.split_off(size);
        buffer[..size].copy_from_slice(&mem::replace(&mut self.0, rest));
        Ok(size)
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.poll_write(cx, &bytes)
    }

    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close_write(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
