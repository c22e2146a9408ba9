//! One case: two ends, a pump between them, and what happens one thing after another.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use fastrand::Rng;
use tidegate_model::upstream::CloseCode;
use tidegate_net::Scratch;
use tidegate_table::Close;
use tidegate_wire::websocket::Sender;

use super::{
    super::super::{Pump, Start, closing::Stage},
    played::Played,
    speaker::{Manner, What},
};
use crate::{Ask, Asked, Card, How, Kind, Tally, Why};

pub(super) const HEAD: &[u8] = b"HTTP/1.1 101 \r\n\r\n";
/// So often it may be polled without anything happening.
const MOST_POLLS: usize = 1_000;
/// So often its time may run out until it is over, once it was asked to close.
const MOST_EXPIRIES: u32 = 3;

type Tunnel = Pump<Played, Played>;

pub(super) struct World {
    pub(super) pump: Tunnel,
    pub(super) card: Card,
    pub(super) kind: Kind,
    pub(super) pings: bool,
    pub(super) asks: Vec<Asking>,
    pub(super) cause: Option<Close>,
    /// How much of the client's had been read when no more of it was to go on.
    pub(super) deaf_to_client: Option<usize>,
    /// It ended because its time ran out.
    pub(super) ran_out: bool,
    /// How often that happened since it was asked.
    expiries: u32,
    pings_out: [Option<usize>; 2],
    scratch: Scratch,
    random: Rng,
}

/// Somebody asked.
pub(super) struct Asking {
    pub(super) how: How,
    pub(super) tally: Arc<Tally>,
    pub(super) code: CloseCode,
    pub(super) reason: &'static str,
    pub(super) was_looked_at: bool,
    pub(super) was_taken: bool,
    /// Its time ran out before the client was told.
    pub(super) was_urged: bool,
}

/// What all cases of a thread share.
pub(super) struct Stock {
    pub(super) server: Arc<tidegate_table::ServerState>,
    pub(super) listener: Arc<str>,
    pub(super) timer: u32,
    pub(super) scratch: Scratch,
}

impl World {
    pub(super) fn draw(stock: &Stock, seed: u64, is_plain: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        // The tunnel's own keys and tags.
        fastrand::seed(random.u64(..));
        let kind = match random.u8(0..16) {
            0 => Kind::Tcp,
            _ => Kind::WebSocket,
        };
        let mut end = |role| {
            let manner = Manner::draw(&mut random, is_plain);
            let mut end = Played::new(role, manner, random.fork());
            if kind == Kind::Tcp {
                end.speaks_no_frames();
            }
            end.say(random.usize(0..80));
            end.taken = if random.bool() { end.offered } else { 0 };
            end.room = random.usize(0..200);
            if random.u8(0..24) == 0 {
                end.breaks_at = random.usize(0..100);
            }
            end
        };
        let (client, server) = (end(Sender::Client), end(Sender::Server));
        let pings = kind == Kind::WebSocket && random.u8(0..3) == 0;
        let start = Start {
            to_server: client.said[..client.taken].to_vec(),
            to_client: [HEAD, &server.said[..server.taken]].concat(),
            head: HEAD.len(),
            idle_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(pings.into()),
        };
        let entry = crate::Entry {
            kind,
            server: Arc::clone(&stock.server),
            listener: Arc::clone(&stock.listener),
            client: None,
            now: tidegate_net::coarse_millis(),
            timer: stock.timer,
        };
        Self {
            pump: Pump::new(kind, client, server, start),
            card: Card::new(entry, 1),
            kind,
            pings,
            asks: Vec::new(),
            cause: None,
            deaf_to_client: None,
            ran_out: false,
            expiries: 0,
            pings_out: [None; 2],
            scratch: stock.scratch.clone(),
            random,
        }
    }

    /// Plays it to its end.
    pub(super) fn play(&mut self) {
        for _ in 0..self.random.u8(4..40) {
            self.happen();
            self.poll();
            if self.cause.is_some() {
                return;
            }
        }
        self.settle();
    }

    fn happen(&mut self) {
        let most = self.random.usize(1..60);
        match self.random.u8(0..40) {
            0..10 => self.pump.client.say(most),
            10..20 => self.pump.server.say(most),
            20..25 => self.pump.client.room += most,
            25..30 => self.pump.server.room += most,
            30..34 => self.ask(),
            34 => self.expire(),
            35 if self.random.u8(0..4) == 0 => self.pump.client.hangs_up = true,
            36 if self.random.u8(0..4) == 0 => self.pump.server.hangs_up = true,
            37 if self.random.u8(0..16) == 0 => self.pump.client.is_reset = true,
            38 if self.random.u8(0..16) == 0 => self.pump.server.is_reset = true,
            _ => {}
        }
    }

    /// Everything arrives, and time runs out until it is over. It has to end by itself once it was
    /// asked to, or else once both sides hang up.
    fn settle(&mut self) {
        let stuck = [self.random.u8(0..8) == 0, self.random.u8(0..8) == 0];
        for round in 0.. {
            let is_late = round >= 6;
            for (end, is_stuck) in
                [(&mut self.pump.client, stuck[0]), (&mut self.pump.server, stuck[1])]
            {
                end.manner.hesitates = false;
                end.say(usize::MAX);
                if !is_stuck || is_late {
                    end.room = 1 << 20;
                }
                end.hangs_up |= is_late;
            }
            assert!(round < 12, "it hangs");
            self.quiesce();
            if self.cause.is_some() {
                return;
            }
            self.assert_waits_for_somebody();
            self.expire();
            if self.cause.is_some() {
                return;
            }
        }
    }

    /// Everything has come that comes: no time has to run out for who has answered or gone.
    fn assert_waits_for_somebody(&self) {
        let has_closed = |end: &Played| {
            let close = end.frames.iter().position(|said| said.what == What::Close);
            close.is_some_and(|at| at + 1 == end.frames.len() && end.taken == end.said.len())
        };
        let (client, server) = (&self.pump.client, &self.pump.server);
        match self.pump.closing.as_ref().map(|closing| closing.stage) {
            Some(Stage::HearClient) => assert!(!client.has_ended && !has_closed(client)),
            Some(Stage::HearServer) => {
                assert!(!server.has_ended || self.pump.to_server.waiting() > 0);
            }
            _ => {}
        }
    }

    /// Whether nothing is in the way of a Close: what has come from the server are whole frames, the
    /// client has got them, and neither has said its last word.
    fn could_close(&self) -> bool {
        let (client, server) = (&self.pump.client, &self.pump.server);
        let began = |end: &Played, what| end.first(what).is_some_and(|start| start < end.taken);
        let is_over = |end: &Played| end.has_ended || began(end, What::Close);
        if is_over(client) || is_over(server) || began(server, What::Bytes) {
            return false;
        }
        let next = server.frames.partition_point(|said| said.start < server.taken);
        let place = server.frames.get(next).map_or(server.said.len(), |said| said.start);
        let in_message = server.frames[..next].last().is_some_and(|said| said.in_message);
        let asked = &self.asks.last().expect("it was asked").how;
        self.kind == Kind::WebSocket
            && server.taken == place
            && self.pump.to_client.waiting() == 0
            && (*asked == How::IfBetweenFrames || !in_message)
    }

    /// Who asked it to close politely, if anybody did and was not passed over.
    pub(super) fn closes(&self) -> Option<&Asking> {
        self.asks.iter().find(|asking| asking.was_taken && asking.how != How::Cut)
    }

    /// A side broke, or it was cut.
    pub(super) fn is_broken(&self) -> bool {
        let is_broken = |end: &Played| end.is_reset || end.heard.len() >= end.breaks_at;
        is_broken(&self.pump.client)
            || is_broken(&self.pump.server)
            || self.pump.closing.as_ref().is_some_and(|closing| closing.stage == Stage::Cut)
    }

    /// Polls for as long as anything happens.
    fn quiesce(&mut self) {
        for _ in 0..MOST_POLLS {
            let before = self.marks();
            self.poll();
            if self.cause.is_some() || self.marks() == before {
                return;
            }
            for end in [&mut self.pump.client, &mut self.pump.server] {
                end.say(usize::MAX);
            }
        }
        panic!("it is never quiet");
    }

    fn marks(&self) -> [usize; 6] {
        let marks = |end: &Played| [end.taken, end.offered, end.heard.len()];
        let [[a, b, c], [d, e, f]] = [marks(&self.pump.client), marks(&self.pump.server)];
        [a, b, c, d, e, f]
    }

    fn poll(&mut self) {
        let asked = self.card.asked() == Asked::Waiting;
        let could = asked && self.could_close();
        self.act(|pump, card, scratch| {
            pump.poll(&mut Context::from_waker(Waker::noop()), scratch, card)
        });
        if asked {
            self.look_at_ask(could);
        }
        self.pump.client.look(HEAD.len());
        self.pump.server.look(0);
    }

    /// Lets the tunnel do something, and looks at what must not come of it.
    fn act(&mut self, act: impl FnOnce(&mut Tunnel, &Card, &Scratch) -> Poll<Close>) {
        let ends = [&self.pump.client, &self.pump.server];
        let begins = |end: &&Played| end.first(What::Close).is_some_and(|at| at < end.taken);
        let had_begun = ends.iter().any(begins);
        let had_said = self.said() > 0;
        if let Poll::Ready(cause) = act(&mut self.pump, &self.card, &self.scratch) {
            self.cause = Some(cause);
        }
        assert!(had_said || !had_begun || self.said() == 0, "a side had begun to close it");
        if self.pump.to_server.drops && self.deaf_to_client.is_none() {
            self.deaf_to_client = Some(self.pump.client.taken);
        }
    }

    /// Bytes of Closes that the tunnel has said.
    fn said(&self) -> u64 {
        self.pump.closing.as_ref().map_or(0, |closing| closing.injected)
    }

    fn ask(&mut self) {
        let how = match self.random.u8(0..12) {
            0 => How::Cut,
            1..5 => How::IfBetweenFrames,
            5..8 => How::IfBetweenMessages,
            _ => How::WhenQuiet,
        };
        // One that is under way is only ever cut.
        if self.asks.iter().any(|asking| asking.was_taken) && how != How::Cut {
            return;
        }
        let code = [CloseCode::SERVICE_RESTART, CloseCode::GOING_AWAY][self.random.usize(0..2)];
        let reason = ["", "moving", LONG][self.random.usize(0..3)];
        let tally = Arc::<Tally>::default();
        let number = self.asks.len() as u64;
        let ask = Ask {
            why: Why::Drain(number),
            how,
            code,
            reason: reason.into(),
            tally: Arc::clone(&tally),
        };
        self.card.ask(Arc::new(ask));
        self.asks.push(Asking {
            how,
            tally,
            code,
            reason,
            was_looked_at: false,
            was_taken: false,
            was_urged: false,
        });
    }

    /// It has looked at the last ask: it is about it, or it is as it was.
    fn look_at_ask(&mut self, could: bool) {
        let asking = self.asks.last_mut().expect("it was asked");
        asking.was_looked_at = true;
        asking.was_taken = self.card.asked() == Asked::Taken;
        let closing = self.pump.closing.as_deref();
        if !asking.was_taken {
            assert!(matches!(asking.how, How::IfBetweenFrames | How::IfBetweenMessages));
            assert!(!could, "nothing was in the way");
            assert!(closing.is_none(), "passed over, and yet it closes");
            return;
        }
        self.expiries = 0;
        assert!(closing.is_some_and(|closing| closing.ask.how == asking.how));
        if matches!(asking.how, How::IfBetweenFrames | How::IfBetweenMessages) {
            let frames = self.pump.frames.as_deref();
            let closes = self.pump.to_client.drops || frames.is_some_and(|f| f.is_closing());
            assert!(closes || self.cause.is_some() || self.pump.first_end.is_some(), "not at once");
        }
    }

    /// Its time runs out.
    fn expire(&mut self) {
        let stage = self.pump.closing.as_ref().map(|closing| closing.stage);
        if stage.is_some() {
            self.expiries += 1;
            assert!(self.expiries <= MOST_EXPIRIES, "it does not end");
        }
        if stage == Some(Stage::TellClient) {
            self.asks.last_mut().expect("it closes").was_urged = true;
        }
        let silent = self.is_silent();
        let before = self.pump.pings().map_or(0, |pings| pings.injected);
        self.act(|pump, card, _| pump.expired(card));
        self.ran_out = self.cause.is_some();
        assert_eq!(self.cause == Some(Close::ErrorPing), silent, "{:?}", self.pings_out);
        let pinged = self.pump.pings().map_or(0, |pings| pings.injected) - before;
        // Of a ping to the server four bytes are its key.
        let [client, server] = match pinged {
            0 => [false, false],
            10 => [true, false],
            14 => [false, true],
            24 => [true, true],
            _ => panic!("{pinged} bytes are no pings"),
        };
        if client {
            self.pump.client.pings += 1;
            self.pings_out[0] = Some(self.pump.client.taken);
        }
        if server {
            self.pump.server.pings += 1;
            self.pings_out[1] = Some(self.pump.server.taken);
        }
    }

    /// Whether a side has been pinged and has said nothing since, in a tunnel that is pinged.
    fn is_silent(&self) -> bool {
        let closing = self.pump.closing.is_some() || self.pump.first_end.is_some();
        let over = self.pump.frames.as_ref().is_some_and(|frames| frames.is_closing());
        let taken = [self.pump.client.taken, self.pump.server.taken];
        let ended = self.pump.client.has_ended || self.pump.server.has_ended;
        !closing && !over && !ended && (0..2).any(|side| self.pings_out[side] == Some(taken[side]))
    }
}

/// Longer than a Close can carry, and not to be cut where it would have to be.
pub(super) const LONG: &str =
    "xééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé";
