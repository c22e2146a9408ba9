//! One question in a connection of HTTP/2, and its answer: what the probes that speak it have in
//! common.

use std::{cell::RefCell, error::Error, pin::pin, rc::Rc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, client::conn::http2, rt::Executor};
use hyper_util::rt::TokioIo;
use tokio::{task::JoinSet, time::Instant};

use super::{Fault, Found, dial::Stream, farewell};

const WINDOW: u32 = 64 * 1024;

/// The tasks of one connection; they end with its probe.
#[derive(Clone, Default)]
pub(super) struct Tasks(Rc<RefCell<JoinSet<()>>>);

struct EndWithProbe(Tasks);

/// Asks, and has the answer judged while the connection goes on.
pub(super) async fn ask(
    stream: Stream,
    request: Request<Full<Bytes>>,
    deadline: Instant,
    judge: impl AsyncFnOnce(Response<Incoming>) -> Found,
) -> Found {
    let tasks = EndWithProbe(Tasks::default());
    let mut builder = http2::Builder::new(tasks.0.clone());
    builder.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let opened = builder.handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let (mut sender, connection) = opened;
    let mut connection = pin!(connection);
    let answered = async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        judge(response).await
    };
    let found = tokio::select! {
        biased;
        found = answered => found,
        ended = &mut connection => Err(match ended {
            Ok(()) => Fault::server("the connection was closed without an answer"),
            Err(error) => broken(&error),
        }),
    };
    if found.is_ok() {
        drop(sender);
        farewell(deadline, tasks.finish()).await;
    }
    found
}

/// hyper keeps the reason behind the error.
pub(super) fn broken(error: &hyper::Error) -> Fault {
    let reason = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    Fault::server(format!("{error}{reason}"))
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.borrow_mut().spawn_local(task);
    }
}

impl EndWithProbe {
    /// Waits until the connection has said what it has to.
    async fn finish(&self) {
        let mut tasks = std::mem::take(&mut *self.0.0.borrow_mut());
        while tasks.join_next().await.is_some() {}
    }
}

impl Drop for EndWithProbe {
    fn drop(&mut self) {
        self.0.0.borrow_mut().abort_all();
    }
}
