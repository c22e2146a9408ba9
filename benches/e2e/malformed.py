"""What nobody should send: requests that two parsers could read differently, and other faults."""
from __future__ import annotations

from exchange import Asked

LINE, POST = b"GET /api/m HTTP/1.1\r\n", b"POST /api/m HTTP/1.1\r\n"
END = b"\r\n"


def questions(host: str) -> list[Asked]:
    named = b"Host: " + host.encode() + END
    lines = {name: line + named + END for name, line in first_lines().items()}
    fields = {name: LINE + named + field + END + END for name, field in FIELDS.items()}
    posts = {name: POST + named + rest for name, rest in BODIES.items()}
    hosts = {name: LINE + field + END for name, field in hosts_of(named).items()}
    other = {"HTTP/1.0 without Host": b"GET /ping HTTP/1.0\r\n\r\n", "no version": b"GET /api/m\r\n\r\n",
             "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "binary": b"\x16\x03\x01\x02\x00\r\n\r\n",
             "empty lines first": END + END + LINE + named + END, "bare LF": (LINE + named + END).replace(b"\r", b"")}
    return [Asked(name, text) for name, text in (lines | fields | posts | hosts | other).items()]


def first_lines() -> dict[str, bytes]:
    targets = {"no slash": b"api/m", "above the root": b"/../x", "bad escape": b"/api/%zz", "encoded NUL": b"/api/%00",
               "encoded slash": b"/api/a%2fb", "blank in target": b"/api/a b", "long target": b"/api/" + b"a" * 9000}
    versions = (b"3.0", b"1.2", b"1.0")
    return {**{name: b"GET " + target + b" HTTP/1.1\r\n" for name, target in targets.items()},
            **{f"HTTP/{version.decode()}": b"GET /api/m HTTP/" + version + END for version in versions}}


def hosts_of(named: bytes) -> dict[str, bytes]:
    return {"no Host": b"", "two Hosts": named + b"Host: x\r\n", "an empty Host": b"Host:\r\n",
            "a bad Host": b"Host: a b\r\n", "user in Host": b"Host: u@x\r\n"}


FIELDS = {"blank before colon": b"X-A : 1", "folded": b"X-A: 1\r\n 2", "NUL": b"X-A: \0", "bare CR": b"X-A: 1\rX-B: 2",
          "no colon": b"nonsense", "long field": b"X-A: " + b"a" * 40000}

BODIES = {"Content-Length twice": b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
          "both lengths": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          "a bad length": b"Content-Length: +1\r\n\r\na",
          "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
          "a bad chunk": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"}
