//! `tidegate` without arguments: two origins that say who they are and echo WebSockets, and a
//! proxy in front of them, with the lines to try.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tidegate_config::{Config, ListenAddress};
use tidegate_model::Address;
use tokio::net::TcpListener;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

/// The configuration of the demo, and the lines to try, for when it runs. Its origins run on threads
/// of their own from here on.
///
/// # Errors
/// When an origin finds no port.
pub(crate) fn config(listen: SocketAddr, admin: SocketAddr) -> Result<(Config, Guide)> {
    let names = ["one", "two", "three"];
    let origins = names.iter().map(|name| origin(name)).collect::<Result<Vec<SocketAddr>>>()?;
    let servers = origins[..2].iter().map(|address| Address::parse(&address.to_string()));
    let mut config = Config::quick(servers.collect::<Result<_, _>>()?, ListenAddress::Tcp(listen));
    config.admin.listen = vec![ListenAddress::Tcp(admin)];
    Ok((config, Guide { origins }))
}

/// What to tell who started the demo.
pub(crate) struct Guide {
    origins: Vec<SocketAddr>,
}

impl Guide {
    /// Prints the lines to try; the addresses are those that were bound.
    pub(crate) fn print(&self, listen: &str, admin: &str) {
        println!(
            "Tidegate's demo: two origins behind a proxy on http://{listen}, admin API on http://{admin}."
        );
        println!("Ctrl-C ends it. Try, in another terminal:\n");
        let all: String = self.origins.iter().map(|origin| format!("server {origin};")).collect();
        let lines = [
            ("a request; again, and the other origin answers", format!("curl http://{listen}/")),
            ("the pools", format!("curl http://{admin}/list")),
            ("their servers, with every parameter", format!("curl http://{admin}/detail")),
            (
                "add a third server, running already; no reload",
                format!("curl -d '{all}' http://{admin}/upstream/default"),
            ),
            (
                "a WebSocket that stays open whatever you change",
                format!(
                    "npx wscat -c ws://{listen}/ws   # or: python3 -m websockets ws://{listen}/ws"
                ),
            ),
            ("the metrics", format!("curl http://{admin}/metrics")),
        ];
        for (what, line) in lines {
            println!("  # {what}\n  {line}\n");
        }
    }
}

/// Starts an origin and says where it is.
fn origin(name: &'static str) -> Result<SocketAddr> {
    let socket =
        std::net::TcpListener::bind("127.0.0.1:0").context("no port for an origin of the demo")?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("origin-{name}")).spawn(move || {
        runtime.block_on(async move {
            // Bound above, so only a broken runtime could refuse it.
            if let Ok(listener) = TcpListener::from_std(socket) {
                serve(name, address, listener).await;
            }
        });
    })?;
    Ok(address)
}

async fn serve(name: &'static str, address: SocketAddr, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let service = service_fn(move |request| async move {
            Ok::<_, Infallible>(answer(name, address, request))
        });
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::spawn(async move {
            // A client that leaves in the middle is no news here.
            let _ = connection.await;
        });
    }
}

fn answer(
    name: &str,
    address: SocketAddr,
    mut request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    if let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) {
        let accept = derive_accept_key(key.as_bytes());
        tokio::spawn(echo(hyper::upgrade::on(&mut request)));
        let switching = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, accept)
            .body(Full::default());
        return switching.unwrap_or_default();
    }
    let from =
        request.headers().get("x-forwarded-for").and_then(|ip| ip.to_str().ok()).unwrap_or("?");
    let text = format!(
        "origin {name} ({address}) answers {} {} for {from}\n",
        request.method(),
        request.uri()
    );
    Response::new(Full::from(text))
}

/// Sends every message back until the client closes.
async fn echo(upgrade: hyper::upgrade::OnUpgrade) {
    use futures_util::{SinkExt as _, StreamExt as _};

    let Ok(upgraded) = upgrade.await else {
        return;
    };
    let mut socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}
