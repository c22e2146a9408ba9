//! `[listener.tls]`: the certificates that a listener shows, and whom it wants one of. The files are
//! only named here; whoever can read keys says which of them are bad, with [`Mention`] for the place.

use std::path::PathBuf;

use super::protocol::{self, Kind};
use crate::{
    node::Words,
    place::{Placed, Problem},
    reader::Reader,
};

/// `[listener.tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// At least one; the first is shown to whoever asks for a name that none is for.
    pub certificates: Vec<Certificate>,
    pub min_version: TlsVersion,
    /// Offered by ALPN, where requests are what is spoken.
    pub http2: bool,
    /// Who signs the certificates of clients; always there unless they are not asked for one.
    pub client_ca: Option<PathBuf>,
    pub client_auth: ClientAuth,
}

/// A chain with its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// An answer of its OCSP responder, in DER.
    pub ocsp: Option<PathBuf>,
}

/// The lowest version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    #[default]
    V12,
    V13,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    #[default]
    Off,
    /// One that is shown has to be good.
    Optional,
    Required,
}

/// A file that a listener names, and where it does.
#[derive(Clone, Debug)]
pub struct Mention {
    pub listener: String,
    pub path: PathBuf,
    at: Problem,
}

impl Mention {
    pub(crate) fn new(listener: &str, file: &Placed<PathBuf>) -> Self {
        let at = file.place.problem(String::new());
        Self { listener: listener.to_owned(), path: file.value.clone(), at }
    }

    /// What is wrong with the file, at the place that names it.
    pub fn problem(&self, message: String) -> Problem {
        Problem { message, ..self.at.clone() }
    }
}

/// What the table says, if it is there and right, and every file that it names.
pub(super) fn read(
    reader: &mut Reader<'_>,
    kind: Option<Kind>,
) -> (Option<Tls>, Vec<Placed<PathBuf>>) {
    let mut files = Vec::new();
    let tls = reader.table("tls", |reader| {
        protocol::refuse_idle(reader, kind, &protocol::TLS);
        let certificates = certificates(reader, &mut files);
        let min_version = reader.take("min_version").unwrap_or_default();
        let http2 = reader.take("http2").unwrap_or(true);
        let client_ca: Option<Placed<PathBuf>> = reader.take("client_ca");
        let client_auth = client_auth(reader);
        files.extend(client_ca.clone());
        let client_ca = client_ca.map(|file| file.value);
        Some(Tls { certificates: certificates?, min_version, http2, client_ca, client_auth })
    });
    (tls.and_then(|table| table.value), files)
}

/// `None` after the reason went to the report.
fn certificates(
    reader: &mut Reader<'_>,
    files: &mut Vec<Placed<PathBuf>>,
) -> Option<Vec<Certificate>> {
    const KEY: &str = "certificates";
    let read: Vec<Option<Certificate>> = reader.tables(KEY, |reader| {
        let cert: Option<Placed<PathBuf>> = reader.require("cert");
        let key: Option<Placed<PathBuf>> = reader.require("key");
        let ocsp: Option<Placed<PathBuf>> = reader.take("ocsp");
        files.extend([&cert, &key, &ocsp].into_iter().flatten().cloned());
        let ocsp = ocsp.map(|file| file.value);
        Some(Certificate { cert: cert?.value, key: key?.value, ocsp })
    });
    if !reader.has(KEY) {
        reader.report.error(reader.place_of(KEY), "this key is required");
    } else if reader.is_empty_list(KEY) {
        reader.report.error(reader.place_of(KEY), "at least one is needed");
    }
    read.into_iter().collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())
}

/// Whether clients are asked, which takes somebody who signs for them.
fn client_auth(reader: &mut Reader<'_>) -> ClientAuth {
    let said = reader.take("client_auth");
    let (is_said, has_ca) = (reader.has("client_auth"), reader.has("client_ca"));
    match said {
        Some(ClientAuth::Optional | ClientAuth::Required) if !has_ca => {
            let message = "needs client_ca: without it no client could be believed";
            reader.report.error(reader.place_of("client_auth"), message);
        }
        None if has_ca && !is_said => {
            let message = "no client is asked for a certificate unless client_auth says so";
            reader.report.warn(reader.place_of("client_ca"), message);
        }
        _ => {}
    }
    said.unwrap_or_default()
}

impl Words for TlsVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("1.2", Self::V12), ("1.3", Self::V13)];
}

impl Words for ClientAuth {
    const WORDS: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("optional", Self::Optional), ("required", Self::Required)];
}
