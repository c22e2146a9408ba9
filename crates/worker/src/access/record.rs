//! What is written down of a request, or of a tunnel at its end. One is made for every request, so it
//! is made of few pieces: all texts of the client's lie in one buffer, as they came, and what is
//! already shared is shared here, too. To make text of it is for the thread that writes it.

use std::{
    borrow::Cow,
    net::IpAddr,
    num::{NonZeroU64, NonZeroU128},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tidegate_model::Name;

use crate::{identity::RequestId, secure::Encryption, worker::no_route};

/// Longer texts of a client's are cut.
const MAX_TEXT: usize = 4_096;

/// One request, or one tunnel at its end.
#[derive(Clone, Debug)]
pub struct Record {
    pub at: SystemTime,
    pub listener: Arc<str>,
    pub client: Option<IpAddr>,
    pub request_id: RequestId,
    pub protocol: &'static str,
    pub encryption: Option<Arc<Encryption>>,
    pub texts: Texts,
    pub route: Arc<str>,
    pub upstream: Option<Name>,
    pub attempts: Attempts,
    pub status: u16,
    /// Which of its route's limits turned it away.
    pub refused: Option<&'static str>,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub duration: Duration,
    /// From the last attempt's start to the head of its answer.
    pub upstream_duration: Option<Duration>,
    /// Why a tunnel ended.
    pub close: Option<&'static str>,
    /// The drain's id or the generation of the removal that ended it.
    pub close_by: Option<u64>,
    /// Of the trace that it belongs to.
    pub trace: Option<NonZeroU128>,
    /// When it is to be exported.
    pub span: Option<SpanIds>,
}

/// A request's own place in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanIds {
    pub id: NonZeroU64,
    /// The caller's; `None`: the trace begins here.
    pub parent: Option<NonZeroU64>,
}

/// Each server tried, in order. Most requests try one, for which nothing is allocated.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    earlier: Vec<Attempted>,
    last: Option<Attempted>,
}

/// One server tried.
#[derive(Clone, Debug)]
pub struct Attempted {
    pub server: Arc<str>,
    pub outcome: &'static str,
    /// From the start of the request to that of the try.
    pub after: Duration,
    /// `None`: nothing tells (of datagrams).
    pub took: Option<Duration>,
    /// Until there was a connection, TLS included; `None`: a kept one was used, or none was had.
    pub connect: Option<Duration>,
    pub span: Option<NonZeroU64>,
}

/// What the client said, in the order of [`Said`]; one after another in one buffer.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    bytes: Box<[u8]>,
    ends: [u16; 5],
}

/// What a client said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'r> {
    pub method: &'r [u8],
    pub host: &'r [u8],
    pub uri: &'r [u8],
    pub user_agent: &'r [u8],
    pub referer: &'r [u8],
}

impl Record {
    /// So many spans of one request are exported at most: those of its first attempts.
    pub const MAX_SPANS: usize = 32;

    pub fn new(listener: &Arc<str>, client: Option<IpAddr>, request_id: RequestId) -> Self {
        Self {
            at: SystemTime::now(),
            listener: Arc::clone(listener),
            client,
            request_id,
            protocol: "",
            encryption: None,
            texts: Texts::default(),
            route: no_route(),
            upstream: None,
            attempts: Attempts::default(),
            status: 0,
            refused: None,
            bytes_received: 0,
            bytes_sent: 0,
            duration: Duration::ZERO,
            upstream_duration: None,
            close: None,
            close_by: None,
            trace: None,
            span: None,
        }
    }

    /// How many spans there are to be exported: its own, and those of attempts.
    pub fn spans(&self) -> usize {
        1 + self.spanned().count()
    }

    /// The attempts that have a span to be exported.
    pub fn spanned(&self) -> impl Iterator<Item = (NonZeroU64, &Attempted)> {
        let spanned = self.attempts.iter().filter_map(|tried| Some((tried.span?, tried)));
        spanned.take(Self::MAX_SPANS - 1)
    }

    /// The pool's name as it was last spelt, or nothing.
    pub fn upstream(&self) -> &str {
        self.upstream.as_ref().map_or("", Name::as_str)
    }
}

impl Attempts {
    pub fn push(&mut self, tried: Attempted) {
        self.earlier.extend(self.last.replace(tried));
    }

    pub fn last(&self) -> Option<&Attempted> {
        self.last.as_ref()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Attempted> {
        self.earlier.iter().chain(&self.last)
    }

    pub fn count(&self) -> usize {
        self.earlier.len() + usize::from(self.last.is_some())
    }
}

impl Texts {
    /// Keeps as much of each as is allowed.
    pub fn of(said: Said<'_>) -> Self {
        let Said { method, host, uri, user_agent, referer } = said;
        let parts =
            [method, host, uri, user_agent, referer].map(|part| &part[..part.len().min(MAX_TEXT)]);
        let (mut ends, mut end) = ([0; 5], 0);
        for (at, part) in ends.iter_mut().zip(parts) {
            end += part.len();
            *at = u16::try_from(end).expect("five parts of 4,096 bytes are fewer than 65,536");
        }
        Self { bytes: parts.concat().into(), ends }
    }

    pub fn method(&self) -> Cow<'_, str> {
        self.part(0)
    }

    pub fn host(&self) -> Cow<'_, str> {
        self.part(1)
    }

    pub fn uri(&self) -> Cow<'_, str> {
        self.part(2)
    }

    pub fn user_agent(&self) -> Cow<'_, str> {
        self.part(3)
    }

    pub fn referer(&self) -> Cow<'_, str> {
        self.part(4)
    }

    fn part(&self, at: usize) -> Cow<'_, str> {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        String::from_utf8_lossy(&self.bytes[usize::from(start)..usize::from(self.ends[at])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_apart_and_cut() {
        let long = [b'x'; MAX_TEXT + 1];
        let texts = Texts::of(Said {
            method: b"GET",
            host: b"",
            uri: &long,
            user_agent: b"a\xff",
            referer: &long,
        });
        assert_eq!((&*texts.method(), &*texts.host()), ("GET", ""));
        assert_eq!((texts.uri().len(), texts.referer().len()), (MAX_TEXT, MAX_TEXT));
        assert_eq!(texts.user_agent(), "a\u{fffd}");
        assert_eq!(Texts::default().referer(), "");
        let all =
            Said { method: &long, host: &long, uri: &long, user_agent: &long, referer: &long };
        assert_eq!(Texts::of(all).referer().len(), MAX_TEXT);
    }

    #[test]
    fn attempts_stay_in_order() {
        let tried = |outcome| Attempted {
            server: "a:1".into(),
            outcome,
            after: Duration::ZERO,
            took: None,
            connect: None,
            span: None,
        };
        let mut attempts = Attempts::default();
        assert_eq!(attempts.count(), 0);
        for outcome in ["one", "two", "three"] {
            attempts.push(tried(outcome));
        }
        let outcomes: Vec<_> = attempts.iter().map(|tried| tried.outcome).collect();
        assert_eq!((outcomes.as_slice(), attempts.count()), (&["one", "two", "three"][..], 3));
        assert_eq!(attempts.last().map(|tried| tried.outcome), Some("three"));
    }
}
