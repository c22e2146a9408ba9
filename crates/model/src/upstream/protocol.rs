//! What is spoken to the servers of a pool, and what of a pool does not go with it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CheckKind, CheckSpec, SendProxy, UpstreamSpec};

/// The version of HTTP that servers are spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = UpstreamProtocol)]
pub enum Protocol {
    #[default]
    Http1,
    /// Over TLS as ALPN agrees on it, else by prior knowledge.
    Http2,
}

/// A key of a pool that does not go with its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// `send_proxy` or `check`.
    pub key: &'static str,
    pub reason: &'static str,
}

impl UpstreamSpec {
    /// What cannot be together once `defaults` fill the gaps.
    pub fn contradiction(&self, defaults: &Self) -> Option<Contradiction> {
        if self.protocol.or(defaults.protocol).unwrap_or_default() == Protocol::Http1 {
            return None;
        }
        let found = |key, reason| Some(Contradiction { key, reason });
        if self.send_proxy.or(defaults.send_proxy).unwrap_or_default() != SendProxy::Off {
            return found(
                "send_proxy",
                "does not go with protocol \"http2\": one connection carries many clients",
            );
        }
        let check = CheckSpec::resolve(self.check.as_ref(), defaults.check.as_ref())?;
        // Another port may speak what it likes.
        match check.kind {
            _ if check.port != 0 => None,
            CheckKind::Websocket => found(
                "check",
                "type \"websocket\" speaks HTTP/1.1, and protocol is \"http2\": use \"http\", \"grpc\" \
                 or \"tcp\", or another port",
            ),
            CheckKind::Http if check.send.is_some() => found(
                "check",
                "what send holds is HTTP/1, and protocol is \"http2\": use method, path and headers, \
                 or another port",
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> UpstreamSpec {
        serde_json::from_str(json).expect("a definition")
    }

    #[test]
    fn what_speaks_for_one_client_or_in_http_1_does_not_go_with_http_2() {
        for (json, key) in [
            (r#"{"protocol":"http2"}"#, None),
            (r#"{"protocol":"http2","send_proxy":"off","tls":{}}"#, None),
            (r#"{"protocol":"http2","send_proxy":"v1"}"#, Some("send_proxy")),
            (r#"{"protocol":"http1","send_proxy":"v1","check":{"type":"websocket"}}"#, None),
            (r#"{"protocol":"http2","check":{"type":"websocket"}}"#, Some("check")),
            (r#"{"protocol":"http2","check":{"type":"websocket","port":1}}"#, None),
            (r#"{"protocol":"http2","check":{"send":"GET / HTTP/1.0\r\n\r\n"}}"#, Some("check")),
            (r#"{"protocol":"http2","check":{}}"#, None),
            (r#"{"protocol":"http2","check":{"type":"grpc"}}"#, None),
            (r#"{"protocol":"http2","check":{"type":"tcp"}}"#, None),
            (r#"{"protocol":"http2","check":{"type":"off"}}"#, None),
        ] {
            let found = spec(json).contradiction(&UpstreamSpec::default());
            assert_eq!(found.map(|found| found.key), key, "{json}");
            // Wherever each half of it comes from.
            let found = UpstreamSpec::default().contradiction(&spec(json));
            assert_eq!(found.map(|found| found.key), key, "{json} by default");
        }
    }

    #[test]
    fn it_is_http_1_unless_said() {
        let meant = |own: &str, defaults: &str| spec(own).resolve(&spec(defaults)).protocol;
        assert_eq!(meant("{}", "{}"), Protocol::Http1);
        assert_eq!(meant("{}", r#"{"protocol":"http2"}"#), Protocol::Http2);
        assert_eq!(meant(r#"{"protocol":"http1"}"#, r#"{"protocol":"http2"}"#), Protocol::Http1);
        let text = r#"{"protocol":"http2"}"#;
        assert_eq!(serde_json::to_string(&spec(text)).expect("it prints"), text);
    }
}
