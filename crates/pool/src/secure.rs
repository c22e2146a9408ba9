//! What connections to the servers of a pool are made secure with. The files that pools name are read
//! before the change that brings them is made, once for all that name the same, and again when they
//! have changed; a connection finds them with its pool. Each connection remembers by what it was
//! made, so that none is used again by other rules than its own.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use tidegate_model::upstream::Tls;
use tidegate_net::{TlsClient, TlsConnecting, TlsFault};
use tidegate_table::{BadFile, Departure, Pool, Secure, Secures, Server};

/// 0 is for connections in the clear.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// By what rules a connection was made: the settings of its pool, and what their files held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Via {
    settings: u64,
    files: u64,
}

/// Why there can be no connection: the pool's settings cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unready(pub Arc<str>);

/// What a pool has for TLS.
#[derive(Debug)]
pub struct Secured {
    number: u64,
    client: Arc<Client>,
}

/// Makes and keeps it.
#[derive(Debug)]
pub struct Securing {
    /// What relative names are relative to.
    base: PathBuf,
    clients: Mutex<HashMap<TlsConnecting, Weak<Client>>>,
    failures: AtomicU64,
}

/// What files hold, for all pools that name the same.
#[derive(Debug)]
struct Client {
    connecting: TlsConnecting,
    loaded: ArcSwap<Loaded>,
    /// What was last complained of.
    complaint: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Loaded {
    number: u64,
    client: Result<TlsClient, Unready>,
    /// The same for who speaks HTTP/2; made when somebody does.
    http2: OnceLock<TlsClient>,
}

/// By what rules a connection to that pool's servers would be made now.
pub fn via(pool: &Pool) -> Via {
    match secured(pool) {
        Ok(Some(secured)) => {
            Via { settings: secured.number, files: secured.client.loaded.load().number }
        }
        Ok(None) => Via::default(),
        // None was ever made so.
        Err(_) => Via { settings: u64::MAX, files: u64::MAX },
    }
}

/// What there is for TLS to that pool's servers, and what connections made with it remember; `None`:
/// they are spoken to in the clear.
///
/// # Errors
/// When they are not, and the files for it cannot be used.
pub fn client(pool: &Pool) -> Result<Option<(TlsClient, Via)>, Unready> {
    let Some(secured) = secured(pool)? else { return Ok(None) };
    let loaded = secured.client.loaded.load();
    let via = Via { settings: secured.number, files: loaded.number };
    loaded.client.clone().map(|client| Some((client, via)))
}

/// The same for connections that requests share in HTTP/2.
///
/// # Errors
/// As [`client`].
pub fn sharing_client(pool: &Pool) -> Result<Option<(TlsClient, Via)>, Unready> {
    let Some(secured) = secured(pool)? else { return Ok(None) };
    let loaded = secured.client.loaded.load();
    let via = Via { settings: secured.number, files: loaded.number };
    let client = loaded.client.as_ref().map_err(Unready::clone)?;
    Ok(Some((loaded.http2.get_or_init(|| client.with_http2()).clone(), via)))
}

/// The same for one conversation in HTTP/2.
///
/// # Errors
/// As [`client`].
pub fn http2_client(pool: &Pool) -> Result<Option<TlsClient>, Unready> {
    sharing_client(pool).map(|made| made.map(|(client, _)| client))
}

/// Whose TLS sessions may be taken up again: those of this server as it is defined now.
pub fn sessions_of(server: &Server) -> String {
    format!("{}/{}", server.state.id(), server.since)
}

fn secured(pool: &Pool) -> Result<Option<&Secured>, Unready> {
    if pool.upstream.tls.is_none() {
        return Ok(None);
    }
    let secured = pool.secure().and_then(|secure| secure.downcast_ref());
    secured.map(Some).ok_or_else(|| Unready("nothing was made of its TLS settings".into()))
}

impl Securing {
    /// `base`: what relative names are relative to.
    pub fn new(base: &Path) -> Arc<Self> {
        let (clients, failures) = (Mutex::default(), AtomicU64::new(0));
        Arc::new(Self { base: base.to_owned(), clients, failures })
    }

    /// Reads files that have changed, and those that could not be read, again. What cannot be used
    /// leaves things as they are, and is complained of once. Blocks.
    pub fn refresh(&self) {
        let bad = self.clients().iter().filter(|client| !client.refresh()).count();
        self.failures.fetch_add(bad as u64, Relaxed);
    }

    /// How often it was seen that files cannot be read again, for each set of them.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// The sessions of servers that have left their pools are of no use to anybody.
    pub fn forget(&self, left: &[Departure]) {
        let left: HashSet<String> = left.iter().map(|one| one.state.id().to_string()).collect();
        let is_gone =
            |sessions: &str| sessions.split('/').next().is_some_and(|id| left.contains(id));
        for client in self.clients() {
            let loaded = client.loaded.load();
            let clients = loaded.client.iter().chain(loaded.http2.get());
            clients.for_each(|client| client.forget(is_gone));
        }
    }

    fn make(&self, tls: &Tls) -> (Arc<Client>, Option<TlsFault>) {
        let connecting = self.connecting(tls);
        if let Some(client) = self.find(&connecting).filter(|client| !client.is_stale()) {
            return (client, None);
        }
        // Without the lock: it takes a while.
        let (loaded, fault) = Loaded::load(&connecting);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = clients.get(&connecting).and_then(Weak::upgrade);
        let Some(client) = client else {
            let client = Arc::new(Client::new(connecting.clone(), loaded, fault.as_ref()));
            clients.insert(connecting, Arc::downgrade(&client));
            return (client, fault);
        };
        if fault.is_none() {
            client.loaded.store(Arc::new(loaded));
        }
        (client, fault)
    }

    fn find(&self, connecting: &TlsConnecting) -> Option<Arc<Client>> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.get(connecting)?.upgrade()
    }

    fn clients(&self) -> Vec<Arc<Client>> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|_, client| client.strong_count() > 0);
        clients.values().filter_map(Weak::upgrade).collect()
    }

    fn connecting(&self, tls: &Tls) -> TlsConnecting {
        let at = |file: &PathBuf| self.base.join(file);
        TlsConnecting {
            // Files that have no effect need not be there.
            ca: tls.ca.as_ref().filter(|_| tls.verify).map(at),
            verify: tls.verify,
            pair: tls.pair.as_ref().map(|(cert, key)| (at(cert), at(key))),
        }
    }

    fn bad_file(&self, tls: &Tls, fault: &TlsFault) -> BadFile {
        let is = |file: &PathBuf| self.base.join(file) == fault.file;
        let key = match &tls.pair {
            Some((_, key)) if is(key) => "key",
            Some((cert, _)) if is(cert) => "cert",
            _ => "ca",
        };
        BadFile { key, reason: fault.to_string() }
    }
}

impl Secures for Securing {
    fn secure(&self, tls: &Tls) -> Result<Secure, BadFile> {
        let (client, fault) = self.make(tls);
        match fault {
            Some(fault) => Err(self.bad_file(tls, &fault)),
            None => Ok(Arc::new(Secured::new(client))),
        }
    }

    fn secure_later(&self, tls: &Tls) -> (Secure, Option<BadFile>) {
        let (client, fault) = self.make(tls);
        let bad = fault.map(|fault| self.bad_file(tls, &fault));
        (Arc::new(Secured::new(client)), bad)
    }
}

impl Secured {
    fn new(client: Arc<Client>) -> Self {
        Self { number: NEXT.fetch_add(1, Relaxed), client }
    }
}

impl Client {
    fn new(connecting: TlsConnecting, loaded: Loaded, fault: Option<&TlsFault>) -> Self {
        let complaint = Mutex::new(fault.map(ToString::to_string));
        Self { connecting, loaded: ArcSwap::from_pointee(loaded), complaint }
    }

    /// Whether the files have to be read again.
    fn is_stale(&self) -> bool {
        self.loaded.load().client.as_ref().map_or(true, TlsClient::is_stale)
    }

    /// Whether there is nothing to complain of.
    fn refresh(&self) -> bool {
        if !self.is_stale() {
            return true;
        }
        let (loaded, fault) = Loaded::load(&self.connecting);
        let complaint = fault.as_ref().map(ToString::to_string);
        let mut last = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        if fault.is_none() {
            let TlsConnecting { ca, pair, .. } = &self.connecting;
            let cert = pair.as_ref().map(|(cert, _)| cert);
            tracing::info!(?ca, ?cert, "files for TLS to servers were read again");
            self.loaded.store(Arc::new(loaded));
        } else if *last != complaint {
            let reason = complaint.as_deref().unwrap_or_default();
            tracing::error!(
                reason,
                "a file for TLS to servers cannot be read again; what was read before is used"
            );
        }
        *last = complaint;
        fault.is_none()
    }
}

impl From<&TlsFault> for Unready {
    fn from(fault: &TlsFault) -> Self {
        Self(format!("no TLS to the servers of this pool: {fault}").into())
    }
}

impl Loaded {
    fn load(connecting: &TlsConnecting) -> (Self, Option<TlsFault>) {
        let number = NEXT.fetch_add(1, Relaxed);
        let (client, fault) = match TlsClient::load(connecting) {
            Ok(client) => (Ok(client), None),
            Err(fault) => (Err(Unready::from(&fault)), Some(fault)),
        };
        (Self { number, client, http2: OnceLock::new() }, fault)
    }
}

#[cfg(test)]
mod tests;
