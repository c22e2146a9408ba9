//! What hyper's server hears.

use std::{cell::RefCell, convert::Infallible};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncWriteExt, duplex},
    runtime::{Builder, Runtime},
};

use crate::Heard;

/// Room for all requests, and for all answers.
const ROOM: usize = 1 << 20;

pub(crate) struct Hyper(Runtime);

impl Hyper {
    pub(crate) fn new() -> Self {
        Self(Builder::new_current_thread().build().expect("a runtime without drivers"))
    }

    /// The requests that hyper hears in `bytes`, behind which the client closes.
    pub(crate) fn hears(&self, bytes: &[u8]) -> Vec<Heard> {
        assert!(bytes.len() < ROOM, "more bytes than there is room for");
        let heard = RefCell::new(Vec::new());
        self.0.block_on(async {
            let (mut client, server) = duplex(ROOM);
            client.write_all(bytes).await.expect("there is room");
            client.shutdown().await.expect("memory closes");
            let service = service_fn(|request| listen(&heard, request));
            let mut http1 = http1::Builder::new();
            // A client that has closed for writing still wants all its answers.
            http1.half_close(true);
            // How it ends is no matter: what it heard is.
            let _ = http1.serve_connection(TokioIo::new(server), service).await;
        });
        heard.into_inner()
    }
}

async fn listen(
    heard: &RefCell<Vec<Heard>>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let one = Heard {
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        authority: head.uri.authority().map(ToString::to_string),
        body: None,
    };
    let at = heard.borrow().len();
    heard.borrow_mut().push(one);
    let body = body.collect().await.ok().map(|collected| collected.to_bytes().to_vec());
    heard.borrow_mut()[at].body = body;
    Ok(Response::new(Empty::new()))
}
