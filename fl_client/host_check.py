"""Check the machine that a site runs on: device, memory, disk, clock, packages, keys and modes."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch
from packaging.requirements import Requirement

from consent.errors import KeyFileError
from consent.model import Role
from fl_client.config import SiteConfig
from fl_client.doctor import Finding
from fl_client.node_folder import NodeFolder
from fl_client.site import Site

BYTES_A_WEIGHT = 16  # weight, gradient and two moments of AdamW, all float32
COPIES_ON_DISK = 8  # weights that a site keeps of runs, in float32
GIB = 1 << 30


def examine_host(site: Site) -> Iterator[Finding]:
    """Yield findings about the machine."""
    yield from _device(site)
    yield from _disk(site.config)
    yield from _clock(site)
    yield from _packages()
    yield from _modes(site.config)


def _device(site: Site) -> Iterator[Finding]:
    if site.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(site.device)
        name = f"{site.device} ({torch.cuda.get_device_name(site.device)})"
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        name = f"{site.device}, {os.cpu_count()} processors"
    yield Finding("ok", f"device {name}, {free / GIB:.1f} GiB free")
    fits = free // BYTES_A_WEIGHT
    if fits < site.config.caps.max_weights:
        yield Finding(
            "warning",
            f"[caps] allow models of {site.config.caps.max_weights:,} weights; "
            f"the memory that is free now is enough for about {fits:,}",
            "lower max_weights in site.toml, or free memory",
        )


def _disk(config: SiteConfig) -> Iterator[Finding]:
    free = shutil.disk_usage(_existing(config.state)).free
    wanted = COPIES_ON_DISK * 4 * config.caps.max_weights
    text = f"disk {free / GIB:.1f} GiB free for {config.state.name}"
    if free >= wanted:
        yield Finding("ok", text)
    else:
        remedy = f"runs of the largest model allowed can need {wanted / GIB:.1f} GiB"
        yield Finding("warning", text, f"{remedy}: free some, or lower max_weights")


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())


def _clock(site: Site) -> Iterator[Finding]:
    behind = (site.registry.state().last_time - site.clock()).total_seconds()
    if behind > 1:
        yield Finding(
            "error",
            f"the clock is {behind:.0f} s behind the last entry of the consent log",
            "set the clock; rounds are refused or flagged until then",
        )
    else:
        yield Finding("ok", "clock is not behind the consent log")


def _packages() -> Iterator[Finding]:
    wrong = [text for need in requires("omote") or [] if (text := _wrong(Requirement(need)))]
    if wrong:
        yield Finding("error", f"packages: {'; '.join(wrong)}", "pip install --upgrade omote")
    else:
        yield Finding("ok", f"packages as needed: omote {version('omote')}, flwr {version('flwr')}")


def _wrong(need: Requirement) -> str | None:
    """Return what is wrong with a package that is needed always; extras are not looked at."""
    if need.marker is not None and not need.marker.evaluate({"extra": ""}):
        return None
    try:
        got = version(need.name)
    except PackageNotFoundError:
        return f"{need.name} is missing"
    fits = need.specifier.contains(got, prereleases=True)
    return None if fits else f"{need.name} {got}, expected {need.specifier}"


def _is_ours(path: Path) -> bool:
    return path.stat().st_uid == os.geteuid()


def _modes(config: SiteConfig) -> Iterator[Finding]:
    """The consent log's own keys were looked at when the site was opened."""
    private = (config.consent / "keys", config.state, config.node)
    for folder in (p for p in private if p.exists() and _is_ours(p)):
        if folder.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield Finding("error", f"others can enter {folder}", f"chmod 700 {folder}")
    node = NodeFolder(config.node)
    if node.folder.exists() and not _is_ours(node.folder):
        yield Finding("ok", "the SuperNode's folder belongs to another user")
    elif node.key.exists():
        try:
            node.public_key()
        except KeyFileError as e:
            yield Finding("error", str(e))
        else:
            yield Finding("ok", "keys: of the consent log and of the SuperNode, closed to others")
    else:
        yield Finding(
            "warning", "no key of the SuperNode", f"omote-site init . --site-id {config.site_id}"
        )
    if list((config.consent / "keys").glob(f"{Role.ROOT}*.key")):
        yield Finding(
            "warning",
            "the root key of the consent log lies on this machine",
            f"take it to a safe place: {config.consent / 'keys' / 'root*.key'}",
        )
