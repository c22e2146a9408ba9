"""Judges what the ends of many tunnels have heard, as the websockets library reads it.

    closes.py < LINES

Each line is ROLE HEARD FRAMES CLOSE: who heard it, "client" or "server"; the bytes, in hexadecimal; the
frames that are in them, OPCODE:FIN:PAYLOAD, with commas between; and CODE:REASON of a Close of the
tunnel's own, which has to be the last frame. What is empty is a "-". The bytes may end within a frame.
"""

import collections
import sys

from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import CLIENT, OPEN, SERVER, Protocol
from websockets.streams import StreamReader


def frames_alone(side, heard):
    """The frames, whatever they mean together."""
    reader = StreamReader()
    reader.feed_data(heard)
    while True:
        parser = Frame.parse(reader.read_exact, mask=side is SERVER)
        try:
            next(parser)
        except StopIteration as parsed:
            yield parsed.value
        else:
            return  # it waits for the rest of one


def read(side, heard, counts):
    protocol = Protocol(side, state=OPEN)
    protocol.receive_data(heard)
    error = protocol.parser_exc
    if error is None:
        counts["whole conversations"] += 1
        return protocol.events_received(), protocol.close_rcvd
    # RFC 6455 section 5.4 lets a Close stand between two fragments; this library does not.
    assert isinstance(error, ProtocolError) and str(error) == "incomplete fragmented message", repr(error)
    counts["closes within messages"] += 1
    frames = list(frames_alone(side, heard))
    return frames, Close.parse(frames[-1].data)


def judge(line, counts):
    role, *fields = line.split()
    heard, expected, close = ("" if field == "-" else field for field in fields)
    side = {"client": CLIENT, "server": SERVER}[role]
    frames, received = read(side, bytes.fromhex(heard), counts)
    seen = [f"{frame.opcode:d}:{frame.fin:d}:{frame.data.hex()}" for frame in frames]
    assert seen == (expected.split(",") if expected else []), (seen, expected)
    if close:
        code, reason = close.split(":")
        assert frames[-1].opcode is Opcode.CLOSE
        assert received == Close(int(code), bytes.fromhex(reason).decode()), received
        counts[f"closes to a {role}"] += 1


def main():
    counts = collections.Counter()
    for number, line in enumerate(sys.stdin, 1):
        try:
            judge(line, counts)
        except Exception:
            print(f"line {number}: {line}", file=sys.stderr)
            raise
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    enough = all(counts[f"closes to a {role}"] for role in ("client", "server"))
    sys.exit(0 if enough and counts["closes within messages"] else "too little was seen")


if __name__ == "__main__":
    main()
