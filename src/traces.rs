//! Spans of requests, where they are exported: in a build with the feature `otlp`, by a configuration
//! that says where to. Any other build says so of such a configuration, and takes no part in traces.

use anyhow::Result;
use tidegate_config::{Loaded, Otlp, Problem};
use tidegate_worker::Traces;

pub(crate) use imp::Exporter;

/// What is wrong about wanting spans exported by this build.
pub(crate) fn unavailable(loaded: &mut Loaded) -> Option<Problem> {
    if cfg!(feature = "otlp") {
        return None;
    }
    let place = loaded.otlp.take()?;
    let message = "this build exports no spans: it takes one with `--features otlp`".into();
    Some(Problem { message, ..place })
}

/// Starts the exporter, if it is wanted, and gives the workers' way to it.
///
/// # Errors
/// When its thread cannot be started.
pub(crate) fn start(wanted: Option<&Otlp>) -> Result<(Option<Traces>, Option<Exporter>)> {
    match wanted {
        None => Ok((None, None)),
        Some(wanted) => imp::start(wanted),
    }
}

#[cfg(feature = "otlp")]
mod imp {
    use std::sync::Arc;

    use anyhow::{Context as _, Result};
    use tidegate_config::Otlp;
    use tidegate_otlp::Settings;
    use tidegate_worker::Traces;

    pub(crate) use tidegate_otlp::Exporter;

    pub(super) fn start(wanted: &Otlp) -> Result<(Option<Traces>, Option<Exporter>)> {
        let settings = Settings {
            host: wanted.endpoint.host.clone(),
            port: wanted.endpoint.port,
            authority: wanted.endpoint.authority(),
            path: wanted.endpoint.path.clone(),
            service: wanted.service_name.clone(),
            version: env!("CARGO_PKG_VERSION"),
        };
        let (traces, records) = Traces::new(wanted.sample);
        let exporter = tidegate_otlp::start(settings, records, Arc::clone(traces.exported()));
        let exporter = exporter.context("cannot start to export spans")?;
        Ok((Some(traces), Some(exporter)))
    }
}

#[cfg(not(feature = "otlp"))]
mod imp {
    use std::convert::Infallible;

    use anyhow::{Result, bail};
    use tidegate_config::Otlp;
    use tidegate_worker::Traces;

    /// There is none.
    pub(crate) struct Exporter(Infallible);

    impl Exporter {
        pub(crate) fn finish(self) {
            match self.0 {}
        }
    }

    /// The configuration was refused before.
    pub(super) fn start(_: &Otlp) -> Result<(Option<Traces>, Option<Exporter>)> {
        bail!("this build exports no spans")
    }
}
