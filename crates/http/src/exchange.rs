//! One request and its answer over one connection to a server. Both directions move in one poll:
//! a server may answer while it is still being told, and a client may leave at any moment.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tidegate_h1::{Conn, Flow, FlowError, HeadError, Waiting};
use tidegate_h2::Why;
use tidegate_net::{End, Socket};
use tidegate_table::Attempt;
use tidegate_tunnel::Kind;

use crate::{
    attempt::Try,
    connection::Client,
    going::{Progress, Verdict},
    passing::{Head, Passing, Unfit},
    sending::{ClientFault, Sending},
};

/// A response head larger than this is refused.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;

/// So many interim responses are passed on before the server is taken for broken.
const MAX_INTERIM: usize = 64;

/// Why a request ends that was doing well.
const DRAINED: &str = "its server was drained, and the deadline came";

/// How an exchange ended.
pub(crate) enum Exchanged {
    /// The answer went out whole.
    Answered(Answered),
    /// The client left, or its time was up; with what it had of an answer.
    ClientGone(Option<Answered>),
    /// The answer had begun when the server broke off.
    Cut(Answered, String),
    /// Nothing has reached the client.
    Failed(Attempt, String),
    /// An answer of that status came, and another server's is wanted.
    Left(u16),
    /// What the client sent after its head cannot be accepted.
    Refused(u16, String),
    /// A tunnel: the head for the client, which has not been written.
    Switched(Vec<u8>, Kind),
}

/// An answer that was passed on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) keep_client: bool,
    pub(crate) keep_server: bool,
    /// Nothing but the end of the connection tells the client where the body ends.
    pub(crate) unframed: bool,
    /// Payload of the request and of the answer.
    pub(crate) received: u64,
    pub(crate) bytes: u64,
    /// From the attempt's start to the answer's head.
    pub(crate) after: Duration,
    /// When the last of it was seen.
    pub(crate) ended: Option<Instant>,
}

/// An exchange in progress.
pub(crate) struct Exchange<'e, 'c, 'm> {
    client: &'e mut Client<'c>,
    server: &'e mut Conn<Socket>,
    this: &'e Try<'e>,
    sending: Sending<'e, 'm>,
    /// What is left of an interim response for the client.
    interim: Vec<u8>,
    interims: usize,
    /// The server has said that it has not looked at the request.
    unseen: bool,
    /// What had moved when the timer was set, and for how long.
    seen: Option<(u64, Duration)>,
}

impl<'e, 'c, 'm> Exchange<'e, 'c, 'm> {
    pub(crate) fn new(
        client: &'e mut Client<'c>,
        server: &'e mut Conn<Socket>,
        this: &'e Try<'e>,
        sending: Sending<'e, 'm>,
    ) -> Self {
        Self {
            client,
            server,
            this,
            sending,
            interim: Vec::new(),
            interims: 0,
            unseen: false,
            seen: None,
        }
    }

    /// How far the request has come.
    pub(crate) fn progress(&self) -> Progress {
        let begun = self.sending.is_begun() && !self.unseen;
        Progress { begun, spent: self.sending.is_spent() }
    }

    /// What was used up of the client's body is there for another try.
    pub(crate) fn give_back(&mut self, verdict: Verdict) {
        if verdict == Verdict::GoesOn {
            self.sending.give_back(self.client.conn);
        }
    }

    /// Counts a request that ended here because there was no memory to keep its body.
    pub(crate) fn count_unkept(&self, verdict: Verdict) {
        if verdict != Verdict::GoesOn && self.sending.found_no_memory() {
            let cells = &self.this.pool.live.cells;
            cells.of(self.client.side.worker.index).replay_refused.add(1);
        }
    }

    /// Runs it. Cancel safe in so far as nothing is left behind but the two connections, which are
    /// of no use afterwards.
    pub(crate) async fn run(&mut self) -> Exchanged {
        let (mut flow, mut answered) = match poll_fn(|cx| self.poll_head(cx)).await {
            Ok(Head::Final(flow, answered)) => (flow, answered),
            Ok(Head::Switching(..)) if !self.sending.is_done() => {
                // What is left of the body would reach the server as the tunnel's first bytes.
                let reason = "101 before the request was complete";
                return Exchanged::Failed(Attempt::Malformed, reason.into());
            }
            Ok(Head::Switching(head, kind)) => return Exchanged::Switched(head, kind),
            // Those were passed on where they were read.
            Ok(Head::Interim(head)) => return Exchanged::Switched(head, Kind::Upgrade),
            Err(ended) => return ended,
        };
        self.sending.settle();
        let now = Instant::now();
        answered.after = now.saturating_duration_since(self.this.began);
        answered.ended = flow.is_done().then_some(now);
        if !flow.is_done() {
            if answered.unframed {
                // However this is left before its end, the client must not take it for whole.
                self.client.conn.end.reset_on_close(true);
            }
            if let Err(ended) = poll_fn(|cx| self.poll_body(cx, &mut flow, answered)).await {
                return ended;
            }
            if answered.unframed {
                self.client.conn.end.reset_on_close(false);
            }
        }
        answered.bytes = flow.payload();
        answered.received = self.sending.payload();
        // Whatever the client still has to say of its body is in the way of its next request.
        answered.keep_client &= self.sending.is_done();
        answered.keep_server &= self.sending.is_done() && self.server.ahead().is_empty();
        Exchanged::Answered(answered)
    }

    /// Sends, passes interim responses on, and waits for a head that is not one.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Exchanged>> {
        if self.is_cut() {
            let reason = DRAINED.to_owned();
            return Poll::Ready(Err(Exchanged::Failed(Attempt::Drained, reason)));
        }
        loop {
            if let Err(fault) = self.send(cx) {
                return Poll::Ready(Err(fault));
            }
            match self.poll_interim(cx) {
                Poll::Ready(Ok(())) => (),
                Poll::Ready(Err(gone)) => return Poll::Ready(Err(gone)),
                Poll::Pending => break,
            }
            match self.poll_answer(cx) {
                Poll::Ready(Ok(Head::Interim(bytes))) if self.interims < MAX_INTERIM => {
                    self.interims += 1;
                    self.interim = bytes;
                }
                Poll::Ready(Ok(Head::Interim(_))) => {
                    let reason = "too many interim responses".to_owned();
                    return Poll::Ready(Err(Exchanged::Failed(Attempt::Malformed, reason)));
                }
                Poll::Ready(head) => return Poll::Ready(head),
                Poll::Pending => break,
            }
        }
        self.poll_end_of_waiting(cx)
    }

    /// Writes what is left of an interim response.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Exchanged>> {
        while !self.interim.is_empty() {
            match ready!(self.client.conn.end.poll_write(cx, &self.interim)) {
                Ok(written) if written > 0 => drop(self.interim.drain(..written)),
                _ => return Poll::Ready(Err(Exchanged::ClientGone(None))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when there is no use in waiting for a head any longer.
    fn poll_end_of_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Exchanged>> {
        if self.sending.is_over()
            && self.client.conn.poll_gone(cx, &self.client.side.worker.scratch).is_ready()
        {
            return Poll::Ready(Err(Exchanged::ClientGone(None)));
        }
        // Who waits for a 100 is right to wait; it is the server that owes one.
        let expects = self.this.job.expects && self.sending.payload() == 0;
        let waits_for_client =
            self.sending.waits_for_client() && !self.sending.is_over() && !expects;
        let timeouts = &self.client.side.listener.settings.timeouts;
        let patience = match (waits_for_client, self.sending.is_over() || expects) {
            _ if !self.interim.is_empty() => timeouts.send,
            (true, _) => timeouts.body,
            (false, false) => self.this.send_timeout(),
            (false, true) => self.this.read_timeout(),
        };
        // Every interim response starts the waiting anew.
        ready!(self.poll_patience(cx, self.sending.moves() + self.interims as u64, patience));
        if !self.interim.is_empty() {
            return Poll::Ready(Err(Exchanged::ClientGone(None)));
        }
        Poll::Ready(Err(if waits_for_client {
            Exchanged::Refused(408, "the body did not come in time".into())
        } else {
            Exchanged::Failed(
                Attempt::TimedOut,
                format!("no answer within {} ms", patience.as_millis()),
            )
        }))
    }

    /// Whether what still runs on its server is to end now.
    fn is_cut(&self) -> bool {
        self.this.pick.lease.state().is_cut()
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Exchanged> {
        let sent = self.sending.poll(
            cx,
            self.client.conn,
            &mut self.server.end,
            &self.client.side.worker.scratch,
        );
        sent.map_err(|fault| match fault {
            ClientFault::Gone => Exchanged::ClientGone(None),
            // An answer would stand in the middle of an interim one.
            ClientFault::Refused(..) if !self.interim.is_empty() => Exchanged::ClientGone(None),
            ClientFault::Refused(status, reason) => Exchanged::Refused(status, reason),
        })
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Exchanged>> {
        let progress = self.progress();
        let Client { side, conn } = &mut *self.client;
        let worker = side.worker;
        let passing = Passing {
            this: self.this,
            progress,
            worker,
            // A client that has more to send than the server wanted cannot go on after this.
            keep: self.this.job.keep_alive && self.sending.is_done() && !side.listener.is_closing(),
        };
        let end = &mut conn.end;
        let polled = self.server.poll_head(cx, &worker.scratch, MAX_RESPONSE_HEAD, |cx, bytes| {
            passing.read(cx, bytes, end)
        });
        polled.map_err(|error| match error {
            HeadError::Refused(Unfit::Bad(bad)) => {
                Exchanged::Failed(Attempt::Malformed, bad.to_string())
            }
            HeadError::Refused(Unfit::BadBody(reason)) => {
                Exchanged::Failed(Attempt::Malformed, reason)
            }
            HeadError::Refused(Unfit::Left(status)) => Exchanged::Left(status),
            HeadError::Refused(Unfit::ClientGone) => Exchanged::ClientGone(None),
            HeadError::Refused(Unfit::Early) => {
                Exchanged::Failed(Attempt::Failed, "an answer before the request".into())
            }
            HeadError::Refused(Unfit::Cut(answered, reason)) => Exchanged::Cut(answered, reason),
            HeadError::TooLarge(_) => {
                Exchanged::Failed(Attempt::Malformed, "the head of the answer is too large".into())
            }
            HeadError::Closed => {
                Exchanged::Failed(Attempt::Failed, "closed before an answer".into())
            }
            HeadError::Cut => {
                Exchanged::Failed(Attempt::Failed, "closed within the head of the answer".into())
            }
            HeadError::Io(error) => self.unanswered(&error),
        })
    }

    /// A stream of HTTP/2 tells more of why there is no answer than a connection can.
    fn unanswered(&mut self, error: &io::Error) -> Exchanged {
        let (why, reason) = (tidegate_h2::why(error), error.to_string());
        self.unseen = why == Some(Why::Unseen);
        match why {
            // As a kept connection that was dead.
            Some(Why::Unseen | Why::Gone) => Exchanged::Failed(Attempt::Stale, reason),
            Some(Why::NoTunnels) => Exchanged::Refused(501, reason),
            Some(Why::Unsayable) => Exchanged::Refused(400, reason),
            Some(Why::Reset) | None => Exchanged::Failed(Attempt::Failed, reason),
        }
    }

    /// Streams the answer's body, and whatever is left of the request's.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        flow: &mut Flow,
        answered: Answered,
    ) -> Poll<Result<(), Exchanged>> {
        let gone = |flow: &Flow, received| {
            let told = Answered { bytes: flow.payload(), received, ..answered };
            Poll::Ready(Err(Exchanged::ClientGone(Some(told))))
        };
        // What is wrong with the request now can no longer be told to the client.
        if self.send(cx).is_err() {
            return gone(flow, self.sending.payload());
        }
        let received = self.sending.payload();
        let cut = |flow: &Flow, reason: String| {
            Exchanged::Cut(Answered { bytes: flow.payload(), received, ..answered }, reason)
        };
        if self.is_cut() {
            return Poll::Ready(Err(cut(flow, DRAINED.to_owned())));
        }
        match flow.poll(
            cx,
            self.server,
            &mut self.client.conn.end,
            &self.client.side.worker.scratch,
        ) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(FlowError::Sink(_))) => return gone(flow, received),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(cut(flow, error.to_string()))),
            Poll::Pending => (),
        }
        if self.sending.is_over()
            && self.client.conn.poll_gone(cx, &self.client.side.worker.scratch).is_ready()
        {
            return gone(flow, received);
        }
        let waits_for_client = flow.waiting() == Waiting::Sink;
        let patience = if waits_for_client {
            self.client.side.listener.settings.timeouts.send
        } else {
            self.this.read_timeout()
        };
        ready!(self.poll_patience(cx, self.sending.moves() + flow.moves(), patience));
        if waits_for_client {
            // What it did not read must not stay with the kernel, which would go on offering it.
            self.client.conn.end.reset_on_close(true);
            return gone(flow, received);
        }
        Poll::Ready(Err({
            cut(flow, format!("no more of the body within {} ms", patience.as_millis()))
        }))
    }

    /// Ready when nothing has moved for so long.
    fn poll_patience(&mut self, cx: &Context<'_>, moves: u64, patience: Duration) -> Poll<()> {
        if self.seen != Some((moves, patience)) {
            self.seen = Some((moves, patience));
            self.client.side.timer.set(patience);
        }
        self.client.side.timer.poll_expired(cx)
    }
}
