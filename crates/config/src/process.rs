//! The sections about the process itself: `[process]`, `[metrics]`, `[log]` and `[access_log]`.
//! Each type's `Default` is what an absent section means.

use std::path::PathBuf;

use tidegate_model::{Size, Span};
use toml::de::DeValue;

use crate::{
    address::ListenAddress,
    node::{FromToml, Node, Words},
    place::Placed,
    reader::Reader,
};

/// `[process]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub workers: Workers,
    /// Where changes made through the API survive a restart; `None`: in memory only.
    pub state_dir: Option<PathBuf>,
    /// How long a stop waits for requests and tunnels.
    pub graceful_timeout: Span,
    /// Idle connections to servers, all pools and workers together.
    pub max_idle_upstream: u32,
    /// Request bodies kept for another attempt, all together; beyond it they stream.
    pub replay_memory: Size,
}

/// How many worker threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One per core the process may use.
    Auto,
    /// 1 to [`Workers::MAX`].
    Count(usize),
}

/// `[metrics]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Read-only listeners besides the admin listeners.
    pub listen: Vec<ListenAddress>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// In tracing's filter syntax.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    #[default]
    Text,
}

/// `[access_log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    pub path: LogPath,
    pub format: AccessFormat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPath {
    File(PathBuf),
    Stdout,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessFormat {
    /// nginx's `combined`.
    Combined,
    #[default]
    Json,
}

impl Workers {
    pub const MAX: usize = 1024;
}

impl Default for Process {
    fn default() -> Self {
        Self {
            workers: Workers::Auto,
            state_dir: None,
            graceful_timeout: Span::from_secs(30),
            max_idle_upstream: 4096,
            replay_memory: Size::from_bytes(64 << 20),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::default() }
    }
}

impl Process {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        Self {
            workers: reader.take("workers").unwrap_or(default.workers),
            state_dir: reader.take("state_dir"),
            graceful_timeout: reader.take("graceful_timeout").unwrap_or(default.graceful_timeout),
            max_idle_upstream: reader
                .take("max_idle_upstream")
                .unwrap_or(default.max_idle_upstream),
            replay_memory: reader.take("replay_memory").unwrap_or(default.replay_memory),
        }
    }
}

impl Metrics {
    pub(crate) fn read(reader: &mut Reader<'_>, taken: &mut Vec<Placed<ListenAddress>>) -> Self {
        let listen: Vec<Placed<ListenAddress>> = reader.take("listen").unwrap_or_default();
        taken.extend_from_slice(&listen);
        // Its default is what there is; the other value would be accepted and ignored.
        let by_pool = |by_server: &bool| match by_server {
            true => Err("response times by server are not available yet in this version".into()),
            false => Ok(()),
        };
        let _: Option<bool> = reader.take_if("per_server_histograms", by_pool);
        Self { listen: listen.into_iter().map(|address| address.value).collect() }
    }
}

impl Log {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        Self {
            level: reader.take_if("level", filter).unwrap_or(default.level),
            format: reader.take("format").unwrap_or_default(),
        }
    }
}

impl AccessLog {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let path = reader.require("path");
        let format = reader.take("format").unwrap_or_default();
        Some(Self { path: path?, format })
    }
}

impl FromToml for Workers {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let count = || u32::from_toml(node).and_then(|count| usize::try_from(count).ok());
        match node.value.get_ref() {
            DeValue::String(text) if text == "auto" => Some(Self::Auto),
            DeValue::Integer(_) => match count()? {
                count @ 1..=Self::MAX => Some(Self::Count(count)),
                _ => node.fail(format!("has to be \"auto\" or from 1 to {}", Self::MAX)),
            },
            _ => node.mismatch("\"auto\" or a number"),
        }
    }
}

impl FromToml for LogPath {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        match node.text("a path in quotes or \"stdout\"")? {
            "stdout" => Some(Self::Stdout),
            _ => PathBuf::from_toml(node).map(Self::File),
        }
    }
}

impl Words for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

impl Words for AccessFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("json", Self::Json), ("combined", Self::Combined)];
}

/// Catches what tracing would take for the name of a module, and so silence everything: a mistyped
/// level.
#[expect(clippy::ptr_arg, reason = "a rule gets what was read")]
fn filter(text: &String) -> Result<(), String> {
    let level = |text: &str| {
        let levels = ["trace", "debug", "info", "warn", "error", "off"];
        levels.iter().any(|level| level.eq_ignore_ascii_case(text))
    };
    let directive = |text: &str| match text.rsplit_once('=') {
        // With spans and fields in brackets there is more to it than this check knows.
        _ if text.contains('[') => true,
        Some((target, name)) => !target.is_empty() && level(name),
        None => level(text),
    };
    match text.split(',').map(str::trim).find(|part| !directive(part)) {
        None => Ok(()),
        Some(part) => Err(format!(
            "\"{}\" is no level such as info, nor TARGET=LEVEL such as tidegate_http=debug",
            part.escape_debug()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_not_taken_for_a_module() {
        for good in ["info", "WARN,tidegate_http=debug", "off", "info, a::b=trace", "[span]=info"] {
            assert_eq!(filter(&good.into()), Ok(()), "{good}");
        }
        for bad in ["", "inof", "info,", "=info", "a=inof", "tidegate_http"] {
            assert!(filter(&bad.into()).is_err(), "{bad:?} was read");
        }
    }
}
