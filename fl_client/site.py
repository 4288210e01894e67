"""A site, opened: everything that a round needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from consent.gate import ConsentGate
from consent.keys import SigningKey, VerifierKey
from consent.log import Clock
from consent.model import Role
from consent.registry import Registry
from core_model.data.recordings import Recording, read_recordings
from core_model.privacy.chance import Chance, SystemChance
from core_model.protocol.messages import RoundPlan
from core_model.training.device import pick_device
from fl_client.config import SiteConfig, load_site_config
from fl_client.crop_cache import CropKeys, SiteFrames
from fl_client.pinned_server import server_key


@dataclass(frozen=True)
class Site:
    """Configuration, recordings, consent, key and device of one site."""

    config: SiteConfig
    recordings: tuple[Recording, ...]
    registry: Registry
    gate: ConsentGate
    key: SigningKey
    device: torch.device
    clock: Clock
    chance: Callable[[RoundPlan], Chance] = lambda _: SystemChance()  # of private rounds
    server_key: VerifierKey | None = None  # signs the log of rounds of the server that was joined

    @property
    def site_id(self) -> str:
        """The site's public name."""
        return self.config.site_id

    @property
    def frames(self) -> SiteFrames:
        """Reads the frames of its recordings."""
        return SiteFrames(crop_keys(self.config))


def crop_keys(config: SiteConfig) -> CropKeys:
    """Return the keys of a site's face crops."""
    return CropKeys(config.consent / "keys" / "crops")


def ledger_path(config: SiteConfig) -> Path:
    """Return where the privacy ledger lies: one for all runs."""
    return config.state / "privacy-ledger.jsonl"


def open_site(path: Path, clock: Clock = lambda: datetime.now(UTC)) -> Site:
    """Open the site of a site.toml.

    Raises:
        SettingsError: The file is not right.
        ConsentError: The consent log, or the operator's key, cannot be used.
        ValueError: A list of recordings or the device is not right.
    """
    config = load_site_config(path)
    if config.threads:
        torch.set_num_threads(config.threads)
    registry = Registry.open(config.consent, clock)
    return Site(
        config=config,
        recordings=tuple(r for listing in config.recordings for r in read_recordings(listing)),
        registry=registry,
        gate=registry.gate,
        key=registry.signing_key(Role.OPERATOR),
        device=pick_device(config.device),
        clock=clock,
        server_key=server_key(config),
    )
