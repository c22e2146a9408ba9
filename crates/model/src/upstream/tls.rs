//! TLS to the servers of a pool: whose certificates are believed, by which name a server has to
//! prove itself, and what is shown to servers that ask for a certificate. Files are named here and
//! read elsewhere.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::ToSchema;

use crate::{Address, Template, address::Place};

/// RFC 1035 §2.3.4
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// `[upstream.NAME.tls]`. Files are absolute, or relative to the directory of the main configuration
/// file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSpec {
    /// `false`: plain connections, whatever the defaults say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<ServerName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1)]
    pub ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1)]
    pub cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1)]
    pub key: Option<PathBuf>,
}

/// The same as it is meant: such a pool's servers are spoken to over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The name that every server goes by; `None`: each by its own.
    pub server_name: Option<ServerName>,
    /// `None`: the system's.
    pub ca: Option<PathBuf>,
    pub verify: bool,
    /// Certificate and key for servers that ask who calls.
    pub pair: Option<(PathBuf, PathBuf)>,
}

/// The name that a server has to prove itself by: of a host, or an IP address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerName(Arc<str>);

/// Why a text is no such name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadServerName(String);

impl TlsSpec {
    /// What a pool's definition and the defaults mean together; `None`: plain connections.
    /// Certificate and key are one thing: they come from the same of the two.
    pub(super) fn resolve(
        own: Option<&Self>,
        defaults: Option<&Self>,
        host_header: &Template,
    ) -> Option<Tls> {
        let given = || own.into_iter().chain(defaults);
        let enabled =
            given().next().is_some_and(|_| given().find_map(|tls| tls.enabled) != Some(false));
        enabled.then(|| Tls {
            server_name: given()
                .find_map(|tls| tls.server_name.clone())
                .or_else(|| ServerName::of_authority(&host_header.fixed()?)),
            ca: given().find_map(|tls| tls.ca.clone()),
            verify: given().find_map(|tls| tls.verify).unwrap_or(true),
            pair: given().find_map(Self::pair),
        })
    }

    fn pair(&self) -> Option<(PathBuf, PathBuf)> {
        Some((self.cert.clone()?, self.key.clone()?))
    }

    /// The key that is missing beside another one, if one is.
    pub fn half_a_pair(&self) -> Option<&'static str> {
        match (&self.cert, &self.key) {
            (Some(_), None) => Some("key"),
            (None, Some(_)) => Some("cert"),
            _ => None,
        }
    }

    /// Every file that it names.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.ca, &mut self.cert, &mut self.key].into_iter().flatten()
    }
}

impl Tls {
    /// By which name a server of that address has to prove itself.
    pub fn name_of<'n>(&'n self, address: &'n Address) -> Cow<'n, str> {
        if let Some(name) = &self.server_name {
            return Cow::Borrowed(name.as_str());
        }
        match address.place() {
            // Certificates know no dot of the root.
            Place::Host(host, _) => host.strip_suffix('.').unwrap_or(host).into(),
            Place::Ip(ip) => ip.ip().to_string().into(),
            Place::Unix(_) => "localhost".into(),
        }
    }
}

impl ServerName {
    /// # Errors
    /// When it is neither the name of a host nor an IP address.
    pub fn parse(text: &str) -> Result<Self, BadServerName> {
        let label = |label: &str| {
            (1..=LONGEST_LABEL).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let only_digits = || text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let is_host = text.len() <= LONGEST_NAME && text.split('.').all(label) && !only_digits();
        if is_host || text.parse::<IpAddr>().is_ok() {
            Ok(Self(text.into()))
        } else {
            Err(BadServerName(format!(
                "\"{}\" is no name of a host such as im.example.com, nor an IP address",
                text.escape_debug()
            )))
        }
    }

    /// The name that a Host field means.
    fn of_authority(text: &str) -> Option<Self> {
        let host = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((ip, _)) => return ip.parse::<Ipv6Addr>().ok().and_then(|_| Self::parse(ip).ok()),
            None => text.split_once(':').map_or(text, |(host, _)| host),
        };
        Self::parse(host.strip_suffix('.').unwrap_or(host)).ok()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BadServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadServerName {}

impl Serialize for ServerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ServerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn plain() -> Template {
        Template::parse("${header:host}").expect("a template")
    }

    fn named(name: &str) -> TlsSpec {
        TlsSpec { server_name: ServerName::parse(name).ok(), ..TlsSpec::default() }
    }

    #[test]
    fn a_pool_fills_its_gaps_from_the_defaults_or_goes_without_tls() {
        let defaults = TlsSpec { ca: Some("ca.pem".into()), verify: Some(false), ..named("a") };
        let own = TlsSpec { verify: Some(true), ..TlsSpec::default() };
        let tls = TlsSpec::resolve(Some(&own), Some(&defaults), &plain()).expect("TLS");
        assert_eq!((tls.ca.as_deref(), tls.verify), (Some(Path::new("ca.pem")), true));
        assert_eq!(tls.server_name, defaults.server_name);
        assert_eq!(TlsSpec::resolve(None, None, &plain()), None);
        let off = TlsSpec { enabled: Some(false), ..TlsSpec::default() };
        assert_eq!(TlsSpec::resolve(Some(&off), Some(&defaults), &plain()), None);
        assert_eq!(TlsSpec::resolve(None, Some(&off), &plain()), None);
        let on = TlsSpec { enabled: Some(true), ..TlsSpec::default() };
        assert!(TlsSpec::resolve(Some(&on), Some(&off), &plain()).is_some());
    }

    #[test]
    fn a_certificate_and_its_key_come_from_one_place() {
        let pair = |cert: &str, key: &str| TlsSpec {
            cert: Some(cert.into()),
            key: Some(key.into()),
            ..TlsSpec::default()
        };
        let tls =
            |own: &TlsSpec| TlsSpec::resolve(Some(own), Some(&pair("d.pem", "d.key")), &plain());
        let pair_of = |own: &TlsSpec| tls(own).expect("TLS").pair.expect("a pair");
        assert_eq!(pair_of(&pair("a.pem", "a.key")), ("a.pem".into(), "a.key".into()));
        assert_eq!(pair_of(&TlsSpec::default()), ("d.pem".into(), "d.key".into()));
        let half = TlsSpec { cert: Some("a.pem".into()), ..TlsSpec::default() };
        assert_eq!((half.half_a_pair(), pair("a", "b").half_a_pair()), (Some("key"), None));
    }

    #[test]
    fn a_server_goes_by_what_is_said_of_it_in_this_order() {
        let name = |spec: &TlsSpec, host: &str, address: &str| {
            let host = Template::parse(host).expect("a template");
            let tls = TlsSpec::resolve(Some(spec), None, &host).expect("TLS");
            tls.name_of(&Address::parse(address).expect("an address")).into_owned()
        };
        let none = TlsSpec::default();
        assert_eq!(name(&named("a.example"), "b.example", "c.example:1"), "a.example");
        assert_eq!(name(&none, "b.example:8443", "c.example:1"), "b.example");
        assert_eq!(name(&none, "[::1]:8443", "c.example:1"), "::1");
        assert_eq!(name(&none, "${host}", "c.example.:1"), "c.example");
        assert_eq!(name(&none, "${host}", "10.0.0.1:443"), "10.0.0.1");
        assert_eq!(name(&none, "${host}", "[2001:db8::1]:443"), "2001:db8::1");
        assert_eq!(name(&none, "${host}", "unix:/run/a.sock"), "localhost");
    }

    #[test]
    fn names_are_those_of_hosts_or_addresses() {
        for good in ["a", "im.example.com", "a_b.c", "10.0.0.1", "::1", "xn--bcher-kva.example"] {
            assert!(ServerName::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", ".", "a.", ".a", "a b", "a:443", "[::1]", "300.1.1.1", "\u{fc}.de", &long] {
            assert!(ServerName::parse(bad).is_err(), "{bad:?} was read");
        }
    }
}
