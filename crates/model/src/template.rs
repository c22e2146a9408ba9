//! Texts with variables: `WebappReadwrite_${cookie:gray|a}`. Read once when a configuration is
//! checked, rendered per request without a look-up by name.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text with variables in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(Variable, Option<String>),
}

/// What a request or the process can fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    ClientIp,
    Cookie(String),
    Env(String),
    /// A request header, its name in lower case.
    Header(String),
    /// Lower case, without the port.
    Host,
    Method,
    Path,
    Query,
    /// One argument of the query.
    QueryArgument(String),
    RequestId,
    Scheme,
    Server,
    /// Of the client's certificate, when that was verified.
    TlsClientSubject,
    Upstream,
    Uri,
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTemplate(String);

impl Template {
    /// # Errors
    /// When a `${` is not closed or names no known variable.
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if at > 0 {
                parts.push(Part::Literal(rest[..at].into()));
            }
            let inner = &rest[at + 2..];
            let end = inner
                .find('}')
                .ok_or_else(|| BadTemplate(format!("\"{text}\": '${{' without '}}'")))?;
            let (name, default) = match inner[..end].split_once('|') {
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (&inner[..end], None),
            };
            let variable = Variable::parse(name)
                .ok_or_else(|| BadTemplate(format!("\"{text}\": unknown variable \"{name}\"")))?;
            parts.push(Part::Variable(variable, default));
            rest = &inner[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        Ok(Self { text: text.into(), parts })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The whole text, when it has no variables.
    pub fn literal(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The whole text, when every variable of it is known already.
    pub fn fixed(&self) -> Option<String> {
        let literal = |part: &Part| match part {
            Part::Literal(text) => Some(text.clone()),
            Part::Variable(..) => None,
        };
        self.parts.iter().map(literal).collect()
    }

    /// The variable, when the template is that one alone and has no default.
    pub fn sole_variable(&self) -> Option<&Variable> {
        match &*self.parts {
            [Part::Variable(variable, None)] => Some(variable),
            _ => None,
        }
    }

    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(variable, _) => Some(variable),
            Part::Literal(_) => None,
        })
    }

    /// Replaces the variables that `value` knows now by what they are.
    pub fn bind(&mut self, value: impl Fn(&Variable) -> Option<String>) {
        for part in &mut self.parts {
            if let Part::Variable(variable, default) = part
                && let Some(text) = value(variable)
            {
                let text = if text.is_empty() { default.take().unwrap_or_default() } else { text };
                *part = Part::Literal(text);
            }
        }
    }

    /// Appends the text to `out`, each variable as `value` gives it; one without a value, or with
    /// an empty one, becomes its default, else nothing.
    pub fn render<'v>(
        &'v self,
        out: &mut String,
        mut value: impl FnMut(&'v Variable) -> Option<Cow<'v, str>>,
    ) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Variable(variable, default) => match value(variable) {
                    Some(text) if !text.is_empty() => out.push_str(&text),
                    _ => out.push_str(default.as_deref().unwrap_or_default()),
                },
            }
        }
    }
}

impl Variable {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if let Some((kind, argument)) = name.split_once(':') {
            return match kind {
                _ if argument.is_empty() => None,
                "header" => Some(Self::Header(argument.to_ascii_lowercase())),
                "cookie" => Some(Self::Cookie(argument.into())),
                "query" => Some(Self::QueryArgument(argument.into())),
                "env" => Some(Self::Env(argument.into())),
                _ => None,
            };
        }
        Some(match name {
            "host" => Self::Host,
            "uri" => Self::Uri,
            "path" => Self::Path,
            "query" => Self::Query,
            "method" => Self::Method,
            "scheme" => Self::Scheme,
            "client_ip" => Self::ClientIp,
            "request_id" => Self::RequestId,
            "upstream" => Self::Upstream,
            "server" => Self::Server,
            "tls_client_subject" => Self::TlsClientSubject,
            _ => return None,
        })
    }
}

impl fmt::Display for BadTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadTemplate {}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_and_fall_back() {
        let template = Template::parse("W_${cookie:gray|a}-${host}").expect("a template");
        let render = |gray: Option<&'static str>| {
            let mut out = String::new();
            template.render(&mut out, |variable| match variable {
                Variable::Cookie(name) if name == "gray" => gray.map(Cow::from),
                Variable::Host => Some("h".into()),
                _ => None,
            });
            out
        };
        assert_eq!(render(Some("b")), "W_b-h");
        assert_eq!(render(None), "W_a-h");
        assert_eq!(render(Some("")), "W_a-h");
        assert_eq!((template.literal(), template.fixed()), (None, None));
        assert_eq!(Template::parse("plain").expect("a template").literal(), Some("plain"));
    }

    #[test]
    fn a_text_is_fixed_once_its_variables_are_bound() {
        let mut template = Template::parse("a.${env:ZONE}.example").expect("a template");
        assert_eq!(template.fixed(), None);
        template.bind(|variable| matches!(variable, Variable::Env(_)).then(|| "b".into()));
        assert_eq!(template.fixed().as_deref(), Some("a.b.example"));
    }

    #[test]
    fn unknown_and_unclosed_variables_are_refused() {
        for text in ["${nope}", "${host", "a${header:}", "${header}"] {
            assert!(Template::parse(text).is_err(), "{text:?} was read");
        }
    }
}
