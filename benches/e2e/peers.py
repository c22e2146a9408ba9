"""The proxies that can stand beside each other, and how each is told to do the same work.

A `Task` is that work: where to listen, which pools exist, how many workers. Each kind of proxy turns
it into its own configuration with equal care: keep-alive on both sides, WebSocket passed on,
X-Forwarded-For, no access log, time-outs long enough never to end a measurement.
"""
from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path

import streams
from dyups import Admin, body
from processes import Child, Failed, ports

# Kept below what one process may hold open when its descriptor limit is 20,000: two per tunnel.
MOST_CONNECTIONS = 9400


@dataclass(frozen=True)
class Task:
    directory: Path
    port: int
    admin: int
    pools: dict[str, list[str]]
    default: str = "u"
    workers: int = 1
    durable: bool = False
    """With a state directory; only Tidegate has one."""
    next_on: tuple[str, ...] = ()
    """What makes a request go on to another server, in nginx's words; empty: as it comes. When given,
    nginx's workers share what they learn of servers, as Tidegate's always do."""
    server: dict = field(default_factory=dict)
    """What servers are given besides their address, by nginx's names: max_fails, fail_timeout."""
    check: dict = field(default_factory=dict)
    """An active check of every server; only Tidegate has one."""
    read_timeout: str = ""
    """How long a server may take to answer; empty: longer than any measurement."""
    logs_requests: bool = False
    """Whether Tidegate writes an access log, `access` in the directory."""
    protocol: str = "http"
    """Or tcp or udp: everything that reaches the port goes to the default pool."""
    responses: int = 0
    """Of udp: answers after which a session ends; 0: by time alone."""


@dataclass(frozen=True)
class Peer:
    name: str
    kind: Kind
    binary: str

    def start(self, task: Task, on: set[int]) -> Proxy:
        task.directory.mkdir(parents=True, exist_ok=True)
        return Proxy(self, task, on)


@dataclass
class Proxy:
    """A running peer. Use in a `with` block."""
    peer: Peer
    task: Task
    on: set[int]
    child: Child = field(init=False)
    admin: Admin | None = None
    environment: dict[str, str] | None = None
    """That it is started in; by default this one's."""

    def __enter__(self) -> Proxy:
        self.launch()
        if self.task.protocol == "udp":
            self.child.binds(self.task.port)
        else:
            self.child.listens(self.task.port)
        return self

    def __exit__(self, *_):
        self.child.stop()

    @property
    def pid(self) -> int:
        return self.child.pid

    def launch(self) -> None:
        """Starts it without waiting until it listens."""
        file = self._write()
        self.child = Child(self.peer.kind.command(self.peer.binary, file), self.on,
                           self.task.directory / "log", env=self.environment)

    def replace(self, pool: str, servers: list[str]) -> None:
        """Gives a pool other servers, the way this proxy is told; returns once it said yes."""
        self.task = replace(self.task, pools={**self.task.pools, pool: servers})
        try:
            self.peer.kind.change(self, pool, servers)
        except OSError as error:
            raise Failed(f"{self.peer.name} did not take the change: {error!r}\n{self.child.tail()}") from error

    def reload(self) -> None:
        self._write()
        os.kill(self.pid, signal.SIGHUP)

    def _write(self) -> Path:
        file = self.task.directory / self.peer.kind.file
        file.write_text(self.peer.kind.configuration(self.task))
        return file


class Kind:
    """What one sort of proxy wants to be told, and how."""
    file: str
    changes = False
    """Whether its pools can change while it runs, if only by a reload."""
    dyups = False
    """Whether they change by the dyups API."""

    def command(self, binary: str, file: Path) -> list[str]:
        raise NotImplementedError

    def configuration(self, task: Task) -> str:
        raise NotImplementedError

    def change(self, proxy: Proxy, pool: str, servers: list[str]) -> None:
        raise Failed(f"{proxy.peer.name} cannot change a pool while it runs")


class Nginx(Kind):
    """Also Tengine, whose configuration is the same language."""
    file, changes = "nginx.conf", True

    def command(self, binary, file):
        module = streams.nginx_module(binary) if "\nstream {" in file.read_text() else []
        return [binary, "-c", str(file), *module]

    def configuration(self, task):
        d = task.directory
        if task.protocol != "http":
            return streams.nginx(task, nginx_head(d, task.workers))
        return f"""{nginx_head(d, task.workers)}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; {nginx_temporary(d)}
  map $http_upgrade $connection_field {{ default upgrade; '' ''; }}
  {"".join(self._pool(task, name, servers) for name, servers in task.pools.items())}
  server {{
    listen 127.0.0.1:{task.port} backlog=4096;
    location / {{
      proxy_pass http://{task.default}; proxy_http_version 1.1; proxy_read_timeout {task.read_timeout or "600s"};
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_field;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      {f"proxy_next_upstream {' '.join(task.next_on)};" if task.next_on else ""}
    }}
  }}
}}
"""

    @staticmethod
    def _pool(task, name, servers):
        how = "".join(f" {key}={value}" for key, value in task.server.items())
        lines = " ".join(f"server {server}{how};" for server in servers)
        zone = f"zone {name} 1m; " if task.next_on else ""
        return f"upstream {name} {{ {zone}{lines} keepalive 1024; keepalive_requests 100000000; }}\n  "

    def change(self, proxy, pool, servers):
        """A reload: nginx has no other way, and says yes before it is done."""
        proxy.reload()


class Haproxy(Kind):
    file = "haproxy.cfg"

    def command(self, binary, file):
        return [binary, "-db", "-f", str(file)]

    def configuration(self, task):
        if task.protocol == "udp":
            raise Failed("haproxy does not proxy udp")
        if task.protocol == "tcp":
            return streams.haproxy(task, MOST_CONNECTIONS)
        return f"""global
  nbthread {task.workers}
  maxconn {MOST_CONNECTIONS}
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout tunnel 600s
  timeout http-keep-alive 600s
  option http-keep-alive
  option forwardfor
  http-reuse always
frontend edge
  bind 127.0.0.1:{task.port} backlog 4096
  default_backend {task.default}
{"".join(self._pool(name, servers) for name, servers in task.pools.items())}"""

    @staticmethod
    def _pool(name, servers):
        lines = "".join(f"  server s{n} {server}\n" for n, server in enumerate(servers))
        return f"backend {name}\n{lines}"


class Tidegate(Kind):
    file, changes, dyups = "tidegate.toml", True, True

    def command(self, binary, file):
        return [binary, "run", "-c", str(file)]

    def configuration(self, task):
        state = f'state_dir = "{task.directory}/state"' if task.durable else ""
        log = '[access_log]\npath = "access"' if task.logs_requests else ""
        return f"""[process]
workers = {task.workers}
{state}
[admin]
listen = ["127.0.0.1:{task.admin}"]
{log}
{self._edge(task)}
[upstream_defaults]
keepalive = 1024
{self._defaults(task)}
{"".join(self._pool(task, name, servers) for name, servers in task.pools.items())}"""

    @staticmethod
    def _edge(task):
        if task.protocol != "http":
            return streams.tidegate_listener(task)
        return f"""[[listener]]
name = "edge"
address = "127.0.0.1:{task.port}"
protocol = "http"
[listener.timeouts]
keepalive = "600s"
[[route]]
path = "/"
upstream = "{task.default}\""""

    @staticmethod
    def _defaults(task):
        timeouts = {"read": task.read_timeout} if task.read_timeout else {}
        tables = {"next": {"on": task.next_on} if task.next_on else {}, "check": task.check, "timeouts": timeouts}
        return "".join(f"{name} = {inline(table)}\n" for name, table in tables.items() if table)

    @staticmethod
    def _pool(task, name, servers):
        lines = ", ".join(inline({"address": server, **task.server}) if task.server else json.dumps(server)
                          for server in servers)
        return f"[upstream.{name}]\nservers = [{lines}]\n"

    def change(self, proxy, pool, servers):
        if not proxy.admin:
            proxy.admin = Admin(proxy.task.admin)
        proxy.admin.post(pool, body(servers))


def inline(table: dict) -> str:
    """As an inline table of TOML, whose texts, numbers and lists are written as in JSON."""
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + " }"


KINDS = {"nginx": Nginx(), "haproxy": Haproxy(), "tidegate": Tidegate()}


def chosen(wanted: list[str], tidegate: str | None) -> list[Peer]:
    """The peers of a run: those asked for, or what is installed, and Tidegate when it is there."""
    found = [named(text) for text in wanted]
    if not wanted:
        found = [Peer(n, KINDS[n], path) for n in ("nginx", "haproxy") if (path := shutil.which(n))]
    if tidegate:
        found.append(Peer("tidegate", KINDS["tidegate"], existing(tidegate)))
    if not found:
        raise Failed("nothing to measure: install nginx or haproxy, or give --tidegate PATH")
    return found


def named(text: str) -> Peer:
    """`NAME=BINARY`, or `NAME:KIND=BINARY` for a second one of a kind."""
    label, _, binary = text.partition("=")
    name, _, kind = label.partition(":")
    if (kind or name) not in KINDS:
        raise Failed(f"--peer {text}: the kind must be one of {', '.join(KINDS)}; write NAME:KIND=BINARY")
    return Peer(name, KINDS[kind or name], existing(binary or name))


def existing(binary: str) -> str:
    path = shutil.which(binary)
    if not path:
        raise Failed(f"{binary}: no such program; build it with `cargo build --release` or mend the path")
    return os.path.abspath(path)


def fresh_task(directory: Path, pools: dict[str, list[str]], **how) -> Task:
    port, admin = ports(2)
    return Task(directory, port, admin, pools, **how)


def nginx_head(directory: Path, workers: int) -> str:
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""{user} worker_processes {workers}; daemon off; worker_rlimit_nofile 20000;
pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections {MOST_CONNECTIONS}; }}"""


def nginx_temporary(directory: Path) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
