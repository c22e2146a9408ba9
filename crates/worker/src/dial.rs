//! Connecting to a server, the same for every engine: from the pool's own addresses in turn, with
//! idle connections given up when descriptors or ports run out, with word of the client in front of
//! everything else where the pool wants it, and over TLS where it wants that.

use std::time::Duration;

use rustix::io::Errno;
use tidegate_h2::Asking;
use tidegate_model::upstream::SendProxy;
use tidegate_net::{
    ConnectError, Place, SecureBy, Socket, Timer, TlsClient, connect, greet, in_time,
    is_local_error,
};
use tidegate_pool::{Unready, Via, sessions_of};
use tidegate_table::{Attempt, Handshake, Pool, Server, Target};
use tidegate_wire::proxy::{self, Addresses, Version};

use crate::worker::Worker;

/// A new connection to a server.
#[derive(Clone, Copy, Debug)]
pub struct Dial<'d> {
    pub worker: &'d Worker,
    pub pool: &'d Pool,
    pub server: &'d Server,
    /// It is set anew by [`Dial::connect`] and [`Dial::announce`]; shaking hands has what connecting
    /// has left.
    pub timer: &'d Timer,
    pub limit: Duration,
}

impl Dial<'_> {
    /// Connects. Cancel safe.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self) -> Result<Socket, ConnectError> {
        let connected = self.connect_once().await;
        if !matches!(connected, Err(ConnectError::Local(_))) {
            return connected;
        }
        // Idle connections are what can be given up for this one.
        self.worker.totals().connect_errors.add(1);
        self.worker.idle.borrow_mut().clear();
        self.connect_once().await
    }

    async fn connect_once(&self) -> Result<Socket, ConnectError> {
        let (place, source) = match &self.server.target {
            Target::Ip(address) => {
                let source = self.worker.next_source(&self.pool.upstream.source, address.ip());
                (Place::Ip(*address), source)
            }
            Target::Unix(path) => (Place::Unix(path), None),
        };
        let socket = connect(place, source, self.timer, self.limit).await?;
        // The last descriptors are not for traffic.
        match self.worker.shared.room.fits_server(socket.number()) {
            true => Ok(socket),
            false => Err(ConnectError::Local(Errno::MFILE.into())),
        }
    }

    /// Tells the server whom the connection is for, if its pool wants that: the client and where it
    /// connected to, or that this is nobody's with an address.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn announce(
        &self,
        server: &mut Socket,
        client: Option<&Addresses>,
    ) -> Result<(), ConnectError> {
        let version = match self.pool.upstream.send_proxy {
            SendProxy::Off => return Ok(()),
            SendProxy::V1 => Version::V1,
            SendProxy::V2 => Version::V2,
        };
        let header = proxy::write(version, client);
        greet(server, header.as_bytes(), self.timer, self.limit).await
    }

    /// Shakes hands over the connection, if its pool wants TLS. With what the connection is to remember
    /// of how it was made. Cancel safe: dropped, it closes the connection.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn secure(&self, socket: Socket) -> Result<(Socket, Via), ConnectError> {
        self.secure_by(tidegate_pool::client(self.pool), socket).await
    }

    /// The same for a connection that requests share, which it then is: in HTTP/2, as both sides agree on
    /// by ALPN, or know beforehand where there is no TLS.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn share(&self, socket: Socket) -> Result<(Asking, Via), ConnectError> {
        let made = tidegate_pool::sharing_client(self.pool);
        let (socket, via) = self.secure_by(made, socket).await?;
        if socket.tls().is_some_and(|facts| !facts.http2) {
            let reason = "shook hands, but the server does not speak HTTP/2 (ALPN)";
            return Err(ConnectError::Tls(reason.into()));
        }
        let (asking, driving) = match in_time(self.timer, Asking::begin(socket)).await {
            Some(Ok(begun)) => begun,
            Some(Err(error)) if is_local_error(&error) => return Err(ConnectError::Local(error)),
            Some(Err(error)) => return Err(ConnectError::Http2(error)),
            None => return Err(ConnectError::TimedOut(self.limit)),
        };
        let server = self.server.state.label().clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = driving.run().await {
                tracing::debug!(server = &*server, %error, "HTTP/2 connection to a server broke");
            }
        });
        Ok((asking, via))
    }

    async fn secure_by(
        &self,
        made: Result<Option<(TlsClient, Via)>, Unready>,
        socket: Socket,
    ) -> Result<(Socket, Via), ConnectError> {
        let made = made.map_err(|Unready(reason)| ConnectError::Unready(reason))?;
        let (Some(tls), Some((client, via))) = (&self.pool.upstream.tls, made) else {
            return Ok((socket, Via::default()));
        };
        let (name, sessions) = (tls.name_of(&self.server.spec.address), sessions_of(self.server));
        let by = SecureBy { client: &client, name: &name, sessions: &sessions };
        let shaken = Box::pin(tidegate_net::secure(socket, by, self.timer, self.limit)).await;
        let outcome = match &shaken {
            Ok(socket) if socket.tls().is_some_and(|facts| facts.resumed) => Handshake::Resumed,
            Ok(_) => Handshake::Full,
            Err(_) => Handshake::Failed,
        };
        self.pool.live.cells.of(self.worker.index).handshakes(outcome).add(1);
        Ok((shaken?, via))
    }
}

/// What an attempt is counted as that ended without a connection.
pub fn unconnected(error: &ConnectError) -> Attempt {
    match error {
        ConnectError::TimedOut(_) | ConnectError::TlsTimedOut(_) => Attempt::ConnectTimedOut,
        ConnectError::Local(_) | ConnectError::Refused(_) | ConnectError::Http2(_) => {
            Attempt::ConnectFailed
        }
        ConnectError::Tls(_) | ConnectError::Unready(_) => Attempt::TlsFailed,
    }
}
