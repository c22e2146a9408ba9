//! `[upstream.NAME.tls]`. What is wrong with a file shows only when it is read, which is not done
//! here: the places where files are named go out with the rest, so that whoever reads one can point
//! at it.

use std::path::{Path, PathBuf};

use tidegate_model::{
    Name, UpstreamSpec,
    upstream::{ServerName, Tls, TlsSpec},
};

use crate::{
    node::{FromToml, Node},
    place::{Place, Problem, Report},
    reader::Reader,
};

/// The table of one pool, or of the defaults.
pub(crate) struct TlsDraft {
    spec: TlsSpec,
    table: Place,
    ca: Place,
    cert: Place,
    key: Place,
}

/// The files of one pool, as they are meant, and where they are named.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub upstream: Name,
    pub tls: Tls,
    /// By key, with a message that is still to come.
    places: [(&'static str, Problem); 3],
}

impl TlsFiles {
    /// What to say, where it is named, of a file that is not what it should be. `key`: what it was
    /// named by.
    pub fn problem(&self, key: &str, message: String) -> Problem {
        let [otherwise, ..] = &self.places;
        let place = self.places.iter().find(|(named, _)| *named == key).unwrap_or(otherwise);
        Problem { message, ..place.1.clone() }
    }
}

impl TlsDraft {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let spec = TlsSpec {
            enabled: reader.take("enabled"),
            server_name: reader.take("server_name"),
            ca: reader.take("ca"),
            verify: reader.take("verify"),
            cert: reader.take("cert"),
            key: reader.take("key"),
        };
        // One that is wrong is not missing as well.
        let pair_is_half = reader.has("cert") != reader.has("key");
        if pair_is_half && let Some(missing) = spec.half_a_pair() {
            let message = "cert and key go together: this one is missing";
            reader.report.error(reader.place_of(missing), message);
        }
        let places = ["ca", "cert", "key"].map(|key| reader.place_of(key));
        let [ca, cert, key] = places;
        Self { spec, table: reader.place(), ca, cert, key }
    }

    pub(super) fn spec(&self) -> TlsSpec {
        self.spec.clone()
    }

    /// Warns of what has no effect once `meant` is known.
    pub(super) fn warn(&self, meant: Option<&Tls>, report: &Report) {
        if self.spec.ca.is_some() && meant.is_some_and(|tls| !tls.verify) {
            report.warn(self.ca.clone(), "is not used: verify is false");
        }
    }
}

/// Where the files are named that a pool uses: in its own table, else in that of the defaults.
pub(super) fn files(
    name: &Name,
    tls: Tls,
    own: Option<&TlsDraft>,
    defaults: Option<&TlsDraft>,
) -> Option<TlsFiles> {
    let drafts = || own.into_iter().chain(defaults);
    let place = |given: fn(&TlsSpec) -> bool, of: fn(&TlsDraft) -> &Place| {
        let draft = drafts().find(|draft| given(&draft.spec));
        draft.map(of).or_else(|| drafts().next().map(|draft| &draft.table))
    };
    let pair = |spec: &TlsSpec| spec.cert.is_some() && spec.key.is_some();
    let problem = |place: Option<&Place>| Some(place?.problem(String::new()));
    let places = [
        ("ca", problem(place(|spec| spec.ca.is_some(), |draft| &draft.ca))?),
        ("cert", problem(place(pair, |draft| &draft.cert))?),
        ("key", problem(place(pair, |draft| &draft.key))?),
    ];
    Some(TlsFiles { upstream: name.clone(), tls, places })
}

/// As the admin API has them: relative to the directory of the main file, if they are within it, so
/// that a definition is the same wherever the whole is moved to.
pub(crate) fn within(dir: &Path, spec: &mut UpstreamSpec) {
    for file in spec.tls.iter_mut().flat_map(TlsSpec::files_mut) {
        if let Ok(rest) = file.strip_prefix(dir) {
            *file = PathBuf::from(rest);
        }
    }
}

impl FromToml for ServerName {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        node.parsed("the name of a host in quotes", Self::parse)
    }
}
