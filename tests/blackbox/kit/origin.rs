//! Scripted servers. An origin takes connections on a port of its own, gives each to its script on a
//! thread of its own, and keeps every request it was sent.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    ops::{Deref, DerefMut},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use socket2::{Domain, Type};

use super::{Broken, DEADLINE, Message, Socket};

/// A server that does as its script says. Its port is closed when it is dropped.
pub struct Origin {
    place: Place,
    shared: Arc<Shared>,
}

/// One connection, as its script sees it.
pub struct Conn {
    socket: Socket,
    shared: Arc<Shared>,
    /// 0 for the first connection this origin took.
    pub number: usize,
}

enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// A port that is held, but refuses.
    Refused(SocketAddr, #[expect(dead_code, reason = "holds the port")] socket2::Socket),
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    log: Mutex<Log>,
    changed: Condvar,
}

#[derive(Default)]
struct Log {
    requests: Vec<Message>,
    taken: usize,
    ended: usize,
}

impl Origin {
    /// Runs `script` for every connection.
    pub fn new(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        Self::over(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// The same on a port of the test's choice.
    pub fn over(listener: TcpListener, script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        let place = Place::Tcp(listener.local_addr().unwrap());
        let take = move || listener.accept().map(|(stream, _)| no_delay(stream));
        Self::run(place, take, script)
    }

    /// The same, where somebody else takes the connections.
    pub fn taking(
        address: SocketAddr,
        take: impl Fn() -> std::io::Result<Socket> + Send + 'static,
        script: impl Fn(&mut Conn) + Send + Sync + 'static,
    ) -> Self {
        Self::run(Place::Tcp(address), take, script)
    }

    /// The same on a unix socket.
    pub fn unix(path: &Path, script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let take = move || listener.accept().map(|(stream, _)| Socket::over(stream));
        Self::run(Place::Unix(path.to_owned()), take, script)
    }

    /// Answers every request with its name, and keeps the connection.
    pub fn named(name: &'static str) -> Self {
        Self::new(move |conn| conn.answer_all(&named_reply(name)))
    }

    /// Answers every request with this status and body, and keeps the connection.
    pub fn answering(status: u16, body: &str) -> Self {
        let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n", body.len());
        let reply = [head.as_bytes(), body.as_bytes()].concat();
        Self::new(move |conn| conn.answer_all(&reply))
    }

    /// Reads a whole request, answers with these bytes, and closes.
    pub fn raw(reply: impl Into<Vec<u8>>) -> Self {
        let reply = reply.into();
        Self::new(move |conn| {
            if conn.receive().is_ok() {
                let _ = conn.try_send(&reply);
            }
        })
    }

    /// Answers with the body it was sent.
    pub fn echo() -> Self {
        Self::new(|conn| {
            while let Ok(request) = conn.receive() {
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
                conn.send([head.as_bytes(), &request.body].concat());
            }
        })
    }

    /// Takes requests and never answers.
    pub fn silent() -> Self {
        Self::new(|conn| while conn.receive().is_ok() {})
    }

    /// Closes each connection once a request has come, without an answer.
    pub fn closing() -> Self {
        Self::new(|conn| drop(conn.receive()))
    }

    /// Opens a tunnel for every request and echoes its bytes, half-close included.
    pub fn echo_tunnel() -> Self {
        Self::new(|conn| {
            if conn.receive().is_ok() {
                conn.send(SWITCHING);
                while let Ok(bytes) = conn.some() {
                    if conn.try_send(bytes).is_err() {
                        return;
                    }
                }
                conn.finish();
            }
        })
    }

    /// A server whose port refuses connections, and that nobody else can take meanwhile.
    pub fn refusing() -> Self {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { place: Place::Refused(address, socket), shared: Arc::default() }
    }

    fn run(
        place: Place,
        take: impl Fn() -> std::io::Result<Socket> + Send + 'static,
        script: impl Fn(&mut Conn) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let (ours, script) = (Arc::clone(&shared), Arc::new(script));
        thread::spawn(move || {
            while let Ok(socket) = take() {
                if ours.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let number = ours.note(|log| {
                    log.taken += 1;
                    log.taken - 1
                });
                let (shared, script) = (Arc::clone(&ours), Arc::clone(&script));
                let work = move || Conn { socket, shared, number }.play(&*script);
                // Thousands of them at once must fit.
                thread::Builder::new().stack_size(256 * 1024).spawn(work).unwrap();
            }
        });
        Self { place, shared }
    }

    /// As a `server` of a pool is written.
    pub fn address(&self) -> String {
        match &self.place {
            Place::Tcp(address) | Place::Refused(address, _) => address.to_string(),
            Place::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    pub fn requests(&self) -> Vec<Message> {
        self.shared.log.lock().unwrap().requests.clone()
    }

    pub fn last_request(&self) -> Message {
        self.requests().pop().expect("a request came")
    }

    /// How many whole requests have come.
    pub fn count(&self) -> usize {
        self.shared.log.lock().unwrap().requests.len()
    }

    /// How many connections have been taken.
    pub fn connections(&self) -> usize {
        self.shared.log.lock().unwrap().taken
    }

    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) {
        self.shared.wait(&format!("{count} requests"), |log| log.requests.len() >= count);
    }

    #[track_caller]
    pub fn wait_for_connections(&self, count: usize) {
        self.shared.wait(&format!("{count} connections"), |log| log.taken >= count);
    }

    /// Waits until that many scripts have ended; most end when the other side closes.
    #[track_caller]
    pub fn wait_for_ended(&self, count: usize) {
        self.shared.wait(&format!("{count} ended connections"), |log| log.ended >= count);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        match &self.place {
            Place::Tcp(address) => drop(TcpStream::connect(address)),
            Place::Unix(path) => drop(std::os::unix::net::UnixStream::connect(path)),
            Place::Refused(..) => {}
        }
    }
}

impl Conn {
    /// Reads a whole request and notes it down.
    pub fn receive(&mut self) -> Result<Message, Broken> {
        let request = self.socket.request()?;
        self.note(&request);
        Ok(request)
    }

    /// Reads only a request's head and notes it down.
    pub fn receive_head(&mut self) -> Result<Message, Broken> {
        let head = self.socket.head()?;
        let request = Message { head, body: Vec::new(), trailers: Vec::new(), interim: Vec::new() };
        self.note(&request);
        Ok(request)
    }

    /// Gives every request the same answer, as long as the other side keeps the connection.
    pub fn answer_all(&mut self, reply: &[u8]) {
        while let Ok(request) = self.receive() {
            if self.try_send(reply).is_err() || request.head.closes() {
                return;
            }
        }
    }

    /// Ends the connection with a reset.
    pub fn reset(&self) {
        self.socket.inner().set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    fn note(&self, request: &Message) {
        self.shared.note(|log| log.requests.push(request.clone()));
    }

    fn play(mut self, script: &(impl Fn(&mut Self) + ?Sized)) {
        script(&mut self);
        let shared = Arc::clone(&self.shared);
        drop(self);
        shared.note(|log| log.ended += 1);
    }
}

impl Deref for Conn {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.socket
    }
}

impl DerefMut for Conn {
    fn deref_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }
}

impl Shared {
    fn note<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let result = change(&mut self.log.lock().unwrap());
        self.changed.notify_all();
        result
    }

    #[track_caller]
    fn wait(&self, what: &str, done: impl Fn(&Log) -> bool) {
        let log = self.log.lock().unwrap();
        let (log, _) = self.changed.wait_timeout_while(log, DEADLINE, |log| !done(log)).unwrap();
        let came = done(&log);
        let (taken, requests, ended) = (log.taken, log.requests.len(), log.ended);
        drop(log);
        assert!(came, "waited for {what}: {taken} taken, {requests} requests, {ended} ended");
    }
}

/// The answer of a server to a request for a WebSocket that needs no proof of the key.
pub const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A plain 200 whose body is `name`.
pub fn named_reply(name: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()).into_bytes()
}

fn no_delay(stream: TcpStream) -> Socket {
    stream.set_nodelay(true).unwrap();
    Socket::over(stream)
}
