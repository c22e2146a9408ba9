"""250 requests for an edge as config/from-nginx describes it: what browsers, apps, testers and attackers send."""
from __future__ import annotations

import malformed
from exchange import Asked

CHAT, SHOP = "chat.im.example.com", "shop.example.com"
KEY = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
       "Sec-WebSocket-Version: 13")
MIB = 1 << 20


def raw(method: str, target: str, host: str | None, *lines: str, body: bytes = b"",
        version: str = "HTTP/1.1") -> bytes:
    named = [] if host is None else [f"Host: {host}"]
    return "\r\n".join([f"{method} {target} {version}", *named, *lines, "", ""]).encode("latin-1") + body


def get(target: str, *lines: str, host: str | None = CHAT, method: str = "GET", name: str = "", **how) -> Asked:
    label = " ".join([name or f"{method} {target[:60]}", *(() if name else (line[:40] for line in lines))])
    at = {key: how.pop(key) for key in ("door", "server_name", "times", "at_once") if key in how}
    if host == SHOP or host == f"www.{SHOP}":
        at.setdefault("server_name", host)
    return Asked(label, raw(method, target, host, *lines, **how), **at)


def post(target: str, body: bytes, *lines: str, **how) -> Asked:
    return get(target, f"Content-Length: {len(body)}", *lines, method=how.pop("method", "POST"), body=body, **how)


def chunked(target: str, *parts: bytes, end: bytes = b"0\r\n\r\n", **how) -> Asked:
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end
    return get(target, "Transfer-Encoding: chunked", method="POST", body=body, **how)


def all_questions() -> list[Asked]:
    kinds = (places, gray, methods, bodies, codings, statuses, hops, doors, shop, limits)
    return [*(asked for kind in kinds for asked in kind()), *malformed.questions(CHAT)]


PLACES = """
/ /ping /ping/ /ping?x=1 /nowhere /sorry.html /api/ /api /api/users?id=1&id=2 /api/users? /api/a%20b /api/%e4%b8%ad
/api/login/x /apix /API/users /v1/x /v22/ /v/x /user/42 /user/42?x=1 /user/ /user/abc /user/42/more /billing/
/billing/a/b?c=d /billing /billingx /old/ /old/page?x /internal/ /internal/x?y /ops/ /ops/stats /reports/ /reports/q3
/legacy/ /legacy/x /api/read/a /api/../ping /api/./users /api//users /a/../api/users /api/%2e%2e/ping
/internal/../api/x /api/..%2finternal/ //api/users /api/users#part /api/a;b=c /api/a+b /api/~x
"""


def places() -> list[Asked]:
    return [get(path) for path in PLACES.split()]


GRAY = ((), ("X-Gray: a",), ("X-Gray: b",), ("X-Gray: c",), ("X-Gray: B",), ("X-Gray: ",), ("Cookie: gray=a",),
        ("Cookie: gray=b",), ("Cookie: gray=zz",), ("Cookie: a=1; gray=b; c=2",), ("Cookie: gray=",),
        ("X-Gray: a", "Cookie: gray=b"), ("X-Gray: b", "Cookie: gray=a"), ("Cookie: notgray=b",))


def gray() -> list[Asked]:
    h2c = ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__")
    return [*(get("/ws/plain", *lines) for lines in GRAY),
            *(get("/ws/chat?room=1", *lines, *KEY, name=f"WebSocket {lines}") for lines in GRAY),
            get("/ws/", *h2c), get("/api/x", *KEY, name="WebSocket below /api/"),
            get("/billing/x", *KEY, name="WebSocket below /billing/")]


def methods() -> list[Asked]:
    plain = ("HEAD", "DELETE", "OPTIONS", "PROPFIND", "TRACE", "get")
    return [*(get("/api/x", method=method) for method in plain),
            *(get("/api/read/x", method=method) for method in ("HEAD", "DELETE")), post("/api/read/x", b"x"),
            post("/api/x", b"a", method="PUT"), post("/api/x", b"a", method="PATCH"),
            get(f"{CHAT}:443", method="CONNECT"), get("*", method="OPTIONS"), get(f"https://{CHAT}/api/absolute")]


def bodies() -> list[Asked]:
    large = b"x" * MIB
    form = "Content-Type: application/x-www-form-urlencoded"
    return [post("/api/b", b""), post("/api/b", b"0123456789"), post("/api/b", b"a=1", form),
            post("/api/b", b"abc", "Expect: 100-continue"), post("/api/b", large, name="1 MiB"),
            post("/api/b", large + b"x", name="1 MiB and a byte"),
            post("/upload/b", large + b"x", name="upload over 1 MiB"),
            post("/upload/b", large * 2, name="upload of 2 MiB"),
            post("/upload/b", large * 2 + b"x", name="upload over 2 MiB"),
            chunked("/api/b", b"one", b"two", name="chunked"), chunked("/api/b", name="chunked and empty"),
            chunked("/api/b", large, b"x", name="chunked over 1 MiB"),
            chunked("/upload/b", large, b"x", name="chunked upload"),
            chunked("/api/b", b"one", end=b"0\r\nX-Trailer: 1\r\n\r\n", name="trailers")]


WISHES = ("gzip", "gzip, deflate, br", "identity", "gzip;q=0", "*", "br", "GZIP", "deflate", "gzip;q=0.5, identity")


def codings() -> list[Asked]:
    zipped = "Accept-Encoding: gzip"
    return [*(get("/api/text/3000", f"Accept-Encoding: {wish}") for wish in WISHES), get("/api/text/3000"),
            *(get(f"/api/{what}", zipped) for what in ("text/100", "text/256", "image", "coded", "stream")),
            get("/api/coded"), get("/api/stream"), get("/api/text/3000", zipped, method="HEAD"),
            get("/api/text/3000", zipped, version="HTTP/1.0"), get("/api/range", "Range: bytes=10-19"),
            get("/api/range", "Range: bytes=10-999", zipped), get("/api/range", "Range: bytes=5-1"),
            get("/api/x", 'If-None-Match: "e"'), get("/api/elsewhere")]


STATUSES = (200, 201, 204, 301, 302, 304, 307, 400, 401, 403, 404, 410, 418, 429, 500, 501, 502, 503, 504)


def statuses() -> list[Asked]:
    busy = [get("/api/busy"), post("/api/busy", b"once"), get("/upload/busy")]
    return [*(get(f"/api/status/{status}") for status in STATUSES), *busy]


LINES = ("Connection: close", "Connection: keep-alive, X-Drop", "Keep-Alive: timeout=5", "TE: trailers", "Accept: */*",
         "Proxy-Connection: x", "X-Forwarded-For: 1.2.3.4", "X-Real-IP: 1.2.3.4", "X-Forwarded-Proto: ftp",
         "X-Forwarded-Host: evil.example", "X_Forwarded_For: 1.2.3.4", "X_Real_IP: 1.2.3.4", "X_Under_Score: 1",
         "X-Empty:", "X-Spaces:   a  b  ", "Cookie: a=1; b=2", "Authorization: Basic eDp5", "Via: 1.0 fred",
         "Forwarded: for=1.2.3.4", "Referer: https://x.example/", "User-Agent: app/1 (ü)")


def hops() -> list[Asked]:
    return [*(get("/api/hops", line) for line in LINES), get("/api/hops", "X-Twice: 1", "X-Twice: 2"),
            get("/api/hops", "Cookie: a=1", "Cookie: b=2"), get("/api/hops", "Connection: X-Drop", "X-Drop: 1")]


def doors() -> list[Asked]:
    targets = ("/", "/ping", "/a/b?c=d", "/a%20b", "//evil.example/", "/%2e%2e/x")
    plain = (SHOP, "CHAT.im.example.com", f"{CHAT}:8080", "unknown.example", "127.0.0.1", "[::1]")
    secure = ("im.example.com", "a.b.im.example.com", CHAT.upper(), f"{CHAT}:443", f"{CHAT}.", "unknown.example")
    shown = (SHOP, "other.im.example.com", "unknown.example", None)
    return [*(get(target, door="http") for target in targets),
            *(get("/", host=host, door="http", name=f"http, Host {host}") for host in plain),
            *(get("/ping", host=host, name=f"https, Host {host}") for host in secure),
            *(get("/ping", server_name=name, name=f"asks for a certificate of {name}") for name in shown),
            get("/x?y", host=f"www.{SHOP}"), get("/", host=f"www.{SHOP}", method="HEAD")]


def shop() -> list[Asked]:
    return [*(get("/cart", f"Cookie: uid=user{n}", host=SHOP) for n in range(6)), get("/cart", host=SHOP),
            post("/pay", b"x" * 100, host=SHOP), get("/a/../b", host=SHOP),
            get("/x", *KEY, host=SHOP, name="WebSocket of the shop")]


def limits() -> list[Asked]:
    return [get("/api/login", name="login, seven times", times=7),
            get("/api/export/late", name="five exports at once", at_once=5),
            get("/api/export/x", name="an export afterwards")]
