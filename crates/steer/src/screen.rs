//! Where a command writes: whether that is a terminal, how wide it is, and whether it has colours.

use std::io::{IsTerminal as _, Write};

use crate::{Colour, Environment, Failure, Options, table::Table, text::clean_json};

/// Standard output and standard error, or what takes their place in a test.
pub struct Screen<'w> {
    out: &'w mut dyn Write,
    err: &'w mut dyn Write,
    /// The width of the terminal; `None` where there is none, and nothing is cut.
    pub width: Option<usize>,
    pub colour: bool,
    /// Whether lines may be written over.
    pub is_terminal: bool,
}

/// How a word is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Bad,
    Good,
    Head,
    Plain,
    /// In between, or of little interest.
    Soft,
}

impl<'w> Screen<'w> {
    pub(crate) fn of_process(
        options: &Options,
        environment: &Environment,
        out: &'w mut std::io::Stdout,
        err: &'w mut std::io::Stderr,
    ) -> Self {
        let is_terminal = out.is_terminal();
        let columns = || crossterm::terminal::size().map_or(80, |(columns, _)| columns.into());
        let colour = match options.color {
            Colour::Always => true,
            Colour::Auto => is_terminal && !environment.no_color,
            Colour::Never => false,
        };
        Self { width: is_terminal.then(columns), colour, is_terminal, out, err }
    }

    /// Piped somewhere.
    pub fn piped(out: &'w mut dyn Write, err: &'w mut dyn Write) -> Self {
        Self { out, err, width: None, colour: false, is_terminal: false }
    }

    /// Writes what is ready to be shown. Whoever reads along may go away (`| head`): nothing is
    /// left to do then, and nobody to tell.
    pub(crate) fn show(&mut self, text: &str) {
        if self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).is_err() {
            std::process::exit(0);
        }
    }

    pub(crate) fn line(&mut self, text: &str) {
        self.show(&format!("{text}\n"));
    }

    /// Writes a table, or what to say when there is nothing in it.
    pub(crate) fn table(&mut self, table: &Table, otherwise: &str) {
        if table.is_empty() {
            self.line(otherwise);
        } else {
            let page = table.render(self.width, self.colour);
            self.show(&page);
        }
    }

    /// Writes the API's answer: as it came, or laid out for a reader.
    pub(crate) fn json(&mut self, body: &[u8]) {
        let value = || serde_json::from_slice::<serde_json::Value>(body).ok();
        match self.is_terminal.then(value).flatten() {
            Some(value) => self.line(&clean_json(&format!("{value:#}"))),
            None => {
                let text = String::from_utf8_lossy(body);
                let text = if self.is_terminal { clean_json(&text) } else { text };
                self.line(text.trim_end_matches('\n'));
            }
        }
    }

    /// The text in that tone, where there are colours.
    pub(crate) fn toned(&self, text: &str, tone: Tone) -> String {
        let (begin, end) = if self.colour { tone.escapes() } else { ("", "") };
        format!("{begin}{text}{end}")
    }

    pub(crate) fn complain(&mut self, failure: &Failure) {
        self.remark(&format!("tidegate: {failure}"));
    }

    /// Says something beside the answer. If nobody hears it there is nobody to tell.
    pub(crate) fn remark(&mut self, text: &str) {
        let _ = writeln!(self.err, "{text}");
    }
}

impl Tone {
    /// What begins and ends it on a terminal.
    pub(crate) fn escapes(self) -> (&'static str, &'static str) {
        match self {
            Self::Bad => ("\u{1b}[31m", "\u{1b}[0m"),
            Self::Good => ("\u{1b}[32m", "\u{1b}[0m"),
            Self::Head => ("\u{1b}[1m", "\u{1b}[0m"),
            Self::Plain => ("", ""),
            Self::Soft => ("\u{1b}[33m", "\u{1b}[0m"),
        }
    }

    /// What the state of a server, a drain or a tunnel means.
    pub(crate) fn of_state(state: &str) -> Self {
        match state {
            "up" | "running" | "open" => Self::Good,
            "down" | "unhealthy" | "ejected" => Self::Bad,
            "draining" | "checking" | "paused" | "closing" | "half_closed" => Self::Soft,
            _ => Self::Plain,
        }
    }
}
