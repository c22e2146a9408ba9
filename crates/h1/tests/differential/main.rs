//! The same bytes to us and to hyper: whatever we accept, a server must understand as the same
//! requests with the same bodies, or a request could be smuggled past one of us. That hyper accepts
//! more is fine. Heads are tokenised by `httparse` on both sides; what they mean, and everything
//! about bodies, hyper decides with code of its own.

mod corpus;
mod ours;
mod theirs;

use proptest::prelude::*;

use crate::{
    corpus::{Case, corpus},
    ours::{Ended, Ours, Spoken},
    theirs::Hyper,
};

/// A request as one side understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    method: String,
    /// Path and query, or `*`.
    target: String,
    /// Of the absolute form.
    authority: Option<String>,
    /// `None`: it broke off or was malformed.
    body: Option<Vec<u8>>,
}

/// What hyper makes of what we accept, or what is wrong.
fn compare(hyper: &Hyper, bytes: &[u8]) -> Result<(), String> {
    let ours = Ours::of(bytes);
    let theirs = hyper.hears(bytes);
    let explain =
        |what: &str| format!("{what}\n{}\n{ours:#?}\nhyper: {theirs:#?}", bytes.escape_ascii());
    for (at, said) in ours.spoken.iter().enumerate() {
        if !said.is_expressible {
            return Ok(());
        }
        let Some(heard) = theirs.get(at) else {
            return if at > 0 && ours.spoken[at - 1].is_http_10 {
                // Whether an HTTP/1.0 connection goes on is for each side to decide.
                Ok(())
            } else {
                Err(explain("hyper hears fewer requests"))
            };
        };
        same(said, heard, &ours.ended).map_err(explain)?;
    }
    let is_over = matches!(ours.ended, Ended::Closed | Ended::CutHead);
    if is_over && theirs.len() != ours.spoken.len() {
        return Err(explain("hyper hears more requests in the same bytes"));
    }
    Ok(())
}

fn same(said: &Spoken, heard: &Heard, ended: &Ended) -> Result<(), &'static str> {
    let ours = &said.heard;
    // http's own URI reads `http://host` as `http://host/`.
    let is_asterisk = ours.target == "*" && ours.authority.is_some() && heard.target == "/";
    if ours.method != heard.method || (ours.target != heard.target && !is_asterisk) {
        return Err("another request line");
    }
    if ours.authority != heard.authority {
        return Err("another authority");
    }
    match (&ours.body, &heard.body) {
        (Some(ours), Some(theirs)) if ours == theirs => Ok(()),
        (Some(_), _) => Err("another body"),
        (None, Some(_)) if *ended == Ended::CutBody => Err("a whole body, where we miss some"),
        (None, _) => Ok(()),
    }
}

#[test]
fn what_we_accept_hyper_understands_the_same_way() {
    let (hyper, cases) = (Hyper::new(), corpus());
    assert!(cases.len() >= 150, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for Case { bytes, accepted } in &cases {
        let whole = Ours::of(bytes).spoken.iter().filter(|one| one.heard.body.is_some()).count();
        if whole != *accepted {
            wrong.push(format!("{whole} requests, not {accepted}: {}", bytes.escape_ascii()));
        }
        wrong.extend(compare(&hyper, bytes).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn most_of_what_is_sound_hyper_can_express() {
    let cases: Vec<_> = corpus().into_iter().filter(|case| case.accepted > 0).collect();
    let hyper = Hyper::new();
    let heard = cases.iter().filter(|case| hyper.hears(&case.bytes).len() >= case.accepted).count();
    assert!(heard * 10 >= cases.len() * 9, "{heard} of {}", cases.len());
}

/// A change to a message, at a place given in thousandths.
#[derive(Clone, Debug)]
enum Change {
    Put(u16, &'static [u8]),
    Remove(u16, usize),
    Repeat(u16, usize),
    Set(u16, u8),
}

/// What smugglers are fond of.
const PIECES: [&[u8]; 30] = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b"0",
    b"1",
    b";",
    b":",
    b",",
    b"\x0b",
    b"\x80",
    b"#",
    b"?",
    b"//",
    b"0\r\n\r\n",
    b"5\r\n",
    b"\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length:\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: b\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    b" HTTP/1.0\r\n",
];

fn change() -> impl Strategy<Value = Change> {
    let at = || 0..1_000_u16;
    prop_oneof![
        (at(), prop::sample::select(PIECES.to_vec()))
            .prop_map(|(at, piece)| Change::Put(at, piece)),
        (at(), 1..20_usize).prop_map(|(at, size)| Change::Remove(at, size)),
        (at(), 1..60_usize).prop_map(|(at, size)| Change::Repeat(at, size)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |thousandths: u16| bytes.len() * usize::from(thousandths) / 1_000;
        let range = |at: usize, size: usize| at..(at + size).min(bytes.len());
        match *self {
            Self::Put(at, piece) => {
                let at = place(at);
                bytes.splice(at..at, piece.iter().copied());
            }
            Self::Remove(at, size) => {
                let gone = range(place(at), size);
                bytes.drain(gone);
            }
            Self::Repeat(at, size) => {
                let twice = range(place(at), size);
                let piece = bytes[twice.clone()].to_vec();
                bytes.splice(twice.end..twice.end, piece);
            }
            Self::Set(at, byte) => {
                let at = place(at);
                bytes.splice(at..(at + 1).min(bytes.len()), [byte]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nor_does_it_misunderstand_what_is_changed(
        cases in prop::collection::vec(prop::sample::select(corpus()), 1..4),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let mut bytes: Vec<u8> = cases.iter().flat_map(|case| case.bytes.clone()).collect();
        for change in &changes {
            change.apply(&mut bytes);
        }
        compare(&Hyper::new(), &bytes).map_err(TestCaseError::fail)?;
    }
}
