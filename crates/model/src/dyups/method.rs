//! The balancing methods that a body may name. nginx's other hashes would need their own order of
//! servers, so what is not one of ours is refused rather than taken for something similar.

use super::{directives::arity, quoted};
use crate::{Balance, upstream::HashKey};

/// How a body wants servers to be chosen.
pub(super) struct Method {
    pub(super) balance: Balance,
    /// For `hash` alone.
    pub(super) hash_key: Option<HashKey>,
}

impl Method {
    /// Reads `hash KEY consistent`, `ip_hash`, `least_conn` or `random two [least_conn]`.
    ///
    /// # Errors
    /// When it is none of these.
    pub(super) fn parse(name: &[u8], arguments: &[Vec<u8>]) -> Result<Self, String> {
        let (balance, hash_key) = match name {
            b"hash" => (Balance::Hash, Some(consistent_hash(arguments)?)),
            b"ip_hash" => (plain(Balance::IpHash, arguments)?, None),
            b"least_conn" => (plain(Balance::LeastConn, arguments)?, None),
            b"random" => (random_two(arguments)?, None),
            other => return Err(format!("unknown directive {}", quoted(other))),
        };
        Ok(Self { balance, hash_key })
    }
}

fn plain(balance: Balance, arguments: &[Vec<u8>]) -> Result<Balance, String> {
    arity(balance.word(), arguments, 0, 0).map(|()| balance)
}

/// `two` and `two least_conn` mean the same in nginx.
fn random_two(arguments: &[Vec<u8>]) -> Result<Balance, String> {
    arity("random", arguments, 0, 2)?;
    let mut words = arguments.iter().map(Vec::as_slice);
    match (words.next(), words.next()) {
        (None, _) => Err("random: not available; use random two".into()),
        (Some(b"two"), None | Some(b"least_conn")) => Ok(Balance::RandomTwo),
        (Some(b"two"), Some(criterion)) if criterion.starts_with(b"least_time=") => {
            Err("random two least_time: not available; use random two".into())
        }
        (Some(b"two"), Some(unknown)) | (Some(unknown), _) => {
            Err(format!("invalid parameter {}", quoted(unknown)))
        }
    }
}

fn consistent_hash(arguments: &[Vec<u8>]) -> Result<HashKey, String> {
    arity("hash", arguments, 1, 2)?;
    let mut words = arguments.iter().map(Vec::as_slice);
    let key = words.next().unwrap_or_default();
    match words.next() {
        Some(b"consistent") => std::str::from_utf8(key).ok().and_then(hash_key).ok_or_else(|| {
            format!(
                "hash key {}: not available; use $remote_addr, $request_uri, $http_NAME, \
                 $cookie_NAME or $arg_NAME",
                quoted(key)
            )
        }),
        None => Err("hash without \"consistent\": not available; use consistent".into()),
        Some(unknown) => Err(format!("invalid parameter {}", quoted(unknown))),
    }
}

/// Our key for nginx's variable.
fn hash_key(text: &str) -> Option<HashKey> {
    let name = text.strip_prefix('$')?;
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    // Anything else nginx takes for text after the variable.
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return None;
    }
    let ours = match name {
        "remote_addr" | "binary_remote_addr" => "client_ip".into(),
        "request_uri" => "uri".into(),
        _ => named(name)?,
    };
    HashKey::parse(&ours).ok()
}

/// The variables that have a name in them.
fn named(variable: &str) -> Option<String> {
    let (kind, name) = variable.split_once('_')?;
    match kind {
        "http" => Some(format!("header:{}", name.replace('_', "-"))),
        "cookie" => Some(format!("cookie:{name}")),
        "arg" => Some(format!("query:{name}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dyups::parse;

    fn read(methods: &str) -> Result<(Balance, Option<String>), String> {
        let spec = parse(format!("{methods} server 10.0.0.1;").as_bytes());
        let method = |spec: crate::UpstreamSpec| {
            let key = spec.hash_key.map(|key| key.to_string());
            (spec.balance.expect("always set"), key)
        };
        spec.map(method).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn nginxs_words_become_ours() {
        let hash = |key: &str| (Balance::Hash, Some(key.to_owned()));
        for (body, expected) in [
            ("", (Balance::RoundRobin, None)),
            ("least_conn;", (Balance::LeastConn, None)),
            ("random two;", (Balance::RandomTwo, None)),
            ("random two least_conn;", (Balance::RandomTwo, None)),
            ("hash $remote_addr consistent;", hash("client_ip")),
            ("hash $binary_remote_addr consistent;", hash("client_ip")),
            ("hash $request_uri consistent;", hash("uri")),
            ("hash $http_X_User_Id consistent;", hash("header:x-user-id")),
            ("hash ${cookie_uid} consistent;", hash("cookie:uid")),
            ("hash \"$arg_room_id\" consistent;", hash("query:room_id")),
        ] {
            assert_eq!(read(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn the_last_of_several_methods_wins() {
        let last = read("ip_hash; hash $request_uri consistent; least_conn;");
        assert_eq!(last, Ok((Balance::LeastConn, None)));
    }

    #[test]
    fn what_is_not_ours_is_refused_by_name() {
        let key = "not available; use $remote_addr, $request_uri, $http_NAME, $cookie_NAME or \
                   $arg_NAME";
        for (body, reason) in [
            ("least_conn a;", "invalid number of arguments in \"least_conn\" directive".into()),
            ("random;", "random: not available; use random two".into()),
            ("random three;", "invalid parameter \"three\"".into()),
            ("random two most;", "invalid parameter \"most\"".into()),
            (
                "random two least_time=header;",
                "random two least_time: not available; use random two".into(),
            ),
            ("hash;", "invalid number of arguments in \"hash\" directive".into()),
            (
                "hash $request_uri;",
                "hash without \"consistent\": not available; use consistent".into(),
            ),
            ("hash $request_uri ketama;", "invalid parameter \"ketama\"".into()),
            ("hash $host consistent;", format!("hash key \"$host\": {key}")),
            ("hash $host$uri consistent;", format!("hash key \"$host$uri\": {key}")),
            ("hash $cookie_a-b consistent;", format!("hash key \"$cookie_a-b\": {key}")),
            ("hash $http_ consistent;", format!("hash key \"$http_\": {key}")),
            ("hash fixed consistent;", format!("hash key \"fixed\": {key}")),
            ("hash \"\" consistent;", format!("hash key \"\": {key}")),
            ("hash \\xff consistent;", format!("hash key \"\\\\xff\": {key}")),
        ] {
            assert_eq!(read(body), Err(format!("line 1: {reason}")), "{body}");
        }
    }
}
