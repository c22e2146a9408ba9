//! What a route asks of a request before it goes anywhere: that its client may use the route, and
//! that there are not too many of its kind, by time and at once.

use std::{net::IpAddr, time::Instant};

use tidegate_limit::{Held, Who};
use tidegate_model::{route::Policy, template::Variable, upstream::HashKey};
use tidegate_table::Barred;

use crate::variables::Variables;

/// Why a request is turned away, and when to come again if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) by: Barred,
    /// In whole seconds, at least one.
    pub(crate) retry_after: Option<u64>,
}

/// Those that are too many at once may come again when one has gone; nobody knows when.
const SOON: u64 = 1;

impl Bar {
    pub(crate) fn status(self) -> u16 {
        match self.by {
            Barred::Denied => 403,
            Barred::Connections | Barred::Rate => 429,
        }
    }

    pub(crate) fn reason(self) -> &'static str {
        match self.by {
            Barred::Connections => "conn_limit: as many at once as the route allows",
            Barred::Denied => "the route does not allow this client",
            Barred::Rate => "rate_limit: more than the route allows",
        }
    }
}

/// Counts the request; what it holds is given back when it is over.
///
/// # Errors
/// When it is turned away. Then it holds nothing; only a request that comes too often is not counted
/// as one.
pub(crate) fn admit(
    policy: &Policy,
    request: &Variables<'_>,
    now: Instant,
) -> Result<Option<Box<Held>>, Bar> {
    if !policy.admits(request.client) {
        return Err(Bar { by: Barred::Denied, retry_after: None });
    }
    if let Some(limit) = &policy.rate_limit {
        let counted = with_key(&limit.key, request, |who| limit.rates.count(who, limit.burst, now));
        if let Some(Err(wait)) = counted {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            return Err(Bar { by: Barred::Rate, retry_after: Some(seconds.max(1)) });
        }
    }
    let Some(limit) = &policy.conn_limit else { return Ok(None) };
    match with_key(&limit.key, request, |who| limit.counts.take(who, limit.count)) {
        Some(None) => Err(Bar { by: Barred::Connections, retry_after: Some(SOON) }),
        Some(Some(held)) => Ok(Some(Box::new(held))),
        None => Ok(None),
    }
}

/// `None` for a request without the key: nobody is counted by what is not there (nginx: the empty key).
fn with_key<T>(
    key: &HashKey,
    request: &Variables<'_>,
    count: impl FnOnce(Who<'_>) -> T,
) -> Option<T> {
    if *key.variable() == Variable::ClientIp {
        return request.client.map(|ip: IpAddr| count(Who::client(ip)));
    }
    let value = request.value(key.variable()).filter(|value| !value.is_empty())?;
    Some(count(Who::Text(value.as_bytes())))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_model::route::{ConnLimit, Nets, Rate, RateLimit};
    use tidegate_wire::judge_request;
    use tidegate_worker::RequestId;

    use super::*;

    /// Asks once for a request of that client with these fields.
    fn ask(policy: &Policy, client: &str, fields: &str) -> Result<Option<Box<Held>>, Bar> {
        let head = format!("GET /a?q=1 HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let mut storage = [httparse::EMPTY_HEADER; 8];
        let mut request = httparse::Request::new(&mut storage);
        assert!(request.parse(head.as_bytes()).expect("it parses").is_complete());
        let facts = judge_request(&request).expect("it is sound");
        let id = RequestId::random(1);
        let variables = Variables {
            facts: &facts,
            headers: request.headers,
            host: "h",
            path: b"/a",
            client: client.parse().ok(),
            id: &id,
            upstream: "",
            encryption: None,
        };
        admit(policy, &variables, Instant::now())
    }

    fn key(text: &str) -> HashKey {
        HashKey::parse(text).expect("a key")
    }

    fn rate(text: &str, burst: u32) -> Policy {
        let rate = Rate::parse("1/h").expect("a rate");
        let limit = RateLimit::new(key(text), rate, burst);
        Policy { rate_limit: Some(limit), ..Policy::default() }
    }

    #[test]
    fn who_is_denied_is_not_counted() {
        let deny = Nets::new(["10.0.0.0/8".parse().expect("a network")]);
        let policy = Policy { deny, ..rate("uri", 0) };
        let bar = ask(&policy, "10.0.0.1", "").expect_err("denied");
        assert_eq!((bar.status(), bar.retry_after), (403, None));
        assert!(ask(&policy, "192.0.2.1", "").is_ok());
        assert_eq!(ask(&policy, "192.0.2.1", "").expect_err("too many").status(), 429);
    }

    #[test]
    fn a_rate_is_by_its_key_and_tells_when_to_come_again() {
        let policy = rate("client_ip", 1);
        assert!(ask(&policy, "2001:db8::1", "").is_ok() && ask(&policy, "2001:db8::2", "").is_ok());
        let bar = ask(&policy, "2001:db8::3", "").expect_err("a network is one client");
        assert_eq!(bar.by, Barred::Rate);
        assert!((3_590..=3_600).contains(&bar.retry_after.expect("a time")), "{bar:?}");
        let policy = rate("header:x-user", 0);
        assert!(ask(&policy, "10.0.0.1", "X-User: a\r\n").is_ok());
        assert!(ask(&policy, "10.0.0.1", "X-User: b\r\n").is_ok());
        assert!(ask(&policy, "10.0.0.1", "X-User: a\r\n").is_err());
    }

    #[test]
    fn a_request_without_the_key_is_not_limited() {
        for (text, fields) in [("cookie:uid", "Cookie: x=1\r\n"), ("header:x-user", "X-User: \r\n")]
        {
            let policy = rate(text, 0);
            assert!((0..5).all(|_| ask(&policy, "10.0.0.1", fields).is_ok()), "{text}");
        }
        let policy = rate("client_ip", 0);
        assert!((0..5).all(|_| ask(&policy, "a unix socket", "").is_ok()));
    }

    #[test]
    fn so_many_at_once() {
        let limit = ConnLimit::new(key("query:q"), 2);
        let counts = Arc::clone(&limit.counts);
        let policy = Policy { conn_limit: Some(limit), ..Policy::default() };
        let one = ask(&policy, "10.0.0.1", "").expect("room");
        let two = ask(&policy, "10.0.0.2", "").expect("room");
        let bar = ask(&policy, "10.0.0.3", "").expect_err("full");
        assert_eq!((bar.by, bar.retry_after), (Barred::Connections, Some(1)));
        drop(one);
        assert!(ask(&policy, "10.0.0.3", "").expect("room").is_some());
        drop(two);
        assert!(counts.is_empty());
    }
}
