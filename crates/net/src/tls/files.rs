//! The files that TLS needs, read whole and with a bound, and what they looked like then: a file that
//! looks otherwise later on is read again.

use std::{
    fmt::Display,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// A bundle of every root there is takes a quarter of a megabyte.
const MAX_FILE: u64 = 4 << 20;

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct TlsFault {
    pub file: PathBuf,
    pub reason: String,
}

/// A file as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    path: PathBuf,
    /// Device and inode, size, and the time of the last change in seconds and nanoseconds.
    look: Option<[i128; 5]>,
}

impl TlsFault {
    pub(super) fn new(file: &Path, reason: impl Display) -> Self {
        Self { file: file.to_owned(), reason: reason.to_string() }
    }
}

impl Seen {
    pub(super) fn of(path: &Path) -> Self {
        let look = |meta: fs::Metadata| {
            let place = [meta.dev().into(), meta.ino().into(), meta.size().into()];
            let [dev, ino, size] = place;
            [dev, ino, size, meta.mtime().into(), meta.mtime_nsec().into()]
        };
        Self { path: path.to_owned(), look: fs::metadata(path).ok().map(look) }
    }

    /// Whether it looks otherwise now. Blocks.
    pub(super) fn is_stale(&self) -> bool {
        Self::of(&self.path) != *self
    }
}

/// The whole of a file, and how it looked before.
pub(super) fn read(path: &Path, seen: &mut Vec<Seen>) -> Result<Vec<u8>, TlsFault> {
    seen.push(Seen::of(path));
    let mut bytes = Vec::new();
    match open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)) {
        Err(error) => Err(TlsFault::new(path, error)),
        Ok(length) if length as u64 > MAX_FILE => {
            Err(TlsFault::new(path, format!("is larger than {MAX_FILE} bytes")))
        }
        Ok(_) => Ok(bytes),
    }
}

/// Whoever opens or reads a pipe or a terminal waits for as long as somebody else likes: only what is
/// a regular file once it is open is read.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("is no regular file")),
    }
}

/// The certificates of a PEM file, at least one.
pub(super) fn chain(
    path: &Path,
    seen: &mut Vec<Seen>,
) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let bytes = read(path, seen)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|error| TlsFault::new(path, format!("is no PEM: {error}")))?;
    if chain.is_empty() {
        return Err(TlsFault::new(path, "has no certificate (BEGIN CERTIFICATE)"));
    }
    Ok(chain)
}

/// The private key of a PEM file: PKCS #8, PKCS #1 or SEC 1, not encrypted.
pub(super) fn key(path: &Path, seen: &mut Vec<Seen>) -> Result<PrivateKeyDer<'static>, TlsFault> {
    let bytes = read(path, seen)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        TlsFault::new(path, format!("has no private key that is not encrypted: {error}"))
    })
}

/// Whom certificates are to be from.
pub(super) fn roots(path: &Path, seen: &mut Vec<Seen>) -> Result<RootCertStore, TlsFault> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path, seen)? {
        roots.add(certificate).map_err(|error| TlsFault::new(path, error))?;
    }
    Ok(roots)
}
