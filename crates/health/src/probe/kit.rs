//! What the tests of probes share: a runtime as the checks have it, servers that do as they are
//! told, and a check to ask them.

use std::{collections::BTreeMap, sync::Arc};

use tidegate_model::{
    Address, Check, Name, ServerSpec, Span,
    address::Place,
    upstream::{CheckKind, CheckStart, SendProxy, StatusPattern},
};
use tidegate_table::{Server, ServerState, Target};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    runtime::{Builder, LocalOptions},
    task::spawn_local,
};

use super::{Found, Inquirer, Subject};

/// A timeout that is to pass.
pub(crate) const SOON: Span = Span::from_millis(200);
/// One that is not.
const LATER: Span = Span::from_secs(60);

/// A server and a check that may be altered before it is asked.
pub(crate) struct Asking {
    pub(crate) check: Check,
    pub(crate) send_proxy: SendProxy,
    /// Whether that is what its pool speaks.
    pub(crate) http2: bool,
    server: Server,
}

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(test)
}

/// A server that treats every connection that way; its address.
pub(crate) async fn serve<F: Future<Output = ()> + 'static>(
    mut treat: impl FnMut(TcpStream) -> F + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address").to_string();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn_local(treat(stream));
        }
    });
    address
}

/// Reads a request up to the end of its head.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a request"));
    }
    String::from_utf8(head).expect("text")
}

impl Asking {
    pub(crate) fn new(kind: CheckKind, address: &str) -> Self {
        let address = Address::parse(address).expect("an address");
        let target = match address.place() {
            Place::Ip(ip) => Target::Ip(*ip),
            Place::Unix(path) => Target::Unix(Arc::clone(path)),
            Place::Host(..) => Target::Ip(([127, 0, 0, 1], 1).into()),
        };
        let name = Name::new("p").expect("a name");
        let server = Server {
            key: address.as_str().into(),
            ordinal: 0,
            target,
            state: Arc::new(ServerState::new(&name, address.as_str(), 0, 1)),
            spec: ServerSpec::new(address),
            draining: None,
            since: 0,
        };
        Self { check: check(kind), send_proxy: SendProxy::Off, http2: false, server }
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        let subject = Subject::new(&self.server, &self.check, self.send_proxy);
        Subject { http2: self.http2, ..subject }
    }

    pub(crate) async fn ask(&self) -> Found {
        Inquirer::default().ask(&self.subject()).await
    }
}

fn check(kind: CheckKind) -> Check {
    Check {
        kind,
        path: "/".into(),
        method: "GET".into(),
        headers: BTreeMap::new(),
        send: None,
        service: String::new(),
        expect_status: vec![StatusPattern::Class(2), StatusPattern::Class(3)],
        expect_body: None,
        port: 0,
        interval: LATER,
        fast_interval: LATER,
        timeout: LATER,
        rise: 1,
        fall: 1,
        start: CheckStart::Up,
    }
}
