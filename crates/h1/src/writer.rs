//! The one serialiser for heads. Everything that goes out passes here, and nothing it writes can
//! end a line but the line's own end.

/// Writes one head into a buffer.
#[derive(Debug)]
pub struct HeadWriter<'o>(&'o mut Vec<u8>);

impl<'o> HeadWriter<'o> {
    /// Begins a request. Method and target come from a judged head.
    pub fn request(out: &'o mut Vec<u8>, method: &str, target: &[u8]) -> Self {
        let mut writer = Self(out);
        writer.put(method.as_bytes());
        writer.0.push(b' ');
        writer.put(target);
        writer.0.extend_from_slice(b" HTTP/1.1\r\n");
        writer
    }

    /// Begins a response.
    pub fn response(out: &'o mut Vec<u8>, status: u16, reason: &str) -> Self {
        let mut writer = Self(out);
        writer.0.extend_from_slice(b"HTTP/1.1 ");
        writer.put(itoa::Buffer::new().format(status).as_bytes());
        writer.0.push(b' ');
        writer.put(reason.as_bytes());
        writer.0.extend_from_slice(b"\r\n");
        writer
    }

    pub fn field(&mut self, name: &str, value: &[u8]) {
        self.put(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.put(value);
        self.0.extend_from_slice(b"\r\n");
    }

    /// Whole lines of a judged head, each with its CRLF, as they are.
    pub fn lines(&mut self, lines: &[u8]) {
        debug_assert!(lines.is_empty() || lines.ends_with(b"\r\n"), "half a line");
        self.0.extend_from_slice(lines);
    }

    pub fn length(&mut self, length: u64) {
        self.field("Content-Length", itoa::Buffer::new().format(length).as_bytes());
    }

    pub fn chunked(&mut self) {
        self.field("Transfer-Encoding", b"chunked");
    }

    /// How many bytes were written so far into the buffer.
    pub fn position(&self) -> usize {
        self.0.len()
    }

    pub fn finish(self) {
        self.0.extend_from_slice(b"\r\n");
    }

    /// Heads are judged before and values of our own are made of safe parts; should one slip
    /// through all the same, a line end in it becomes a space.
    fn put(&mut self, bytes: &[u8]) {
        let at = self.0.len();
        self.0.extend_from_slice(bytes);
        if bytes.iter().fold(false, |found, b| found | matches!(b, b'\r' | b'\n' | 0)) {
            debug_assert!(false, "a line end reached the serialiser");
            for byte in self.0[at..].iter_mut().filter(|b| matches!(b, b'\r' | b'\n' | 0)) {
                *byte = b' ';
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_written_line_by_line() {
        let mut out = Vec::new();
        let mut writer = HeadWriter::request(&mut out, "GET", b"/a?b");
        writer.field("Host", b"h");
        writer.length(12);
        writer.finish();
        assert_eq!(out, b"GET /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n");
        out.clear();
        let mut writer = HeadWriter::response(&mut out, 204, "");
        writer.chunked();
        writer.finish();
        assert_eq!(out, b"HTTP/1.1 204 \r\nTransfer-Encoding: chunked\r\n\r\n");
    }

    #[test]
    #[cfg(not(debug_assertions))]
    fn a_line_end_in_a_value_splits_nothing() {
        let mut out = Vec::new();
        HeadWriter(&mut out).field("A", b"b\r\nC: d\0");
        assert_eq!(out, b"A: b  C: d \r\n");
    }
}
