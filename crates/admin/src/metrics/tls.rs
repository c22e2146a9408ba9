//! TLS with clients: how handshakes end, and how long certificates last; and what cannot be read for
//! TLS to servers.

use std::time::SystemTime;

use super::{ListenerTotals, page::Page};
use crate::time::unix_seconds;

/// What there is to say about the TLS of one listener.
#[derive(Clone, Debug)]
pub struct TlsTotals {
    /// By outcome.
    pub handshakes: Vec<(&'static str, u64)>,
    /// How often it was seen that files have changed and are bad.
    pub bad_certificates: u64,
    pub certificates: Vec<Certificate>,
}

/// A certificate in use.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub file: String,
    /// That it is for.
    pub names: Vec<String>,
    pub not_after: SystemTime,
}

pub(super) fn families(page: &mut Page, listeners: &[ListenerTotals]) {
    let of_tls = || listeners.iter().filter_map(|one| Some((&*one.name, one.tls.as_ref()?)));
    page.counter("tidegate_tls_handshakes_total", "TLS handshakes with clients.", |samples| {
        for (listener, tls) in of_tls() {
            for (outcome, count) in &tls.handshakes {
                samples.count(&[("listener", listener), ("outcome", outcome)], *count);
            }
        }
    });
    page.gauge(
        "tidegate_certificate_not_after_timestamp_seconds",
        "When a certificate of a listener expires.",
        |samples| {
            for (listener, tls) in of_tls() {
                for certificate in tls.each_once() {
                    let labels = [("listener", listener), ("file", &*certificate.file)];
                    samples.count(&labels, unix_seconds(certificate.not_after));
                }
            }
        },
    );
    page.counter(
        "tidegate_certificate_failures_total",
        "Looks at changed files of certificates that were bad; the old ones are in use.",
        |samples| {
            for (listener, tls) in of_tls() {
                samples.count(&[("listener", listener)], tls.bad_certificates);
            }
        },
    );
}

/// Pools that name the same files share them: no pool is named.
pub(super) fn to_servers(page: &mut Page, file_failures: u64) {
    page.counter(
        "tidegate_upstream_tls_file_failures_total",
        "Looks at changed files for TLS to servers that were bad; what was read before is used.",
        |samples| samples.count(&[], file_failures),
    );
}

impl TlsTotals {
    /// Two samples of one file would spoil the page.
    fn each_once(&self) -> impl Iterator<Item = &Certificate> {
        let all = &self.certificates;
        let is_first = |at: usize| all[..at].iter().all(|before| before.file != all[at].file);
        (0..all.len()).filter(move |at| is_first(*at)).map(|at| &all[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_once() {
        let certificate = |file: &str| Certificate {
            file: file.into(),
            names: Vec::new(),
            not_after: SystemTime::UNIX_EPOCH,
        };
        let certificates = ["a", "b", "a"].map(certificate).to_vec();
        let tls = TlsTotals { handshakes: Vec::new(), bad_certificates: 0, certificates };
        let files: Vec<_> = tls.each_once().map(|one| &*one.file).collect();
        assert_eq!(files, ["a", "b"]);
    }
}
