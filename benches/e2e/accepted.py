"""Where Tidegate is not like nginx, and why: answers may differ as said here and in no other way."""
from __future__ import annotations

import re
from dataclasses import dataclass

from exchange import Asked, Told

OWN_LINE = re.compile(rb"\d{3} .*\(request [0-9a-f]{32}\)\n$")
ABOUT_PAGES = {"body", "content-type", "strict-transport-security", "vary", "retry-after"}
OWN_PAGES = ("own answers: nginx's pages are HTML and have the fields of add_header ... always; Tidegate's are a plain "
             "line with the request's id, or a page of the route, and 429 says Retry-After")
TWO_WAYS = "an encoded slash may be read in two ways: 400 unless the route allows it"


@dataclass(frozen=True)
class Rule:
    reason: str
    names: str
    """Of requests, a regular expression."""
    whats: tuple[str, ...] = ()
    """What may differ. Empty: with other statuses everything, for one of the two answers is a refusal."""
    statuses: tuple[int, int] | None = None
    """nginx's and ours, if they differ; nginx's 0 is a connection that was closed without a head."""


RULES = [
    Rule("nginx redirects from /api to /api/ by itself; here a route or a redirect of its own says it",
         r"^GET /(api|billing)$", statuses=(301, 404)),
    Rule(TWO_WAYS, "encoded slash", statuses=(200, 400)),
    Rule(TWO_WAYS, "%2f", statuses=(403, 400)),
    Rule("a fragment is never sent (RFC 9112 §3.2)", "#part", statuses=(200, 400)),
    Rule("h2c is never passed on (RFC 9113 has no upgrade)", "Upgrade: h2c",
         ("the server's upgrade", "the server's http2-settings")),
    Rule("answers to HEAD are not compressed, as the length of what is not sent is not known", "^HEAD ",
         ("vary", "coding", "etag")),
    Rule(OWN_PAGES, "^HEAD /$", ("content-type",)),
    Rule(OWN_PAGES, "/api/read/x", ("body", "content-type", "strict-transport-security")),
    Rule(OWN_PAGES, "^GET /legacy/", ("etag", "strict-transport-security")),
    Rule("methods are for the servers, or for `method` of a route, to refuse", "^(TRACE|get) ", statuses=(405, 200)),
    Rule("methods are for the servers, or for `method` of a route, to refuse", "^(TRACE|get) ", statuses=(400, 200)),
    Rule("a proxy that does not tunnel says 501 (RFC 9110 §9.3.6)", "^CONNECT", statuses=(400, 501)),
    Rule("`OPTIONS *` is a request like others: here no route takes it", r"^OPTIONS \*", statuses=(400, 404)),
    Rule("Accept-Encoding is read as RFC 9110 §12.5.3 says: `*` is any coding, and what has the higher q is preferred",
         r"Accept-Encoding: (\*|gzip;q=0.5)", ("coding", "etag")),
    Rule("fields about one hop, and those named by Connection, end here (RFC 9110 §7.6.1)", "Proxy-Connection|X-Drop",
         ("the server's proxy-connection", "the server's x-drop")),
    Rule("who is not a trusted proxy does not say whom it speaks for", "Forwarded:", ("the server's forwarded",)),
    Rule("a field's name with '_' is a name; nginx drops it unless underscores_in_headers is on", "X_Under_Score",
         ("the server's x_under_score",)),
    Rule("split: another hash, so other users are on b; without a key the first pool",
         "^GET /cart|/pay|^GET /a/../b|of the shop", ("the server's pool",)),
    Rule("a Host is a host (RFC 9110 §7.2)", "user in Host", statuses=(404, 400)),
    Rule("who ends with another coding than chunked is 400 (RFC 9112 §6.3)", "an unknown coding", statuses=(501, 400)),
    Rule("a line of a head has a colon (RFC 9112 §5)", "no colon", statuses=(200, 400)),
    Rule("HTTP/0.9 is answered 400 instead of silence", "no version", statuses=(0, 400)),
    Rule("versions other than 1.0 and 1.1 are 505", "HTTP/1[.]2", statuses=(200, 505)),
    Rule("versions other than 1.0 and 1.1 are 505", "^HTTP/2$", statuses=(400, 505)),
    Rule("a head that is too large is 431 (RFC 6585)", "long field", statuses=(400, 431)),
]


def reason_for(asked: Asked, what: str, theirs: Told, ours: Told) -> str | None:
    same = theirs.status == ours.status
    if same and what in ABOUT_PAGES and OWN_LINE.match(ours.body):
        return OWN_PAGES
    for rule in RULES:
        if not re.search(rule.names, asked.name):
            continue
        if same and what in rule.whats or rule.statuses == (theirs.status, ours.status):
            return rule.reason
    return None
