//! What becomes of a pool's TLS settings. Whoever makes connections reads the files they name, before
//! the change that brings them is made; the table does not know what comes of it, only that a pool
//! has it from the first moment on, and keeps it for as long as its settings stay.

use std::{any::Any, fmt, sync::Arc};

use tidegate_model::upstream::Tls;

use crate::{change::Refused, head::Staged, pool::Pool};

/// What connections to the servers of a pool are made secure with.
pub type Secure = Arc<dyn Any + Send + Sync>;

/// Makes it. Reads files: blocks.
pub trait Secures: fmt::Debug + Send + Sync {
    /// # Errors
    /// When a file cannot be used.
    fn secure(&self, tls: &Tls) -> Result<Secure, BadFile>;

    /// The same for a pool that is there in any case: what is wrong shows when it is used, until the
    /// file is mended. With what is wrong.
    fn secure_later(&self, tls: &Tls) -> (Secure, Option<BadFile>);
}

/// A file that cannot be used.
#[derive(Clone, Debug)]
pub struct BadFile {
    /// Of `[upstream.NAME.tls]`.
    pub key: &'static str,
    /// Which one, and why.
    pub reason: String,
}

impl Staged {
    /// Gives the pools that have other settings than before what they need. Reads files.
    pub(crate) fn secure(&self, secures: Option<&dyn Secures>) -> Result<(), Refused> {
        for pool in self.unsecured.values() {
            let Some(tls) = &pool.upstream.tls else { continue };
            let made = match secures {
                Some(secures) => secures.secure(tls),
                None => Err(BadFile { key: "enabled", reason: "there is no TLS here".into() }),
            };
            let secure = made.map_err(|BadFile { key, reason }| Refused::BadTls {
                pool: pool.name.clone(),
                key,
                reason,
            })?;
            pool.become_secure(secure);
        }
        Ok(())
    }
}

/// The same for pools that were there before: none of them keeps a process from starting.
pub(crate) fn secure_all<'p>(
    pools: impl Iterator<Item = &'p Arc<Pool>>,
    secures: Option<&dyn Secures>,
) {
    let Some(secures) = secures else { return };
    for pool in pools.filter(|pool| pool.secure().is_none()) {
        let Some(tls) = &pool.upstream.tls else { continue };
        let (secure, bad) = secures.secure_later(tls);
        if let Some(BadFile { key, reason }) = bad {
            tracing::error!(upstream = %pool.name, key, reason, "no TLS to its servers: requests get 502 until the file is mended");
        }
        pool.become_secure(secure);
    }
}
