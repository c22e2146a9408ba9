//! The pump: two ends, and for each direction the bytes the other side would not take yet; while
//! idle, none. See `direction` for how bytes move, `frames` for where a frame of ours may stand
//! between them, `closing` for how a tunnel ends at somebody's request.

mod closing;
mod direction;
mod frames;
mod ping;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tidegate_net::{End, ROOM, Scratch, coarse_millis};
use tidegate_table::Close;

use crate::{
    ask::{Ask, How, Why},
    card::{Card, Kind, Phase},
};
use closing::{Closing, Stage, Step};
use direction::{Broken, Direction};
use frames::{Frames, Passage};
use ping::Pings;

/// Once one side has said its last word, the other has so long between two bytes. A client that is
/// gone altogether cannot be told from one that only listens, and must not hold its place for a day.
const HALF_CLOSED: Duration = Duration::from_secs(60);

/// One tunnel. A plain value: everything it knows is here, and a pump can go on from it anywhere.
#[derive(Debug)]
pub struct Pump<C, S> {
    client: C,
    server: S,
    to_server: Direction,
    to_client: Direction,
    frames: Option<Box<Frames>>,
    closing: Option<Box<Closing>>,
    first_end: Option<Close>,
    idle_timeout: Duration,
}

/// How a tunnel begins.
#[derive(Debug)]
pub struct Start {
    /// What the client said early.
    pub to_server: Vec<u8>,
    /// What the client is to get first: the head of a 101, and what the server said early.
    pub to_client: Vec<u8>,
    /// How much of that is the head.
    pub head: usize,
    pub idle_timeout: Duration,
    /// Zero: no pings of our own.
    pub ping_interval: Duration,
}

/// Every byte that a tunnel had to do with: what was read, and what of ours was put in, has been
/// written, or was taken out as an answer to us, or was thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub received: u64,
    pub sent: u64,
    /// Control frames of our own.
    pub injected: u64,
    /// Answers to those.
    pub swallowed: u64,
    /// What was left when the tunnel ended, or came after its end was decided.
    pub discarded: u64,
}

impl Account {
    /// Another one's, too.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.sent += other.sent;
        self.injected += other.injected;
        self.swallowed += other.swallowed;
        self.discarded += other.discarded;
    }
}

impl<C: End, S: End> Pump<C, S> {
    pub fn new(kind: Kind, client: C, server: S, start: Start) -> Self {
        let Start { to_server, to_client, head, idle_timeout, ping_interval } = start;
        let frames = (kind == Kind::WebSocket).then(|| {
            let pings = (!ping_interval.is_zero()).then(|| Pings::new(ping_interval));
            let mut frames = Box::new(Frames::new(pings));
            frames.begin(&to_server, &to_client[head..]);
            frames
        });
        Self {
            client,
            server,
            to_server: Direction::new(to_server),
            to_client: Direction::new(to_client),
            frames,
            closing: None,
            first_end: None,
            idle_timeout,
        }
    }

    /// Moves bytes both ways until both sides would wait. Ready, with the cause, when it is over.
    /// Cancel safe.
    pub fn poll(&mut self, cx: &mut Context<'_>, scratch: &Scratch, card: &Card) -> Poll<Close> {
        if let Some(ask) = card.take_ask() {
            self.asked(ask, card);
        }
        let before = self.progress();
        let polled = loop {
            let moved = self.move_both(cx, scratch);
            self.note_told();
            if moved.is_ready() {
                break Poll::Ready(self.cause());
            }
            match self.advance() {
                Step::Again => (),
                Step::Over => break Poll::Ready(self.cause()),
                Step::Wait => break Poll::Pending,
            }
        };
        if self.progress() != before {
            let [to_client, to_server] = self.moved();
            card.set_moved(to_client, to_server, coarse_millis());
        }
        card.set_phase(self.phase(), self.frames.as_ref().is_some_and(|f| f.is_within_message()));
        polled
    }

    fn move_both(&mut self, cx: &mut Context<'_>, scratch: &Scratch) -> Poll<()> {
        // Of a client that just hangs up when it is told, the server learns by a Close all the same.
        let hears = |closing: &Closing| closing.stage == Stage::HearClient;
        self.to_server.holds = self.frames.is_some() && self.closing.as_deref().is_some_and(hears);
        let raw = self.frames.is_none();
        let Self { client, server, frames, closing, .. } = self;
        let up =
            self.to_server.poll(cx, client, server, scratch, raw, |buffer, length| match frames {
                Some(frames) => frames.pass_up(closing.as_deref_mut(), buffer, length),
                None => Passage { range: ROOM..ROOM + length, end: None },
            });
        if let Poll::Ready(end) = up
            && self.note(end, [Close::Client, Close::ErrorClient, Close::ErrorServer])
        {
            return Poll::Ready(());
        }
        let Self { client, server, frames, closing, .. } = self;
        let down =
            self.to_client.poll(cx, server, client, scratch, raw, |buffer, length| match frames {
                Some(frames) => frames.pass_down(closing.as_deref_mut(), buffer, length),
                None => Passage { range: ROOM..ROOM + length, end: None },
            });
        if let Poll::Ready(end) = down
            && self.note(end, [Close::Server, Close::ErrorServer, Close::ErrorClient])
        {
            return Poll::Ready(());
        }
        if up.is_ready() && down.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// How long it may stay as it is before [`Self::expired`] has to be asked, and a mark: the time
    /// runs on for as long as both are the same.
    pub fn patience(&self) -> (u64, Duration) {
        if let Some(closing) = &self.closing {
            return (closing.stage as u64 * 2 + u64::from(closing.patient), closing::WAIT);
        }
        let interval = match (self.first_end, self.pings()) {
            (Some(_), _) => self.idle_timeout.min(HALF_CLOSED),
            (None, Some(pings)) => self.idle_timeout.min(pings.interval),
            (None, None) => self.idle_timeout,
        };
        (self.progress(), interval)
    }

    /// Its time is over. Ready, with the cause, when that is its end; else its time begins anew, and
    /// it has to be polled.
    pub fn expired(&mut self, card: &Card) -> Poll<Close> {
        if self.closing.is_some() {
            return if self.give_up() { Poll::Ready(self.cause()) } else { Poll::Pending };
        }
        let idle = Duration::from_millis(coarse_millis().saturating_sub(card.last_data()));
        if self.first_end.is_some() || self.pings().is_none() || idle >= self.idle_timeout {
            return Poll::Ready(Close::Idle);
        }
        match self.ping() {
            Ok(()) => Poll::Pending,
            Err(cause) => Poll::Ready(cause),
        }
    }

    /// Bytes that it had to do with so far; at the end, all of them.
    pub fn account(&self) -> Account {
        let (up, down) = (&self.to_server, &self.to_client);
        let (closing, pings) = (self.closing.as_deref(), self.pings());
        let left = up.waiting() + down.waiting() + pings.map_or(0, Pings::held);
        Account {
            received: up.received + down.received,
            sent: up.sent + down.sent,
            injected: pings.map_or(0, |p| p.injected) + closing.map_or(0, |c| c.injected),
            swallowed: pings.map_or(0, |p| p.swallowed) + closing.map_or(0, |c| c.swallowed),
            discarded: up.dropped + down.dropped + closing.map_or(0, |c| c.discarded) + left,
        }
    }

    /// Bytes written to the client and to the server.
    pub fn moved(&self) -> [u64; 2] {
        [self.to_client.sent, self.to_server.sent]
    }

    /// On whose behalf it closes, if on anybody's.
    pub fn why(&self) -> Option<Why> {
        self.closing.as_ref().map(|closing| closing.ask.why)
    }

    /// Notes who ended first; `true` when it is over for both.
    fn note(&mut self, end: Result<(), Broken>, [ended, source, sink]: [Close; 3]) -> bool {
        let cause = match end {
            Ok(()) => ended,
            Err(Broken::Source) => source,
            Err(Broken::Sink) => sink,
        };
        self.first_end.get_or_insert(cause);
        end.is_err()
    }

    fn cause(&self) -> Close {
        match &self.closing {
            Some(closing) if closing.told => closing.ask.why.cause(),
            _ => self.first_end.unwrap_or(Close::ErrorInternal),
        }
    }

    /// Changes whenever data has moved; control frames of ours are none.
    fn progress(&self) -> u64 {
        let (up, down) = (&self.to_server, &self.to_client);
        let all = up.received + up.sent + down.received + down.sent;
        self.pings().map_or(all, |pings| all.wrapping_sub(pings.passed(down, up)))
    }

    fn phase(&self) -> Phase {
        match (&self.closing, self.first_end) {
            (Some(_), _) => Phase::Closing,
            (None, Some(_)) => Phase::HalfClosed,
            (None, None) => Phase::Open,
        }
    }

    fn pings(&self) -> Option<&Pings> {
        self.frames.as_ref()?.pings.as_ref()
    }

    fn asked(&mut self, ask: Arc<Ask>, card: &Card) {
        match ask.how {
            How::Cut => self.cut(ask),
            _ if self.closing.is_some() => (),
            How::IfBetweenFrames if !self.is_quiet(false) => card.pass_over(),
            How::IfBetweenMessages if !self.is_quiet(true) => card.pass_over(),
            How::WhenQuiet => self.closing = Some(Box::new(Closing::new(ask, Stage::TellClient))),
            How::IfBetweenFrames | How::IfBetweenMessages => {
                self.closing = Some(Box::new(Closing::new(ask, Stage::TellClient)));
                // Before anything can come between.
                self.tell_client();
            }
        }
    }

    /// Whether the client could be told to leave this very moment.
    fn is_quiet(&self, patient: bool) -> bool {
        let fits = |frames: &Frames| frames.may_close(patient) || !frames.are_sound();
        let down = &self.to_client;
        let clear = self.first_end.is_none() && !down.ended && down.waiting() == 0;
        clear && self.frames.as_deref().is_none_or(fits)
    }
}
