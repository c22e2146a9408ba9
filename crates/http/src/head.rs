//! A request's head as its server gets it: rendered once, save for what depends on the server that
//! is picked, whose name is put in at each try.

use std::{borrow::Cow, num::NonZeroU64};

use tidegate_h1::HeadWriter;

use crate::variables::SERVER_MARK;

/// The head as the server gets it.
pub(crate) struct ServerHead {
    bytes: Vec<u8>,
    marks: Marks,
}

/// Places in a head where something belongs that is not known when it is rendered.
#[derive(Default)]
pub(crate) struct Marks {
    /// The server's name, ascending.
    pub(crate) server: Vec<usize>,
    /// The span of the attempt, in sixteen digits that stand there already.
    pub(crate) span: Option<usize>,
}

/// Writes a field whose value may name the server, and remembers where.
pub(crate) fn marked(head: &mut HeadWriter<'_>, marks: &mut Vec<usize>, name: &str, value: &str) {
    if !value.contains(SERVER_MARK) {
        return head.field(name, value.as_bytes());
    }
    let start = head.position() + name.len() + 2;
    let mut text = String::with_capacity(value.len());
    for part in value.split_inclusive(SERVER_MARK) {
        let fixed = part.trim_end_matches(SERVER_MARK);
        text.push_str(fixed);
        if fixed.len() < part.len() {
            marks.push(start + text.len());
        }
    }
    head.field(name, text.as_bytes());
}

impl ServerHead {
    pub(crate) fn new(bytes: Vec<u8>, marks: Marks) -> Self {
        Self { bytes, marks }
    }

    /// Whether the server is told of a span.
    pub(crate) fn tells_span(&self) -> bool {
        self.marks.span.is_some()
    }

    /// From now on the span that is told is this one.
    pub(crate) fn tell_span(&mut self, id: NonZeroU64) {
        let digits = self.marks.span.and_then(|at| self.bytes.get_mut(at..at + 16));
        if let Some(digits) = digits {
            digits.copy_from_slice(format!("{id:016x}").as_bytes());
        }
    }

    /// The bytes for one server.
    pub(crate) fn for_server(&self, label: &str) -> Cow<'_, [u8]> {
        let marks = &self.marks.server;
        if marks.is_empty() {
            return Cow::Borrowed(&self.bytes);
        }
        let mut out = Vec::with_capacity(self.bytes.len() + marks.len() * label.len());
        let mut from = 0;
        for &at in marks {
            out.extend_from_slice(&self.bytes[from..at]);
            out.extend_from_slice(label.as_bytes());
            from = at;
        }
        out.extend_from_slice(&self.bytes[from..]);
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_named_wherever_it_belongs() {
        let (mut bytes, mut marks) = (Vec::new(), Vec::new());
        let mut head = HeadWriter::request(&mut bytes, "GET", b"/");
        marked(&mut head, &mut marks, "Host", "a.\0:\0");
        marked(&mut head, &mut marks, "A", "plain");
        marked(&mut head, &mut marks, "B", "\0");
        head.finish();
        let head = ServerHead::new(bytes, Marks { server: marks, span: None });
        let expected = "GET / HTTP/1.1\r\nHost: a.s:s\r\nA: plain\r\nB: s\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&head.for_server("s")), expected);
        assert!(matches!(head.for_server("longer"), Cow::Owned(_)));
        let plain = ServerHead::new(b"x".to_vec(), Marks::default());
        assert!(matches!(plain.for_server("s"), Cow::Borrowed(b"x")));
        assert!(!plain.tells_span());
    }

    #[test]
    fn every_attempt_tells_its_own_span() {
        let marks = Marks { server: vec![2], span: Some(5) };
        let mut head = ServerHead::new(b"a: \r\n0123456789abcdef-\r\n".to_vec(), marks);
        for (id, digits) in [(0xfe, "00000000000000fe"), (u64::MAX, "ffffffffffffffff")] {
            head.tell_span(NonZeroU64::new(id).expect("not zero"));
            let expected = format!("a:s \r\n{digits}-\r\n");
            assert_eq!(String::from_utf8_lossy(&head.for_server("s")), expected);
        }
    }
}
