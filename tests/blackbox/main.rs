//! Black-box tests: the real binary, raw sockets, and nothing of the product's own code. See
//! `tests/README.md` for how they are laid out and for the variables that make the runs longer.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]
#![allow(unreachable_pub, reason = "the kit is written like a library")]

mod kit;

// What a client and a server see of HTTP/1.1.
mod compress; // answers made smaller on their way, and those that are not
mod framing; // 120 and more hostile and odd messages, as a table
mod gray; // gray releases: the lines of docs/routing.md, users who stay on their side
mod http2; // streams, windows, WebSocket within one; RFC 9113 by raw frames, floods
mod http_requests; // bodies, pipelining, old clients, Expect, forwarding headers, refusals
mod http_responses; // streaming, trailers, 1xx, cuts, malformed servers
mod protection; // allow and deny, rates, how many at once, pages, what a route has of its own
mod route_actions; // respond, redirect, other paths, changed header fields, and what strangers try
mod route_conditions; // routes by method, header, cookie and query; 10,000 hosts
mod routing; // targets, routes, templates

// Pools and how a server is chosen.
mod app_drain; // applications that leave by themselves: /ping with 501, plain SIGTERM, under load
mod balancing; // every method: shares, limits, hashes against nginx itself, cookies, slow start
mod checks; // probes of every kind, Tengine's cases C44 to C50 and H1 to H49, its status page
mod http2_servers; // pools of HTTP/2: bodies, trailers, shared connections, GOAWAY, WebSockets, gRPC
mod names; // IPv6, host names at the start and on a timer
mod next_upstream; // nginx's rules for going on to the next server, N1 to N27, bodies, budget
mod pools; // round robin over all workers, down, backup, max_conns, failures, ip_hash
mod retry;
mod upstream_tls; // TLS to servers: who is believed, sessions, changes, C78 to C105 // which failures go on to the next server, and which do not

// Connections that stay.
mod causes; // why they end, and books that are in order at every look
mod closing; // a Close between two frames, and what is lost to nobody
mod drain_ends; // their ends: by themselves, at a deadline, refused, across restarts
mod drains; // servers that are emptied at a pace
mod pings; // pings of our own
mod real_clients; // the websockets of Rust and Python, end to end
mod register; // /api/v1/tunnels: looking at them, closing one
mod removal; // what becomes of them when their server leaves
mod tunnels; // bytes, half-close, time-outs, survival of every change
mod websocket; // upgrades, what opens a tunnel and what does not

// Connections and datagrams as they come.
mod stream_proxy; // PROXY headers in and out, addresses to connect from
mod stream_sni; // TLS passed through by the name in its ClientHello
mod stream_tcp; // tcp listeners: carrying, the next server, changes, limits, the access log
mod stream_udp; // udp listeners: sessions, their limits, their servers

// TLS.
mod tls; // of listeners: certificates, clients', files that change, handshakes of every kind

// Changes.
mod api; // the JSON API: pools, servers, transactions, conditions, keys
mod durability; // what a 200 means: kill -9, torn tails, full disks, SIGHUP
mod dyups; // Tengine's conformance cases C1 to C73, by number
mod dyups_extra; // the cases X1 to X20, from its source
mod generations; // what is remembered, compared and restored
mod recipes; // the lines of docs/transactions.md
mod reload; // the file read again: listeners, refusals, who notices
mod storm; // swapping servers under load

// Running it.
mod admin_audit; // who did what: every change and refusal, one line each that nobody can forge
mod admin_rules; // who may call the admin listener, and what it answers
mod admin_security; // roles, pools of a token's own, being wrong too often, exchanged tokens
mod config_cli; // the command line and the configuration's errors
mod events; // what happens, told as it happens
mod explain; // what is said of a request, held against what becomes of it
mod limits; // full listeners, no descriptors left
mod metrics_logs; // /metrics, the access log
mod openapi; // the description of the admin API, held against the API by other tools
#[cfg(feature = "otlp")]
mod otlp; // spans of requests, as a collector gets them
mod steering; // the commands that ask a running proxy, and how they end
mod stop; // graceful and not

// All of it.
mod regressions; // what was wrong once, and must not come back
