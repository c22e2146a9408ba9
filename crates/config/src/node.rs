//! One value of a file and how it becomes one of ours: a type says by `FromToml` what it looks like
//! in TOML; what it cannot be read from is reported at its place.

use std::{
    collections::BTreeMap, fmt::Display, net::IpAddr, ops::RangeInclusive, path::PathBuf, rc::Rc,
};

use ipnet::IpNet;
use tidegate_model::{
    Address, Name, Size, Span, Template,
    upstream::{ExpectBody, HashKey, Share, StatusPattern},
};
use toml::{Spanned, de::DeValue};

use crate::place::{Place, Placed, Report, Source};

/// A type that a value of a file can be read as.
pub(crate) trait FromToml: Sized {
    /// `None` after the reason went to the report.
    fn from_toml(node: &Node<'_>) -> Option<Self>;
}

/// A type that is one of a few words.
pub(crate) trait Words: Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

/// Either one value or a list of them.
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

/// One value, and the key it belongs to.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    pub(crate) report: &'a Report,
    pub(crate) source: &'a Rc<Source>,
    pub(crate) value: &'a Spanned<DeValue<'a>>,
    /// The table that holds the key.
    pub(crate) path: Rc<str>,
    pub(crate) key: &'a str,
}

impl<'a> Node<'a> {
    /// The key with its table before it.
    pub(crate) fn dotted(&self) -> String {
        joined(&self.path, self.key)
    }

    pub(crate) fn place(&self) -> Place {
        let (source, offset) = (Rc::clone(self.source), self.value.span().start);
        Place { source, offset, key: self.dotted() }
    }

    pub(crate) fn fail<T>(&self, message: impl Display) -> Option<T> {
        self.report.error(self.place(), message);
        None
    }

    pub(crate) fn mismatch<T>(&self, expected: &str) -> Option<T> {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.fail(format!("expected {expected}, found {found}"))
    }

    pub(crate) fn text(&self, expected: &str) -> Option<&'a str> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(text),
            _ => self.mismatch(expected),
        }
    }

    /// A string that `parse` makes something of.
    pub(crate) fn parsed<T, E: Display>(
        &self,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(self.text(expected)?).map_or_else(|reason| self.fail(reason), Some)
    }

    /// The elements of a list.
    pub(crate) fn elements(&self, expected: &str) -> Option<impl Iterator<Item = Self> + use<'a>> {
        let DeValue::Array(array) = self.value.get_ref() else { return self.mismatch(expected) };
        let list = self.clone();
        Some(array.iter().map(move |value| Self { value, ..list.clone() }))
    }

    /// The values of a table in file order, each with its own key.
    pub(crate) fn entries(&self) -> Option<impl Iterator<Item = Self> + use<'a>> {
        let DeValue::Table(table) = self.value.get_ref() else { return self.mismatch("a table") };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let (node, path) = (self.clone(), Rc::<str>::from(self.dotted()));
        Some(entries.into_iter().map(move |(key, value)| Self {
            value,
            path: Rc::clone(&path),
            key: key.get_ref(),
            ..node.clone()
        }))
    }

    fn integer<T: TryFrom<i128>>(&self, range: RangeInclusive<i128>) -> Option<T> {
        let DeValue::Integer(digits) = self.value.get_ref() else {
            return self.mismatch("an integer");
        };
        let number = i128::from_str_radix(digits.as_str(), digits.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        match number.and_then(|number| T::try_from(number).ok()) {
            Some(number) => Some(number),
            None => self.fail(out_of(&range)),
        }
    }
}

pub(crate) fn joined(path: &str, key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let key = match key {
        "" => "\"\"".into(),
        _ if key.bytes().all(bare) => key.to_owned(),
        _ => format!("\"{}\"", key.escape_debug()),
    };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// A rule for [`Reader::take_if`](crate::reader::Reader::take_if).
pub(crate) fn positive(span: &Span) -> Result<(), String> {
    if *span > Span::default() { Ok(()) } else { Err("has to be longer than 0s".into()) }
}

/// A rule for [`Reader::take_if`](crate::reader::Reader::take_if).
pub(crate) fn within<T: PartialOrd + Display>(
    range: RangeInclusive<T>,
) -> impl Fn(&T) -> Result<(), String> {
    move |value| if range.contains(value) { Ok(()) } else { Err(out_of(&range)) }
}

/// RFC 9110 §5.6.2: what methods, names of fields and names of cookies are.
pub(crate) fn is_token(text: &str) -> bool {
    let byte = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(byte)
}

fn out_of<T: Display>(range: &RangeInclusive<T>) -> String {
    format!("has to be from {} to {}", range.start(), range.end())
}

impl<T: Words> FromToml for T {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let expected = words.join(" or ");
        let text = node.text(&expected)?;
        match T::WORDS.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Some(*meaning),
            None => node.fail(format!("expected {expected}, found \"{}\"", text.escape_debug())),
        }
    }
}

/// A type by the text of its value: what a person expects to see there, and how it is read.
macro_rules! from_text {
    ($($type:ty, $expected:literal, $parse:expr;)*) => { $(
        impl FromToml for $type {
            fn from_toml(node: &Node<'_>) -> Option<Self> {
                node.parsed($expected, $parse)
            }
        }
    )* };
}

from_text! {
    String, "a string", |text| Ok::<_, String>(text.to_owned());
    Address, "a server address in quotes such as \"10.0.0.1:8080\"", Address::parse;
    ExpectBody, "a text in quotes", ExpectBody::parse;
    HashKey, "a hash key in quotes such as \"cookie:uid\"", HashKey::parse;
    IpNet, "a network in quotes such as \"10.0.0.0/8\"", network;
    Name, "the name of a pool in quotes", Name::new;
    Share, "a share in quotes such as \"20%\"", Share::parse;
    Size, "a size in quotes such as \"64k\"", Size::parse;
    Span, "a duration in quotes such as \"10s\"", Span::parse;
    StatusPattern, "a status in quotes such as \"204\" or \"2xx\"", StatusPattern::parse;
    Template, "a text in quotes", Template::parse;
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let single = |ip: IpAddr| IpNet::from(ip);
    let network = text.parse().ok().or_else(|| text.parse().map(single).ok());
    let network: IpNet = network
        .ok_or_else(|| format!("\"{}\" is no network such as 10.0.0.0/8", text.escape_debug()))?;
    match network.trunc() {
        exact if exact == network => Ok(network),
        exact => Err(format!("{network} has bits beyond its prefix; the network is {exact}")),
    }
}

macro_rules! from_integer {
    ($($type:ty),*) => { $(
        impl FromToml for $type {
            fn from_toml(node: &Node<'_>) -> Option<Self> {
                node.integer(0..=i128::from(<$type>::MAX).min(i64::MAX.into()))
            }
        }
    )* };
}

from_integer!(u16, u32, u64);

impl FromToml for bool {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        match node.value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => node.mismatch("true or false"),
        }
    }
}

/// A path, relative to the directory of the file it is written in.
impl FromToml for PathBuf {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        match node.text("a path in quotes")? {
            text if text.is_empty() || text.contains('\0') => node.fail("this is no path"),
            text => Some(node.source.dir.join(text)),
        }
    }
}

impl<T: FromToml> FromToml for Vec<T> {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        // All of them are read before one that failed takes the list with it.
        let read: Vec<_> = node.elements("a list")?.map(|element| T::from_toml(&element)).collect();
        read.into_iter().collect()
    }
}

impl<T: FromToml> FromToml for OneOrMany<T> {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        match node.value.get_ref() {
            DeValue::Array(_) => Vec::from_toml(node).map(Self),
            _ => T::from_toml(node).map(|one| Self(vec![one])),
        }
    }
}

impl<T: FromToml> FromToml for Placed<T> {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        T::from_toml(node).map(|value| Self { value, place: node.place() })
    }
}

impl FromToml for BTreeMap<String, String> {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let read = |entry: Node<'_>| Some((entry.key.to_owned(), String::from_toml(&entry)?));
        // All of them are read before one that failed takes the table with it.
        let read: Vec<_> = node.entries()?.map(read).collect();
        read.into_iter().collect()
    }
}
