"""The folder that holds all of a site's consent: its files, and how it begins.

::

    log.sqlite        entries, tree, heads, sealed openings
    high-water        the last head signed: a restored backup is noticed
    keystore.sqlite   wrapped keys of the openings, apart from the log on purpose
    keys/             one file for each key; kek.key unwraps the keystore
    hooks/            what is done after a withdrawal
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from consent.keys import SigningKey
from consent.log import Clock, ConsentLog
from consent.model import Role
from consent.site_events import SiteDescribed
from consent.site_keys import SiteKeys, key_name
from consent.vault import Vault

OWN_ROLES = (Role.LOG, Role.ROOT, Role.DPO, Role.REGISTRAR, Role.OPERATOR)


@dataclass(frozen=True)
class SiteFolder:
    """Where everything lies."""

    folder: Path

    @property
    def log(self) -> Path:
        """The log."""
        return self.folder / "log.sqlite"

    @property
    def keys(self) -> SiteKeys:
        """The site's own keys."""
        return SiteKeys(self.folder / "keys")

    @property
    def append_lock(self) -> Path:
        """Locked while someone appends."""
        return self.folder / "append.lock"

    def open_vault(self) -> Vault:
        """Open the keystore."""
        return Vault.open(self.folder / "keystore.sqlite", self.folder / "keys" / "kek.key")

    def found(
        self,
        site: str,
        clock: Clock,
        territory: str | None,
        num_roots: int,
        ready: Mapping[Role, SigningKey],
    ) -> None:
        """Make all files: a key of each role, and a log that says whose it is.

        Args:
            site: Public name; the log is named ``<site>/consent-log``.
            clock: Tells the time.
            territory: ISO 3166 code of where the data are used.
            num_roots: Root keys to make.
            ready: Keys to take instead of new ones.

        Raises:
            KeyFileError: There are files already.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.keys.folder.mkdir(exist_ok=True, mode=0o700)
        vault = Vault.create(self.folder / "keystore.sqlite", self.folder / "keys" / "kek.key")
        roles = [*OWN_ROLES, *[Role.ROOT] * (num_roots - 1)]
        new = [(role, SigningKey.generate(key_name(site, role))) for role in roles]
        made = [(role, ready.get(role, key)) for role, key in new]
        for role, key in made:
            self.keys.save(role, key)
        (_, log_key), *others = made
        public = [(role, key.verifier) for role, key in others]
        log = ConsentLog.create(self.log, log_key, vault, public, clock)
        log.append([SiteDescribed(site=site, territory=territory)], log_key, clock)
