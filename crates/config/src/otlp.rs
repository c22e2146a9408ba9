//! `[otlp]`: where the spans of requests are exported to. Whether this build can do that is for the
//! binary to say; here is only what is meant.

use std::net::Ipv6Addr;

use toml::de::DeValue;

use crate::{
    node::{FromToml, Node},
    reader::Reader,
};

/// `[otlp]`
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    pub endpoint: Endpoint,
    pub service_name: String,
    /// The share of requests that are recorded, from 0 to 1.
    pub sample: f64,
}

/// An URL of a collector, over plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address; an IPv6 address has no brackets.
    pub host: String,
    pub port: u16,
    /// With its query.
    pub path: String,
}

/// From 0 to 1.
struct Portion(f64);

impl Otlp {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let endpoint = reader.require("endpoint");
        let service_name = reader.take_if("service_name", is_name);
        let sample = reader.take("sample").unwrap_or(Portion(0.01));
        Some(Self {
            endpoint: endpoint?,
            service_name: service_name.unwrap_or_else(|| "tidegate".into()),
            sample: sample.0,
        })
    }
}

impl Endpoint {
    /// # Errors
    /// When it is not such an URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("\"{}\" {what}", text.escape_debug());
        if text.starts_with("https://") {
            return Err(
                "https is not available here: name a collector that takes http, on this host \
                        or in your own network"
                    .into(),
            );
        }
        let rest = text.strip_prefix("http://");
        let rest = rest.ok_or_else(|| wrong("does not begin with http://"))?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if path.contains('#') || !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong("has a path that cannot be asked for"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| wrong("has no port that is one"))?;
        let host = host_of(host).ok_or_else(|| wrong("names no host"))?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { host: host.to_owned(), port, path: format!("{slash}{path}") })
    }

    /// As in a Host field.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

fn split_port(authority: &str) -> Option<(&str, u16)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let is_number = port.bytes().all(|b| b.is_ascii_digit());
            let port = port.parse().ok().filter(|port| is_number && *port > 0)?;
            Some((host, port))
        }
        _ => Some((authority, 80)),
    }
}

/// What a connection is made to.
fn host_of(text: &str) -> Option<&str> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let address = bracketed.strip_suffix(']')?;
        return address.parse::<Ipv6Addr>().ok().map(|_| address);
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (!text.is_empty() && text.bytes().all(fits)).then_some(text)
}

#[expect(clippy::ptr_arg, reason = "a rule gets what was read")]
fn is_name(text: &String) -> Result<(), String> {
    match text.len() {
        1..=255 => Ok(()),
        _ => Err("has to have 1 to 255 bytes".into()),
    }
}

impl FromToml for Endpoint {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        node.parsed("an URL in quotes such as \"http://127.0.0.1:4318/v1/traces\"", Self::parse)
    }
}

impl FromToml for Portion {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let number = match node.value.get_ref() {
            DeValue::Float(digits) => digits.as_str().parse().ok(),
            DeValue::Integer(digits) => digits.as_str().parse().ok(),
            _ => return node.mismatch("a number from 0 to 1"),
        };
        match number {
            Some(number @ 0.0..=1.0) => Some(Self(number)),
            _ => node.fail("has to be from 0 to 1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_taken_apart() {
        for (text, authority, path) in [
            ("http://127.0.0.1:4318/v1/traces", "127.0.0.1:4318", "/v1/traces"),
            ("http://collector.example", "collector.example:80", "/"),
            ("http://[::1]:4318/a?b=c", "[::1]:4318", "/a?b=c"),
            ("http://[::1]?x", "[::1]:80", "/?x"),
        ] {
            let endpoint = Endpoint::parse(text).expect(text);
            assert_eq!((endpoint.authority().as_str(), endpoint.path.as_str()), (authority, path));
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for text in [
            "",
            "127.0.0.1:4318",
            "ftp://a",
            "http://",
            "http://:80/",
            "http://a:b/",
            "http://a:0/",
            "http://a:+80/",
            "http://a:70000/",
            "http://user@a/",
            "http://[::1/",
            "http://::1/",
            "http://a b/",
            "http://a/b c",
            "http://a/b\r\nX: y",
            "http://a/#b",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text:?} was read");
        }
        let https = Endpoint::parse("https://a/").expect_err("https");
        assert!(https.starts_with("https is not available"), "{https}");
    }
}
