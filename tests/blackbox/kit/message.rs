//! HTTP/1 messages as a pedant reads them: every line ends in CRLF, names are tokens, nothing is
//! guessed. What the product sends must pass here, in both directions.

use std::fmt;

/// A body, and the fields that came after it.
pub type Body = (Vec<u8>, Vec<(String, String)>);

/// A start line and its fields.
#[derive(Clone)]
pub struct Head {
    pub start: String,
    pub fields: Vec<(String, String)>,
    pub raw: Vec<u8>,
}

/// A whole message.
#[derive(Clone)]
pub struct Message {
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// The 1xx answers that came before a response.
    pub interim: Vec<Head>,
}

/// How the length of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Chunked,
    Length(usize),
    UntilEnd,
}

impl Head {
    /// Parses what ends with an empty line.
    pub fn parse(raw: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(raw).into_owned();
        let text = text.strip_suffix("\r\n\r\n").ok_or("the head does not end in CRLF CRLF")?;
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(field).collect::<Result<_, _>>()?;
        if start.contains(['\r', '\n', '\0']) {
            return Err(format!("control characters in {start:?}"));
        }
        Ok(Self { start, fields, raw: raw.to_vec() })
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        let wanted = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().filter(wanted).map(|(_, value)| value.as_str()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// A response's status; 0 if the line is not a status line.
    pub fn status(&self) -> u16 {
        let line = self.start.strip_prefix("HTTP/1.");
        line.and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// Whether the sender will close after this message.
    pub fn closes(&self) -> bool {
        let options = self.all("connection").join(",").to_ascii_lowercase();
        let says = |word: &str| options.split(',').any(|option| option.trim() == word);
        says("close") || (self.start.contains("HTTP/1.0") && !says("keep-alive"))
    }

    /// How a request's body ends.
    pub fn request_framing(&self) -> Result<Framing, String> {
        Ok(self.stated_framing()?.unwrap_or(Framing::Length(0)))
    }

    /// How the body of a response to `method` ends.
    pub fn response_framing(&self, method: &str) -> Result<Framing, String> {
        let bodiless = method == "HEAD" || matches!(self.status(), 101 | 204 | 304);
        match self.stated_framing()? {
            _ if bodiless => Ok(Framing::Length(0)),
            stated => Ok(stated.unwrap_or(Framing::UntilEnd)),
        }
    }

    fn stated_framing(&self) -> Result<Option<Framing>, String> {
        match (self.all("transfer-encoding").as_slice(), self.all("content-length").as_slice()) {
            ([], []) => Ok(None),
            (["chunked"], []) => Ok(Some(Framing::Chunked)),
            ([], [length]) => {
                let length = length.parse().map_err(|_| format!("Content-Length {length:?}"))?;
                Ok(Some(Framing::Length(length)))
            }
            both => Err(format!("ambiguous framing {both:?}")),
        }
    }
}

impl Message {
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// The id that an error of the proxy's own names.
    pub fn request_id(&self) -> Option<String> {
        let text = self.text();
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
        words.find(|word| word.len() >= 16).map(str::to_owned)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// As text: this is what a failed test shows.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.raw).fmt(f)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = self.text().chars().take(1_000).collect();
        f.debug_struct("Message")
            .field("interim", &self.interim)
            .field("head", &self.head)
            .field("body", &body)
            .field("trailers", &self.trailers)
            .finish()
    }
}

/// One field line, without its CRLF.
pub fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon in {line:?}"))?;
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) || value.contains(['\r', '\n', '\0']) {
        return Err(format!("malformed field line {line:?}"));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}
