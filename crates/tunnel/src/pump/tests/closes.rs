//! The promise about closing between two frames, as a law: whatever the streams, their pieces and
//! the moment, each side hears whole and unaltered frames and at most one Close of ours, in its
//! place. `played` is an end without a socket, `speaker` what ends say, `world` what happens,
//! `judge` what tungstenite makes of the bytes that came out.
//!
//! `TIDEGATE_CLOSES` is how many cases are played; a failure names its case, and with that in
//! `TIDEGATE_CLOSE` it is played alone.

mod judge;
mod played;
mod python;
mod speaker;
mod world;

use std::{env, thread};

use tidegate_model::Name;
use tidegate_net::{Scratch, Timers};
use tidegate_table::{Close, ServerState};

use super::super::*;
use judge::{Heard, May, judge};
use played::Played;
use speaker::What;
use world::{Asking, HEAD, Stock, World};

/// Cases of an everyday run, and of one where nothing is optimised.
const CASES: u64 = 1_000_000;
const CASES_UNOPTIMISED: u64 = 20_000;
/// So many cases see everything.
const ENOUGH: u64 = 10_000;

/// How often what the laws are about has come up.
#[derive(Debug, Default)]
struct Seen {
    closes_to_clients: u64,
    closes_to_servers: u64,
    closes_within_messages: u64,
    closes_of_their_own: u64,
    passed_over: u64,
    cuts: u64,
    ends_as_bytes: u64,
    pings: u64,
    dead_peers: u64,
}

/// Names the case that is being played when it fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("play it alone with TIDEGATE_CLOSE={}", self.0);
        }
    }
}

#[test]
fn a_close_stands_between_two_frames_and_nothing_is_lost() {
    if let Some(case) = number("TIDEGATE_CLOSE") {
        return play(&stock(), case, &mut Seen::default());
    }
    let cases = number("TIDEGATE_CLOSES").unwrap_or_else(everyday);
    let first = fastrand::u64(..);
    let threads = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let part = |part| {
        let (stock, mut seen) = (stock(), Seen::default());
        for case in (part..cases).step_by(threads as usize) {
            play(&stock, first.wrapping_add(case), &mut seen);
        }
        seen
    };
    let seen = thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|n| scope.spawn(move || part(n))).collect();
        let seen = parts.into_iter().map(|part| part.join().expect("every case holds"));
        seen.fold(Seen::default(), Seen::and)
    });
    println!("{cases} cases: {seen:?}");
    assert!(cases < ENOUGH || seen.counts().iter().all(|count| *count > 0), "{seen:?}");
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Only the place of the program tells that it was not optimised: `quick` has all checks, too.
fn everyday() -> u64 {
    let program = env::current_exe().unwrap_or_default();
    let is_optimised = !program.iter().any(|part| part == "debug");
    if is_optimised { CASES } else { CASES_UNOPTIMISED }
}

impl Seen {
    fn counts(&self) -> [u64; 9] {
        [
            self.closes_to_clients,
            self.closes_to_servers,
            self.closes_within_messages,
            self.closes_of_their_own,
            self.passed_over,
            self.cuts,
            self.ends_as_bytes,
            self.pings,
            self.dead_peers,
        ]
    }

    fn and(self, other: Self) -> Self {
        Self {
            closes_to_clients: self.closes_to_clients + other.closes_to_clients,
            closes_to_servers: self.closes_to_servers + other.closes_to_servers,
            closes_within_messages: self.closes_within_messages + other.closes_within_messages,
            closes_of_their_own: self.closes_of_their_own + other.closes_of_their_own,
            passed_over: self.passed_over + other.passed_over,
            cuts: self.cuts + other.cuts,
            ends_as_bytes: self.ends_as_bytes + other.ends_as_bytes,
            pings: self.pings + other.pings,
            dead_peers: self.dead_peers + other.dead_peers,
        }
    }

    fn note(&mut self, world: &World, down: &Heard, up: &Heard) {
        let count = |of: fn(&Asking) -> u64| world.asks.iter().map(of).sum::<u64>();
        let (closed, cut) = (count(|ask| ask.tally.closed()), count(|ask| ask.tally.cut()));
        self.closes_to_clients += u64::from(down.close.is_some());
        self.closes_to_servers += u64::from(up.close.is_some());
        self.closes_within_messages += u64::from(down.close == Some(true));
        self.closes_of_their_own += u64::from(down.own_close || up.own_close);
        self.passed_over += count(|ask| (ask.was_looked_at && !ask.was_taken).into());
        self.cuts += cut;
        self.ends_as_bytes += u64::from(closed == 1 && down.close.is_none());
        self.pings += down.pings + up.pings;
        self.dead_peers += u64::from(world.cause == Some(Close::ErrorPing));
    }
}

fn stock() -> Stock {
    let pool = Name::new("p").expect("a name");
    Stock {
        server: Arc::new(ServerState::new(&pool, "10.0.0.1:80", 0, 1)),
        listener: "edge".into(),
        timer: Timers::default().timer().key(),
        scratch: Scratch::default(),
    }
}

fn play(stock: &Stock, case: u64, seen: &mut Seen) {
    let _named = Named(case);
    let mut world = World::draw(stock, case, false);
    world.play();
    let [down, up] = check(&world);
    seen.note(&world, &down, &up);
}

/// All laws that can be told from the end.
fn check(world: &World) -> [Heard; 2] {
    let (client, server) = (&world.pump.client, &world.pump.server);
    settles(world);
    let payload = world.closes().map_or(Vec::new(), payload);
    let may = |masked| May { close: &payload, ping: world.pings, masked };
    let down = judge(client.heard.get(HEAD.len()..).unwrap_or_default(), server, &may(false));
    let up = judge(&server.heard, client, &may(true));
    assert!(client.heard.starts_with(HEAD) || HEAD.starts_with(&client.heard));
    assert!(!down.is_torn || world.pump.to_client.waiting() > 0, "{down:?}");
    assert!(!up.is_torn || world.pump.to_server.waiting() > 0, "{up:?}");
    if world.closes().is_none() {
        assert!(down.close.is_none() && up.close.is_none(), "nobody asked for a Close");
    }
    check_client(world, &down);
    check_server(world, &up, &down);
    check_tally(world, &down);
    [down, up]
}

fn check_client(world: &World, down: &Heard) {
    if let Some(in_message) = down.close {
        let asking = world.closes().expect("somebody asked");
        let may_interrupt =
            asking.how == How::IfBetweenFrames || asking.how == How::WhenQuiet && asking.was_urged;
        assert!(!in_message || may_interrupt, "a message was interrupted");
    }
    let direction = &world.pump.to_client;
    if direction.closed && direction.ended && !direction.drops {
        assert!(world.pump.client.heard_end || world.pump.client.is_reset);
        assert_all(&world.pump.server, down);
    }
}

fn check_server(world: &World, up: &Heard, down: &Heard) {
    let client = &world.pump.client;
    let direction = &world.pump.to_server;
    if direction.closed && direction.ended && !direction.drops {
        assert_all(client, up);
    }
    let is_polite = world.pump.closing.is_some() && !world.is_broken() && !world.ran_out;
    assert!(!is_polite || direction.waiting() == 0, "something is left for the server");
    let close = client.first(What::Close);
    if let (Some(close), Some(answer)) = (close, client.heard_close)
        && down.close.is_some()
        && close >= answer
    {
        assert!(!up.own_close, "an answer to us went on");
    }
    if up.close.is_some() {
        let deaf = world.deaf_to_client.expect("it had its last word");
        let last = close.map_or(deaf, |close| close.min(deaf));
        assert_eq!(beyond_pongs(client, up.delivered), beyond_pongs(client, last));
    } else if down.close.is_some() && direction.waiting() == 0 && !world.is_broken() {
        // It was told whenever the client has answered, or has gone instead, behind a whole frame.
        let deaf = world.deaf_to_client.unwrap_or(client.taken);
        let answered = close.is_some_and(|at| Some(at) >= client.heard_close && at <= deaf);
        let gone = client.ended_knowing && close.is_none() && deaf == client.said.len();
        let gone = gone && client.first(What::Bytes).is_none();
        assert!(!answered && !gone, "the server was not told");
    }
}

/// Everything was heard.
fn assert_all(speaker: &Played, heard: &Heard) {
    assert_eq!(beyond_pongs(speaker, heard.delivered), speaker.said.len(), "{heard:?}");
}

/// The place `at` in what was said, but behind answers to the tunnel itself, which do not go on, and
/// not within a pong, for it may take all of one to tell.
fn beyond_pongs(speaker: &Played, at: usize) -> usize {
    let ends = speaker.frames.iter().skip(1).map(|said| said.start).chain([speaker.said.len()]);
    let mut beyond = at;
    for (said, end) in speaker.frames.iter().zip(ends) {
        match said.what {
            What::OwnPong if (said.start..end).contains(&beyond) => beyond = end,
            What::Pong if (said.start..end).contains(&beyond) => beyond = said.start,
            _ => {}
        }
    }
    beyond
}

fn check_tally(world: &World, down: &Heard) {
    let closed: u64 = world.asks.iter().map(|asking| asking.tally.closed()).sum();
    let cut: u64 = world.asks.iter().map(|asking| asking.tally.cut()).sum();
    assert!(closed + cut <= 1, "{closed} closed, {cut} cut");
    let client = &world.pump.client;
    let frames_over = world.kind == Kind::Tcp
        || world.pump.server.first(What::Bytes).is_some_and(|at| at < world.pump.server.taken);
    match closed {
        0 => assert!(down.close.is_none() || cut == 1, "a Close was not counted"),
        _ => assert!(
            down.close.is_some() || frames_over && (client.heard_end || client.is_reset),
            "{down:?}"
        ),
    }
    assert_eq!(closed + cut == 1, world.cause == Some(Close::Drain), "{:?}", world.cause);
    for Asking { how, tally, was_taken, .. } in &world.asks {
        assert!(*how != How::Cut || tally.closed() == 0, "cut means cut");
        assert!(*was_taken || tally.closed() + tally.cut() == 0, "it was passed over");
    }
}

/// The account is that of what really came and went.
fn settles(world: &World) {
    let (client, server, pump) = (&world.pump.client, &world.pump.server, &world.pump);
    let account = pump.account();
    super::settles(account);
    assert_eq!(account.received, (HEAD.len() + client.taken + server.taken) as u64);
    assert_eq!(account.sent, (client.heard.len() + server.heard.len()) as u64);
    assert_eq!(pump.moved(), [client.heard.len() as u64, server.heard.len() as u64]);
}

/// What a Close says by RFC 6455 §5.5.1, as far as there is room.
fn payload(asking: &Asking) -> Vec<u8> {
    let mut reason = String::new();
    for letter in asking.reason.chars() {
        if reason.len() + letter.len_utf8() > 123 {
            break;
        }
        reason.push(letter);
    }
    [&asking.code.get().to_be_bytes(), reason.as_bytes()].concat()
}
