//! Looking on while a server is emptied: a bar on a terminal, a line for each change elsewhere.

use std::{io, time::Duration};

use tokio::time::sleep;

use crate::{
    Failure,
    answers::Drain,
    client::Call,
    command::Session,
    text::{clean, fitted},
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);
/// Between two lines where there is no terminal.
const QUIET: Duration = Duration::from_secs(1);
/// The proxy may be restarted meanwhile: a drain goes on afterwards.
const PATIENCE: u32 = 100;
/// Of the bar.
const COLUMNS: usize = 24;

/// Waits until nothing runs on the server any more, and shows how it goes.
pub(super) async fn until_drained(session: &mut Session<'_, '_>, id: u64) -> Result<(), Failure> {
    let stopped = tokio::select! {
        done = watched(session, id) => return done,
        stopped = tokio::signal::ctrl_c() => stopped,
    };
    end_bar(session);
    Err(Failure::Stopped(on_its_way(id, stopped)))
}

fn on_its_way(id: u64, stopped: io::Result<()>) -> String {
    let why = stopped.err().map(|error| format!("{error}; ")).unwrap_or_default();
    format!(
        "{why}drain {id} goes on; `tidegate drain show {id} --follow` looks on again, `tidegate \
         drain cancel {id}` ends it"
    )
}

async fn watched(session: &mut Session<'_, '_>, id: u64) -> Result<(), Failure> {
    let call = Call::get(&["drains", &id.to_string()]);
    let (mut last, mut failures) = (None, 0);
    loop {
        let answer = match session.client.ask(&call).await {
            Ok(answer) => answer,
            Err(failure) if failure.has_status(404) => {
                end_bar(session);
                return Err(gone(id, last));
            }
            Err(Failure::Unreachable(_)) if last.is_some() && failures < PATIENCE => {
                failures += 1;
                sleep(PAUSE).await;
                continue;
            }
            Err(failure) => {
                end_bar(session);
                return Err(failure);
            }
        };
        failures = 0;
        let drain: Drain = answer.read()?;
        let is_over = drain.state == "drained";
        let line = (drain.remaining.tunnels, drain.remaining.requests, drain.state.clone());
        let is_new = last.replace(line.clone()).is_none_or(|before| before != line);
        if session.json {
            if is_over {
                session.screen.json(&answer.body);
            }
        } else if session.screen.is_terminal {
            show_bar(session, &drain);
        } else if is_new || is_over {
            session.screen.line(&progress(&drain, None));
        }
        if is_over {
            end_bar(session);
            return Ok(());
        }
        let pause = if session.screen.is_terminal || session.json { PAUSE } else { QUIET };
        sleep(pause).await;
    }
}

/// A drain vanishes when it is cancelled, or when its server leaves.
fn gone<T>(id: u64, before: Option<T>) -> Failure {
    match before {
        Some(_) => Failure::refused(format!(
            "drain {id} is no more: somebody cancelled it, or its server left the pool"
        )),
        None => Failure::refused(format!("there is no drain {id}")),
    }
}

fn show_bar(session: &mut Session<'_, '_>, drain: &Drain) {
    let line = progress(drain, Some(COLUMNS));
    let columns = session.screen.width.unwrap_or(80).saturating_sub(1);
    let line = fitted(&line, columns).into_owned();
    session.screen.show(&format!("\r\u{1b}[K{line}"));
}

fn end_bar(session: &mut Session<'_, '_>) {
    if session.screen.is_terminal && !session.json {
        session.screen.show("\n");
    }
}

/// `drain 3 10.0.0.1:8080 [####----] 120 of 400 tunnels left, running, about 40s to go`
fn progress(drain: &Drain, columns: Option<usize>) -> String {
    let Drain { id, server, state, total, remaining, .. } = drain;
    let bar = columns.map(|columns| bar(remaining.tunnels, *total, columns)).unwrap_or_default();
    let mut line = format!(
        "drain {id} {}{bar}: {} of {total} tunnels left, {} requests, {}",
        clean(server),
        remaining.tunnels,
        remaining.requests,
        clean(state)
    );
    if drain.eta_seconds.is_some() && state != "drained" {
        line += &format!(", about {} to go", drain.eta());
    }
    line
}

/// How much of it is done.
pub(crate) fn bar(left: u64, total: u64, columns: usize) -> String {
    let done = total.saturating_sub(left);
    let filled = match total {
        0 => columns,
        _ => usize::try_from(u128::from(done) * columns as u128 / u128::from(total))
            .unwrap_or(columns),
    };
    format!(" [{}{}]", "#".repeat(filled), "-".repeat(columns.saturating_sub(filled)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::Remaining;

    #[test]
    fn bars_fill_up() {
        assert_eq!(bar(4, 4, 4), " [----]");
        assert_eq!(bar(1, 4, 4), " [###-]");
        assert_eq!(bar(0, 4, 4), " [####]");
        assert_eq!(bar(0, 0, 4), " [####]");
        assert_eq!(bar(9, 4, 4), " [----]");
        assert_eq!(bar(0, u64::MAX, 4), " [####]");
    }

    #[test]
    fn a_line_says_how_far_it_is() {
        let drain = Drain {
            id: 3,
            server: "10.0.0.1:80".into(),
            state: "running".into(),
            total: 400,
            remaining: Remaining { tunnels: 120, requests: 1 },
            eta_seconds: Some(40),
            ..Drain::default()
        };
        let want =
            "drain 3 10.0.0.1:80: 120 of 400 tunnels left, 1 requests, running, about 40s to go";
        assert_eq!(progress(&drain, None), want);
    }
}
