//! Rows of columns in a rectangle: whatever its size, what does not fit is left out.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
};

use crate::{
    screen::Tone,
    text::{clean, fitted, width},
};

/// A column. The first one takes what the others leave; of those, the last ones give way.
#[derive(Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) columns: u16,
    pub(super) is_number: bool,
}

/// What stands in a place.
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// The first column is never narrower while there is another to leave out.
const NARROWEST: u16 = 16;
const GAP: u16 = 1;

pub(super) fn number(title: &'static str, columns: u16) -> Column {
    Column { title, columns, is_number: true }
}

pub(super) fn text(title: &'static str, columns: u16) -> Column {
    Column { title, columns, is_number: false }
}

pub(super) fn cell(text: impl ToString) -> Cell {
    toned(text, Tone::Plain)
}

pub(super) fn toned(text: impl ToString, tone: Tone) -> Cell {
    Cell { text: clean(&text.to_string()).into_owned(), tone }
}

/// A head and as many of the rows as fit, from `first` on; asked for only those.
pub(super) fn rows(
    area: Rect,
    buffer: &mut Buffer,
    columns: &[Column],
    shown: &[Vec<Cell>],
    marked: Option<usize>,
    colour: bool,
) {
    let widths = widths(columns, area.width);
    let head: Vec<Cell> = columns.iter().map(|column| toned(column.title, Tone::Head)).collect();
    for (place, row) in std::iter::once(&head).chain(shown).enumerate() {
        let Ok(down) = u16::try_from(place) else { return };
        if down >= area.height {
            return;
        }
        let line = Rect::new(area.x, area.y + down, area.width, 1);
        let mut left = line.x;
        for ((cell, column), columns) in row.iter().zip(columns).zip(&widths) {
            put(buffer, left, line, cell, column.is_number, *columns, colour);
            left = left.saturating_add(columns + GAP);
        }
        if marked.is_some_and(|marked| marked + 1 == place) {
            buffer.set_style(line, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
}

/// One line, cut where the rectangle ends.
pub(super) fn line(area: Rect, buffer: &mut Buffer, row: u16, text: &str, style: Style) {
    if row < area.height {
        let shown = fitted(text, area.width.into());
        buffer.set_stringn(area.x, area.y + row, &shown, area.width.into(), style);
    }
}

pub(super) fn style(tone: Tone, colour: bool) -> Style {
    match tone {
        Tone::Head => Style::new().add_modifier(Modifier::BOLD),
        Tone::Bad if colour => Style::new().fg(Color::Red),
        Tone::Good if colour => Style::new().fg(Color::Green),
        Tone::Soft if colour => Style::new().fg(Color::Yellow),
        _ => Style::new(),
    }
}

fn put(
    buffer: &mut Buffer,
    left: u16,
    line: Rect,
    cell: &Cell,
    is_number: bool,
    columns: u16,
    colour: bool,
) {
    let room = columns.min(line.right().saturating_sub(left));
    if room == 0 {
        return;
    }
    let shown = fitted(&cell.text, room.into());
    let used = u16::try_from(width(&shown)).unwrap_or(room).min(room);
    let indent = if is_number { room - used } else { 0 };
    buffer.set_stringn(left + indent, line.y, &shown, room.into(), style(cell.tone, colour));
}

/// How wide each is; those that find no room are not there.
fn widths(columns: &[Column], room: u16) -> Vec<u16> {
    let Some((first, others)) = columns.split_first() else { return Vec::new() };
    let mut kept = others.len();
    let taken = |kept: usize| -> u16 { others[..kept].iter().map(|one| one.columns + GAP).sum() };
    while kept > 0 && taken(kept) + NARROWEST > room {
        kept -= 1;
    }
    let left = room.saturating_sub(taken(kept));
    // A list of short names needs no gulf between them and their numbers.
    let first = if first.columns > 0 { left.min(first.columns.max(NARROWEST)) } else { left };
    std::iter::once(first).chain(others[..kept].iter().map(|one| one.columns)).collect()
}
