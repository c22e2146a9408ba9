//! Connecting to a server, the same for every engine: from the pool's own addresses in turn, with
//! idle connections given up when descriptors or ports run out, and with word of the client in front
//! of everything else where the pool wants it.

use std::time::Duration;

use rustix::io::Errno;
use tidegate_model::upstream::SendProxy;
use tidegate_net::{ConnectError, Place, Socket, Timer, connect, greet};
use tidegate_table::{Pool, Server, Target};
use tidegate_wire::proxy::{self, Addresses, Version};

use crate::worker::Worker;

/// A new connection to `server` within `limit`, told by `timer`. Cancel safe.
///
/// # Errors
/// See [`ConnectError`].
pub async fn dial(
    worker: &Worker,
    pool: &Pool,
    server: &Server,
    timer: &Timer,
    limit: Duration,
) -> Result<Socket, ConnectError> {
    let once = async || {
        let (place, source) = match &server.target {
            Target::Ip(address) => {
                let source = worker.next_source(&pool.upstream.source, address.ip());
                (Place::Ip(*address), source)
            }
            Target::Unix(path) => (Place::Unix(path), None),
        };
        let socket = connect(place, source, timer, limit).await?;
        // The last descriptors are not for traffic.
        match worker.shared.room.fits_server(socket.number()) {
            true => Ok(socket),
            false => Err(ConnectError::Local(Errno::MFILE.into())),
        }
    };
    let connected = once().await;
    if !matches!(connected, Err(ConnectError::Local(_))) {
        return connected;
    }
    // Idle connections are what can be given up for this one.
    worker.totals().connect_errors.add(1);
    worker.idle.borrow_mut().clear();
    once().await
}

/// Tells the server whom a new connection is for, if its pool wants that: the client and where it
/// connected to, or that this is nobody's with an address. Within `limit`.
///
/// # Errors
/// See [`ConnectError`].
pub async fn announce(
    pool: &Pool,
    server: &mut Socket,
    client: Option<&Addresses>,
    timer: &Timer,
    limit: Duration,
) -> Result<(), ConnectError> {
    let version = match pool.upstream.send_proxy {
        SendProxy::Off => return Ok(()),
        SendProxy::V1 => Version::V1,
        SendProxy::V2 => Version::V2,
    };
    let header = proxy::write(version, client);
    greet(server, header.as_bytes(), timer, limit).await
}
