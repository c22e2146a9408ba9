//! Who may ask: Host, Origin, tokens, and the user of a unix socket.

use std::os::unix::fs::PermissionsExt;

use tidegate_admin::{Settings, Token};
use tidegate_model::Access;
use tidegate_net::ListenAddress;
use tokio::net::UnixStream;

use crate::kit::{Site, any_port, body, code, exchange, header};

fn settings() -> Settings {
    Settings {
        tokens: vec![Token::new("ops", "s3cret", Access::default())],
        hosts: vec!["tidegate".into()],
        dyups: true,
    }
}

#[tokio::test]
async fn only_names_of_this_process_are_answered() {
    let site = Site::start(&[], Settings { tokens: Vec::new(), ..settings() }, &any_port(), true);
    for (lines, expected) in [
        ("HTTP/1.0\n", "204"),
        ("HTTP/1.0\nHost: localhost:18882\n", "204"),
        ("HTTP/1.0\nHost: TIDEGATE\n", "204"),
        ("HTTP/1.0\nHost: 127.0.0.1:1\n", "204"),
        ("HTTP/1.0\nHost: [::1]\n", "204"),
        ("HTTP/1.0\nHost: evil.example\n", "403"),
        ("HTTP/1.0\nHost: localhost.evil.example\n", "403"),
        ("HTTP/1.0\nHost: 10.0.0.1\n", "403"),
        ("HTTP/1.0\nHost:\n", "403"),
        ("HTTP/1.0\nHost: localhost\nHost: localhost\n", "403"),
        ("HTTP/1.1\nConnection: close\n", "403"),
        ("HTTP/1.0\nHost: localhost\nOrigin: http://evil.example\n", "403"),
        ("HTTP/1.0\nHost: localhost\nOrigin: http://localhost\n", "204"),
        ("HTTP/1.0\nHost: localhost\nSec-Fetch-Site: cross-site\n", "403"),
    ] {
        let answer = site.send(format!("GET /list {lines}\n").as_bytes()).await;
        assert_eq!(code(&answer), expected, "{lines:?}");
        if expected == "403" {
            let kind = header(&answer, "Content-Type");
            assert_eq!(kind, Some("application/problem+json"), "{lines:?}");
        }
    }
    let absolute = "GET http://evil.example/list HTTP/1.0\nHost: localhost\n\n";
    assert_eq!(code(&site.send(absolute.as_bytes()).await), "403");
    site.stop().await;
}

#[tokio::test]
async fn with_tokens_every_path_wants_one_but_the_probes() {
    let site = Site::start(&[("a", "server 10.0.0.1;")], settings(), &any_port(), true);
    for path in ["/list", "/metrics", "/api/v1/status", "/api/v1/nope", "/%68ealthz", "/healthz/"] {
        let answer = site.get(path).await;
        assert_eq!(code(&answer), "401", "{path}");
        assert_eq!(header(&answer, "WWW-Authenticate"), Some("Bearer realm=\"tidegate\""));
        assert!(body(&answer).contains("\"errors\":[{\"field\":\"Authorization\""), "{answer}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(code(&site.get(path).await), "200", "{path}");
    }
    let with = |token: &str| {
        format!("DELETE /upstream/a HTTP/1.0\nHost: localhost\nAuthorization: Bearer {token}\n\n")
    };
    assert_eq!(code(&site.send(with("s3cre").as_bytes()).await), "401");
    assert_eq!(body(&site.send(with("s3cret").as_bytes()).await), "success");
    site.stop().await;
}

#[tokio::test]
async fn a_unix_socket_is_for_its_own_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let address = ListenAddress::Unix(path.clone());
    let settings = Settings { tokens: Vec::new(), ..settings() };
    let site = Site::start(&[("a", "server 10.0.0.1;")], settings, &address, true);
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let stream = UnixStream::connect(&path).await.expect("it listens");
    let answer = exchange(stream, b"GET /list HTTP/1.0\nHost: localhost\n\n").await;
    assert_eq!(body(&answer), "a\n");
    site.stop().await;
}
