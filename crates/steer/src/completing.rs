//! Completion of the command line. The scripts ask the binary itself what could stand there, so
//! that they never age, and names of pools and servers come from the running proxy. Whatever goes
//! wrong completes nothing, and soon.

use std::{
    ffi::{OsStr, OsString},
    time::Duration,
};

use clap::{ArgMatches, Args as _, FromArgMatches as _, ValueEnum};
use clap_complete::engine::{CompletionCandidate, complete};
use tokio::time::timeout;

use crate::{
    Environment, Options,
    answers::{PoolDetail, Pools},
    client::Call,
};

/// A shell that waits longer feels broken.
const PATIENCE: Duration = Duration::from_millis(300);

/// Where the words before the one to be completed are kept for the completers, which are told
/// only what they complete.
static WORDS: std::sync::OnceLock<Vec<OsString>> = std::sync::OnceLock::new();

/// A shell that there is a script for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    Bash,
    Fish,
    Zsh,
}

/// What makes a shell complete.
pub fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("completing/tidegate.bash"),
        Shell::Fish => include_str!("completing/tidegate.fish"),
        Shell::Zsh => include_str!("completing/tidegate.zsh"),
    }
}

/// What could stand in place of the last of these words, a line for each: the word and, after a
/// tab, what it is.
pub fn candidates(mut command: clap::Command, words: Vec<OsString>) -> String {
    let Some(last) = words.len().checked_sub(1) else { return String::new() };
    let _ = WORDS.set(words.clone());
    command.build();
    let found = complete(&mut command, words, last, None).unwrap_or_default();
    let mut lines = String::new();
    for candidate in found.iter().filter(|candidate| !candidate.is_hide_set()) {
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.lines().next().unwrap_or_default();
        lines += &format!("{}\t{help}\n", candidate.get_value().to_string_lossy());
    }
    lines
}

/// The pools there are.
pub(crate) fn pools(current: &OsStr) -> Vec<CompletionCandidate> {
    let pools: Option<Pools> = asked(&["upstreams"]);
    let names = pools.unwrap_or_default().upstreams.into_iter().map(|pool| pool.name);
    fitting(names, current)
}

/// The servers of the pool that is named before.
pub(crate) fn servers(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(pool) = words().and_then(pool_before) else { return Vec::new() };
    let pool: Option<PoolDetail> = asked(&["upstreams", &pool]);
    let servers = pool.unwrap_or_default().servers.into_iter();
    fitting(servers.map(|server| server.address), current)
}

fn fitting(names: impl Iterator<Item = String>, current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    // A shell takes each line for a word: what holds more than one is left out.
    let is_plain = |name: &String| !name.contains(|char: char| char.is_control());
    names
        .filter(|name| name.starts_with(&*current) && is_plain(name))
        .map(CompletionCandidate::new)
        .collect()
}

fn words() -> Option<&'static [OsString]> {
    WORDS.get().map(Vec::as_slice)
}

/// `server VERB POOL …`: the pool, wherever options stand.
fn pool_before(words: &[OsString]) -> Option<String> {
    let at = words.iter().position(|word| word == "server")?;
    let plain = |word: &&OsString| !word.to_string_lossy().starts_with('-');
    let pool = words.get(at + 2..)?.iter().find(plain)?;
    Some(pool.to_string_lossy().into_owned())
}

fn asked<T: serde::de::DeserializeOwned>(segments: &[&str]) -> Option<T> {
    let mut client = typed_options().client(&Environment::of_process()).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let call = Call::get(segments);
    let answer = runtime.block_on(async { timeout(PATIENCE, client.read(&call)).await.ok()?.ok() });
    // A name server that is silent keeps nobody.
    runtime.shutdown_background();
    answer
}

/// How to find the proxy, from what has been typed so far.
fn typed_options() -> Options {
    let command = Options::augment_args(clap::Command::new("tidegate").ignore_errors(true));
    let ours = ["--admin", "--token-file"];
    let words = words().unwrap_or_default();
    let mut typed = vec![OsString::from("tidegate")];
    for (place, word) in words.iter().enumerate() {
        let text = word.to_string_lossy();
        if ours.contains(&&*text) {
            typed.push(word.clone());
            typed.extend(words.get(place + 1).cloned());
        } else if ours.iter().any(|name| text.starts_with(&format!("{name}="))) {
            typed.push(word.clone());
        }
    }
    let matches: Option<ArgMatches> = command.try_get_matches_from(typed).ok();
    matches.and_then(|matches| Options::from_arg_matches(&matches).ok()).unwrap_or_default()
}
