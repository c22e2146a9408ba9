"""How each proxy is told to pass on bytes or datagrams instead of requests. As in `peers.py`, with equal
care: what a user would write who wants just that, buffers as the proxy ships them, time-outs that never
end a measurement.
"""
from __future__ import annotations

import re
import subprocess

IDLE = "600s"


def nginx(task, head: str) -> str:
    kind = " udp" if task.protocol == "udp" else f" backlog={4096}"
    answers = f"proxy_responses {task.responses};" if task.protocol == "udp" and task.responses else ""
    pools = "\n  ".join(f"upstream {name} {{ {' '.join(f'server {server};' for server in servers)} }}"
                        for name, servers in task.pools.items())
    return f"""{head}
stream {{
  {pools}
  server {{ listen 127.0.0.1:{task.port}{kind}; proxy_pass {task.default}; proxy_timeout {IDLE}; {answers} }}
}}
"""


def nginx_module(binary: str) -> list[str]:
    """Arguments that load the stream module where it is not built in."""
    built = subprocess.run([binary, "-V"], stderr=subprocess.PIPE, timeout=10, check=False).stderr.decode()
    if "--with-stream=dynamic" not in built:
        return []
    path = re.search(r"--modules-path=(\S+)", built)
    return ["-g", f"load_module {path.group(1) if path else 'modules'}/ngx_stream_module.so;"]


def haproxy(task, most: int) -> str:
    pools = "\n".join(f"backend {name}\n" + "".join(f"  server s{n} {s}\n" for n, s in enumerate(servers))
                      for name, servers in task.pools.items())
    return f"""global
  nbthread {task.workers}
  maxconn {most}
defaults
  mode tcp
  timeout connect 5s
  timeout client {IDLE}
  timeout server {IDLE}
frontend edge
  bind 127.0.0.1:{task.port} backlog 4096
  default_backend {task.default}
{pools}"""


def tidegate_listener(task) -> str:
    """Its part of the file; what is around it is the same for requests."""
    answers = f"[listener.udp]\nresponses = {task.responses}" if task.protocol == "udp" else ""
    return f"""[[listener]]
name = "edge"
address = "127.0.0.1:{task.port}"
protocol = "{task.protocol}"
upstream = "{task.default}"
{answers}"""
