//! What a route asks of a request besides its host and path: the method, and values of headers,
//! cookies and arguments of the query.

use regex::bytes::Regex;

use super::regex;

/// Everything that has to hold. `Default` asks for nothing.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Empty: any.
    pub methods: Vec<String>,
    /// Names in lower case. Any line of that name may match.
    pub headers: Vec<(String, ValuePattern)>,
    pub cookies: Vec<(String, ValuePattern)>,
    /// Arguments of the query.
    pub arguments: Vec<(String, ValuePattern)>,
}

/// A value as a route names it. One that is absent never matches.
#[derive(Clone, Debug)]
pub enum ValuePattern {
    Exact(String),
    Regex(Regex),
}

impl Conditions {
    pub fn is_empty(&self) -> bool {
        self.methods.is_empty()
            && self.headers.is_empty()
            && self.cookies.is_empty()
            && self.arguments.is_empty()
    }

    /// Whether a request of that method may be meant.
    pub fn allow_method(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|one| one == method)
    }

    /// Whether every request that `later` asks for is one of these.
    pub fn cover(&self, later: &Self) -> bool {
        let methods = self.methods.is_empty()
            || (!later.methods.is_empty()
                && later.methods.iter().all(|one| self.allow_method(one)));
        methods
            && cover_each(&self.headers, &later.headers)
            && cover_each(&self.cookies, &later.cookies)
            && cover_each(&self.arguments, &later.arguments)
    }
}

/// Each of ours has to be asked for by `later` as well, as narrowly.
fn cover_each(ours: &[(String, ValuePattern)], later: &[(String, ValuePattern)]) -> bool {
    ours.iter().all(|(name, value)| {
        later.iter().any(|(other, narrow)| other == name && value.covers(narrow))
    })
}

impl ValuePattern {
    /// Reads a value, or `~ regex`.
    ///
    /// # Errors
    /// When the expression is not one.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("~ ") {
            Some(expression) => regex(expression).map(Self::Regex),
            None => Ok(Self::Exact(text.into())),
        }
    }

    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => value == exact.as_bytes(),
            Self::Regex(regex) => regex.is_match(value),
        }
    }

    /// As it is written in a file.
    pub fn typed(&self) -> String {
        match self {
            Self::Exact(exact) => exact.clone(),
            Self::Regex(regex) => format!("~ {regex}"),
        }
    }

    fn covers(&self, later: &Self) -> bool {
        match (self, later) {
            (_, Self::Exact(value)) => self.matches(value.as_bytes()),
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Exact(_), Self::Regex(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(typed: &[(&str, &str)]) -> Conditions {
        let one = |(name, value): &(&str, &str)| {
            ((*name).to_owned(), ValuePattern::parse(value).expect("a value"))
        };
        Conditions { headers: typed.iter().map(one).collect(), ..Conditions::default() }
    }

    #[test]
    fn values_match_whole_or_by_expression() {
        let matches = |pattern: &str, value: &str| {
            ValuePattern::parse(pattern).expect("a pattern").matches(value.as_bytes())
        };
        assert!(matches("gray", "gray") && !matches("gray", "Gray") && !matches("gray", "gray1"));
        assert!(matches("~ ^(b|c)$", "c") && !matches("~ ^(b|c)$", "cc") && matches("~ ", ""));
        assert!(matches("~x", "~x") && matches("", "") && !matches("", "x"));
        assert!(matches("~ (?i-u)^websocket$", "WebSocket"));
        assert!(ValuePattern::parse("~ (").is_err());
        assert!(ValuePattern::parse("~ a{1000}{1000}{1000}").is_err(), "the size has a bound");
    }

    #[test]
    fn what_asks_for_less_covers_what_asks_for_more() {
        let some = headers(&[("a", "1")]);
        let more = headers(&[("b", "2"), ("a", "1")]);
        assert!(Conditions::default().cover(&some) && some.cover(&more) && some.cover(&some));
        assert!(!some.cover(&Conditions::default()) && !more.cover(&some));
        assert!(headers(&[("a", "~ ^[0-9]$")]).cover(&some));
        assert!(!some.cover(&headers(&[("a", "~ ^[0-9]$")])));
        assert!(!some.cover(&headers(&[("a", "2")])));
        let methods = |list: &[&str]| Conditions {
            methods: list.iter().map(ToString::to_string).collect(),
            ..Conditions::default()
        };
        assert!(methods(&["GET", "PUT"]).cover(&methods(&["PUT"])));
        assert!(!methods(&["GET"]).cover(&methods(&[])) && methods(&[]).cover(&methods(&["GET"])));
    }
}
