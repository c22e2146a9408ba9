//! What is only wrong, or odd, between a pool and the defaults that fill its gaps: a pool may have
//! its method, or the kind of its check, from there.

use tidegate_model::{Balance, Span, UpstreamSpec, upstream::Contradiction};

use super::{PoolDraft, check};
use crate::place::Report;

impl PoolDraft {
    /// Reports what does not go together once `defaults` fill the gaps.
    pub(crate) fn check(&self, defaults: &UpstreamSpec, report: &Report) {
        let balance = self.spec.balance.or(defaults.balance).unwrap_or_default();
        self.check_servers(balance, report);
        if self.spec.hash_key.is_some() && !balance.hashes() {
            let message = format!("is not used: only hash and maglev do, not {}", balance.word());
            report.warn(self.hash_key.clone(), message);
        }
        self.check_probes(defaults, report);
        if let Some(Contradiction { key, reason }) = self.spec.contradiction(defaults) {
            let place = if key == "check" { &self.check } else { &self.send_proxy };
            report.error(place.clone(), reason);
        }
        if let Some(tls) = &self.tls {
            tls.warn(self.spec.resolve(defaults).tls.as_ref(), report);
        }
    }

    fn check_servers(&self, balance: Balance, report: &Report) {
        let mut servers = self.spec.servers.iter().flatten();
        if balance == Balance::IpHash && servers.clone().any(|server| server.backup) {
            report.error(self.name.place.clone(), "ip_hash does not go with backup servers");
        }
        let keeps_shares = balance.hashes() || balance == Balance::IpHash;
        if keeps_shares && servers.any(|server| server.slow_start > Span::default()) {
            let message = format!("slow_start has no effect with {}", balance.word());
            report.warn(self.servers.clone(), message);
        }
    }

    /// A pool that names the kind itself was looked at when it was read.
    fn check_probes(&self, defaults: &UpstreamSpec, report: &Report) {
        let Some(own) = self.spec.check.as_ref().filter(|check| check.kind.is_none()) else {
            return;
        };
        let kind = defaults.check.as_ref().and_then(|check| check.kind).unwrap_or_default();
        for key in check::idle_keys(own, kind) {
            let message = format!(
                "{key} means nothing to a check of type \"{}\", which is the default here",
                kind.word()
            );
            report.error(self.check.clone(), message);
        }
    }
}
