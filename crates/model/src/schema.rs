//! JSON schemas of the values that are written as text, for the admin API's description. Each says
//! what its parser says, as far as a pattern can: tools make requests up by it, and expect that what
//! it allows is read and that what it does not is refused.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema, SchemaFormat, Type,
        schema::AnyOfBuilder,
    },
};

use crate::{
    Address, Name, ServerSpec, Size, Span, Template,
    drain::Rate,
    name::MAX_LEN,
    upstream::{
        CloseCode, Condition, Conditions, ExpectBody, HashKey, ServerName, Share, StatusPattern,
    },
};

/// 1 to 65535, without zeros in front.
const PORT: &str = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}\
                    |[1-9][0-9]{0,3})";
const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
/// Labels, unless it is all digits: that is a mistyped address.
const HOST: &str = r"(?![0-9.]+(:|$))([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?";

/// Stands for an IP address, which is somebody else's type.
pub struct Ip;

/// Stands for a server, which may be said by its address alone.
pub struct ServerOrAddress;

impl PartialSchema for ServerOrAddress {
    fn schema() -> RefOr<Schema> {
        let forms = ["Address", "ServerSpec"].map(Ref::from_schema_name);
        forms.into_iter().fold(OneOfBuilder::new(), OneOfBuilder::item).into()
    }
}

impl ToSchema for ServerOrAddress {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("Address".into(), Address::schema()));
        schemas.push(("ServerSpec".into(), ServerSpec::schema()));
        ServerSpec::schemas(schemas);
    }
}

macro_rules! written_as {
    ($($type:ty => $schema:expr;)*) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $type {}
    )*};
}

written_as! {
    Address => text(
        "Where a server is: `ipv4[:port]`, `[ipv6][:port]`, `hostname[:port]` or `unix:/path`. The \
         port is 80 unless given.",
        &address(),
        &["10.0.0.1:8080", "[2001:db8::1]:8080", "node-1.example.com:8080", "unix:/run/app.sock"],
    );
    CloseCode => code("A status code that may stand in a WebSocket Close frame.");
    Conditions => conditions("What makes a request go on to the next server, as in nginx.");
    ExpectBody => ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("What a body has to hold: a text, or after `~ ` a regular expression."))
        .examples(["pong", "~ ^o+k$"]);
    HashKey => text(
        "What servers are chosen by: `client_ip`, `uri`, `header:NAME`, `cookie:NAME` or \
         `query:NAME`.",
        r"^(client_ip|uri|(header|cookie|query):[\s\S]+)$",
        &["client_ip", "header:x-user"],
    );
    Ip => ip();
    Name => name();
    Rate => text(
        "A number above 0 in a second, minute or hour.",
        // The parser takes a little more: all of 32 bits.
        "^[1-9][0-9]{0,8}/[smh]$",
        &["200/s", "30/m"],
    );
    ServerName => server_name();
    Share => text("A share in whole per cent, up to 1000%.", "^0*([0-9]{1,3}|1000)%$", &["20%"]);
    Size => text(
        "A number of bytes, or one with `k`, `m` or `g` (of 1,024).",
        "^([0-9]{1,15}|[0-9]{1,12}[kK]|[0-9]{1,9}[mM]|[0-9]{1,6}[gG])$",
        &["64k", "1m"],
    );
    Span => text(
        "A duration: a whole number with `ms`, `s`, `m`, `h` or `d`, up to a hundred years.",
        "^([0-9]{1,12}ms|[0-9]{1,9}s|[0-9]{1,7}m|[0-9]{1,5}h|[0-9]{1,4}d)$",
        &["250ms", "10s", "1h"],
    );
    StatusPattern => text(
        "A status code, or a class of them.",
        "^[1-5](xx|[0-9]{2})$",
        &["204", "2xx"],
    );
    Template => text(
        "A text with variables such as `${host}` or `${header:x-user|nobody}`.",
        &template(),
        &["${header:host}"],
    );
}

fn text(description: &str, pattern: &str, examples: &[&str]) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .pattern(Some(pattern))
        .examples(examples.iter().copied())
        .build()
}

fn name() -> Object {
    let mut name = text(
        "A pool's name, at most 255 bytes long. Names are compared without ASCII case.",
        r"^[^\x00-\x1f\x7f-\x9f]+$",
        &["chat"],
    );
    (name.min_length, name.max_length) = (Some(1), Some(MAX_LEN));
    name
}

fn server_name() -> Object {
    let host = r"(?![0-9.]+$)([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}";
    let (ipv4, ipv6) = (format!(r"({OCTET}\.){{3}}{OCTET}"), ipv6());
    let mut name = text(
        "The name of a host, or an IP address, that a server's certificate has to be for.",
        &format!("^({ipv4}|{ipv6}|{host})$"),
        &["im.example.com", "10.0.0.1"],
    );
    name.max_length = Some(253);
    name
}

fn ip() -> Schema {
    let form = |format: &str| {
        let format = Some(SchemaFormat::Custom(format.into()));
        ObjectBuilder::new().schema_type(Type::String).format(format)
    };
    let ip = AnyOfBuilder::new().examples(["192.0.2.1"]).item(form("ipv4")).item(form("ipv6"));
    Schema::AnyOf(ip.build())
}

fn address() -> String {
    let path = r"unix:/[^\x00-\x1f\x7f-\x9f]{0,106}";
    let (ipv4, ipv6) = (format!(r"({OCTET}\.){{3}}{OCTET}"), ipv6());
    format!(r"^({path}|({ipv4}|\[({ipv6})\]|{HOST})(:{PORT})?)$")
}

/// By how many groups stand before the `::`, if there is one.
fn ipv6() -> String {
    let group = "[0-9a-fA-F]{1,4}";
    let mut forms = vec![
        format!("({group}:){{7}}{group}"),
        format!("({group}:){{1,7}}:"),
        format!(":((:{group}){{1,7}}|:)"),
    ];
    forms.extend((1..=6).map(|n| format!("({group}:){{1,{n}}}(:{group}){{1,{}}}", 7 - n)));
    forms.join("|")
}

fn template() -> String {
    let words = "host|uri|path|query|method|scheme|client_ip|request_id|upstream|server";
    let variable = format!(r"({words}|(header|cookie|query|env):[^|}}]+)(\|[^}}]*)?");
    format!(r"^([^$]|\$(?!\{{)|\$\{{{variable}\}})*$")
}

fn code(description: &str) -> Schema {
    let number = || ObjectBuilder::new().schema_type(Type::Integer);
    let single = [1000, 1001, 1008, 1011, 1012, 1013, 1014];
    let code = AnyOfBuilder::new()
        .description(Some(description))
        .examples([1012])
        .item(number().enum_values(Some(single)))
        .item(number().minimum(Some(3000)).maximum(Some(4999)));
    Schema::AnyOf(code.build())
}

fn conditions(description: &str) -> Schema {
    let words = Condition::ALL.map(|(_, word)| word);
    let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
    let set = ArrayBuilder::new().description(Some(description)).items(word);
    Schema::Array(set.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads<T: serde::de::DeserializeOwned + ToSchema>(texts: &[&str]) {
        let RefOr::T(schema) = T::schema() else { panic!("a schema of its own") };
        let schema = serde_json::to_value(schema).expect("JSON");
        let pattern = schema["pattern"].as_str().expect("a pattern");
        // The crate cannot look ahead; no text here is of those that differ without it.
        let pattern = pattern.replace("(?![0-9.]+(:|$))", "").replace("(?![0-9.]+$)", "");
        let pattern = pattern.replace(r"(?!\{)", "([^{]|$)");
        let pattern = regex::Regex::new(&pattern).expect("a regular expression");
        for text in texts {
            let is_read = serde_json::from_value::<T>((*text).into()).is_ok();
            assert_eq!(pattern.is_match(text), is_read, "{text:?}");
        }
    }

    #[test]
    fn patterns_allow_what_is_read_and_nothing_else() {
        reads::<Address>(&[
            "10.0.0.1",
            "10.0.0.1:8080",
            "[2001:db8::1]:8080",
            "[::]",
            "[1:2:3:4:5:6:7:8]:1",
            "[1:2:3:4:5:6:7::]",
            "[::ff:1]:65535",
            "node-1.example.com.:80",
            "1a",
            "unix:/run/a b.sock",
            "unix:run",
            "unix:",
            "",
            ":80",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "[1:2:3:4:5:6:7:8:9]",
            "[1::2::3]",
            "[10.0.0.1]",
            "::1",
            "a..b",
            "a b",
            "http://a",
        ]);
        reads::<HashKey>(&["client_ip", "uri", "header:x", "cookie:a:b", "header:", "host", ""]);
        reads::<Name>(&["a", "Köln", "a b", "", "a\nb", "\u{85}"]);
        reads::<Rate>(&["200/s", "1/h", "999999999/m", "0/s", "+1/s", "1/d", "/s", ""]);
        reads::<ServerName>(&["a", "a-b.c_d", "10.0.0.1", "::1", "a.", "a:1", "[::1]", "", "a b"]);
        reads::<Share>(&["0%", "20%", "1000%", "0020%", "1001%", "1.5%", "-1%", "%", "20"]);
        reads::<Size>(&["0", "64k", "1M", "999999g", "1kb", "1.5m", "k", "-1", ""]);
        reads::<Span>(&["0s", "250ms", "1h", "9999d", "10", "s", "1.5s", "-1s", "1 s", ""]);
        reads::<StatusPattern>(&["204", "2xx", "100", "599", "600", "6xx", "0xx", "2x", "20"]);
        reads::<Template>(&[
            "",
            "plain",
            "a${host}b${header:x-user|no one}",
            "${env:HOME|}",
            "$5",
            "${nope}",
            "${header:}",
            "${header}",
        ]);
    }
}
