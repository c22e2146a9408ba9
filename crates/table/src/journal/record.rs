//! What the records say. A kind is a number and a JSON payload; later versions add kinds. One that
//! this program does not know stops it with its name: skipping it would lose what was promised.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tidegate_model::Name;

use super::frame::{Frame, TooLong};
use crate::{
    change::Origin,
    condition::Key,
    drain::Drain,
    effect::{Definition, Effect, Mark},
    head::Head,
    keys::Answered,
    pool::Pool,
};

/// Of the format. Raised when the meaning of a kind changes.
pub(crate) const VERSION: u8 = 1;

pub(crate) const CHANGE: u8 = 1;
const BEGIN: u8 = 2;
const POOL: u8 = 3;
const MARK: u8 = 4;
const DRAIN: u8 = 5;
const KEY: u8 = 6;

#[derive(Debug, PartialEq)]
pub(crate) enum Record {
    /// The head of a snapshot file.
    Begin(Begin),
    /// One generation, in the journal.
    Change(Changed),
    Drain(Arc<Drain>),
    Key(Arc<Answered>),
    Mark(Mark),
    Pool(Kept),
}

/// What the rest of a snapshot file must hold.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begin {
    pub(crate) generation: u64,
    pub(crate) pools: usize,
    pub(crate) marks: usize,
    /// What is 0 is not written: a file without drains is as it was before there were any.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) drains: usize,
    /// The largest id that a drain ever had, if it is above the generation: the ids of later drains
    /// are above that by themselves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) last_drain: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) keys: usize,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Changed {
    pub(crate) generation: u64,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) origin: Origin,
    pub(crate) caller: String,
    pub(crate) reason: Option<String>,
    pub(crate) effects: Vec<Effect>,
    /// The pools it defines or deletes, as they were; what was not there is not here. Absent in
    /// records of before there was a history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Vec<Definition>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Key>,
    /// The pools of the drains that it ends, which effects call by their numbers alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ended: Vec<Name>,
}

/// A pool with the generation that last changed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    pub(crate) generation: u64,
    pub(crate) pool: Definition,
    /// The generation that last changed each of its servers; empty: the pool's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) since: Vec<u64>,
}

/// Why a sound frame holds no record.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("a newer tidegate wrote it: its version is {0}, this one knows up to {VERSION}")]
    NewerVersion(u8),
    #[error("records of kind {kind} cannot be read by this version: {source}")]
    Payload { kind: &'static str, source: serde_json::Error },
    #[error("a newer tidegate wrote it: kind {0} is unknown to this one")]
    UnknownKind(u8),
}

impl Record {
    pub(crate) fn read(frame: &Frame<'_>) -> Result<Self, Unreadable> {
        if frame.version > VERSION {
            return Err(Unreadable::NewerVersion(frame.version));
        }
        match frame.kind {
            BEGIN => json("begin", frame.payload).map(Self::Begin),
            CHANGE => json("change", frame.payload).map(Self::Change),
            DRAIN => json("drain", frame.payload).map(Self::Drain),
            KEY => json("key", frame.payload).map(Self::Key),
            MARK => json("mark", frame.payload).map(Self::Mark),
            POOL => json("pool", frame.payload).map(Self::Pool),
            unknown => Err(Unreadable::UnknownKind(unknown)),
        }
    }
}

fn json<T: DeserializeOwned>(kind: &'static str, payload: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(payload).map_err(|source| Unreadable::Payload { kind, source })
}

impl Kept {
    /// The generation that last changed each of its servers.
    pub(crate) fn since(&self) -> Vec<u64> {
        if self.since.is_empty() {
            vec![self.generation; self.pool.spec.servers.as_ref().map_or(0, Vec::len)]
        } else {
            self.since.clone()
        }
    }

    fn of(pool: &Pool) -> Self {
        let generation = pool.generation;
        let is_of_pool = pool.since.iter().all(|since| *since == generation);
        let since = if is_of_pool { Vec::new() } else { pool.since.clone() };
        Self { generation, pool: Definition::from(pool), since }
    }
}

impl Changed {
    pub(crate) fn payload(&self) -> Vec<u8> {
        payload(self)
    }
}

/// Milliseconds since 1970, for [`Changed::at`].
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Frames the payloads of changes as one batch.
pub(crate) fn batch<'p>(payloads: impl Iterator<Item = &'p [u8]>) -> Result<Vec<u8>, TooLong> {
    let mut out = Vec::new();
    for (at, payload) in payloads.enumerate() {
        Frame { version: VERSION, kind: CHANGE, opens: at == 0, payload }.write(&mut out)?;
    }
    Ok(out)
}

/// The records of a snapshot file, framed one by one.
pub(crate) fn snapshot(head: &Head) -> impl Iterator<Item = Result<Vec<u8>, TooLong>> {
    let pools = head.snapshot.in_order();
    let begin = begin(head);
    let pools = pools.into_iter().map(|pool| (POOL, payload(&Kept::of(pool))));
    let marks = head.marks.values().map(|mark| (MARK, payload(mark)));
    let drains = head.snapshot.drains.values().map(|drain| (DRAIN, payload(drain)));
    let keys = head.keys.iter().map(|answered| (KEY, payload(answered)));
    let rest = pools.chain(marks).chain(drains).chain(keys);
    std::iter::once((BEGIN, payload(&begin))).chain(rest).map(|(kind, payload)| {
        let mut out = Vec::with_capacity(payload.len() + 16);
        let opens = kind == BEGIN;
        Frame { version: VERSION, kind, opens, payload: &payload }.write(&mut out)?;
        Ok(out)
    })
}

fn begin(head: &Head) -> Begin {
    let Head { snapshot, marks, last_drain, keys, .. } = head;
    Begin {
        generation: snapshot.generation,
        pools: snapshot.pools.len(),
        marks: marks.len(),
        drains: snapshot.drains.len(),
        last_drain: if *last_drain > snapshot.generation { *last_drain } else { 0 },
        keys: keys.len(),
    }
}

fn payload<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("records have text for keys and nothing that fails to print")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_model::UpstreamSpec;

    use super::*;
    use crate::pool::Source;

    fn change() -> Changed {
        let name = Name::new("P").expect("a name");
        let definition = Definition {
            name: name.clone(),
            order: 3,
            source: Source::Api,
            spec: Arc::new(UpstreamSpec { keepalive: Some(8), ..UpstreamSpec::default() }),
            resolved: Arc::default(),
        };
        let mark = Mark { name: name.clone(), hash: "h".into() };
        let effects = vec![
            Effect::PoolPut(definition),
            Effect::PoolDelete(name.clone()),
            Effect::FileApplied(mark),
            Effect::FileForgotten(name),
        ];
        Changed {
            generation: 2,
            at: 1_700_000_000_000,
            origin: Origin::Dyups,
            caller: "127.0.0.1".into(),
            reason: None,
            effects,
            before: None,
            key: None,
            ended: Vec::new(),
        }
    }

    /// The form on disk: changing it needs a new version, for files outlive programs.
    #[test]
    fn a_change_is_written_as_it_always_was() {
        let text = r#"{"generation":2,"at":1700000000000,"origin":"dyups","caller":"127.0.0.1","reason":null,"effects":[{"pool_put":{"name":"P","order":3,"source":"api","spec":{"keepalive":8},"resolved":{}}},{"pool_delete":"P"},{"file_applied":{"name":"P","hash":"h"}},{"file_forgotten":"P"}]}"#;
        assert_eq!(String::from_utf8(change().payload()).expect("JSON"), text);
    }

    fn drain() -> Arc<Drain> {
        let order = r#"{"upstream":"P","server":"10.0.0.1:80","rate":"200/s"}"#;
        let spec = serde_json::from_str(order).expect("an order");
        Arc::new(Drain { id: 4, spec, begun: 1_700_000_000_000, generation: 5, finished: None })
    }

    #[test]
    fn drains_are_written_as_they_always_were() {
        let text = r#"{"id":4,"spec":{"upstream":"P","server":"10.0.0.1:80","rate":"200/s","order":"quiet_first"},"begun":1700000000000,"generation":5}"#;
        let written = |value: Vec<u8>| String::from_utf8(value).expect("JSON");
        assert_eq!(written(payload(&drain())), text);
        let frame = Frame { version: 1, kind: 5, opens: true, payload: text.as_bytes() };
        assert_eq!(Record::read(&frame).expect("a record"), Record::Drain(drain()));
        let finished = Drain { finished: Some(1_700_000_000_001), ..Drain::clone(&drain()) };
        assert!(written(payload(&finished)).ends_with(r#","finished":1700000000001}"#));
        let effects = [Effect::DrainPut(drain()), Effect::DrainEnd(4)];
        let expected = format!(r#"[{{"drain_put":{text}}},{{"drain_end":4}}]"#);
        assert_eq!(written(payload(&effects)), expected);
    }

    #[test]
    fn what_a_snapshot_begins_with_speaks_of_drains_only_when_there_are_some() {
        for (text, drains, last_drain) in [
            (r#"{"generation":2,"pools":3,"marks":1}"#, 0, 0),
            (r#"{"generation":2,"pools":3,"marks":1,"drains":1}"#, 1, 0),
            (r#"{"generation":2,"pools":3,"marks":1,"last_drain":7}"#, 0, 7),
        ] {
            let begin = Begin { generation: 2, pools: 3, marks: 1, drains, last_drain, keys: 0 };
            assert_eq!(String::from_utf8(payload(&begin)).expect("JSON"), text);
            let frame = Frame { version: 1, kind: 2, opens: true, payload: text.as_bytes() };
            assert_eq!(Record::read(&frame).expect("a record"), Record::Begin(begin));
        }
    }

    #[test]
    fn a_batch_reads_back_record_by_record() {
        let payload = change().payload();
        let bytes = batch([&*payload, &*payload].into_iter()).expect("short payloads");
        let (first, length) = Frame::read(&bytes).expect("a frame");
        let (second, _) = Frame::read(&bytes[length..]).expect("a frame");
        assert!(first.opens && !second.opens);
        assert_eq!(Record::read(&second).expect("a record"), Record::Change(change()));
    }

    #[test]
    fn what_is_newer_or_unknown_is_refused_by_name() {
        let refusal = |version, kind, payload: &[u8]| {
            let frame = Frame { version, kind, opens: true, payload };
            Record::read(&frame).expect_err("not a record of this version").to_string()
        };
        assert!(refusal(2, CHANGE, b"{}").contains("version is 2"));
        assert!(refusal(1, 99, b"{}").contains("kind 99"));
        let effect = br#"{"generation":2,"at":0,"origin":"api","caller":"","reason":null,"effects":[{"drain_begin":1}]}"#;
        assert!(refusal(1, CHANGE, effect).contains("drain_begin"));
        assert!(refusal(1, POOL, br#"{"generation":1,"colour":1}"#).contains("colour"));
    }
}
