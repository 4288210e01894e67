"""What stands between sites and Flower: HAProxy, set to let ten calls through and no other.

Flower serves control calls, which know no password and can run code at every site, on the port of
the calls that sites need. So that port is on loopback, and outside is only what is listed here, by
its exact path: no prefix, no pattern, nothing to be clever about. HAProxy, because it never writes
what it carries to the disk (docs/adr/0017).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from fl_server.errors import StartError

FLEET_CALLS = (
    "activate-node",
    "deactivate-node",
    "send-node-heartbeat",
    "pull-messages",
    "push-messages",
    "get-run",
    "get-fab",
    "pull-object",
    "push-object",
    "confirm-message-received",
)  # not register-node and unregister-node: only the operator lets sites in and out
MAX_BODY = 16 << 20  # bytes; Flower cuts weights into objects of 5 MiB
MAX_CONNECTIONS = 2000
MAX_CONNECTIONS_OF_ONE = 200  # of one address
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")

_CONFIG = """\
global
  maxconn {max_connections}
  log stdout format raw local0 notice
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3

defaults
  mode http
  log global
  option httplog
  option dontlog-normal
  timeout connect 5s
  timeout http-request 15s
  timeout http-keep-alive 60s
  timeout client 120s
  timeout server 120s

frontend fleet
  bind {listen} ssl crt "{pem}" alpn http/1.1
  stick-table type ipv6 size 100k expire 60s store conn_cur
  tcp-request connection track-sc0 src
  tcp-request connection reject if {{ sc0_conn_cur gt {max_of_one} }}
  acl is_fleet path -m str {paths}
  acl is_large req.hdr_val(content-length) gt {max_body}
  acl has_length req.hdr(content-length) -m found
  http-request return status 404 hdr Date "%[date(),http_date]" unless METH_POST is_fleet
  http-request return status 411 unless has_length
  http-request return status 413 if is_large
  http-request del-header X-Forwarded-For
  default_backend superlink

backend superlink
  default-server ssl verify required ca-file "{ca}" sni str(localhost) verifyhost localhost
  server superlink 127.0.0.1:{port}
"""


@dataclass(frozen=True)
class ProxyFiles:
    """What the proxy reads: its settings, and certificate and key in one file."""

    config: Path
    pem: Path
    superlink_ca: Path


def proxy_config(files: ProxyFiles, listen: str, superlink_port: int) -> str:
    """Return HAProxy's settings."""
    return _CONFIG.format(
        listen=listen,
        pem=files.pem,
        ca=files.superlink_ca,
        port=superlink_port,
        paths=" ".join(f"/v1/fleet/{call}" for call in FLEET_CALLS),
        max_body=MAX_BODY,
        max_connections=MAX_CONNECTIONS,
        max_of_one=MAX_CONNECTIONS_OF_ONE,
    )


def find_proxy() -> str:
    """Return the path of HAProxy.

    Raises:
        StartError: It is not installed.
    """
    found = shutil.which("haproxy") or shutil.which("haproxy", path=":".join(_PLACES))
    if found is None:
        raise StartError("HAProxy is not installed; on Debian and Ubuntu: apt install haproxy")
    return found
