//! Fields that are passed on as they came. Most of a head is: consecutive lines that are written as
//! we would write them are copied in one piece.

use std::ops::Range;

use httparse::Header;
use tidegate_h1::HeadWriter;

/// Passes fields on from `source`, the head they lie in.
pub(crate) struct Lines<'s> {
    source: &'s [u8],
    /// Lines that are to be copied and have not been.
    run: Range<usize>,
}

impl<'s> Lines<'s> {
    pub(crate) fn of(source: &'s [u8]) -> Self {
        Self { source, run: 0..0 }
    }

    /// The field goes on.
    pub(crate) fn pass(&mut self, head: &mut HeadWriter<'_>, field: &Header<'_>) {
        match self.line(field) {
            Some(line) if line.start == self.run.end => self.run.end = line.end,
            Some(line) => {
                self.flush(head);
                self.run = line;
            }
            None => {
                self.flush(head);
                head.field(field.name, field.value);
            }
        }
    }

    /// Must follow the last field, and precede whatever is written after it.
    pub(crate) fn flush(&mut self, head: &mut HeadWriter<'_>) {
        head.lines(&self.source[std::mem::take(&mut self.run)]);
    }

    /// Where the line of a field lies, if it reads `Name: value` and ends in CRLF. A lone LF, other
    /// white space or a value that lies elsewhere makes it a field to be written anew.
    fn line(&self, field: &Header<'_>) -> Option<Range<usize>> {
        let base = self.source.as_ptr().addr();
        let start = field.name.as_ptr().addr().checked_sub(base)?;
        let value = field.value.as_ptr().addr().checked_sub(base)?;
        let (name_end, value_end) = (start + field.name.len(), value + field.value.len());
        let plain = value == name_end + 2
            && self.source.get(name_end..value)? == b": "
            && self.source.get(value_end..value_end + 2)? == b"\r\n";
        plain.then_some(start..value_end + 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_are_copied_and_odd_ones_written_anew() {
        let source = b"A: 1\r\nB: 2\r\nDrop: x\r\nC:3\r\nD: 4\nE:  5 \r\nF: \r\nG: 6\r\n\r\n";
        let mut storage = [httparse::EMPTY_HEADER; 8];
        let parsed = httparse::parse_headers(source, &mut storage).expect("it parses");
        let httparse::Status::Complete((_, headers)) = parsed else { panic!("incomplete") };
        let mut out = Vec::new();
        let mut head = HeadWriter::response(&mut out, 200, "");
        let mut lines = Lines::of(source);
        for field in headers.iter().filter(|field| field.name != "Drop") {
            lines.pass(&mut head, field);
        }
        lines.flush(&mut head);
        head.finish();
        let expected =
            "HTTP/1.1 200 \r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: \r\nG: 6\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
