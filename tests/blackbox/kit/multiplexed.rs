//! Scripted servers that speak HTTP/2, by the h2 crate: in plain text by prior knowledge, or over TLS. Each
//! request is given to the script as a task of its own, and noted down.

use std::{
    future::Future,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use bytes::Bytes;
use h2::{
    RecvStream,
    server::{Builder, SendResponse},
};
use http::{HeaderMap, Method, Request, Response, Uri};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, watch},
};
use tokio_rustls::TlsAcceptor;

use super::{eventually, secure::Guard};

/// A server of HTTP/2 that does as its script says. Everything of it ends when it is dropped.
pub struct Multiplexed {
    address: SocketAddr,
    shared: Arc<Shared>,
    retire: watch::Sender<()>,
}

/// One request, and what answers it.
pub struct Call {
    pub request: Request<RecvStream>,
    pub respond: SendResponse<Bytes>,
}

/// What came of a request before its body.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub fields: HeaderMap,
}

#[derive(Default)]
struct Shared {
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    stopped: Notify,
}

/// What every connection of one server has.
struct Serving<S> {
    shared: Arc<Shared>,
    settings: fn(&mut Builder),
    script: S,
    retired: watch::Receiver<()>,
}

impl Multiplexed {
    /// Plays `script` for every request.
    pub fn new<A>(script: impl Fn(Call) -> A + Clone + Send + Sync + 'static) -> Self
    where
        A: Future<Output = ()> + Send + 'static,
    {
        Self::with(|_| (), script)
    }

    /// The same with settings of its own.
    pub fn with<A>(
        settings: fn(&mut Builder),
        script: impl Fn(Call) -> A + Clone + Send + Sync + 'static,
    ) -> Self
    where
        A: Future<Output = ()> + Send + 'static,
    {
        Self::run(None, settings, script)
    }

    /// The same over TLS.
    pub fn guarded<A>(
        guard: &Guard<'_>,
        script: impl Fn(Call) -> A + Clone + Send + Sync + 'static,
    ) -> Self
    where
        A: Future<Output = ()> + Send + 'static,
    {
        Self::run(Some(TlsAcceptor::from(guard.config())), |_| (), script)
    }

    /// Answers every request with its name.
    pub fn named(name: &'static str) -> Self {
        Self::new(move |call: Call| async move { call.answer(200, name) })
    }

    /// Answers with the body it was sent, as it comes, and its trailers.
    pub fn echo() -> Self {
        Self::new(Call::echo)
    }

    fn run<A>(
        tls: Option<TlsAcceptor>,
        settings: fn(&mut Builder),
        script: impl Fn(Call) -> A + Clone + Send + Sync + 'static,
    ) -> Self
    where
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(Shared::default()));
        let (retire, retired) = watch::channel(());
        let serving = Arc::new(Serving { shared: Arc::clone(&shared), settings, script, retired });
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(serve(listener, tls, serving));
        });
        Self { address, shared, retire }
    }

    /// As a `server` of a pool is written.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The requests that have come.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// How many connections have been taken, and have said that they speak HTTP/2.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) {
        eventually(&format!("{count} requests"), || self.asked().len() >= count);
    }

    /// Says on every connection that it takes no more requests; those that there are go on.
    pub fn retire(&self) {
        self.retire.send_replace(());
    }
}

impl Drop for Multiplexed {
    fn drop(&mut self) {
        self.shared.stopped.notify_one();
    }
}

impl Call {
    /// Answers in one go.
    pub fn answer(mut self, status: u16, body: &'static str) {
        let response = Response::builder().status(status).body(()).unwrap();
        // Whoever asked may be gone.
        if let Ok(mut out) = self.respond.send_response(response, body.is_empty())
            && !body.is_empty()
        {
            let _ = out.send_data(body.into(), true);
        }
    }

    /// Reads all of the body.
    pub async fn body(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        let body = self.request.body_mut();
        while let Some(Ok(piece)) = body.data().await {
            body.flow_control().release_capacity(piece.len()).unwrap();
            whole.extend_from_slice(&piece);
        }
        whole
    }

    pub async fn echo(mut self) {
        let Ok(mut out) = self.respond.send_response(Response::new(()), false) else { return };
        let mut body = self.request.into_body();
        while let Some(Ok(piece)) = body.data().await {
            body.flow_control().release_capacity(piece.len()).unwrap();
            if out.send_data(piece, false).is_err() {
                return;
            }
        }
        let _ = match body.trailers().await {
            Ok(Some(trailers)) => out.send_trailers(trailers),
            Ok(None) => out.send_data(Bytes::new(), true),
            // Nobody is left to hear it.
            Err(_) => Ok(()),
        };
    }
}

async fn serve<S, A>(listener: TcpListener, tls: Option<TlsAcceptor>, serving: Arc<Serving<S>>)
where
    S: Fn(Call) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let stream = tokio::select! {
            taken = listener.accept() => taken.unwrap().0,
            () = serving.shared.stopped.notified() => return,
        };
        stream.set_nodelay(true).unwrap();
        let (tls, serving) = (tls.clone(), Arc::clone(&serving));
        tokio::spawn(async move {
            match tls {
                None => converse(stream, &serving).await,
                Some(acceptor) => {
                    if let Ok(secure) = acceptor.accept(stream).await {
                        converse(secure, &serving).await;
                    }
                }
            }
        });
    }
}

async fn converse<S, A>(stream: impl AsyncRead + AsyncWrite + Unpin, serving: &Serving<S>)
where
    S: Fn(Call) -> A,
    A: Future<Output = ()> + Send + 'static,
{
    let mut builder = Builder::new();
    (serving.settings)(&mut builder);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    serving.shared.connections.fetch_add(1, Ordering::SeqCst);
    let mut retired = serving.retired.clone();
    // It is for the connections that there were.
    retired.mark_unchanged();
    loop {
        let next = tokio::select! {
            next = connection.accept() => next,
            Ok(()) = retired.changed() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = next else { return };
        let asked = Asked {
            method: request.method().clone(),
            uri: request.uri().clone(),
            fields: request.headers().clone(),
        };
        serving.shared.asked.lock().unwrap().push(asked);
        tokio::spawn((serving.script)(Call { request, respond }));
    }
}
