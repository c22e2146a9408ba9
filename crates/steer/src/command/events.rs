//! `tidegate events`: what happens, as it happens. A connection that ends is taken up again where
//! it ended.

use std::time::Duration;

use clap::Args;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::sleep;

use crate::{Failure, client::Call, command::Session, screen::Tone, text::clean};

/// Before a connection is taken up again.
const PAUSE: Duration = Duration::from_secs(1);
/// Longer lines are no events of ours.
const LONGEST_LINE: usize = 1024 * 1024;

#[derive(Args, Clone, Debug)]
pub struct Events {
    /// Only these, by commas: change, health, drain, listener, reload
    #[arg(
        long,
        value_name = "KIND,…",
        value_delimiter = ',',
        value_parser = KINDS,
        hide_possible_values = true
    )]
    kinds: Vec<String>,
    /// What came after this event, as far as it is still known
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

const KINDS: [&str; 5] = ["change", "drain", "health", "listener", "reload"];

/// An event as it comes over the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Event {
    id: Option<String>,
    kind: String,
    data: String,
}

/// What has come, and is not yet an event.
#[derive(Default)]
struct Reader {
    line: Vec<u8>,
    event: Event,
}

impl Events {
    pub(super) async fn run(&self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        let (mut last, mut was_connected, mut is_told) = (self.after.clone(), false, false);
        loop {
            match self.follow(session, &mut last).await {
                Ok(()) => (was_connected, is_told) = (true, false),
                // One who was there may come back: it is said once, and tried until then.
                Err(Failure::Unreachable(why)) if was_connected => {
                    if !std::mem::replace(&mut is_told, true) {
                        session.screen.remark(&clean(&format!("{why}; trying again")));
                    }
                }
                Err(failure) => return Err(failure),
            }
            sleep(PAUSE).await;
        }
    }

    /// Until the connection ends.
    async fn follow(
        &self,
        session: &mut Session<'_, '_>,
        last: &mut Option<String>,
    ) -> Result<(), Failure> {
        let kinds = (!self.kinds.is_empty()).then(|| self.kinds.join(","));
        let call = Call::get(&["events"])
            .query("kinds", kinds)
            .header("accept", Some("text/event-stream"))
            .header("last-event-id", last.as_deref());
        let mut body = session.client.open(&call).await?;
        let mut reader = Reader::default();
        while let Some(Ok(frame)) = body.frame().await {
            let Some(data) = frame.data_ref() else { continue };
            for event in reader.read(data) {
                if event.id.is_some() {
                    last.clone_from(&event.id);
                }
                show(session, &event);
            }
        }
        Ok(())
    }
}

fn show(session: &mut Session<'_, '_>, event: &Event) {
    if session.json {
        session.screen.line(&clean(&event.data));
        return;
    }
    let kind = session.screen.toned(&clean(&format!("{:<9}", event.kind)), Tone::Head);
    session.screen.line(&format!("{kind}{}", told(&event.data)));
}

/// `key=value` for each that is there; what is nested stays JSON.
fn told(data: &str) -> String {
    let Ok(Value::Object(facts)) = serde_json::from_str(data) else {
        return clean(data).into_owned();
    };
    let facts = facts.iter().filter(|(_, value)| !value.is_null());
    let word = |(key, value): (&String, &Value)| match value {
        Value::String(text) if text.contains(char::is_whitespace) => format!("{key}={text:?}"),
        Value::String(text) => format!("{key}={text}"),
        value => format!("{key}={value}"),
    };
    clean(&facts.map(word).collect::<Vec<_>>().join(" ")).into_owned()
}

impl Reader {
    /// The events that are whole now.
    fn read(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => events.extend(self.end_line()),
                _ if self.line.len() < LONGEST_LINE => self.line.push(*byte),
                _ => {}
            }
        }
        events
    }

    /// An empty line ends an event, if there was one.
    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (!event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" if self.event.data.len() < LONGEST_LINE => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event.kind),
            "id" => self.event.id = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text =
            b": hello\n\nid: 7\nevent: change\ndata: {\"generation\":7}\r\n\r\ndata:x\n\nid:8\n";
        let want = vec![
            Event {
                id: Some("7".into()),
                kind: "change".into(),
                data: "{\"generation\":7}".into(),
            },
            Event { id: None, kind: String::new(), data: "x".into() },
        ];
        for size in 1..text.len() {
            let mut reader = Reader::default();
            let events: Vec<Event> =
                text.chunks(size).flat_map(|chunk| reader.read(chunk)).collect();
            assert_eq!(events, want, "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_is_told_in_a_line() {
        let data =
            r#"{"generation":7,"reason":"more room","changed":["a"],"by":null,"x":"y\u001b"}"#;
        let said = told(data);
        assert!(said.contains("generation=7") && said.contains("reason=\"more room\""), "{said}");
        assert!(said.contains("changed=[\"a\"]") && !said.contains("by="), "{said}");
        assert!(!said.contains('\u{1b}'), "{said}");
    }
}
