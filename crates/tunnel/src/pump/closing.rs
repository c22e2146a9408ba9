//! How a tunnel ends at somebody's request. The client is told first, between two frames, and what
//! it still says goes to the server until it has answered: nothing of it is lost. Then the server
//! is told, and its answer awaited. Where there are no frames, FIN takes the place of Close.

use std::{sync::Arc, time::Duration};

use tidegate_net::End;
use tidegate_wire::websocket::{Control, Sender};

use super::{Pump, frames::Frames};
use crate::ask::{Ask, How};

/// Each side has so long to answer; a message has so long to end, and then a frame.
pub(super) const WAIT: Duration = Duration::from_secs(5);

/// A tunnel that was asked to close.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) ask: Arc<Ask>,
    pub(super) stage: Stage,
    /// It waits for the end of a message, not only of a frame.
    pub(super) patient: bool,
    /// The client has been told, or the tunnel was cut: whoever hangs up now, it was not their idea.
    pub(super) told: bool,
    pub(super) injected: u64,
    pub(super) swallowed: u64,
    pub(super) discarded: u64,
}

/// What it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A place between two frames, and that the client takes our Close.
    TellClient,
    /// The client's answer, or its end.
    HearClient,
    /// The server's end.
    HearServer,
    /// That both take their FIN.
    Cut,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is something to move.
    Again,
    Over,
    Wait,
}

impl Closing {
    pub(super) fn new(ask: Arc<Ask>, stage: Stage) -> Self {
        let patient = ask.how != How::IfBetweenFrames;
        Self { ask, stage, patient, told: false, injected: 0, swallowed: 0, discarded: 0 }
    }

    /// Whether a Close of ours is on its way.
    pub(super) fn has_said(&self) -> bool {
        self.injected > 0
    }

    /// The Close frame, as if that side had sent it.
    pub(super) fn goodbye(&mut self, sender: Sender) -> Box<Control> {
        let mask = (sender == Sender::Client).then(|| fastrand::u32(..).to_be_bytes());
        let close = Control::close(self.ask.code.get(), &self.ask.reason, mask);
        self.injected += close.as_bytes().len() as u64;
        Box::new(close)
    }
}

impl<C: End, S: End> Pump<C, S> {
    /// Takes the next step of a close, if it is time.
    pub(super) fn advance(&mut self) -> Step {
        match self.closing.as_ref().map(|closing| closing.stage) {
            None => Step::Wait,
            Some(Stage::TellClient) => self.tell_client(),
            Some(Stage::HearClient) if self.has_heard_client() => self.tell_server(),
            Some(Stage::HearServer) if self.to_client.ended && self.to_server.is_through() => {
                Step::Over
            }
            Some(Stage::Cut) if self.to_client.closed && self.to_server.closed => Step::Over,
            Some(Stage::HearClient | Stage::HearServer | Stage::Cut) => Step::Wait,
        }
    }

    /// It has waited long enough; `true`: it is over.
    pub(super) fn give_up(&mut self) -> bool {
        match self.closing.as_ref().map(|closing| closing.stage) {
            Some(Stage::TellClient) => self.insist(),
            Some(Stage::HearClient) => _ = self.tell_server(),
            Some(Stage::HearServer | Stage::Cut) | None => return true,
        }
        false
    }

    /// Ends it without a word.
    pub(super) fn cut(&mut self, ask: Arc<Ask>) {
        match &mut self.closing {
            Some(closing) => closing.ask = ask,
            None => self.closing = Some(Box::new(Closing::new(ask, Stage::Cut))),
        }
        self.sever();
    }

    /// Notes it once the client has been told, also when the tunnel breaks at that moment.
    pub(super) fn note_told(&mut self) {
        let down = &self.to_client;
        let is_out = down.drops && down.is_through();
        let tells = |closing: &&mut Box<Closing>| closing.stage == Stage::TellClient && is_out;
        if let Some(closing) = self.closing.as_mut().filter(tells) {
            closing.told = true;
            closing.ask.tally.count_closed();
            closing.stage = Stage::HearClient;
        }
    }

    /// Whether the client has answered, or has gone, or had closed before it could know of ours.
    fn has_heard_client(&self) -> bool {
        let up = &self.to_server;
        let has_closed = |frames: &Frames| frames.up.has_closed() && frames.up.is_at_boundary();
        up.drops || up.ended || self.frames.as_deref().is_some_and(has_closed)
    }

    pub(super) fn tell_client(&mut self) -> Step {
        let Some(closing) = &mut self.closing else { return Step::Wait };
        let down = &mut self.to_client;
        if down.drops {
            return Step::Wait;
        }
        if down.ended {
            // The server has left by itself, and there is nothing to add.
            if !down.closed {
                return Step::Wait;
            }
            closing.stage = Stage::HearClient;
            return Step::Again;
        }
        match self.frames.as_ref().filter(|frames| frames.are_sound()) {
            Some(frames) if frames.may_close(closing.patient) => {
                down.append(closing.goodbye(Sender::Server).as_bytes());
            }
            Some(_) => return Step::Wait,
            None if down.waiting() == 0 => down.finishes = true,
            None => return Step::Wait,
        }
        down.drops = true;
        Step::Again
    }

    /// The client has answered, has gone, or has had its time.
    fn tell_server(&mut self) -> Step {
        let Some(closing) = &mut self.closing else { return Step::Wait };
        let up = &mut self.to_server;
        if !up.drops {
            match &self.frames {
                Some(frames) if frames.may_answer(closing) && !up.closed => {
                    up.append(closing.goodbye(Sender::Client).as_bytes());
                }
                _ => up.finishes = true,
            }
            up.drops = true;
        }
        self.to_client.finishes = true;
        closing.stage = Stage::HearServer;
        Step::Again
    }

    /// A message that does not end may be interrupted, a frame may not.
    fn insist(&mut self) {
        match &mut self.closing {
            Some(closing) if closing.patient => closing.patient = false,
            _ => self.sever(),
        }
    }

    fn sever(&mut self) {
        let Some(closing) = &mut self.closing else { return };
        if !closing.told {
            closing.told = true;
            closing.ask.tally.count_cut();
        }
        closing.stage = Stage::Cut;
        for direction in [&mut self.to_client, &mut self.to_server] {
            direction.drops = true;
            direction.finishes = true;
        }
    }
}
