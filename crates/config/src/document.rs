//! What all files say together, as one JSON document: keys and values as they were typed, for
//! whoever asks what is running. Files that hold secrets are named in it and not read; a credential
//! among the fields that a request is sent with is hidden.

use serde_json::{Map, Value};
use tidegate_model::route::is_credential;
use toml::de::{DeTable, DeValue};

const HIDDEN: &str = "(hidden)";

/// Grows by a file at a time.
#[derive(Default)]
pub(crate) struct Document(Map<String, Value>);

impl Document {
    /// Adds what one file says: lists go on, tables grow. What must not be there twice is refused
    /// elsewhere.
    pub(crate) fn add(&mut self, file: &DeTable<'_>) {
        for (key, mut value) in table(file) {
            hide(&mut value, false);
            match (self.0.get_mut(&key), value) {
                (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
                (Some(Value::Object(tables)), Value::Object(more)) => tables.extend(more),
                (_, value) => drop(self.0.insert(key, value)),
            }
        }
    }

    pub(crate) fn into_json(self) -> String {
        Value::Object(self.0).to_string()
    }
}

fn table(table: &DeTable<'_>) -> Map<String, Value> {
    table.iter().map(|(key, entry)| (key.get_ref().to_string(), value(entry.get_ref()))).collect()
}

fn value(typed: &DeValue<'_>) -> Value {
    match typed {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(digits) => {
            let number = i64::from_str_radix(digits.as_str(), digits.radix());
            number.map_or_else(|_| digits.as_str().into(), Value::from)
        }
        // There is no JSON for those that are not numbers: they become null.
        DeValue::Float(digits) => {
            digits.as_str().parse::<f64>().map_or_else(|_| digits.as_str().into(), Value::from)
        }
        DeValue::Boolean(yes) => Value::from(*yes),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(list) => list.iter().map(|element| value(element.get_ref())).collect(),
        DeValue::Table(inner) => Value::Object(table(inner)),
    }
}

/// Whether a table of that name is one of fields, cookies or arguments.
fn holds_fields(key: &str) -> bool {
    key.ends_with("headers") || matches!(key, "header" | "cookie" | "query")
}

/// Hides credentials in tables of fields, and in tables within these.
fn hide(value: &mut Value, among_fields: bool) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|element| hide(element, among_fields)),
        Value::Object(table) => {
            for (key, value) in table {
                if among_fields && value.is_string() && is_credential(key) {
                    *value = HIDDEN.into();
                } else {
                    hide(value, among_fields || holds_fields(key));
                }
            }
        }
        _ => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(files: &[&str]) -> Value {
        let mut document = Document::default();
        for text in files {
            document.add(DeTable::parse(text).expect("TOML").get_ref());
        }
        serde_json::from_str(&document.into_json()).expect("JSON")
    }

    #[test]
    fn files_become_one_document() {
        let all = document(&[
            "[[route]]\nupstream = 'a'\n[upstream.a]\nkeepalive = 0x10\nservers = ['b:1']",
            "[[route]]\nupstream = 'b'\n[upstream.b]\nx = [true, 1.5, 1979-05-27]",
        ]);
        let expected = serde_json::json!({
            "route": [{ "upstream": "a" }, { "upstream": "b" }],
            "upstream": {
                "a": { "keepalive": 16, "servers": ["b:1"] },
                "b": { "x": [true, 1.5, "1979-05-27"] },
            },
        });
        assert_eq!(all, expected);
    }

    #[test]
    fn credentials_do_not_show() {
        let all = document(&["[admin]\ntoken_file = 'file'\n\
            [upstream.a]\nsticky = { cookie = 'route' }\n\
            check = { headers = { Authorization = 'Basic s3cret', Host = 'a', X-Api-Key = 's3cret' } }\n\
            [[route]]\nrequest_headers = { set = { Cookie = 's3cret' }, remove = ['cookie'] }\n\
            header = { x-api-key = 's3cret', x-env = 'gray' }\nquery = { access_token = 's3cret' }"]);
        assert!(!all.to_string().contains("s3cret"), "{all}");
        assert_eq!(all["admin"]["token_file"], "file");
        assert_eq!(all["upstream"]["a"]["sticky"]["cookie"], "route");
        assert_eq!(all["upstream"]["a"]["check"]["headers"]["Host"], "a");
        assert_eq!(all["route"][0]["request_headers"]["remove"][0], "cookie");
        assert_eq!(all["route"][0]["header"]["x-env"], "gray");
    }
}
