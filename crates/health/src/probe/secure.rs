//! TLS under the language of a check: by the rules of the pool, as its requests have it. Whoever cannot
//! prove to be the server that is meant does not pass.

use std::borrow::Cow;

use tidegate_model::upstream::Tls;
use tidegate_net::{TlsClient, TlsError, is_local_error};
use tidegate_pool::{Unready, client, http2_client, sessions_of};
use tidegate_table::{Pool, Server};

use super::{Fault, dial::Socket};

/// How a connection is made secure.
#[derive(Debug)]
pub(super) struct Secure<'a> {
    client: Result<Option<TlsClient>, Unready>,
    name: Cow<'a, str>,
    /// Of probes alone: a request must not find its first connection to be another one's second.
    sessions: String,
}

impl<'a> Secure<'a> {
    pub(super) fn new(pool: &Pool, tls: &'a Tls, server: &'a Server, http2: bool) -> Self {
        let client = match http2 {
            true => http2_client(pool),
            false => client(pool).map(|made| made.map(|(client, _)| client)),
        };
        let sessions = format!("{}/check", sessions_of(server));
        Self { client, name: tls.name_of(&server.spec.address), sessions }
    }

    /// Shakes hands. Cancel safe: dropped, it closes the connection.
    pub(super) async fn shake(&self, socket: Socket) -> Result<Socket, Fault> {
        let client = self.client.as_ref().map_err(|unready| Fault::Local(unready.to_string()))?;
        let client = client.as_ref().ok_or_else(|| Fault::Local("there is no TLS".into()))?;
        let shaken = socket.connect_tls(client, &self.name, &self.sessions).await;
        shaken.map_err(|error| match error {
            TlsError::Io(error) if is_local_error(&error) => Fault::Local(error.to_string()),
            error => Fault::server(format!("no TLS handshake: {error}")),
        })
    }
}
