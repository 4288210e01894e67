"""Hosts of a network of their own, as Linux network namespaces: made and taken down by a test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

LOOPBACK = (  # 127.0.0.1, the same as an IPv6 address, ::1; as the kernel writes them
    "0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000",
)  # fmt: skip
NETWORK = "10.77.0"  # reachable in these namespaces alone


class Host:
    """One namespace with one address."""

    def __init__(self, name: str, number: int) -> None:
        self.name = f"omote-{os.getpid()}-{name}"
        self.address = f"{NETWORK}.{number}"

    def command(self, *words: str | Path) -> list[str]:
        """Return a command that runs a program on this host."""
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; what it says is kept."""
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False)

    def listeners(self) -> set[int]:
        """Return the TCP ports that other hosts could reach: not those on loopback alone."""
        found = set()
        for table in ("tcp", "tcp6"):
            rows = self.run("cat", f"/proc/net/{table}").stdout.splitlines()[1:]
            for address, state in ((r.split()[1], r.split()[3]) for r in rows):
                where, port = address.split(":")
                if state == "0A" and where not in LOOPBACK:
                    found.add(int(port, 16))
        return found


def can_make_hosts() -> bool:
    """Tell whether namespaces can be made here: by root, with ``ip``."""
    if os.geteuid() or not shutil.which("ip"):
        return False
    probe = f"omote-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False)
    if made.returncode:
        return False
    _ip("netns", "del", probe)
    return True


@contextmanager
def network(names: Sequence[str]) -> Iterator[dict[str, Host]]:
    """Make hosts on one switch; the first host holds it."""
    hosts = {name: Host(name, k) for k, name in enumerate(names, start=1)}
    first, *others = hosts.values()
    try:
        for host in hosts.values():
            _ip("netns", "add", host.name)
            _ip("-n", host.name, "link", "set", "lo", "up")
        _ip("-n", first.name, "link", "add", "switch", "type", "bridge")
        _ip("-n", first.name, "address", "add", f"{first.address}/24", "dev", "switch")
        _ip("-n", first.name, "link", "set", "switch", "up")
        for k, host in enumerate(others):
            _ip("-n", first.name, "link", "add", f"port{k}", "type", "veth",
                "peer", "name", "wire", "netns", host.name)  # fmt: skip
            _ip("-n", first.name, "link", "set", f"port{k}", "master", "switch", "up")
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "wire")
            _ip("-n", host.name, "link", "set", "wire", "up")
        yield hosts
    finally:
        for host in hosts.values():
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
