//! Bodies that become something else on their way.

use super::*;
use crate::Transform;

/// Makes letters large, and keeps them until it is asked.
#[derive(Debug, Default)]
struct Holding(Vec<u8>);

/// Takes nothing.
#[derive(Debug)]
struct Failing;

impl Transform for Holding {
    fn write(&mut self, payload: &[u8]) -> io::Result<Vec<u8>> {
        self.0.extend(payload.to_ascii_uppercase());
        Ok(Vec::new())
    }

    fn flush(&mut self) -> io::Result<Vec<u8>> {
        Ok(std::mem::take(&mut self.0))
    }

    fn finish(&mut self) -> io::Result<Vec<u8>> {
        self.flush()
    }
}

impl Transform for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::InvalidData.into())
    }

    fn flush(&mut self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn finish(&mut self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

fn holding(decoder: Decoder) -> Flow {
    Flow::new(decoder, Coding::Chunked, HEAD.to_vec()).with_transform(Box::<Holding>::default())
}

#[test]
fn what_is_held_goes_out_when_the_source_pauses() {
    let reads = [Read::Bytes(b"ab".to_vec()), Read::Wait, Read::Bytes(b"cd".to_vec()), Read::End];
    let (mut source, mut sink) = (Conn::new(Script::new(reads)), Script::sink());
    let (mut flow, scratch) = (holding(Decoder::UntilClose), Scratch::default());
    assert!(once(|cx| flow.poll(cx, &mut source, &mut sink, &scratch)).is_ready());
    assert_eq!(sink.written, [HEAD, b"2\r\nAB\r\n2\r\nCD\r\n0\r\n\r\n"].concat());
    assert_eq!(flow.payload(), 4);
    let waiting = [Read::Bytes(b"ab".to_vec()), Read::Wait, Read::Wait];
    let (mut source, mut sink) = (Conn::new(Script::new(waiting)), Script::sink());
    let mut flow = holding(Decoder::Length(4));
    assert!(once(|cx| flow.poll(cx, &mut source, &mut sink, &scratch)).is_pending());
    assert_eq!((flow.waiting(), flow.holds()), (Waiting::Source, false));
    assert_eq!(sink.written, [HEAD, b"2\r\nAB\r\n"].concat());
}

#[test]
fn what_came_with_the_head_is_held_no_longer_than_the_rest() {
    let (mut source, mut sink) = (Conn::new(Script::new([Read::Wait])), Script::sink());
    let (mut flow, scratch) = (holding(Decoder::Length(9)), Scratch::default());
    let used = once(|cx| Poll::Ready(flow.absorb(cx, b"early", &mut sink)));
    assert!(matches!(used, Poll::Ready(Ok(5))));
    assert_eq!(sink.written, HEAD);
    assert!(once(|cx| flow.poll(cx, &mut source, &mut sink, &scratch)).is_pending());
    assert_eq!(sink.written, [HEAD, b"5\r\nEARLY\r\n"].concat());
}

#[test]
fn a_slow_sink_gets_all_of_it() {
    let body = b"some letters ".repeat(4_000);
    let reads = pieces(&body, &[1_000, 40_000, 3]);
    let (mut source, mut sink) = (Conn::new(Script::new(reads)), Script::slow(777));
    let mut flow = holding(Decoder::Length(body.len() as u64));
    run(&mut flow, &mut source, &mut sink).expect("it arrives");
    let sent: usize = sink.written.iter().filter(|b| b.is_ascii_uppercase()).count();
    assert_eq!(sent, body.iter().filter(|b| b.is_ascii_lowercase()).count());
    assert!(sink.written.ends_with(b"\r\n0\r\n\r\n"));
}

#[test]
fn after_so_much_the_others_have_their_turn() {
    let endless = (0..100).map(|_| Read::Bytes(vec![b'x'; SIZE]));
    let (mut source, mut sink) = (Conn::new(Script::new(endless)), Script::sink());
    let (mut flow, scratch) = (holding(Decoder::UntilClose), Scratch::default());
    assert!(once(|cx| flow.poll(cx, &mut source, &mut sink, &scratch)).is_pending());
    assert!(source.end.unread().len() > 90 * SIZE, "it went on and on");
}

#[test]
fn one_that_fails_cuts_the_body() {
    let mut source = Conn::new(Script::new([Read::Bytes(b"ab".to_vec()), Read::End]));
    let mut flow = Flow::new(Decoder::UntilClose, Coding::Chunked, Vec::new())
        .with_transform(Box::new(Failing));
    let ended = run(&mut flow, &mut source, &mut Script::sink());
    assert!(matches!(ended, Err(FlowError::Source(_))), "{ended:?}");
}
