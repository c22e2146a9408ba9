//! A server's response head on its way to the client: judged, edited and written together with what
//! has come of the body, while it still lies in the scratch buffer.

use std::task::Context;

use tidegate_h1::{Coding, Decoder, Flow, FlowError};
use tidegate_net::Socket;
use tidegate_tunnel::Kind;
use tidegate_wire::{
    BadResponse, ChunkDecoder, ResponseBody, ResponseFacts, Version, judge_response,
};

use crate::{
    attempt::Try,
    compress::{Encoder, Recoding, is_fit},
    edit::{self, Additions, Answering},
    exchange::Answered,
    going::Progress,
    sticky,
};

const MAX_RESPONSE_FIELDS: usize = 256;

/// A parsed response head.
pub(crate) enum Head {
    Final(Flow, Answered),
    Interim(Vec<u8>),
    Switching(Vec<u8>, Kind),
}

/// Why a head is not passed on.
pub(crate) enum Unfit {
    Bad(BadResponse),
    /// Its body is malformed from the start.
    BadBody(String),
    ClientGone,
    /// It came before anything was asked: it answers something else.
    Early,
    /// Its body is malformed, and the client has some of it.
    Cut(Answered, String),
    /// Another server's answer is wanted instead of one of that status.
    Left(u16),
}

/// Passing a response head on.
pub(crate) struct Passing<'p> {
    pub(crate) this: &'p Try<'p>,
    pub(crate) progress: Progress,
    pub(crate) worker: &'p tidegate_worker::Worker,
    pub(crate) keep: bool,
}

impl Passing<'_> {
    /// Reads a head from the front of `bytes` and, when it is the final one, writes it to the
    /// client together with what is there of the body.
    pub(crate) fn read(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        client: &mut Socket,
    ) -> Result<Option<(Head, usize)>, Unfit> {
        let mut storage = [const { std::mem::MaybeUninit::uninit() }; MAX_RESPONSE_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut response, bytes, &mut storage)
            .map_err(|error| Unfit::Bad(error.into()))?;
        let httparse::Status::Complete(size) = parsed else {
            return Ok(None);
        };
        if !self.progress.begun {
            return Err(Unfit::Early);
        }
        let facts = judge_response(&response, self.this.job.to_head).map_err(Unfit::Bad)?;
        match facts.status {
            101 => self
                .switching(&bytes[..size], &facts, response.headers)
                .map(|head| Some((head, size))),
            100..200 => Ok(Some((self.interim(&bytes[..size], &facts, response.headers), size))),
            status if self.this.going.leaves(status, self.progress) => Err(Unfit::Left(status)),
            _ => {
                let (mut flow, answered) = self.passed(&bytes[..size], &facts, response.headers);
                let used = match flow.absorb(cx, &bytes[size..], client) {
                    Ok(used) => used,
                    Err(FlowError::Sink(_)) => return Err(Unfit::ClientGone),
                    Err(error) if flow.moves() == 0 => {
                        return Err(Unfit::BadBody(error.to_string()));
                    }
                    Err(error) => return Err(Unfit::Cut(answered, error.to_string())),
                };
                Ok(Some((Head::Final(flow, answered), size + used)))
            }
        }
    }

    fn switching(
        &self,
        source: &[u8],
        facts: &ResponseFacts<'_>,
        headers: &[httparse::Header<'_>],
    ) -> Result<Head, Unfit> {
        let asked = self.this.job.upgrade.as_deref().unwrap_or_default();
        let token = facts.upgrade.unwrap_or_default();
        if !asked.split(", ").any(|one| !one.is_empty() && one.eq_ignore_ascii_case(token)) {
            return Err(Unfit::Bad(BadResponse::Switching));
        }
        let mut head = Vec::with_capacity(256);
        let cookie = sticky::cookie(self.this);
        edit::interim(&mut head, source, facts, headers, self.additions(cookie.as_deref()));
        let websocket = token.eq_ignore_ascii_case("websocket");
        Ok(Head::Switching(head, if websocket { Kind::WebSocket } else { Kind::Upgrade }))
    }

    /// HTTP/1.0 knows no interim responses.
    fn interim(
        &self,
        source: &[u8],
        facts: &ResponseFacts<'_>,
        headers: &[httparse::Header<'_>],
    ) -> Head {
        let mut head = Vec::new();
        if self.this.job.version == Version::Http11 {
            edit::interim(&mut head, source, facts, headers, Additions::default());
        }
        Head::Interim(head)
    }

    /// What comes into the head for the client.
    fn additions<'a>(&'a self, cookie: Option<&'a str>) -> Additions<'a> {
        let Try { job, pool, pick, .. } = self.this;
        let of_whom = (pool.name.as_str(), pick.server.spec.address.as_str());
        let edits = job.edits.as_deref().map(|edits| (edits, of_whom.0, of_whom.1));
        Additions { cookie, edits }
    }

    /// What is said of coding, and what codes the body, where there is one.
    fn recoding(
        &self,
        facts: &ResponseFacts<'_>,
        headers: &[httparse::Header<'_>],
    ) -> (Option<Recoding>, Option<Encoder>) {
        let to_head = self.this.job.to_head;
        let fit = self.this.job.recoding.filter(|_| is_fit(facts, headers, to_head));
        match fit {
            Some(fit) if !to_head => {
                let (recoding, encoder) = fit.begin();
                (Some(recoding), encoder)
            }
            _ => (fit, None),
        }
    }

    fn passed(
        &self,
        source: &[u8],
        facts: &ResponseFacts<'_>,
        headers: &[httparse::Header<'_>],
    ) -> (Flow, Answered) {
        let (recoding, encoder) = self.recoding(facts, headers);
        let unknown = encoder.is_some()
            || matches!(facts.body, ResponseBody::Chunked | ResponseBody::UntilClose);
        let unframed = unknown && self.this.job.version == Version::Http10;
        let chunked = unknown && !unframed;
        let keep_client = self.keep && !unframed;
        let mut head = Vec::with_capacity(512);
        let cookie = sticky::cookie(self.this);
        let answering = Answering {
            client: self.this.job.version,
            keep_alive: keep_client,
            chunked,
            own: self.additions(cookie.as_deref()),
            recoding,
        };
        edit::response(&mut head, source, facts, headers, answering, |head| {
            self.worker.with_date(|date| head.field("Date", date.as_bytes()));
        });
        let decoder = match facts.body {
            ResponseBody::None => Decoder::Done,
            ResponseBody::Length(length) => Decoder::Length(length),
            ResponseBody::Chunked => Decoder::Chunked(ChunkDecoder::default()),
            ResponseBody::UntilClose => Decoder::UntilClose,
        };
        let coding = if chunked { Coding::Chunked } else { Coding::Plain };
        let answered = Answered {
            status: facts.status,
            keep_client,
            keep_server: facts.keep_alive,
            unframed,
            ..Answered::default()
        };
        let flow = Flow::new(decoder, coding, head);
        let flow = match encoder {
            Some(encoder) => flow.with_transform(Box::new(encoder)),
            None => flow,
        };
        (flow, answered)
    }
}
