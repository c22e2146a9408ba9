//! The certificates of listeners: read with the configuration, so that a bad one refuses it as a whole,
//! and looked at again every few seconds. What has come in their place and is bad leaves those in
//! use that were good.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use tidegate_config::{Listener, Loaded, Mention, Problem, Protocol, Tls};
use tidegate_events::ListenerTurn;
use tidegate_net::{CertificateFiles, ClientAuth, TlsFault, TlsServer, TlsServing, TlsVersion};
use tidegate_worker::ListenerLive;
use tokio::{
    sync::mpsc::Sender,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use crate::{control::Control, facts::Registry, told};

/// How often it is looked whether files have changed.
const LOOK: Duration = Duration::from_secs(2);

/// A certificate that expires sooner is warned of.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// What a listener does TLS with, and what that was made from.
#[derive(Debug)]
pub(crate) struct Secured {
    serving: TlsServing,
    pub(crate) server: TlsServer,
}

/// By the names of their listeners.
pub(crate) type ByListener = HashMap<String, Arc<Secured>>;

/// Files of a listener have changed, and are good.
pub(crate) struct Renewal {
    pub(crate) listener: String,
    /// In whose place it comes.
    pub(crate) was: Arc<Secured>,
    pub(crate) now: Arc<Secured>,
}

/// A listener whose files are looked at.
pub(crate) struct Watched {
    pub(crate) live: Arc<ListenerLive>,
    pub(crate) secured: Arc<Secured>,
}

/// Reads the certificates that a configuration names for its listeners. What did not change since
/// `before` is the same afterwards. With everything that is wrong with them, by file and position.
pub(crate) fn read(loaded: &mut Loaded, before: &ByListener) -> (ByListener, Vec<Problem>) {
    let (mut all, mut problems) = (ByListener::new(), Vec::new());
    for listener in &loaded.config.listeners {
        let (name, mentions) = (&listener.name, &loaded.mentions);
        let Some(tls) = &listener.tls else { continue };
        match Secured::load(serving(listener, tls), before.get(name)) {
            Ok(secured) => {
                loaded.warnings.extend(
                    secured
                        .warnings(SystemTime::now())
                        .into_iter()
                        .map(|warning| placed(mentions, name, &warning)),
                );
                all.insert(name.clone(), secured);
            }
            Err(faults) => {
                problems.extend(faults.iter().map(|fault| placed(mentions, name, fault)));
            }
        }
    }
    (all, problems)
}

/// What is wrong with a file, at the place that names it.
fn placed(mentions: &[Mention], listener: &str, fault: &TlsFault) -> Problem {
    let message = fault.to_string();
    let is_it = |mention: &&Mention| mention.listener == listener && mention.path == fault.file;
    match mentions.iter().find(is_it) {
        Some(mention) => mention.problem(message),
        None => {
            let (file, key) = (fault.file.display().to_string(), "listener.tls".to_owned());
            Problem { file, line: 1, column: 1, key, message }
        }
    }
}

fn serving(listener: &Listener, tls: &Tls) -> TlsServing {
    let certificate = |one: &tidegate_config::Certificate| CertificateFiles {
        cert: one.cert.clone(),
        key: one.key.clone(),
        ocsp: one.ocsp.clone(),
    };
    let http = matches!(listener.protocol, Protocol::Http { .. });
    TlsServing {
        certificates: tls.certificates.iter().map(certificate).collect(),
        min_version: match tls.min_version {
            tidegate_config::TlsVersion::V12 => TlsVersion::V12,
            tidegate_config::TlsVersion::V13 => TlsVersion::V13,
        },
        http,
        // Of what a tcp listener carries nothing is known that could be agreed on.
        http2: http && tls.http2,
        client_ca: tls.client_ca.clone(),
        client_auth: match tls.client_auth {
            tidegate_config::ClientAuth::Off => ClientAuth::Off,
            tidegate_config::ClientAuth::Optional => ClientAuth::Optional,
            tidegate_config::ClientAuth::Required => ClientAuth::Required,
        },
    }
}

impl Secured {
    /// Reads the files, unless what was there `before` was made from them as they are.
    fn load(serving: TlsServing, before: Option<&Arc<Self>>) -> Result<Arc<Self>, Vec<TlsFault>> {
        if let Some(before) = before
            && before.serving == serving
            && !before.server.is_stale()
        {
            return Ok(Arc::clone(before));
        }
        match TlsServer::load(&serving, before.map(|before| &before.server)) {
            Ok(server) => Ok(Arc::new(Self { serving, server })),
            Err(first) => Err(faults(&serving, first)),
        }
    }

    /// The same from the files as they are now.
    fn again(&self) -> Result<Arc<Self>, TlsFault> {
        let server = TlsServer::load(&self.serving, Some(&self.server))?;
        Ok(Arc::new(Self { serving: self.serving.clone(), server }))
    }

    /// Of certificates that have expired, or will soon.
    fn warnings(&self, now: SystemTime) -> Vec<TlsFault> {
        let certificates = self.server.certificates().iter();
        let warning = |one: &tidegate_net::Certificate| {
            let reason = expiry(one.not_after, now)?;
            Some(TlsFault { file: one.file.clone(), reason })
        };
        certificates.filter_map(warning).collect()
    }
}

/// Everything that is wrong with the files, when `first` was found: each pair is looked at alone.
fn faults(serving: &TlsServing, first: TlsFault) -> Vec<TlsFault> {
    let of = |one: &CertificateFiles| vec![one.clone()];
    let alone = |one: &CertificateFiles| {
        let (client_ca, client_auth) = (None, ClientAuth::Off);
        let serving =
            TlsServing { certificates: of(one), client_ca, client_auth, ..serving.clone() };
        TlsServer::load(&serving, None).err()
    };
    let looked: Vec<_> = serving.certificates.iter().map(|one| (one, alone(one))).collect();
    let good = looked.iter().find(|(_, fault)| fault.is_none()).map(|(one, _)| *one);
    // What is left is the clients' CA.
    let rest = good.and_then(|good| {
        TlsServer::load(&TlsServing { certificates: of(good), ..serving.clone() }, None).err()
    });
    let faults: Vec<_> = looked.into_iter().filter_map(|(_, fault)| fault).chain(rest).collect();
    if faults.is_empty() { vec![first] } else { faults }
}

/// What there is to say about the time that is left.
fn expiry(not_after: SystemTime, now: SystemTime) -> Option<String> {
    let days = |time: Duration| match time.as_secs() / 86_400 {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    match not_after.duration_since(now) {
        Ok(left) if left >= SOON => None,
        Ok(left) => Some(format!("the certificate expires in {}", days(left))),
        Err(over) => Some(format!("the certificate has expired {} ago", days(over.duration()))),
    }
}

/// Looks at the files again and again, off the control thread, and hands over what has changed and
/// is good. Ends with whoever takes it.
pub(crate) async fn watch(registry: Arc<Registry>, renewals: Sender<Renewal>) {
    let mut every = interval(LOOK);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complaints = Complaints::default();
    loop {
        every.tick().await;
        let watched = registry.secured();
        complaints.keep(&watched);
        if watched.is_empty() {
            continue;
        }
        let look = |one: Watched| {
            let read = one.secured.server.is_stale().then(|| one.secured.again());
            (one, read)
        };
        let looked = spawn_blocking(move || watched.into_iter().map(look).collect::<Vec<_>>());
        // It ends without a result only when it panicked, which has been logged.
        for (Watched { live, secured: was }, read) in looked.await.unwrap_or_default() {
            match read {
                None => complaints.forget(&live.name),
                Some(Err(fault)) => complaints.add(&live, &fault.to_string()),
                Some(Ok(now)) => {
                    complaints.forget(&live.name);
                    let renewal = Renewal { listener: live.name.to_string(), was, now };
                    if renewals.send(renewal).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// What is wrong with changed files, by listener, and whether that was said. It is said once, and not
/// at the first look: one file of two may just have been written.
#[derive(Default)]
struct Complaints(HashMap<Arc<str>, (String, bool)>);

impl Complaints {
    fn add(&mut self, live: &ListenerLive, reason: &str) {
        match self.0.get_mut(&live.name) {
            Some((known, told)) if known == reason => {
                live.bad_certificates.fetch_add(1, Relaxed);
                if !std::mem::replace(told, true) {
                    tracing::error!(
                        listener = &*live.name,
                        reason,
                        "changed certificates are not used, the old ones stay"
                    );
                }
            }
            _ => drop(self.0.insert(Arc::clone(&live.name), (reason.to_owned(), false))),
        }
    }

    fn forget(&mut self, listener: &str) {
        self.0.remove(listener);
    }

    /// Forgets listeners that are no more.
    fn keep(&mut self, watched: &[Watched]) {
        self.0.retain(|name, _| watched.iter().any(|one| one.live.name == *name));
    }
}

impl Control {
    /// Whoever comes from now on is shown the new certificates.
    pub(crate) async fn renew(&mut self, renewal: Renewal) {
        if !self.listeners.renew(&renewal, &self.orders).await {
            // A reload has come before it.
            return;
        }
        let Renewal { listener, now, .. } = renewal;
        let certificates = now.server.certificates();
        let names: Vec<_> = certificates.iter().flat_map(|one| &one.names).collect();
        tracing::info!(listener, ?names, "certificates have changed and are used from now on");
        for TlsFault { file, reason } in now.warnings(SystemTime::now()) {
            tracing::warn!(listener, file = %file.display(), "{reason}");
        }
        self.process.listeners.with(|all| {
            let one = all.iter().filter(|one| *one.live.name == *listener);
            told::listeners(&self.events, one, ListenerTurn::Changed);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_weeks_before_the_end_it_is_told() {
        let now = SystemTime::UNIX_EPOCH + 1_000 * SOON;
        let day = Duration::from_secs(86_400);
        let told = |not_after| expiry(not_after, now).unwrap_or_default();
        assert_eq!(told(now + SOON), "");
        assert_eq!(told(now + SOON - day / 2), "the certificate expires in 13 days");
        assert_eq!(told(now + day), "the certificate expires in 1 day");
        assert_eq!(told(now), "the certificate expires in 0 days");
        assert_eq!(told(now - 3 * day), "the certificate has expired 3 days ago");
    }

    #[test]
    fn a_complaint_is_told_once_it_has_lasted() {
        let live = ListenerLive::new("edge", 1);
        let mut complaints = Complaints::default();
        let told = |complaints: &Complaints| complaints.0.get("edge").map(|(_, told)| *told);
        complaints.add(&live, "bad");
        assert_eq!(told(&complaints), Some(false));
        complaints.add(&live, "bad");
        complaints.add(&live, "bad");
        assert_eq!(told(&complaints), Some(true));
        assert_eq!(live.bad_certificates.load(Relaxed), 2);
        complaints.add(&live, "worse");
        assert_eq!(told(&complaints), Some(false));
        complaints.keep(&[]);
        assert_eq!(told(&complaints), None);
    }
}
