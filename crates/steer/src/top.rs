//! `tidegate top`: pools, servers and drains on the whole screen, asked for again and again. What is
//! shown is a pure function of the state (`view`), and the state changes only by what was heard
//! (`sample`) and by keys (`keys`).

mod grid;
mod keys;
mod rates;
mod sample;
mod state;
mod view;

use std::time::Duration;

use clap::Args;
use crossterm::event::{Event, KeyEventKind, read};
use ratatui::{DefaultTerminal, buffer::Buffer, layout::Rect};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use crate::{Failure, client::Client, command::Session};
use sample::{Heard, Sample};
use state::State;

/// An answer of ten thousand pools takes a moment over a slow line; a dead one is told soon.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a frame has where there is no terminal.
const PAPER: (u16, u16) = (80, 24);
/// Keys that were pressed and not seen yet.
const MOST_KEYS: usize = 64;

#[derive(Args, Clone, Debug)]
pub struct Top {
    /// How often to ask
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Print one frame as plain text, and end
    #[arg(long)]
    once: bool,
}

/// The signals that end it; the terminal has to be put in order before.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Top {
    pub(crate) async fn run(&self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        session.client.patience = PATIENCE;
        if self.once {
            return self.print(session).await;
        }
        if !session.screen.is_terminal || session.json {
            let why = "top wants a terminal; --once prints one frame, and for scripts there are \
                       status and upstream list";
            return Err(Failure::Usage(why.into()));
        }
        // Who cannot be reached at all is told so in plain words, with the exit code for it.
        let first = Sample::take(&mut session.client, None).await?;
        let mut state = State::new(session.client.place().to_string(), session.screen.colour);
        state.hear(Ok(first));
        let cannot = |error| Failure::Usage(format!("this terminal cannot be used: {error}"));
        let mut terminal = ratatui::try_init().map_err(|error| {
            ratatui::restore();
            cannot(error)
        })?;
        let shown = self.watch(&mut session.client, &mut state, &mut terminal).await;
        ratatui::restore();
        shown.map_err(cannot)
    }

    /// Two looks, so that there are rates.
    async fn print(&self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        let mut state = State::new(session.client.place().to_string(), false);
        let first = Sample::take(&mut session.client, None).await?;
        state.hear(Ok(first));
        sleep(self.interval).await;
        let second = Sample::take(&mut session.client, state.watched()).await?;
        state.hear(Ok(second));
        let columns = session.screen.width.and_then(|width| u16::try_from(width).ok());
        let page = printed(&state, columns.unwrap_or(PAPER.0), PAPER.1);
        session.screen.show(&page);
        Ok(())
    }

    async fn watch(
        &self,
        client: &mut Client,
        state: &mut State,
        terminal: &mut DefaultTerminal,
    ) -> std::io::Result<()> {
        let (watched, what) = watch::channel(state.watched().map(str::to_owned));
        let (tell, mut heard) = mpsc::channel(1);
        let mut keys = keys_pressed();
        let mut ends = Ends::new()?;
        let asking = ask_again_and_again(client, self.interval, what, tell);
        let showing = async {
            while !state.is_over() {
                terminal.draw(|frame| view::draw(state, frame.area(), frame.buffer_mut()))?;
                tokio::select! {
                    sample = heard.recv() => match sample {
                        Some(sample) => state.hear(sample),
                        None => break,
                    },
                    event = keys.recv() => match event {
                        Some(Event::Key(key)) if key.kind != KeyEventKind::Release => state.press(key),
                        Some(_) => {}
                        None => break,
                    },
                    () = ends.come() => break,
                }
                watched.send_if_modified(|now| {
                    let want = state.watched();
                    let is_other = now.as_deref() != want;
                    if is_other {
                        *now = want.map(str::to_owned);
                    }
                    is_other
                });
            }
            Ok(())
        };
        tokio::select! {
            shown = showing => shown,
            () = asking => Ok(()),
        }
    }
}

/// Asks once an interval, and at once when another pool is looked at.
async fn ask_again_and_again(
    client: &mut Client,
    interval: Duration,
    mut what: watch::Receiver<Option<String>>,
    tell: mpsc::Sender<Heard>,
) {
    loop {
        // Whichever comes first; that the other side is gone ends it below.
        let _ = timeout(interval, what.changed()).await;
        let pool = what.borrow_and_update().clone();
        let heard = Sample::take(client, pool.as_deref()).await;
        if tell.send(heard.map_err(|failure| failure.to_string())).await.is_err() {
            return;
        }
    }
}

/// Reading them blocks, so it has a thread of its own, which ends with the process.
fn keys_pressed() -> mpsc::Receiver<Event> {
    let (send, pressed) = mpsc::channel(MOST_KEYS);
    std::thread::spawn(move || {
        while let Ok(event) = read() {
            if send.blocking_send(event).is_err() {
                return;
            }
        }
    });
    pressed
}

/// A frame as lines of text.
fn printed(state: &State, columns: u16, rows: u16) -> String {
    let area = Rect::new(0, 0, columns, rows);
    let mut buffer = Buffer::empty(area);
    view::draw(state, area, &mut buffer);
    let mut page = String::new();
    for row in 0..rows {
        let symbols = (0..columns).filter_map(|column| Some(buffer.cell((column, row))?.symbol()));
        let line: String = symbols.collect();
        page.push_str(line.trim_end());
        page.push('\n');
    }
    page
}

impl Ends {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn come(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// Not so short that asking is all that the proxy does.
fn interval(text: &str) -> Result<Duration, String> {
    let span = tidegate_model::Span::parse(text).map_err(|error| error.to_string())?;
    let interval = span.as_duration();
    if interval < Duration::from_millis(100) {
        return Err("not more often than every 100ms".into());
    }
    Ok(interval)
}

#[cfg(test)]
mod tests;
