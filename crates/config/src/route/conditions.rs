//! `method`, `header`, `cookie` and `query` of a route: what a request has to bring besides its
//! host and path.

use tidegate_model::route::{Conditions, ValuePattern};

use crate::{
    node::{FromToml, Node, OneOrMany, is_token},
    place::Placed,
    reader::Reader,
    route::some,
};

/// A method as it stands in requests.
struct Method(String);

/// A table of names and values.
struct Values(Vec<Placed<(String, ValuePattern)>>);

pub(super) fn read(reader: &mut Reader<'_>) -> Conditions {
    let methods: Option<OneOrMany<Method>> = reader.take_if("method", some);
    let methods = methods.map(|OneOrMany(list)| list).unwrap_or_default();
    let mut headers = values(reader, "header", header_name);
    headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
    Conditions {
        methods: with_head(methods.into_iter().map(|Method(name)| name).collect()),
        headers,
        cookies: values(reader, "cookie", cookie_name),
        arguments: values(reader, "query", argument_name),
    }
}

/// What stands under a key; `rule` says what is wrong with a name.
fn values(
    reader: &mut Reader<'_>,
    key: &'static str,
    rule: impl Fn(&str) -> Result<(), String>,
) -> Vec<(String, ValuePattern)> {
    let Values(list) = reader.take_if(key, not_empty).unwrap_or(Values(Vec::new()));
    for Placed { value: (name, _), place } in &list {
        if let Err(message) = rule(name) {
            reader.report.error(place.clone(), message);
        }
    }
    list.into_iter().map(|one| one.value).collect()
}

fn not_empty(Values(list): &Values) -> Result<(), String> {
    match list.is_empty() {
        true => Err("an empty table asks for nothing; leave the key out".into()),
        false => Ok(()),
    }
}

/// A HEAD asks for what a GET would get, so it goes the same way (nginx: `limit_except`).
fn with_head(mut methods: Vec<String>) -> Vec<String> {
    let has = |name: &str| methods.iter().any(|method| method == name);
    if has("GET") && !has("HEAD") {
        methods.push("HEAD".into());
    }
    methods
}

fn header_name(name: &str) -> Result<(), String> {
    match name {
        _ if name.eq_ignore_ascii_case("host") => Err("the host has a key of its own: host".into()),
        _ if is_token(name) => Ok(()),
        _ => Err(format!("\"{}\" is no name of a header", name.escape_debug())),
    }
}

fn cookie_name(name: &str) -> Result<(), String> {
    match is_token(name) {
        true => Ok(()),
        false => Err(format!("\"{}\" is no name of a cookie", name.escape_debug())),
    }
}

fn argument_name(name: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_graphic() && !b"&=#".contains(&b);
    match !name.is_empty() && name.bytes().all(fits) {
        true => Ok(()),
        false => Err(format!(
            "\"{}\" is no name as it stands in a query: escaped, without '&' and '='",
            name.escape_debug()
        )),
    }
}

impl FromToml for Method {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        const USUAL: [&str; 8] =
            ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
        let text = node.text("a method in quotes such as \"GET\"")?;
        let upper = text.to_ascii_uppercase();
        match text {
            "CONNECT" => node.fail("never matches: CONNECT is not offered"),
            _ if !is_token(text) => node.fail(format!("\"{}\" is no method", text.escape_debug())),
            // Methods have case (RFC 9110 §9.1), and nobody means another one than this.
            _ if upper != text && USUAL.contains(&upper.as_str()) => {
                node.fail(format!("never matches: the method is {upper}"))
            }
            _ => Some(Self(text.into())),
        }
    }
}

impl FromToml for Values {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let read = |entry: Node<'_>| {
            let value = entry.parsed("a value in quotes, or \"~ regex\"", ValuePattern::parse)?;
            Some(Placed { value: (entry.key.to_owned(), value), place: entry.place() })
        };
        // All of them are read before one that failed takes the table with it.
        let read: Vec<_> = node.entries()?.map(read).collect();
        read.into_iter().collect::<Option<_>>().map(Self)
    }
}
