//! TLS to servers: the files that pools name are looked at together with the configuration, and again
//! as long as the process runs.

use std::{collections::HashSet, path::Path, sync::Arc, time::Duration};

use tidegate_config::{Loaded, Problem};
use tidegate_pool::Securing;
use tidegate_table::{BadFile, Secures as _, Table};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    certificates::{self, ByListener},
    traces,
};

/// How often it is looked whether files have changed.
const LOOK: Duration = Duration::from_secs(5);

/// What relative names of files in pools are relative to: the directory of the configuration file.
pub(crate) fn base(path: Option<&Path>) -> &Path {
    path.and_then(Path::parent).unwrap_or_else(|| Path::new(""))
}

/// Reads the configuration file, and the files that its listeners and pools name. Certificates that
/// did not change since `before` are the same afterwards.
///
/// # Errors
/// Everything that is wrong with them, by file and position; with the files that are named, once there
/// is nothing else.
pub(crate) fn load(path: &Path, before: &ByListener) -> Result<(Loaded, ByListener), Vec<Problem>> {
    let mut loaded = tidegate_config::load(path)?;
    let (certificates, mut bad) = certificates::read(&mut loaded, before);
    bad.extend(bad_files(&loaded, &Securing::new(base(Some(path)))));
    bad.extend(traces::unavailable(&mut loaded));
    if bad.is_empty() { Ok((loaded, certificates)) } else { Err(bad) }
}

/// What pools share is complained of once.
fn bad_files(loaded: &Loaded, securing: &Securing) -> Vec<Problem> {
    let (mut bad, mut seen, mut kept) = (Vec::new(), HashSet::new(), Vec::new());
    for files in &loaded.tls {
        match securing.secure(&files.tls) {
            Ok(secure) => kept.push(secure),
            Err(BadFile { key, reason }) => {
                let problem = files.problem(key, reason);
                if seen.insert(problem.to_string()) {
                    bad.push(problem);
                }
            }
        }
    }
    bad
}

/// Looks now and then whether files have changed. Never ends.
pub(crate) async fn watch(securing: Arc<Securing>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        refresh(&securing).await;
    }
}

/// Reads what has changed again.
pub(crate) async fn refresh(securing: &Arc<Securing>) {
    let securing = Arc::clone(securing);
    // It ends without a result only when it panicked, which has been logged.
    let _ = tokio::task::spawn_blocking(move || securing.refresh()).await;
}

/// Forgets what was agreed on with servers as soon as they have left.
pub(crate) fn forget_left(table: &Table, securing: &Arc<Securing>) {
    let securing = Arc::clone(securing);
    table.on_departure(move |left| securing.forget(left));
}
