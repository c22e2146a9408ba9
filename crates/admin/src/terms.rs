//! On what terms a change is asked for: its conditions (RFC 9110 §13.1), its key, and what the query
//! says besides.

use std::{borrow::Cow, sync::Arc};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use tidegate_model::upstream::OnRemove;
use tidegate_table::{Condition, Key, Subject, Wanted};
use xxhash_rust::xxh3::Xxh3;

use crate::{caller::Caller, problem::Problem};

/// The header by which a repeated request is known.
const KEY: &str = "idempotency-key";
const LONGEST_KEY: usize = 255;
/// A reason is a sentence or two.
const LONGEST_REASON: usize = 1_000;

/// What the head of a request says of the change it asks for.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    wanted: Vec<Wanted>,
    pub(crate) key: Option<Key>,
    pub(crate) dry_run: bool,
    /// Also what leaves a pool with nobody.
    pub(crate) force: bool,
    pub(crate) existing: Option<OnRemove>,
    pub(crate) reason: Option<String>,
}

impl Terms {
    /// Reads the head; `body` is a part of what the key stands for.
    ///
    /// # Errors
    /// When a header or a parameter is not what can be said here.
    pub(crate) fn read(head: &Parts, body: &[u8], caller: &Caller) -> Result<Self, Problem> {
        let mut terms = Self::default();
        terms.query(head.uri.query().unwrap_or_default())?;
        if let Some(tags) = text(&head.headers, header::IF_MATCH.as_str())? {
            terms.wanted.push(if_match(&tags).ok_or_else(|| {
                bad().with_fault("If-Match", "\"*\" or the ETag of what is to be changed")
            })?);
        }
        if let Some(tags) = text(&head.headers, header::IF_NONE_MATCH.as_str())? {
            if tags.trim() != "*" {
                return Err(
                    bad().with_fault("If-None-Match", "for a change this can only be \"*\"")
                );
            }
            terms.wanted.push(Wanted::Absent);
        }
        terms.key = key(head, body, caller)?;
        Ok(terms)
    }

    fn query(&mut self, query: &str) -> Result<(), Problem> {
        let mut seen = Vec::new();
        for (name, value) in form(query) {
            if seen.contains(&name) {
                return Err(bad().with_fault(name.into_owned(), "given twice"));
            }
            let wrong = match &*name {
                "dry_run" => set(&mut self.dry_run, flag(&value)).err(),
                "force" => set(&mut self.force, flag(&value)).err(),
                "existing" => match OnRemove::parse(&value) {
                    Some(existing) => set(&mut self.existing, Some(Some(existing))).err(),
                    None => Some("there are: keep, drain, close"),
                },
                "reason" => self.set_reason(Some(value.into_owned())).err(),
                _ => Some("unknown; there are: dry_run, existing, force, reason"),
            };
            if let Some(reason) = wrong {
                return Err(bad().with_fault(name.into_owned(), reason));
            }
            seen.push(name);
        }
        Ok(())
    }

    /// What the body says, which counts more than the query.
    pub(crate) fn with_body(mut self, said: Said) -> Result<Self, Problem> {
        self.force |= said.force;
        self.existing = said.existing.or(self.existing);
        if said.reason.is_some() {
            self.set_reason(said.reason).map_err(|reason| bad().with_fault("reason", reason))?;
        }
        Ok(self)
    }

    fn set_reason(&mut self, reason: Option<String>) -> Result<(), &'static str> {
        if reason.as_ref().is_some_and(|reason| reason.chars().count() > LONGEST_REASON) {
            return Err("at most 1000 characters");
        }
        self.reason = reason;
        Ok(())
    }

    /// The conditions, on what the request is about.
    pub(crate) fn conditions(&self, subject: &Subject) -> Vec<Condition> {
        let of = |wanted: &Wanted| Condition { of: subject.clone(), wanted: wanted.clone() };
        self.wanted.iter().map(of).collect()
    }
}

/// What bodies may say of every change.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) reason: Option<String>,
    pub(crate) force: bool,
    pub(crate) existing: Option<OnRemove>,
}

/// Whether who asks has the newest already (`If-None-Match`, RFC 9110 §13.1.2).
pub(crate) fn has_newest(headers: &HeaderMap, generation: u64) -> bool {
    let tags = headers.get_all(header::IF_NONE_MATCH);
    let is_it = |tag: &str| tag == "*" || tag.trim_start_matches("W/") == etag_text(generation);
    tags.iter()
        .filter_map(|tags| tags.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .any(|tag| is_it(tag.trim()))
}

/// The ETag of what a generation changed last.
pub(crate) fn etag(generation: u64) -> HeaderValue {
    // Digits and quotes are always a value.
    HeaderValue::from_str(&etag_text(generation))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

fn etag_text(generation: u64) -> String {
    format!("\"{generation}\"")
}

fn bad() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "this is not how a change is asked for")
}

fn set<T>(place: &mut T, value: Option<T>) -> Result<(), &'static str> {
    *place = value.ok_or("true or false")?;
    Ok(())
}

fn flag(word: &str) -> Option<bool> {
    match word {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// The names and values of a query. What is no UTF-8 is shown as what it is not.
pub(crate) fn form(query: &str) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(query.as_bytes()).collect()
}

/// All values of a header as one list.
fn text(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, Problem> {
    let mut all: Option<String> = None;
    for value in headers.get_all(name) {
        let value = value.to_str().map_err(|_| bad().with_fault(name, "not visible ASCII"))?;
        match &mut all {
            Some(all) => {
                all.push(',');
                all.push_str(value);
            }
            None => all = Some(value.to_owned()),
        }
    }
    Ok(all)
}

/// A weak tag matches nothing; one that is none of ours was never given out.
fn if_match(tags: &str) -> Option<Wanted> {
    if tags.trim() == "*" {
        return Some(Wanted::Any);
    }
    let mut generations = Vec::new();
    for tag in tags.split(',').map(str::trim) {
        let (weak, tag) = tag.strip_prefix("W/").map_or((false, tag), |tag| (true, tag));
        let inner = tag.strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('"') {
            return None;
        }
        if !weak {
            generations.extend(inner.parse::<u64>());
        }
    }
    Some(Wanted::OneOf(generations))
}

/// The key, and a fingerprint of all that makes the request what it is.
fn key(head: &Parts, body: &[u8], caller: &Caller) -> Result<Option<Key>, Problem> {
    let mut keys = head.headers.get_all(KEY).iter();
    let Some(value) = keys.next() else { return Ok(None) };
    let is_one = |text: &&str| {
        (1..=LONGEST_KEY).contains(&text.len())
            && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
    };
    let text = value.to_str().ok().filter(is_one).filter(|_| keys.next().is_none());
    let text = text.ok_or_else(|| {
        bad().with_fault("Idempotency-Key", "one of 1 to 255 visible ASCII characters")
    })?;
    let mut hasher = Xxh3::new();
    let token = caller.token.as_deref().unwrap_or_default();
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    for part in [token.as_bytes(), head.method.as_str().as_bytes(), target.as_bytes(), body] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    Ok(Some(Key { text: Arc::from(text), request: hasher.digest() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_rfc_9110_writes_them() {
        for (tags, wanted) in [
            ("*", Some(Wanted::Any)),
            ("\"42\"", Some(Wanted::OneOf(vec![42]))),
            (" \"1\" , \"2\"", Some(Wanted::OneOf(vec![1, 2]))),
            ("W/\"42\"", Some(Wanted::OneOf(vec![]))),
            ("\"abc\"", Some(Wanted::OneOf(vec![]))),
            ("42", None),
            ("\"42", None),
            ("\"", None),
            ("", None),
        ] {
            assert_eq!(if_match(tags), wanted, "{tags:?}");
        }
    }

    #[test]
    fn a_query_says_each_thing_once_and_nothing_else() {
        let terms = |query: &str| {
            let mut terms = Terms::default();
            terms.query(query).map(|()| terms)
        };
        let read = terms("dry_run=true&force=1&existing=drain&reason=a%20b+c").expect("it reads");
        assert!(read.dry_run && read.force);
        assert_eq!(read.existing, Some(OnRemove::Drain));
        assert_eq!(read.reason.as_deref(), Some("a b c"));
        for wrong in ["dry_run=yes", "dry_run", "force=1&force=1", "existing=never", "nope=1"] {
            assert!(terms(wrong).is_err(), "{wrong} was read");
        }
        assert!(terms(&format!("reason={}", "a".repeat(1_001))).is_err());
    }

    #[test]
    fn who_has_the_newest_is_told_so() {
        let has = |tags: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(tags));
            has_newest(&headers, 42)
        };
        assert!(has("\"42\"") && has("W/\"42\"") && has("\"1\", \"42\"") && has("*"));
        assert!(!has("\"41\"") && !has("42") && !has_newest(&HeaderMap::new(), 42));
    }
}
