//! Heads in pieces, at their limits, behind one another; and what happens to read-ahead.

use proptest::prelude::*;

use super::*;
use crate::script::{Read, Script, drive, once, pieces};

const LIMIT: usize = 4 * 1024;

/// A head as the tests know it: whatever ends in an empty line and does not start with `!`.
fn parse(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    if bytes.starts_with(b"!") {
        return Err("no head starts like that");
    }
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    Ok(end.map(|at| (bytes[..at + 4].to_vec(), at + 4)))
}

fn read_head(conn: &mut Conn<Script>) -> Result<Vec<u8>, HeadError<&'static str>> {
    let scratch = Scratch::default();
    drive(|cx| conn.poll_head(cx, &scratch, LIMIT, |_, bytes| parse(bytes)))
}

fn conn(reads: impl IntoIterator<Item = Read>) -> Conn<Script> {
    Conn::new(Script::new(reads))
}

/// A head of so many bytes in all, in lines.
fn head(size: usize) -> Vec<u8> {
    let mut head: Vec<u8> =
        (0..size - 4).map(|at| if at % 50 == 49 { b'\n' } else { b'h' }).collect();
    head.extend_from_slice(b"\r\n\r\n");
    head
}

/// Everything that was not taken as a head.
fn rest(conn: &Conn<Script>) -> Vec<u8> {
    [conn.ahead(), &conn.end.unread()].concat()
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1..4_usize, 1..1_500_usize, 1..80_000_usize], 1..6)
}

proptest! {
    #[test]
    fn whatever_the_pieces_heads_are_the_same_and_nothing_is_lost(
        heads in prop::collection::vec(4..LIMIT, 1..4),
        behind in 0..2_000_usize,
        sizes in sizes(),
    ) {
        let heads: Vec<_> = heads.into_iter().map(head).collect();
        let behind = vec![b'b'; behind];
        let all = [heads.concat(), behind.clone()].concat();
        let mut conn = conn(pieces(&all, &sizes));
        for head in heads {
            prop_assert_eq!(read_head(&mut conn).ok(), Some(head));
        }
        prop_assert_eq!(rest(&conn), behind);
    }

    #[test]
    fn whatever_the_pieces_the_limit_is_the_same(over in any::<bool>(), sizes in sizes()) {
        let bytes = [head(LIMIT + usize::from(over)), vec![b'b'; 10]].concat();
        let mut conn = conn(pieces(&bytes, &sizes));
        match read_head(&mut conn) {
            Ok(head) => prop_assert!(!over && head.len() == LIMIT),
            Err(HeadError::TooLarge(came)) => {
                prop_assert!(over && came.len() >= LIMIT && bytes.starts_with(&came));
            }
            Err(error) => prop_assert!(false, "{error:?}"),
        }
    }
}

#[test]
fn who_closes_before_a_head_is_told_from_who_closes_within() {
    assert!(matches!(read_head(&mut conn([Read::Wait, Read::End])), Err(HeadError::Closed)));
    for sent in [&b"h"[..], b"\r\n", b"h\r\n\r"] {
        let mut conn = conn([Read::Bytes(sent.to_vec()), Read::Wait, Read::End]);
        assert!(matches!(read_head(&mut conn), Err(HeadError::Cut)), "{}", sent.escape_ascii());
    }
}

#[test]
fn an_error_is_passed_on() {
    let kind = io::ErrorKind::ConnectionReset;
    let mut conn = conn([Read::Bytes(b"h".to_vec()), Read::Wait, Read::Fail(kind)]);
    assert!(matches!(read_head(&mut conn), Err(HeadError::Io(error)) if error.kind() == kind));
}

#[test]
fn what_the_parser_refuses_is_refused_before_it_is_whole_and_read_no_further() {
    let mut conn = conn([Read::Bytes(b"h\r\n\r\n!next".to_vec())]);
    assert!(read_head(&mut conn).is_ok());
    assert!(matches!(read_head(&mut conn), Err(HeadError::Refused(_))));
    assert_eq!(conn.ahead(), b"");
}

#[test]
fn a_head_that_was_read_ahead_needs_no_read() {
    let mut conn = conn([Read::Bytes(b"one\r\n\r\ntwo\r\n\r\nthr".to_vec())]);
    for expected in [&b"one\r\n\r\n"[..], b"two\r\n\r\n"] {
        assert_eq!(read_head(&mut conn).ok().as_deref(), Some(expected));
    }
    assert_eq!(conn.end.waits, 0);
    assert_eq!(conn.ahead(), b"thr");
}

#[test]
fn a_head_that_drips_in_is_not_parsed_at_every_drop() {
    let (head, scratch) = (head(LIMIT), Scratch::default());
    let mut conn = conn(pieces(&head, &[1]));
    let (mut looks, mut looked_at) = (0, 0);
    let found = drive(|cx| {
        conn.poll_head(cx, &scratch, LIMIT, |_, bytes| {
            looks += 1;
            looked_at += bytes.len();
            parse(bytes)
        })
    });
    assert_eq!(found.ok(), Some(head));
    assert!(looks <= EAGER + 1, "{looks} looks");
    assert!(looked_at <= EAGER * EAGER, "{looked_at} bytes looked at");
}

#[test]
fn bytes_taken_and_put_back_are_looked_at_anew() {
    let mut conn = conn([Read::Bytes(vec![b'h'; 3_000])]);
    let scratch = Scratch::default();
    assert!(once(|cx| conn.poll_head(cx, &scratch, LIMIT, |_, bytes| parse(bytes))).is_pending());
    drop(conn.take_ahead());
    conn.put_back(head(3_000));
    assert_eq!(read_head(&mut conn).ok(), Some(head(3_000)));
}

#[test]
fn no_more_is_held_than_was_read_ahead() {
    let mut conn = conn([
        Read::Bytes(vec![b'h'; 777]),
        Read::Wait,
        Read::Bytes(b"\r\n\r\nab".to_vec()),
        Read::Wait,
        Read::Bytes(b"\r\n\r\n".to_vec()),
    ]);
    let scratch = Scratch::default();
    assert_eq!(conn.ahead.capacity(), 0);
    assert!(once(|cx| conn.poll_head(cx, &scratch, LIMIT, |_, bytes| parse(bytes))).is_pending());
    assert_eq!(conn.ahead.capacity(), 777);
    assert_eq!(read_head(&mut conn).ok().map(|head| head.len()), Some(781));
    assert_eq!(conn.ahead.capacity(), 2);
    assert!(read_head(&mut conn).is_ok());
    assert_eq!(conn.ahead.capacity(), 0);
}

#[test]
fn a_client_is_gone_when_it_closes_or_fails() {
    let scratch = Scratch::default();
    let mut closed = conn([Read::Wait, Read::Bytes(b"next".to_vec()), Read::Wait, Read::End]);
    assert!(drive(|cx| closed.poll_gone(cx, &scratch)).is_ok());
    assert_eq!(closed.ahead(), b"next");
    let mut failed = conn([Read::Wait, Read::Fail(io::ErrorKind::ConnectionReset)]);
    assert!(drive(|cx| failed.poll_gone(cx, &scratch)).is_err());
    let mut silent = conn([]);
    assert!(once(|cx| silent.poll_gone(cx, &scratch)).is_pending());
    assert_eq!(silent.end.waits, 1);
}

proptest! {
    #[test]
    fn no_more_is_read_from_a_waiting_client_than_allowed(
        sent in prop_oneof![0..100_usize, 0..3 * MAX_AHEAD],
        sizes in sizes(),
    ) {
        let bytes: Vec<u8> = (0..sent).map(|at| at as u8).collect();
        let mut conn = conn(pieces(&bytes, &sizes));
        let scratch = Scratch::default();
        for _ in 0..=2 * sent {
            prop_assert!(once(|cx| conn.poll_gone(cx, &scratch)).is_pending());
        }
        prop_assert_eq!(conn.ahead().len(), sent.min(MAX_AHEAD));
        prop_assert_eq!(rest(&conn), bytes);
    }
}

#[test]
fn a_head_kept_while_the_client_waited_is_found() {
    let mut conn = conn(pieces(b"next\r\n\r\n", &[3]));
    let scratch = Scratch::default();
    for _ in 0..10 {
        assert!(once(|cx| conn.poll_gone(cx, &scratch)).is_pending());
    }
    assert_eq!(read_head(&mut conn).ok().as_deref(), Some(&b"next\r\n\r\n"[..]));
}

#[test]
fn a_connection_is_quiet_until_anything_comes() {
    assert!(conn([]).is_quiet());
    assert!(conn([Read::Wait]).is_quiet());
    assert!(!conn([Read::Bytes(b"x".to_vec())]).is_quiet());
    assert!(!conn([Read::End]).is_quiet());
    assert!(!conn([Read::Fail(io::ErrorKind::ConnectionReset)]).is_quiet());
    let mut ahead = conn([]);
    ahead.put_back(b"x".to_vec());
    assert!(!ahead.is_quiet());
}
