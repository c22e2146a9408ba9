//! The formats of the page, byte for byte those of Tengine's module (its `check_status`), which
//! scripts cut apart by line and column. Names that would break a format are escaped as the format
//! wants it; Tengine writes them as they are.

use std::{
    borrow::Cow,
    fmt::{self, Display, Write},
};

use super::{Listed, Peer};

/// How the page is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    #[default]
    Html,
    Json,
    Prometheus,
}

impl Format {
    pub(super) fn named(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"csv" => Self::Csv,
            b"html" => Self::Html,
            b"json" => Self::Json,
            b"prometheus" => Self::Prometheus,
            _ => return None,
        })
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Csv | Self::Prometheus => "text/plain",
            Self::Html => "text/html",
            Self::Json => "application/json",
        }
    }

    pub(super) fn render(self, listed: &Listed<'_>) -> String {
        let mut out = String::new();
        let written = match self {
            Self::Csv => csv(&mut out, listed),
            Self::Html => html(&mut out, listed),
            Self::Json => json(&mut out, listed),
            Self::Prometheus => prometheus(&mut out, listed),
        };
        written.expect("writing to a String cannot fail");
        out
    }
}

fn csv(out: &mut String, listed: &Listed<'_>) -> fmt::Result {
    for peer in &listed.peers {
        let Peer { index, rises, falls, kind, port, .. } = peer;
        let (upstream, name, status) = (quoted(peer.upstream), quoted(&peer.name), peer.status());
        writeln!(out, "{index},{upstream},{name},{status},{rises},{falls},{kind},{port}")?;
    }
    Ok(())
}

/// A field of a line, in quotes where it needs them (RFC 4180).
fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

fn html(out: &mut String, listed: &Listed<'_>) -> fmt::Result {
    const TITLE: &str = "Nginx http upstream check status";
    const COLUMNS: [&dyn Display; 8] = [
        &"Index",
        &"Upstream",
        &"Name",
        &"Status",
        &"Rise counts",
        &"Fall counts",
        &"Check type",
        &"Check port",
    ];
    write!(
        out,
        "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\n\
         \"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd\">\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\">\n\
         <head>\n  <title>{TITLE}</title>\n</head>\n\
         <body>\n<h1>{TITLE}</h1>\n\
         <h2>Check upstream server number: {}, generation: {}</h2>\n\
         <table style=\"background-color:white\" cellspacing=\"0\"        \
         cellpadding=\"3\" border=\"1\">\n",
        listed.peers.len(),
        listed.generation
    )?;
    row(out, " bgcolor=\"#C0C0C0\"", "th", &COLUMNS)?;
    for peer in &listed.peers {
        let Peer { index, rises, falls, kind, port, .. } = peer;
        let (upstream, name, status) = (escaped(peer.upstream), escaped(&peer.name), peer.status());
        let colour = if peer.is_up { "" } else { " bgcolor=\"#FF0000\"" };
        let cells: [&dyn Display; 8] = [index, &upstream, &name, &status, rises, falls, kind, port];
        row(out, colour, "td", &cells)?;
    }
    out.push_str("</table>\n</body>\n</html>\n");
    Ok(())
}

fn row(out: &mut String, colour: &str, cell: &str, values: &[&dyn Display]) -> fmt::Result {
    writeln!(out, "  <tr{colour}>")?;
    for value in values {
        writeln!(out, "    <{cell}>{value}</{cell}>")?;
    }
    writeln!(out, "  </tr>")
}

/// Text that says what it says and is no markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

fn json(out: &mut String, listed: &Listed<'_>) -> fmt::Result {
    let (total, up) = (listed.peers.len(), listed.up());
    write!(
        out,
        "{{\"servers\": {{\n  \"total\": {total},\n  \"up\": {up},\n  \"down\": {},\n  \
         \"generation\": {},\n  \"server\": [\n",
        total - up,
        listed.generation
    )?;
    for (number, peer) in (1..).zip(&listed.peers) {
        let Peer { index, rises, falls, kind, port, .. } = peer;
        let (upstream, name) = (string(peer.upstream), string(&peer.name));
        writeln!(
            out,
            "    {{\"index\": {index}, \"upstream\": {upstream}, \"name\": {name}, \
             \"status\": \"{}\", \"rise\": {rises}, \"fall\": {falls}, \"type\": \"{kind}\", \
             \"port\": {port}}}{}",
            peer.status(),
            if number == total { "" } else { "," }
        )?;
    }
    out.push_str("  ]\n}}\n");
    Ok(())
}

fn string(text: &str) -> serde_json::Value {
    text.into()
}

fn prometheus(out: &mut String, listed: &Listed<'_>) -> fmt::Result {
    let (total, up) = (listed.peers.len() as u64, listed.up() as u64);
    for (name, about, value) in [
        ("total", "Servers with a check.", total),
        ("up", "Servers that their check says are up.", up),
        ("down", "Servers that their check says are down.", total - up),
        ("generation", "The generation of the table.", listed.generation),
    ] {
        family(out, &format!("nginx_upstream_count_{name}"), about, "gauge")?;
        writeln!(out, "nginx_upstream_count_{name} {value}")?;
    }
    rows(out, listed, "rise", "Probes passed in a row.", |peer| peer.rises)?;
    rows(out, listed, "fall", "Probes failed in a row.", |peer| peer.falls)?;
    family(out, "nginx_upstream_server_active", "1 for up, 0 for down.", "gauge")?;
    for peer in &listed.peers {
        let Peer { index, kind, port, .. } = peer;
        let (upstream, name) = (label(peer.upstream), label(&peer.name));
        writeln!(
            out,
            "nginx_upstream_server_active{{index=\"{index}\",upstream=\"{upstream}\",\
             name=\"{name}\",type=\"{kind}\",port=\"{port}\"}} {}",
            u8::from(peer.is_up)
        )?;
    }
    Ok(())
}

fn rows(
    out: &mut String,
    listed: &Listed<'_>,
    what: &str,
    about: &str,
    count: impl Fn(&Peer<'_>) -> u32,
) -> fmt::Result {
    family(out, &format!("nginx_upstream_server_{what}"), about, "counter")?;
    for peer in &listed.peers {
        let Peer { index, kind, port, .. } = peer;
        let (upstream, name) = (label(peer.upstream), label(&peer.name));
        writeln!(
            out,
            "nginx_upstream_server_{what}{{index=\"{index}\",upstream=\"{upstream}\",\
             name=\"{name}\",status=\"{}\",type=\"{kind}\",port=\"{port}\"}} {}",
            peer.status(),
            count(peer)
        )?;
    }
    Ok(())
}

fn family(out: &mut String, name: &str, about: &str, kind: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {about}\n# TYPE {name} {kind}")
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of one server, in a pool with that name.
    fn page(upstream: &str, is_up: bool, format: Format) -> String {
        let peer = Peer {
            index: 4,
            upstream,
            name: "[::1]:80".into(),
            is_up,
            rises: 3,
            falls: 0,
            kind: "http",
            port: 81,
        };
        format.render(&Listed { generation: 7, peers: vec![peer] })
    }

    #[test]
    fn rows_of_the_html_page_are_cells_on_lines_of_their_own() {
        let up = "  <tr>\n    <td>4</td>\n    <td>u</td>\n    <td>[::1]:80</td>\n    <td>up</td>\n    \
                  <td>3</td>\n    <td>0</td>\n    <td>http</td>\n    <td>81</td>\n  </tr>\n</table>\n";
        assert!(page("u", true, Format::Html).contains(up));
        let text = page("u", false, Format::Html);
        assert!(text.contains("  <tr bgcolor=\"#FF0000\">\n") && text.contains("<td>down</td>"));
        assert!(text.starts_with(
            "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\n\"http://www.w3.org/TR/"
        ));
        assert!(text.contains("cellspacing=\"0\"        cellpadding=\"3\" border=\"1\">\n  <tr bgcolor=\"#C0C0C0\">\n    <th>Index</th>\n"));
        assert!(text.ends_with("  </tr>\n</table>\n</body>\n</html>\n"));
    }

    #[test]
    fn no_name_breaks_a_format() {
        let name = "a,\"<b>\\&";
        assert_eq!(page(name, true, Format::Csv), "4,\"a,\"\"<b>\\&\",[::1]:80,up,3,0,http,81\n");
        assert!(page(name, true, Format::Html).contains("<td>a,&quot;&lt;b&gt;\\&amp;</td>"));
        assert!(page(name, true, Format::Prometheus).contains(r#"upstream="a,\"<b>\\&""#));
        let json: serde_json::Value =
            serde_json::from_str(&page(name, true, Format::Json)).expect("JSON");
        assert_eq!(json["servers"]["server"][0]["upstream"], name);
    }
}
