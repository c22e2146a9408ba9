//! A record as a line: nginx's `combined`, or JSON. Written by hand, into one buffer: with every
//! request there is a line, and what a line costs is taken from the requests.

use std::{
    io::Write as _,
    time::{Duration, SystemTime},
};

use super::{
    json::{Object, address},
    record::{Attempted, Record},
};
use crate::secure::Encryption;

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// nginx's `combined`.
    Combined,
    Json,
}

/// Prints records. Those of one second share its text.
#[derive(Debug)]
pub(super) struct Printer {
    format: Format,
    second: Option<u64>,
    text: String,
}

impl Printer {
    pub(super) fn new(format: Format) -> Self {
        Self { format, second: None, text: String::new() }
    }

    /// Appends the record's line.
    pub(super) fn print(&mut self, record: &Record, out: &mut Vec<u8>) {
        let since = record.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            self.text = date(self.format, since.as_secs());
        }
        match self.format {
            Format::Combined => combined(record, &self.text, out),
            Format::Json => json(record, &self.text, since.subsec_millis(), out),
        }
        out.push(b'\n');
    }
}

/// `20/Nov/2026:13:04:13` or `2026-11-20T13:04:13`, in UTC.
fn date(format: Format, second: u64) -> String {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
    let (day, month, year, clock) = (&date[5..7], &date[8..11], &date[12..16], &date[17..25]);
    match format {
        Format::Combined => format!("{day}/{month}/{year}:{clock}"),
        Format::Json => {
            let month = MONTHS.find(month).map_or(0, |at| at / 3 + 1);
            format!("{year}-{month:02}-{day}T{clock}")
        }
    }
}

fn json(record: &Record, date: &str, millis: u32, out: &mut Vec<u8>) {
    let texts = &record.texts;
    let last = record.attempts.last();
    let mut line = Object::begin(out);
    line.time("time", date, millis);
    line.text("listener", &record.listener);
    match record.client {
        Some(ip) => line.address("client", ip),
        None => line.null("client"),
    }
    line.plain("request_id", record.request_id.as_str());
    if let Some(trace) = record.trace {
        line.display("trace_id", format_args!("{trace:032x}"));
    }
    line.text("method", &texts.method());
    line.text("host", &texts.host());
    line.text("uri", &texts.uri());
    line.plain("protocol", record.protocol);
    if let Some(encryption) = &record.encryption {
        line.object("tls", |tls| encrypted(tls, encryption));
    }
    line.text("route", &record.route);
    line.text("upstream", record.upstream());
    line.text("server", last.map_or("", |tried| &tried.server));
    line.objects("attempts", record.attempts.iter(), attempt);
    line.number("status", record.status.into());
    if let Some(refused) = record.refused {
        line.plain("refused", refused);
    }
    line.number("bytes_received", record.bytes_received);
    line.number("bytes_sent", record.bytes_sent);
    line.seconds("seconds", record.duration);
    if let Some(after) = last.and_then(|tried| tried.connect) {
        line.seconds("connect_seconds", after);
    }
    if let Some(after) = record.upstream_duration {
        line.seconds("upstream_seconds", after);
    }
    line.text("user_agent", &texts.user_agent());
    line.text("referer", &texts.referer());
    if let Some(close) = record.close {
        line.plain("close", close);
    }
    if let Some(by) = record.close_by {
        line.number("close_by", by);
    }
    line.end();
}

fn encrypted(tls: &mut Object<'_>, encryption: &Encryption) {
    tls.plain("version", encryption.version);
    tls.plain("cipher", encryption.cipher);
    if let Some(name) = &encryption.server_name {
        tls.text("server_name", name);
    }
    if let Some(subject) = &encryption.client_subject {
        tls.text("client_subject", subject);
    }
}

fn attempt(object: &mut Object<'_>, tried: &Attempted) {
    object.text("server", &tried.server);
    object.plain("outcome", tried.outcome);
    if let Some(took) = tried.took {
        object.seconds("seconds", took);
    }
    if let Some(after) = tried.connect {
        object.seconds("connect_seconds", after);
    }
}

fn combined(record: &Record, date: &str, out: &mut Vec<u8>) {
    let texts = &record.texts;
    // A vector takes every write.
    match record.client {
        Some(ip) => address(ip, out),
        None => out.push(b'-'),
    }
    let _ = write!(out, " - - [{date} +0000] \"");
    let method = texts.method();
    if method.is_empty() {
        out.push(b'-');
    } else {
        let _ = write!(out, "{method} ");
        escape(&texts.uri(), out);
        let _ = write!(out, " {}", record.protocol);
    }
    let _ = write!(out, "\" {} {} \"", record.status, record.bytes_sent);
    escape(dash(&texts.referer()), out);
    out.extend_from_slice(b"\" \"");
    escape(dash(&texts.user_agent()), out);
    out.push(b'"');
}

fn dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// As nginx does: what could end the field or the line becomes `\xNN`.
fn escape(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        match c {
            '"' | '\\' => _ = write!(out, "\\x{:02X}", u32::from(c)),
            c if c.is_control() => _ = write!(out, "\\x{:02X}", u32::from(c)),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU128, sync::Arc};

    use tidegate_model::Name;

    use super::*;
    use crate::{
        access::record::{Said, Texts},
        identity::RequestId,
    };

    fn record() -> Record {
        let id = RequestId::random(0xab);
        let mut record = Record::new(&"edge".into(), "10.0.0.1".parse().ok(), id);
        record.at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_179_853_042);
        record.texts = Texts::of(Said {
            method: b"GET",
            host: b"h",
            uri: b"/a?\"b\nc",
            user_agent: b"x\\\xff",
            referer: b"",
        });
        record.protocol = "HTTP/1.1";
        record.upstream = Name::new("shop").ok();
        record.attempts.push(tried("a:1", "failed", None));
        record.attempts.push(tried("b:2", "answered", Some(Duration::from_micros(250))));
        record.duration = Duration::from_millis(1_002);
        record.status = 200;
        record
    }

    fn tried(server: &str, outcome: &'static str, connect: Option<Duration>) -> Attempted {
        let took = Some(Duration::from_micros(1_500));
        Attempted {
            server: server.into(),
            outcome,
            after: Duration::ZERO,
            took,
            connect,
            span: None,
        }
    }

    fn printed(record: &Record, format: Format) -> String {
        let mut line = Vec::new();
        Printer::new(format).print(record, &mut line);
        String::from_utf8(line).expect("text")
    }

    fn value(record: &Record) -> serde_json::Value {
        serde_json::from_str(&printed(record, Format::Json)).expect("JSON")
    }

    #[test]
    fn the_combined_form_is_that_of_nginx() {
        let day = "20/Nov/2026:13:04:13 +0000";
        assert_eq!(
            printed(&record(), Format::Combined),
            format!(
                "10.0.0.1 - - [{day}] \"GET /a?\\x22b\\x0Ac HTTP/1.1\" 200 0 \"-\" \"x\\x5C\u{fffd}\"\n"
            )
        );
        let nothing = Record { texts: Texts::default(), client: None, ..record() };
        let line = printed(&nothing, Format::Combined);
        assert_eq!(line, format!("- - - [{day}] \"-\" 200 0 \"-\" \"-\"\n"));
    }

    #[test]
    fn the_json_form_is_one_line_with_every_attempt() {
        assert_eq!(printed(&record(), Format::Json).matches('\n').count(), 1);
        let value = value(&record());
        assert_eq!(value["time"], "2026-11-20T13:04:13.042Z");
        assert_eq!((&value["server"], &value["uri"]), (&"b:2".into(), &"/a?\"b\nc".into()));
        assert_eq!(
            (&value["upstream"], &value["user_agent"]),
            (&"shop".into(), &"x\\\u{fffd}".into())
        );
        assert_eq!(value["client"], "10.0.0.1");
        let expected = serde_json::json!([
            { "server": "a:1", "outcome": "failed", "seconds": 0.0015 },
            { "server": "b:2", "outcome": "answered", "seconds": 0.0015, "connect_seconds": 0.00025 },
        ]);
        assert_eq!(value["attempts"], expected);
        assert_eq!(
            (&value["seconds"], &value["connect_seconds"]),
            (&1.002.into(), &0.00025.into())
        );
        for absent in ["tls", "trace_id", "refused", "upstream_seconds", "close", "close_by"] {
            assert_eq!(value.get(absent), None, "{absent}");
        }
    }

    #[test]
    fn a_trace_is_named_where_there_is_one() {
        let record = Record { trace: NonZeroU128::new(0xfe), client: None, ..record() };
        assert_eq!(value(&record)["trace_id"], "000000000000000000000000000000fe");
        assert_eq!(value(&record)["client"], serde_json::Value::Null);
    }

    #[test]
    fn the_text_of_a_second_is_not_that_of_another() {
        let (one, mut two) = (record(), record());
        two.at += Duration::from_secs(1);
        let (mut printer, mut lines) = (Printer::new(Format::Combined), Vec::new());
        for record in [&one, &two, &one] {
            printer.print(record, &mut lines);
        }
        let text = String::from_utf8(lines).expect("text");
        let seconds: Vec<_> = text.lines().map(|line| line.contains(":13:04:13 ")).collect();
        assert_eq!(seconds, [true, false, true]);
    }

    #[test]
    fn what_is_known_by_tls_is_in_the_json_form_alone() {
        let encryption = Encryption {
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            server_name: Some("a.test".into()),
            client_subject: None,
        };
        let record = Record { encryption: Some(Arc::new(encryption)), ..record() };
        let expected = serde_json::json!({
            "version": "TLSv1.3", "cipher": "TLS_AES_128_GCM_SHA256", "server_name": "a.test",
        });
        assert_eq!(value(&record)["tls"], expected);
        let combined = printed(&record, Format::Combined);
        assert!(!combined.contains("TLS"), "{combined}");
    }
}
