//! nginx's lexical rules (`ngx_conf_read_token`) for text that is no file: directives of words that
//! end with ';', quotes, escapes and comments, and no blocks.

use super::{Refusal, quoted};

/// The words of one directive, its name first.
#[derive(Debug, PartialEq)]
pub(super) struct Directive {
    /// Where its name stands.
    pub(super) line: usize,
    pub(super) words: Vec<Vec<u8>>,
}

/// Directives of a body, one by one. Ends after the first error.
pub(super) struct Tokens<'b> {
    body: &'b [u8],
    at: usize,
    line: usize,
}

impl<'b> Tokens<'b> {
    pub(super) fn new(body: &'b [u8]) -> Self {
        Self { body, at: 0, line: 1 }
    }

    fn directive(&mut self) -> Result<Option<Directive>, Refusal> {
        let mut directive = Directive { line: self.line, words: Vec::new() };
        loop {
            self.skip_space_and_comments();
            if directive.words.is_empty() {
                directive.line = self.line;
            }
            match self.peek() {
                None if directive.words.is_empty() => return Ok(None),
                None => return Err(self.unfinished(&directive)),
                Some(b';') if !directive.words.is_empty() => {
                    self.bump();
                    return Ok(Some(directive));
                }
                Some(b'{') if !directive.words.is_empty() => return Err(self.block()),
                Some(stray @ (b';' | b'{' | b'}')) => return Err(self.unexpected(stray)),
                Some(quote @ (b'"' | b'\'')) => {
                    self.bump();
                    directive.words.push(self.quoted_word(quote)?);
                }
                Some(_) => directive.words.push(self.bare_word()),
            }
        }
    }

    /// A word up to whitespace, ';' or '{'. "${" does not end it.
    fn bare_word(&mut self) -> Vec<u8> {
        let start = self.at;
        let mut variable = false;
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' => break,
                b'{' if !variable => break,
                _ => self.bump_escaped(byte),
            }
            variable = matches!(byte, b'$' | b'{');
        }
        self.word(start, self.at)
    }

    fn quoted_word(&mut self, quote: u8) -> Result<Vec<u8>, Refusal> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            if byte == quote {
                let word = self.word(start, self.at);
                self.bump();
                return self.after_quote().map(|()| word);
            }
            self.bump_escaped(byte);
        }
        Err(self.unexpected_end("a quote is not closed"))
    }

    /// nginx wants one of these after a closing quote; a ')' then begins the next word.
    fn after_quote(&self) -> Result<(), Refusal> {
        match self.peek() {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' | b')') => Ok(()),
            Some(byte) => Err(self.unexpected(byte)),
        }
    }

    fn skip_space_and_comments(&mut self) {
        let mut comment = false;
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => comment = false,
                _ if comment => {}
                b'#' => comment = true,
                b' ' | b'\t' | b'\r' => {}
                _ => return,
            }
            self.bump();
        }
    }

    fn word(&self, start: usize, end: usize) -> Vec<u8> {
        unescape(self.body.get(start..end).unwrap_or_default())
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn bump(&mut self) {
        self.line += usize::from(self.peek() == Some(b'\n'));
        self.at += 1;
    }

    /// A backslash takes the next byte with it, whatever that is.
    fn bump_escaped(&mut self, byte: u8) {
        self.bump();
        if byte == b'\\' && self.peek().is_some() {
            self.bump();
        }
    }

    fn unexpected(&self, byte: u8) -> Refusal {
        Refusal::at(self.line, format!("unexpected {}", quoted(&[byte])))
    }

    fn unexpected_end(&self, expecting: &str) -> Refusal {
        Refusal::at(self.line, format!("unexpected end, {expecting}"))
    }

    fn unfinished(&self, directive: &Directive) -> Refusal {
        let last = directive.words.last().map(|word| quoted(word)).unwrap_or_default();
        self.unexpected_end(&format!("expecting ';' after {last}"))
    }

    fn block(&self) -> Refusal {
        Refusal::at(self.line, "unexpected \"{\": blocks are not supported here".into())
    }
}

impl Iterator for Tokens<'_> {
    type Item = Result<Directive, Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.directive().transpose();
        if matches!(next, Some(Err(_))) {
            self.at = self.body.len();
        }
        next
    }
}

/// `\"`, `\'` and `\\` become the character, `\t`, `\r` and `\n` a TAB, CR and LF; any other
/// backslash stays.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut word = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escaped = match bytes.peek() {
            Some(next @ (b'"' | b'\'' | b'\\')) if byte == b'\\' => Some(*next),
            Some(b't') if byte == b'\\' => Some(b'\t'),
            Some(b'r') if byte == b'\\' => Some(b'\r'),
            Some(b'n') if byte == b'\\' => Some(b'\n'),
            _ => None,
        };
        if escaped.is_some() {
            bytes.next();
        }
        word.push(escaped.unwrap_or(byte));
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(body: &str) -> Result<Vec<Vec<String>>, String> {
        let text = |word: Vec<u8>| String::from_utf8(word).expect("ASCII bodies have ASCII words");
        Tokens::new(body.as_bytes())
            .map(|directive| directive.map(|d| d.words.into_iter().map(text).collect()))
            .collect::<Result<_, _>>()
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn words_are_cut_as_nginx_cuts_them() {
        for (body, expected) in [
            ("", &[] as &[&[&str]]),
            (" \t\r\n# a; comment", &[]),
            ("a;b c ; \n d\te\r\nf;", &[&["a"], &["b", "c"], &["d", "e", "f"]]),
            ("a # x;\n b;", &[&["a", "b"]]),
            ("a#b x}x c};", &[&["a#b", "x}x", "c}"]]),
            (r#"a "b c;{}#" 'd"e' "";"#, &[&["a", "b c;{}#", "d\"e", ""]]),
            ("a\"b c\";", &[&["a\"b", "c\""]]),
            (r#"a "b");"#, &[&["a", "b", ")"]]),
            ("a ${b}c $${{x;", &[&["a", "${b}c", "$${{x"]]),
            (r#"a b\ c\;d \"e \t\n\x \#f;"#, &[&["a", r"b\ c\;d", "\"e", "\t\n\\x", r"\#f"]]),
        ] {
            assert_eq!(words(body).expect("it is cut"), expected, "{body:?}");
        }
    }

    #[test]
    fn what_nginx_cannot_cut_is_refused_with_its_line() {
        for (body, expected) in [
            ("a", "line 1: unexpected end, expecting ';' after \"a\""),
            ("a;\nb ", "line 2: unexpected end, expecting ';' after \"b\""),
            ("a;\nb # c;", "line 2: unexpected end, expecting ';' after \"b\""),
            ("a;;", "line 1: unexpected \";\""),
            ("\n;", "line 2: unexpected \";\""),
            ("a;\n\n}", "line 3: unexpected \"}\""),
            ("a }", "line 1: unexpected \"}\""),
            ("{", "line 1: unexpected \"{\""),
            ("a b{c;}", "line 1: unexpected \"{\": blocks are not supported here"),
            ("a \"b\"c;", "line 1: unexpected \"c\""),
            ("a 'b;\n", "line 2: unexpected end, a quote is not closed"),
            ("a b\\;", "line 1: unexpected end, expecting ';' after \"b\\\\;\""),
            ("a ${b{c;}", "line 1: unexpected \"{\": blocks are not supported here"),
            ("a $b{c;", "line 1: unexpected \"{\": blocks are not supported here"),
        ] {
            assert_eq!(words(body), Err(expected.into()), "{body:?}");
        }
    }
}
