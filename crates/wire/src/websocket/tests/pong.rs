//! What the other end gets, whatever the pieces: the stream without the answers to us.

use super::*;

const TAG: [u8; 6] = *b"tide\x00\xff";

/// A buffer as the tunnel has it, and all that went on.
struct Tunnel {
    filter: PongFilter,
    scanner: Scanner,
    out: Vec<u8>,
    swallowed: u64,
    answers: usize,
}

impl Tunnel {
    /// One that has pinged so many times.
    fn new(sender: Sender, pings: u16) -> Self {
        let mut filter = PongFilter::new(TAG);
        for counter in 0..pings {
            assert_eq!(filter.next_ping(), own(counter));
        }
        let scanner = Scanner::new(sender);
        Self { filter, scanner, out: Vec::new(), swallowed: 0, answers: 0 }
    }

    fn read(&mut self, piece: &[u8]) -> Filtered {
        let mut buffer = [&[0; PongFilter::SPARE][..], piece, &[0xee; 5]].concat();
        let range = PongFilter::SPARE..PongFilter::SPARE + piece.len();
        let held = self.filter.held().len();
        let filtered = self.filter.filter(&mut self.scanner, &mut buffer, range);
        let out = filtered.range.len() + filtered.swallowed as usize + self.filter.held().len();
        assert_eq!(held + piece.len(), out);
        assert!(buffer.ends_with(&[0xee; 5]));
        self.out.extend_from_slice(&buffer[filtered.range.clone()]);
        self.swallowed += filtered.swallowed;
        self.answers += usize::from(filtered.answered);
        filtered
    }

    /// All that the other end gets when the stream ends here.
    fn end(&self) -> Vec<u8> {
        [&self.out, self.filter.held()].concat()
    }
}

fn own(counter: u16) -> [u8; 8] {
    let mut payload = [0; 8];
    payload[..6].copy_from_slice(&TAG);
    payload[6..].copy_from_slice(&counter.to_be_bytes());
    payload
}

fn pong(sender: Sender, payload: &[u8]) -> Vec<u8> {
    Frame::new(0x8a, payload).bytes(sender)
}

fn filter(sender: Sender, bytes: &[u8], sizes: &[usize]) -> Tunnel {
    let mut tunnel = Tunnel::new(sender, 3);
    for piece in pieces(bytes, sizes) {
        tunnel.read(piece);
    }
    tunnel
}

#[test]
fn it_is_small() {
    assert!(size_of::<PongFilter>() <= 32);
}

#[test]
fn an_answer_disappears_at_every_split() {
    for sender in [Sender::Client, Sender::Server] {
        let text = Frame::new(0x81, b"hello").bytes(sender);
        let bytes = [&text[..], &pong(sender, &own(2)), &text].concat();
        for split in 0..bytes.len() {
            let tunnel = filter(sender, &bytes, &[split.max(1), bytes.len()]);
            assert_eq!(tunnel.out, [&text[..], &text].concat(), "{sender:?} {split}");
            assert_eq!((tunnel.answers, tunnel.filter.awaits_answer()), (1, false));
        }
    }
}

#[test]
fn a_foreign_pong_passes_at_every_split() {
    for sender in [Sender::Client, Sender::Server] {
        for payload in [&b""[..], b"tide\x00\xfe\x00\x02", b"tide\x00\xff\x00", b"tide\x00\xff123"]
        {
            let bytes = pong(sender, payload);
            for split in 1..=bytes.len() {
                let tunnel = filter(sender, &bytes, &[split, bytes.len()]);
                assert_eq!(tunnel.out, bytes, "{sender:?} {split}");
                assert_eq!((tunnel.swallowed, tunnel.answers), (0, 0));
                assert!(tunnel.scanner.is_between_messages());
            }
        }
    }
}

#[test]
fn a_late_answer_disappears_but_answers_nothing() {
    let mut tunnel = Tunnel::new(Sender::Server, 3);
    tunnel.read(&pong(Sender::Server, &own(1)));
    assert_eq!((tunnel.out.len(), tunnel.swallowed, tunnel.answers), (0, 10, 0));
    assert!(tunnel.filter.awaits_answer());
    tunnel.read(&pong(Sender::Server, &own(2)));
    tunnel.read(&pong(Sender::Server, &own(2)));
    assert_eq!((tunnel.out.len(), tunnel.swallowed, tunnel.answers), (0, 30, 1));
}

#[test]
fn the_counter_wraps() {
    let mut tunnel = Tunnel::new(Sender::Server, u16::MAX);
    assert_eq!(tunnel.filter.next_ping(), own(u16::MAX));
    assert_eq!(tunnel.filter.next_ping(), own(0));
    assert!(tunnel.read(&pong(Sender::Server, &own(0))).answered);
}

#[test]
fn before_the_first_ping_all_pongs_pass() {
    let mut tunnel = Tunnel::new(Sender::Server, 0);
    let bytes = pong(Sender::Server, &own(0));
    tunnel.read(&bytes[..5]);
    assert_eq!((tunnel.out.len(), tunnel.filter.held().len()), (5, 0));
    tunnel.read(&bytes[5..]);
    assert_eq!((tunnel.out, tunnel.swallowed, tunnel.answers), (bytes, 0, 0));
}

#[test]
fn a_filter_that_is_used_late_waits_for_the_end_of_a_frame() {
    let mut tunnel = Tunnel::new(Sender::Server, 0);
    let bytes = pong(Sender::Server, &own(0));
    tunnel.read(&bytes[..5]);
    tunnel.filter.next_ping();
    tunnel.read(&bytes[5..]);
    assert_eq!(tunnel.out, bytes);
    assert!(tunnel.read(&bytes).answered);
}

#[test]
fn pongs_with_rsv_bits_or_a_long_length_are_not_ours() {
    let rsv = Frame::new(0xca, &own(2)).bytes(Sender::Server);
    let wide = Frame { width: 2, ..Frame::new(0x8a, &own(2)) }.bytes(Sender::Server);
    let bytes = [rsv, wide].concat();
    assert_eq!(filter(Sender::Server, &bytes, &[1]).out, bytes);
}

#[test]
fn what_is_held_back_is_passed_on_at_the_end() {
    let bytes = pong(Sender::Client, &own(2));
    let tunnel = filter(Sender::Client, &bytes[..13], &[13]);
    assert_eq!((tunnel.out.len(), tunnel.filter.held()), (0, &bytes[..13]));
    // The other end is between two frames: one of ours may go there.
    assert!(tunnel.scanner.is_between_messages());
}

#[test]
fn behind_what_is_unsound_all_passes() {
    let sound = pong(Sender::Server, &own(2));
    for unsound in [&b"\x88\x00"[..], b"\x83\x00", b"\x8a\x88"] {
        let bytes = [unsound, &sound].concat();
        let tunnel = filter(Sender::Server, &bytes, &[1]);
        assert_eq!(tunnel.out, bytes, "{}", unsound.escape_ascii());
        assert!(tunnel.scanner.is_off());
    }
}

/// A frame of a stream, and whether it is an answer to us.
fn mixed() -> impl Strategy<Value = Vec<(Frame, bool)>> {
    let pong = prop_oneof![
        2 => (0..4_u16).prop_map(|counter| (Frame::new(0x8a, &own(counter)), true)),
        1 => (1..8_usize).prop_map(|length| (Frame::new(0x8a, &own(2)[..length]), false)),
        1 => (0..6_usize).prop_map(|at| {
            let mut payload = own(2);
            payload[at] ^= 1;
            (Frame::new(0x8a, &payload), false)
        }),
    ];
    (streams(), vec((any::<prop::sample::Index>(), pong), 0..8)).prop_map(|(frames, pongs)| {
        let mut mixed: Vec<_> = frames.into_iter().map(|frame| (frame, false)).collect();
        for (index, pong) in pongs {
            // Not behind a Close.
            mixed.insert(index.index(mixed.len().max(1)), pong);
        }
        mixed
    })
}

proptest! {
    #[test]
    fn what_goes_on_is_the_stream_without_answers(
        frames in mixed(), sender in senders(), sizes in sizes(),
    ) {
        let concat = |with_own| -> Vec<u8> {
            let taken = frames.iter().filter(|(_, is_own)| with_own || !is_own);
            taken.flat_map(|(frame, _)| frame.bytes(sender)).collect()
        };
        let tunnel = filter(sender, &concat(true), &sizes);
        prop_assert_eq!(&tunnel.out, &concat(false));
        prop_assert_eq!(tunnel.filter.held(), b"");
        let own = frames.iter().filter(|(_, is_own)| *is_own);
        let own_bytes: usize = own.map(|(frame, _)| frame.bytes(sender).len()).sum();
        prop_assert_eq!(tunnel.swallowed, own_bytes as u64);
        let answers = frames.iter().any(|(frame, is_own)| *is_own && frame.payload[7] == 2);
        prop_assert_eq!(tunnel.answers, usize::from(answers));
    }

    #[test]
    fn any_bytes_are_filtered_alike_however_they_arrive(
        frames in mixed(), sender in senders(), sizes in sizes(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes: Vec<u8> = frames.iter().flat_map(|(frame, _)| frame.bytes(sender)).collect();
        prop_assume!(!bytes.is_empty());
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let (pieces, whole) = (filter(sender, &bytes, &sizes), filter(sender, &bytes, &[bytes.len()]));
        prop_assert_eq!(pieces.end(), whole.end());
        prop_assert_eq!(pieces.swallowed, whole.swallowed);
        // The scanner stands where what went on ends.
        let mut scanner = Scanner::new(sender);
        scanner.follow(&pieces.out);
        prop_assert_eq!(format!("{scanner:?}"), format!("{:?}", pieces.scanner));
    }
}
