//! Tables for people: columns as wide as what stands in them, and on a terminal never wider than it.

use std::fmt::Write as _;

use crate::{
    screen::Tone,
    text::{clean, fitted, width},
};

/// Between two columns.
const GAP: usize = 2;
/// No column of text is made narrower than that.
const NARROWEST: usize = 6;

/// A column: numbers go to the right.
#[derive(Clone, Copy)]
pub(crate) enum Column {
    Number(&'static str),
    Text(&'static str),
    /// Text that is typed again elsewhere, such as an address, and of no use when it is cut: the
    /// terminal wraps a line that has no room for it.
    Whole(&'static str),
}

/// One place in a table. What is made of anything is clean from then on.
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

/// Rows under a head.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As text, a line for each row. `limit` is the width of the terminal, if it is one.
    pub(crate) fn render(&self, limit: Option<usize>, colour: bool) -> String {
        let widths = self.widths(limit);
        let head: Vec<Cell> = self.columns.iter().map(|column| column.head()).collect();
        let mut page = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, column), columns) in row.iter().zip(&self.columns).zip(&widths) {
                cell.put(&mut line, *column, *columns, colour);
                line.push_str(&" ".repeat(GAP));
            }
            page.push_str(line.trim_end());
            page.push('\n');
        }
        page
    }

    /// Where the terminal is too narrow, the widest column of text gives way first.
    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let widest = |(place, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(place));
            cells.map(|cell| width(&cell.text)).max().unwrap_or(0).max(width(column.title()))
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(widest).collect();
        let Some(limit) = limit else { return widths };
        let gaps = GAP * self.columns.len().saturating_sub(1);
        let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(limit);
        while over > 0 {
            let texts = self.columns.iter().zip(&mut widths);
            let texts = texts.filter(|(column, _)| matches!(column, Column::Text(_)));
            let Some((_, widest)) = texts.max_by_key(|(_, columns)| **columns) else { break };
            if *widest <= NARROWEST {
                break;
            }
            *widest -= 1;
            over -= 1;
        }
        widths
    }
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Number(title) | Self::Text(title) | Self::Whole(title) => title,
        }
    }

    fn head(self) -> Cell {
        Cell { text: self.title().to_owned(), tone: Tone::Head }
    }
}

impl Cell {
    pub(crate) fn new(what: impl ToString) -> Self {
        Self { text: clean(&what.to_string()).into_owned(), tone: Tone::Plain }
    }

    #[must_use]
    pub(crate) fn toned(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    fn put(&self, line: &mut String, column: Column, columns: usize, colour: bool) {
        let shown = fitted(&self.text, columns);
        let space = " ".repeat(columns.saturating_sub(width(&shown)));
        let (begin, end) = if colour { self.tone.escapes() } else { ("", "") };
        let _ = match column {
            Column::Number(_) => write!(line, "{space}{begin}{shown}{end}"),
            Column::Text(_) | Column::Whole(_) => write!(line, "{begin}{shown}{end}{space}"),
        };
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(what: T) -> Self {
        Self::new(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let columns = [Column::Text("NAME"), Column::Text("BALANCE"), Column::Number("ACTIVE")];
        let mut table = Table::new(&columns);
        table.row(["chat".into(), "round_robin".into(), 7.into()]);
        table.row(["a\u{1b}[2Jlong_name_of_a_pool".into(), "hash".into(), 12_345.into()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_nothing_is_cut_when_piped() {
        let want = "NAME                          BALANCE      ACTIVE\n\
                    chat                          round_robin       7\n\
                    a\\u{1b}[2Jlong_name_of_a_pool  hash          12345\n";
        let shown = table().render(None, false);
        assert_eq!(shown.replace(' ', ""), want.replace(' ', ""));
        let ends: Vec<usize> = shown.lines().map(width).collect();
        assert_eq!(ends[0], ends[1]);
        assert_eq!(ends[1], ends[2]);
    }

    #[test]
    fn on_a_terminal_no_line_is_wider_than_it() {
        for limit in [30, 40, 50] {
            let shown = table().render(Some(limit), false);
            assert!(shown.lines().all(|line| width(line) <= limit), "{limit}:\n{shown}");
            assert!(shown.contains("12345"), "{shown}");
        }
        table().render(Some(0), true);
    }

    #[test]
    fn what_is_to_be_typed_again_is_never_cut() {
        let mut table = Table::new(&[Column::Whole("ADDRESS"), Column::Text("NOTES")]);
        table.row(["shop.internal.example:8080@10.0.0.1".into(), "some of them".into()]);
        for limit in [0, 20, 40] {
            let shown = table.render(Some(limit), false);
            assert!(shown.contains("shop.internal.example:8080@10.0.0.1  some"), "{shown}");
        }
    }
}
