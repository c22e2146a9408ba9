//! Compressing a server's answers for clients that want it, on routes that say so (`compress`): what
//! the client likes best, which answers are fit, and what changes about their heads.

mod encoder;
mod fit;
mod negotiate;

use httparse::Header;
use tidegate_h1::HeadWriter;
use tidegate_model::route::Encoding;

pub(crate) use encoder::Encoder;
pub(crate) use fit::is_fit;

/// What a request's answer may be coded with, on a route that compresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recoding {
    /// `None`: it goes on as it is, but another client might get it otherwise.
    encoding: Option<Encoding>,
}

impl Recoding {
    /// For a request with these fields. Old clients cannot read a body whose length is not known.
    pub(crate) fn asked(headers: &[Header<'_>], offered: &[Encoding], can_chunk: bool) -> Self {
        let chosen = can_chunk.then(|| negotiate::chosen(headers, offered));
        Self { encoding: chosen.flatten() }
    }

    /// Begins to code a fit answer, unless there are too many that are.
    pub(crate) fn begin(self) -> (Self, Option<Encoder>) {
        let encoder = self.encoding.and_then(Encoder::new);
        let encoding = self.encoding.filter(|_| encoder.is_some());
        (Self { encoding }, encoder)
    }

    pub(crate) fn is_coded(self) -> bool {
        self.encoding.is_some()
    }

    /// Whether a field of the answer is written anew by [`write`](Self::write), or left out.
    pub(crate) fn takes(self, name: &str) -> bool {
        let coded = ["accept-ranges", "etag"];
        name.eq_ignore_ascii_case("vary")
            || (self.is_coded() && coded.iter().any(|own| name.eq_ignore_ascii_case(own)))
    }

    pub(crate) fn write(self, head: &mut HeadWriter<'_>, headers: &[Header<'_>]) {
        let all = |name: &'static str| {
            headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name))
        };
        let mut varies: Vec<&[u8]> = all("vary").map(|field| field.value).collect();
        if !varies.iter().any(|value| names_coding(value)) {
            varies.push(b"Accept-Encoding");
        }
        head.field("Vary", &varies.join(&b", "[..]));
        let Some(encoding) = self.encoding else { return };
        for tag in all("etag") {
            // Other bytes for the same thing: that is what a weak one says.
            let weak = if tag.value.starts_with(b"W/") { &b""[..] } else { b"W/" };
            head.field("ETag", &[weak, tag.value].concat());
        }
        head.field("Content-Encoding", encoding.word().as_bytes());
    }
}

/// Whether a Vary value says already that the coding depends on the request.
fn names_coding(value: &[u8]) -> bool {
    let is_one = |name: &[u8]| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding");
    value.split(|b| *b == b',').any(|name| is_one(name.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(recoding: Recoding, fields: &[(&str, &str)]) -> String {
        let headers: Vec<_> =
            fields.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
        let mut out = Vec::new();
        let mut head = HeadWriter::response(&mut out, 200, "OK");
        recoding.write(&mut head, &headers);
        let text = String::from_utf8(out).expect("text");
        text.split_once("\r\n").expect("a status line").1.to_owned()
    }

    #[test]
    fn heads_say_what_was_done_and_what_it_depends_on() {
        let coded = Recoding { encoding: Some(Encoding::Gzip) };
        let plain = Recoding { encoding: None };
        assert_eq!(
            written(coded, &[("ETag", "\"a\""), ("Vary", "Origin")]),
            "Vary: Origin, Accept-Encoding\r\nETag: W/\"a\"\r\nContent-Encoding: gzip\r\n"
        );
        assert_eq!(
            written(coded, &[("etag", "W/\"a\""), ("vary", "accept-encoding"), ("Vary", "X")]),
            "Vary: accept-encoding, X\r\nETag: W/\"a\"\r\nContent-Encoding: gzip\r\n"
        );
        assert_eq!(written(plain, &[("ETag", "\"a\"")]), "Vary: Accept-Encoding\r\n");
        assert_eq!(written(plain, &[("Vary", "*")]), "Vary: *\r\n");
        assert!(coded.takes("ETag") && coded.takes("Accept-Ranges") && coded.takes("VARY"));
        assert!(plain.takes("vary") && !plain.takes("etag") && !coded.takes("server"));
    }
}
